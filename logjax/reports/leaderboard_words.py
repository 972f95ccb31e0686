"""How a leaderboard is told: names, numbers with their intervals, Markdown and the verdict."""

from collections.abc import Mapping, Sequence
from typing import Any

from logjax.evaluation.intervals import FEWEST_TEXTS, standing
from logjax.examples.protocol import LEAKS
from logjax.reports.wording import RIVALS, count, duration, leaf, listed, number

# The oversamplers that every other one is compared with, and how they are called.
BASELINES = {'none': 'no oversampling', 'random': 'random oversampling'}
# What is said of generated rows on their own, and where an entry's quality has it.
QUALITY = {
  'distinct rows': ('distinct_share',),
  'rows not in train': ('novel_share',),
  'self-BLEU-4': ('self_bleu',),
  'told from real rows, AUROC': ('two_sample', 'auroc'),
}
_HEAD = (
  'detector',
  'oversampler',
  'abnormal P / R / F1',
  'normal P / R / F1',
  'AUROC',
  'AUPRC',
  'MCC',
  'F1 less none',
  'against none',
  'F1 less random',
  'against random',
  'time',
)
_FEW = 'too few different abnormal texts'
_STANDINGS = {
  'better': 'better',
  'worse': 'worse',
  'not told apart': 'not told apart',
  'undecided': f'undecided, {_FEW},',
}


def title(table: Mapping[str, Any]) -> str:
  """Which runs a table is about."""
  few, there = table['abnormal_train'], count(table['trained_abnormal'])
  rows = f'all {there} abnormal training rows'
  if few:
    rows = f'{count(few)} abnormal training rows'
    if table['trained_abnormal'] < few:
      rows = f'at most {rows} ({there} there are)'
  protocol = f'{table["protocol"]} protocol'
  if table['protocol'] == 'honest' and table['leaks']:
    protocol += f' with leaks ({", ".join(table["leaks"])})'
  return f'{protocol}, {rows}'


def detector_title(entry: Mapping[str, Any]) -> str:
  """A detector's or a rival's name at the head of a row."""
  name = entry['detector']
  return RIVALS[name].title if entry['kind'] == 'rival' and name in RIVALS else name


def with_intervals(value: Mapping[str, float | None] | None, signed: bool = False) -> str:
  """A mean with its intervals over rows and over texts, or '–' where it was not measured.

  Args:
    value: of `over_rows_and_texts`.
    signed: as a difference, with its sign.

  Returns:
    '0.912 [0.881, 0.934] [0.702, 0.990]', with [–] for an interval that there is not.
  """
  if not value or value['mean'] is None:
    return number(None)
  told = _signed if signed else number
  ends = [(value['low'], value['high']), (value['low_texts'], value['high_texts'])]
  return ' '.join(
    [
      told(value['mean']),
      *(
        f'[{number(None)}]' if None in pair else f'[{", ".join(map(told, pair))}]' for pair in ends
      ),
    ]
  )


def f1_standing(entry: Mapping[str, Any], other: str) -> str:
  """What `standing` says of an entry against another by abnormal F1, '–' where not compared."""
  return standing(leaf(entry['versus'], (other, 'abnormal_f1')))


def markdown_table(table: Mapping[str, Any]) -> str:
  """One table in Markdown: title, rows, what they stand for, the verdict, and generated rows."""
  rows = []
  for entry in table['entries']:
    metrics = entry['metrics']
    classes = [
      ' / '.join(number(metrics[f'{kind}_{name}']['mean']) for name in ('precision', 'recall'))
      + f' / {with_intervals(metrics[f"{kind}_f1"])}'
      for kind in ('abnormal', 'normal')
    ]
    row = [detector_title(entry), entry['oversampler'] or 'needs none', *classes]
    row += [with_intervals(metrics[name]) for name in ('auroc', 'auprc', 'mcc')]
    for other in ('none', 'random'):
      difference = leaf(entry['versus'], (other, 'abnormal_f1'))
      row += [with_intervals(difference, signed=True), f1_standing(entry, other)]
    seconds = entry['seconds']
    rows.append([*row, number(None) if seconds is None else duration(seconds)])
  says = '\n'.join(f'- {sentence}' for sentence in verdict(table))
  parts = [f'### {title(table)}', _markdown(_HEAD, rows), basis(table), says]
  generated = quality_rows(table)
  if generated:
    parts.append('Generated rows on their own:')
    parts.append(_markdown(('oversampler', *QUALITY), generated))
  return '\n\n'.join(parts)


def quality_rows(table: Mapping[str, Any]) -> list[list[str]]:
  """What each oversampler's rows are worth: its name, and the numbers of `QUALITY`."""
  by_name: dict[str, Mapping[str, Any]] = {}
  for entry in table['entries']:
    if entry['quality']:  # detectors share what an oversampler made
      by_name.setdefault(entry['oversampler'], entry['quality'])
  return [
    [name, *(number(leaf(by_name[name], keys)) for keys in QUALITY.values())]
    for name in sorted(by_name)
  ]


