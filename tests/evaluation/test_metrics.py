"""Metrics: hand-computed cases, agreement with scikit-learn, and what is undefined."""

import itertools
import json
import math

import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from logjax.errors import LogjaxError
from logjax.evaluation.metrics import (
  average,
  evaluate_scores,
  natural_precision,
  precision_recall_points,
)

# Few distinct scores, so that ties are common.
ROWS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0])))


def columns(rows):
  return np.array([row[0] for row in rows], bool), np.array([row[1] for row in rows], float)


def test_ten_rows_by_hand():
  abnormal = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], bool)
  scores = np.array([0.9, 0.8, 0.5, 0.2, 0.6, 0.4, 0.3, 0.1, 0.1, 0.0])
  result = evaluate_scores(abnormal, scores, 0.5)
  assert result['confusion'] == {
    'true_abnormal': 3,
    'false_abnormal': 1,
    'false_normal': 1,
    'true_normal': 5,
  }
  assert (result['rows'], result['abnormal_rows'], result['threshold']) == (10, 4, 0.5)
  assert result['accuracy'] == 8 / 10
  assert result['abnormal'] == {'precision': 3 / 4, 'recall': 3 / 4, 'f1': 6 / 8}
  assert result['normal'] == {'precision': 5 / 6, 'recall': 5 / 6, 'f1': 10 / 12}
  # Of the 24 pairs (abnormal, normal) the abnormal row scores higher in 6 + 6 + 5 + 3.
  assert result['auroc'] == pytest.approx(20 / 24)
  # Precision where each abnormal row is found: 1/1, 2/2, 3/4, 4/7.
  assert result['auprc'] == pytest.approx((1 + 1 + 3 / 4 + 4 / 7) / 4)
  assert result['mcc'] == pytest.approx((3 * 5 - 1 * 1) / math.sqrt(4 * 4 * 6 * 6))


def test_a_score_equal_to_the_threshold_is_abnormal():
  result = evaluate_scores(np.array([True]), np.array([0.5]), 0.5)
  assert result['confusion']['true_abnormal'] == 1


def test_the_papers_equations_with_its_positive_class():
  """Equations 7 to 10 on the paper's own symbols, where positive is normal."""
  t_p, t_n, f_p, f_n = 70, 15, 5, 10
  abnormal = np.repeat([False, True, True, False], [t_p, t_n, f_p, f_n])
  predicted = np.repeat([0.0, 1.0, 0.0, 1.0], [t_p, t_n, f_p, f_n])
  result = evaluate_scores(abnormal, predicted, 0.5)
  precision, recall = t_p / (t_p + f_p), t_p / (t_p + f_n)
  assert result['accuracy'] == (t_p + t_n) / (t_p + t_n + f_p + f_n)
  assert result['normal']['precision'] == precision
  assert result['normal']['recall'] == recall
  assert result['normal']['f1'] == pytest.approx(2 * precision * recall / (precision + recall))


@pytest.mark.parametrize(
  'abnormal, scores, undefined',
  [
    # Nothing called abnormal.
    ([1, 0], [0.1, 0.2], {'abnormal.precision', 'mcc'}),
    # Nothing called normal.
    ([1, 0], [0.8, 0.9], {'normal.precision', 'mcc'}),
    # No abnormal row, none called so.
    ([0, 0], [0.1, 0.2], {'abnormal.*', 'auroc', 'auprc', 'mcc'}),
    # No abnormal row, but one called so: its F1 is 0, its recall undefined.
    ([0, 0], [0.1, 0.9], {'abnormal.recall', 'auroc', 'auprc', 'mcc'}),
    # No normal row.
    ([1, 1], [0.6, 0.9], {'normal.*', 'auroc', 'auprc', 'mcc'}),
    # No row at all.
    ([], [], {'accuracy', 'normal.*', 'abnormal.*', 'auroc', 'auprc', 'mcc'}),
  ],
)
def test_undefined_metrics_are_none_and_only_those(abnormal, scores, undefined):
  result = evaluate_scores(np.array(abnormal, bool), np.array(scores), 0.5)
  for kind, name in itertools.product(('normal', 'abnormal'), ('precision', 'recall', 'f1')):
    expected = bool(undefined & {f'{kind}.*', f'{kind}.{name}'})
    assert (result[kind][name] is None) == expected, f'{kind}.{name}'
  for name in ('accuracy', 'auroc', 'auprc', 'mcc'):
    assert (result[name] is None) == (name in undefined), name


@settings(deadline=None)
@given(ROWS, st.sampled_from([0.0, 0.3, 0.4, 1.0]))
def test_every_defined_metric_is_scikit_learns(rows, threshold):
  abnormal, scores = columns(rows)
  result = evaluate_scores(abnormal, scores, threshold)
  predicted = scores >= threshold
  for kind, truth, guess in (
    ('abnormal', abnormal, predicted),
    ('normal', ~abnormal, ~predicted),
  ):
    for name, reference in (
      ('precision', sklearn.metrics.precision_score),
      ('recall', sklearn.metrics.recall_score),
      ('f1', sklearn.metrics.f1_score),
    ):
      if result[kind][name] is not None:
        assert result[kind][name] == pytest.approx(reference(truth, guess))
  for name, reference, given_to_it in (
    ('accuracy', sklearn.metrics.accuracy_score, predicted),
    ('mcc', sklearn.metrics.matthews_corrcoef, predicted),
    ('auroc', sklearn.metrics.roc_auc_score, scores),
    ('auprc', sklearn.metrics.average_precision_score, scores),
  ):
    if result[name] is not None:
      assert result[name] == pytest.approx(reference(abnormal, given_to_it))
  json.dumps(result, allow_nan=False)


