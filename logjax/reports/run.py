"""`report.html`: one self-contained page about a run.

Reads `results.json`, `metrics.jsonl` and `details.json` of a workdir and nothing else. Each section
belongs to a block of these files; an absent block is an absent section. The texts are in
`report.html.jinja`. Log text is hostile until escaped: Jinja escapes everything.
"""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl

from logjax.errors import LogjaxError
from logjax.examples.protocol import LEAKS
from logjax.files import read_json
from logjax.reports import plots
from logjax.reports.pages import write_page
from logjax.reports.paper import TABLES, why_not_comparable
from logjax.reports.table import Column, Table
from logjax.reports.verdicts import (
  PERMUTED_ROWS,
  Detector,
  detector_of,
  quality_words,
  strongest,
  verdict,
)
from logjax.reports.wording import (
  METRIC_COLUMNS,
  count,
  leaf,
  metric_cells,
  number,
  readable,
  shown,
)

_NOT_CURVES = frozenset({'stage', 'set', 'repetition', 'epoch', 'seconds', 'step', 'rows'})
_MOST_ROWS = 50  # generated lines, and mistakes of either kind
_REPETITION = {
  'train_loss': 'train loss',
  'train_accuracy': 'train accuracy',
  'valid_loss': 'valid loss',
  'valid_accuracy': 'valid accuracy',
  'accuracy': 'test accuracy',
  'abnormal_f1': 'abnormal F1',
  'auprc': 'AUPRC',
  'mcc': 'MCC',
}


def write_report(workdir: Path) -> Path:
  """Writes `report.html` into a run's workdir and returns its path.

  Args:
    workdir: the run's folder with `results.json` and optionally `metrics.jsonl` (one object a
      logged epoch) and `details.json` (generated lines, mistakes, precision-recall points).

  Raises:
    LogjaxError: `results.json` is missing, or one of the three files cannot be read.
  """
  workdir = Path(workdir)
  cure, details_path = 'run --mode=train in this workdir', workdir / 'details.json'
  results = read_json(workdir / 'results.json', dict, cure)
  details = read_json(details_path, dict, cure) if details_path.exists() else {}
  detector = detector_of(results)
  paper, paper_note = _paper(results, detector)
  return write_page(
    workdir / 'report.html',
    'report.html.jinja',
    results=results,
    origin=results.get('origin'),
    command=results.get('command'),
    detector=detector,
    leaks={
      name: LEAKS.get(name, 'a leak of another version') for name in results.get('leaks') or []
    },
    table_of_results=_results_table(results, detector, paper),
    repetitions=_repetitions(results.get('repetitions') or []),
    paper_note=paper_note,
    verdict=verdict(results),
    permuted_note=PERMUTED_ROWS,
    quality_words=quality_words((results.get('oversampler') or {}).get('quality') or {}),
    phases=_learning_curves(workdir / 'metrics.jsonl'),
    seconds=_finite_numbers(results.get('seconds')),
    curve=_precision_recall(results.get('test') or {}, details.get('precision_recall') or {}),
    generated=_marked(details.get('generated') or []),
    mistakes=_mistakes(details.get('mistakes') or [], detector),
  )


def _finite_numbers(values: Mapping[str, Any] | None) -> dict[str, float]:
  return {
    key: value
    for key, value in (values or {}).items()
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
  }


def _results_table(
  results: Mapping[str, Any], detector: Detector, paper: list[dict[str, Any]]
) -> Table:
  """Builds the table of results: the detector, its baselines, unseen texts and the paper."""
  test, repetitions = results.get('test') or {}, len(results.get('repetitions') or [])
  spread = f', mean ± sd of {repetitions} repetitions' if repetitions > 1 else ''
  rows = [((detector.title, f'the detector{spread}'), test, results.get('test_std'))]
  if test.get('synthetic_rows') and results.get('test_real'):
    name = 'The detector, real rows', 'without the generated test rows'
    rows.append((name, results['test_real'], None))
  for baseline, metrics in strongest(results):
    rows.append(((baseline.title, 'baseline: ' + baseline.about), metrics, None))
  if unseen := results.get('test_unseen'):
    about = (
      f'only the {count(unseen.get("rows"))} real test rows whose masked text no real training row '
      f'has, {count(unseen.get("abnormal_rows"))} of them abnormal'
    )
    rows.append((('The detector, unseen texts', about), unseen, None))
  for row in paper:
    name = 'with SeqGAN' if row['oversampler'] == 'seqgan' else 'without oversampling'
    rows.append(((f'The paper, {name}', 'as published'), row, None))
  columns = [Column('', align='left'), *METRIC_COLUMNS.values()]
  return Table(
    'Test results',
    columns,
    [[name, *metric_cells(metrics, deviation)] for name, metrics, deviation in rows],
  )


def _repetitions(repetitions: list[dict[str, Any]]) -> Table | None:
  """Builds a table with a row for each repetition; None for fewer than two."""
  if len(repetitions) < 2:
    return None
  columns = [Column('repetition', align='left')]
  rows = [[str(place + 1)] for place in range(len(repetitions))]
  for name, title in _REPETITION.items():
    values = [one.get(name, leaf(one, name)) for one in repetitions]
    if any(value is not None for value in values):
      columns.append(Column(title))
      for row, value in zip(rows, values, strict=True):
        row.append(number(value))
  return Table('Repetitions', columns, rows)


