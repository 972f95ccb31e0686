"""SMOTE-N: new rows by a vote of a row and its nearest rows at each position.

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
  """Returns the distinct rows [n, T]; they are not trained on.

  Raises:
    LogjaxError: no row has a token.
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
  """Draws rows by a Hamming-distance variant of SMOTE-N: a vote of each row and its neighbours.

  At each position the most frequent token among the row and its nearest rows is taken.

  This is not the published SMOTE-N. The published distance is the value-difference metric, computed
  from the labels of each token, so it needs rows of both classes. An oversampler here sees the rare
  class alone, so the distance of two rows is their number of different positions. (With one class,
  imbalanced-learn's SMOTEN has the distance 0 for every pair of rows.)

  Ties go to the row's token, then to its nearest neighbour's. In imbalanced-learn they go to the
  smallest id, and that would be padding. Each row has one result, so at most n results are
  distinct.

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
