"""From few abnormal rows to many: fit an oversampler, draw rows, remove those too similar.

`oversample` does all of it. A run calls `fit_oversampler`, saves the result, and calls `draw_rows`.
n abnormal rows, G generated rows, U distinct ones, T tokens.
"""

import importlib
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import polars as pl

from logjax.errors import LogjaxError
from logjax.examples.similarity import remove_similar
from logjax.examples.text import PAD
from logjax.oversamplers.smote import seed_of
from logjax.oversamplers.table import MAKE_NO_ROWS, TABLE
from logjax.training.runtime import Runtime, quiet_runtime


class Oversampled(NamedTuple):
  """Generated rows.

  Attributes:
    distinct: distinct rows of vocabulary ids, int32 [U, T].
    index: the distinct row of each row, int32 [G].
    summary: counts and fractions, as in `results.json`.
  """

  distinct: np.ndarray
  index: np.ndarray
  summary: dict[str, Any]


def oversample(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  count: int,
  key: jax.Array,
) -> np.ndarray:
  """Makes `count` rows out of abnormal ones by the oversampler `config.oversampler.name`.

  There is no vocabulary here: each row counts as its own masked text.

  Args:
    config: resolved; its seed is not used.
    rows: abnormal rows, int32 [n, T]; 0 is padding at the end of a row.
    count: rows to make.
    key: consumed; decides every random draw.

  Returns:
    int32 [count, T]. No rows for 'none' and 'class_weights', or for a count below 1. With
    `on_shortage` 'short' there may be fewer than `count`.

  Raises:
    LogjaxError: as `fit_oversampler` and `draw_rows` do.
  """
  seed_key, fit_key, draw_key = jax.random.split(key, 3)
  config = config.copy_and_resolve_references()
  config.seed = seed_of(seed_key)
  _, group = np.unique(rows, axis=0, return_inverse=True)
  runtime = quiet_runtime(config.devices)
  fitted = None
  if count > 0:
    fitted = fit_oversampler(config, rows, group.reshape(-1), key=fit_key, runtime=runtime)
  oversampled = draw_rows(config, rows, count, fitted, _unmasked, key=draw_key)
  return oversampled.distinct[oversampled.index]


def module_of(name: str) -> ModuleType:
  """Returns the module of an oversampler; not for those in `MAKE_NO_ROWS`."""
  return importlib.import_module(f'logjax.oversamplers.{TABLE[name].module}')


