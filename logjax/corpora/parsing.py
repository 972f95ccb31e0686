"""Parses lines of text into the columns of a log, and explains lines that do not fit."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import polars as pl

from logjax.corpora.catalog import CATALOG, LogFormat
from logjax.corpora.fields import microseconds, named_groups
from logjax.corpora.labels import LineLabels
from logjax.corpora.reading import Block, file_name, visible
from logjax.errors import LogjaxError

MESSAGE_LIMIT = 65_536  # characters kept of a message
_NAME_LIMIT = 1_000  # characters kept of a label and of a node
REJECTED_LINES = 100_000  # lines kept of those that do not fit; the others are only counted
_REJECTED_LIMIT = 200  # characters kept of a rejected line
_SHOWN_LIMIT = 120  # characters of a rejected line shown in an error
_LABELS_SHOWN = 5  # labels shown in an error if none is the normal one
_FIELD_SHOWN_LIMIT = 40  # characters of a label and of a time shown in an error

_LIMITS = {'message': MESSAGE_LIMIT, 'label': _NAME_LIMIT, 'node': _NAME_LIMIT}
_COLUMNS = ('message', 'abnormal', 'label', 'time', 'node', 'file', 'line')


@dataclass(frozen=True, eq=False)
class Logs:
  """The lines of one or several log files; N of them fit the format.

  Attributes:
    frame: `[N]` rows in reading order: message String, abnormal Boolean, label String (alert
      category, null if normal or unknown), time Int64 (microseconds since 1970 UTC, null if
      unknown), node String (null if unknown), file Int32 (index into `files`), line Int64 (from 1).
    files: names of the files in reading order, as returned by `file_name`.
    lines: number of all lines read, rejected and empty ones included. It equals
      N + unfit + notes['empty'].
    unfit: number of lines that do not fit.
    rejected: file, line and text (its first 200 characters) of the first 100,000 of them.
    notes: numbers of lines: 'empty', 'undecodable' (not UTF-8), 'nul' (with NUL bytes),
      'crlf' (with a carriage return at the end), 'cut' (message longer than 65,536 characters,
      label or node than 1,000) or 'untimed' (time not readable), and the number of 'empty_files'.
    labelled: False if nothing labels the lines; all count as normal then.
  """

  frame: pl.DataFrame
  files: tuple[str, ...]
  lines: int
  unfit: int
  rejected: pl.DataFrame
  notes: dict[str, int]
  labelled: bool


class _Parsed(NamedTuple):
  """One parsed block.

  Attributes:
    frame: lines that fit, as in `Logs`.
    rejected: file, line and text of all lines that do not fit.
    untimed: file, line and time (as `text`) of the first line with an unreadable time; at most one.
    notes: as in `Logs`.
  """

  frame: pl.DataFrame
  rejected: pl.DataFrame
  untimed: pl.DataFrame
  notes: dict[str, int]


def parse_blocks(
  blocks: Iterable[Block],
  log_format: LogFormat,
  *,
  labels: LineLabels,
  max_rejected: float,
  limit: int = 0,
) -> Logs:
  """Parses blocks of lines; keeps the lines that fit, and a sample of the others.

  Args:
    blocks: as `read_blocks` yields them.
    log_format: the layout of the lines.
    labels: the rule for abnormal lines.
    max_rejected: maximum share of the lines that may not fit, 0 to 1; empty lines do not count.
    limit: maximum number of lines to read; 0 reads all.

  Raises:
    LogjaxError: if there is no line, if none fits, and if more do not fit than `max_rejected`
      allows. All lines are read first, so the share is exact. The error carries the first 100,000
      lines that do not fit, for `write_rejected_lines`. Also if no line has the normal label, or
      none the time, of the user's own format.
  """
  if limit:
    blocks = _first_lines(blocks, limit)
  logs, untimed = _parse(blocks, log_format, labels)
  if logs.lines == logs.notes['empty']:
    empty = f'{logs.lines} empty lines and nothing else' if logs.lines else 'nothing at all'
    names = ', '.join(logs.files) or 'no file'
    raise LogjaxError(f'{names}: holds {empty}: check --config.data.path')
  share = logs.unfit / (logs.lines - logs.notes['empty'])
  if share > max_rejected or not logs.frame.height:
    complaint = _complaint(logs, log_format, share, max_rejected)
    raise LogjaxError(complaint, rejected=_with_file_names(logs))
  if log_format.name not in CATALOG:
    _check_own(logs, log_format, labels, untimed)
  return logs


def _check_own(
  logs: Logs, log_format: LogFormat, labels: LineLabels, untimed: pl.DataFrame
) -> None:
  """Raises LogjaxError if no line has the normal label, or none a time, of a user's format."""
  label, shown = logs.frame['label'], pl.col('text').str.head(_FIELD_SHOWN_LIMIT)
  by_column = labels.kind == 'column' and 'label' in named_groups(log_format.whole_line)
  if by_column and not label.null_count():
    counts = label.alias('text').value_counts().sort(['count', 'text'], descending=[True, False])
    top = counts.head(_LABELS_SHOWN).select(shown, 'count')
    found = ', '.join(f'{text!r} ({count:,})' for text, count in top.iter_rows())
    found += ', ...' if counts.height > _LABELS_SHOWN else ''
    raise LogjaxError(
      f'no line has the label {log_format.normal_label!r}, which data.normal_label calls normal: '
      f'the lines have {found}: name the normal one in --config.data.normal_label'
    )
  if log_format.time_format and logs.notes['untimed'] == logs.frame.height:
    file, line, text = untimed.select('file', 'line', shown).row(0)
    raise LogjaxError(
      f'{logs.files[file]}:{line}: the time {text!r} cannot be read as {log_format.time_format!r}, '
      'nor can that of any other line: correct --config.data.time_format, or leave it empty and '
      'write the group time of --config.data.pattern as (?:...)'
    )


