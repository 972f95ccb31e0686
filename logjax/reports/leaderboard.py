"""`leaderboard.html` and `leaderboard.md`: who is better, and how sure that is."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from logjax.evaluation.intervals import standing
from logjax.reports import comparison_plots
from logjax.reports.leaderboard_words import COMPARISONS, basis, method_title, title, verdict
from logjax.reports.pages import write_page
from logjax.reports.table import Cell, Column, Table
from logjax.reports.verdicts import TWO_SAMPLE
from logjax.reports.wording import METRIC_COLUMNS, bracketed, duration, number, signed

_METRICS = tuple(name for name in METRIC_COLUMNS if name != 'accuracy')
_NAMES = (Column('detector', align='left'), Column('oversampler', align='left'))
_DIFFERENCES = {
  'none': 'F1 less none',
  'random': 'F1 less random',
  'baseline': 'F1 less the strongest baseline',
}
# Column -> where the quality of generated rows has it.
_QUALITY = {
  'distinct rows': 'distinct_share',
  'rows not in train': 'novel_share',
  'self-BLEU-4': 'self_bleu',
  'separated from real rows: AUROC': 'two_sample',
}


def write_leaderboard(folder: Path, leaderboard: Mapping[str, Any]) -> Path:
  """Writes `leaderboard.html` into a folder and returns its path.

  Args:
    folder: an existing folder.
    leaderboard: of `make_leaderboard`, and optionally `origin`, `corpus`, `command`, `git_commit`,
      `device` and `seconds` of the comparison.
  """
  about = ('origin', 'command', 'git_commit', 'device', 'seconds')
  return write_page(
    Path(folder) / 'leaderboard.html',
    'leaderboard.html.jinja',
    **{key: leaderboard.get(key) for key in about},
    corpus=leaderboard.get('corpus') or {},
    comparisons=COMPARISONS,
    sections=[_section(table) for table in leaderboard['tables']],
    curves=_curves(leaderboard['curve']),
  )


def markdown(leaderboard: Mapping[str, Any]) -> str:
  """Returns the tables of `make_leaderboard` in Markdown, each with its verdict in words."""
  parts = []
  for table in leaderboard['tables']:
    parts += [f'### {title(table)}\n', board(table).markdown(), basis(table) + '\n']
    parts.append(''.join(f'- {sentence}\n' for sentence in verdict(table)))
    if quality := quality_table(table):
      parts += ['Generated rows on their own:\n', quality.markdown()]
  return '\n'.join([*parts, COMPARISONS + '\n'])


def board(table: Mapping[str, Any]) -> Table:
  """Builds the entries with their metrics on real test rows and their differences."""
  rows = []
  for entry in table['entries']:
    seconds = entry['seconds']
    rows.append(
      [
        *_measured(entry, 'metrics'),
        *(difference_cell(entry, other) for other in _DIFFERENCES),
        number(None) if seconds is None else duration(seconds),
      ]
    )
  differences = (Column(head) for head in _DIFFERENCES.values())
  metrics = (METRIC_COLUMNS[name] for name in _METRICS)
  return Table('', [*_NAMES, *metrics, *differences, Column('time')], rows)


def _all_rows(table: Mapping[str, Any]) -> Table | None:
  """Builds the entries with their metrics on generated test rows too; None without such rows."""
  rows = [_measured(entry, 'metrics_all') for entry in table['entries'] if 'metrics_all' in entry]
  columns = [*_NAMES, *(METRIC_COLUMNS[name] for name in _METRICS)]
  return Table('', columns, rows) if rows else None


def quality_table(table: Mapping[str, Any]) -> Table | None:
  """Builds a row for each oversampler about its generated rows; None without any."""
  by_name: dict[str, Mapping[str, Any]] = {}
  for entry in table['entries']:
    if entry['quality']:  # detectors share the rows of an oversampler
      by_name.setdefault(entry['oversampler'], entry['quality'])
  if not by_name:
    return None
  rows: list[Sequence[Cell]] = []
  for name in sorted(by_name):
    values = [by_name[name].get(key) for key in _QUALITY.values()]
    values[-1] = (values[-1] or {}).get('auroc')
    rows.append([name, *map(number, values)])
  columns = [Column('oversampler', align='left'), *map(Column, _QUALITY)]
  return Table('', columns, rows, [TWO_SAMPLE])


def _measured(entry: Mapping[str, Any], which: str) -> list[Cell]:
  names = [method_title(entry), entry['oversampler'] or 'needs none']
  return names + [interval_cell(entry[which][name]) for name in _METRICS]


def interval_cell(value: Mapping[str, float | None] | None, form: Any = number) -> Cell:
  """Returns a mean with its intervals over rows and texts as remarks; [–] for a missing one."""
  if not value or value['mean'] is None:
    return number(None)
  pairs = (value['low'], value['high']), (value['low_texts'], value['high_texts'])
  return (form(value['mean']), *(bracketed(pair, form) or f'[{number(None)}]' for pair in pairs))


def difference_cell(entry: Mapping[str, Any], other: str) -> Cell:
  """Returns the difference of abnormal F1 to another method and its standing; – if not compared."""
  difference = (entry['versus'].get(other) or {}).get('abnormal_f1')
  cell = interval_cell(difference, signed)
  return (*cell, standing(difference)) if isinstance(cell, tuple) else cell


def _section(table: Mapping[str, Any]) -> dict[str, Any]:
  """Collects what the template needs of a table."""
  return {
    'title': title(table),
    'verdict': verdict(table),
    'basis': basis(table),
    'forest': comparison_plots.forest(table, f'Entries of the {title(table)}'),
    'board': board(table),
    'all_rows': _all_rows(table),
    'quality': quality_table(table),
  }


def _curves(curves: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Draws a panel for every detector with an oversampler, beside the detector without one."""
  names = ('protocol', 'detector', 'oversampler')
  by_name = {tuple(curve[name] for name in names): curve for curve in curves}
  panels = []
  # Sorted by detector; within a detector the best stays first.
  for (protocol, detector, oversampler), curve in sorted(
    by_name.items(), key=lambda item: item[0][:2]
  ):
    if curve['kind'] != 'detector' or oversampler == 'none':
      continue
    reference = by_name.get((protocol, detector, 'none'))
    about = f'{detector}, {protocol} protocol'
    figure = f'F1 by abnormal training rows: {oversampler}, {about}'
    svg = comparison_plots.few_examples(curve, reference, figure)
    panels.append({'name': oversampler, 'about': about, 'svg': svg})
  return panels
