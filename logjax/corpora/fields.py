"""The fields of a line: the named groups of a pattern, and the reading of times.

Polars runs the patterns on whole columns of lines. It uses Rust's engine, without backtracking,
look-around and backreferences. Time formats are those of chrono, almost equal to
those of strptime.
"""

import functools
import re
from datetime import UTC, datetime

import polars as pl

from logjax.corpora.catalog import LogFormat
from logjax.errors import LogjaxError

FIELDS = ('message', 'label', 'time', 'node')

# Many logs, for example syslog, leave out the year. This one stands for it: it has a 29 February.
_YEAR = '2000'
_HAS_YEAR = re.compile('%[-_0]?[YyCGgcxDFsv+]')


def own_format(pattern: str, time_format: str = '', normal_label: str = '-') -> LogFormat:
  """Returns the format of a user's own log, checked. Python's `.%f` is read as chrono's `%.f`.

  Raises:
    LogjaxError: for an unusable pattern or time format.
  """
  log_format = LogFormat('own', pattern, time_format.replace('.%f', '%.f'), normal_label)
  _check_fields(named_groups(log_format.whole_line), log_format.time_format)
  return log_format


@functools.cache
def named_groups(pattern: str) -> tuple[str, ...]:
  """Returns the named groups of a pattern, in its order.

  Raises:
    LogjaxError: if the engine cannot compile the pattern.
  """
  try:
    groups = pl.col('text').str.extract_groups(pattern)
    (struct,) = pl.DataFrame(schema={'text': pl.String}).select(groups).dtypes
  except pl.exceptions.PolarsError as error:
    raise LogjaxError(f'data.pattern: {_regex_mistake(error)}') from error
  return tuple(field.name for field in struct.fields if not field.name.isdecimal())


def _regex_mistake(error: Exception) -> str:
  """Turns the engine's explanation of several lines into one line of advice."""
  mistake = str(error).strip().splitlines()[-1]
  mistake = mistake.removeprefix('error: ').removeprefix('regex error: ')
  if 'look-around' in mistake or 'backreference' in mistake:
    return (
      'the engine never backtracks, so look-around such as (?=...) and (?<!...) and '
      f'backreferences such as \\1 do not exist in it: write the pattern without them ({mistake})'
    )
  return f'this is not a regular expression: {mistake}'


def _check_fields(groups: tuple[str, ...], time_format: str) -> None:
  """Raises LogjaxError for groups without a use, or without a matching time format."""
  if 'message' not in groups:
    raise LogjaxError(
      'data.pattern: no group is named message: write (?<message>...) around the text of a line'
    )
  if unknown := [group for group in groups if group not in FIELDS]:
    raise LogjaxError(
      f'data.pattern: the group name {unknown[0]!r} is unknown: choose from {", ".join(FIELDS)}, '
      'and write (?:...) around what is not needed'
    )
  if 'time' in groups and not time_format:
    raise LogjaxError(
      "data.time_format: is empty, but data.pattern has the group time: set it to 'epoch' or "
      "to a format such as '%Y-%m-%d %H:%M:%S'"
    )
  if time_format and 'time' not in groups:
    raise LogjaxError(
      'data.time_format: is set, but data.pattern has no group time: write (?<time>...) around '
      'the time of a line'
    )
  if time_format not in ('', 'epoch'):
    _check_time_format(time_format)


def _check_time_format(time_format: str) -> None:
  """Raises LogjaxError unless a moment written in the format is read back with its day."""
  if '%f' in time_format:
    raise LogjaxError(
      f'data.time_format: %f in {time_format!r} counts nanoseconds: write %.f for a fraction after '
      'a point, or %3f or %6f for three or six digits after another mark'
    )
  moment = pl.Series('time', [datetime(2004, 2, 3, 16, 5, 6, tzinfo=UTC)])
  try:
    again = moment.dt.strftime(time_format).to_frame().select(microseconds(time_format))['time']
  except pl.exceptions.PolarsError as error:
    raise LogjaxError(
      f'data.time_format: {time_format!r} cannot be read ({str(error).splitlines()[0]})'
    ) from error
  # A split by time would mix the lines of different days if the day were unknown.
  if again.cast(pl.Datetime('us')).dt.strftime('%m-%d').item() != '02-03':
    raise LogjaxError(
      f'data.time_format: {time_format!r} has no day: let the group time take the date and the '
      'time of day, or leave out both'
    )


def microseconds(time_format: str) -> pl.Expr:
  """Returns the column `time` as microseconds since 1970 UTC, Int64, null if unreadable.

  A format without a year is read in the year 2000, so only the order within a year is true.
  """
  time = pl.col('time')
  if time_format == 'epoch':
    return (time.cast(pl.Float64, strict=False) * 1e6).round().cast(pl.Int64, strict=False)
  if not _HAS_YEAR.search(time_format):
    time = pl.lit(f'{_YEAR} ') + time
    time_format = f'%Y {time_format}'
  return (
    time.alias('time').str.to_datetime(time_format, time_unit='us', strict=False).dt.epoch('us')
  )
