"""From scores to `results.json`. R repetitions, N test rows."""

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import polars as pl

from logjax.corpora.source import Corpus, log_digest
from logjax.detectors.autoencoder_gru import Detector
from logjax.detectors.baselines import baseline_scores
from logjax.evaluation.metrics import (
  THRESHOLD,
  average,
  evaluate_scores,
  natural_precision,
)
from logjax.evaluation.quality import quality
from logjax.examples.lines import Examples, Prepared, masked_rows
from logjax.examples.splits import Split, knows_all
from logjax.oversamplers.oversample import Oversampled
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


class Rows(NamedTuple):
  """All rows of a run: what the results are about.

  Attributes:
    corpus: where the lines come from.
    prepared: its real rows.
    oversampled: what was generated.
    examples: real and generated rows together.
    split: which of these train, validate and test.
  """

  corpus: Corpus
  prepared: Prepared
  oversampled: Oversampled
  examples: Examples
  split: Split


def test_results(
  config: ml_collections.ConfigDict, rows: Rows, detector: Detector, scores: np.ndarray
) -> dict[str, Any]:
  """The test numbers: `test` to `repetitions` of results.json.

  `test_real` is on the test rows that were not generated, and `test_unseen` on those of them whose
  masked text no real training row has: the same rows for every oversampler. `natural_precision` is
  the mean over repetitions of the precision in `test`, each re-weighted to the share of abnormal
  rows in the log; None where the test has no generated rows.

  Args:
    config: of the run, resolved.
    rows: of the run.
    detector: for its thresholds.
    scores: [R, N].
  """
  test = rows.split.test
  abnormal, real = rows.examples.abnormal[test], rows.examples.origin[test] >= 0
  chosen = _chosen(config.detector.report, detector)

  def each(of: np.ndarray) -> list[dict[str, Any]]:
    return [
      evaluate_scores(abnormal[of], score[of], threshold)
      for score, threshold in zip(scores, detector.thresholds, strict=True)
    ]

  def mean(of: np.ndarray) -> dict[str, Any]:
    measured = each(of)
    return average([measured[r] for r in chosen])[0]

  everything = each(np.ones(len(test), bool))
  share = float(rows.prepared.examples.abnormal.mean())
  test_mean, std = average([everything[r] for r in chosen])
  return {
    'test': {'rows': len(test), 'synthetic_rows': int((~real).sum()), **test_mean},
    'test_std': std,
    'test_unseen': mean(real & ~seen_texts(rows)),
    'test_real': mean(real),
    'natural_precision': None
    if real.all()
    else average([natural_precision(everything[r], share) for r in chosen])[0],
    'repetitions': [
      {**metrics, **_training(fitted)}
      for metrics, fitted in zip(everything, detector.fitted, strict=True)
    ],
  }


def make_results(
  config: ml_collections.ConfigDict,
  leaks: frozenset[str],
  rows: Rows,
  detector: Detector,
  scores: np.ndarray,
  rivals: dict[str, np.ndarray],
) -> dict[str, Any]:
  """Everything in results.json but the durations and the command.

  Args:
    config: of the run, resolved.
    leaks: of the run.
    rows: of the run.
    detector: fitted.
    scores: [R, N].
    rivals: of `rival_scores`.
  """
  corpus, prepared, logs = rows.corpus, rows.prepared, rows.corpus.logs
  summary = dict(rows.oversampled.summary)
  warnings = summary.pop('warnings', [])
  return {
    'origin': corpus.origin,
    'protocol': config.protocol,
    'leaks': sorted(leaks),
    'permuted_labels': config.data.permute_labels,
    'seed': config.seed,
    'corpus': {
      'name': corpus.name,
      'path': list(corpus.paths),
      'lines': logs.lines,
      'rejected': logs.unfit,
      'abnormal': int(prepared.examples.abnormal.sum()),
      'sha256': log_digest(logs),
      'notes': logs.notes,
    },
    'split': {'by': prepared.ordered_by}
    | {name: _counts(rows, side) for name, side in rows.split._asdict().items()},
    'text': {
      'vocabulary': len(prepared.vocabulary),
      'length': config.text.length,
      'cut_share': prepared.cut_share,
      'distinct': len(prepared.masked),
      'numbers': config.text.numbers,
    },
    'oversampler': summary | {'quality': _quality(rows, leaks, config.seed)},
    'warnings': warnings,
    **test_results(config, rows, detector, scores),
    'baselines': {
      name: evaluate_scores(rows.examples.abnormal[rows.split.test], score, THRESHOLD)
      for name, score in rivals.items()
    },
    'seen_text_share': float(seen_texts(rows).mean()),
    'unseen_text_generated_share': _generated_share(rows),
    'versions': {name: importlib.metadata.version(name) for name in _VERSIONS},
    'device': f'{choose_devices(config.devices)} x {jax.devices()[0].device_kind}, '
    f'{platform.machine()}, Python {platform.python_version()}',
    'git_commit': git_commit(),
  }