def basis(table: Mapping[str, Any]) -> str:
  """What a table's numbers are means and intervals of."""
  seeds = sorted({seed for entry in table['entries'] for seed in entry['seeds']})
  over = 'test rows alone, as there is one seed, then over' if len(seeds) == 1 else None
  over = over or 'seeds and test rows, then over seeds and'
  words = (
    f'On {count(table["test_rows"])} real test rows of {count(table["test_texts"])} different '
    f'texts, {count(table["abnormal_rows"])} of them abnormal, of {count(table["abnormal_texts"])} '
    f'text{"s" * (table["abnormal_texts"] != 1)}; means of {len(seeds)} '
    f'seed{"s" * (len(seeds) != 1)} with 95 % bootstrap intervals, '
    f'first over {over} texts, where a text counts once however often it repeats. Better or worse '
    'is only what both intervals say.'
  )
  if table['abnormal_texts'] < FEWEST_TEXTS:
    words += f' There are {_FEW} for an interval over texts: {FEWEST_TEXTS} are needed.'
  if table['abnormal_train']:
    words += ' At most as many abnormal rows validate as train.'
  return words


def verdict(table: Mapping[str, Any]) -> list[str]:
  """What a table says of its leaks, and of each detector against all that it is compared with."""
  sentences = []
  detectors = [entry for entry in table['entries'] if entry['kind'] == 'detector']
  strongest = table['strongest_rival']
  others = dict(BASELINES)
  if strongest:
    others['rival'] = f'the strongest rival, {_rival(strongest)},'
  for detector in dict.fromkeys(entry['detector'] for entry in detectors):
    of_detector = [entry for entry in detectors if entry['detector'] == detector]
    for other, phrase in others.items():
      # What random oversampling buys is told once, beside none.
      compared = [
        entry
        for entry in of_detector
        if other in entry['versus'] and (other, entry['oversampler']) != ('random', 'none')
      ]
      if compared:
        sentences.append(f'{detector} against {phrase} by abnormal F1: {_told(compared, other)}.')
    if of_detector[0]['rivals']:
      sentences.append(_against_rivals(of_detector[0], len(of_detector) > 1))
  return _leaks(table, detectors) + (sentences or ['There is nothing to compare with.'])


def _leaks(table: Mapping[str, Any], detectors: Sequence[Mapping[str, Any]]) -> list[str]:
  """What leaks a table has, and which of them some of its entries have not."""
  if not table['leaks']:
    return []
  meanings = '; '.join(
    f'{name}: {LEAKS[name]}' if name in LEAKS else name for name in table['leaks']
  )
  called = (
    'Though the protocol is called honest it leaks' if table['protocol'] == 'honest' else None
  )
  sentences = [f'{called or "The protocol leaks"} ({meanings}).']
  without: dict[tuple[str, ...], list[str]] = {}
  for entry in detectors:
    missing = tuple(name for name in table['leaks'] if name not in entry['leaks'])
    if missing:
      without.setdefault(missing, []).append(f'{entry["detector"]} with {entry["oversampler"]}')
  for missing, names in without.items():
    sentences.append(f'Without {listed(list(missing))}: {listed(names)}.')
  return sentences


def _told(entries: Sequence[Mapping[str, Any]], other: str) -> str:
  """Entries by their standing against another: 'better with a (+0.100); worse with b (-0.200)'."""
  clauses = []
  for stands, word in _STANDINGS.items():
    # The table has the intervals.
    names = [
      f'{entry["oversampler"]} ({_signed(entry["versus"][other]["abnormal_f1"]["mean"])})'
      for entry in entries
      if f1_standing(entry, other) == stands
    ]
    if names:
      clauses.append(f'{word} with {listed(names)}')
  return '; '.join(clauses) or 'undefined'


def _against_rivals(entry: Mapping[str, Any], chosen: bool) -> str:
  """One sentence: which rivals an entry beats by abnormal F1, and which not.

  Args:
    entry: a detector's best.
    chosen: whether it is the best of several.
  """
  stands = {name: standing(told['abnormal_f1']) for name, told in entry['rivals'].items()}
  clauses = []
  for verb, ours in (
    ('beats', 'better'),
    ('does not beat', 'worse'),
    ('is not told apart from', 'not told apart'),
    (f'has no verdict ({_FEW}) against', 'undecided'),
    ('cannot be compared with', number(None)),
  ):
    names = []
    for name in (name for name, stand in stands.items() if stand == ours):
      mean = entry['rivals'][name]['abnormal_f1']['mean']
      names.append(_rival(name) + (f' ({_signed(mean)})' if mean is not None else ''))
    if names:
      clauses.append(f'{verb} {listed(names)}')
  best = ', its best on these rows,' if chosen else ''
  who = f'{entry["detector"]} with {entry["oversampler"]}{best}'
  return f'By abnormal F1, {who} {"; ".join(clauses)}.'


def _rival(name: str) -> str:
  """A rival within a sentence; what is no simple rival is a detector that was run without."""
  return RIVALS[name].phrase if name in RIVALS else f'{name} without oversampling'


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
  table = [head, ['---'] * len(head), *([cell.replace('|', '\\|') for cell in row] for row in rows)]
  return '\n'.join(f'| {" | ".join(row)} |' for row in table)


def _signed(value: float) -> str:
  return ('+' if value >= 0 else '') + number(value)


def markdown(leaderboard: Mapping[str, Any]) -> str:
  """The tables of a leaderboard in Markdown, each with its verdict in words.

  Args:
    leaderboard: of `make_leaderboard`.
  """
  return '\n\n'.join(markdown_table(table) for table in leaderboard['tables']) + '\n'
