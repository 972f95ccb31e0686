"""The formula of every metric, for many methods and many resamples of the rows at once.

A resample of the rows changes how often a row counts, not its label or its score. Rows with the
same label and the same scores form one kind, and a resample is a count for every kind. So nothing
is sorted again for a resample. `metrics.evaluate_scores` has one method and counts each row once.

Shapes: N rows, M methods, K kinds of rows, D draws (resamples), G scores of a ranking.
"""

from typing import NamedTuple

import numpy as np

from logjax.errors import LogjaxError

METRICS = (
  'abnormal_precision',
  'abnormal_recall',
  'abnormal_f1',
  'normal_precision',
  'normal_recall',
  'normal_f1',
  'accuracy',
  'mcc',
  'auroc',
  'auprc',
)


class Ranking(NamedTuple):
  """Kinds of rows by falling score; kinds with equal scores are neighbours.

  Attributes:
    order: int [K], the kinds.
    starts: int [G], places in `order` where a score begins that some abnormal kind has.
    ends: int [G], the places where these scores end, exclusive.
  """

  order: np.ndarray
  starts: np.ndarray
  ends: np.ndarray


class Kinds(NamedTuple):
  """Rows grouped by their label and their scores.

  Log lines repeat, so there are often far fewer kinds than rows. No metric needs more than the
  number of rows of each kind.

  Attributes:
    kind: int [N], the kind of each row.
    abnormal: bool [K].
    scores: float64 [M, K].
    rankings: M, one a method.
  """

  kind: np.ndarray
  abnormal: np.ndarray
  scores: np.ndarray
  rankings: tuple[Ranking, ...]


def metrics_of_rows(
  abnormal: np.ndarray, scores: np.ndarray, thresholds: np.ndarray
) -> dict[str, np.ndarray]:
  """Computes `METRICS` for every method; undefined ones are NaN.

  Args:
    abnormal: bool [N], the truth.
    scores: [M, N], higher is more abnormal.
    thresholds: [M].

  Returns:
    Metric -> float [M].

  Raises:
    LogjaxError: scores are not finite.
  """
  kinds = kinds_of(abnormal, scores)
  counts = np.bincount(kinds.kind, minlength=len(kinds.abnormal))[None]
  return {name: values[:, 0] for name, values in measure(kinds, counts, thresholds).items()}


def kinds_of(abnormal: np.ndarray, scores: np.ndarray) -> Kinds:
  """Groups rows by label and scores.

  Args:
    abnormal: bool [N].
    scores: [M, N].

  Raises:
    LogjaxError: scores are not finite.
  """
  abnormal = np.asarray(abnormal, bool)
  scores = np.stack([checked(abnormal, row)[1] for row in np.atleast_2d(scores)])
  kind = abnormal.astype(np.int64)
  for row in scores:
    values, place = np.unique(row, return_inverse=True)
    # (kind so far, score) as one integer, made small again so that the next product cannot overflow
    kind = np.unique(kind * len(values) + place, return_inverse=True)[1]
  first = np.unique(kind, return_index=True)[1]  # one row of each kind
  abnormal, scores = abnormal[first], scores[:, first]
  return Kinds(kind, abnormal, scores, tuple(rank(abnormal, row) for row in scores))


def rank(abnormal: np.ndarray, scores: np.ndarray) -> Ranking:
  """Ranks kinds (or rows) by falling score; abnormal bool [K], scores [K]."""
  order = np.argsort(-scores, kind='stable')
  falling = scores[order]
  # A score begins at place 0 and wherever the score changes; without kinds there is no place 0.
  starts = np.flatnonzero(np.append(True, falling[1:] != falling[:-1])[: len(order)])
  ends = np.append(starts[1:], len(order))
  has_abnormal = np.add.reduceat(abnormal[order], starts, dtype=np.int64) > 0
  return Ranking(order, starts[has_abnormal], ends[has_abnormal])


