"""The results of a run, a ladder or a comparison as the terminal shows them."""

import textwrap
from pathlib import Path
from typing import IO, Any

import rich.console
import rich.table

from logjax.reports.leaderboard_words import markdown
from logjax.reports.wording import CHANCE, leaf, number, of_control, percent, strongest, verdict

_ROWS = (
  ('abnormal precision', ('abnormal', 'precision')),
  ('abnormal recall', ('abnormal', 'recall')),
  ('abnormal F1', ('abnormal', 'f1')),
  ('normal precision', ('normal', 'precision')),
  ('normal recall', ('normal', 'recall')),
  ('normal F1', ('normal', 'f1')),
  ('accuracy', ('accuracy',)),
  ('AUROC', ('auroc',)),
  ('AUPRC', ('auprc',)),
  ('MCC', ('mcc',)),
)
_MOST_RIVALS = 3  # columns of the table, which 100 characters hold
_HEAD_WIDTH = 15
_LADDER_WIDTH = 1_000  # more characters than its table has; a narrower terminal breaks the lines
_OVERALL = ('\nAUROC', '\nAUPRC', '\nMCC')


def print_results(results: dict[str, Any], workdir: Path, file: IO[str] | None = None) -> None:
  """Prints the test numbers, the strongest rivals beside them, and where the report is.

  Args:
    results: of `experiment.train`, or of `experiment.evaluate`, which lacks what is not a test
      number.
    workdir: of the run.
    file: where to; None for standard output.
  """
  console = _console(file)
  rivals = strongest(results)
  shown = rivals[:_MOST_RIVALS]
  repetitions = len(results['repetitions'])
  table = rich.table.Table(title=_title(results), title_justify='left')
  table.add_column('test', no_wrap=True)
  table.add_column('autoencoders\nand GRU', justify='right')
  for rival, _ in shown:
    table.add_column(textwrap.fill(rival.title, _HEAD_WIDTH), justify='right')
  for label, keys in _ROWS:
    mean, std = leaf(results['test'], keys), leaf(results['test_std'], keys)
    spread = f' ± {std:.3f}' if std is not None else ''
    cells = [number(leaf(metrics, keys)) for _, metrics in shown]
    table.add_row(label, number(mean) + spread, *cells)
  console.print(table)
  test = results['test']
  console.print(
    f'{test["rows"]:,} test rows, {test["abnormal_rows"]:,} abnormal, '
    f'{test["synthetic_rows"]:,} generated; {repetitions} repetition{"s" * (repetitions != 1)}'
  )
  if len(rivals) > len(shown):
    console.print(
      f'shown are {len(shown)} of {len(rivals)} rivals, those with the highest abnormal F1; '
      'the report has all'
    )
  if 'seen_text_share' in results:
    share = percent(results['seen_text_share'])
    console.print(f'{share} of the test rows have a masked text that real training rows have')
    console.print(verdict(results))
    console.print(f'report: {workdir / "report.html"}')
  if results.get('permuted_labels'):
    console.print('PERMUTED labels: there is nothing to learn')
  _say_simulated(results, console)


def print_ladder(ladder: dict[str, Any], workdir: Path) -> None:
  """Prints one row a step, and one more for the real test rows where others test too.

  Args:
    ladder: of `ladder.run`.
    workdir: of the ladder.
  """
  console = _console(None, _LADDER_WIDTH)
  title = f'{ladder["corpus"]["name"]}, {ladder["protocol"]} readings: a leak less at each step'
  table = rich.table.Table(title=title, title_justify='left')
  table.add_column('step', no_wrap=True)
  for head in ('abnormal\nP', '\nR', '\nF1', 'normal\nP', '\nR', '\nF1', *_OVERALL):
    table.add_column(head, justify='right')
  for head in ('labels permuted:\nAUROC', '\nchance', '\naccuracy', '\nchance'):
    table.add_column(head, justify='right', no_wrap=True)
  table.add_column('test rows\nwith seen text', justify='right')
  for step in ladder['steps']:
    table.add_row(
      step['name'],
      *_cells(step['test']),
      *of_control(step['permuted']),
      percent(step['seen_text_share']),
    )
    if step['test'].get('synthetic_rows'):
      table.add_row('  real test rows only', *_cells(step['test_real']), *[''] * 5)
  console.print(table)
  console.print(CHANCE)
  for step in ladder['steps']:
    if step.get('why_undefined'):
      console.print(f'{step["name"]}: {step["why_undefined"]}')
  console.print(f'report: {workdir / "ladder.html"}')
  _say_simulated(ladder, console)


def print_leaderboard(leaderboard: dict[str, Any], workdir: Path) -> None:
  """Prints the leaderboard, which is a Markdown table, and where the page is.

  Args:
    leaderboard: of `compare.run`.
    workdir: of the comparison.
  """
  console = _console(None)
  console.print(markdown(leaderboard))
  console.print(f'report: {workdir / "leaderboard.html"}')
  _say_simulated(leaderboard, console)


def _console(file: IO[str] | None, width: int | None = None) -> rich.console.Console:
  # Names are printed as they are: a folder may be called [x] or :x:, which rich would interpret.
  plain = {'highlight': False, 'soft_wrap': True, 'markup': False, 'emoji': False}
  return rich.console.Console(file=file, width=width, **plain)


def _cells(metrics: dict[str, Any]) -> list[str]:
  both = [
    number(leaf(metrics, (label, name)))
    for label in ('abnormal', 'normal')
    for name in ('precision', 'recall', 'f1')
  ]
  return both + [number(leaf(metrics, (name.strip().lower(),))) for name in _OVERALL]


def _say_simulated(results: dict[str, Any], console: rich.console.Console) -> None:
  if results['origin'] == 'simulated':
    console.print('SIMULATED corpus: these numbers say nothing about real logs')


def _title(results: dict[str, Any]) -> str:
  leaks = ', '.join(results['leaks'])
  return f'{results["protocol"]} protocol, ' + (f'leaks: {leaks}' if leaks else 'no leaks')