def fit_oversampler(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  group: np.ndarray,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> Any:
  """Trains the generators, or SMOTE's autoencoder; the other oversamplers have nothing to train.

  Args:
    config: of the run, resolved.
    rows: abnormal rows [n, T].
    group: id of the masked text of each [n].
    key: consumed.
    runtime: devices, progress, checkpoints.

  Returns:
    The argument `fitted` of the module's `make_generate`; None for 'none' and 'class_weights'.

  Raises:
    LogjaxError: there is no row to learn from.
  """
  name = config.oversampler.name
  if name in MAKE_NO_ROWS:
    return None
  if len(rows) == 0:
    raise LogjaxError('the oversampler has no abnormal row to learn from')
  return module_of(name).fit(config, rows, group, key=key, runtime=runtime)


def draw_rows(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  count: int,
  fitted: Any,
  masked: Callable[[np.ndarray], pl.Series],
  *,
  key: jax.Array,
) -> Oversampled:
  """Makes `count` rows out of the abnormal rows.

  'random' repeats real rows. The others make new rows: `count` of them first. Rows too similar to
  the abnormal rows or to each other are removed and counted. If too few remain, rows are drawn up
  to `max_draws` times `count` in total. If too few remain again, `on_shortage` decides:

    repeat  Adds removed rows in their order of generation, so each is as frequent as the generator
            makes it. If no row was removed, the remaining rows are repeated.
    short   Returns fewer rows.

  SMOTE and SMOTE-N of one distinct row make this row only, so their result equals that of 'random'.

  Args:
    config: of the run, resolved.
    rows: abnormal rows [n, T].
    count: rows to make.
    fitted: of `fit_oversampler`.
    masked: from distinct rows to their masked texts.
    key: consumed.

  Returns:
    At most `count` rows.

  Raises:
    LogjaxError: all generated rows are empty.
  """
  settings = config.oversampler
  if settings.name in MAKE_NO_ROWS or count <= 0:
    return _oversampled(rows[:0], _summary(settings.name, 0, rows[:0], rows, masked))
  module = module_of(settings.name)
  generate = module.make_generate(config, rows, count, fitted)
  if TABLE[settings.name].repeats:
    drawn = generate(key)
    return _oversampled(drawn, _summary(settings.name, count, drawn, rows, masked, repeated=count))
  drawn = rows[:0]
  for total in (count, max(count, int(settings.max_draws * count))):
    drawn = _draw(generate, drawn, total, key)
    found = remove_similar(
      drawn, rows, similarity=settings.similarity, jaccard=settings.jaccard, masked=masked
    )
    if found.keep.sum() >= count:
      break
  if found.empty == len(drawn):
    raise LogjaxError(f'all {len(drawn):,} generated rows are empty: {module.EMPTY_ADVICE}')
  new = drawn[found.keep][:count]
  removed = {
    'equal_to_train': found.equal_to_train,
    'equal_to_each_other': found.equal_to_each_other,
    'empty': found.empty,
  }
  repeated = drawn[:0]
  if settings.on_shortage == 'repeat' and len(new) < count:
    pool = drawn[~found.keep & (drawn != PAD).any(axis=1)]
    pool = pool if len(pool) else new
    repeated = pool[np.arange(count - len(new)) % len(pool)]
  summary = _summary(settings.name, count, drawn, rows, masked, len(new), removed, len(repeated))
  return _oversampled(np.concatenate([new, repeated]), summary)


def _oversampled(rows: np.ndarray, summary: dict[str, Any]) -> Oversampled:
  """Encodes generated rows [G, T] by their distinct ones."""
  distinct, index = np.unique(rows, axis=0, return_inverse=True)
  return Oversampled(distinct, index.reshape(-1).astype(np.int32), summary)


def _unmasked(rows: np.ndarray) -> pl.Series:
  """Returns the ids of rows [N, T] as text: the masked texts of rows without a vocabulary."""
  return pl.from_numpy(rows).select(pl.concat_str(pl.all(), separator=' ')).to_series()


def _draw(
  generate: Callable[[jax.Array], np.ndarray], drawn: np.ndarray, total: int, key: jax.Array
) -> np.ndarray:
  """Draws rows after those `drawn`, until there are `total`."""
  parts, have = [drawn], len(drawn)
  while have < total:
    parts.append(generate(jax.random.fold_in(key, have)))  # a key of its own for every block
    have += len(parts[-1])
  return np.concatenate(parts)[:total]


def _summary(
  name: str,
  count: int,
  drawn: np.ndarray,
  rows: np.ndarray,
  masked: Callable[[np.ndarray], pl.Series],
  new: int = 0,
  removed: dict[str, int] | None = None,
  repeated: int = 0,
) -> dict[str, Any]:
  """Makes the block `oversampler` of results.json, without the quality."""
  summary = {
    'name': name,
    'requested': count,
    'generated': len(drawn),
    'kept': new,
    'removed': removed or {},
    'repeated': repeated,
    'distinct_share': None,
    'novel_text_share': None,
  }
  drawn = drawn[(drawn != PAD).any(axis=1)]  # an empty row is no text
  if len(drawn):
    distinct, counts = np.unique(drawn, axis=0, return_counts=True)
    summary['distinct_share'] = len(distinct) / len(drawn)
    novel = ~masked(distinct).is_in(masked(rows).unique().implode()).to_numpy()
    summary['novel_text_share'] = float(counts[novel].sum() / counts.sum())
  return summary