def measure(kinds: Kinds, counts: np.ndarray, thresholds: np.ndarray) -> dict[str, np.ndarray]:
  """Computes `METRICS` of every method in every draw, each [M, D]; undefined ones are NaN.

  Args:
    kinds: of the rows.
    counts: int [D, K], rows of each kind in each draw.
    thresholds: [M].
  """
  alarms = kinds.scores >= np.asarray(thresholds, np.float64)[:, None]
  # Whole numbers below 2^53: their sums are exact.
  weights = counts.astype(np.float64)
  rows, positives = weights.sum(axis=1), weights @ kinds.abnormal
  called, found = alarms @ weights.T, (alarms & kinds.abnormal) @ weights.T
  false_alarms, missed = called - found, positives - found
  passed = rows - called - missed  # normal rows that were called normal
  result: dict[str, np.ndarray] = {}
  for side, true, false, lost in (
    ('abnormal', found, false_alarms, missed),
    ('normal', passed, missed, false_alarms),
  ):
    result[f'{side}_precision'] = ratio(true, true + false)
    result[f'{side}_recall'] = ratio(true, true + lost)
    # 2PR / (P + R) with P and R written out; this form is defined if only one of them is.
    result[f'{side}_f1'] = ratio(2 * true, 2 * true + false + lost)
  result['accuracy'] = ratio(found + passed, rows)
  # Two roots: the product of all four sides has up to four times the digits of N.
  norm = np.sqrt(called * positives) * np.sqrt((rows - positives) * (rows - called))
  result['mcc'] = ratio(found * passed - false_alarms * missed, norm)
  areas = [ranked_areas(kinds.abnormal, counts, ranking) for ranking in kinds.rankings]
  result['auroc'] = ratio(*(np.array([area[name] for area in areas]) for name in ('won', 'pairs')))
  result['auprc'] = np.array([area['auprc'] for area in areas])
  return {name: result[name] for name in METRICS}


def ranked_areas(
  abnormal: np.ndarray, counts: np.ndarray, ranking: Ranking
) -> dict[str, np.ndarray]:
  """Computes what AUROC and AUPRC of one ranking are made of, in every draw.

  AUROC is the share of pairs of an abnormal and a normal row in which the abnormal one has the
  higher score; a tie counts one half. AUPRC is average precision, as scikit-learn defines it. Both
  are sums over the scores of abnormal kinds, which are few.

  Args:
    abnormal: bool [K].
    counts: int [D, K].
    ranking: of the kinds.

  Returns:
    `won`, the pairs that the abnormal row wins, `pairs`, all pairs, and `auprc`, each float [D].
  """
  order, starts, ends = ranking
  # rows_before[:, p] is the number of rows at the places 0 to p - 1 of the order.
  rows_before = _running_sums(counts, order)
  # The same for abnormal rows alone, over the places of abnormal kinds. searchsorted turns a place
  # of the order into the number of abnormal kinds before it.
  places = np.flatnonzero(abnormal[order])
  abnormal_before = _running_sums(counts, order[places])
  found_before = abnormal_before[:, np.searchsorted(places, starts)]
  found = abnormal_before[:, np.searchsorted(places, ends)]
  called_before, called = rows_before[:, starts], rows_before[:, ends]
  rows, positives = rows_before[:, -1].astype(np.float64), abnormal_before[:, -1].astype(np.float64)
  new = found - found_before  # abnormal rows with just this score
  # Normal rows below this score, and half of those that have it.
  normal_before, normal = called_before - found_before, called - found
  lower = (rows - positives)[:, None] - (normal_before + normal) / 2
  precision = found / np.maximum(called, 1)
  # Average precision would be 1 without normal rows; it says nothing there.
  both = (positives > 0) & (positives < rows)
  return {
    'won': (new * lower).sum(axis=1),
    'pairs': positives * (rows - positives),
    'auprc': np.where(both, ratio((new * precision).sum(axis=1), positives), np.nan),
  }


def _running_sums(counts: np.ndarray, order: np.ndarray) -> np.ndarray:
  """Sums counts along an order: int32 [D, len(order) + 1], 0 first and all rows last."""
  # One integer type throughout: a sum that converts is ten times slower.
  sums = np.zeros((len(counts), len(order) + 1), np.int32)
  np.cumsum(np.take(counts, order, axis=1), axis=1, dtype=np.int32, out=sums[:, 1:])
  return sums


def checked(abnormal: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Returns the truth as bool [N] and the scores as float64 [N].

  float64, because float32 cannot represent the middle of two neighbouring scores.

  Raises:
    LogjaxError: scores are not finite, so the detector diverged.
    ValueError: the shapes differ.
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


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
  """Divides; NaN where the divisor is 0."""
  part, whole = np.broadcast_arrays(part, whole)
  return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)


def none_if_nan(value: float) -> float | None:
  """Returns a number for JSON: None for NaN, which marks an undefined metric."""
  return None if np.isnan(value) else float(value)
