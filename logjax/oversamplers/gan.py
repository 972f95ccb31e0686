"""Generators of the rare class: SeqGAN, MaliGAN, TextGAN, and maximum likelihood alone.

Each set of abnormal rows has its own generator. K sets, n rows, T tokens a row.
"""

from collections.abc import Callable
from pathlib import Path

import jax
import ml_collections
import numpy as np

from logjax.errors import LogjaxError
from logjax.examples.text import PAD
from logjax.files import load_arrays, save_arrays
from logjax.oversamplers.table import GENERATORS
from logjax.seqgan import generators as seqgan
from logjax.seqgan.fit import fit_generators
from logjax.seqgan.generators import Generators, make_model
from logjax.seqgan.sets import make_sets, split_into_sets
from logjax.training.checkpoint import restore_params, save_params
from logjax.training.runtime import Runtime

EMPTY_ADVICE = (
  'the generators learned nothing; raise seqgan.mle_epochs or lower '
  'seqgan.generator_learning_rate, in a new workdir'
)


def fit(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  group: np.ndarray,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> Generators:
  """Trains a generator for each set of the rows.

  Args:
    config: of the run, resolved.
    rows: abnormal rows [n, T].
    group: id of the masked text of each [n].
    key: consumed.
    runtime: devices, progress, checkpoints.
  """
  settings = config.oversampler
  members = split_into_sets(rows, group, settings.sets, settings.sets_by, config.seed)
  sets = make_sets(rows, members)
  return fit_generators(config.seqgan, sets, method=settings.name, key=key, runtime=runtime)


def make_generate(
  config: ml_collections.ConfigDict, rows: np.ndarray, count: int, fitted: Generators
) -> Callable[[jax.Array], np.ndarray]:
  """Makes `key -> sampled rows, int32 [a block, T]`."""
  del count
  return _sampler(config, fitted, rows.shape[1])


def _sampler(
  config: ml_collections.ConfigDict, generators: Generators, length: int
) -> Callable[[jax.Array], np.ndarray]:
  temperature = config.oversampler.temperature
  return seqgan.make_generate(config.seqgan, generators, length=length, temperature=temperature)


def sample_rows(
  config: ml_collections.ConfigDict, generators: Generators, count: int, *, key: jax.Array
) -> np.ndarray:
  """Samples `count` rows without empty ones, int32 [count, T].

  Repetitions and rows similar to training rows stay: this is the generators' distribution.

  Raises:
    LogjaxError: the generators make only empty rows.
  """
  generate = _sampler(config, generators, config.text.length)
  parts, have = [], 0
  while have < count:
    drawn = generate(jax.random.fold_in(key, len(parts)))
    drawn = drawn[(drawn != PAD).any(axis=1)]
    if not len(drawn):
      raise LogjaxError('the generators make nothing but empty rows: train them for longer')
    parts.append(drawn)
    have += len(drawn)
  return np.concatenate(parts)[:count]


def save(folder: Path, generators: Generators) -> None:
  """Saves trained generators, without the encoder of their rows."""
  folder.mkdir(parents=True, exist_ok=True)
  save_arrays(folder / 'sets.npz', tokens=generators.tokens, length=np.array(generators.length))
  save_params(folder / 'generators', generators.params)


def restore(config: ml_collections.ConfigDict, folder: Path) -> Generators:
  """Restores generators written by `save`; the log is not needed.

  Raises:
    LogjaxError: the folder has no generators, or generators of another shape.
  """
  path = folder / 'sets.npz'
  if not path.exists():
    raise LogjaxError(
      f'no trained generators in {folder}: run --mode=train with an oversampler '
      f'that has them ({" or ".join(GENERATORS)})'
    )
  saved = load_arrays(path, ('tokens', 'length'))
  tokens, length = saved['tokens'], int(saved['length'])
  model = make_model(config.seqgan, tokens.shape[1], length)

  def init(key: jax.Array):
    return model.generator.init(key, model.generator.start, jax.numpy.int32(0))['params']

  like = jax.eval_shape(jax.vmap(init), jax.random.split(jax.random.key(0), len(tokens)))
  return Generators(restore_params(folder / 'generators', like), tokens, length)
