"""One experiment, stage after stage: from a log file to a trained detector and a report."""

from collections.abc import Sequence

import jax
import numpy as np
import polars as pl

from logjax.corpora.parsing import write_rejected, write_rejected_lines
from logjax.corpora.source import Corpus, open_corpus
from logjax.details import make_details
from logjax.detectors.autoencoder_gru import (
  Detector,
  fit_detector,
  restore_detector,
  save_detector,
  score_rows,
)
from logjax.errors import LogjaxError
from logjax.evaluation.scores import TestScores, save_scores
from logjax.examples.lines import Prepared, add_generated, prepare
from logjax.examples.splits import knows_all, redraw
from logjax.files import write_json
from logjax.oversamplers.generated import (
  make_generated,
  oversampler_rows,
  restore_generated,
  write_generated,
)
from logjax.oversamplers.oversample import MAKE_NO_ROWS, Oversampled
from logjax.oversamplers.repeat import random_rows
from logjax.oversamplers.saved import restore_generators, sample_rows
from logjax.reports.run import write_report
from logjax.results import (
  Rows,
  make_results,
  rival_scores,
  seen_texts,
  test_results,
)
from logjax.run import (
  MARKERS,
  Run,
  check_rows,
  finished,
  release,
  save_seconds,
  stage,
)
from logjax.training import hosts


def train(run: Run, command: str, *, keep_scores: bool = False) -> dict:
  """Does everything and returns the results, which are also in results.json and report.html.

  Args:
    run: to do.
    command: that started it, for results.json.
    keep_scores: whether to leave the scores of every test row in scores.npz.
  """
  corpus, prepared = read(run)
  rows = make_rows(run, corpus, prepared)
  detector = stage(
    run,
    'detector',
    lambda folder: save_detector(folder, _fit(run, rows)),
    lambda folder, fitted: restore_detector(
      run.config, folder, fitted, run.config.text.length, len(prepared.vocabulary)
    ),
  )
  # Also of a call that was killed when the last stage was finished and its checkpoints still there.
  run.runtime.checkpoints.delete()
  with run.runtime.progress.stage('test'):
    scores, rivals = _test_scores(run, rows, detector), rival_scores(rows)
    results = make_results(run.config, run.leaks, rows, detector, scores, rivals)
    details = make_details(rows, detector, scores)
  if keep_scores and hosts.first():
    save_scores(run.workdir / 'scores.npz', _kept_scores(rows, detector, scores, rivals))
  results |= {'seconds': save_seconds(run), 'command': command}
  if hosts.first():
    write_json(run.workdir / 'details.json', details)
    write_json(run.workdir / 'results.json', results)
    write_report(run.workdir)
  return results


def evaluate(run: Run) -> dict:
  """Restores the run from its workdir and returns its test numbers, training nothing.

  Returns:
    `origin`, `protocol`, `leaks`, `test`, `test_std`, `test_unseen`, `test_real` and `repetitions`,
    each as in results.json.

  Raises:
    LogjaxError: when the workdir holds no finished training.
  """
  summary, fitted = (finished(run, name) for name in MARKERS)
  if summary is None or fitted is None:
    raise LogjaxError(
      f'{run.workdir} holds no finished training: run --mode=train with the same flags first'
    )
  corpus, prepared = read(run)
  rows = _combine(run, corpus, prepared, restore_generated(run.workdir / 'oversampler', summary))
  detector = restore_detector(
    run.config,
    run.workdir / 'detector',
    fitted,
    run.config.text.length,
    len(prepared.vocabulary),
  )
  scores = _test_scores(run, rows, detector)
  about = {
    'origin': corpus.origin,
    'protocol': run.config.protocol,
    'leaks': sorted(run.leaks),
  }
  return about | test_results(run.config, rows, detector, scores)


def generate(run: Run, count: int) -> pl.Series:
  """Restores the generators and returns `count` generated lines as text.

  It needs no log, except with the oversampler 'random', which has no generators: it reads the log
  again and repeats abnormal lines of it.

  Raises:
    LogjaxError: when the workdir holds no trained generators, and as `read` does.
  """
  key = jax.random.fold_in(run.keys['sampling'], 1)
  if run.config.oversampler.name == 'random':
    _, prepared = read(run)
    inputs = prepared.examples.inputs[oversampler_rows(run, prepared)]
    return prepared.vocabulary.decode(random_rows(inputs, count, run.config.seed))
  generators, vocabulary = restore_generators(run.workdir / 'oversampler', run.config.seqgan)
  origin = (finished(run, 'oversampler') or {}).get('origin')
  if origin == 'simulated':
    run.runtime.progress.say(_source_line(run.config.data.corpus, origin, ()))
  return vocabulary.decode(sample_rows(run.config, generators, count, key=key))