def git_commit() -> str | None:
  """The commit of this checkout, with '+changes' when files differ from it; None outside of one.

  Another repository that logjax is installed in is not its checkout.
  """
  file = Path(__file__)
  try:
    if _git(file.parent, 'ls-files', '--full-name', file.name) != f'logjax/{file.name}':
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


def _chosen(report: str, detector: Detector) -> list[int]:
  """Which repetitions are reported (A14)."""
  everything = list(range(len(detector.thresholds)))
  if report == 'mean':
    return everything
  if report == 'last':
    return everything[-1:]
  return [min(everything, key=lambda r: detector.fitted[r]['valid_loss'])]


def _training(fitted: dict[str, float]) -> dict[str, float]:
  return {
    'train_loss': fitted['loss'],
    'train_accuracy': fitted['accuracy'],
    'valid_loss': fitted['valid_loss'],
    'valid_accuracy': fitted['valid_accuracy'],
    'epochs': fitted['epoch'] + 1,
  }


def _counts(rows: Rows, side: np.ndarray) -> dict[str, int]:
  return {
    'rows': len(side),
    'abnormal': int(rows.examples.abnormal[side].sum()),
    'synthetic': int((rows.examples.origin[side] < 0).sum()),
  }


def seen_texts(rows: Rows) -> np.ndarray:
  """Which test rows have a masked text that a real training row has, bool [N].

  Generated rows do not count, or every oversampler would have other unseen rows.
  """
  group, train = rows.examples.group, rows.split.train
  return np.isin(group[rows.split.test], group[train[rows.examples.origin[train] >= 0]])


def _generated_share(rows: Rows) -> float | None:
  """The share of the rows of `test_unseen` whose text generated training rows have, or None."""
  group, origin, (train, _, test) = rows.examples.group, rows.examples.origin, rows.split
  unseen = test[~seen_texts(rows) & (origin[test] >= 0)]
  generated = np.isin(group[unseen], group[train[origin[train] < 0]])
  return float(generated.mean()) if len(unseen) else None


def _masked(rows: Rows, index: np.ndarray) -> pl.Series:
  """Masked texts of rows; of a generated row its tokens' own."""
  generated = rows.examples.origin[index] < 0
  own = masked_rows(rows.prepared.vocabulary, rows.examples.inputs[index[generated]])
  place = rows.examples.group[index]
  place[generated] = len(rows.prepared.masked) + np.arange(len(own))
  return pl.concat([rows.prepared.masked, own]).gather(place)


def _quality(rows: Rows, leaks: frozenset[str], seed: int) -> dict[str, Any] | None:
  """What the generated rows are worth, against abnormal rows that the oversampler never saw."""
  if not len(rows.oversampled.rows):
    return None
  inputs, abnormal = rows.prepared.examples.inputs, rows.prepared.examples.abnormal
  known, unknown = rows.prepared.split.train, np.concatenate(rows.prepared.split[1:])
  if knows_all(leaks):
    known, unknown = np.concatenate(rows.prepared.split), unknown[:0]
  sides = (inputs[side[abnormal[side]]] for side in (known, unknown))
  return quality(rows.oversampled.rows, *sides, seed)


def rival_scores(rows: Rows) -> dict[str, np.ndarray]:
  """Scores of the test rows [N] by every rival, trained on the real training rows alone."""
  train = rows.split.train
  real = train[rows.examples.origin[train] >= 0]
  abnormal = rows.examples.abnormal[real]
  return baseline_scores(_masked(rows, real), abnormal, _masked(rows, rows.split.test))
