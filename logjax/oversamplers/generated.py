"""The stage `oversampler` of a run: choose the rows to learn from, make rows, save them."""

from pathlib import Path
from typing import Any

import ml_collections
import numpy as np

from logjax.evaluation.quality import quality
from logjax.examples.lines import Encoder, masked_rows
from logjax.examples.protocol import Protocol
from logjax.examples.types import Examples, Split
from logjax.files import load_arrays, save_arrays, write_json
from logjax.oversamplers.oversample import Oversampled, draw_rows, fit_oversampler, module_of
from logjax.oversamplers.reuse import reuse_stage
from logjax.oversamplers.table import TABLE
from logjax.run import Run
from logjax.seqgan.collapse import collapses
from logjax.seqgan.fit import STAGES
from logjax.training import hosts

# The fields and groups of fields with an influence on the generated rows, those of SMOTE's
# autoencoder apart.
_FIELDS = ('oversampler', 'seqgan', 'seed', 'devices')
_AUTOENCODER_FIELDS = ('detector.autoencoder',)
_PHASES = (*STAGES, 'autoencoder_smote')
_FILE = 'generated.npz'


def oversampler_rows(examples: Examples, split: Split, protocol: Protocol) -> np.ndarray:
  """Returns the indices of the abnormal rows to learn from, oldest first; the protocol decides.

  Rows of the same time are in the order of the corpus. So are all rows if a file has no times.
  """
  known = np.concatenate(split) if protocol.oversampler_sees_test else split.train
  rows = np.sort(known[examples.abnormal[known]])
  return rows if examples.time is None else rows[np.argsort(examples.time[rows], kind='stable')]


def rows_wanted(count: int | None, examples: Examples, split: Split, protocol: Protocol) -> int:
  """Returns the number of rows to make.

  Args:
    count: `config.oversampler.count`; None balances the classes of the training rows. With the leak
      synthetic_in_test it balances those of the whole corpus, as in the paper.
    examples: real ones.
    split: of them.
    protocol: of the run.
  """
  if count is not None:
    return count
  side = np.concatenate(split) if protocol.synthetic_in_test else split.train
  # Normal minus abnormal rows: with as many abnormal rows more, both classes have equal numbers.
  return max(0, len(side) - 2 * int(examples.abnormal[side].sum()))


def make_generated(
  run: Run, examples: Examples, split: Split, encoder: Encoder, origin: str, folder: Path
) -> None:
  """Trains the oversampler, draws the rows, and saves both.

  Args:
    run: opened.
    examples: real ones.
    split: of them.
    encoder: of the rows.
    origin: of the corpus.
    folder: to fill, its summary.json last.
  """
  (run.workdir / 'generated.txt').unlink(missing_ok=True)  # it lists rows of an earlier call
  source = oversampler_rows(examples, split, run.protocol)
  rows, group = examples.distinct.tokens[examples.index[source]], examples.group[source]
  count = rows_wanted(run.config.oversampler.count, examples, split, run.protocol)
  name = run.config.oversampler.name

  def make(folder: Path) -> None:
    fitted = None
    if count > 0:
      fitted = fit_oversampler(
        run.config, rows, group, key=run.keys['oversampler'], runtime=run.runtime
      )
    oversampled = draw_rows(
      run.config,
      rows,
      count,
      fitted,
      lambda some: masked_rows(encoder.vocabulary, some),
      key=run.keys['sampling'],
    )
    folder.mkdir(parents=True, exist_ok=True)
    warnings: list[str] = []
    if fitted is not None and TABLE[name].generators:
      module_of(name).save(folder, fitted)
      rounds = run.runtime.progress.measured(STAGES[-1])
      warnings = collapses(name, rounds, oversampled.summary, rows)
    for warning in warnings:
      run.runtime.progress.say(warning)
    save_arrays(folder / _FILE, distinct=oversampled.distinct, index=oversampled.index)
    about = {'origin': origin, 'warnings': warnings}
    write_json(folder / 'summary.json', oversampled.summary | about)

  inputs = (rows, group, np.array(encoder.vocabulary.tokens), np.array(count))
  fields = _FIELDS + (_AUTOENCODER_FIELDS if name == 'smote' else ())
  reuse_stage(run, folder, inputs, fields, make, _PHASES)


def restore_generated(folder: Path, summary: dict[str, Any]) -> Oversampled:
  """Restores rows saved by `make_generated`.

  Raises:
    LogjaxError: the file is damaged.
  """
  arrays = load_arrays(folder / _FILE, ('distinct', 'index'))
  return Oversampled(arrays['distinct'], arrays['index'], summary)


def write_generated(run: Run, encoder: Encoder, oversampled: Oversampled) -> None:
  """Writes generated.txt, unless it exists: each distinct line with its count."""
  path = run.workdir / 'generated.txt'
  if not hosts.first() or path.exists():
    return
  texts = encoder.vocabulary.decode(oversampled.distinct).gather(oversampled.index)
  texts = texts.value_counts(name='count')
  texts = texts.sort(['count', 'text'], descending=[True, False]).select('count', 'text')
  partial = path.with_name(path.name + '.part')
  texts.write_csv(partial, separator='\t', quote_style='never')
  partial.replace(path)


def oversampler_block(
  config: ml_collections.ConfigDict,
  protocol: Protocol,
  examples: Examples,
  split: Split,
  oversampled: Oversampled,
) -> dict[str, Any]:
  """Returns the block `oversampler` of results.json: counts, and the quality of the rows.

  Quality is measured against the abnormal rows outside the oversampler's training, if there are
  any.

  Args:
    config: of the run, resolved.
    protocol: of the run.
    examples: real ones.
    split: of them.
    oversampled: the generated rows.
  """
  block = {name: value for name, value in oversampled.summary.items() if name != 'warnings'}
  block['quality'] = None
  if len(oversampled.index):
    known, unknown = split.train, np.concatenate(split[1:])
    if protocol.oversampler_sees_test:
      known, unknown = np.concatenate(split), unknown[:0]
    rows = (
      examples.distinct.tokens[examples.index[side[examples.abnormal[side]]]]
      for side in (known, unknown)
    )
    generated = oversampled.distinct[oversampled.index]
    block['quality'] = quality(generated, *rows, config.seed)
  return block
