"""The oracle of SeqGAN's synthetic benchmark: a random LSTM, the source of the training rows.

The oracle knows the probability of every row, so it can judge generated rows. The published oracle
is a file of arrays (docs/oracle.md). Others are drawn from N(0, 1), as the published one was.

Token 0 is an ordinary token of the published oracle, drawn about 3 times in 100,000. In logjax it
is the end of a sentence. Here its logit is -inf in the oracle and in the generators: no row has it.

N rows, T time, V vocabulary, E embedding, H hidden.
"""

import functools
import zipfile
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from logjax.errors import LogjaxError
from logjax.seqgan.models import Generator
from logjax.seqgan.sampling import log_probabilities, make_policy, sample_sentence

# Rows whose logits are in memory together.
_BLOCK = 256
# The names of the gates in the file, in the order of LSTMCell.
_GATES = ('i', 'f', 'og', 'c')
# The shapes of the arrays in the file.
_SHAPES = {
  'embedding': 'VE',
  **{f'W{gate}': 'EH' for gate in _GATES},
  **{f'U{gate}': 'HH' for gate in _GATES},
  **{f'b{gate}': 'H' for gate in _GATES},
  'Wo': 'HV',
  'bo': 'V',
}


class SequenceModel(NamedTuple):
  """A model of rows with its parameters: the oracle or a generator."""

  model: Generator
  params: Any


def load_oracle(path: Path) -> SequenceModel:
  """Reads an oracle from an .npz file.

  Args:
    path: a file with `embedding` [V, E]; for each gate i, f, og (output) and c (candidate) the
      kernels `W*` [E, H] and `U*` [H, H] and the bias `b*` [H]; `Wo` [H, V] and `bo` [V].

  Raises:
    LogjaxError: if the file is missing or damaged, lacks an array, or has one of another shape.
  """
  arrays = _read(path)
  for name in _SHAPES:
    if name not in arrays:
      raise LogjaxError(f'{path}: no array {name!r} in this file: it is not an oracle')
  sizes: dict[str, int] = {}  # a letter has the size of its first axis; later ones must agree
  for name, letters in _SHAPES.items():
    array = arrays[name]
    for letter, size in zip(letters, array.shape, strict=False):
      sizes.setdefault(letter, size)
    expected = [sizes.get(letter) for letter in letters]
    if list(array.shape) != expected or array.dtype != np.float32:
      raise LogjaxError(
        f'{path}: the array {name!r} is {array.dtype} {list(array.shape)} and should be float32 '
        f'{list(letters)}, where {", ".join(f"{k} is {v}" for k, v in sizes.items())}'
      )
    if not np.isfinite(array).all():
      raise LogjaxError(f'{path}: the array {name!r} has values that are not finite')

  # LSTMCell has the kernels of all four gates in one array, [E, 4 H] and [H, 4 H].
  def side_by_side(letter: str) -> np.ndarray:
    return np.concatenate([arrays[letter + gate] for gate in _GATES], axis=-1)

  params = {
    'embed': {'embedding': arrays['embedding']},
    'recurrent': {
      'input': {'kernel': side_by_side('W'), 'bias': side_by_side('b')},
      'recurrent': side_by_side('U'),
    },
    'head': {'kernel': arrays['Wo'], 'bias': arrays['bo']},
  }
  model = Generator(sizes['V'], sizes['E'], sizes['H'], cell='lstm')
  return SequenceModel(model, jax.tree.map(jnp.asarray, params))


def _read(path: Path) -> dict[str, np.ndarray]:
  """Reads all arrays of an .npz file."""
  try:
    with np.load(path, allow_pickle=False) as file:
      return {name: np.asarray(file[name]) for name in file.files}
  except FileNotFoundError:
    raise LogjaxError(
      f'no oracle at --config.oracle.path={path}: give its .npz file, or no path to draw one'
    ) from None
  except (OSError, ValueError, EOFError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error):
    raise LogjaxError(f'{path} is not a readable .npz file: fetch or make it again') from None


def draw_oracle(vocabulary: int, size: int, key: jax.Array) -> SequenceModel:
  """Draws an oracle with every weight and bias from N(0, 1), as the published one was.

  Args:
    vocabulary: V.
    size: E and H.
    key: consumed.
  """
  model = Generator(vocabulary, size, size, init_std=1.0, cell='lstm')
  return SequenceModel(model, model.init(key, model.start, jnp.int32(0))['params'])


def allowed_tokens(vocabulary: int) -> np.ndarray:
  """Returns the values to add to the logits, float32 [V]: -inf for token 0, 0 for all others."""
  return np.where(np.arange(vocabulary) == 0, -np.inf, 0.0).astype(np.float32)


def sample_rows(model: SequenceModel, length: int, count: int, key: jax.Array) -> np.ndarray:
  """Draws rows of tokens, int32 [count, length].

  Args:
    model: oracle or generator.
    length: T.
    count: N.
    key: consumed.
  """
  return np.asarray(_sample(model.model, length, model.params, jax.random.split(key, count)))


def token_losses(model: SequenceModel, rows: np.ndarray) -> np.ndarray:
  """Computes the negative log-likelihood of every token given its predecessors.

  Args:
    model: oracle or generator.
    rows: int32 [N, T], without token 0.

  Returns:
    In nats, float64 [N, T].
  """
  return -np.asarray(_score(model.model, model.params, rows), np.float64)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _sample(model: Generator, length: int, params: Any, keys: jax.Array) -> jax.Array:
  policy = make_policy(model, params, jnp.asarray(allowed_tokens(model.vocabulary)))
  return lax.map(lambda key: sample_sentence(policy, key, length), keys, batch_size=_BLOCK)


@functools.partial(jax.jit, static_argnums=0)
def _score(model: Generator, params: Any, rows: jax.Array) -> jax.Array:
  policy = make_policy(model, params, jnp.asarray(allowed_tokens(model.vocabulary)))
  return lax.map(lambda row: log_probabilities(policy, row), rows, batch_size=_BLOCK)
