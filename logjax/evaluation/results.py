"""The blocks of `results.json` for every kind of example. R repetitions, N test rows."""

import importlib.metadata
import platform
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from logjax.evaluation.metrics import average, evaluate_scores, natural_precision
from logjax.examples.types import Data, Examples, Split
from logjax.training.parallel import choose_devices

_VERSIONS = (
  'jax',
  'jaxlib',
  'flax',
  'optax',
  'orbax-checkpoint',
  'numpy',
  'polars',
  'scikit-learn',
  'tensorflow-datasets',
)


def test_results(
  data: Data,
  scores: np.ndarray,
  thresholds: Sequence[float],
  history: Sequence[Mapping[str, float]],
  share: float,
) -> dict[str, Any]:
  """Measures the blocks `test` to `repetitions` of results.json.

    test               all test rows, the mean over repetitions.
    test_std           the standard deviation over repetitions.
    test_real          the real test rows.
    test_unseen        the real test rows with a group (masked text) of no real training row: the
                       same rows for every oversampler.
    natural_precision  the precision of `test`, re-weighted to the share of abnormal rows in the
                       log; None without generated test rows.
    repetitions        every repetition, with the history of its training.

  Args:
    data: all rows and their split.
    scores: of the test rows [R, N].
    thresholds: of the repetitions [R].
    history: of the trainings [R].
    share: of abnormal rows in the log.
  """
  test = data.split.test
  abnormal, real = data.examples.abnormal[test], ~data.examples.generated[test]

  def measured(rows: np.ndarray) -> list[dict[str, Any]]:
    return [
      evaluate_scores(abnormal[rows], score[rows], threshold)
      for score, threshold in zip(scores, thresholds, strict=True)
    ]

  all_rows = measured(np.ones(len(test), bool))
  mean, std = average(all_rows)
  natural = None
  if not real.all():
    natural = average([natural_precision(metrics, share) for metrics in all_rows])[0]
  return {
    'test': {'rows': len(test), 'synthetic_rows': int((~real).sum()), **mean},
    'test_std': std,
    'test_unseen': average(measured(real & ~seen_groups(data)))[0],
    'test_real': average(measured(real))[0],
    'natural_precision': natural,
    'repetitions': [
      {**metrics, **training} for metrics, training in zip(all_rows, history, strict=True)
    ],
  }


def baselines_block(
  data: Data, baselines: Mapping[str, tuple[np.ndarray, float]]
) -> dict[str, Any]:
  """Returns the block `baselines`: the test numbers of every simple detector.

  Args:
    data: all rows and their split.
    baselines: name -> scores of the test rows [N], and their threshold.
  """
  abnormal = data.examples.abnormal[data.split.test]
  return {
    name: evaluate_scores(abnormal, scores, threshold)
    for name, (scores, threshold) in baselines.items()
  }


def split_block(data: Data, by: str) -> dict[str, Any]:
  """Returns the block `split`: the order of the rows, and the rows of each side by label."""
  return {'by': by} | {
    name: _counts(data.examples, side) for name, side in data.split._asdict().items()
  }


def _counts(examples: Examples, side: np.ndarray) -> dict[str, int]:
  return {
    'rows': len(side),
    'abnormal': int(examples.abnormal[side].sum()),
    'synthetic': int(examples.generated[side].sum()),
  }


def seen_groups(data: Data) -> np.ndarray:
  """Marks the test rows with the group (masked text) of a real training row, bool [N].

  Generated training rows are ignored, so the marks are the same for every oversampler.
  """
  group, real = data.examples.group, real_rows(data.examples, data.split.train)
  return np.isin(group[data.split.test], group[real])


def generated_share(data: Data) -> float | None:
  """Returns the fraction of the rows of `test_unseen` with the text of a generated training row.

  None if `test_unseen` has no row.
  """
  group, generated = data.examples.group, data.examples.generated
  train, test = data.split.train, data.split.test
  unseen = test[~seen_groups(data) & ~generated[test]]
  known = np.isin(group[unseen], group[train[generated[train]]])
  return float(known.mean()) if len(unseen) else None


def real_rows(examples: Examples, rows: np.ndarray) -> np.ndarray:
  """Selects the real ones of some rows (indices)."""
  return rows[~examples.generated[rows]]


def without_generated(data: Data) -> Data:
  """Removes the generated rows from training and validation."""
  split = data.split
  train, valid = (real_rows(data.examples, side) for side in (split.train, split.valid))
  return data._replace(split=Split(train, valid, split.test))


def environment(devices: int) -> dict[str, Any]:
  """Returns the blocks `versions`, `device` and `git_commit`.

  Args:
    devices: greatest number of devices to use; 0 for all.
  """
  return {
    'versions': {name: importlib.metadata.version(name) for name in _VERSIONS},
    'device': f'{choose_devices(devices)} x {jax.devices()[0].device_kind}, '
    f'{platform.machine()}, Python {platform.python_version()}',
    'git_commit': git_commit(),
  }


def git_commit() -> str | None:
  """Returns the commit of this checkout; None outside of a checkout.

  It ends with '+changes' if files differ from the commit. A virtual environment inside another
  project's repository is not a checkout of logjax.
  """
  file = Path(__file__)
  try:
    # The path of this file in the repository that tracks it; '' if none does.
    name = _git(file.parent, 'ls-files', '--full-name', file.name)
    if name != f'logjax/evaluation/{file.name}':
      return None
    # --exclude=* leaves tags out, so the answer is always a commit.
    options = ('--always', '--abbrev=12', '--dirty=+changes', '--exclude=*')
    return _git(file.parent, 'describe', *options)
  except (OSError, subprocess.SubprocessError):
    return None


def _git(folder: Path, *args: str) -> str:
  answer = subprocess.run(
    ['git', *args], cwd=folder, capture_output=True, text=True, timeout=10, check=True
  )
  return answer.stdout.strip()
