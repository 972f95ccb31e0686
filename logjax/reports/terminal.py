"""Prints the results of a run, a ladder or a comparison on the terminal."""

import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import rich.console

from logjax.reports.ladder import ladder_table
from logjax.reports.leaderboard import board
from logjax.reports.leaderboard_words import COMPARISONS, basis, title, verdict
from logjax.reports.table import Cell, Column, Table
from logjax.reports.verdicts import PERMUTED_ROWS, detector_of, strongest
from logjax.reports.verdicts import verdict as verdict_of_run
from logjax.reports.wording import METRIC_COLUMNS, leaf, number, percent, plural

_MOST_BASELINES = 3  # columns of the table, which 100 characters hold
_HEAD_WIDTH = 15
_WIDE = 1_000  # more characters than any table has; a narrower terminal breaks the lines
_LEADERBOARD = (
  'detector',
  'oversampler',
  'abnormal F1',
  'normal F1',
  'AUPRC',
  'F1 less none',
  'F1 less random',
)


def print_results(results: Mapping[str, Any], workdir: Path, file: IO[str] | None = None) -> None:
  """Prints the test numbers of a run, its strongest baselines, and the path of its report.

  Args:
    results: of `experiment.train`, or of `experiment.evaluate`, which has the test numbers only.
    workdir: of the run.
    file: to print to; None for standard output.
  """
  console = _console(file)
  baselines, test = strongest(results), results['test']
  shown = baselines[:_MOST_BASELINES]
  columns = [Column('test', align='left'), Column(_folded(detector_of(results).title))]
  columns += [Column(_folded(baseline.title)) for baseline, _ in shown]
  rows: list[list[Cell]] = []
  for name, column in METRIC_COLUMNS.items():
    deviation = leaf(results.get('test_std'), name)
    spread = '' if deviation is None else f' ± {number(deviation)}'
    rows.append([column.name, number(leaf(test, name)) + spread])
    rows[-1] += [number(leaf(metrics, name)) for _, metrics in shown]
  leaks = ', '.join(results['leaks'])
  protocol = f'{results["protocol"]} protocol, ' + (f'leaks: {leaks}' if leaks else 'no leaks')
  console.print(Table(protocol, columns, rows).terminal())
  counts = [f'{test["rows"]:,} test rows', f'{test["abnormal_rows"]:,} abnormal']
  if 'synthetic_rows' in test:
    counts.append(f'{test["synthetic_rows"]:,} generated')
  repetitions = len(results.get('repetitions') or [])
  console.print(', '.join(counts) + f'; {plural(repetitions, "repetition")}' * bool(repetitions))
  if len(baselines) > len(shown):
    console.print(
      f'{len(shown)} of {len(baselines)} baselines are shown, those with the highest abnormal F1; '
      'the report has all'
    )
  if results.get('seen_text_share') is not None:
    share = percent(results['seen_text_share'])
    console.print(f'{share} of the test rows have a masked text that real training rows have')
  if 'baselines' in results:
    console.print(verdict_of_run(results))
    console.print(f'report: {workdir / "report.html"}')
  if results.get('permuted_labels'):
    console.print(f'PERMUTED labels: there is nothing to learn. {PERMUTED_ROWS}')
  _print_simulated(results, console)


def print_ladder(ladder: Mapping[str, Any], workdir: Path) -> None:
  """Prints one row a step, and one for its real test rows if some were generated.

  Args:
    ladder: of `ladder.run`.
    workdir: of the ladder.
  """
  console = _console(None, _WIDE)
  heading = f'{ladder["corpus"]["name"]}, {ladder["protocol"]} readings: a leak less at each step'
  table = ladder_table(ladder)._replace(title=heading)
  console.print(table.terminal())
  for note in table.notes:
    console.print(note)
  console.print(f'report: {workdir / "ladder.html"}')
  _print_simulated(ladder, console)


def print_leaderboard(leaderboard: Mapping[str, Any], workdir: Path) -> None:
  """Prints the deciding columns of each table, its verdict, and the paths of the page and the rest.

  Args:
    leaderboard: of `compare.run`.
    workdir: of the comparison.
  """
  console = _console(None, _WIDE)
  for table in leaderboard['tables']:
    console.print(board(table).select(*_LEADERBOARD)._replace(title=title(table)).terminal())
    for sentence in [basis(table), *verdict(table)]:
      console.print(f'- {sentence}')
  console.print(COMPARISONS)
  console.print(f'all columns: {workdir / "leaderboard.md"}')
  console.print(f'report: {workdir / "leaderboard.html"}')
  _print_simulated(leaderboard, console)


def _console(file: IO[str] | None, width: int | None = None) -> rich.console.Console:
  # Names are printed as they are: a folder may be called [x] or :x:, which rich would interpret.
  plain = {'highlight': False, 'soft_wrap': True, 'markup': False, 'emoji': False}
  return rich.console.Console(file=file, width=width, **plain)


def _folded(title: str) -> str:
  return textwrap.fill(title, _HEAD_WIDTH)


def _print_simulated(results: Mapping[str, Any], console: rich.console.Console) -> None:
  if results['origin'] == 'simulated':
    console.print('SIMULATED corpus: these numbers say nothing about real logs')
