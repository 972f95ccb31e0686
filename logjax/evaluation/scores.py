"""Scoring of examples by a detector module, and the saved scores of the test rows.

N test rows, R repetitions, U distinct examples.
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from logjax.evaluation.results import seen_groups
from logjax.examples.types import Data, Examples
from logjax.files import load_arrays, save_arrays
from logjax.training.runtime import Runtime

_ROWS_AT_ONCE = 16_384  # for detectors with SCORES = 'rows': bounds the memory
_BASELINE = 'baseline_'
_THRESHOLD = 'threshold_of_'


def score_examples(
  module: ModuleType,
  config: ml_collections.ConfigDict,
  detector: Any,
  examples: Examples,
  rows: np.ndarray,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> np.ndarray:
  """Scores some examples, each distinct one once if the detector allows it.

  Args:
    module: of the detector.
    config: of the run, resolved.
    detector: fitted.
    examples: all of them.
    rows: indices of the examples to score [N].
    key: the key of the detector's fit.
    runtime: shows the progress of a detector with SCORES = 'rows'.

  Returns:
    Scores, higher is more abnormal [R, N].
  """
  if module.SCORES == 'rows':
    starts = range(0, max(1, len(rows)), _ROWS_AT_ONCE)
    parts = [rows[begin : begin + _ROWS_AT_ONCE] for begin in starts]
    scores = []
    tracked = runtime.progress.track('scoring', len(parts))
    with tracked if len(parts) > 1 else contextlib.nullcontext(lambda: None) as advance:
      for part in parts:
        scores.append(module.score(config, detector, examples, part, key=key))
        advance()
    return np.concatenate(scores, axis=1)
  used, place = np.unique(examples.index[rows], return_inverse=True)
  some = examples._replace(distinct=jax.tree.map(lambda leaf: leaf[used], examples.distinct))
  return module.score(config, detector, some, key=key)[:, place]


class TestScores(NamedTuple):
  """The scores of a run's test rows, saved for comparisons of runs row by row.

  Attributes:
    origin: first line of each row, -1 for a generated one, int64 [N].
    abnormal: the truth, bool [N].
    group: id of the masked text, int64 [N].
    seen: marks rows with the masked text of a real training row, bool [N].
    scores: of the detector's repetitions, float32 [R, N].
    thresholds: lowest abnormal score of each repetition, float64 [R].
    baselines: scores of every baseline, float64 [N] each.
    baseline_thresholds: of every baseline.
  """

  __test__ = False  # not a class of tests for pytest

  origin: np.ndarray
  abnormal: np.ndarray
  group: np.ndarray
  seen: np.ndarray
  scores: np.ndarray
  thresholds: np.ndarray
  baselines: dict[str, np.ndarray]
  baseline_thresholds: dict[str, float]

  def of(self, rows: np.ndarray) -> 'TestScores':
    """Selects some rows; `rows` is bool [N]."""
    return TestScores(
      self.origin[rows],
      self.abnormal[rows],
      self.group[rows],
      self.seen[rows],
      self.scores[:, rows],
      self.thresholds,
      {name: scores[rows] for name, scores in self.baselines.items()},
      self.baseline_thresholds,
    )


def collect_scores(
  data: Data,
  scores: np.ndarray,
  thresholds: Sequence[float],
  baselines: Mapping[str, tuple[np.ndarray, float]],
) -> TestScores:
  """Collects the scores of a run's test rows.

  Args:
    data: all rows and their split.
    scores: of the detector [R, N].
    thresholds: of its repetitions [R].
    baselines: name -> scores [N] and threshold.
  """
  test, examples = data.split.test, data.examples
  return TestScores(
    origin=examples.first[test],
    abnormal=examples.abnormal[test],
    group=examples.group[test],
    seen=seen_groups(data),
    scores=scores,
    thresholds=np.array(thresholds),
    baselines={name: values for name, (values, _) in baselines.items()},
    baseline_thresholds={name: threshold for name, (_, threshold) in baselines.items()},
  )


def save_scores(path: Path, scores: TestScores) -> None:
  """Writes the scores to a file; after a kill it is whole or absent."""
  fields = scores._asdict()
  baselines, thresholds = fields.pop('baselines'), fields.pop('baseline_thresholds')
  fields |= {_BASELINE + name: values for name, values in baselines.items()}
  fields |= {_THRESHOLD + name: np.array(value) for name, value in thresholds.items()}
  save_arrays(path, **fields)


def load_scores(path: Path) -> TestScores:
  """Reads scores written by `save_scores`.

  Raises:
    LogjaxError: the file is missing or damaged.
  """
  fields = TestScores._fields[:-2]  # without the two dicts, saved as an array for each name
  saved = load_arrays(path, fields)

  def named(prefix: str) -> dict[str, np.ndarray]:
    return {
      name.removeprefix(prefix): value for name, value in saved.items() if name.startswith(prefix)
    }

  thresholds = {name: float(value) for name, value in named(_THRESHOLD).items()}
  return TestScores(*(saved[name] for name in fields), named(_BASELINE), thresholds)
