"""Thresholds: hand-computed cases, and agreement with scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix_at_thresholds

from logjax.evaluation.metrics import evaluate_scores
from logjax.evaluation.thresholds import best_f1_threshold, choose_threshold, counts_by_threshold

# Few distinct scores, so that ties are common.
ROWS = st.lists(st.tuples(st.booleans(), st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 1.0])))


def columns(rows):
  return np.array([row[0] for row in rows], bool), np.array([row[1] for row in rows], float)


def f1_at(abnormal, scores, threshold):
  return evaluate_scores(abnormal, scores, threshold)['abnormal']['f1']


def test_the_rule_half_does_not_look_at_the_scores():
  assert choose_threshold('half', np.array([True, False]), np.array([0.9, 0.8])) == 0.5
  assert choose_threshold('valid_f1', np.array([True, False]), np.array([0.9, 0.8])) > 0.8
  assert choose_threshold('valid_f1', np.zeros(0, bool), np.zeros(0)) == 0.5


@settings(deadline=None)
@given(ROWS)
def test_counts_are_those_of_scikit_learn(rows):
  abnormal, scores = columns(rows)
  values, found, called = counts_by_threshold(abnormal, scores)
  if abnormal.any():
    _, false_alarms, _, expected, thresholds = confusion_matrix_at_thresholds(abnormal, scores)
    np.testing.assert_array_equal(values, thresholds)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(called, expected + false_alarms)


def test_the_best_threshold_lies_midway_between_the_neighbouring_scores():
  abnormal = np.array([1, 1, 0, 0], bool)
  assert best_f1_threshold(abnormal, np.array([0.9, 0.8, 0.4, 0.1])) == pytest.approx(0.6)


def test_of_equally_good_thresholds_the_higher_is_taken():
  # Calling one row abnormal: F1 = 2/(1+2). Calling all four: F1 = 4/(4+2). Both are 2/3.
  abnormal, scores = np.array([1, 0, 0, 1], bool), np.array([0.9, 0.7, 0.5, 0.3])
  assert best_f1_threshold(abnormal, scores) == pytest.approx(0.8)


def test_without_a_lower_score_the_threshold_is_the_lowest_score():
  assert best_f1_threshold(np.array([True, False]), np.array([0.3, 0.3])) == 0.3


def test_without_abnormal_rows_the_threshold_is_one_half():
  assert best_f1_threshold(np.array([False, False]), np.array([0.1, 0.9])) == 0.5
  assert best_f1_threshold(np.zeros(0, bool), np.zeros(0)) == 0.5


@pytest.mark.parametrize('upper', [1.0, 5e-324, 1e308])
def test_neighbouring_floats_are_still_told_apart(upper):
  lower = np.nextafter(upper, 0)
  threshold = best_f1_threshold(np.array([True, False]), np.array([upper, lower]))
  assert lower < threshold <= upper


@settings(deadline=None)
@given(ROWS)
def test_no_threshold_is_better_than_the_best(rows):
  abnormal, scores = columns(rows)
  threshold = best_f1_threshold(abnormal, scores)
  if abnormal.any():
    best = f1_at(abnormal, scores, threshold)
    assert all(f1_at(abnormal, scores, other) <= best for other in scores)
    lowest_alarm = scores[scores >= threshold].min()
    assert all(f1_at(abnormal, scores, other) < best for other in scores[scores > lowest_alarm])
