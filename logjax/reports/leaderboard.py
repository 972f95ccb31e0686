"""`leaderboard.html`: one self-contained page that says who is better and how sure that is."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from logjax.reports import comparison_plots
from logjax.reports.leaderboard_words import (
  QUALITY,
  basis,
  detector_title,
  f1_standing,
  quality_rows,
  title,
  verdict,
  with_intervals,
)
from logjax.reports.pages import template
from logjax.reports.wording import leaf

_COLUMNS = (
  *(f'{kind}_{name}' for kind in ('abnormal', 'normal') for name in ('precision', 'recall', 'f1')),
  'auroc',
  'auprc',
  'mcc',
)


def write_leaderboard(folder: Path, leaderboard: Mapping[str, Any]) -> Path:
  """Writes `leaderboard.html` into a folder and returns its path.

  Args:
    folder: which exists.
    leaderboard: of `make_leaderboard`, and where there are any `origin`, `corpus`, `command`,
      `git_commit`, `device` and `seconds` of the comparison.
  """
  page = template('leaderboard.html.jinja').render(
    **{
      key: leaderboard.get(key) for key in ('origin', 'command', 'git_commit', 'device', 'seconds')
    },
    corpus=leaderboard.get('corpus') or {},
    tables=[_table(table) for table in leaderboard['tables']],
    curves=_curves(leaderboard['curve']),
    columns=_COLUMNS,
    quality_columns=list(QUALITY),
  )
  path = Path(folder) / 'leaderboard.html'
  path.write_text(page, encoding='utf-8', errors='replace')
  return path


def _table(table: Mapping[str, Any]) -> dict[str, Any]:
  """A table as the template takes it."""
  return {
    'title': title(table),
    'verdict': verdict(table),
    'basis': basis(table),
    'has_all': any('metrics_all' in entry for entry in table['entries']),
    'forest': comparison_plots.forest(table, f'Entries of the {title(table)}'),
    'entries': [_entry(entry) for entry in table['entries']],
    'quality': quality_rows(table),
  }


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
  """An entry with its name and its standing in words."""
  others = ('none', 'random', 'rival')
  return dict(
    entry,
    name=detector_title(entry),
    standing={other: f1_standing(entry, other) for other in others},
    # The mean, and each interval on a line of its own.
    difference={
      other: re.split(
        ' (?=\\[)', with_intervals(leaf(entry['versus'], (other, 'abnormal_f1')), signed=True)
      )
      for other in others
    },
  )


def _curves(curves: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """A panel for every detector with an oversampler, beside the detector without."""
  names = ('protocol', 'detector', 'oversampler')
  by_name = {tuple(curve[name] for name in names): curve for curve in curves}
  panels = []
  # Those of one detector side by side, and of them the best first, as they come.
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