def _parse(
  blocks: Iterable[Block], log_format: LogFormat, labels: LineLabels
) -> tuple[Logs, pl.DataFrame]:
  """Parses blocks one by one; returns the logs, perhaps without a line, and `_Parsed.untimed`."""
  # There may be no block at all: an empty one gives the tables their columns.
  parts = [_parse_block(Block('', 1, []), 0, log_format, labels)]
  notes = Counter(dict.fromkeys(parts[0].notes, 0))
  files: dict[str, int] = {}
  lines = unfit = 0
  for block in blocks:
    file = files.setdefault(block.file, len(files))  # a new file gets the next index
    part = _parse_block(block, file, log_format, labels)
    notes.update(part.notes)
    lines += len(block.lines)
    # With a wrong format no line fits, and memory may be too small to keep them all.
    room = max(0, REJECTED_LINES - unfit)
    unfit += part.rejected.height
    parts.append(part._replace(rejected=part.rejected.head(room)))
  logs = Logs(
    frame=pl.concat([part.frame for part in parts]),
    files=tuple(map(file_name, files)),
    lines=lines,
    unfit=unfit,
    rejected=pl.concat([part.rejected for part in parts]),
    notes=dict(notes),
    labelled=labels.kind != 'column' or 'label' in named_groups(log_format.whole_line),
  )
  return logs, pl.concat([part.untimed for part in parts])


def _first_lines(blocks: Iterable[Block], limit: int) -> Iterator[Block]:
  """Yields blocks until they have `limit` lines; cuts the last one."""
  for block in blocks:
    yield block._replace(lines=block.lines[:limit])
    limit -= len(block.lines)
    if limit <= 0:
      return


def _parse_block(block: Block, file: int, log_format: LogFormat, labels: LineLabels) -> _Parsed:
  """Parses one block; `file` is the index of its file."""
  raw = pl.DataFrame({'text': block.lines}, schema={'text': pl.String})
  text = pl.col('text')
  notes = raw.select(
    crlf=text.str.ends_with('\r').sum(),
    nul=text.str.contains('\0', literal=True).sum(),
    undecodable=text.str.contains('\ufffd', literal=True).sum(),
    empty=(text.str.strip_chars() == '').sum(),
    empty_files=(pl.len() == 0).cast(pl.UInt32),
  ).row(0, named=True)
  groups = named_groups(log_format.whole_line)
  rows = raw.select(
    text.str.strip_chars_end('\r').str.replace_all('\0', '\ufffd', literal=True),
    file=pl.lit(file, pl.Int32),
    line=block.first_line + pl.int_range(pl.len(), dtype=pl.Int64),
  ).with_columns(text.str.extract_groups(log_format.whole_line).struct.field(*groups))
  # The message is null if the line does not match, or matches without an optional message.
  full = text.str.strip_chars() != ''
  fit = rows.filter(full & pl.col('message').is_not_null())
  unfit = rows.filter(full & pl.col('message').is_null())
  frame = _columns(fit, block.file, log_format, labels)
  # What is cut in `_columns` is counted here.
  limits = {name: limit for name, limit in _LIMITS.items() if name in groups}
  too_long = [pl.col(name).str.len_chars() > limit for name, limit in limits.items()]
  notes['cut'] = fit.select(pl.any_horizontal(too_long).sum()).item()
  notes['untimed'] = frame['time'].null_count() if log_format.time_format else 0
  untimed = fit.clear()  # the same columns without a row
  if log_format.time_format:
    untimed = fit.filter(frame['time'].is_null()).head(1)
    untimed = untimed.with_columns(text=pl.col('time').fill_null(''))
  short = ('file', 'line', _begin(text, _REJECTED_LIMIT))
  return _Parsed(frame, unfit.select(short), untimed.select(short), notes)


