"""Numbers, names and log lines as text, and the columns that metrics have in every table."""

from collections.abc import Mapping, Sequence
from typing import Any

from logjax.reports.table import Cell, Column

# Metric -> its column. A metric's path in results.json is its name cut at '_'.
METRIC_COLUMNS = {
  'abnormal_precision': Column('precision', 'abnormal'),
  'abnormal_recall': Column('recall', 'abnormal'),
  'abnormal_f1': Column('F1', 'abnormal'),
  'normal_precision': Column('precision', 'normal'),
  'normal_recall': Column('recall', 'normal'),
  'normal_f1': Column('F1', 'normal'),
  'accuracy': Column('accuracy'),
  'auroc': Column('AUROC'),
  'auprc': Column('AUPRC'),
  'mcc': Column('MCC'),
}
_LONGEST_TEXT = 400  # characters of one log line that a page shows
# Control characters except the tab would vanish or garble the page.
_ESCAPES = {code: f'\\x{code:02x}' for code in (*range(9), *range(10, 32), 127)}
_ABBREVIATIONS = frozenset({'gan', 'gru', 'lstm', 'mle', 'rl', 'smote', 'tfidf'})


def leaf(metrics: Mapping[str, Any] | None, name: str) -> float | None:
  """Returns a metric by its name, such as 'abnormal_f1', from nested metrics; None if missing."""
  value: Any = metrics
  for key in name.split('_'):
    value = (value or {}).get(key)
  return value


def metric_cells(
  metrics: Mapping[str, Any] | None,
  deviation: Mapping[str, Any] | None = None,
  names: Sequence[str] = tuple(METRIC_COLUMNS),
) -> list[Cell]:
  """Returns the cells of some `METRIC_COLUMNS`, with standard deviations as remarks."""
  cells: list[Cell] = []
  for name in names:
    value, spread = number(leaf(metrics, name)), leaf(deviation, name)
    cells.append(value if spread is None else (value, f'± {number(spread)}'))
  return cells


def number(value: float | None, digits: int = 3) -> str:
  """Formats a fraction with three digits, or more if it would look like 0 or 1; – for None."""
  if not isinstance(value, int | float):  # None, or undefined in a template
    return '–'
  text = f'{value:.{digits}f}'
  # A difference below 1e-9 is the rounding of a sum.
  while float(text) in (0, 1) and abs(float(text) - value) > 1e-9:
    digits += 1
    text = f'{value:.{digits}f}'
  return text


def signed(value: float) -> str:
  """Formats a difference with its sign."""
  return ('+' if value >= 0 else '') + number(value)


def bracketed(ends: Sequence[float | None] | None, form: Any = number) -> str:
  """Formats an interval: '[0.881, 0.934]', or '' if an end is undefined."""
  return f'[{", ".join(map(form, ends))}]' if ends and None not in ends else ''


def percent(share: float | None) -> str:
  """Formats a share in percent with one digit, or more if it would look like 0 % or 100 %."""
  if not isinstance(share, int | float):
    return number(None)
  digits = len(number(share).partition('.')[2]) - 2
  return f'{100 * share:.{digits}f}\N{NO-BREAK SPACE}%'


def count(value: float | None) -> str:
  """Formats a number of rows; a mean over repetitions has one digit."""
  if not isinstance(value, int | float):  # None, or undefined in a template
    return '–'
  return f'{value:,.0f}' if float(value).is_integer() else f'{value:,.1f}'


def plural(value: int, noun: str) -> str:
  """Returns '1 text' or '2 texts'."""
  return f'{count(value)} {noun}{"s" * (value != 1)}'


def duration(seconds: float) -> str:
  """Formats a length of time: 0.4 s, 12 s, 3 min 5 s, 2 h 10 min."""
  if seconds < 10:
    return f'{seconds:.1f} s'
  minutes, rest = divmod(round(seconds), 60)
  if minutes < 60:
    return f'{minutes} min {rest} s' if minutes else f'{rest} s'
  return f'{minutes // 60} h {minutes % 60} min'


def listed(names: Sequence[str]) -> str:
  """Returns 'one', 'one and two', or 'one, two and three'."""
  return ' and '.join([', '.join(names[:-1]), names[-1]] if len(names) > 1 else names)


def readable(name: str) -> str:
  """Turns a name of the program into words: 'generator_mle' into 'Generator MLE'."""
  words = [word.upper() if word in _ABBREVIATIONS else word for word in name.split('_')]
  text = ' '.join(words)
  return text[:1].upper() + text[1:]


def shown(text: str | None) -> str:
  """Makes control characters of a log line visible and cuts it to a length a page can show."""
  text = (text or '').translate(_ESCAPES)
  return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + ' …'
