"""Trained generators that outlive their run: saved, restored, and sampled without the log."""

import json
from pathlib import Path

import jax
import ml_collections
import numpy as np

from logjax.errors import LogjaxError
from logjax.examples.text import PAD, Vocabulary
from logjax.files import load_arrays, read_json
from logjax.oversamplers.oversample import GENERATORS
from logjax.seqgan.generators import Generators, make_generate, make_model
from logjax.training.checkpoint import restore_params, save_params


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
  saved = load_arrays(path, ('tokens', 'length'))
  tokens, length = saved['tokens'], int(saved['length'])
  model = make_model(settings, tokens.shape[1], length)

  def init(key: jax.Array):
    return model.generator.init(key, model.generator.start, jax.numpy.int32(0))['params']

  like = jax.eval_shape(jax.vmap(init), jax.random.split(jax.random.key(0), len(tokens)))
  words = read_json(folder / 'vocabulary.json', list, 'run --mode=train in a new workdir')
  vocabulary = Vocabulary(tuple(words))
  return Generators(restore_params(folder / 'generators', like), tokens, length), vocabulary
