"""The bootstrap: every metric of many methods on resamples of the test rows.

A draw takes as many test rows as there are, with replacement, and measures all methods on the same
rows, so that differences between methods are paired. Or it takes whole groups of rows: the lines of
one text have one score, and a burst of them is one piece of evidence, not many.

Shapes: M methods, N test rows, D draws, K kinds of rows, G groups.
"""

from typing import NamedTuple

import numpy as np

from logjax.evaluation.formulas import METRICS, kinds_of, measure

_CHUNK = 1 << 18  # counts that are measured at once: few arrays of this size fit a cache


class _Clusters(NamedTuple):
  """The groups that are drawn, and the rows that each brings.

  P pairs of a group and a kind of rows in it.

  Attributes:
    groups: G.
    group: int [P].
    kind: int [P].
    rows: int [P], rows of that kind in that group.
  """

  groups: int
  group: np.ndarray
  kind: np.ndarray
  rows: np.ndarray


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
  """Computes `METRICS` for every method on `draws` resamples of the rows.

  With groups this is the cluster bootstrap (Davison & Hinkley, Bootstrap Methods and their
  Application, 1997, section 3.8): G groups are drawn G times, each with all its rows.

  Draw d depends on the seed, N (with groups on G) and d alone. So methods that two calls measure on
  the same rows are paired, and calls on different rows of the same G groups draw the same groups.
  Memory grows with N and with M x D, not with N x D.

  Args:
    abnormal: bool [N], the truth.
    scores: [M, N], higher is more abnormal; equal scores are ties.
    thresholds: [M].
    draws: D.
    seed: of the resamples, not negative.
    group: int [N]; rows of one group are drawn together. None: each row is a group of its own.
    groups: G, if `group` has numbers from 0 to G - 1 and some of them may have no rows here. None:
      the groups that have rows.

  Returns:
    Metric -> float [M, D], NaN where it is undefined.

  Raises:
    LogjaxError: scores are not finite.
  """
  kinds = kinds_of(abnormal, scores)
  clusters = _clusters(kinds.kind, group, groups)
  result = {name: np.empty((len(kinds.scores), draws)) for name in METRICS}
  size = max(8, _CHUNK // max(1, len(kinds.abnormal)))
  for start in range(0, draws, size):
    chunk = range(start, min(start + size, draws))
    counts = _resample(clusters, len(kinds.abnormal), chunk, seed)
    for name, values in measure(kinds, counts, thresholds).items():
      result[name][:, chunk.start : chunk.stop] = values
  return result


def _clusters(kind: np.ndarray, group: np.ndarray | None, groups: int | None) -> _Clusters:
  """Counts the rows of each kind in each group; kind int [N]."""
  if group is None:
    return _Clusters(len(kind), np.arange(len(kind)), kind, np.ones_like(kind))
  if groups is None:
    known, group = np.unique(group, return_inverse=True)
    groups = len(known)
  kinds = int(kind.max(initial=0)) + 1
  pair, rows = np.unique(group * kinds + kind, return_counts=True)  # (group, kind) as one integer
  return _Clusters(groups, pair // kinds, pair % kinds, rows)


def _resample(clusters: _Clusters, kinds: int, draws: range, seed: int) -> np.ndarray:
  """Draws groups and counts the rows of each kind, int32 [D, K]."""
  counts = np.empty((len(draws), kinds), np.int32)
  groups = clusters.groups
  for place, draw in enumerate(draws):
    # A generator for each draw, so that it does not depend on the number of other draws.
    drawn = np.random.default_rng([seed, groups, draw]).integers(0, max(1, groups), groups)
    times = np.bincount(drawn, minlength=groups)[clusters.group]
    counts[place] = np.bincount(clusters.kind, weights=times * clusters.rows, minlength=kinds)
  return counts
