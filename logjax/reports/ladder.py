"""`ladder.html` and `ladder.md`: what each leak adds to the numbers."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from logjax.examples.protocol import LEAKS
from logjax.reports import comparison_plots
from logjax.reports.pages import write_page
from logjax.reports.table import Cell, Column, Table
from logjax.reports.verdicts import (
  CHANCE,
  PERMUTED_ROWS,
  control_cell,
  detector_of,
  strongest,
)
from logjax.reports.wording import METRIC_COLUMNS, count, leaf, metric_cells, number, percent

_METRICS = tuple(name for name in METRIC_COLUMNS if name != 'accuracy')
_COLUMNS = (
  Column('step', align='left'),
  Column('test rows'),
  *(METRIC_COLUMNS[name] for name in _METRICS),
  Column('best baseline: F1', style='wraps'),
  Column('AUROC', 'labels permuted'),
  Column('accuracy', 'labels permuted'),
  Column('seen texts'),
)
_NOTES = (
  f'Abnormal is the positive class of AUROC, AUPRC and MCC; a dash is a metric that is undefined. '
  f'{CHANCE} {PERMUTED_ROWS}',
  'Seen texts is the share of test rows whose masked text a real training row has too. The best '
  'baseline has the highest abnormal F1 of those that need no oversampler.',
)


def write_ladder(folder: Path, ladder: Mapping[str, Any]) -> Path:
  """Writes `ladder.html` into a folder and returns its path.

  Args:
    folder: an existing folder.
    ladder: `steps` (`name`, `leaks`, `test`, `test_real`, `permuted`, `seen_text_share`; None where
      undefined), and optionally `origin`, `corpus`, `command`, `git_commit`, `device` and
      `seconds`.
  """
  about = ('origin', 'command', 'git_commit', 'device', 'seconds')
  return write_page(
    Path(folder) / 'ladder.html',
    'ladder.html.jinja',
    **{key: ladder.get(key) for key in about},
    corpus=ladder.get('corpus') or {},
    detector=detector_of(ladder),
    board=ladder_table(ladder),
    removed=_removed(ladder['steps']),
    figure=comparison_plots.ladder(ladder['steps'], 'Metrics at each step of the ladder'),
  )


def markdown(ladder: Mapping[str, Any]) -> str:
  """Returns the ladder as a Markdown table and its notes."""
  return ladder_table(ladder).markdown()


def ladder_table(ladder: Mapping[str, Any]) -> Table:
  """Builds a row for each step, and one for its real test rows if some were generated."""
  rows = []
  for step in ladder['steps']:
    test, control = step.get('test') or {}, step.get('permuted')
    why = step.get('why_undefined')
    rows.append(
      [
        (step['name'], why) if why else step['name'],
        *_measured(test, step.get('test_std')),
        _best_baseline(step),
        control_cell(control, 'auroc'),
        control_cell(control, 'accuracy'),
        percent(step.get('seen_text_share')),
      ]
    )
    if test.get('synthetic_rows'):
      rows.append(['real rows only', *_measured(step.get('test_real') or {}), *[''] * 4])
  return Table('', _COLUMNS, rows, _NOTES)


def _measured(test: Mapping[str, Any], deviation: Mapping[str, Any] | None = None) -> list[Cell]:
  rows: Cell = count(test.get('rows'))
  if test.get('abnormal_rows') is not None:
    rows = (rows, f'{count(test["abnormal_rows"])} abnormal')
  # The deviation of the deciding metric alone: the table is wide.
  f1 = {'abnormal': {'f1': leaf(deviation, 'abnormal_f1')}}
  return [rows, *metric_cells(test, f1, _METRICS)]


def _best_baseline(step: Mapping[str, Any]) -> Cell:
  """Returns the abnormal F1 and the name of the baseline with the highest one."""
  for baseline, metrics in strongest(step):
    return number(leaf(metrics, 'abnormal_f1')), baseline.title
  return number(None)


def _removed(steps: list[Mapping[str, Any]]) -> Table:
  """Builds a table of the leak that each step removes and of those that remain."""
  removed = ['']
  for before, step in pairwise(steps):
    gone = [name for name in before['leaks'] if name not in step['leaks']]
    words = '; '.join(LEAKS.get(name, name) for name in gone)
    if 'random_split' in gone:
      words += ' (in order of time equal texts are on both sides again)'
    removed.append(words or 'test rows whose masked text a real training row has')
  return Table(
    '',
    [
      Column('step', align='left'),
      Column('no longer', align='left', style='words'),
      Column('still leaks', align='left', style='words'),
    ],
    [
      [step['name'], gone, ', '.join(step['leaks']) or 'nothing']
      for step, gone in zip(steps, removed, strict=True)
    ],
  )