def _columns(
  fit: pl.DataFrame, file: str, log_format: LogFormat, labels: LineLabels
) -> pl.DataFrame:
  """Makes the columns of `Logs.frame` from the groups of fitting lines."""
  columns = [_begin(pl.col('message'), MESSAGE_LIMIT)]
  if 'node' in fit.columns:
    columns.append(_begin(pl.col('node'), _NAME_LIMIT))
  if 'label' in fit.columns:
    label = pl.col('label')
    # The normal label becomes null.
    columns.append(pl.when(label != log_format.normal_label).then(_begin(label, _NAME_LIMIT)))
  if 'time' in fit.columns:
    columns.append(microseconds(log_format.time_format))
  fit = fit.with_columns(columns)
  fit = fit.with_columns(labels.abnormal(file, fit.columns).alias('abnormal'))
  absent = {'label': pl.String, 'time': pl.Int64, 'node': pl.String}
  return fit.with_columns(
    pl.lit(None, dtype).alias(name) for name, dtype in absent.items() if name not in fit.columns
  ).select(_COLUMNS)


def _begin(text: pl.Expr, limit: int) -> pl.Expr:
  """Returns copies of the first characters of texts.

  Without the copy (`+ ''`) Polars would keep the whole text in memory for a part of it.
  """
  return text.str.head(limit) + ''


def _complaint(logs: Logs, log_format: LogFormat, share: float, max_rejected: float) -> str:
  """Explains lines that do not fit: their number, the remedy, and the first three."""
  first = logs.rejected.head(3)
  text = pl.col('text')
  fitting = [
    name
    for name, entry in CATALOG.items()
    if first.select(text.str.contains(entry.format.whole_line).all()).item()
  ]
  known = f'{fitting[0]} fits them' if fitting else ', '.join((*CATALOG, 'own'))
  advice = (
    f'choose the format with --config.data.corpus ({known}), or describe the lines with '
    '--config.data.corpus=own, --config.data.pattern and, where they have a time, '
    '--config.data.time_format'
  )
  if logs.frame.height:
    summary = (
      f'{logs.unfit:,} of {logs.unfit + logs.frame.height:,} lines ({100 * share:.3g} %) '
      f'{"does" if logs.unfit == 1 else "do"} not fit the format {log_format.name}, and '
      f'data.max_rejected allows {100 * max_rejected:.3g} %: {advice}, or allow more with '
      '--config.data.max_rejected'
    )
  else:
    summary = f'no line of {logs.unfit:,} fits the format {log_format.name}: {advice}'
  lines = [summary, f'  expected: {log_format.example or log_format.pattern}']
  for file, line, rejected in first.iter_rows():
    lines.append(f'  {logs.files[file]}:{line}: {visible(rejected)[:_SHOWN_LIMIT]}')
  return '\n'.join(lines)


def write_rejected(logs: Logs, path: Path) -> None:
  """Writes the lines of some logs that do not fit, as `write_rejected_lines` does."""
  write_rejected_lines(_with_file_names(logs), path)


def write_rejected_lines(rejected: pl.DataFrame, path: Path) -> None:
  """Writes lines that do not fit as file, line number and text, separated by tabs.

  Control characters are written as escapes, so a line stays a line.

  Args:
    rejected: file (its name), line and text, as carried by a `LogjaxError` of `parse_blocks`.
    path: of the file to write.
  """
  texts = pl.Series('text', map(visible, rejected['text']), pl.String)
  rejected.select('file', 'line', texts).write_csv(path, separator='\t', quote_style='never')


def _with_file_names(logs: Logs) -> pl.DataFrame:
  """Returns the rejected lines with names of files in place of their indices."""
  names = pl.lit(pl.Series('file', logs.files, dtype=pl.String))
  return logs.rejected.with_columns(file=names.gather(pl.col('file')))