def _paper(results: Mapping[str, Any], detector: Detector) -> tuple[list[dict[str, Any]], str]:
  """Returns the paper's rows if they are comparable, else none and the sentence why not.

  The paper is about lines: for another kind of input there is no row and no sentence.
  """
  if detector.kind != 'lines':
    return [], ''
  corpus = results.get('corpus') or {}
  run = (
    corpus.get('name') or 'without a name',
    corpus.get('lines') or 0,
    corpus.get('abnormal') or 0,
    results.get('origin') or 'real',
  )
  if why := why_not_comparable(*run):
    return [], why
  note = (
    'The paper measured on other rows than this run: on 95 % of all its lines, the generated ones '
    'included where it used SeqGAN.'
  )
  return [asdict(row) for row in TABLES[run[0]]], note


def _learning_curves(path: Path) -> list[dict[str, Any]]:
  """Draws the logged phases in the order they were logged, each as panels of curves."""
  points = []
  for line_number, line in enumerate(
    path.read_text(encoding='utf-8', errors='replace').splitlines() if path.exists() else [],
    start=1,
  ):
    try:
      entry = json.loads(line)
    except ValueError:
      raise LogjaxError(f'{path}:{line_number}: not valid JSON; delete this line') from None
    if 'epoch' not in entry:
      continue
    run = ' '.join(f'{key} {entry[key]}' for key in ('set', 'repetition') if key in entry)
    points += [
      (str(entry.get('stage')), key, run, float(entry['epoch']), float(value))
      for key, value in _finite_numbers(entry).items()
      if key not in _NOT_CURVES
    ]
  schema = {'phase': pl.String, 'name': pl.String, 'run': pl.String, 'epoch': pl.Float64}
  frame = pl.DataFrame(points, schema | {'value': pl.Float64}, orient='row')
  # A resumed run logs some epochs again.
  frame = frame.unique(['phase', 'name', 'run', 'epoch'], keep='last', maintain_order=True)
  return [
    {'title': readable(phase['phase'][0]), 'panels': _panels(phase)}
    for phase in frame.partition_by('phase', maintain_order=True)
  ]


def _panels(frame: pl.DataFrame) -> list[dict[str, Any]]:
  """Draws one panel a quantity of a phase; train and validation share a panel."""
  quantity = pl.col('name').str.replace('^(train|valid)_', '').alias('quantity')
  panels = []
  for part in frame.with_columns(quantity).partition_by('quantity', maintain_order=True):
    curves = {curve['name'][0]: curve for curve in part.partition_by('name', maintain_order=True)}
    several = len(curves) > 1
    title = (part['quantity'][0] if several else next(iter(curves))).replace('_', ' ')
    panels.append(
      {
        'title': title,
        'names': [name.replace('_', ' ') for name in curves] if several else [],
        'runs': part['run'].n_unique(),
        'svg': plots.learning_curves(curves, f'{readable(part["phase"][0])}: {title}'),
      }
    )
  return panels


def _precision_recall(test: Mapping[str, Any], points: Mapping[str, Any]) -> str:
  """Draws the precision-recall curve; '' if none was recorded."""
  if not points.get('recall'):
    return ''
  rows, abnormal = test.get('rows'), test.get('abnormal_rows')
  chance = abnormal / rows if rows and abnormal is not None else None
  title = 'Precision over recall of abnormal test rows'
  return plots.precision_recall(points['precision'], points['recall'], chance, title)


def _marked(generated: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """Splits generated texts and their nearest real ones into parts: (words, do they differ?)."""
  rows = []
  for line in generated[:_MOST_ROWS]:
    words, nearest = shown(line.get('text')).split(), shown(line.get('nearest')).split()
    matcher = difflib.SequenceMatcher(a=words, b=nearest, autojunk=False)
    row = dict(line, words=[], nearest_words=[])
    for kind, start, end, other_start, other_end in matcher.get_opcodes():
      row['words'].append((' '.join(words[start:end]), kind != 'equal'))
      row['nearest_words'].append((' '.join(nearest[other_start:other_end]), kind != 'equal'))
    rows.append(row)
  return rows


def _mistakes(mistakes: list[dict[str, Any]], detector: Detector) -> list[Table]:
  """Builds tables of missed abnormal examples and of false alarms, the worst score first."""
  columns = [
    Column('where', align='left', style='where code'),
    Column('score'),
    Column('truth', align='left'),
    Column('text', align='left', style='text code'),
  ]
  tables = []
  for truth, other in (('abnormal', 'normal'), ('normal', 'abnormal')):
    wrong = [one for one in mistakes if bool(one.get('abnormal')) == (truth == 'abnormal')]
    wrong.sort(key=lambda one: one.get('score') or 0, reverse=truth == 'normal')
    rows = [
      [one.get('where') or '–', number(one.get('score')), truth, shown(one.get('text'))]
      for one in wrong[:_MOST_ROWS]
    ]
    if rows:
      title = f'{truth.capitalize()} {detector.example}s taken for {other}'
      tables.append(Table(title, columns, rows))
  return tables
