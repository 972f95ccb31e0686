"""The blocks of `results.json` that every kind of run has. R repetitions, N test rows."""

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
  """Returns the test numbers: `test` to `repetitions` of results.json.

  `test_real` is measured on the test rows that were not generated. `test_unseen` is measured on
  those of them whose group (masked text) no real training row has: the same rows for every
  oversampler. `natural_precision` is the precision of `test`, re-weighted to the share of abnormal
  rows in the log, the mean over repetitions; None where the test has no generated rows.

  Args:
    data: all rows and their split.
    scores: of the test rows [R, N].
    thresholds: of the repetitions.
    history: of their training.
    share: of abnormal rows in the log.
  """
  test = data.split.test
  abnormal, real = data.examples.abnormal[test], ~data.examples.generated[test]

  def each(of: np.ndarray) -> list[dict[str, Any]]:
    return [
      evaluate_scores(abnormal[of], score[of], threshold)
      for score, threshold in zip(scores, thresholds, strict=True)
    ]

  everything = each(np.ones(len(test), bool))
  mean, std = average(everything)
  natural = None
  if not real.all():
    natural = average([natural_precision(metrics, share) for metrics in everything])[0]
  return {
    'test': {'rows': len(test), 'synthetic_rows': int((~real).sum()), **mean},
    'test_std': std,
    'test_unseen': average(each(real & ~seen_groups(data)))[0],
    'test_real': average(each(real))[0],
    'natural_precision': natural,
    'repetitions': [
      {**metrics, **training} for metrics, training in zip(everything, history, strict=True)
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
  """Marks the test rows with a group (masked text) that a real training row has, bool [N].

  Generated rows are ignored, so the unseen test rows are the same for every oversampler.
  """
  group, real = data.examples.group, real_rows(data.examples, data.split.train)
  return np.isin(group[data.split.test], group[real])


def generated_share(data: Data) -> float | None:
  """Returns the share of the rows of `test_unseen` whose text generated training rows have.

  None where there is no such row.
  """
  group, generated = data.examples.group, data.examples.generated
  train, test = data.split.train, data.split.test
  unseen = test[~seen_groups(data) & ~generated[test]]
  known = np.isin(group[unseen], group[train[generated[train]]])
  return float(known.mean()) if len(unseen) else None


def real_rows(examples: Examples, rows: np.ndarray) -> np.ndarray:
  """Returns those of some rows that were not generated."""
  return rows[~examples.generated[rows]]


def without_generated(data: Data) -> Data:
  """Returns the same data with generated rows left out of training and validation."""
  split = data.split
  train, valid = (real_rows(data.examples, side) for side in (split.train, split.valid))
  return data._replace(split=Split(train, valid, split.test))


def environment(devices: int) -> dict[str, Any]:
  """Returns the blocks `versions`, `device` and `git_commit`.

  Args:
    devices: most devices that the run may use; 0 for all.
  """
  return {
    'versions': {name: importlib.metadata.version(name) for name in _VERSIONS},
    'device': f'{choose_devices(devices)} x {jax.devices()[0].device_kind}, '
    f'{platform.machine()}, Python {platform.python_version()}',
    'git_commit': git_commit(),
  }


def git_commit() -> str | None:
  """The commit of this checkout, with '+changes' when files differ from it; None outside of one.

  Another repository that logjax is installed in is not its checkout.
  """
  file = Path(__file__)
  try:
    name = _git(file.parent, 'ls-files', '--full-name', file.name)
    if name != f'logjax/evaluation/{file.name}':
      return None
    options = ('--always', '--abbrev=12', '--dirty=+changes', '--exclude=*')
    return _git(file.parent, 'describe', *options)
  except (OSError, subprocess.SubprocessError):
    return None


def _git(folder: Path, *args: str) -> str:
  answer = subprocess.run(
    ['git', *args], cwd=folder, capture_output=True, text=True, timeout=10, check=True
  )
  return answer.stdout.strip()
