"""The results of a run as the terminal shows them."""

from pathlib import Path
from typing import Any

import rich.console
import rich.table

from logjax.evaluation.wording import number, percent


def print_results(results: dict[str, Any], workdir: Path) -> None:
  """Prints the test numbers, the simple rival beside them, and where the report is.

  Args:
    results: of `experiment.train`, or of `experiment.evaluate`, which lacks what is not a test
      number.
    workdir: of the run.
  """
  console = rich.console.Console(highlight=False, soft_wrap=True)
  test, std = results['test'], results['test_std']
  table = rich.table.Table(title=_title(results), title_justify='left')
  table.add_column('')
  for name in ('abnormal P', 'R', 'F1', 'normal P', 'R', 'F1', 'accuracy', 'AUROC', 'AUPRC', 'MCC'):
    table.add_column(name, justify='right')
  table.add_row('autoencoders and GRU', *_cells(test))
  table.add_row('  standard deviation', *_cells(std))
  for name, metrics in results.get('baselines', {}).items():
    table.add_row({'tfidf_lr': 'TF-IDF, logistic regression'}.get(name, name), *_cells(metrics))
  console.print(table)
  console.print(
    f'{test["rows"]:,} test rows, {test["abnormal_rows"]:,} abnormal, '
    f'{test["synthetic_rows"]:,} generated'
  )
  if 'seen_text_share' in results:
    console.print(
      f'{percent(results["seen_text_share"])} of the test rows have a masked text that training '
      'rows have'
    )
    console.print(f'report: {workdir / "report.html"}')
    if results['origin'] == 'simulated':
      console.print('SIMULATED corpus: these numbers say nothing about real logs')


def _title(results: dict[str, Any]) -> str:
  if 'protocol' not in results:
    return 'test'
  leaks = ', '.join(results['leaks'])
  return f'{results["protocol"]} protocol, ' + (f'leaks: {leaks}' if leaks else 'no leaks')


def _cells(metrics: dict[str, Any]) -> list[str]:
  sides = [metrics[side][name] for side in ('abnormal', 'normal') for name in
           ('precision', 'recall', 'f1')]
  return [number(value) for value in
          (*sides, metrics['accuracy'], metrics['auroc'], metrics['auprc'], metrics['mcc'])]
