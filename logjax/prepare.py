"""The first stages of a run: read a log, split it, and encode it as examples.

N examples, in the order of the log.
"""

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from logjax import detectors, examples
from logjax.corpora.parsing import write_rejected, write_rejected_lines
from logjax.corpora.source import Corpus, open_corpus
from logjax.errors import LogjaxError
from logjax.examples import splits
from logjax.examples.types import Examples, Split
from logjax.run import Run, check_examples, finished, release
from logjax.training import hosts


class Encoded(NamedTuple):
  """The real examples of a log.

  Attributes:
    corpus: source of the lines.
    encoder: of their kind, fitted on the examples allowed by the protocol.
    examples: all of them, in the order of the log.
    split: of the examples.
    kind: the module of their kind.
    by: the rule of the split: 'time', 'line' (if a file has no times), 'random' or 'text'.
    blocks: the kind's own blocks of results.json.
  """

  corpus: Corpus
  encoder: Any
  examples: Examples
  split: Split
  kind: ModuleType
  by: str
  blocks: dict[str, Any]


def read(run: Run) -> Corpus:
  """Reads the corpus; prints its source and the number of odd lines.

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
    say(source_line(corpus.name, corpus.origin, corpus.paths))
    if logs.unfit and hosts.first():
      write_rejected(logs, run.workdir / 'rejected.tsv')
      say(f'{logs.unfit:,} lines do not fit the format: see {run.workdir / "rejected.tsv"}')
    if untimed := logs.notes['untimed']:
      say(f'{untimed:,} lines have no time that can be read: they take the time of the line before')
  return corpus


def encode(run: Run, corpus: Corpus) -> Encoded:
  """Splits the examples, fits the encoder on the allowed ones, and encodes them all.

  Raises:
    LogjaxError: there are no labels, a side of the split lacks a class, or the log has changed
      since an earlier call.
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
  blocks = kind.block(config, encoder, unencoded)
  run.runtime.progress.say(
    f'{logs.lines:,} lines, {int(real.abnormal.sum()):,} abnormal; {kind.summary(blocks)}'
  )
  return Encoded(corpus, encoder, real, split, kind, by, blocks)


def _encoder(run: Run, kind: ModuleType, fit: Callable[[], Any]) -> Any:
  """Restores the encoder of the run, or fits and saves it."""
  folder = run.workdir / 'encoder'
  # Before corpus.json is written nothing ties the run to its log: the encoder may be of another.
  known = hosts.from_first((run.workdir / 'corpus.json').exists())
  if finished(run, 'encoder') is None or not known:
    encoder = fit()
    if hosts.first():
      kind.save(folder, encoder)
    hosts.wait('encoder')
  return kind.restore(folder)


def source_line(name: str, origin: str, paths: Sequence[str]) -> str:
  """Returns the printed line about the source of a corpus."""
  if origin == 'simulated':
    return f'SIMULATED {name} corpus: no log was given, so the lines below are made up'
  return f'{name} corpus ({origin}): {", ".join(paths)}'
