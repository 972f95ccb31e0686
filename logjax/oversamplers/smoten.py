"""SMOTE-N: new rows whose token at each position is a vote of a row and its nearest ones.

It works on the distinct rows, each once, as SMOTE does. n distinct rows, T tokens a row.
"""

from collections.abc import Callable

import jax
import ml_collections
import numpy as np
from sklearn.neighbors import NearestNeighbors

from logjax.oversamplers.smote import points_of, seed_of, until_padding
from logjax.training.runtime import Runtime

EMPTY_ADVICE = 'every abnormal row is empty: look at the masks (config.text)'


def fit(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  group: np.ndarray,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> np.ndarray:
  """Returns the distinct rows [n, T]; there is nothing to train.

  Raises:
    LogjaxError: when no row has a token.
  """
  del group, key, runtime
  return points_of(rows, config.seed)


def make_generate(
  config: ml_collections.ConfigDict, rows: np.ndarray, count: int, fitted: np.ndarray
) -> Callable[[jax.Array], np.ndarray]:
  """Makes `key -> voted rows, int32 [count, T]`."""
  del rows
  neighbours = config.oversampler.neighbours
  return lambda key: smoten_rows(fitted, count, neighbours=neighbours, seed=seed_of(key))


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
