"""Intervals: how far a metric may be trusted, over test rows or texts and over seeds.

Shapes: N test rows, D draws, R repetitions, S seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from logjax.evaluation.bootstrap import resampled_metrics
from logjax.evaluation.formulas import checked, metrics_of_rows, none_if_nan

# Abnormal texts that an interval over texts needs. With five texts a method that is better on each
# of them is so by luck in 2 / 2^5 cases, on both sides: that is more than 5 %.
FEWEST_TEXTS = 6
_WHOLE_LINE = (-np.inf, np.inf)


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
  """Returns the percentile interval of a metric's draws; it leaves out equally many at both ends.

  Draws in which the metric is undefined (NaN) are left out. If these are more than `1 - level` of
  all draws, both ends are NaN: the rest does not represent all draws.

  Args:
    draws: [D].
    level: the share of draws inside the interval.
  """
  defined = draws[~np.isnan(draws)]
  if not len(draws) or len(defined) < level * len(draws):
    return float('nan'), float('nan')
  low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
  return float(low), float(high)


def interval_of(
  abnormal: np.ndarray,
  scores: np.ndarray,
  thresholds: np.ndarray,
  metrics: Sequence[str] = ('auroc', 'accuracy'),
  *,
  draws: int = 1000,
  seed: int = 0,
) -> dict[str, Any]:
  """Computes means over repetitions, their intervals over test rows, and the accuracy of chance.

  The control with permuted labels needs these. `accuracy_chance` is the accuracy of predictions
  that are independent of the labels, at the given share of alarms: with a share a of alarms and a
  share p of abnormal rows it is a p + (1 - a)(1 - p), not one half.

  Args:
    abnormal: bool [N], the truth.
    scores: [R, N].
    thresholds: [R].
    metrics: some of `METRICS`.
    draws: of the bootstrap.
    seed: of the bootstrap.

  Returns:
    A dict ready for JSON: the mean of each metric under its name, [low, high] under its name with
    `_interval`, and `accuracy_chance`; None where undefined.
  """
  points = metrics_of_rows(abnormal, scores, thresholds)
  resampled = resampled_metrics(abnormal, scores, thresholds, draws=draws, seed=seed)
  result: dict[str, Any] = {}
  for name in metrics:
    result[name] = none_if_nan(points[name].mean())
    ends = interval(resampled[name].mean(axis=0))
    result[f'{name}_interval'] = [none_if_nan(end) for end in ends]
  result['accuracy_chance'] = None
  if len(abnormal):
    alarms, share = np.mean(scores >= np.asarray(thresholds)[:, None], axis=1), np.mean(abnormal)
    result['accuracy_chance'] = float(np.mean(alarms * share + (1 - alarms) * (1 - share)))
  return result


def chance_intervals(
  abnormal: np.ndarray,
  scores: np.ndarray,
  thresholds: np.ndarray,
  *,
  draws: int = 1000,
  seed: int = 0,
) -> dict[str, list[float | None]]:
  """Computes the 95 % intervals of AUROC and accuracy under random labels of the test rows.

  This is a permutation test of scores that know nothing of the labels, estimated by random draws.
  It also holds where a bootstrap fails: if no abnormal row has one of the rare scores, then no
  resample has either. It assumes that the choice of the test rows does not depend on their labels.

  Args:
    abnormal: bool [N].
    scores: [R, N].
    thresholds: [R].
    draws: permutations.
    seed: of the permutations.

  Returns:
    `auroc_chance_interval` and `accuracy_chance_interval`, each [low, high] of the mean over
    repetitions, ready for JSON; None where undefined.

  Raises:
    LogjaxError: scores are not finite.
  """
  scores = np.stack([checked(abnormal, row)[1] for row in scores])
  rows, positives = len(abnormal), int(np.sum(abnormal))
  auroc, accuracy = np.full(draws, np.nan), np.full(draws, np.nan)
  if 0 < positives < rows:
    # Midranks and alarms do not depend on labels: a draw only chooses the rows that are abnormal.
    ranks = scipy.stats.rankdata(scores, axis=1)
    alarms = scores >= np.asarray(thresholds)[:, None]
    called, generator = alarms.sum(axis=1), np.random.default_rng(seed)
    for draw in range(draws):
      chosen = generator.choice(rows, positives, replace=False, shuffle=False)
      # Mann-Whitney: the rank sum, less what the abnormal rows win among themselves.
      won = ranks[:, chosen].sum(axis=1) - positives * (positives + 1) / 2
      auroc[draw] = np.mean(won / (positives * (rows - positives)))
      found = alarms[:, chosen].sum(axis=1)
      right = found + (rows - positives) - (called - found)
      accuracy[draw] = np.mean(right / rows)
  return {
    f'{name}_chance_interval': [none_if_nan(end) for end in interval(values)]
    for name, values in (('auroc', auroc), ('accuracy', accuracy))
  }


def over_seeds(
  points: np.ndarray,
  draws: np.ndarray,
  *,
  bounds: tuple[float, float] = _WHOLE_LINE,
  seed: int = 0,
) -> dict[str, float | None]:
  """Computes the mean over seeds and its 95 % interval over seeds and test rows, ready for JSON.

  Each draw takes S - 1 of the S seeds with replacement, and the rows of that draw. With S - 1 the
  variance of the draws is that of the mean (Rao & Wu, Resampling Inference with Complex Survey
  Data, 1988). The difference between the seeds of a draw and all seeds is widened by Student's
  quantile over the normal one, because few seeds say little about how seeds differ. Without these
  two steps an interval over 5 seeds that differ by more than rows do covers 84 % instead of 95 %.
  With one seed the interval is over rows alone.

  Args:
    points: [S], the metric on the test rows of each seed.
    draws: [S, D], the metric on resamples of them; draw d of all seeds belongs together.
    bounds: least and greatest value of the metric; the ends are cut there.
    seed: of the choice of seeds; the same for methods that are compared.

  Returns:
    `mean`, `low` and `high`; None where undefined. The mean is undefined if it is for one seed.
  """
  count = len(points)
  values = draws.mean(axis=0)
  if count > 1:
    generator = np.random.default_rng([seed, count])
    picked = generator.multinomial(count - 1, np.full(count, 1 / count), draws.shape[1]).T
    deviation = (picked * draws).sum(axis=0) / (count - 1) - values
    values = values + deviation * _student_over_normal(count - 1)
  low, high = np.clip(interval(values), *bounds)
  return {'mean': none_if_nan(np.mean(points)), 'low': none_if_nan(low), 'high': none_if_nan(high)}


def widening(units: int) -> float:
  """Returns the factor that widens draws of few units, about the value of all, to cover 95 %.

  A bootstrap of n units has (n - 1) / n of the variance, and few units say little about how units
  differ: hence Student's quantile over the normal one.

  Args:
    units: such as abnormal texts, at least two.
  """
  return float(_student_over_normal(units - 1) * np.sqrt(units / (units - 1)))


def _student_over_normal(degrees: int) -> float:
  return scipy.stats.t.ppf(0.975, degrees) / scipy.stats.norm.ppf(0.975)


def over_rows_and_texts(
  points: np.ndarray,
  row_draws: np.ndarray,
  text_draws: np.ndarray,
  *,
  bounds: tuple[float, float] = _WHOLE_LINE,
) -> dict[str, float | None]:
  """Computes `over_seeds` and a second interval in which every text counts once.

  Args:
    points: [S].
    row_draws: [S, D], the metric on resamples of the rows.
    text_draws: [S, D], the metric on resamples of whole texts.
    bounds: as in `over_seeds`.

  Returns:
    `mean`, `low`, `high`, and the ends over texts as `low_texts` and `high_texts`; None where
    undefined.
  """
  of_texts = over_seeds(points, text_draws, bounds=bounds)
  return over_seeds(points, row_draws, bounds=bounds) | {
    'low_texts': of_texts['low'],
    'high_texts': of_texts['high'],
  }


def standing(difference: Mapping[str, float | None] | None) -> str:
  """Names a difference: 'better' or 'worse' only if both of its intervals exclude zero.

  Args:
    difference: of `over_rows_and_texts`, ours minus theirs.

  Returns:
    'better', 'worse' or 'not told apart'; 'undecided' if an interval is missing, as with few
    abnormal texts; '–' if the difference itself is undefined.
  """
  if not difference or difference['mean'] is None:
    return '–'
  lows = [difference['low'], difference['low_texts']]
  if None in lows:
    return 'undecided'
  if min(lows) > 0:
    return 'better'
  return 'worse' if max(difference['high'], difference['high_texts']) < 0 else 'not told apart'