def test_mcc_does_not_overflow_with_many_rows():
  abnormal = np.repeat([True, False], 300_000)
  result = evaluate_scores(abnormal, abnormal.astype(np.float32), 0.5)
  assert result['mcc'] == 1.0


def test_scores_that_are_not_finite_are_refused_with_their_number():
  with pytest.raises(LogjaxError, match='2 of 3 scores are not finite: the detector diverged'):
    evaluate_scores(np.array([True, False, True]), np.array([np.nan, 0.1, np.inf]), 0.5)


def test_scores_of_another_length_are_a_defect():
  with pytest.raises(ValueError, match=r'must both be \[N\]'):
    evaluate_scores(np.array([True, False]), np.array([0.1]), 0.5)


def recalls(abnormal, normal):
  return {'abnormal': {'recall': abnormal}, 'normal': {'recall': normal}}


def test_precision_at_the_natural_share_by_hand():
  # Of 1,000 rows 100 are abnormal: 80 found, 45 false alarms; 855 passed, 20 missed.
  precision = natural_precision(recalls(0.8, 0.95), 0.1)
  assert precision['abnormal'] == pytest.approx(80 / 125)
  assert precision['normal'] == pytest.approx(855 / 875)


def test_precision_at_the_natural_share_is_undefined_where_nothing_is_called_so():
  assert natural_precision(recalls(0, 1), 0.1) == {'normal': pytest.approx(0.9), 'abnormal': None}
  assert natural_precision(recalls(1, 0), 0.1) == {'normal': None, 'abnormal': pytest.approx(0.1)}
  assert natural_precision(recalls(None, 1), 0.1) == {'normal': None, 'abnormal': None}
  assert natural_precision(recalls(0.5, None), 0.1) == {'normal': None, 'abnormal': None}


@settings(deadline=None)
@given(ROWS, st.sampled_from([0.0, 0.3, 0.4, 1.0]))
def test_at_the_natural_share_precision_is_weighted_as_before(rows, threshold):
  abnormal, scores = columns(rows)
  if 0 < abnormal.sum() < len(abnormal):
    result = evaluate_scores(abnormal, scores, threshold)
    for kind, precision in natural_precision(result, abnormal.mean()).items():
      assert (precision is None) == (result[kind]['precision'] is None)
      if precision is not None:
        assert precision == pytest.approx(result[kind]['precision'])


def test_average_of_two_by_hand():
  mean, deviation = average(
    [
      {'rows': 10, 'auroc': 0.5, 'abnormal': {'f1': 0.2, 'recall': 1.0}},
      {'rows': 10, 'auroc': 0.7, 'abnormal': {'f1': 0.4, 'recall': None}},
    ]
  )
  assert mean['auroc'] == pytest.approx(0.6)
  assert mean['abnormal']['f1'] == pytest.approx(0.3)
  assert deviation['auroc'] == pytest.approx(0.2 / math.sqrt(2))  # n - 1 = 1
  assert mean['abnormal']['recall'] is None
  assert deviation['abnormal']['recall'] is None
  assert isinstance(mean['rows'], int)


def test_average_of_one_is_itself_without_a_deviation():
  mean, deviation = average([{'rows': 3, 'auroc': 0.25, 'normal': {'f1': None}}])
  assert mean == {'rows': 3, 'auroc': 0.25, 'normal': {'f1': None}}
  assert deviation == {'rows': None, 'auroc': None, 'normal': {'f1': None}}


def test_average_refuses_results_that_do_not_match():
  with pytest.raises(ValueError, match='no results'):
    average([])
  with pytest.raises(ValueError, match='different keys'):
    average([{'auroc': 1.0}, {'mcc': 1.0}])


@settings(deadline=None)
@given(ROWS)
def test_the_curve_passes_through_what_each_of_its_thresholds_gives(rows):
  abnormal, scores = columns(rows)
  points = precision_recall_points(abnormal, scores)
  assert points['recall'] == sorted(points['recall'])
  for precision, recall, threshold in zip(*points.values(), strict=True):
    at = evaluate_scores(abnormal, scores, threshold)['abnormal']
    assert (precision, recall) == (at['precision'], at['recall'])
  if abnormal.any():
    assert len(points['recall']) == len(np.unique(scores))
    assert points['recall'][-1] == 1


@pytest.mark.parametrize('most', [2, 10, 200])
def test_a_thinned_curve_keeps_its_ends_and_is_spread_over_recall(most):
  generator = np.random.default_rng(0)
  abnormal, scores = generator.random(5000) < 0.3, generator.random(5000)
  whole = precision_recall_points(abnormal, scores, most=5000)
  thin = precision_recall_points(abnormal, scores, most=most)
  assert len(thin['recall']) == most
  for name in ('precision', 'recall', 'threshold'):
    assert (thin[name][0], thin[name][-1]) == (whole[name][0], whole[name][-1])
    assert set(thin[name]) <= set(whole[name])
  if most > 2:
    assert np.diff(thin['recall']).max() < 2 / (most - 2)


def test_without_abnormal_rows_there_is_no_curve():
  points = precision_recall_points(np.array([False]), np.array([0.1]))
  assert points == {'precision': [], 'recall': [], 'threshold': []}
