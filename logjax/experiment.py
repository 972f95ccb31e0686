"""One experiment, stage after stage: from a log file to a trained detector and a report.

  read -> encode -> oversample -> fit -> test -> report

Each stage leaves its result in the workdir. A finished stage is restored, not run again.
"""

from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from logjax import detectors, examples
from logjax.corpora.source import corpus_block
from logjax.errors import LogjaxError
from logjax.evaluation.details import generated_details, line_details
from logjax.evaluation.results import (
  baselines_block,
  environment,
  generated_share,
  seen_groups,
  split_block,
  test_results,
  without_generated,
)
from logjax.evaluation.scores import collect_scores, save_scores, score_examples
from logjax.examples.types import Data
from logjax.files import write_json
from logjax.oversamplers.gan import sample_rows
from logjax.oversamplers.generated import (
  make_generated,
  oversampler_block,
  oversampler_rows,
  restore_generated,
  write_generated,
)
from logjax.oversamplers.oversample import Oversampled, module_of
from logjax.oversamplers.repeat import random_rows
from logjax.oversamplers.table import MAKE_NO_ROWS, TABLE
from logjax.prepare import Encoded, encode, read, source_line
from logjax.reports.run import write_report
from logjax.run import Run, finished, save_seconds, stage
from logjax.training import hosts


class Fitted(NamedTuple):
  """A fitted detector and its module."""

  module: ModuleType
  detector: Any


def train(run: Run, command: str, *, keep_scores: bool = False) -> dict[str, Any]:
  """Runs all stages, writes results.json and report.html, and returns the results.

  Args:
    run: opened.
    command: the command line, for results.json.
    keep_scores: writes the score of every test row to scores.npz too.
  """
  encoded = encode(run, read(run))
  oversampled = oversample(run, encoded)
  data = add_generated(run, encoded, oversampled)
  fitted = fit(run, data)
  # An earlier call may have been killed between its last stage and this line.
  run.runtime.checkpoints.delete()
  with run.runtime.progress.stage('test'):
    scores = test_scores(run, data, fitted)
    baselines = baseline_scores(run, data)
    results = {
      **about(run, encoded, fitted),
      'split': split_block(data, encoded.by),
      **encoded.blocks,
      'oversampler': oversampler_block(
        run.config, run.protocol, encoded.examples, encoded.split, oversampled
      ),
      'warnings': oversampled.summary.get('warnings', []),
      **_test_results(encoded, data, fitted, scores),
      'baselines': baselines_block(data, baselines),
      'seen_text_share': float(seen_groups(data).mean()),
      'unseen_text_generated_share': generated_share(data),
      **environment(run.config.devices),
    }
    details = details_of(encoded, data, oversampled, scores, fitted)
  if keep_scores and hosts.first():
    saved = collect_scores(data, scores, fitted.detector.thresholds, baselines)
    save_scores(run.workdir / 'scores.npz', saved)
  results |= {'seconds': save_seconds(run), 'command': command}
  if hosts.first():
    write_json(run.workdir / 'details.json', details)
    write_json(run.workdir / 'results.json', results)
    write_report(run.workdir)
  return results


def evaluate(run: Run) -> dict[str, Any]:
  """Restores a run from its workdir and returns its test numbers, without training.

  Returns:
    `origin`, `protocol`, `leaks`, `detector`, `test`, `test_std`, `test_unseen`, `test_real`,
    `natural_precision` and `repetitions`, each as in results.json.

  Raises:
    LogjaxError: the workdir holds no finished training.
  """
  summary = finished(run, 'oversampler')
  if summary is None or finished(run, 'detector') is None:
    raise LogjaxError(f'{run.workdir} holds no finished training: run --mode=train in it first')
  encoded = encode(run, read(run))
  data = add_generated(run, encoded, restore_generated(run.workdir / 'oversampler', summary))
  module = detectors.load(run.config.detector.name)
  fitted = Fitted(module, module.restore(run.config, run.workdir / 'detector'))
  scores = test_scores(run, data, fitted)
  blocks = about(run, encoded, fitted)
  blocks = {name: blocks[name] for name in ('origin', 'protocol', 'leaks', 'detector')}
  return blocks | _test_results(encoded, data, fitted, scores)


def generate(run: Run, count: int) -> pl.Series:
  """Restores the generators and returns `count` generated lines as text, String [count].

  The log is not needed. Only the oversampler 'random' reads it again: it has no generators, and
  repeats abnormal lines.

  Raises:
    LogjaxError: the workdir holds no trained generators; or as `read` does.
  """
  # Not the key of training: otherwise these would be the rows that the run has drawn already.
  key = jax.random.fold_in(run.keys['sampling'], 1)
  name = run.config.oversampler.name
  if TABLE[name].repeats:
    encoded = encode(run, read(run))
    source = oversampler_rows(encoded.examples, encoded.split, run.protocol)
    rows = encoded.examples.distinct.tokens[encoded.examples.index[source]]
    return encoded.encoder.vocabulary.decode(random_rows(rows, count, run.config.seed))
  if not TABLE[name].generators:
    raise LogjaxError(f'{run.workdir}: the oversampler {name!r} has no generators to sample from')
  generators = module_of(name).restore(run.config, run.workdir / 'oversampler')
  kind = examples.load(detectors.load(run.config.detector.name).KIND)
  encoder = kind.restore(run.workdir / 'encoder')
  if (finished(run, 'oversampler') or {}).get('origin') == 'simulated':
    run.runtime.progress.say(source_line(run.config.data.corpus, 'simulated', ()))
  return encoder.vocabulary.decode(sample_rows(run.config, generators, count, key=key))


