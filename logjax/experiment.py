"""One experiment, stage after stage: from a log file to a trained detector and a report.

  read -> encode -> oversample -> fit -> test -> report

Each stage leaves its result in the workdir. A finished stage is restored, not run again.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import jax
import numpy as np
import polars as pl

from logjax import detectors, examples
from logjax.corpora.parsing import write_rejected, write_rejected_lines
from logjax.corpora.source import Corpus, log_digest, open_corpus
from logjax.errors import LogjaxError
from logjax.evaluation.details import generated_details, line_details
from logjax.evaluation.metrics import evaluate_scores
from logjax.evaluation.quality import quality
from logjax.evaluation.results import (
  environment,
  generated_share,
  seen_groups,
  split_block,
  test_results,
  without_generated,
)
from logjax.evaluation.scores import TestScores, save_scores, score_examples
from logjax.examples import lines, splits
from logjax.examples.types import Data, Examples, Split
from logjax.files import write_json
from logjax.oversamplers.gan import sample_rows
from logjax.oversamplers.generated import (
  make_generated,
  oversampler_rows,
  restore_generated,
  write_generated,
)
from logjax.oversamplers.oversample import Oversampled, module_of
from logjax.oversamplers.repeat import random_rows
from logjax.oversamplers.table import MAKE_NO_ROWS, TABLE
from logjax.reports.run import write_report
from logjax.run import Run, check_examples, finished, release, save_seconds, stage
from logjax.training import hosts


class Encoded(NamedTuple):
  """The real examples of a log.

  Attributes:
    corpus: where the lines come from.
    encoder: of their kind, fitted on what the protocol allows.
    examples: all of them, in the order of the log.
    split: which of them train, validate and test.
    by: the order of the split: 'time', 'line' (where a file has no times), 'random' or 'text'.
    blocks: of results.json that only this kind has.
  """

  corpus: Corpus
  encoder: Any
  examples: Examples
  split: Split
  by: str
  blocks: dict[str, Any]


class Fitted(NamedTuple):
  """A fitted detector and its module."""

  module: ModuleType
  detector: Any


def train(run: Run, command: str, *, keep_scores: bool = False) -> dict[str, Any]:
  """Runs all stages and returns the results, which are also in results.json and report.html.

  Args:
    run: opened, its workdir claimed.
    command: the command line, for results.json.
    keep_scores: writes the scores of every test row to scores.npz too.
  """
  encoded = encode(run, read(run))
  oversampled = oversample(run, encoded)
  data = add_generated(run, encoded, oversampled)
  fitted = fit(run, data)
  # Checkpoints of a call that was killed after its last stage and before they were deleted.
  run.runtime.checkpoints.delete()
  with run.runtime.progress.stage('test'):
    scores = test_scores(run, data, fitted)
    baselines = fit_baselines(run, data)
    baseline_scores = {name: test_scores(run, data, fit) for name, fit in baselines.items()}
    results = {
      **about(run, encoded, fitted),
      'split': split_block(data, encoded.by),
      **encoded.blocks,
      'oversampler': oversampler_block(run, encoded, oversampled),
      'warnings': oversampled.summary.get('warnings', []),
      **_test_results(encoded, data, fitted, scores),
      'baselines': _baselines_block(data, baselines, baseline_scores),
      'seen_text_share': float(seen_groups(data).mean()),
      'unseen_text_generated_share': generated_share(data),
      **environment(run.config.devices),
    }
    details = details_of(encoded, data, oversampled, scores, fitted)
  if keep_scores and hosts.first():
    saved = _saved_scores(data, fitted, scores, baselines, baseline_scores)
    save_scores(run.workdir / 'scores.npz', saved)
  results |= {'seconds': save_seconds(run), 'command': command}
  if hosts.first():
    write_json(run.workdir / 'details.json', details)
    write_json(run.workdir / 'results.json', results)
    write_report(run.workdir)
  return results


def evaluate(run: Run) -> dict[str, Any]:
  """Restores the run from its workdir and returns its test numbers; trains nothing.

  Returns:
    `origin`, `protocol`, `leaks`, `detector`, `test`, `test_std`, `test_unseen`, `test_real`,
    `natural_precision` and `repetitions`, each as in results.json.

  Raises:
    LogjaxError: when the workdir holds no finished training.
  """
  summary = finished(run, 'oversampler')
  if summary is None or finished(run, 'detector') is None:
    raise LogjaxError(f'{run.workdir} holds no finished training: run --mode=train in it first')
  encoded = encode(run, read(run))
  data = add_generated(run, encoded, restore_generated(run.workdir / 'oversampler', summary))
  module = detectors.load(run.config.detector.name)
  fitted = Fitted(module, module.restore(run.config, run.workdir / 'detector'))
  scores = test_scores(run, data, fitted)
  named = about(run, encoded, fitted)
  kept = {name: named[name] for name in ('origin', 'protocol', 'leaks', 'detector')}
  return kept | _test_results(encoded, data, fitted, scores)


def generate(run: Run, count: int) -> pl.Series:
  """Restores the generators and returns `count` generated lines as text.

  It needs no log, except with the oversampler 'random', which has no generators: it reads the log
  again and repeats abnormal lines of it.

  Raises:
    LogjaxError: when the workdir holds no trained generators, and as `read` does.
  """
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
  encoder = lines.restore(run.workdir / 'encoder')
  if (finished(run, 'oversampler') or {}).get('origin') == 'simulated':
    run.runtime.progress.say(_source_line(run.config.data.corpus, 'simulated', ()))
  return encoder.vocabulary.decode(sample_rows(run.config, generators, count, key=key))


def read(run: Run) -> Corpus:
  """Reads the corpus; reports where it comes from and which lines are odd.

  Raises:
    LogjaxError: as `open_corpus` does.
  """
  say = run.runtime.progress.say
  with run.runtime.progress.stage('read'):
    try:
      data, advance = run.config.data, run.runtime.progress.megabytes('download')
      corpus = open_corpus(data, data.simulated_seed, run.cache, progress=advance)
    except LogjaxError as error:
      release(run)
      if error.rejected is not None and hosts.first():
        path = run.workdir / 'rejected.tsv'
        write_rejected_lines(error.rejected, path)
        say(f'the first {len(error.rejected):,} lines that do not fit are in {path}')
      raise
    logs = corpus.logs
    say(_source_line(corpus.name, corpus.origin, corpus.paths))
    if logs.unfit and hosts.first():
      write_rejected(logs, run.workdir / 'rejected.tsv')
      say(f'{logs.unfit:,} lines do not fit the format: see {run.workdir / "rejected.tsv"}')
    if untimed := logs.notes['untimed']:
      say(f'{untimed:,} lines have no time that can be read: they take the time of the line before')
  return corpus


def encode(run: Run, corpus: Corpus) -> Encoded:
  """Splits the examples, fits the encoder on those that may be seen, and encodes them all.

  Raises:
    LogjaxError: when there are no labels, a side of the split lacks a class, or an earlier call
      found other lines.
  """
  config, protocol, logs = run.config, run.protocol, corpus.logs
  detector = detectors.load(config.detector.name)
  kind = examples.load(detector.KIND)
  with run.runtime.progress.stage('encode'):
    try:
      if not logs.labelled:
        raise LogjaxError(
          'these lines have no labels, and a detector is trained on labels: give data.pattern a '
          "group 'label', or data.label_file for HDFS"
        )
      unencoded = kind.read(config, logs)
      real = unencoded.examples
      if config.data.permute_labels:
        real = real._replace(abnormal=splits.permute_labels(real.abnormal, config.seed))
        unencoded = unencoded._replace(examples=real)
      split = splits.make_split(config, protocol, real, needs=detector.NEEDS)
      seen = np.arange(len(real.index)) if protocol.vocabulary_from_all else split.train
      encoder = _encoder(run, kind, lambda: kind.fit(config, unencoded, seen))
    except LogjaxError:
      release(run)
      raise
    real = kind.encode(encoder, unencoded)
    check_examples(run, real, split)
  by = 'line' if protocol.split_by == 'time' and real.time is None else protocol.split_by
  encoded = Encoded(corpus, encoder, real, split, by, kind.block(config, encoder, unencoded))
  text = encoded.blocks['text']
  run.runtime.progress.say(
    f'{logs.lines:,} lines, {int(real.abnormal.sum()):,} abnormal; '
    f'{text["distinct"]:,} masked texts, {text["vocabulary"]:,} tokens; '
    f'{text["cut_share"]:.2%} of lines cut to {text["length"]} tokens'
  )
  return encoded


def _encoder(run: Run, kind: ModuleType, fit: Callable[[], Any]) -> Any:
  """Restores the encoder of the run, or fits and saves it."""
  folder = run.workdir / 'encoder'
  if finished(run, 'encoder') is None:
    encoder = fit()
    if hosts.first():
      kind.save(folder, encoder)
    hosts.wait('encoder')
  return kind.restore(folder)


def oversample(run: Run, encoded: Encoded) -> Oversampled:
  """Makes rows out of the abnormal rows that the protocol allows."""
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
  joined, split = lines.add_generated(
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
  """Trains the detector that the configuration names."""
  module = detectors.load(run.config.detector.name)

  def make(folder) -> None:
    detector = module.fit(run.config, data, key=run.keys['detector'], runtime=run.runtime)
    module.save(folder, detector)

  detector = stage(run, 'detector', make, lambda folder, _: module.restore(run.config, folder))
  return Fitted(module, detector)


def fit_baselines(run: Run, data: Data) -> dict[str, Fitted]:
  """Trains the simple detectors of the same kind on the real rows alone."""
  kind, real = detectors.load(run.config.detector.name).KIND, without_generated(data)
  fitted = {}
  for name in detectors.BASELINES[kind]:
    module = detectors.load(name)
    key = run.keys['detector']
    detector = module.fit(run.config, real, key=key, runtime=run.runtime)
    fitted[name] = Fitted(module, detector)
  return fitted


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
  """Returns the blocks that say which run this is."""
  corpus, logs, config = encoded.corpus, encoded.corpus.logs, run.config
  return {
    'origin': corpus.origin,
    'protocol': config.protocol,
    'leaks': sorted(run.protocol.leaks),
    'permuted_labels': config.data.permute_labels,
    'seed': config.seed,
    'corpus': {
      'name': corpus.name,
      'path': list(corpus.paths),
      'lines': logs.lines,
      'rejected': logs.unfit,
      'abnormal': int(encoded.examples.abnormal.sum()),
      'sha256': log_digest(logs),
      'notes': logs.notes,
    },
    'detector': {
      'name': config.detector.name,
      'title': fitted.module.TITLE,
      'kind': fitted.module.KIND,
      'needs': fitted.module.NEEDS,
    },
  }


def oversampler_block(run: Run, encoded: Encoded, oversampled: Oversampled) -> dict[str, Any]:
  """Returns the block `oversampler`: counts, and the quality of the generated rows.

  Quality is measured against abnormal rows that the oversampler never saw, where there are any.
  """
  block = {name: value for name, value in oversampled.summary.items() if name != 'warnings'}
  block['quality'] = None
  if len(oversampled.index):
    examples, split = encoded.examples, encoded.split
    known, unknown = split.train, np.concatenate(split[1:])
    if run.protocol.oversampler_sees_test:
      known, unknown = np.concatenate(split), unknown[:0]
    rows = (
      examples.distinct.tokens[examples.index[side[examples.abnormal[side]]]]
      for side in (known, unknown)
    )
    made = oversampled.distinct[oversampled.index]
    block['quality'] = quality(made, *rows, run.config.seed)
  return block


def details_of(
  encoded: Encoded, data: Data, oversampled: Oversampled, scores: np.ndarray, fitted: Fitted
) -> dict[str, Any]:
  """Returns the single lines that the report shows."""
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


def _baselines_block(
  data: Data, baselines: dict[str, Fitted], scores: dict[str, np.ndarray]
) -> dict[str, Any]:
  abnormal = data.examples.abnormal[data.split.test]
  return {
    name: evaluate_scores(abnormal, scores[name][0], fitted.detector.thresholds[0])
    for name, fitted in baselines.items()
  }


def _saved_scores(
  data: Data,
  fitted: Fitted,
  scores: np.ndarray,
  baselines: dict[str, Fitted],
  baseline_scores: dict[str, np.ndarray],
) -> TestScores:
  test, examples = data.split.test, data.examples
  return TestScores(
    origin=examples.first[test],
    abnormal=examples.abnormal[test],
    group=examples.group[test],
    seen=seen_groups(data),
    scores=scores,
    thresholds=np.array(fitted.detector.thresholds),
    baselines={name: values[0] for name, values in baseline_scores.items()},
    baseline_thresholds={name: one.detector.thresholds[0] for name, one in baselines.items()},
  )


def _source_line(name: str, origin: str, paths: Sequence[str]) -> str:
  if origin == 'simulated':
    return f'SIMULATED {name} corpus: no log was given, so the lines below are made up'
  return f'{name} corpus ({origin}): {", ".join(paths)}'
