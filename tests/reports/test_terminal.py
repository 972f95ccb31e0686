"""What the terminal shows of a run: the numbers, and names letter for letter."""

import io
from pathlib import Path

import pytest

from logjax.reports.terminal import print_results

METRICS = {
  'abnormal': {'precision': 0.9, 'recall': 0.8, 'f1': 0.847},
  'normal': {'precision': 0.99, 'recall': 0.98, 'f1': 0.985},
  'accuracy': 0.97,
  'auroc': 0.95,
  'auprc': None,
  'mcc': 0.5,
}


def results(**changes) -> dict:
  return {
    'protocol': 'honest',
    'leaks': [],
    'origin': 'file',
    'repetitions': [{}, {}],
    'test': METRICS | {'rows': 1_234, 'abnormal_rows': 56, 'synthetic_rows': 0},
    'test_std': {'abnormal': {'f1': 0.0127}},
    'baselines': {'tfidf_lr': METRICS | {'abnormal': {'f1': 0.75}}},
    'seen_text_share': 0.5,
  } | changes


def printed(workdir: str = 'runs/x', **changes) -> list[str]:
  file = io.StringIO()
  print_results(results(**changes), Path(workdir), file)
  return file.getvalue().splitlines()


def cells(lines: list[str], label: str) -> list[str]:
  """What stands beside a label of the table."""
  (row,) = (line for line in lines if line.startswith(f'│ {label} '))
  return [cell.strip() for cell in row.strip('│').split('│')][1:]


@pytest.mark.parametrize('name', ['[x]', '[/x]', '[bold]a[/bold]', '[link=a]', ':smile:', r'\[x]'])
def test_a_folder_with_brackets_is_printed_letter_for_letter(name):
  assert f'report: runs/{name}/report.html' in printed(f'runs/{name}')


@pytest.mark.parametrize('name', ['[x]', '[/x]', ':smile:'])
def test_the_title_of_the_table_is_printed_letter_for_letter(name):
  assert printed(protocol=name)[0].strip() == f'{name} protocol, no leaks'


def test_the_numbers_are_beside_those_of_the_baseline():
  lines = printed()
  assert cells(lines, 'abnormal F1') == ['0.847 ± 0.013', '0.750']
  assert cells(lines, 'abnormal recall') == ['0.800', '–']
  assert cells(lines, 'AUPRC') == ['–', '–']
  assert '1,234 test rows, 56 abnormal, 0 generated; 2 repetitions' in lines
  assert not any('SIMULATED' in line for line in lines)


def test_the_three_strongest_baselines_fit_a_hundred_columns_and_the_verdict_names_all():
  strength = {'majority': 0.1, 'unseen': 0.5, 'lookup': 0.9, 'nearest': 0.6, 'tfidf_lr': 0.7}
  lines = printed(baselines={k: METRICS | {'abnormal': {'f1': f1}} for k, f1 in strength.items()})
  assert cells(lines, 'abnormal F1') == ['0.847 ± 0.013', '0.900', '0.700', '0.600']
  assert '3 of 5 baselines are shown, those with the highest abnormal F1; the report has all' in (
    lines
  )
  assert max(len(line) for line in lines if line.startswith(('│', '┃'))) <= 100
  (words,) = (line for line in lines if line.startswith('By abnormal F1'))
  assert 'below the text lookup (0.900)' in words and 'the majority class' in words


def test_the_head_of_the_column_is_the_detectors_title():
  assert any('Autoencoders' in line for line in printed()[:5])
  lines = printed(detector={'name': 'toy', 'title': 'Toy', 'kind': 'sequences'})
  assert any('Toy' in line for line in lines[:5])
  assert not any('Autoencoders' in line for line in lines)


def test_a_run_without_texts_or_repetitions_is_printed():
  few = results()
  del few['test']['synthetic_rows'], few['repetitions'], few['test_std'], few['seen_text_share']
  file = io.StringIO()
  print_results(few, Path('runs/x'), file)
  lines = file.getvalue().splitlines()
  assert '1,234 test rows, 56 abnormal' in lines
  assert 'report: runs/x/report.html' in lines
  assert not any('masked text' in line for line in lines)


def test_the_control_is_printed_with_the_leaks_that_it_cannot_show():
  (line,) = (line for line in printed(permuted_labels=True) if line.startswith('PERMUTED'))
  assert 'cannot see leaks that act through known texts' in line


def test_an_evaluation_without_baselines_names_no_report():
  evaluated = results(origin='simulated')
  del evaluated['baselines'], evaluated['seen_text_share']
  file = io.StringIO()
  print_results(evaluated, Path('runs/x'), file)
  lines = file.getvalue().splitlines()
  assert cells(lines, 'accuracy') == ['0.970']
  assert not any('report' in line for line in lines)
  assert lines[-1] == 'SIMULATED corpus: these numbers say nothing about real logs'
