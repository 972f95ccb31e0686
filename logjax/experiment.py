"""One experiment, stage after stage: from a log file to a trained detector and a report.

A stage that is expensive leaves its result in the workdir and is skipped when it is there already,
so that the same command goes on where an interrupted run stopped.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
import polars as pl

from logjax.corpora.examples import Prepared, add_generated, masked_rows, prepare
from logjax.corpora.formats import write_rejected
from logjax.corpora.source import Corpus, open_corpus
from logjax.corpora.splits import redraw
from logjax.detectors.autoencoder_gru import (
  Detector,
  fit_detector,
  restore_detector,
  save_detector,
  score_rows,
)
from logjax.evaluation.report import write_report
from logjax.results import Rows, make_details, make_results, test_results
from logjax.oversamplers.oversample import (
  Oversampled,
  fit_oversampler,
  oversample,
  restore_generators,
  save_generators,
)
from logjax.settings import claim_workdir, write_json
from logjax.training.progress import Progress


class Run(NamedTuple):
  """What every mode of one run shares."""

  config: ml_collections.ConfigDict
  leaks: frozenset[str]
  workdir: Path
  cache: Path
  keys: dict[str, jax.Array]
  progress: Progress


def open_run(
  config: ml_collections.ConfigDict, leaks: frozenset[str], workdir: Path, cache: Path
) -> Run:
  """Claims the workdir for a resolved config and makes the run's named keys.

  Raises:
    LogjaxError: when the workdir belongs to another config.
  """
  claim_workdir(config, workdir)
  names = ('oversampler', 'sampling', 'detector')
  keys = dict(zip(names, jax.random.split(jax.random.key(config.seed), len(names)), strict=True))
  return Run(config, leaks, workdir, cache, keys, Progress(workdir))


def train(run: Run, command: str) -> dict:
  """Does everything and returns the results, which are also in results.json and report.html."""
  corpus, prepared = read(run)
  rows = make_rows(run, corpus, prepared)
  with run.progress.stage('detector'):
    detector = _stage(
      run.workdir / 'detector',
      'fitted.json',
      lambda folder: save_detector(folder, _fit(run, rows)),
      lambda folder, fitted: restore_detector(
        run.config, folder, fitted, run.config.text.length, len(prepared.vocabulary)
      ),
    )
  with run.progress.stage('test'):
    scores = _test_scores(run, rows, detector)
    results = make_results(run.config, run.leaks, rows, detector, scores)
    details = make_details(rows, scores)
  results |= {'seconds': _all_seconds(run), 'command': command}
  write_json(run.workdir / 'details.json', details)
  write_json(run.workdir / 'results.json', results)
  write_report(run.workdir)
  return results


def evaluate(run: Run) -> dict:
  """Restores the run from its workdir and returns its test numbers, training nothing.

  Raises:
    LogjaxError: when the workdir holds no finished training.
  """
  corpus, prepared = read(run)
  rows = _combine(run, corpus, prepared, _restore_generated(run.workdir / 'oversampler'))
  folder = run.workdir / 'detector'
  fitted = _finished(folder, 'fitted.json')
  detector = restore_detector(
    run.config, folder, fitted, run.config.text.length, len(prepared.vocabulary)
  )
  return test_results(run.config, rows, detector, _test_scores(run, rows, detector))


def generate(run: Run, count: int) -> pl.Series:
  """Restores the generators and returns `count` generated lines as text."""
  corpus, prepared = read(run)
  source = _oversampler_rows(run, prepared)
  generators = None
  if run.config.oversampler.name != 'random':
    generators = restore_generators(run.workdir / 'oversampler', run.config.seqgan)
  free = run.config.copy_and_resolve_references()
  free.oversampler.similarity = 'none'
  drawn = oversample(
    free,
    prepared.examples.inputs[source],
    count,
    generators,
    lambda rows: masked_rows(prepared.vocabulary, rows),
    key=jax.random.fold_in(run.keys['sampling'], 1),
  )
  return prepared.vocabulary.decode(drawn.rows)


def read(run: Run) -> tuple[Corpus, Prepared]:
  """Reads the corpus and turns it into rows; says where it comes from."""
  with run.progress.stage('read'):
    corpus = open_corpus(run.config.data, run.config.seed, run.cache)
    logs = corpus.logs
    run.progress.say(_source_line(corpus))
    if len(logs.rejected):
      write_rejected(logs, run.workdir / 'rejected.tsv')
      run.progress.say(
        f'{len(logs.rejected):,} lines do not fit the format: see {run.workdir / "rejected.tsv"}'
      )
    prepared = prepare(run.config, run.leaks, logs)
  abnormal = int(prepared.examples.abnormal.sum())
  run.progress.say(
    f'{logs.lines:,} lines, {abnormal:,} abnormal; {len(prepared.masked):,} masked texts, '
    f'{len(prepared.vocabulary):,} tokens; {prepared.cut_share:.2%} of lines cut to '
    f'{run.config.text.length} tokens'
  )
  return corpus, prepared


def make_rows(run: Run, corpus: Corpus, prepared: Prepared) -> Rows:
  """Oversamples the abnormal rows that the protocol allows and adds what was made."""
  with run.progress.stage('oversampler'):
    oversampled = _stage(
      run.workdir / 'oversampler',
      'summary.json',
      lambda folder: _oversample(run, prepared, folder),
      lambda folder, summary: _restore_generated(folder),
    )
  summary = oversampled.summary
  if summary['repeated'] or len(oversampled.rows) < summary['requested']:
    run.progress.say(
      f'oversampler: of {summary["requested"]:,} rows wanted only {summary["kept"]:,} are distinct '
      f'and new; {summary["repeated"]:,} are repeats'
    )
  return _combine(run, corpus, prepared, oversampled)


def _stage(folder: Path, marker: str, make: Callable, restore: Callable):
  """Makes a stage's result unless its marker file is there, and restores it from the folder."""
  if not (folder / marker).exists():
    make(folder)
  return restore(folder, _finished(folder, marker))


