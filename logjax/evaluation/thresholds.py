"""Thresholds: the lowest score of an abnormal example. N examples, G distinct scores.

NumPy alone is needed here: a saved detector is scored without scikit-learn.
"""

import numpy as np

from logjax.evaluation.formulas import checked

THRESHOLD = 0.5  # of probabilities, where nothing better is known


def choose_threshold(kind: str, abnormal: np.ndarray, scores: np.ndarray) -> float:
  """Chooses a threshold for `score >= threshold`.

  Args:
    kind: `config.detector.threshold`: 'half' for 0.5, 'valid_f1' for the best F1 of the abnormal
      class on the validation examples.
    abnormal: truth of the validation examples, bool [N].
    scores: of the validation examples [N].

  Raises:
    LogjaxError: scores are not finite.
  """
  if kind == 'half' or not len(scores):
    return THRESHOLD
  return best_f1_threshold(abnormal, scores)


def best_f1_threshold(abnormal: np.ndarray, scores: np.ndarray) -> float:
  """Returns the threshold with the highest abnormal F1 (equation 10), for `score >= threshold`.

  It lies midway between the lowest score at or above it and the next lower score, so it does not
  depend on the last digit of one row. Without a lower score it is the lowest score itself. Of
  equally good thresholds the highest is taken: it raises the fewest alarms.

  Args:
    abnormal: bool [N], the truth of the validation rows.
    scores: [N], their scores.

  Returns:
    The threshold; 0.5 without abnormal rows, because then all thresholds are equally good.

  Raises:
    LogjaxError: scores are not finite.
  """
  abnormal, scores = checked(abnormal, scores)
  if not abnormal.any():
    return THRESHOLD
  values, found, called = counts_by_threshold(abnormal, scores)
  f1 = 2 * found / (called + found[-1])
  best = int(np.argmax(f1))  # the first of equals; thresholds run from high to low
  upper = values[best]
  if best + 1 == len(values):
    return float(upper)
  lower = values[best + 1]
  middle = lower / 2 + upper / 2  # lower + upper could overflow
  # Neighbouring floats have no middle: it would round to one of them.
  return float(middle if lower < middle <= upper else upper)


def counts_by_threshold(
  abnormal: np.ndarray, scores: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Counts the rows called abnormal with each score as the threshold.

  Args:
    abnormal: bool [N], the truth.
    scores: [N].

  Returns:
    The distinct scores, falling, float [G]; the abnormal rows at or above each, int [G]; all rows
    at or above each, int [G].
  """
  order = np.argsort(-scores, kind='stable')
  falling = scores[order]
  # The last place of each score: the next place has another score, or there is none.
  last = np.flatnonzero(np.append(falling[1:] != falling[:-1], True)[: len(falling)])
  return falling[last], np.cumsum(abnormal[order])[last], last + 1
