"""Oversampling that repeats real rows. n rows, T tokens a row."""

import numpy as np
from imblearn.over_sampling import RandomOverSampler


def random_rows(rows: np.ndarray, count: int, seed: int) -> np.ndarray:
  """Draws `count` of the rows [n, T] with replacement, by imbalanced-learn.

  Args:
    rows: int32 [n, T].
    count: rows to return.
    seed: of the draws.

  Returns:
    int32 [count, T].
  """
  index = np.arange(len(rows) + 1)[:, None]  # one row of another class, which the sampler needs
  wanted = {0: len(rows) + count, 1: 1}
  sampler = RandomOverSampler(sampling_strategy=wanted, random_state=seed)
  drawn, _ = sampler.fit_resample(index, (index[:, 0] == len(rows)).astype(int))
  return rows[drawn[len(rows) + 1 :, 0]]
