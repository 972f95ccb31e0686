"""Draws the picture of docs/oracle.md and prints its table, from workdirs of `configs/oracle.py`.

python -m logjax.benchmarks.oracle.plot runs/oracle runs/oracle_constant --output=docs/oracle.png
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from logjax.benchmarks.oracle.recorder import ADVERSARIAL, MLE
from logjax.reports.table import Column, Table

_STYLE = {
  'font.size': 9,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.grid': True,
  'axes.axisbelow': True,
  'grid.color': '#d8dce2',
  'grid.linewidth': 0.5,
}
_COLOURS = ('#1f5fa8', '#b3381f', '#5b6b2f', '#6a3d8f')
_PANELS = {
  'oracle_nll': 'oracle NLL (nats a token)',
  'generator_nll': 'generator NLL on held-out rows',
  'self_bleu_2': 'self-BLEU-2',
}
_COLUMNS = {'oracle_nll': 'oracle NLL'} | {
  name: name.replace('_nll', ' NLL').replace('self_bleu_', 'self-BLEU-').replace('_', '-')
  for name in ('generator_nll', 'entropy', 'distinct_1', 'distinct_2', 'self_bleu_2', 'self_bleu_3')
}


def draw_curves(curves: Mapping[str, Sequence[dict[str, Any]]], path: Path) -> None:
  """Draws the measures of runs over the epochs of maximum likelihood, then adversarial rounds.

  Bands show two standard errors to either side. The untrained generator is left out, because its
  values would flatten all the rest.

  Args:
    curves: name -> lines of curve.jsonl, at most four runs.
    path: picture to write; its suffix determines the format.
  """
  with matplotlib.rc_context(_STYLE):
    figure = Figure(figsize=(10.5, 3.2), dpi=150, layout='constrained')
    for axes, (measure, label) in zip(
      figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True
    ):
      for (name, curve), colour in zip(curves.items(), _COLOURS, strict=False):
        # Rounds are drawn after the epochs of maximum likelihood, on one axis.
        before = max(point['epoch'] for point in curve if point['stage'] == MLE)
        offsets = {MLE: 0, ADVERSARIAL: before}
        trained = [point for point in curve if (point['stage'], point['epoch']) != (MLE, 0)]
        x = [offsets[point['stage']] + point['epoch'] for point in trained]
        y = [point[measure] for point in trained]
        wide = [2 * point[f'{measure}_error'] for point in trained]
        axes.plot(x, y, color=colour, linewidth=1.5, label=name)
        low, high = ([a + sign * b for a, b in zip(y, wide, strict=True)] for sign in (-1, 1))
        axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)
        axes.axvline(before, color='#7a8290', linewidth=0.8, linestyle=(0, (4, 3)))
      axes.set(xlabel='epochs, then adversarial rounds', title=label)
    figure.axes[0].legend(frameon=False)
    figure.savefig(path)


def markdown_table(curves: Mapping[str, Sequence[dict[str, Any]]], every: int) -> str:
  """Returns every `every`-th epoch, and the first and last of each stage, as a Markdown table."""
  columns = [Column('run', align='left'), Column('stage', align='left'), Column('epoch')]
  rows = []
  for name, curve in curves.items():
    ends = {point['stage']: point['epoch'] for point in curve}
    for point in curve:
      stage, epoch = point['stage'], point['epoch']
      if epoch % every == 0 or epoch == ends[stage]:
        cells = [f'{point[c]:.3f} ± {point[f"{c}_error"]:.3f}' for c in _COLUMNS]
        rows.append([name, stage.replace('_', ' '), str(epoch), *cells])
  return Table('', [*columns, *map(Column, _COLUMNS.values())], rows).markdown()


def main() -> None:
  """Draws the picture and prints the table."""
  parser = argparse.ArgumentParser(description='Draw the curves of runs of configs/oracle.py.')
  parser.add_argument('workdirs', type=Path, nargs='+', help='folders of runs, at most four')
  parser.add_argument('--output', type=Path, required=True, help='the picture, as PNG or SVG')
  parser.add_argument('--every', type=int, default=20, help='epochs between lines of the table')
  arguments = parser.parse_args()
  curves = {
    workdir.name: [json.loads(line) for line in (workdir / 'curve.jsonl').read_text().splitlines()]
    for workdir in arguments.workdirs
  }
  draw_curves(curves, arguments.output)
  print(markdown_table(curves, arguments.every), end='')


if __name__ == '__main__':
  main()
