"""Metrics of a detector's scores: the paper's equations 7 to 10, AUROC, AUPRC and MCC.

Abnormal is the positive class everywhere in logjax: a higher score means more abnormal. The paper
(Farzad & Gulliver 2020) calls normal lines positive. Its T_p is the number of normal rows that were
called normal, its T_n the number of abnormal rows that were called abnormal. Both classes are
always reported. The formulas are in `formulas.py`.

Shapes: N rows of the set that is evaluated.
"""

import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np

from logjax.evaluation.formulas import checked, metrics_of_rows, none_if_nan, ratio
from logjax.evaluation.thresholds import counts_by_threshold

_COUNTS = frozenset({'rows', 'abnormal_rows', 'synthetic_rows'})


def evaluate_scores(abnormal: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, Any]:
  """Computes every metric of one set of rows for both classes; an undefined metric is None.

  A row is called abnormal when its score is at least the threshold. Accuracy is the paper's
  equation 7, precision equation 8, recall equation 9 and the F-measure equation 10: for its
  positive (normal) class under `normal`, and with the classes exchanged under `abnormal`.

  Undefined are: precision if no row was called so, recall without a row of the class, F1 if both
  hold, AUROC and AUPRC with rows of one class only, MCC if a row or a column of the confusion
  matrix is empty, and every metric without rows.

  Args:
    abnormal: bool [N], the truth.
    scores: [N], higher is more abnormal.
    threshold: on the scale of the scores.

  Returns:
    A dict ready for JSON, with the confusion matrix as counts under `confusion`.

  Raises:
    LogjaxError: scores are not finite, so the detector diverged.
  """
  abnormal, scores = checked(abnormal, scores)
  measured = metrics_of_rows(abnormal, scores[None], np.array([threshold]))
  value = {name: none_if_nan(values[0]) for name, values in measured.items()}
  called = scores >= threshold
  return {
    'rows': len(abnormal),
    'abnormal_rows': int(abnormal.sum()),
    'accuracy': value['accuracy'],
    **{
      side: {name: value[f'{side}_{name}'] for name in ('precision', 'recall', 'f1')}
      for side in ('normal', 'abnormal')
    },
    **{name: value[name] for name in ('auroc', 'auprc', 'mcc')},
    'confusion': {
      'true_abnormal': int(np.sum(called & abnormal)),
      'false_abnormal': int(np.sum(called & ~abnormal)),
      'false_normal': int(np.sum(~called & abnormal)),
      'true_normal': int(np.sum(~called & ~abnormal)),
    },
    'threshold': float(threshold),
  }


def average(results: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
  """Computes mean and sample standard deviation (n - 1) of repetitions, leaf by leaf.

  A metric that is undefined in one repetition is None in both. A mean over the other repetitions
  would leave out those that went worst, and look better for it. With one repetition every standard
  deviation is None. Numbers of rows stay integers in the mean.

  Args:
    results: one dict a repetition, all with the same keys; leaves are numbers or None.

  Returns:
    The means and the standard deviations, two dicts with the keys of the results.

  Raises:
    ValueError: there are no results, or they have different keys.
  """
  if not results:
    raise ValueError('no results to average')
  if any(result.keys() != results[0].keys() for result in results):
    raise ValueError('the results to average have different keys')
  mean, deviation = {}, {}
  for key in results[0]:
    values = [result[key] for result in results]
    if isinstance(values[0], dict):
      mean[key], deviation[key] = average(values)
    elif any(value is None for value in values):
      mean[key] = deviation[key] = None
    else:
      mean[key] = statistics.fmean(values)
      if key in _COUNTS:
        mean[key] = round(mean[key])
      deviation[key] = statistics.stdev(values) if len(values) > 1 else None
  return mean, deviation


def precision_recall_points(
  abnormal: np.ndarray, scores: np.ndarray, most: int = 200
) -> dict[str, list[float]]:
  """Computes the precision-recall curve of the abnormal class with few enough points to plot.

  The remaining points are spread evenly over recall. The first and the last one always remain.

  Args:
    abnormal: bool [N], the truth.
    scores: [N], higher is more abnormal.
    most: the greatest number of points, at least 2.

  Returns:
    Equally long lists `precision`, `recall` and `threshold`, recall ascending. They are empty
    without abnormal rows, because then recall is undefined.

  Raises:
    LogjaxError: scores are not finite.
  """
  abnormal, scores = checked(abnormal, scores)
  if not abnormal.any():
    return {'precision': [], 'recall': [], 'threshold': []}
  values, found, called = counts_by_threshold(abnormal, scores)
  if len(values) > most:
    # `found` ascends, and so does recall: take the first point that reaches each wanted recall.
    wanted = np.linspace(found[0], found[-1], most - 1)
    chosen = np.unique(np.append(np.searchsorted(found, wanted), len(values) - 1))
    values, found, called = values[chosen], found[chosen], called[chosen]
  return {
    'precision': (found / called).tolist(),
    'recall': (found / found[-1]).tolist(),
    'threshold': values.tolist(),
  }


def natural_precision(metrics: Mapping[str, Any], share: float) -> dict[str, float | None]:
  """Computes the precision of both classes for another share of abnormal rows.

  A test set with generated rows has a higher share of abnormal rows than the log. Precision grows
  with that share; recall does not. With recall r of abnormal rows, recall s of normal rows and a
  share p, precision is p r / (p r + (1 - p)(1 - s)) for abnormal rows and
  (1 - p) s / ((1 - p) s + p (1 - r)) for normal rows.

  Args:
    metrics: of `evaluate_scores`, or any dict with the recall of both classes.
    share: of abnormal rows in the log.

  Returns:
    `normal` and `abnormal`; None if a recall is undefined or no row was called so.
  """
  abnormal, normal = metrics['abnormal']['recall'], metrics['normal']['recall']
  if abnormal is None or normal is None:
    return {'normal': None, 'abnormal': None}
  true_abnormal, false_normal = share * abnormal, share * (1 - abnormal)
  true_normal, false_abnormal = (1 - share) * normal, (1 - share) * (1 - normal)
  return {
    'normal': none_if_nan(ratio(true_normal, true_normal + false_normal)),
    'abnormal': none_if_nan(ratio(true_abnormal, true_abnormal + false_abnormal)),
  }
