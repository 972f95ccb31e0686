"""Sentences of the leaderboard: titles, the basis of the numbers, and the verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

from logjax.evaluation.intervals import FEWEST_TEXTS, standing
from logjax.examples.protocol import LEAKS
from logjax.reports.verdicts import BASELINES, baseline_of
from logjax.reports.wording import count, listed, number, plural, signed

# The oversamplers that all others are compared with, and their names in a sentence.
REFERENCE_OVERSAMPLERS = {'none': 'no oversampling', 'random': 'random oversampling'}
COMPARISONS = (
  'There is no correction for multiple comparisons: about 1 in 20 comparisons without a real '
  'difference will still be reported.'
)
_FEW = 'too few different abnormal texts'
# `standing` -> words for entries, and for a detector and a baseline.
_STANDINGS = {
  'better': ('better', 'is better than'),
  'worse': ('worse', 'is worse than'),
  'not told apart': ('not told apart', 'is not told apart from'),
  'undecided': (f'undecided, {_FEW},', f'is undecided ({_FEW}) against'),
  number(None): ('undefined', 'cannot be compared with'),
}


def title(table: Mapping[str, Any]) -> str:
  """Names the runs of a table."""
  few, available = table['abnormal_train'], count(table['trained_abnormal'])
  rows = f'all {available} abnormal training rows'
  if few:
    rows = f'{count(few)} abnormal training rows'
    if table['trained_abnormal'] < few:
      rows = f'at most {rows} ({available} available)'
  protocol = f'{table["protocol"]} protocol'
  if table['protocol'] == 'honest' and table['leaks']:
    protocol += f' with leaks ({", ".join(table["leaks"])})'
  return f'{protocol}, {rows}'


def method_title(entry: Mapping[str, Any]) -> str:
  """Names a detector or a baseline at the head of a row."""
  name = entry['detector']
  return baseline_of(name).title if entry['kind'] == 'baseline' else name


def basis(table: Mapping[str, Any]) -> str:
  """Says what a table's numbers are means and intervals of."""
  seeds = len({seed for entry in table['entries'] for seed in entry['seeds']})
  over = (
    'test rows alone (there is one seed), then over texts'
    if seeds == 1
    else 'seeds and test rows, then over seeds and texts'
  )
  words = (
    f'Measured on {count(table["test_rows"])} real test rows of '
    f'{count(table["test_texts"])} different texts; {count(table["abnormal_rows"])} rows of '
    f'{plural(table["abnormal_texts"], "text")} are abnormal. Means of {plural(seeds, "seed")} '
    f'with 95 % bootstrap intervals, first over {over}, where a text counts once however often it '
    'repeats. Better or worse means that both intervals exclude zero.'
  )
  if table['abnormal_texts'] < FEWEST_TEXTS:
    words += f' There are {_FEW} for an interval over texts: {FEWEST_TEXTS} are needed.'
  if table['abnormal_train']:
    words += ' At most as many abnormal rows validate as train.'
  return words


def verdict(table: Mapping[str, Any]) -> list[str]:
  """Returns sentences on the leaks of a table and on each detector against its references."""
  detectors = [entry for entry in table['entries'] if entry['kind'] == 'detector']
  references = dict(REFERENCE_OVERSAMPLERS)
  if table['strongest_baseline']:
    references['baseline'] = f'the strongest baseline, {_phrase(table["strongest_baseline"])},'
  sentences = []
  for detector in dict.fromkeys(entry['detector'] for entry in detectors):
    entries = [entry for entry in detectors if entry['detector'] == detector]
    for other, phrase in references.items():
      # The difference between random and none is reported once, against none.
      compared = [
        entry
        for entry in entries
        if other in entry['versus'] and (other, entry['oversampler']) != ('random', 'none')
      ]
      if compared:
        words = _by_standing(compared, other)
        sentences.append(f'{detector} against {phrase} by abnormal F1: {words}.')
    if entries[0]['baselines']:
      sentences.append(_against_baselines(entries[0], best_of_several=len(entries) > 1))
  return _leaks(table, detectors) + (sentences or ['There is nothing to compare with.'])


def _leaks(table: Mapping[str, Any], detectors: Sequence[Mapping[str, Any]]) -> list[str]:
  """Returns sentences on the leaks of a table, and on entries without some of them."""
  if not table['leaks']:
    return []
  meanings = '; '.join(f'{name}: {LEAKS.get(name, "unknown")}' for name in table['leaks'])
  honest = table['protocol'] == 'honest'
  subject = 'Though the protocol is called honest it leaks' if honest else 'The protocol leaks'
  without: dict[tuple[str, ...], list[str]] = {}
  for entry in detectors:
    missing = tuple(name for name in table['leaks'] if name not in entry['leaks'])
    if missing:
      without.setdefault(missing, []).append(f'{entry["detector"]} with {entry["oversampler"]}')
  return [f'{subject} ({meanings}).'] + [
    f'Without {listed(missing)}: {listed(names)}.' for missing, names in without.items()
  ]


def _by_standing(entries: Sequence[Mapping[str, Any]], other: str) -> str:
  """Groups entries by their standing: 'better with a (+0.100); worse with b (-0.200)'."""
  clauses = []
  for stands, (words, _) in _STANDINGS.items():
    names = []
    for entry in entries:
      f1 = entry['versus'][other]['abnormal_f1']
      if f1['mean'] is not None and standing(f1) == stands:
        names.append(f'{entry["oversampler"]} ({signed(f1["mean"])})')
    if names:
      clauses.append(f'{words} with {listed(names)}')
  return '; '.join(clauses) or 'undefined'


def _against_baselines(entry: Mapping[str, Any], best_of_several: bool) -> str:
  """Returns one sentence on a detector's best entry and all baselines by abnormal F1."""
  clauses = []
  for stands, (_, words) in _STANDINGS.items():
    names = []
    for name, difference in entry['baselines'].items():
      f1 = difference['abnormal_f1']
      if standing(f1) == stands:
        mean = '' if f1['mean'] is None else f' ({signed(f1["mean"])})'
        names.append(_phrase(name) + mean)
    if names:
      clauses.append(f'{words} {listed(names)}')
  best = ', its best on these rows,' if best_of_several else ''
  return (
    f'By abnormal F1, {entry["detector"]} with {entry["oversampler"]}{best} {"; ".join(clauses)}.'
  )


def _phrase(name: str) -> str:
  """Names a baseline within a sentence; a detector can be one when it runs without oversampling."""
  return BASELINES[name].phrase if name in BASELINES else f'{name} without oversampling'
