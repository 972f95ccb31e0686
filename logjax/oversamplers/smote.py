"""Chawla et al.'s SMOTE: new rows between an abnormal row and its nearest ones (JAIR 16, 2002).

Both variants work on the distinct rows, each once. Otherwise equal rows would be each other's
nearest neighbours, with nothing new between them. So rare rows are drawn from as often as frequent
ones.

n distinct rows, T tokens a row, V distinct tokens, C units of a code.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from imblearn.over_sampling import SMOTE
from sklearn.neighbors import NearestNeighbors

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


def fit_codes(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> Codes:
  """Trains an autoencoder of token rows; the code of a row is the output of the second layer.

  It has the layers, the learning rate and the epochs of `config.detector.autoencoder`, but no
  dropout and no L1 penalty: it should reproduce the rows, not generalise.

  Args:
    config: of the run, resolved.
    rows: distinct rows [n, T], each with at least one token.
    key: consumed.
    runtime: of the run.
  """
  settings = config.detector.autoencoder.copy_and_resolve_references()
  settings.update(loss='tokens', scale='unit', dropout=0.0, dropout_means='drop', l1=0.0)
  settings.update(l1_on='activity', monitor='loss')
  settings.update(rows_per_epoch=_ROWS_PER_EPOCH, least_rows_per_epoch=_ROWS_PER_EPOCH)
  sets = make_sets(rows, [np.arange(len(rows))])
  local, vocabulary = sets.rows[0], sets.tokens.shape[1]
  trained = fit_autoencoder(
    settings,
    local,
    local,
    vocabulary=vocabulary,
    key=key,
    runtime=runtime,
    name='autoencoder_smote',
  )
  model = make_autoencoder(settings, sets.length, vocabulary)

  def encode(params: Any, row: jax.Array) -> jax.Array:
    return model.apply({'params': params}, scaled(row, vocabulary, settings.scale))[1]

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


def smoten_rows(rows: np.ndarray, count: int, *, neighbours: int, seed: int) -> np.ndarray:
  """Draws rows by a Hamming-distance variant of SMOTE-N: a vote of each row and its neighbours.

  At each position the most frequent token among the row and its nearest rows is taken.

  This is not the published SMOTE-N. That one measures distances with the value-difference metric,
  from the labels of each token, and so needs rows of both classes. An oversampler here sees the
  rare class alone, so the distance of two rows is their number of different positions. (Called with
  one class, imbalanced-learn's SMOTEN has the distance 0 for every pair of rows.)

  Ties go to the row's own token, then to its nearest neighbour's. The smallest id, as in
  imbalanced-learn, would be padding. Each row has one result, so there are at most n distinct ones.

  Args:
    rows: distinct rows [n, T], each with at least one token.
    count: number of rows to make.
    neighbours: number of nearest rows to vote besides the row; at most n - 1.
    seed: of the draws.

  Returns:
    int32 [count, T].
  """
  voters = NearestNeighbors(n_neighbors=min(neighbours + 1, len(rows)), metric='hamming')
  # Nearest first, so voter 0 is the row itself: the rows are distinct, no other has distance 0.
  near = rows[voters.fit(rows).kneighbors(rows, return_distance=False)]  # [n, voters, T]
  # votes[r, v, t]: number of voters of row r with the same token as voter v at position t.
  votes = sum((near == near[:, i : i + 1]).astype(np.int32) for i in range(near.shape[1]))
  winner = votes.argmax(axis=1)[:, None]  # the first, so the nearest, of equal voters
  voted = until_padding(np.take_along_axis(near, winner, axis=1)[:, 0])
  return voted[np.random.default_rng(seed).integers(len(voted), size=count)]


def until_padding(rows: np.ndarray) -> np.ndarray:
  """Replaces all tokens after the first padding of a row [N, T] by padding, int32 [N, T]."""
  return np.where(np.logical_and.accumulate(rows != PAD, axis=1), rows, PAD).astype(np.int32)
