"""From few abnormal rows to many: fit an oversampler, draw rows, remove those too similar.

n abnormal rows, G generated rows, T tokens a row.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import polars as pl

from logjax.corpora.text import PAD, Vocabulary
from logjax.errors import LogjaxError
from logjax.oversamplers.resample import random_rows
from logjax.oversamplers.seqgan.fit import fit_generators
from logjax.oversamplers.seqgan.generators import Generators, make_generate, make_model
from logjax.oversamplers.seqgan.sets import make_sets, split_into_sets
from logjax.oversamplers.similarity import remove_similar
from logjax.training.checkpoint import restore_params, save_params
from logjax.training.progress import Progress

GENERATORS = ('mle', 'seqgan')


class Oversampled(NamedTuple):
  """What an oversampler made.

  Attributes:
    rows: vocabulary ids, int32 [G, T].
    summary: counts and shares, as in `results.json`.
  """

  rows: np.ndarray
  summary: dict


def fit_oversampler(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  group: np.ndarray,
  *,
  key: jax.Array,
  progress: Progress,
) -> Generators | None:
  """Trains the generators of 'mle' or 'seqgan'; the other oversamplers have nothing to train.

  Args:
    config: of the run, resolved.
    rows: abnormal rows [n, T].
    group: id of the masked text of each, [n].
    key: consumed.
    progress: told of every epoch.

  Raises:
    LogjaxError: when there is no row to learn from.
  """
  if config.oversampler.name not in GENERATORS:
    return None
  if len(rows) == 0:
    raise LogjaxError('the oversampler has no abnormal row to learn from')
  settings = config.oversampler
  members = split_into_sets(rows, group, settings.sets, settings.sets_by, config.seed)
  return fit_generators(
    config.seqgan,
    make_sets(rows, members),
    adversarial=settings.name == 'seqgan',
    key=key,
    devices=config.devices,
    progress=progress,
  )


def oversample(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  count: int,
  generators: Generators | None,
  masked: Callable[[np.ndarray], pl.Series],
  *,
  key: jax.Array,
) -> Oversampled:
  """Makes `count` rows out of the abnormal rows.

  Generated rows that are too similar to the given ones or to each other are removed and counted,
  and more are drawn, up to `max_draws` times `count`. Where that leaves too few, `on_shortage`
  decides: 'repeat' fills up with removed ones in the order in which they were generated, so that
  each comes as often as the generator makes it (or with kept ones, where none was removed);
  'short' returns fewer.

  Args:
    config: of the run, resolved.
    rows: abnormal rows [n, T].
    count: rows to make.
    generators: of `fit_oversampler`.
    masked: from rows to their masked texts.
    key: consumed.

  Returns:
    At most `count` rows.

  Raises:
    LogjaxError: when all generated rows are empty.
  """
  settings = config.oversampler
  if settings.name == 'none' or count <= 0:
    return Oversampled(rows[:0], _summary(settings.name, 0, rows[:0], rows, masked))
  if settings.name == 'random':
    drawn = random_rows(rows, count, config.seed)
    return Oversampled(drawn, _summary(settings.name, count, drawn, rows, masked, repeated=count))
  generate = make_generate(
    config.seqgan, generators, length=rows.shape[1], temperature=settings.temperature
  )
  drawn = rows[:0]
  for total in (count, max(count, int(settings.max_draws * count))):
    drawn = _draw(generate, drawn, total, key)
    kept = remove_similar(
      drawn, rows, similarity=settings.similarity, jaccard=settings.jaccard, masked=masked
    )
    if kept.keep.sum() >= count:
      break
  if kept.empty == len(drawn):
    raise LogjaxError(
      f'all {len(drawn):,} generated rows are empty: the generators learned nothing; raise '
      'seqgan.mle_epochs or lower seqgan.generator_learning_rate, in a new workdir'
    )
  made = drawn[kept.keep][:count]
  removed = {
    'equal_to_train': kept.equal_to_train,
    'equal_to_each_other': kept.equal_to_each_other,
    'empty': kept.empty,
  }
  repeated = drawn[:0]
  if settings.on_shortage == 'repeat' and len(made) < count:
    again = drawn[~kept.keep & (drawn != PAD).any(axis=1)]
    again = again if len(again) else made
    repeated = again[np.arange(count - len(made)) % len(again)]
  summary = _summary(settings.name, count, drawn, rows, masked, len(made), removed, len(repeated))
  return Oversampled(np.concatenate([made, repeated]), summary)


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
  kept: int = 0,
  removed: dict[str, int] | None = None,
  repeated: int = 0,
) -> dict[str, Any]:
  """The part `oversampler` of results.json."""
  summary = {
    'name': name,
    'requested': count,
    'generated': len(drawn),
    'kept': kept,
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


def sample_rows(
  config: ml_collections.ConfigDict, generators: Generators, count: int, *, key: jax.Array
) -> np.ndarray:
  """Samples `count` rows as the generators make them, empty ones left out: int32 [count, T].

  Raises:
    LogjaxError: when the generators make nothing but empty rows.
  """
  temperature = config.oversampler.temperature
  length = config.text.length
  generate = make_generate(config.seqgan, generators, length=length, temperature=temperature)
  parts, have = [], 0
  while have < count:
    drawn = generate(jax.random.fold_in(key, len(parts)))
    drawn = drawn[(drawn != PAD).any(axis=1)]
    if not len(drawn):
      raise LogjaxError('the generators make nothing but empty rows: train them for longer')
    parts.append(drawn)
    have += len(drawn)
  return np.concatenate(parts)[:count]


def save_generators(folder: Path, generators: Generators, vocabulary: Vocabulary) -> None:
  """Saves trained generators with all it takes to read what they write."""
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'vocabulary.json').write_text(json.dumps(vocabulary.tokens))
  np.savez(folder / 'sets.npz', tokens=generators.tokens, length=generators.length)
  save_params(folder / 'generators', generators.params)


def restore_generators(
  folder: Path, settings: ml_collections.ConfigDict
) -> tuple[Generators, Vocabulary]:
  """Restores what `save_generators` saved; the log is not needed.

  Raises:
    LogjaxError: when there is nothing or something else.
  """
  path = folder / 'sets.npz'
  if not path.exists():
    raise LogjaxError(
      f'no trained generators in {folder}: run --mode=train with an oversampler '
      f'that has them ({" or ".join(GENERATORS)})'
    )
  with np.load(path, allow_pickle=False) as saved:
    tokens, length = saved['tokens'], int(saved['length'])
  model = make_model(settings, tokens.shape[1], length)

  def init(key: jax.Array):
    return model.generator.init(key, model.generator.start, jax.numpy.int32(0))['params']

  like = jax.eval_shape(jax.vmap(init), jax.random.split(jax.random.key(0), len(tokens)))
  vocabulary = Vocabulary(tuple(json.loads((folder / 'vocabulary.json').read_text())))
  return Generators(restore_params(folder / 'generators', like), tokens, length), vocabulary
