"""How a leaderboard is told: names, numbers with their intervals, Markdown and the verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

from logjax.evaluation.wording import RIVALS, count, listed, number

# The oversamplers that every other one is compared with, and how they are called.
BASELINES = {'none': 'no oversampling', 'random': 'random oversampling'}
_HEAD = (
  'detector',
  'oversampler',
  'abnormal P / R / F1',
  'normal P / R / F1',
  'AUROC',
  'AUPRC',
) + ('F1 less none', 'against none', 'F1 less random', 'against random')


def title(table: Mapping[str, Any]) -> str:
  """Which runs a table is about."""
  few = table['abnormal_train']
  rows = f'{count(few)} abnormal training rows' if few else 'all abnormal training rows'
  return f'{table["protocol"]} protocol, {rows}'


def detector_title(entry: Mapping[str, Any]) -> str:
  """A detector's or a rival's name at the head of a row."""
  name = entry['detector']
  return RIVALS[name].title if entry['kind'] == 'rival' and name in RIVALS else name


def with_interval(value: Mapping[str, float | None] | None, signed: bool = False) -> str:
  """A mean with its interval, '0.912 [0.881, 0.934]', or '–' where it was not measured.

  Args:
    value: `mean`, `low` and `high`.
    signed: as a difference, with its sign.
  """
  if not value or value['mean'] is None:
    return number(None)
  told = _signed if signed else number
  if value['low'] is None:
    return told(value['mean'])
  return f'{told(value["mean"])} [{told(value["low"])}, {told(value["high"])}]'


def standing(entry: Mapping[str, Any], other: str) -> str:
  """'better', 'worse' or 'not told apart' from another by abnormal F1, '–' where undefined."""
  difference = (entry['versus'].get(other) or {}).get('abnormal_f1') or {'mean': None}
  if difference['mean'] is None:
    return number(None)
  if other in entry['wins']:
    return 'better'
  return 'worse' if other in entry['losses'] else 'not told apart'


def markdown_table(table: Mapping[str, Any]) -> str:
  """One table of a leaderboard in Markdown: title, rows, what they stand for, and the verdict."""
  rows = [_HEAD, ['---'] * len(_HEAD)]
  for entry in table['entries']:
    metrics = entry['metrics']
    classes = [
      ' / '.join(number(metrics[f'{kind}_{name}']['mean']) for name in ('precision', 'recall'))
      + f' / {with_interval(metrics[f"{kind}_f1"])}'
      for kind in ('abnormal', 'normal')
    ]
    row = [detector_title(entry), entry['oversampler'] or 'needs none', *classes]
    row += [with_interval(metrics[name]) for name in ('auroc', 'auprc')]
    for other in ('none', 'random'):
      difference = (entry['versus'].get(other) or {}).get('abnormal_f1')
      row += [with_interval(difference, signed=True), standing(entry, other)]
    rows.append([cell.replace('|', '\\|') for cell in row])
  lines = '\n'.join(f'| {" | ".join(row)} |' for row in rows)
  says = '\n'.join(f'- {sentence}' for sentence in verdict(table))
  return f'### {title(table)}\n\n{lines}\n\n{basis(table)}\n\n{says}'


def basis(table: Mapping[str, Any]) -> str:
  """What a table's numbers are means and intervals of."""
  seeds = sorted({seed for entry in table['entries'] for seed in entry['seeds']})
  over = 'test rows alone, as there is one seed' if len(seeds) == 1 else 'seeds and test rows'
  return (
    f'On {count(table["test_rows"])} real test rows, {count(table["abnormal_rows"])} of them '
    f'abnormal; means of {len(seeds)} seed{"s" * (len(seeds) != 1)} with 95 % bootstrap intervals '
    f'over {over}.'
  )


def verdict(table: Mapping[str, Any]) -> list[str]:
  """What a table says of each detector: a sentence for each that it is compared with."""
  sentences = []
  detectors = [entry for entry in table['entries'] if entry['kind'] == 'detector']
  rival = table['strongest_rival']
  others = dict(BASELINES)
  if rival:
    phrase = RIVALS[rival].phrase if rival in RIVALS else rival
    others['rival'] = f'the strongest rival, {phrase},'
  for detector in dict.fromkeys(entry['detector'] for entry in detectors):
    for other, phrase in others.items():
      compared = [
        entry
        for entry in detectors
        # What random oversampling buys is told once, beside none.
        if entry['detector'] == detector
        and other in entry['versus']
        and (other, entry['oversampler']) != ('random', 'none')
      ]
      if compared:
        sentences.append(f'{detector} against {phrase} by abnormal F1: {_told(compared, other)}.')
  return sentences or ['There is nothing to compare with.']


def _told(entries: Sequence[Mapping[str, Any]], other: str) -> str:
  """Entries by their standing against another: 'better with a (+0.100); worse with b (-0.200)'."""
  clauses = []
  for word in ('better', 'worse', 'not told apart'):
    # The table has the intervals.
    names = [
      f'{entry["oversampler"]} ({_signed(entry["versus"][other]["abnormal_f1"]["mean"])})'
      for entry in entries
      if standing(entry, other) == word
    ]
    if names:
      clauses.append(f'{word} with {listed(names)}')
  return '; '.join(clauses) or 'undefined'


def _signed(value: float) -> str:
  return ('+' if value >= 0 else '') + number(value)
