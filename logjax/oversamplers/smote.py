"""Chawla et al.'s SMOTE between the codes of an autoencoder (JAIR 16, 2002).

It works on the distinct rows, each once: equal rows would be each other's nearest neighbours, with
no new point between them. So a rare row is drawn as often as a frequent one. n distinct rows, T
tokens a row, V of their tokens, C units of a code.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from imblearn.over_sampling import SMOTE

from logjax.errors import LogjaxError
from logjax.examples.text import PAD
from logjax.models.autoencoder import (
  Autoencoder,
  decode,
  fit_autoencoder,
  make_autoencoder,
  scaled,
)
from logjax.seqgan.sets import make_sets, to_vocabulary
from logjax.training.blocks import make_apply
from logjax.training.runtime import Runtime

# Rows of an autoencoder's epoch: few rows are repeated, for enough gradient steps.
_ROWS_PER_EPOCH = 1_024
# All pairs are compared: 2 s on one core at 40 tokens a row.
_MOST_ROWS = 5_000

EMPTY_ADVICE = (
  "SMOTE's autoencoder learned nothing; raise detector.autoencoder.epochs or lower "
  'detector.autoencoder.learning_rate, in a new workdir'
)


class Codes(NamedTuple):
  """The codes of the distinct rows, and the autoencoder to decode new codes.

  Attributes:
    model: autoencoder of rows of local token ids.
    params: its parameters.
    tokens: vocabulary id of every local id, int32 [1, V].
    points: code of each row, float32 [n, C].
    length: T of the local rows, without the padding common to all rows.
  """

  model: Autoencoder
  params: Any
  tokens: np.ndarray
  points: np.ndarray
  length: int


def distinct_rows(rows: np.ndarray, seed: int) -> np.ndarray:
  """Returns the distinct rows with at least one token, or 5,000 of them drawn at random.

  Args:
    rows: [N, T].
    seed: of that draw.
  """
  distinct = np.unique(rows, axis=0)
  distinct = distinct[(distinct != PAD).any(axis=1)]
  if len(distinct) <= _MOST_ROWS:
    return distinct
  chosen = np.random.default_rng(seed).choice(len(distinct), _MOST_ROWS, replace=False)
  return distinct[np.sort(chosen)]


def fit(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  group: np.ndarray,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> Codes:
  """Trains the autoencoder on the distinct rows among `rows`.

  Args:
    config: of the run, resolved.
    rows: abnormal rows [N, T].
    group: not used.
    key: consumed.
    runtime: devices, progress, checkpoints.

  Raises:
    LogjaxError: no row has a token.
  """
  del group
  return fit_codes(config, points_of(rows, config.seed), key=key, runtime=runtime)


def make_generate(
  config: ml_collections.ConfigDict, rows: np.ndarray, count: int, fitted: Codes
) -> Callable[[jax.Array], np.ndarray]:
  """Makes `key -> rows between the codes, int32 [count, T]`."""
  neighbours, length = config.oversampler.neighbours, rows.shape[1]

  def generate(key: jax.Array) -> np.ndarray:
    return smote_rows(fitted, count, length=length, neighbours=neighbours, seed=seed_of(key))

  return generate


def points_of(rows: np.ndarray, seed: int) -> np.ndarray:
  """Returns the distinct rows for SMOTE and SMOTE-N to draw from.

  Raises:
    LogjaxError: no row has a token.
  """
  points = distinct_rows(rows, seed)
  if not len(points):
    raise LogjaxError('the oversampler has no abnormal row with a token to learn from')
  return points


def seed_of(key: jax.Array) -> int:
  """Returns a seed for libraries with NumPy's older generator."""
  return int(jax.random.bits(key))


def fit_codes(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> Codes:
  """Trains an autoencoder of token rows; the code of a row is the output of the second layer.

  It has the layers, the learning rate and the epochs of `config.detector.autoencoder`, without
  dropout and L1 penalty: it must reproduce these rows, not others.

  Args:
    config: of the run, resolved.
    rows: distinct rows [n, T], each with at least one token.
    key: consumed.
    runtime: devices, progress, checkpoints.
  """
  settings = config.detector.autoencoder.copy_and_resolve_references()
  settings.update(loss='tokens', dropout=0.0, dropout_means='drop', l1=0.0, l1_on='activity')
  settings.update(rows_per_epoch=_ROWS_PER_EPOCH, least_rows_per_epoch=_ROWS_PER_EPOCH)
  sets = make_sets(rows, [np.arange(len(rows))])
  local, vocabulary = sets.rows[0], sets.tokens.shape[1]
  trained = fit_autoencoder(
    settings,
    local,
    np.arange(len(local)),
    np.arange(len(local)),
    vocabulary=vocabulary,
    key=key,
    runtime=runtime,
    name='autoencoder_smote',
  )
  model = make_autoencoder(settings, sets.length, vocabulary)

  def encode(params: Any, row: jax.Array) -> jax.Array:
    return model.apply({'params': params}, scaled(row, vocabulary))[1]

  points = make_apply(encode)(trained.params, local)
  codes = Codes(model, trained.params, sets.tokens, points, sets.length)
  same = (_decode(codes, points, rows.shape[1]) == rows).all(axis=1).mean()
  runtime.progress.say(
    f'smote: the autoencoder reproduces {same:.0%} of {len(rows):,} distinct rows'
  )
  return codes


def smote_rows(codes: Codes, count: int, *, length: int, neighbours: int, seed: int) -> np.ndarray:
  """Draws codes between neighbouring codes by imbalanced-learn's SMOTE, and decodes them.

  The most probable token is taken at each position; a row ends at its first padding.

  Args:
    codes: of the rows.
    count: number of rows to make.
    length: T of the rows to make.
    neighbours: number of nearest codes to draw towards; at most n - 1.
    seed: of the draws.

  Returns:
    Vocabulary ids, int32 [count, T].
  """
  points = codes.points
  neighbours = min(neighbours, len(points) - 1)
  if neighbours == 0:
    drawn = np.repeat(points, count, axis=0)
  else:
    # The sampler insists on a second class: one extra code with the label 1, last in the input.
    wanted = {0: len(points) + count, 1: 1}
    sampler = SMOTE(sampling_strategy=wanted, k_neighbors=neighbours, random_state=seed)
    labels = np.arange(len(points) + 1) == len(points)
    both, _ = sampler.fit_resample(np.concatenate([points, points[:1]]), labels.astype(int))
    drawn = both[len(points) + 1 :]  # new codes follow the input
  return _decode(codes, drawn, length)


def _decode(codes: Codes, points: np.ndarray, length: int) -> np.ndarray:
  """Decodes codes [N, C] to rows of vocabulary ids, int32 [N, length]."""

  def tokens_of(params: Any, code: jax.Array) -> jax.Array:
    return jnp.argmax(decode(codes.model, params, code).reshape(codes.length, -1), axis=1)

  local = make_apply(tokens_of)(codes.params, points)
  return until_padding(to_vocabulary(codes.tokens, local[None], length))


def until_padding(rows: np.ndarray) -> np.ndarray:
  """Replaces all tokens after the first padding of a row [N, T] by padding, int32 [N, T]."""
  return np.where(np.logical_and.accumulate(rows != PAD, axis=1), rows, PAD).astype(np.int32)