def read(run: Run) -> tuple[Corpus, Prepared]:
  """Reads the corpus and turns it into rows; says where it comes from.

  Raises:
    LogjaxError: as `open_corpus` and `prepare` do, and when an earlier call found other rows.
  """
  with run.runtime.progress.stage('read'):
    try:
      data, told = run.config.data, run.runtime.progress.megabytes('download')
      corpus = open_corpus(data, data.simulated_seed, run.cache, progress=told)
      logs = corpus.logs
      run.runtime.progress.say(_source_line(corpus.name, corpus.origin, corpus.paths))
      if logs.unfit and hosts.first():
        write_rejected(logs, run.workdir / 'rejected.tsv')
        run.runtime.progress.say(
          f'{logs.unfit:,} lines do not fit the format: see {run.workdir / "rejected.tsv"}'
        )
      if untimed := logs.notes['untimed']:
        run.runtime.progress.say(
          f'{untimed:,} lines have no time that can be read: that of the line before is taken'
        )
      prepared = prepare(run.config, run.leaks, logs)
    except LogjaxError as error:
      release(run)
      if error.rejected is not None and hosts.first():
        write_rejected_lines(error.rejected, run.workdir / 'rejected.tsv')
        kept, path = len(error.rejected), run.workdir / 'rejected.tsv'
        run.runtime.progress.say(f'the first {kept:,} that do not fit are in {path}')
      raise
    check_rows(run, prepared)
  abnormal = int(prepared.examples.abnormal.sum())
  run.runtime.progress.say(
    f'{logs.lines:,} lines, {abnormal:,} abnormal; {len(prepared.masked):,} masked texts, '
    f'{len(prepared.vocabulary):,} tokens; {prepared.cut_share:.2%} of lines cut to '
    f'{run.config.text.length} tokens'
  )
  return corpus, prepared


def make_rows(run: Run, corpus: Corpus, prepared: Prepared) -> Rows:
  """Oversamples the abnormal rows that the protocol allows and adds what was made."""
  oversampled = stage(
    run,
    'oversampler',
    lambda folder: make_generated(run, prepared, corpus.origin, folder),
    restore_generated,
  )
  write_generated(run, prepared, oversampled)
  summary = oversampled.summary
  if summary['name'] not in MAKE_NO_ROWS and not summary['requested']:
    run.runtime.progress.say(
      'oversampler: no abnormal row is wanted, there are as many as normal ones'
    )
  elif summary['name'] != 'random' and summary['kept'] < summary['requested']:
    run.runtime.progress.say(
      f'oversampler: of {summary["requested"]:,} rows wanted only {summary["kept"]:,} are distinct '
      f'and new; {summary["repeated"]:,} are repeats'
    )
  return _combine(run, corpus, prepared, oversampled)


def _combine(run: Run, corpus: Corpus, prepared: Prepared, oversampled: Oversampled) -> Rows:
  shares = (run.config.split.train, run.config.split.valid)
  examples, split = add_generated(prepared, oversampled.rows, run.leaks, shares, run.config.seed)
  return Rows(corpus, prepared, oversampled, examples, split)


def _fit(run: Run, rows: Rows) -> Detector:
  config = run.config
  # Where oversampler and autoencoders have seen all rows anyway, each repetition draws its own
  # training and validation rows, like the paper; else nothing that validates was trained on.
  anew = knows_all(run.leaks) and config.split.by == 'random' and not config.split.abnormal_train
  repetitions = [
    redraw(rows.split, r, shuffled=anew, seed=config.seed)
    for r in range(config.detector.repetitions)
  ]
  return fit_detector(
    config,
    run.leaks,
    rows.examples,
    rows.split,
    repetitions,
    len(rows.prepared.vocabulary),
    key=run.keys['detector'],
    runtime=run.runtime,
  )


def _test_scores(run: Run, rows: Rows, detector: Detector) -> np.ndarray:
  """Scores of the test rows, [R, N]."""
  return score_rows(
    run.config,
    run.leaks,
    detector,
    rows.examples,
    rows.split.test,
    len(rows.prepared.vocabulary),
    key=run.keys['detector'],
    runtime=run.runtime,
  )


def _kept_scores(
  rows: Rows, detector: Detector, scores: np.ndarray, rivals: dict[str, np.ndarray]
) -> TestScores:
  test, examples = rows.split.test, rows.examples
  about = (examples.origin, examples.abnormal, examples.group)
  truth = (*(column[test] for column in about), seen_texts(rows))
  return TestScores(*truth, scores, np.array(detector.thresholds), rivals)


def _source_line(name: str, origin: str, paths: Sequence[str]) -> str:
  if origin == 'simulated':
    return f'SIMULATED {name} corpus: no log was given, so the lines below are made up'
  return f'{name} corpus ({origin}): {", ".join(paths)}'
