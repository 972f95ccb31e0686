"""The results of a run as the terminal shows them."""

import textwrap
from pathlib import Path
from typing import IO, Any

import rich.console
import rich.table

from logjax.evaluation.wording import leaf, number, percent, strongest, verdict

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


def print_results(results: dict[str, Any], workdir: Path, file: IO[str] | None = None) -> None:
  """Prints the test numbers, the strongest rivals beside them, and where the report is.

  Args:
    results: of `experiment.train`, or of `experiment.evaluate`, which lacks what is not a test
      number.
    workdir: of the run.
    file: where to; None for standard output.
  """
  # Names are printed as they are: a folder may be called [x] or :x:, which rich would interpret.
  console = rich.console.Console(
    file=file, highlight=False, soft_wrap=True, markup=False, emoji=False
  )
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
    console.print(f'{share} of the test rows have a masked text that training rows have')
    console.print(verdict(results))
    console.print(f'report: {workdir / "report.html"}')
  if results['origin'] == 'simulated':
    console.print('SIMULATED corpus: these numbers say nothing about real logs')


def _title(results: dict[str, Any]) -> str:
  leaks = ', '.join(results['leaks'])
  return f'{results["protocol"]} protocol, ' + (f'leaks: {leaks}' if leaks else 'no leaks')