def oversample(run: Run, encoded: Encoded) -> Oversampled:
  """Makes rows out of the abnormal rows allowed by the protocol."""
  oversampled = stage(
    run,
    'oversampler',
    lambda folder: make_generated(
      run, encoded.examples, encoded.split, encoded.encoder, encoded.corpus.origin, folder
    ),
    restore_generated,
  )
  write_generated(run, encoded.encoder, oversampled)
  summary, say = oversampled.summary, run.runtime.progress.say
  name = summary['name']
  if name not in MAKE_NO_ROWS and not summary['requested']:
    say('oversampler: no abnormal row is wanted, there are as many as normal ones')
  elif not TABLE[name].repeats and summary['kept'] < summary['requested']:
    say(
      f'oversampler: of {summary["requested"]:,} rows wanted only {summary["kept"]:,} are distinct '
      f'and new; {summary["repeated"]:,} are repeats'
    )
  return oversampled


def add_generated(run: Run, encoded: Encoded, oversampled: Oversampled) -> Data:
  """Joins real and generated rows."""
  joined, split = encoded.kind.add_generated(
    encoded.encoder,
    encoded.examples,
    encoded.split,
    (oversampled.distinct, oversampled.index),
    run.protocol,
    (run.config.split.train, run.config.split.valid),
    run.config.seed,
  )
  balanced = run.config.oversampler.name == 'class_weights'
  return Data(joined, split, encoded.encoder, balanced)


def fit(run: Run, data: Data) -> Fitted:
  """Trains the detector `config.detector.name`."""
  module = detectors.load(run.config.detector.name)

  def make(folder) -> None:
    detector = module.fit(run.config, data, key=run.keys['detector'], runtime=run.runtime)
    module.save(folder, detector)

  detector = stage(run, 'detector', make, lambda folder, _: module.restore(run.config, folder))
  return Fitted(module, detector)


def baseline_scores(run: Run, data: Data) -> dict[str, tuple[np.ndarray, float]]:
  """Trains the simple detectors of the same kind on the real rows alone, and scores the test rows.

  A baseline that needs labels is left out, and this is said, if the real training rows are of one
  class.

  Returns:
    name -> scores of the test rows [N], and their threshold.
  """
  kind, real = detectors.load(run.config.detector.name).KIND, without_generated(data)
  both_classes = len(np.unique(real.examples.abnormal[real.split.train])) == 2
  scored = {}
  for name in detectors.BASELINES.get(kind, ()):
    module = detectors.load(name)
    if module.NEEDS == 'labels' and not both_classes:
      run.runtime.progress.say(f'baseline {name}: left out, the training rows are of one class')
      continue
    detector = module.fit(run.config, real, key=run.keys['detector'], runtime=run.runtime)
    scores = test_scores(run, data, Fitted(module, detector))
    scored[name] = (scores[0], detector.thresholds[0])
  return scored


def test_scores(run: Run, data: Data, fitted: Fitted) -> np.ndarray:
  """Scores the test rows, [R, N]."""
  return score_examples(
    fitted.module,
    run.config,
    fitted.detector,
    data.examples,
    data.split.test,
    key=run.keys['detector'],
    runtime=run.runtime,
  )


def about(run: Run, encoded: Encoded, fitted: Fitted) -> dict[str, Any]:
  """Returns the blocks of results.json about the run itself, before any result."""
  config = run.config
  return {
    'origin': encoded.corpus.origin,
    'protocol': config.protocol,
    'leaks': sorted(run.protocol.leaks),
    'permuted_labels': config.data.permute_labels,
    'seed': config.seed,
    'corpus': corpus_block(encoded.corpus),
    'detector': {
      'name': config.detector.name,
      'title': fitted.module.TITLE,
      'kind': fitted.module.KIND,
      'needs': fitted.module.NEEDS,
    },
  }


def details_of(
  encoded: Encoded, data: Data, oversampled: Oversampled, scores: np.ndarray, fitted: Fitted
) -> dict[str, Any]:
  """Returns the single lines for the report."""
  counts = np.bincount(oversampled.index, minlength=len(oversampled.distinct))
  logs = encoded.corpus.logs
  return {
    'generated': generated_details(
      logs,
      encoded.examples,
      oversampled.distinct,
      counts,
      encoded.encoder.vocabulary.decode,
    ),
    **line_details(logs, data, scores, fitted.detector.thresholds),
  }


def _test_results(
  encoded: Encoded, data: Data, fitted: Fitted, scores: np.ndarray
) -> dict[str, Any]:
  detector = fitted.detector
  share = float(encoded.examples.abnormal.mean())
  return test_results(data, scores, detector.thresholds, detector.history, share)
