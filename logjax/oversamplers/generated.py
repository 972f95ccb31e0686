"""The oversampler's stage of a run: what it learns from, how many rows it makes, what it leaves."""

from pathlib import Path

import numpy as np

from logjax.examples.lines import Prepared, masked_rows
from logjax.examples.splits import knows_all
from logjax.files import load_array, write_json
from logjax.oversamplers.oversample import Oversampled, draw_rows, fit_oversampler
from logjax.oversamplers.saved import save_generators
from logjax.oversamplers.shared import share_stage
from logjax.run import Run
from logjax.seqgan.collapse import collapses
from logjax.seqgan.fit import STAGES
from logjax.seqgan.generators import Generators
from logjax.training import hosts

# The parts of the config that decide what is made, besides the rows.
_FIELDS = ('oversampler', 'seqgan', 'detector.autoencoder', 'seed', 'devices')
_PHASES = (*STAGES, 'autoencoder_smote')


def oversampler_rows(run: Run, prepared: Prepared) -> np.ndarray:
  """Indices of the abnormal rows that the oversampler may learn from, oldest first.

  Rows of one time, and all where a file has no times, are in the order of the corpus.
  """
  abnormal = prepared.examples.abnormal
  known = np.concatenate(prepared.split) if knows_all(run.leaks) else prepared.split.train
  rows = np.sort(known[abnormal[known]])
  return rows if prepared.time is None else rows[np.argsort(prepared.time[rows], kind='stable')]


def make_generated(run: Run, prepared: Prepared, origin: str, folder: Path) -> None:
  """Trains the oversampler, draws as many rows as balance the classes, and saves them.

  They balance the training rows, or where generated rows are also tested on the whole corpus, as
  in the paper.

  Args:
    run: whose stage.
    prepared: its real rows.
    origin: of the corpus.
    folder: to fill, its summary.json last.
  """
  (run.workdir / 'generated.txt').unlink(missing_ok=True)  # of rows that are no longer there
  source = oversampler_rows(run, prepared)
  inputs, group = prepared.examples.inputs[source], prepared.examples.group[source]
  everywhere = 'synthetic_in_test' in run.leaks
  side = np.concatenate(prepared.split) if everywhere else prepared.split.train
  count = run.config.oversampler.count
  if count is None:
    abnormal = int(prepared.examples.abnormal[side].sum())
    count = max(0, len(side) - 2 * abnormal)

  def make(folder: Path) -> None:
    fitted = None
    if count > 0:
      fitted = fit_oversampler(
        run.config, inputs, group, key=run.keys['oversampler'], runtime=run.runtime
      )
    oversampled = draw_rows(
      run.config,
      inputs,
      count,
      fitted,
      lambda rows: masked_rows(prepared.vocabulary, rows),
      key=run.keys['sampling'],
    )
    folder.mkdir(parents=True, exist_ok=True)
    warnings = []
    if isinstance(fitted, Generators):
      save_generators(folder, fitted, prepared.vocabulary)
      name, rounds = run.config.oversampler.name, run.runtime.progress.measured(STAGES[-1])
      warnings = collapses(name, rounds, oversampled.summary, inputs)
    for warning in warnings:
      run.runtime.progress.say(warning)
    np.save(folder / 'generated.npy', oversampled.rows, allow_pickle=False)
    about = {'origin': origin, 'warnings': warnings}
    write_json(folder / 'summary.json', oversampled.summary | about)

  decisive = (inputs, group, np.array(prepared.vocabulary.tokens), np.array(count))
  share_stage(run, folder, decisive, _FIELDS, make, _PHASES)


def restore_generated(folder: Path, summary: dict) -> Oversampled:
  """Restores the rows that `make_generated` saved.

  Raises:
    LogjaxError: when they are damaged.
  """
  return Oversampled(load_array(folder / 'generated.npy'), summary)


def write_generated(run: Run, prepared: Prepared, oversampled: Oversampled) -> None:
  """Writes generated.txt, each distinct line with its count, unless it is there."""
  path = run.workdir / 'generated.txt'
  if not hosts.first() or path.exists():
    return
  texts = prepared.vocabulary.decode(oversampled.rows).value_counts(name='count')
  texts = texts.sort(['count', 'text'], descending=[True, False]).select('count', 'text')
  partial = path.with_name(path.name + '.part')
  texts.write_csv(partial, separator='\t', quote_style='never')
  partial.replace(path)
