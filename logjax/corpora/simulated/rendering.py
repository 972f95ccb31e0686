"""Renders the plan of a simulated file as lines of text, kind by kind and block by block."""

import functools
import re
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple

import numpy as np
import polars as pl

_BLOCK = 1 << 17  # lines rendered at a time, to bound the memory
_DAY, _SECOND = 86_400_000_000, 1_000_000  # in microseconds
_DAYS = {'date': '%Y.%m.%d', 'iso_date': '%Y-%m-%d', 'month': '%b', 'day': '%-d'}
# {milli} is the first and {micro} the second half of the six digits after the second.
_TIMES = ('epoch', 'clock', 'dotted_clock', 'milli', 'micro', *_DAYS)


class Plan(NamedTuple):
  """The lines of one file before they are text, in order of time.

  Attributes:
    time: microseconds since 1970 UTC, [N].
    kind: index into `templates`, [N].
    sticky: for each sticky slot its pool of values and the index into it, [N].
    templates: line templates of all kinds.
  """

  time: np.ndarray
  kind: np.ndarray
  sticky: dict[str, tuple[pl.Series, np.ndarray]]
  templates: list[str]


def render(rng: np.random.Generator, plan: Plan, grammar: ModuleType) -> Iterator[pl.Series]:
  """Yields the lines of a plan as text, in blocks of at most `_BLOCK`.

  Args:
    rng: the generator, for the values of placeholders.
    plan: the lines.
    grammar: one of the grammar modules of this package.
  """
  for begin in range(0, plan.time.size, _BLOCK):
    # Sorted by kind, so that the columns of a kind are slices. The inverse of this order, at the
    # end, puts the lines back in order of time.
    order = begin + np.argsort(plan.kind[begin : begin + _BLOCK], kind='stable')
    given = _time_columns(plan.time[order], grammar)
    given |= {name: pool.gather(index[order]) for name, (pool, index) in plan.sticky.items()}
    kinds, starts, sizes = np.unique(plan.kind[order], return_index=True, return_counts=True)
    texts = []
    for kind, start, size in zip(kinds.tolist(), starts.tolist(), sizes.tolist(), strict=True):
      columns = {name: column.slice(start, size) for name, column in given.items()}
      texts.append(fill(rng, plan.templates[kind], size, columns, grammar.SLOTS))
    yield pl.concat(texts).gather(np.argsort(order))


def _time_columns(time: np.ndarray, grammar: ModuleType) -> dict[str, pl.Series]:
  """Returns the parts of the times [N] in the grammar's headers, as text."""
  local = time + grammar.UTC_OFFSET_HOURS * 3600 * _SECOND
  shown = set(re.findall(r'\{(\w+)\}', ' '.join(grammar.HEADS.values()))) & set(_TIMES)
  day = local // _DAY
  days = pl.Series(np.arange(day.min(), day.max() + 1, dtype=np.int32)).cast(pl.Date)
  columns = {}
  for name in sorted(shown):
    if name == 'epoch':
      columns[name] = pl.Series(time // _SECOND).cast(pl.String)
    elif name == 'milli':
      columns[name] = _digits(3).gather(local // 1000 % 1000)
    elif name == 'micro':
      columns[name] = _digits(3).gather(local % 1000)
    elif name in _DAYS:
      columns[name] = days.dt.strftime(_DAYS[name]).gather(day - day.min())
    else:
      columns[name] = _clock('.' if name == 'dotted_clock' else ':').gather(local % _DAY // _SECOND)
  return columns


def fill(
  rng: np.random.Generator,
  template: str,
  size: int,
  given: dict[str, pl.Series],
  slots: dict[str, str | range | tuple[str, ...]],
) -> pl.Series:
  """Returns texts [size] of a template; slots come from the columns given, or are drawn."""
  parts: list[pl.Expr | pl.Series] = []
  for literal, name in re.findall(r'([^{}]+)|\{(\w+)\}', template):
    slot = slots.get(name)
    if literal:
      parts.append(pl.lit(literal))
    elif name in given:
      parts.append(given[name])
    elif isinstance(slot, str):
      parts.append(fill(rng, slot, size, given, slots))
    elif isinstance(slot, range):
      parts.append(pl.Series(rng.integers(slot.start, slot.stop, size)).cast(pl.String))
    elif isinstance(slot, tuple):
      # Squared, so that the first choices are more frequent.
      index = (len(slot) * rng.random(size) ** 2).astype(np.int64)
      parts.append(pl.Series(slot).gather(index))
    else:
      parts += _hexadecimal(rng, int(name.removeprefix('hex')), size)
  return pl.select(pl.concat_str(parts)).to_series()


def _hexadecimal(rng: np.random.Generator, digits: int, size: int) -> list[pl.Series]:
  """Draws columns [size] of hexadecimal digits, four digits a column."""
  widths = [4] * (digits // 4) + [digits % 4] * (digits % 4 > 0)
  return [_hex_table(width).gather(rng.integers(0, 16**width, size)) for width in widths]


@functools.cache
def _hex_table(width: int) -> pl.Series:
  """Lists all hexadecimal numbers of a width."""
  return pl.Series([f'{n:0{width}x}' for n in range(16**width)])


@functools.cache
def _digits(width: int) -> pl.Series:
  """Lists all decimal numbers of a width."""
  return pl.Series(np.arange(10**width)).cast(pl.String).str.zfill(width)


@functools.cache
def _clock(separator: str) -> pl.Series:
  """Lists the time of day at each of its 86,400 seconds."""
  seconds = pl.Series(np.arange(86_400))
  two = _digits(2)
  hour, minute, second = (
    two.gather(part) for part in (seconds // 3600, seconds // 60 % 60, seconds % 60)
  )
  return pl.select(pl.concat_str([hour, minute, second], separator=separator)).to_series()
