"""How far a metric may be trusted: percentile intervals over test rows or texts, and over seeds.

Shapes: N test rows, D draws, R repetitions, S seeds.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.stats

from logjax.evaluation.metrics import checked
from logjax.evaluation.resampling import metrics_of_rows, resampled_metrics

# Abnormal texts that an interval over texts needs. With five even a method that is better on each
# of them is so by luck in one case of sixteen, on both sides: 2 / 2^5 is more than 5 %.
FEWEST_TEXTS = 6


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
  """Returns the percentile interval of a metric's draws, ends that leave out equally many.

  Draws in which the metric is undefined (NaN) are left out. Where that is more than `1 - level` of
  them both ends are NaN: what is left then says nothing about all.

  Args:
    draws: [D].
    level: the share of draws that lie within.
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
  """Means over repetitions with their intervals over test rows, beside what chance would give.

  Made for the control with permuted labels. `accuracy_chance` is the accuracy of predictions that
  are independent of the labels, given how many alarms there are: with a share a of alarms and a
  share p of abnormal rows it is a p + (1 - a)(1 - p), not one half.

  Args:
    abnormal: bool [N], the truth.
    scores: [R, N].
    thresholds: [R].
    metrics: some of `METRICS`.
    draws: of the bootstrap.
    seed: of the bootstrap.

  Returns:
    A dict ready for JSON: for each metric its mean, under its name with `_interval` [low, high],
    and `accuracy_chance`; None where undefined.
  """
  points = metrics_of_rows(abnormal, scores, thresholds)
  resampled = resampled_metrics(abnormal, scores, thresholds, draws=draws, seed=seed)
  result = {}
  for name in metrics:
    result[name] = number_or_none(points[name].mean())
    ends = interval(resampled[name].mean(axis=0))
    result[f'{name}_interval'] = [number_or_none(end) for end in ends]
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
  """Where 95 % of AUROC and accuracy lie when the labels are given to other test rows at random.

  A permutation test of scores that know nothing of the labels, estimated by random draws. It also
  holds where a bootstrap fails: if no abnormal row has one of the rare scores, then no resample has
  either. It supposes that the choice of the test rows does not depend on which of them are
  abnormal. Midranks and alarms do not change with the labels, so a draw is only the choice of the
  rows that are abnormal.

  Args:
    abnormal: bool [N].
    scores: [R, N].
    thresholds: [R].
    draws: permutations.
    seed: of them.

  Returns:
    `auroc_chance_interval` and `accuracy_chance_interval`, each [low, high] of the mean over
    repetitions, ready for JSON; None where undefined.

  Raises:
    LogjaxError: scores that are not finite.
  """
  scores = np.stack([checked(abnormal, row)[1] for row in scores])
  rows, positives = len(abnormal), int(np.sum(abnormal))
  auroc, accuracy = np.full(draws, np.nan), np.full(draws, np.nan)
  if 0 < positives < rows:
    ranks = scipy.stats.rankdata(scores, axis=1)
    alarms = scores >= np.asarray(thresholds)[:, None]
    called, generator = alarms.sum(axis=1), np.random.default_rng(seed)
    for draw in range(draws):
      chosen = generator.choice(rows, positives, replace=False, shuffle=False)
      wins = ranks[:, chosen].sum(axis=1) - positives * (positives + 1) / 2
      auroc[draw] = np.mean(wins / (positives * (rows - positives)))
      found = alarms[:, chosen].sum(axis=1)
      right = found + (rows - positives) - (called - found)
      accuracy[draw] = np.mean(right / rows)
  return {
    f'{name}_chance_interval': [number_or_none(end) for end in interval(values)]
    for name, values in (('auroc', auroc), ('accuracy', accuracy))
  }


def over_seeds(
  points: np.ndarray,
  draws: np.ndarray,
  *,
  bounds: tuple[float, float] = (-np.inf, np.inf),
  seed: int = 0,
) -> dict[str, float | None]:
  """The mean over seeds and its 95 % interval over seeds and test rows, ready for JSON.

  Each draw takes S - 1 of the S seeds with replacement and the rows of that draw. One seed less
  than there are makes the variance of the draws that of the mean (Rao & Wu, Resampling Inference
  with Complex Survey Data, 1988), and what a draw's seeds differ from all of them is widened by
  Student's quantile over the normal one, as few seeds tell little of how seeds differ. Without
  the two an interval over 5 seeds that differ by more than rows do covers 84 % instead of 95 %.
  With one seed the interval is over rows alone.

  Args:
    points: [S], the metric on the test rows of each seed.
    draws: [S, D], the metric on resamples of them; draw d of all seeds belongs together.
    bounds: what the metric cannot be below and above; the ends are cut there.
    seed: of the choice of seeds; equal for methods that are to be compared.

  Returns:
    `mean`, `low`, `high`; None where undefined, the mean where the metric is with any seed.
  """
  count = len(points)
  values = draws.mean(axis=0)
  if count > 1:
    generator = np.random.default_rng([seed, count])
    picked = generator.multinomial(count - 1, np.full(count, 1 / count), draws.shape[1]).T
    deviation = (picked * draws).sum(axis=0) / (count - 1) - values
    values = values + deviation * scipy.stats.t.ppf(0.975, count - 1) / scipy.stats.norm.ppf(0.975)
  low, high = np.clip(interval(values), *bounds)
  return {
    'mean': number_or_none(np.mean(points)),
    'low': number_or_none(low),
    'high': number_or_none(high),
  }


def widening(units: int) -> float:
  """By how much draws of few units are to be widened, about the value of all, to cover 95 %.

  A bootstrap of n units has n - 1 n-ths of the variance, and few units tell little of how units
  differ: Student's quantile over the normal one.

  Args:
    units: such as abnormal texts, at least two.
  """
  student = scipy.stats.t.ppf(0.975, units - 1) / scipy.stats.norm.ppf(0.975)
  return float(student * np.sqrt(units / (units - 1)))


def over_rows_and_texts(
  points: np.ndarray,
  row_draws: np.ndarray,
  text_draws: np.ndarray,
  *,
  bounds: tuple[float, float] = (-np.inf, np.inf),
) -> dict[str, float | None]:
  """As `over_seeds`, with a second interval in which a text counts once however often it repeats.

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
  """What a difference says: 'better' or 'worse' only where both of its intervals exclude zero.

  Args:
    difference: of `over_rows_and_texts`, ours minus theirs.

  Returns:
    'better', 'worse' or 'not told apart'; 'undecided' where an interval is missing, which few
    abnormal texts do; '–' where the difference itself is undefined.
  """
  if not difference or difference['mean'] is None:
    return '–'
  lows = [difference['low'], difference['low_texts']]
  if None in lows:
    return 'undecided'
  if min(lows) > 0:
    return 'better'
  return 'worse' if max(difference['high'], difference['high_texts']) < 0 else 'not told apart'


def number_or_none(value: float) -> float | None:
  """A number as JSON can hold it: NaN, which marks what is undefined, is None."""
  return None if np.isnan(value) else float(value)
