"""The score from which an example is called abnormal."""

import numpy as np

THRESHOLD = 0.5  # of probabilities, where nothing better is known


def choose_threshold(kind: str, abnormal: np.ndarray, scores: np.ndarray) -> float:
  """Chooses a threshold for `score >= threshold`.

  Args:
    kind: `config.detector.threshold`: 'half' for 0.5, 'valid_f1' for the best F1 of the abnormal
      class on the validation examples.
    abnormal: truth of the validation examples, bool [N].
    scores: of the validation examples [N].
  """
  if kind == 'half' or not len(scores):
    return THRESHOLD
  # Not at the top: it loads scikit-learn, and scoring with a saved detector needs none.
  from logjax.evaluation.metrics import best_f1_threshold

  return best_f1_threshold(abnormal, scores)