def _finished(folder: Path, marker: str) -> dict:
  return json.loads((folder / marker).read_text()) if (folder / marker).exists() else {}


def _oversampler_rows(run: Run, prepared: Prepared) -> np.ndarray:
  """Indices of the abnormal rows that the oversampler may learn from, oldest first."""
  abnormal = prepared.examples.abnormal
  if 'oversampler_sees_test' in run.leaks:
    return np.flatnonzero(abnormal)
  return np.sort(prepared.split.train[abnormal[prepared.split.train]])


def _oversample(run: Run, prepared: Prepared, folder: Path) -> None:
  """Trains the oversampler, draws as many rows as balance the classes, and saves them."""
  config, examples = run.config, prepared.examples
  source = _oversampler_rows(run, prepared)
  inputs, group = examples.inputs[source], examples.group[source]
  side = np.concatenate(prepared.split) if _balances_all(run.leaks) else prepared.split.train
  count = config.oversampler.count
  if count is None:
    count = max(0, int((~examples.abnormal[side]).sum() - examples.abnormal[side].sum()))
  generators = fit_oversampler(
    config, inputs, group, key=run.keys['oversampler'], progress=run.progress
  )
  oversampled = oversample(
    config,
    inputs,
    count,
    generators,
    lambda rows: masked_rows(prepared.vocabulary, rows),
    key=run.keys['sampling'],
  )
  folder.mkdir(parents=True, exist_ok=True)
  if generators is not None:
    save_generators(folder, generators)
  np.save(folder / 'generated.npy', oversampled.rows, allow_pickle=False)
  texts = prepared.vocabulary.decode(oversampled.rows).value_counts(sort=True, name='count')
  lines = texts.select(pl.format('{}\t{}', 'count', 'text')).to_series()
  (run.workdir / 'generated.txt').write_text('\n'.join(['count\ttext', *lines]) + '\n')
  write_json(folder / 'summary.json', oversampled.summary)


def _balances_all(leaks: frozenset[str]) -> bool:
  """Whether generated rows balance the whole corpus, as in the paper, or the training rows."""
  return 'synthetic_in_test' in leaks


def _restore_generated(folder: Path) -> Oversampled:
  rows = np.load(folder / 'generated.npy', allow_pickle=False)
  return Oversampled(rows, _finished(folder, 'summary.json'))


def _combine(run: Run, corpus: Corpus, prepared: Prepared, oversampled: Oversampled) -> Rows:
  shares = (run.config.split.train, run.config.split.valid)
  examples, split = add_generated(
    prepared, oversampled.rows, run.leaks, shares, run.config.seed
  )
  return Rows(corpus, prepared, oversampled, examples, split)


def _fit(run: Run, rows: Rows) -> Detector:
  config = run.config
  # Where oversampler and autoencoders have seen all rows anyway, each repetition draws its own
  # training and validation rows, like the paper; else nothing that validates was trained on.
  anew = 'oversampler_sees_test' in run.leaks and 'random_split' in run.leaks
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
    progress=run.progress,
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
  )


def _all_seconds(run: Run) -> dict[str, float]:
  """Seconds of every stage; of one that an earlier call finished, what that call measured."""
  path = run.workdir / 'seconds.json'
  before = json.loads(path.read_text()) if path.exists() else {}
  seconds = {name: max(s, before.get(name, 0.0)) for name, s in run.progress.seconds.items()}
  write_json(path, seconds)
  return seconds


def _source_line(corpus: Corpus) -> str:
  if corpus.origin == 'simulated':
    return f'SIMULATED {corpus.name} corpus: no log was given, so the lines below are made up'
  return f'{corpus.name} corpus ({corpus.origin}): {", ".join(corpus.paths)}'
