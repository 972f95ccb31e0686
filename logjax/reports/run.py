"""`report.html`: one self-contained page that says what a run did and how far to believe it.

Reads what the run left in its workdir (`results.json`, `metrics.jsonl`, `details.json`) and nothing
else. The words and the looks are in `report.html.jinja`; here the numbers are put in order. Log
text is hostile until escaped: everything passes through Jinja's autoescape.
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
from logjax.reports.pages import template
from logjax.reports.paper import paper_rows, why_not_comparable
from logjax.reports.wording import count, quality_words, shown, strongest, verdict

STAGES = {
  'generator_mle': 'Generator, maximum likelihood',
  'discriminator_pretrain': 'Discriminator, pretraining',
  'adversarial': 'Generator against discriminator',
  'autoencoder_smote': 'Autoencoder of SMOTE',
  'autoencoder_normal': 'Autoencoder of normal rows',
  'autoencoder_abnormal': 'Autoencoder of abnormal rows',
  'gru': 'GRU classifier',
}

_NOT_CURVES = frozenset({'stage', 'set', 'repetition', 'epoch', 'seconds', 'step', 'rows'})
_MOST_ROWS = 50  # generated lines, and mistakes of either kind


def write_report(workdir: Path) -> Path:
  """Writes `report.html` into a run's workdir and returns its path.

  Only `results.json` must exist; every section copes with what a run did not do or record.

  Args:
    workdir: the run's folder, with `results.json` and where there are any `metrics.jsonl` (one
      object a logged epoch, see `STAGES`) and `details.json` (generated lines, mistakes,
      precision-recall points).

  Raises:
    LogjaxError: `results.json` is missing, or one of the three files cannot be read.
  """
  workdir = Path(workdir)
  cure, details = 'run --mode=train in this workdir', workdir / 'details.json'
  results = read_json(workdir / 'results.json', dict, cure)
  details = read_json(details, dict, cure) if details.exists() else {}
  page = template('report.html.jinja').render(
    results=results,
    leaks=[(name, LEAKS.get(name, '')) for name in results.get('leaks') or []],
    rows=_result_rows(results),
    paper_note=_paper(results)[1],
    verdict=verdict(results),
    quality_words=quality_words((results.get('oversampler') or {}).get('quality') or {}),
    stages=_learning_curves(workdir / 'metrics.jsonl'),
    seconds=_numeric(results.get('seconds')),
    curve=_precision_recall(results, details),
    generated=_beside_nearest(details.get('generated') or []),
    mistakes=_mistakes(details.get('mistakes') or []),
  )
  path = workdir / 'report.html'
  partial = path.with_name(path.name + '.part')
  # JSON can hold half a surrogate pair.
  partial.write_text(page, encoding='utf-8', errors='replace')
  partial.replace(path)
  return path


def _numeric(values: Mapping[str, Any] | None) -> dict[str, float]:
  return {
    key: value
    for key, value in (values or {}).items()
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
  }


def _result_rows(results: Mapping[str, Any]) -> list[dict[str, Any]]:
  """The rows of the results table: the detector, its rivals, unseen texts, the paper."""
  repetitions = len(results.get('repetitions') or [])
  rows = [
    {
      'name': 'Detector',
      'note': f'mean ± sd of {repetitions} repetitions' if repetitions > 1 else '',
      'metrics': results.get('test') or {},
      'std': results.get('test_std') or {},
    }
  ]
  if rows[0]['metrics'].get('synthetic_rows') and results.get('test_real'):
    note = 'without the generated test rows'
    rows.append({'name': 'Detector, real rows', 'note': note, 'metrics': results['test_real']})
  for rival, metrics in strongest(results):
    rows.append({'name': rival.title, 'note': rival.about, 'metrics': metrics})
  unseen = results.get('test_unseen')
  if unseen:
    note = (
      f'only the {count(unseen.get("rows"))} real test rows whose masked text no real training row '
      f'has, {count(unseen.get("abnormal_rows"))} of them abnormal'
    )
    rows.append({'name': 'Detector, unseen texts', 'note': note, 'metrics': unseen})
  for row in _paper(results)[0]:
    name = 'with SeqGAN' if row['oversampler'] == 'seqgan' else 'without oversampling'
    rows.append({'name': f'The paper, {name}', 'note': 'as published', 'metrics': row})
  return rows


def _paper(results: Mapping[str, Any]) -> tuple[list[dict[str, Any]], str]:
  """The paper's rows where they are comparable, else none and the sentence why not."""
  corpus = results.get('corpus') or {}
  run = (
    corpus.get('name') or 'without a name',
    corpus.get('lines') or 0,
    corpus.get('abnormal') or 0,
    results.get('origin') or 'real',
  )
  return [asdict(row) for row in paper_rows(*run) or ()], why_not_comparable(*run)


