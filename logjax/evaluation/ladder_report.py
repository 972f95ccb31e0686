"""`ladder.html`: one self-contained page that says what each leak adds to the numbers."""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from logjax.corpora.splits import LEAKS
from logjax.evaluation import comparison_plots
from logjax.evaluation.pages import template


def write_ladder(folder: Path, ladder: Mapping[str, Any]) -> Path:
  """Writes `ladder.html` into a folder and returns its path.

  Args:
    folder: which exists.
    ladder: with `steps` (`name`, `leaks`, `test`, `test_real`, `permuted`, `seen_text_share`; None
      where undefined), and where there are any `origin`, `corpus`, `command`, `git_commit`,
      `device` and `seconds`.
  """
  steps = [dict(step, gone='') for step in ladder['steps']]
  for before, step in pairwise(steps):
    gone = [name for name in before['leaks'] if name not in step['leaks']]
    step['gone'] = '; '.join(LEAKS.get(name, name) for name in gone)
    if not gone:
      step['gone'] = 'test rows whose masked text occurs in train'
  page = template('ladder.html.jinja').render(
    **{key: ladder.get(key) for key in ('origin', 'command', 'git_commit', 'device', 'seconds')},
    corpus=ladder.get('corpus') or {},
    steps=steps,
    figure=comparison_plots.ladder(steps, 'Metrics at each step of the ladder'),
  )
  path = Path(folder) / 'ladder.html'
  path.write_text(page, encoding='utf-8', errors='replace')
  return path
