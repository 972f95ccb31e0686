"""From few abnormal rows to many: fit an oversampler, draw rows, remove those too similar.

`oversample` does all of it. A run does it in two steps, `fit_oversampler` and `draw_rows`, and
keeps what was fitted. n abnormal rows, G generated rows, T tokens a row.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import polars as pl

from logjax.errors import LogjaxError
from logjax.examples.similarity import remove_similar
from logjax.examples.text import PAD
from logjax.oversamplers.repeat import random_rows
from logjax.oversamplers.smote import Codes, distinct_rows, fit_codes, smote_rows, smoten_rows
from logjax.seqgan.fit import METHODS, fit_generators
from logjax.seqgan.generators import Generators, make_generate
from logjax.seqgan.sets import make_sets, split_into_sets
from logjax.training.runtime import Runtime, quiet_runtime

MAKE_NO_ROWS = ('none', 'class_weights')  # the second weighs the classes in the detector's loss
GENERATORS = METHODS


class Oversampled(NamedTuple):
  """What an oversampler made.

  Attributes:
    rows: vocabulary ids, int32 [G, T].
    summary: counts and shares, as in `results.json`.
  """

  rows: np.ndarray
  summary: dict


def oversample(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  count: int,
  key: jax.Array,
  *,
  runtime: Runtime | None = None,
) -> np.ndarray:
  """Makes `count` rows out of abnormal ones by `config.oversampler`, whatever its name.

  Nothing but the rows is known here, no vocabulary: their masked texts are the rows themselves.

  Args:
    config: resolved; its seed is not used.
    rows: abnormal rows, int32 [n, T]; 0 pads and is last in a row.
    count: rows to make.
    key: consumed; decides all that is random.
    runtime: of the run; None prints nothing and saves nothing.

  Returns:
    int32 [count, T]. None at all of 'none' and 'class_weights'. Fewer than `count` only where
    `on_shortage` is 'short', and where the classes balance already.

  Raises:
    LogjaxError: as `fit_oversampler` and `draw_rows` do.
  """
  seed_key, fit_key, draw_key = jax.random.split(key, 3)
  config = config.copy_and_resolve_references()
  config.seed = _seed_of(seed_key)
  _, group = np.unique(rows, axis=0, return_inverse=True)
  runtime = runtime or quiet_runtime(config.devices)
  fitted = None
  if count > 0:
    fitted = fit_oversampler(config, rows, group.reshape(-1), key=fit_key, runtime=runtime)
  return draw_rows(config, rows, count, fitted, _unmasked, key=draw_key).rows


def fit_oversampler(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  group: np.ndarray,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> Generators | Codes | None:
  """Trains the generators, or SMOTE's autoencoder; the other oversamplers have nothing to train.

  Args:
    config: of the run, resolved.
    rows: abnormal rows [n, T].
    group: id of the masked text of each, [n].
    key: consumed.
    runtime: of the run.

  Raises:
    LogjaxError: when there is no row to learn from.
  """
  settings = config.oversampler
  if settings.name in MAKE_NO_ROWS:
    return None
  if len(rows) == 0:
    raise LogjaxError('the oversampler has no abnormal row to learn from')
  if settings.name == 'smote':
    return fit_codes(config, _points(rows, config.seed), key=key, runtime=runtime)
  if settings.name not in GENERATORS:
    return None
  members = split_into_sets(rows, group, settings.sets, settings.sets_by, config.seed)
  sets = make_sets(rows, members)
  return fit_generators(
    config.seqgan,
    sets,
    method=settings.name,
    key=key,
    runtime=runtime,
  )


def draw_rows(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  count: int,
  fitted: Generators | Codes | None,
  masked: Callable[[np.ndarray], pl.Series],
  *,
  key: jax.Array,
) -> Oversampled:
  """Makes `count` rows out of the abnormal rows.

  'random' repeats real rows. Of what all others make, rows that are too similar to the given ones
  or to each other are removed and counted, and more are drawn, up to `max_draws` times `count`.
  Where that leaves too few, `on_shortage` decides: 'repeat' fills up with removed ones in the order
  in which they were generated, so that each comes as often as the generator makes it (or with kept
  ones, where none was removed); 'short' returns fewer. SMOTE and SMOTEN of one distinct row make
  that row again, so that they end as 'random' does.

  Args:
    config: of the run, resolved.
    rows: abnormal rows [n, T].
    count: rows to make.
    fitted: of `fit_oversampler`.
    masked: from rows to their masked texts.
    key: consumed.

  Returns:
    At most `count` rows.

  Raises:
    LogjaxError: when all generated rows are empty.
  """
  settings = config.oversampler
  if settings.name in MAKE_NO_ROWS or count <= 0:
    return Oversampled(rows[:0], _summary(settings.name, 0, rows[:0], rows, masked))
  if settings.name == 'random':
    drawn = random_rows(rows, count, config.seed)
    return Oversampled(drawn, _summary(settings.name, count, drawn, rows, masked, repeated=count))
  generate = _make_generate(config, rows, count, fitted)
  drawn = rows[:0]
  for total in (count, max(count, int(settings.max_draws * count))):
    drawn = _draw(generate, drawn, total, key)
    found = remove_similar(
      drawn, rows, similarity=settings.similarity, jaccard=settings.jaccard, masked=masked
    )
    if found.keep.sum() >= count:
      break
  if found.empty == len(drawn):
    raise LogjaxError(
      f'all {len(drawn):,} generated rows are empty: {_empty_advice(settings.name)}'
    )
  made = drawn[found.keep][:count]
  removed = {
    'equal_to_train': found.equal_to_train,
    'equal_to_each_other': found.equal_to_each_other,
    'empty': found.empty,
  }
  repeated = drawn[:0]
  if settings.on_shortage == 'repeat' and len(made) < count:
    again = drawn[~found.keep & (drawn != PAD).any(axis=1)]
    again = again if len(again) else made
    repeated = again[np.arange(count - len(made)) % len(again)]
  summary = _summary(settings.name, count, drawn, rows, masked, len(made), removed, len(repeated))
  return Oversampled(np.concatenate([made, repeated]), summary)


def _make_generate(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  count: int,
  fitted: Generators | Codes | None,
) -> Callable[[jax.Array], np.ndarray]:
  """Makes `key -> some rows, int32 [block, T]`."""
  settings, length = config.oversampler, rows.shape[1]
  if settings.name in GENERATORS:
    temperature = settings.temperature
    return make_generate(config.seqgan, fitted, length=length, temperature=temperature)
  neighbours = settings.neighbours
  if settings.name == 'smote':
    return lambda key: smote_rows(
      fitted, count, length=length, neighbours=neighbours, seed=_seed_of(key)
    )
  if settings.name == 'smoten':
    points = _points(rows, config.seed)
    return lambda key: smoten_rows(points, count, neighbours=neighbours, seed=_seed_of(key))
  raise ValueError(f'{settings.name!r} makes no rows: _make_generate has no branch for it')


def _points(rows: np.ndarray, seed: int) -> np.ndarray:
  """The rows that SMOTE and SMOTEN draw from."""
  points = distinct_rows(rows, seed)
  if not len(points):
    raise LogjaxError('the oversampler has no abnormal row with a token to learn from')
  return points


def _empty_advice(name: str) -> str:
  if name in GENERATORS:
    return (
      'the generators learned nothing; raise seqgan.mle_epochs or lower '
      'seqgan.generator_learning_rate, in a new workdir'
    )
  return (
    "SMOTE's autoencoder learned nothing; raise detector.autoencoder.epochs or lower "
    'detector.autoencoder.learning_rate, in a new workdir'
  )


def _unmasked(rows: np.ndarray) -> pl.Series:
  """Stands for the masked text of rows [N, T] where there is no vocabulary: their ids."""
  return pl.from_numpy(rows).select(pl.concat_str(pl.all(), separator=' ')).to_series()


def _seed_of(key: jax.Array) -> int:
  """Returns a seed for what draws with NumPy's older generator, as imbalanced-learn does."""
  return int(jax.random.bits(key))


def _draw(
  generate: Callable[[jax.Array], np.ndarray], drawn: np.ndarray, total: int, key: jax.Array
) -> np.ndarray:
  """Draws more rows, until there are `total`."""
  parts, have = [drawn], len(drawn)
  while have < total:
    parts.append(generate(jax.random.fold_in(key, have)))
    have += len(parts[-1])
  return np.concatenate(parts)[:total]


def _summary(
  name: str,
  count: int,
  drawn: np.ndarray,
  rows: np.ndarray,
  masked: Callable[[np.ndarray], pl.Series],
  made: int = 0,
  removed: dict[str, int] | None = None,
  repeated: int = 0,
) -> dict[str, Any]:
  """The part `oversampler` of results.json."""
  summary = {
    'name': name,
    'requested': count,
    'generated': len(drawn),
    'kept': made,
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
