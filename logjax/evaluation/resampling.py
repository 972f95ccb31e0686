"""Every metric of many methods on many resamples of the test rows: the bootstrap's engine.

A draw takes as many test rows as there are, with replacement, and measures all methods on the same
ones, so that differences between methods are paired. Or it takes whole groups of rows: the lines of
a text have one score, and a burst of them is one piece of evidence, not many. The metrics are those
of `metrics`, found by counting how often a draw has each kind of row: nothing is sorted anew.

Shapes: M methods, N test rows, D draws, K kinds of rows, G groups of rows.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from logjax.evaluation.metrics import checked

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
_CHUNK = 1 << 18  # counts that are measured at once: few arrays of that size fit a cache


class _Clusters(NamedTuple):
  """What is drawn, and which rows that brings.

  Attributes:
    groups: G.
    group: int [P], for each pair of a group and a kind of which it has rows, the group.
    kind: int [P], and the kind.
    rows: int [P], how many.
  """

  groups: int
  group: np.ndarray
  kind: np.ndarray
  rows: np.ndarray


class _Ranking(NamedTuple):
  """One method's kinds by falling score; kinds with equal scores have neighbouring places.

  Attributes:
    order: int [K], kinds.
    starts: int [G], places in the order where a score begins that some abnormal kind has.
    ends: int [G], places where these scores end, exclusive.
  """

  order: np.ndarray
  starts: np.ndarray
  ends: np.ndarray


def metrics_of_rows(
  abnormal: np.ndarray, scores: np.ndarray, thresholds: np.ndarray
) -> dict[str, np.ndarray]:
  """Every one of `METRICS` for every method, NaN where `metrics.evaluate_scores` has None.

  Args:
    abnormal: bool [N], the truth.
    scores: [M, N], higher is more abnormal.
    thresholds: [M]; a row is called abnormal when its score is at least the threshold.

  Returns:
    Metric -> float [M].

  Raises:
    LogjaxError: scores that are not finite.
  """
  kind, abnormal, scores = _kinds(abnormal, scores)
  counts = np.bincount(kind, minlength=len(abnormal))[None]
  measured = _measure(counts, abnormal, scores, thresholds, [_ranking(abnormal, s) for s in scores])
  return {name: values[:, 0] for name, values in measured.items()}


def resampled_metrics(
  abnormal: np.ndarray,
  scores: np.ndarray,
  thresholds: np.ndarray,
  *,
  draws: int = 1000,
  seed: int,
  group: np.ndarray | None = None,
  groups: int | None = None,
) -> dict[str, np.ndarray]:
  """Every one of `METRICS` for every method on `draws` resamples of the rows.

  With groups this is the cluster bootstrap (Davison & Hinkley, Bootstrap Methods and their
  Application, 1997, section 3.8): G groups are drawn G times, each with all its rows.

  What draw d takes depends on the seed, N (with groups on G) and d alone: methods measured by two
  calls on the same rows are paired as those of one call are, and calls on different rows of the
  same G groups draw the same groups. Memory grows with N and with M x D, not with N x D.

  Args:
    abnormal: bool [N], the truth.
    scores: [M, N], higher is more abnormal; equal scores are ties.
    thresholds: [M].
    draws: D.
    seed: of the resamples, not negative.
    group: int [N], whose rows are drawn together; None for each row on its own.
    groups: G, where `group` has numbers below it and not all need have rows; None for those that
      have.

  Returns:
    Metric -> float [M, D], NaN where it is undefined.

  Raises:
    LogjaxError: scores that are not finite.
  """
  kind, abnormal, scores = _kinds(abnormal, scores)
  rankings = [_ranking(abnormal, row) for row in scores]
  clusters = _clusters(kind, group, groups)
  result = {name: np.empty((len(scores), draws)) for name in METRICS}
  size = max(8, _CHUNK // max(1, len(abnormal)))
  for start in range(0, draws, size):
    chunk = range(start, min(start + size, draws))
    counts = _resample(clusters, len(abnormal), chunk, seed)
    measured = _measure(counts, abnormal, scores, thresholds, rankings)
    for name, values in measured.items():
      result[name][:, chunk.start : chunk.stop] = values
  return result


def _kinds(abnormal: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Rows that have the same label and the same score by every method are of one kind.

  Log lines repeat, so kinds are often far fewer than rows, and no metric tells their rows apart.

  Returns:
    The kind of each row, int [N]; of each kind whether it is abnormal, bool [K], and its scores,
    float64 [M, K]. K is N at most, and N where every row is of its own kind.
  """
  abnormal, scores = np.asarray(abnormal, bool), np.atleast_2d(scores)
  scores = np.stack([checked(abnormal, row)[1] for row in scores])
  kind = abnormal.astype(np.int64)
  for row in scores:
    values, place = np.unique(row, return_inverse=True)
    kind = np.unique(kind * len(values) + place, return_inverse=True)[1]
  first = np.unique(kind, return_index=True)[1]
  return kind, abnormal[first], scores[:, first]


def _ranking(abnormal: np.ndarray, scores: np.ndarray) -> _Ranking:
  """The ranking of kinds, `abnormal` bool [K], by one method's scores [K]."""
  order = np.argsort(-scores, kind='stable')
  falling = scores[order]
  starts = np.flatnonzero(np.append(True, falling[1:] != falling[:-1])[: len(order)])
  ends = np.append(starts[1:], len(order))
  has_abnormal = np.add.reduceat(abnormal[order], starts, dtype=np.int64) > 0
  return _Ranking(order, starts[has_abnormal], ends[has_abnormal])


