"""The fields of a line: the named groups of a regular expression, and how a time is read.

Patterns run on whole columns of lines in Polars. Its engine is Rust's, which never backtracks: no
line takes more time than in proportion to its length, and look-around and backreferences do not
exist. Times follow chrono's formats, which are almost those of strptime.
"""

import re
from datetime import UTC, datetime

import polars as pl

from logjax.errors import LogjaxError

FIELDS = ('message', 'label', 'time', 'node')

# Many logs, syslog's among them, leave out the year. Theirs is unknown; this one has a 29 February.
_YEAR = '2000'
_TELLS_YEAR = re.compile('%[-_0]?[YyCGgcxDFsv+]')


def named_groups(pattern: str) -> tuple[str, ...]:
  """The named groups of a pattern, in its order.

  Raises:
    LogjaxError: for a pattern that the engine cannot compile, with its reason in one line.
  """
  try:
    groups = pl.col('text').str.extract_groups(pattern)
    (struct,) = pl.DataFrame(schema={'text': pl.String}).select(groups).dtypes
  except pl.exceptions.PolarsError as error:
    raise LogjaxError(f'data.pattern: {_regex_mistake(error)}') from error
  return tuple(field.name for field in struct.fields if not field.name.isdecimal())


def _regex_mistake(error: Exception) -> str:
  """The last line of the engine's explanation, which says what is wrong, as advice."""
  mistake = str(error).strip().splitlines()[-1]
  mistake = mistake.removeprefix('error: ').removeprefix('regex error: ')
  if 'look-around' in mistake or 'backreference' in mistake:
    return (
      'the engine never backtracks, so look-around such as (?=...) and (?<!...) and '
      f'backreferences such as \\1 do not exist in it: write the pattern without them ({mistake})'
    )
  return f'this is not a regular expression: {mistake}'


def check_fields(groups: tuple[str, ...], time_format: str) -> None:
  """Checks that the groups of a user's pattern can be used, and that its time can be read.

  Raises:
    LogjaxError: without a group named message, for a group that means nothing here, for a time
      group without a format or the reverse, and for a format in which a moment that was written
      cannot be read back.
  """
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
      "data.time_format: is empty though data.pattern has the group time: set it to 'epoch' or "
      "to a format such as '%Y-%m-%d %H:%M:%S'"
    )
  if time_format and 'time' not in groups:
    raise LogjaxError(
      'data.time_format: is set though data.pattern has no group time: write (?<time>...) around '
      'the time of a line'
    )
  if time_format not in ('', 'epoch'):
    _check_time_format(time_format)


def _check_time_format(time_format: str) -> None:
  if '%f' in time_format:
    raise LogjaxError(
      f'data.time_format: %f in {time_format!r} counts nanoseconds: write %.f for a fraction with '
      'its point, or %3f or %6f for so many digits after another mark'
    )
  moment = pl.Series('time', [datetime(2004, 2, 3, 16, 5, 6, tzinfo=UTC)])
  try:
    again = moment.dt.strftime(time_format).to_frame().select(microseconds(time_format))['time']
  except pl.exceptions.PolarsError as error:
    raise LogjaxError(
      f'data.time_format: {time_format!r} cannot be read ({str(error).splitlines()[0]})'
    ) from error
  # Without the day, lines of different days would be mixed.
  if again.cast(pl.Datetime('us')).dt.strftime('%m-%d').item() != '02-03':
    raise LogjaxError(
      f'data.time_format: {time_format!r} does not tell the day: let the group time take the date '
      'and the time of day, or leave out both'
    )


def microseconds(time_format: str) -> pl.Expr:
  """The column `time` as microseconds since 1970 UTC, Int64; null where it cannot be read.

  A format without a year is read as of the year 2000, so that only the order within a year is true.
  """
  time = pl.col('time')
  if time_format == 'epoch':
    return (time.cast(pl.Float64, strict=False) * 1e6).round().cast(pl.Int64, strict=False)
  if not _TELLS_YEAR.search(time_format):
    time = pl.lit(f'{_YEAR} ') + time
    time_format = f'%Y {time_format}'
  return (
    time.alias('time').str.to_datetime(time_format, time_unit='us', strict=False).dt.epoch('us')
  )
