"""The bootstrap: equal to a slow reference, paired, and honest where metrics are undefined."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logjax.errors import LogjaxError
from logjax.evaluation.bootstrap import resampled_metrics
from logjax.evaluation.formulas import METRICS, metrics_of_rows
from logjax.evaluation.intervals import (
  chance_intervals,
  interval,
  interval_of,
  over_rows_and_texts,
  over_seeds,
  standing,
  widening,
)
from logjax.evaluation.metrics import evaluate_scores

SCORES = (0.0, 0.1, 0.3, 0.5, 0.7, 1.0)  # few, so that ties are common


@st.composite
def methods_on_rows(draw):
  rows, methods = draw(st.integers(0, 12)), draw(st.integers(1, 3))
  abnormal = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
  score = st.sampled_from(SCORES)
  scores = [draw(st.lists(score, min_size=rows, max_size=rows)) for _ in range(methods)]
  thresholds = draw(st.lists(score, min_size=methods, max_size=methods))
  return np.array(abnormal, bool), np.array(scores, float), np.array(thresholds)


def reference(abnormal, scores, threshold) -> list[float | None]:
  """The metrics of `evaluate_scores`, which are scikit-learn's, in the order of METRICS."""
  result = evaluate_scores(abnormal, scores, threshold)
  flat = {
    f'{kind}_{name}': result[kind][name]
    for kind in ('abnormal', 'normal')
    for name in ('precision', 'recall', 'f1')
  }
  flat |= {name: result[name] for name in ('accuracy', 'mcc', 'auroc', 'auprc')}
  return [flat[name] for name in METRICS]


def columns(measured, method, *draw) -> list[float | None]:
  values = [measured[name][(method, *draw)] for name in METRICS]
  return [None if np.isnan(value) else pytest.approx(value) for value in values]


@settings(deadline=None)
@given(methods_on_rows())
def test_every_metric_of_every_method_is_that_of_evaluate_scores(case):
  abnormal, scores, thresholds = case
  measured = metrics_of_rows(abnormal, scores, thresholds)
  for method in range(len(scores)):
    assert reference(abnormal, scores[method], thresholds[method]) == columns(measured, method)


@settings(deadline=None)
@given(methods_on_rows(), st.integers(0, 3))
def test_each_draw_is_what_indexing_its_rows_gives(case, seed):
  abnormal, scores, thresholds = case
  rows = len(abnormal)
  measured = resampled_metrics(abnormal, scores, thresholds, draws=4, seed=seed)
  for draw in range(4):
    drawn = np.random.default_rng([seed, rows, draw]).integers(0, max(1, rows), rows)
    for method in range(len(scores)):
      expected = reference(abnormal[drawn], scores[method][drawn], thresholds[method])
      assert expected == columns(measured, method, draw)


def two_methods(rows=300):
  generator = np.random.default_rng(0)
  abnormal = generator.random(rows) < 0.2
  scores = np.stack([abnormal + generator.normal(size=rows), generator.random(rows)])
  return abnormal, scores, np.array([0.5, 0.5])


def test_methods_measured_apart_are_paired_as_those_measured_together():
  abnormal, scores, thresholds = two_methods()
  together = resampled_metrics(abnormal, scores, thresholds, draws=20, seed=3)
  for method in range(2):
    part = slice(method, method + 1)
    apart = resampled_metrics(abnormal, scores[part], thresholds[part], draws=20, seed=3)
    for name in METRICS:
      np.testing.assert_array_equal(together[name][part], apart[name])


def test_chunks_and_the_number_of_draws_change_no_draw(monkeypatch):
  whole = resampled_metrics(*two_methods(), draws=30, seed=1)
  monkeypatch.setattr('logjax.evaluation.bootstrap._CHUNK', 9 * 300)
  fewer = resampled_metrics(*two_methods(), draws=20, seed=1)
  for name in METRICS:
    np.testing.assert_array_equal(whole[name][:, :20], fewer[name])


@settings(deadline=None)
@given(methods_on_rows(), st.data())
def test_each_draw_of_groups_is_what_indexing_all_their_rows_gives(case, data):
  abnormal, scores, thresholds = case
  rows = len(abnormal)
  group = np.array(
    data.draw(st.lists(st.integers(0, 4), min_size=rows, max_size=rows)), dtype=np.int64
  )
  measured = resampled_metrics(abnormal, scores, thresholds, draws=4, seed=2, group=group, groups=5)
  for draw in range(4):
    groups = np.random.default_rng([2, 5, draw]).integers(0, 5, 5)
    drawn = np.concatenate([np.flatnonzero(group == one) for one in groups])
    for method in range(len(scores)):
      expected = reference(abnormal[drawn], scores[method][drawn], thresholds[method])
      assert expected == columns(measured, method, draw)


def test_groups_of_one_row_are_rows_and_numbers_of_groups_do_not_matter():
  abnormal, scores, thresholds = two_methods()
  rows = resampled_metrics(abnormal, scores, thresholds, draws=20, seed=3)
  group = 7 * np.arange(len(abnormal)) + 100
  groups = resampled_metrics(abnormal, scores, thresholds, draws=20, seed=3, group=group)
  for name in METRICS:
    np.testing.assert_array_equal(rows[name], groups[name])