def _clusters(kind: np.ndarray, group: np.ndarray | None, groups: int | None) -> _Clusters:
  """Which kinds each group has, `kind` int [N]; without groups each row is one."""
  if group is None:
    return _Clusters(len(kind), np.arange(len(kind)), kind, np.ones_like(kind))
  if groups is None:
    known, group = np.unique(group, return_inverse=True)
    groups = len(known)
  kinds = int(kind.max(initial=0)) + 1
  pair, rows = np.unique(group * kinds + kind, return_counts=True)
  return _Clusters(groups, pair // kinds, pair % kinds, rows)


def _resample(clusters: _Clusters, kinds: int, draws: range, seed: int) -> np.ndarray:
  """How often each kind is among the rows of each draw, int32 [D, K]."""
  counts = np.empty((len(draws), kinds), np.int32)
  groups = clusters.groups
  for place, draw in enumerate(draws):
    # A generator for each draw: what it draws does not depend on how many others are made.
    drawn = np.random.default_rng([seed, groups, draw]).integers(0, max(1, groups), groups)
    times = np.bincount(drawn, minlength=groups)[clusters.group]
    counts[place] = np.bincount(clusters.kind, weights=times * clusters.rows, minlength=kinds)
  return counts


def _measure(
  counts: np.ndarray,
  abnormal: np.ndarray,
  scores: np.ndarray,
  thresholds: np.ndarray,
  rankings: Sequence[_Ranking],
) -> dict[str, np.ndarray]:
  """Every metric of every method, [M, D], of rows given as counts of kinds, int [D, K]."""
  alarms = scores >= np.asarray(thresholds, np.float64)[:, None]
  # Whole numbers below 2^53, so that these products are exact.
  weights = counts.astype(np.float64)
  rows, positives = weights.sum(axis=1), weights @ abnormal
  found, called = (alarms & abnormal) @ weights.T, alarms @ weights.T
  missed, false_alarms = positives - found, called - found
  passed = rows - called - missed
  result = dict.fromkeys(METRICS)
  for name, true, false, lost in (
    ('abnormal', found, false_alarms, missed),
    ('normal', passed, missed, false_alarms),
  ):
    result[f'{name}_precision'] = _ratio(true, true + false)
    result[f'{name}_recall'] = _ratio(true, true + lost)
    result[f'{name}_f1'] = _ratio(2 * true, 2 * true + false + lost)
  result['accuracy'] = _ratio(found + passed, rows)
  # A root of each factor: their product has up to four times the digits of N.
  sides = (called, positives, rows - positives, rows - called)
  norm = np.prod([np.sqrt(side) for side in np.broadcast_arrays(*sides)], axis=0)
  result['mcc'] = _ratio(found * passed - false_alarms * missed, norm)
  areas = np.array([_areas(counts, abnormal, ranking) for ranking in rankings])
  result['auroc'], result['auprc'] = areas[:, 0], areas[:, 1]
  return result


def _areas(
  counts: np.ndarray, abnormal: np.ndarray, ranking: _Ranking
) -> tuple[np.ndarray, np.ndarray]:
  """AUROC and AUPRC of one method's ranking in every draw, each [D]; counts int [D, K].

  AUROC is the share of pairs (abnormal, normal) in which the abnormal row scores higher, ties
  counting one half; AUPRC is average precision, as scikit-learn defines it. Both are sums over the
  scores that abnormal rows have, which are few.
  """
  order, starts, ends = ranking
  before = _running(counts, order)
  kinds = np.flatnonzero(abnormal[order])  # places of the abnormal kinds
  upto = _running(counts, order[kinds])
  found_before, found = (
    upto[:, np.searchsorted(kinds, starts)],
    upto[:, np.searchsorted(kinds, ends)],
  )
  new = found - found_before
  called_before, called = before[:, starts], before[:, ends]
  rows, positives = before[:, -1].astype(np.float64), upto[:, -1].astype(np.float64)
  normal_before, normal = called_before - found_before, called - found
  lower = (rows - positives)[:, None] - (normal_before + normal) / 2  # ties are halved
  auroc = _ratio((new * lower).sum(axis=1), positives * (rows - positives))
  precision = found / np.maximum(called, 1)
  # Average precision would be 1 without normal rows; `evaluate_scores` calls it undefined.
  both = (positives > 0) & (positives < rows)
  auprc = np.where(both, _ratio((new * precision).sum(axis=1), positives), np.nan)
  return auroc, auprc


def _running(counts: np.ndarray, order: np.ndarray) -> np.ndarray:
  """How many rows are before each place of an order, and in all, int32 [D, len(order) + 1]."""
  # One integer type throughout: a sum that converts is ten times slower.
  running = np.zeros((len(counts), len(order) + 1), np.int32)
  np.cumsum(np.take(counts, order, axis=1), axis=1, dtype=np.int32, out=running[:, 1:])
  return running


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
  """The quotient, NaN where the divisor is 0."""
  part, whole = np.broadcast_arrays(part, whole)
  return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole != 0)
