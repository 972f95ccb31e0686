"""What a detector's scores are worth: the paper's equations 7 to 10, AUROC, AUPRC and MCC.

Abnormal is the positive class everywhere in logjax: a higher score means more abnormal. The paper
(Farzad & Gulliver 2020) calls normal lines positive; its T_p is `true_normal` here and its T_n is
`true_abnormal`, and both classes are always reported, so that its tables can be read off.

Shapes: N rows of the set that is evaluated.
"""

import math
import statistics
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from logjax.errors import LogjaxError

THRESHOLD = 0.5  # of every simple rival: none is tuned on validation rows

_COUNTS = frozenset({'rows', 'abnormal_rows', 'synthetic_rows'})


def evaluate_scores(abnormal: np.ndarray, scores: np.ndarray, threshold: float) -> dict[str, Any]:
  """Every metric of one set of rows, both classes; a metric that is undefined is None.

  A row is predicted abnormal when its score is at least the threshold. Accuracy is the paper's
  equation 7, precision equation 8, recall equation 9, the F-measure equation 10, written for its
  positive (normal) class under `normal` and with the classes exchanged under `abnormal`.

  Undefined, hence None: precision without a prediction of that class, recall without a row of it,
  F1 where there is neither, AUROC and AUPRC with rows of one class only, MCC where a row or a
  column of the confusion matrix is empty; without rows everything.

  Args:
    abnormal: bool [N], the truth.
    scores: [N], higher is more abnormal.
    threshold: on the scale of the scores.

  Returns:
    A dict ready for JSON, with the confusion matrix as counts under `confusion`.

  Raises:
    LogjaxError: scores that are not finite, the mark of a detector that diverged.
  """
  abnormal, scores = checked(abnormal, scores)
  predicted = scores >= threshold
  true_abnormal = int(np.sum(predicted & abnormal))
  false_abnormal = int(np.sum(predicted & ~abnormal))
  false_normal = int(np.sum(~predicted & abnormal))
  true_normal = int(np.sum(~predicted & ~abnormal))
  both_classes = 0 < abnormal.sum() < len(abnormal)
  return {
    'rows': len(abnormal),
    'abnormal_rows': int(abnormal.sum()),
    'accuracy': _ratio(true_abnormal + true_normal, len(abnormal)),
    'normal': _class_metrics(true_normal, false_normal, false_abnormal),
    'abnormal': _class_metrics(true_abnormal, false_abnormal, false_normal),
    'auroc': float(roc_auc_score(abnormal, scores)) if both_classes else None,
    'auprc': float(average_precision_score(abnormal, scores)) if both_classes else None,
    'mcc': _matthews(true_abnormal, false_abnormal, false_normal, true_normal),
    'confusion': {
      'true_abnormal': true_abnormal,
      'false_abnormal': false_abnormal,
      'false_normal': false_normal,
      'true_normal': true_normal,
    },
    'threshold': float(threshold),
  }


