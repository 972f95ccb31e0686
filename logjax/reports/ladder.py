"""`ladder.html` and `ladder.md`: what each leak adds to the numbers."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from logjax.examples.protocol import LEAKS
from logjax.reports import comparison_plots
from logjax.reports.pages import template
from logjax.reports.wording import CHANCE, Rival, leaf, number, of_control, percent, strongest

_HEAD = (
  'step',
  'abnormal P / R / F1',
  'normal P / R / F1',
  'AUROC',
  'AUPRC',
  'MCC',
  'strongest rival, abnormal F1',
  'labels permuted: AUROC',
  'chance',
  'accuracy',
  'chance',
  'test rows with seen text',
)


def write_ladder(folder: Path, ladder: Mapping[str, Any]) -> Path:
  """Writes `ladder.html` into a folder and returns its path.

  Args:
    folder: which exists.
    ladder: with `steps` (`name`, `leaks`, `test`, `test_real`, `permuted`, `seen_text_share`; None
      where undefined), and where there are any `origin`, `corpus`, `command`, `git_commit`,
      `device` and `seconds`.
  """
  steps = [dict(step, gone='', rival=_strongest(step)) for step in ladder['steps']]
  for before, step in pairwise(steps):
    gone = [name for name in before['leaks'] if name not in step['leaks']]
    step['gone'] = '; '.join(LEAKS.get(name, name) for name in gone)
    if 'random_split' in gone:
      step['gone'] += ' (in order of time equal texts are on both sides again)'
    if not gone:
      step['gone'] = 'test rows whose masked text a real training row has'
  page = template('ladder.html.jinja').render(
    **{key: ladder.get(key) for key in ('origin', 'command', 'git_commit', 'device', 'seconds')},
    corpus=ladder.get('corpus') or {},
    steps=steps,
    chance=CHANCE,
    figure=comparison_plots.ladder(steps, 'Metrics at each step of the ladder'),
  )
  path = Path(folder) / 'ladder.html'
  path.write_text(page, encoding='utf-8', errors='replace')
  return path


def markdown(ladder: Mapping[str, Any]) -> str:
  """The ladder as a Markdown table, with a row of its own for the real test rows of a step."""
  rows = [_HEAD, ['---'] * len(_HEAD)]
  for step in ladder['steps']:
    rival = _strongest(step)
    name = (
      f'{rival[0].title} {number(leaf(rival[1], ("abnormal", "f1")))}' if rival else number(None)
    )
    seen = percent(step['seen_text_share'])
    control = of_control(step['permuted'])
    measured = _measured(step['test'], leaf(step.get('test_std'), ('abnormal', 'f1')))
    rows.append([step['name'], *measured, name, *control, seen])
    if step['test'].get('synthetic_rows'):
      rows.append(['real rows only', *_measured(step['test_real']), *[''] * 6])
  return ''.join(f'| {" | ".join(row)} |\n' for row in rows)


def _measured(metrics: Mapping[str, Any], spread: float | None = None) -> list[str]:
  """Both classes and the metrics of all rows; `spread` is the deviation of the abnormal F1."""
  classes = [
    ' / '.join(number(leaf(metrics, (label, name))) for name in ('precision', 'recall', 'f1'))
    for label in ('abnormal', 'normal')
  ]
  if spread:
    classes[0] += f' ± {spread:.3f}'
  return classes + [number(leaf(metrics, (name,))) for name in ('auroc', 'auprc', 'mcc')]


def _strongest(step: Mapping[str, Any]) -> tuple[Rival, Mapping[str, Any]] | None:
  """The rival with the highest abnormal F1 on the step's test rows, and its metrics."""
  return next(iter(strongest(step)), None)