def test_rows_that_repeat_widen_the_interval_over_texts_alone():
  abnormal, scores, thresholds = two_methods(100)
  once = resampled_metrics(abnormal, scores, thresholds, draws=400, seed=0)['auroc'][0]
  repeated = np.repeat(abnormal, 25), np.repeat(scores, 25, axis=1), thresholds
  rows = resampled_metrics(*repeated, draws=400, seed=0)['auroc'][0]
  group = np.repeat(np.arange(100), 25)
  texts = resampled_metrics(*repeated, draws=400, seed=0, group=group)['auroc'][0]
  np.testing.assert_allclose(texts, once)
  assert rows.std() == pytest.approx(once.std() / 5, rel=0.15)


def test_the_spread_of_accuracy_is_that_of_the_binomial_distribution():
  abnormal = np.zeros(400, bool)
  scores = (np.arange(400) < 40).astype(float)[None]  # 10 % false alarms
  drawn = resampled_metrics(abnormal, scores, np.array([0.5]), draws=2000, seed=0)['accuracy'][0]
  assert drawn.mean() == pytest.approx(0.9, abs=0.002)
  assert drawn.std() == pytest.approx((0.9 * 0.1 / 400) ** 0.5, rel=0.1)


def test_diverged_scores_are_refused():
  with pytest.raises(LogjaxError, match='not finite'):
    resampled_metrics(np.array([True]), np.array([[np.nan]]), np.array([0.5]), draws=1, seed=0)


def test_the_interval_leaves_out_equally_many_on_both_sides():
  assert interval(np.arange(101) / 100) == pytest.approx((0.025, 0.975))
  assert interval(np.arange(101) / 100, level=0.5) == pytest.approx((0.25, 0.75))


def test_few_undefined_draws_are_left_out_and_many_leave_no_interval():
  draws = np.arange(100.0)
  draws[:5] = np.nan
  assert interval(draws) == pytest.approx(tuple(np.quantile(np.arange(5, 100), [0.025, 0.975])))
  draws[:6] = np.nan
  assert np.isnan(interval(draws)).all()
  assert np.isnan(interval(np.zeros(0))).all()


def test_with_one_seed_the_interval_is_that_of_the_rows():
  draws = np.random.default_rng(0).normal(size=(1, 500))
  result = over_seeds(np.array([0.25]), draws)
  assert (result['low'], result['high']) == interval(draws[0])
  assert result['mean'] == 0.25


@pytest.mark.parametrize('seeds, row_spread', [(2, 0.3), (5, 0.0), (5, 1.0), (10, 0.1)])
def test_the_interval_over_seeds_covers_the_truth_about_as_often_as_it_says(seeds, row_spread):
  generator = np.random.default_rng(0)
  covered = 0
  for _ in range(400):
    points = generator.normal(size=seeds) + row_spread * generator.normal()
    draws = points[:, None] + row_spread * generator.normal(size=400)
    result = over_seeds(points, draws)
    covered += result['low'] <= 0 <= result['high']
  assert 0.91 <= covered / 400 <= 0.99


def test_an_interval_is_cut_where_the_metric_ends():
  draws = np.repeat([[0.9], [1.0], [0.7]], 200, axis=1)
  result = over_seeds(draws[:, 0], draws, bounds=(0, 1))
  assert result['high'] == 1
  assert over_seeds(draws[:, 0], draws)['high'] > 1


def test_a_metric_that_is_undefined_with_one_seed_has_no_mean_over_seeds():
  draws = np.repeat([[0.9], [np.nan]], 200, axis=1)
  assert over_seeds(draws[:, 0], draws) == {'mean': None, 'low': None, 'high': None}


def test_the_interval_over_texts_stands_beside_that_over_rows():
  rows, texts = np.random.default_rng(0).normal(size=(2, 3, 100))
  result = over_rows_and_texts(np.ones(3), rows, 5 * texts)
  assert {name: result[name] for name in ('mean', 'low', 'high')} == over_seeds(np.ones(3), rows)
  of_texts = over_seeds(np.ones(3), 5 * texts)
  assert (result['low_texts'], result['high_texts']) == (of_texts['low'], of_texts['high'])


@pytest.mark.parametrize('units', [6, 20])
def test_widened_draws_of_few_units_cover_the_truth_about_as_often_as_they_say(units):
  generator = np.random.default_rng(0)
  covered = 0
  for _ in range(400):
    values = generator.normal(size=units)
    drawn = values[generator.integers(0, units, (400, units))].mean(axis=1)
    low, high = interval(values.mean() + widening(units) * (drawn - values.mean()))
    covered += low <= 0 <= high
  assert 0.92 <= covered / 400 <= 0.98
  assert 1 < widening(1000) < 1.01