def average(results: list[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
  """Mean and sample standard deviation (n - 1) of repetitions, key by key through nested dicts.

  A metric that is undefined in any repetition is None in both: a mean over the repetitions where
  it happens to exist would leave out exactly those that went worst, and look better for it. With
  one repetition every standard deviation is None. Numbers of rows stay integers in the mean.

  Args:
    results: one dict a repetition, all with the same keys, leaves numbers or None.

  Returns:
    The means and the standard deviations, two dicts with the keys of the results.

  Raises:
    ValueError: no results, or results with different keys.
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


def best_f1_threshold(abnormal: np.ndarray, scores: np.ndarray) -> float:
  """The threshold with the highest abnormal F1 (equation 10), for `score >= threshold`.

  It lies midway between the lowest score that it calls abnormal and the next lower one, so that it
  is not tuned to one row's last digit; where no lower score exists it is the lowest score itself.
  Of equally good thresholds the highest is taken, the one that raises the fewest alarms.

  Args:
    abnormal: bool [N], the truth of the validation rows.
    scores: [N], their scores.

  Returns:
    The threshold; 0.5 where no row is abnormal, because then no threshold is better than another.

  Raises:
    LogjaxError: scores that are not finite.
  """
  abnormal, scores = checked(abnormal, scores)
  if not abnormal.any():
    return 0.5
  values, found, alarms = _cuts(abnormal, scores)
  f1 = 2 * found / (alarms + found[-1])
  best = int(np.argmax(f1))  # the first of equals, and the cuts run from high to low
  upper = values[best]
  if best + 1 == len(values):
    return float(upper)
  lower = values[best + 1]
  middle = lower / 2 + upper / 2  # lower + upper could overflow
  # Between neighbouring floats there is no middle: it would round onto one of them.
  return float(middle if lower < middle <= upper else upper)


def precision_recall_points(
  abnormal: np.ndarray, scores: np.ndarray, most: int = 200
) -> dict[str, list[float]]:
  """The precision-recall curve of the abnormal class, thinned to what a plot can show.

  The points kept are spread evenly over recall, and the first and the last are always among them.

  Args:
    abnormal: bool [N], the truth.
    scores: [N], higher is more abnormal.
    most: the greatest number of points, at least 2.

  Returns:
    Equally long lists `precision`, `recall` and `threshold`, recall ascending; empty lists where
    no row is abnormal, because then recall is undefined.

  Raises:
    LogjaxError: scores that are not finite.
  """
  abnormal, scores = checked(abnormal, scores)
  if not abnormal.any():
    return {'precision': [], 'recall': [], 'threshold': []}
  values, found, alarms = _cuts(abnormal, scores)
  if len(values) > most:
    # `found` ascends and so does recall: the first cut that reaches each of the wanted recalls.
    wanted = np.linspace(found[0], found[-1], most - 1)
    kept = np.unique(np.append(np.searchsorted(found, wanted), len(values) - 1))
    values, found, alarms = values[kept], found[kept], alarms[kept]
  return {
    'precision': (found / alarms).tolist(),
    'recall': (found / found[-1]).tolist(),
    'threshold': values.tolist(),
  }


def natural_precision(metrics: Mapping[str, Any], share: float) -> dict[str, float | None]:
  """Precision of both classes as it were if a given share of the rows were abnormal.

  A test set with generated rows has more abnormal ones than the log, and precision grows with
  their share while recall does not. With recall r of abnormal and s of normal rows and a share p
  it is p r / (p r + (1 - p)(1 - s)) for abnormal, and (1 - p) s / ((1 - p) s + p (1 - r)) for
  normal.

  Args:
    metrics: of `evaluate_scores`, or any dict with the recall of both classes.
    share: of abnormal rows in the log.

  Returns:
    `normal` and `abnormal`, None where a recall is, or where nothing is called so.
  """
  abnormal, normal = metrics['abnormal']['recall'], metrics['normal']['recall']
  if abnormal is None or normal is None:
    return {'normal': None, 'abnormal': None}
  true_abnormal, false_normal = share * abnormal, share * (1 - abnormal)
  true_normal, false_abnormal = (1 - share) * normal, (1 - share) * (1 - normal)
  return {
    'normal': _ratio(true_normal, true_normal + false_normal),
    'abnormal': _ratio(true_abnormal, true_abnormal + false_abnormal),
  }


def checked(abnormal: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the truth as bool [N] and the scores as float64 [N]: float32 would not hold a middle.

  Raises:
    LogjaxError: scores that are not finite, the mark of a detector that diverged.
    ValueError: shapes that differ.
  """
  abnormal, scores = np.asarray(abnormal, bool), np.asarray(scores, np.float64)
  if abnormal.ndim != 1 or abnormal.shape != scores.shape:
    raise ValueError(f'abnormal {abnormal.shape} and scores {scores.shape} must both be [N]')
  broken = int(np.sum(~np.isfinite(scores)))
  if broken:
    raise LogjaxError(
      f'{broken:,} of {len(scores):,} scores are not finite: the detector diverged; '
      'lower its learning rate and run again in a new workdir'
    )
  return abnormal, scores


def _cuts(abnormal: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Every distinct score as a threshold, from high to low, with what it finds.

  Returns:
    The K distinct scores descending, and for each the abnormal rows at or above it and all rows
    at or above it, each [K].
  """
  values, where = np.unique(scores, return_inverse=True)
  found = np.bincount(where, weights=abnormal, minlength=len(values))
  rows = np.bincount(where, minlength=len(values))
  return values[::-1], np.cumsum(found[::-1]), np.cumsum(rows[::-1])


def _class_metrics(true: int, false: int, missed: int) -> dict[str, float | None]:
  """Equations 8 to 10 of one class, from its T_p (`true`), F_p (`false`) and F_n (`missed`)."""
  return {
    'precision': _ratio(true, true + false),
    'recall': _ratio(true, true + missed),
    # 2PR/(P+R) with P and R written out, which is also defined where only one of them is.
    'f1': _ratio(2 * true, 2 * true + false + missed),
  }


def _ratio(part: float, whole: float) -> float | None:
  return part / whole if whole else None


def _matthews(
  true_abnormal: int, false_abnormal: int, false_normal: int, true_normal: int
) -> float | None:
  """Matthews' correlation of truth and prediction, from Python integers, which cannot overflow."""
  product = (
    (true_abnormal + false_abnormal)
    * (true_abnormal + false_normal)
    * (true_normal + false_abnormal)
    * (true_normal + false_normal)
  )
  if product == 0:
    return None
  return (true_abnormal * true_normal - false_abnormal * false_normal) / math.sqrt(product)
