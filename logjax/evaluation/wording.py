"""How the report puts numbers, shares, times, leaks and the verdict into words."""

from collections.abc import Mapping
from typing import Any

BASELINES = {'tfidf_lr': 'TF-IDF with logistic regression'}

_LONGEST_TEXT = 400  # characters of one log line that the page shows
# Control characters but the tab would vanish or garble the page.
_ESCAPES = {code: f'\\x{code:02x}' for code in (*range(9), *range(10, 32), 127)}


def verdict(results: Mapping[str, Any]) -> str:
  """One sentence: does the detector beat TF-IDF with logistic regression, and by how much?"""
  test, spread = results.get('test') or {}, results.get('test_std') or {}
  baseline = (results.get('baselines') or {}).get('tfidf_lr')
  if not baseline:
    return 'No baseline was run beside the detector.'
  rival, clauses = BASELINES['tfidf_lr'], []
  for name, keys in (('abnormal F1', ('abnormal', 'f1')), ('AUPRC', ('auprc',))):
    ours, theirs, deviation = (leaf(metrics, keys) for metrics in (test, baseline, spread))
    if ours is None or theirs is None:
      clauses.append(f'cannot be compared with {rival} by {name}, which is undefined')
    else:
      verb = 'beats' if ours > theirs else 'falls behind' if ours < theirs else 'equals'
      close = deviation and 0 < abs(ours - theirs) < deviation
      remark = ', less than one standard deviation apart' if close else ''
      clauses.append(f'{verb} {rival} by {name} ({number(ours)} against {number(theirs)}{remark})')
    rival = 'it'
  return f'The detector {" and ".join(clauses)}.'


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
