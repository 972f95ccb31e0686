"""Oversampling that repeats real rows. n rows, T tokens a row."""

from collections.abc import Callable

import jax
import ml_collections
import numpy as np
from imblearn.over_sampling import RandomOverSampler

from logjax.training.runtime import Runtime

EMPTY_ADVICE = 'every abnormal row is empty: look at the masks (config.text)'


def fit(
  config: ml_collections.ConfigDict,
  rows: np.ndarray,
  group: np.ndarray,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> None:
  """Returns None: repetition needs no training."""
  del config, rows, group, key, runtime


def make_generate(
  config: ml_collections.ConfigDict, rows: np.ndarray, count: int, fitted: None
) -> Callable[[jax.Array], np.ndarray]:
  """Makes `key -> repeated rows, int32 [count, T]`; `config.seed` decides, not the key."""
  del fitted
  return lambda key: random_rows(rows, count, config.seed)


def random_rows(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
  """Draws `count` of the rows [n, T] with replacement, by imbalanced-learn.

  Args:
    rows: int32 [n, T].
    count: rows to return.
    seed: of the draws.

  Returns:
    int32 [count, T].
  """
  # The sampler draws row numbers. It needs a second class: number n, alone in class 1.
  index = np.arange(len(rows) + 1)[:, None]
  wanted = {0: len(rows) + count, 1: 1}
  sampler = RandomOverSampler(sampling_strategy=wanted, random_state=seed)
  drawn, _ = sampler.fit_resample(index, (index[:, 0] == len(rows)).astype(int))
  return rows[drawn[len(rows) + 1 :, 0]]  # the draws follow the input
