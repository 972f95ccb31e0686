"""The scores of the test rows, kept so that runs can be compared row by row. N test rows."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from logjax.files import load_arrays

_RIVAL = 'rival_'


class TestScores(NamedTuple):
  """What a run said of its test rows.

  Attributes:
    origin: line of the corpus, -1 for a generated row, int64 [N].
    abnormal: the truth, bool [N].
    group: id of the masked text, int64 [N].
    seen: whether a real training row has the same masked text, bool [N].
    scores: of the detector's repetitions, float32 [R, N].
    thresholds: from which a row is called abnormal, float64 [R].
    rivals: scores of every simple rival, each float64 [N].
  """

  __test__ = False  # pytest, this is no test

  origin: np.ndarray
  abnormal: np.ndarray
  group: np.ndarray
  seen: np.ndarray
  scores: np.ndarray
  thresholds: np.ndarray
  rivals: dict[str, np.ndarray]

  def of(self, rows: np.ndarray) -> 'TestScores':
    """Those of some rows, bool [N]."""
    return TestScores(
      self.origin[rows],
      self.abnormal[rows],
      self.group[rows],
      self.seen[rows],
      self.scores[:, rows],
      self.thresholds,
      {name: scores[rows] for name, scores in self.rivals.items()},
    )


def save_scores(path: Path, scores: TestScores) -> None:
  """Writes the scores to a file that appears whole or not at all."""
  fields = scores._asdict()
  rivals = {_RIVAL + name: values for name, values in fields.pop('rivals').items()}
  partial = path.with_name('part.' + path.name)
  np.savez(partial, **fields, **rivals)
  partial.replace(path)


def load_scores(path: Path) -> TestScores:
  """Reads what `save_scores` wrote.

  Raises:
    LogjaxError: when it is missing or damaged.
  """
  fields = TestScores._fields[:-1]
  saved = load_arrays(path, fields)
  rivals = {name.removeprefix(_RIVAL): saved[name] for name in saved if name.startswith(_RIVAL)}
  return TestScores(*(saved[name] for name in fields), rivals)
