"""Scores of test rows, kept for comparisons."""

import numpy as np
import pytest

from logjax.evaluation.scores import TestScores, load_scores, save_scores


@pytest.fixture
def scores() -> TestScores:
  return TestScores(
    np.array([4, -1, 6]),
    np.array([False, True, True]),
    np.array([7, 9, 8]),
    np.array([True, True, False]),
    np.array([[0.1, 0.9, 0.5], [0.2, 0.8, 0.4]], np.float32),
    np.array([0.5, 0.6]),
    {'lookup': np.array([0.0, 1.0, 0.25]), 'rival_of_rivals': np.zeros(3)},
  )


def test_scores_are_restored_with_their_bits_and_types(tmp_path, scores):
  save_scores(tmp_path / 'scores.npz', scores)
  restored = load_scores(tmp_path / 'scores.npz')
  assert restored.rivals.keys() == scores.rivals.keys()
  for ours, theirs in zip(
    (*restored[:-1], *restored.rivals.values()),
    (*scores[:-1], *scores.rivals.values()),
    strict=True,
  ):
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
  assert [path.name for path in tmp_path.iterdir()] == ['scores.npz']


def test_those_of_some_rows_have_every_threshold_and_rival(scores):
  some = scores.of(scores.seen)
  assert some.origin.tolist() == [4, -1] and some.scores.shape == (2, 2)
  np.testing.assert_array_equal(some.thresholds, scores.thresholds)
  assert some.rivals['lookup'].tolist() == [0, 1]