@pytest.mark.parametrize(
  'ends, expected',
  [
    ((0.1, 0.2, 0.1, 0.3), 'better'),
    ((-0.2, -0.1, -0.3, -0.1), 'worse'),
    ((0.1, 0.2, -0.1, 0.3), 'not told apart'),
    ((-0.1, 0.2, 0.1, 0.3), 'not told apart'),
    ((-0.3, -0.2, -0.3, 0.1), 'not told apart'),
    ((0.0, 0.0, 0.0, 0.0), 'not told apart'),
    ((0.1, 0.2, None, None), 'undecided'),
    ((None, None, None, None), 'undecided'),
  ],
)
def test_a_difference_is_told_only_by_both_intervals(ends, expected):
  names = ('low', 'high', 'low_texts', 'high_texts')
  assert standing({'mean': 0.1} | dict(zip(names, ends, strict=True))) == expected


def test_an_undefined_difference_has_no_standing():
  ends = dict.fromkeys(('mean', 'low', 'high', 'low_texts', 'high_texts'))
  assert standing(ends) == standing(None) == '–'


def test_scores_independent_of_the_labels_are_at_chance_within_the_interval():
  generator = np.random.default_rng(0)
  abnormal, scores = generator.random(3000) < 0.1, generator.random((5, 3000))
  thresholds = np.full(5, 0.8)
  control = interval_of(abnormal, scores, thresholds, draws=200, seed=0)
  low, high = control['auroc_interval']
  assert low <= 0.5 <= high
  assert low <= control['auroc'] <= high
  low, high = control['accuracy_interval']
  assert low <= control['accuracy_chance'] <= high
  # A fifth of the rows are called abnormal, a tenth are: 0.2 * 0.1 + 0.8 * 0.9.
  assert control['accuracy_chance'] == pytest.approx(0.74, abs=0.02)
  json.dumps(control, allow_nan=False)


def test_labels_that_leak_are_far_above_chance():
  abnormal = np.arange(300) % 3 == 0
  control = interval_of(abnormal, abnormal[None].astype(float), np.array([0.5]), draws=50)
  assert control['auroc_interval'] == [1, 1]
  assert control['accuracy'] == 1 > control['accuracy_chance']


def test_the_control_of_one_class_is_undefined_and_not_an_error():
  control = interval_of(np.zeros(9, bool), np.zeros((1, 9)), np.array([0.5]), draws=10)
  assert control['auroc'] is None
  assert control['auroc_interval'] == [None, None]
  assert control['accuracy'] == 1


def test_chance_is_what_every_choice_of_abnormal_rows_gives():
  scores = np.array([[0.9, 0.2, 0.2, 0.4, 0.4, 0.4, 0.1], [0.5, 0.5, 0.1, 0.8, 0.3, 0.2, 0.2]])
  thresholds, abnormal = np.array([0.4, 0.5]), np.arange(7) < 3
  every = []
  for chosen in itertools.combinations(range(7), 3):
    labels = np.isin(np.arange(7), chosen)
    every.append(metrics_of_rows(labels, scores, thresholds))
  measured = chance_intervals(abnormal, scores, thresholds, draws=4000)
  for name in ('auroc', 'accuracy'):
    values = np.array([metrics[name].mean() for metrics in every])
    low, high = measured[f'{name}_chance_interval']
    # The ends are values that occur, and leave out 2.5 % on each side, as far as so few values can.
    for end in (low, high):
      assert np.min(abs(values - end)) < 1e-9
    assert np.mean(values < low - 1e-9) <= 0.035 and np.mean(values > high + 1e-9) <= 0.035
    assert np.mean(values <= low + 1e-9) >= 0.015 and np.mean(values >= high - 1e-9) >= 0.015


def test_chance_knows_that_an_abnormal_row_might_have_had_a_rare_score():
  # No abnormal row has one of the 3 % that score high: a bootstrap cannot know what if.
  scores, abnormal = (np.arange(2000) < 60)[None].astype(float), np.arange(2000) >= 1960
  control = interval_of(abnormal, scores, np.array([0.5]), draws=300)
  low, high = chance_intervals(abnormal, scores, np.array([0.5]), draws=300)[
    'auroc_chance_interval'
  ]
  assert control['auroc_interval'][1] < 0.5 and control['auroc_interval'][0] > 0.47
  assert low <= control['auroc'] < 0.5 < high


def test_scores_that_tell_nothing_at_all_are_at_chance_to_the_last_digit():
  """Every row is an alarm, or none is: each choice of the abnormal rows has the same accuracy."""
  abnormal = np.arange(6600) % 13 == 0
  for scores in (np.full((3, 6600), 0.7), np.full((3, 6600), 0.1)):
    control = interval_of(abnormal, scores, np.full(3, 0.5), draws=10)
    chance = chance_intervals(abnormal, scores, np.full(3, 0.5), draws=10)
    for name in ('auroc', 'accuracy'):
      assert chance[f'{name}_chance_interval'] == [control[name]] * 2


def test_chance_of_one_class_is_undefined_and_not_an_error():
  measured = chance_intervals(np.zeros(9, bool), np.zeros((1, 9)), np.array([0.5]), draws=10)
  assert measured == dict.fromkeys(measured, [None, None]) and len(measured) == 2
