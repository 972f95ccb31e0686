"""Scores of test rows, kept for comparisons."""

import numpy as np
import pytest

from logjax.evaluation import scores as module
from logjax.evaluation.scores import TestScores, load_scores, save_scores, score_examples
from logjax.examples.types import Examples
from logjax.training.runtime import quiet_runtime


@pytest.fixture
def scores() -> TestScores:
  return TestScores(
    np.array([4, -1, 6]),
    np.array([False, True, True]),
    np.array([7, 9, 8]),
    np.array([True, True, False]),
    np.array([[0.1, 0.9, 0.5], [0.2, 0.8, 0.4]], np.float32),
    np.array([0.5, 0.6]),
    {'lookup': np.array([0.0, 1.0, 0.25]), 'baseline_of_all': np.zeros(3)},
    {'lookup': 0.25, 'baseline_of_all': 0.5},
  )


def test_scores_are_restored_with_their_bits_and_types(tmp_path, scores):
  save_scores(tmp_path / 'scores.npz', scores)
  restored = load_scores(tmp_path / 'scores.npz')
  assert restored.baselines.keys() == scores.baselines.keys()
  for ours, theirs in zip(
    (*restored[:-2], *restored.baselines.values()),
    (*scores[:-2], *scores.baselines.values()),
    strict=True,
  ):
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
  assert restored.baseline_thresholds == scores.baseline_thresholds
  assert [path.name for path in tmp_path.iterdir()] == ['scores.npz']


def test_those_of_some_rows_have_every_threshold_and_baseline(scores):
  some = scores.of(scores.seen)
  assert some.origin.tolist() == [4, -1] and some.scores.shape == (2, 2)
  np.testing.assert_array_equal(some.thresholds, scores.thresholds)
  assert some.baselines['lookup'].tolist() == [0, 1]


class Module:
  """A detector that notes what it is given and scores an example by its value."""

  def __init__(self, scores: str):
    self.SCORES, self.seen = scores, []

  def score(self, config, detector, examples, *rows, key):
    self.seen.append(len(examples.distinct))
    values = examples.distinct if not rows else examples.distinct[examples.index[rows[0]]]
    return np.stack([values, values + detector])


@pytest.mark.parametrize('kind', ['distinct', 'rows'])
def test_examples_are_scored_in_their_order_and_distinct_ones_once(kind, monkeypatch):
  monkeypatch.setattr(module, '_ROWS_AT_ONCE', 2)
  distinct, index = np.array([5.0, 7.0, 9.0]), np.array([2, 0, 2, 2, 0])
  place = np.arange(5)
  examples = Examples(distinct, index, None, place, place, index, None)
  fake = Module(kind)
  scores = score_examples(
    fake, None, 1.0, examples, np.array([4, 0, 3]), key=None, runtime=quiet_runtime(1)
  )
  assert scores.tolist() == [[5, 9, 9], [6, 10, 10]]
  assert fake.seen == ([2] if kind == 'distinct' else [3, 3])
  nothing = score_examples(
    fake, None, 1.0, examples, np.arange(0), key=None, runtime=quiet_runtime(1)
  )
  assert nothing.shape == (2, 0)
