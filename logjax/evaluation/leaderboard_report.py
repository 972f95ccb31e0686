"""`leaderboard.html`: one self-contained page that says who is better and how sure that is."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from logjax.evaluation import comparison_plots
from logjax.evaluation.leaderboard_words import (
  basis,
  detector_title,
  standing,
  title,
  verdict,
  with_interval,
)
from logjax.evaluation.pages import template

_COLUMNS = (
  *(f'{kind}_{name}' for kind in ('abnormal', 'normal') for name in ('precision', 'recall', 'f1')),
  'auroc',
  'auprc',
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
  }


def _entry(entry: Mapping[str, Any]) -> dict[str, Any]:
  """An entry with its name and its standing in words."""
  others = ('none', 'random', 'rival')
  f1 = {other: (entry['versus'].get(other) or {}).get('abnormal_f1') for other in others}
  return dict(
    entry,
    name=detector_title(entry),
    standing={other: standing(entry, other) for other in others},
    difference={other: with_interval(f1[other], signed=True) for other in others},
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
    figure = f'Abnormal F1 by abnormal training rows: {oversampler}, {about}'
    svg = comparison_plots.few_examples(curve, reference, figure)
    panels.append({'name': oversampler, 'about': about, 'svg': svg})
  return panels
