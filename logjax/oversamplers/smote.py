"""Chawla et al.'s SMOTE: new rows between an abnormal row and its nearest ones (JAIR 16, 2002).

Both variants work on the distinct rows, each once: equal rows would be each other's nearest, and
nothing new would lie between them. So rare rows are drawn from as often as frequent ones. n
distinct rows, T tokens a row, V of their tokens, C units of a code.
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

# Rows of an autoencoder's epoch: a few rows are gone through many times, or they teach too little.
_ROWS_PER_EPOCH = 1_024
# Each of them is compared with each: 2 s on one core at 40 tokens a row.
_MOST_ROWS = 5_000


class Codes(NamedTuple):
  """Distinct rows as points between which others lie, and the network that reads points.

  Attributes:
    model: autoencoder of rows of local token ids.
    params: its parameters.
    tokens: the vocabulary's id of every local id, int32 [1, V].
    points: code of each row, float32 [n, C].
    length: T of the local rows, which may be shorter than the given ones.
  """

  model: Autoencoder
  params: Any
  tokens: np.ndarray
  points: np.ndarray
  length: int


def distinct_rows(rows: np.ndarray, seed: int) -> np.ndarray:
  """Returns the distinct rows that have a token, or 5,000 of them drawn at random.

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
  """Trains an autoencoder that names the token at every position; its code is the second layer.

  It has the layers, the learning rate and the epochs of `config.detector.autoencoder`, but neither
  dropout nor L1: it shall reproduce the rows, not generalise.

  Args:
    config: of the run, resolved.
    rows: distinct rows [n, T], each with a token.
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
  """Draws codes between neighbouring ones, by imbalanced-learn's SMOTE, and decodes them.

  The network's most probable token is taken at each position; a row ends at its first padding.

  Args:
    codes: of the rows.
    count: rows to make.
    length: T of the rows to make.
    neighbours: nearest codes that a code is drawn towards; fewer where there are fewer.
    seed: of the draws.

  Returns:
    Vocabulary ids, int32 [count, T].
  """
  points = codes.points
  neighbours = min(neighbours, len(points) - 1)
  if neighbours == 0:
    drawn = np.repeat(points, count, axis=0)
  else:
    wanted = {0: len(points) + count, 1: 1}  # one code of another class, which the sampler needs
    sampler = SMOTE(sampling_strategy=wanted, k_neighbors=neighbours, random_state=seed)
    labels = np.arange(len(points) + 1) == len(points)
    both, _ = sampler.fit_resample(np.concatenate([points, points[:1]]), labels.astype(int))
    drawn = both[len(points) + 1 :]
  return _decode(codes, drawn, length)


def _decode(codes: Codes, points: np.ndarray, length: int) -> np.ndarray:
  """Reads codes [N, C] as rows of vocabulary ids, int32 [N, length]."""

  def tokens_of(params: Any, code: jax.Array) -> jax.Array:
    return jnp.argmax(decode(codes.model, params, code).reshape(codes.length, -1), axis=1)

  local = make_apply(tokens_of)(codes.params, points)
  return until_padding(to_vocabulary(codes.tokens, local[None], length))


def smoten_rows(rows: np.ndarray, count: int, *, neighbours: int, seed: int) -> np.ndarray:
  """Draws rows by SMOTE-N: at each position the token that most of a row and its nearest have.

  imbalanced-learn's SMOTEN measures how far tokens are apart by the labels they come with, which
  within one class are all the same: to it no two rows differ. Here it is the number of positions
  that differ. Of equally frequent tokens the row's own, or its nearest neighbour's, is taken, and
  not the one with the smallest id, which is padding. A row has one such vote, so there are at most
  as many distinct results as distinct rows.

  Args:
    rows: distinct rows [n, T], each with a token.
    count: rows to make.
    neighbours: nearest rows that vote, beside the row; fewer where there are fewer.
    seed: of the draws.

  Returns:
    int32 [count, T].
  """
  voters = NearestNeighbors(n_neighbors=min(neighbours + 1, len(rows)), metric='hamming')
  # First the row itself: no other is at distance 0.
  near = rows[voters.fit(rows).kneighbors(rows, return_distance=False)]  # [n, voters, T]
  votes = sum((near == near[:, i : i + 1]).astype(np.int32) for i in range(near.shape[1]))
  winner = votes.argmax(axis=1)[:, None]
  voted = until_padding(np.take_along_axis(near, winner, axis=1)[:, 0])
  return voted[np.random.default_rng(seed).integers(len(voted), size=count)]


def until_padding(rows: np.ndarray) -> np.ndarray:
  """Returns rows [N, T] with nothing but padding after their first padding."""
  return np.where(np.logical_and.accumulate(rows != PAD, axis=1), rows, PAD).astype(np.int32)