def _learning_curves(path: Path) -> list[dict[str, Any]]:
  """The stages that were trained, each with panels of curves; empty where nothing was logged."""
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
      for key, value in _numeric(entry).items()
      if key not in _NOT_CURVES
    ]
  schema = {'stage': pl.String, 'name': pl.String, 'run': pl.String, 'epoch': pl.Float64}
  frame = pl.DataFrame(points, schema | {'value': pl.Float64}, orient='row')
  # A resumed run logs some epochs again.
  frame = frame.unique(['stage', 'name', 'run', 'epoch'], keep='last', maintain_order=True)
  logged = frame['stage'].unique(maintain_order=True)
  order = [stage for stage in STAGES if stage in logged]
  return [
    {'title': STAGES.get(stage, stage), 'panels': _panels(stage, frame.filter(stage=stage))}
    for stage in order + [stage for stage in logged if stage not in STAGES]
  ]


def _panels(stage: str, frame: pl.DataFrame) -> list[dict[str, Any]]:
  """One panel a quantity; what was measured on train and on validation shares a panel."""
  quantity = pl.col('name').str.replace('^(train|valid)_', '').alias('quantity')
  panels = []
  for part in frame.with_columns(quantity).partition_by('quantity', maintain_order=True):
    curves = {curve['name'][0]: curve for curve in part.partition_by('name', maintain_order=True)}
    title = (part['quantity'][0] if len(curves) > 1 else next(iter(curves))).replace('_', ' ')
    panels.append(
      {
        'title': title,
        'names': [name.replace('_', ' ') for name in curves] if len(curves) > 1 else [],
        'runs': part['run'].n_unique(),
        'svg': plots.learning_curves(curves, f'{STAGES.get(stage, stage)}: {title}'),
      }
    )
  return panels


def _precision_recall(results: Mapping[str, Any], details: Mapping[str, Any]) -> str:
  """The figure, or '' where no curve was recorded."""
  points = details.get('precision_recall') or {}
  if not points.get('recall'):
    return ''
  test = results.get('test') or {}
  rows, abnormal = test.get('rows'), test.get('abnormal_rows')
  chance = abnormal / rows if rows and abnormal is not None else None
  title = 'Precision over recall of abnormal test rows'
  return plots.precision_recall(points['precision'], points['recall'], chance, title)


def _beside_nearest(generated: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """Generated lines with the words marked that their nearest real line does not have there."""
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


def _mistakes(mistakes: list[dict[str, Any]]) -> list[dict[str, Any]]:
  """Missed abnormal lines and false alarms, each from the worst score on."""
  missed = [mistake for mistake in mistakes if mistake.get('abnormal')]
  alarms = [mistake for mistake in mistakes if not mistake.get('abnormal')]
  missed.sort(key=lambda mistake: mistake.get('score') or 0)
  alarms.sort(key=lambda mistake: -(mistake.get('score') or 0))
  return [
    {'title': 'Abnormal lines taken for normal', 'truth': 'abnormal', 'rows': missed[:_MOST_ROWS]},
    {'title': 'Normal lines taken for abnormal', 'truth': 'normal', 'rows': alarms[:_MOST_ROWS]},
  ]
