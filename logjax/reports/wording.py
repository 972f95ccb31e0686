"""How the report puts numbers, shares, times, leaks and the verdict into words."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Rival(NamedTuple):
  """How a rival of results.json is called.

  Attributes:
    title: at the head of a column or a row.
    phrase: within a sentence.
    about: what it does, in a few words.
  """

  title: str
  phrase: str
  about: str


RIVALS = {
  'majority': Rival('Majority class', 'the majority class', 'one answer for all rows'),
  'unseen': Rival(
    'Unseen text flagged', 'flagging unseen text', 'abnormal is what no normal training row has'
  ),
  'lookup': Rival(
    'Text lookup', 'the text lookup', 'share of abnormal among the training rows of the same text'
  ),
  'nearest': Rival(
    '1-nearest neighbour',
    'the nearest neighbour',
    'label of the training text that shares most words',
  ),
  'tfidf_lr': Rival(
    'TF-IDF with logistic regression',
    'TF-IDF with logistic regression',
    'words and pairs of words, weighed',
  ),
}

_LONGEST_TEXT = 400  # characters of one log line that the page shows
# Control characters but the tab would vanish or garble the page.
_ESCAPES = {code: f'\\x{code:02x}' for code in (*range(9), *range(10, 32), 127)}
_DECIDING = (('abnormal F1', ('abnormal', 'f1')), ('AUPRC', ('auprc',)))


def verdict(results: Mapping[str, Any]) -> str:
  """Says which rivals the detector beats and which not, a sentence for each of two metrics."""
  rivals = strongest(results)
  if not rivals:
    return 'No baseline was run beside the detector.'
  test, spread = results.get('test') or {}, results.get('test_std') or {}
  return ' '.join(
    _compare(name, leaf(test, keys), leaf(spread, keys), {r: leaf(m, keys) for r, m in rivals})
    for name, keys in _DECIDING
  )


def strongest(results: Mapping[str, Any]) -> list[tuple[Rival, Mapping[str, Any]]]:
  """The rivals that were run and their metrics, by falling abnormal F1, then AUPRC."""
  baselines = [
    (RIVALS.get(key, Rival(key, key, 'baseline')), metrics)
    for key, metrics in (results.get('baselines') or {}).items()
    if metrics
  ]
  return sorted(baselines, key=lambda baseline: _strength(baseline[1]), reverse=True)


def _strength(metrics: Mapping[str, Any]) -> list[float]:
  """What rivals are ordered by; an undefined metric comes last."""
  values = [leaf(metrics, keys) for _, keys in _DECIDING]
  return [-1.0 if value is None else value for value in values]


def _compare(
  metric: str, ours: float | None, deviation: float | None, rivals: Mapping[Rival, float | None]
) -> str:
  """One sentence: the rivals that the detector beats by a metric, and those that it does not."""
  if ours is None:
    return f'By {metric} the detector cannot be compared: it is undefined.'
  beaten, unbeaten = [], []
  defined = {rival: theirs for rival, theirs in rivals.items() if theirs is not None}
  best = max(defined.values(), default=None)
  for rival, theirs in sorted(defined.items(), key=lambda item: -item[1]):
    close = deviation and 0 < abs(ours - theirs) < deviation
    remark = ', less than one standard deviation apart' if close else ''
    # The table has all numbers; the sentence those that decide.
    told = theirs >= min(ours, best) or close
    side = beaten if ours > theirs else unbeaten
    side.append(rival.phrase + (f' ({number(theirs)}{remark})' if told else ''))
  undefined = [rival.phrase for rival in rivals if rival not in defined]
  clauses = [
    f'{verb} {listed(names)}'
    for verb, names in (
      ('does not beat', unbeaten),
      ('beats', beaten),
      ('cannot be compared with', undefined),
    )
    if names
  ]
  return f'By {metric} the detector ({number(ours)}) {"; it ".join(clauses)}.'


def quality_words(quality: Mapping[str, Any]) -> str:
  """Sentences on what generated rows are worth on their own, from `oversampler.quality`."""
  words = ''
  if quality.get('self_bleu') is not None:
    words += f' Their self-BLEU-4 is {number(quality["self_bleu"])}: 1 where all are alike.'
  told = quality.get('two_sample') or {}
  if told.get('auroc') is not None:
    low, high = map(number, told['interval'])
    words += (
      f' A classifier tells them from {count(told["rows"])} real abnormal lines that they were not '
      f'made from with an AUROC of {number(told["auroc"])} [{low}, {high}]; 0.5 is not at all.'
    )
  elif told.get('why'):
    words += f' They were not compared with other real abnormal lines: {told["why"]}.'
  return words


def listed(names: list[str]) -> str:
  """Returns 'one', 'one and two', or 'one, two and three'."""
  return ' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)


def number(value: float | None, digits: int = 3) -> str:
  """A fraction with three digits, or as many as it takes not to look like 0 or 1; None is –."""
  if not isinstance(value, int | float):  # None, or what the template did not find
    return '–'
  text = f'{value:.{digits}f}'
  # What is closer than that differs by the rounding of sums alone.
  while float(text) in (0, 1) and abs(float(text) - value) > 1e-9:
    digits += 1
    text = f'{value:.{digits}f}'
  return text


def percent(share: float | None) -> str:
  """A share in percent, one digit or as many as it takes not to look like 0 % or 100 %."""
  if not isinstance(share, int | float):
    return number(None)
  digits = len(number(share).partition('.')[2]) - 2
  return f'{100 * share:.{digits}f}\N{NO-BREAK SPACE}%'


CHANCE = (
  'Chance is where 95 % of these metrics lie when the labels of the test rows are given to other '
  'test rows at random.'
)


def of_control(control: Mapping[str, Any]) -> list[str]:
  """A control's AUROC with its 95 % interval, its accuracy, and behind each that of chance."""
  auroc, accuracy = number(control.get('auroc')), number(control.get('accuracy'))
  own, of_auroc, of_accuracy = (
    _between(control.get(f'{name}_interval'))
    for name in ('auroc', 'auroc_chance', 'accuracy_chance')
  )
  return [f'{auroc} [{own}]' if own else auroc, of_auroc or '–', accuracy, of_accuracy or '–']


def _between(ends: Sequence[float | None] | None) -> str:
  """Both ends of an interval, or nothing."""
  return ', '.join(map(number, ends)) if ends and None not in ends else ''


def duration(seconds: float) -> str:
  """A length of time as people say it: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
  if seconds < 10:
    return f'{seconds:.1f} s'
  minutes, rest = divmod(round(seconds), 60)
  if minutes < 60:
    return f'{minutes} min {rest} s' if minutes else f'{rest} s'
  return f'{minutes // 60} h {minutes % 60} min'


def count(value: float | None) -> str:
  """A number of rows; with one digit where it is a mean over repetitions."""
  if not isinstance(value, int | float):  # None, or what the template did not find
    return '–'
  return f'{value:,.0f}' if float(value).is_integer() else f'{value:,.1f}'


def shown(text: str | None) -> str:
  """A log line as the page can show it: visible control characters, and not a megabyte of it."""
  text = (text or '').translate(_ESCAPES)
  return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + ' …'


def leaf(metrics: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
  """The number that nested metrics have under some keys; None where one of them is missing."""
  value: Any = metrics
  for key in keys:
    value = (value or {}).get(key)
  return value
