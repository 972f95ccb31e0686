"""From lines of text to the columns of a log, and what is odd about lines that do not fit."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from logjax.corpora.fields import microseconds
from logjax.corpora.formats import FORMATS, LogFormat
from logjax.corpora.labels import LineLabels
from logjax.corpora.reading import CONTROLS, Block, file_name
from logjax.corpora.shares import Parsed, join_shares
from logjax.errors import LogjaxError

MESSAGE_LIMIT = 65_536  # characters kept of a message
_NAME_LIMIT = 1_000  # characters kept of a label and of a node
REJECTED_LINES = 100_000  # kept of those that do not fit; the others are only counted
_REJECTED_LIMIT = 200  # characters kept of a rejected line
_SHOWN_LIMIT = 120  # characters shown of a rejected line
_LABELS_SHOWN = 5  # most frequent labels that are shown where none is the normal one
_FIELD_SHOWN_LIMIT = 40  # characters shown of a label and of a time

_LIMITS = {'message': MESSAGE_LIMIT, 'label': _NAME_LIMIT, 'node': _NAME_LIMIT}
_COLUMNS = ('message', 'abnormal', 'label', 'time', 'node', 'file', 'line')


@dataclass(frozen=True, eq=False)
class Logs:
  """The lines of one or several log files, N of which fit the format.

  Attributes:
    frame: `[N]` rows in reading order: message String, abnormal Boolean, label String (alert
      category, null where normal or unknown), time Int64 (microseconds since 1970 UTC, null where
      unknown), node String (null where unknown), file Int32 (index into `files`), line Int64
      (1-based).
    files: the names of the files in reading order, as `file_name` shows them.
    lines: all lines read, rejected and empty ones included.
    unfit: how many lines do not fit, so that N + unfit + notes['empty'] is `lines`.
    rejected: file, line and text (its first 200 characters) of those that do not fit, the first
      100,000 of them.
    notes: how many lines are 'empty', 'undecodable' (not UTF-8), 'nul' (hold NUL bytes), 'crlf'
      (end with a carriage return), 'cut' (message longer than 65,536 characters, label or node
      than 1,000) or 'untimed' (time not readable), and how many of the files are 'empty_files'.
    labelled: False when nothing says which lines are abnormal; all count as normal then.
  """

  frame: pl.DataFrame
  files: tuple[str, ...]
  lines: int
  unfit: int
  rejected: pl.DataFrame
  notes: dict[str, int]
  labelled: bool


def parse_blocks(
  blocks: Iterable[Block],
  log_format: LogFormat,
  *,
  labels: LineLabels,
  max_rejected: float,
  limit: int = 0,
  gather: Callable[[bytes], list[bytes]] | None = None,
) -> Logs:
  """Parses blocks of lines; keeps what fits, and the number and text of what does not.

  Args:
    blocks: as `read_blocks` yields them.
    log_format: what a line must look like.
    labels: what makes a line abnormal.
    max_rejected: the largest share of the lines that are not empty which may not fit, 0 to 1.
    limit: stop after so many lines; 0 reads all.
    gather: returns what each of several processes gives, where the blocks are a share of the lines
      and others parse the rest; all return all lines then.

  Raises:
    LogjaxError: when there is no line at all, when none fits, and when more than `max_rejected` do
      not fit. All lines are read before, so that the share is the true one, and the error carries
      the first 100,000 that do not fit, for `write_rejected_lines`. Also when no line has the
      label, or none the time, that the user's own format describes.
  """
  parsed = _parse(_first_lines(blocks, limit) if limit else blocks, log_format, labels)
  if gather is not None:
    parsed = join_shares(parsed, gather)
  lines, notes = sum(parsed.lines), parsed.notes
  if lines == notes.get('empty', 0):
    empty = f'{lines} empty lines and nothing else' if lines else 'nothing at all'
    names = ', '.join(map(file_name, parsed.files)) or 'no file'
    raise LogjaxError(f'{names}: holds {empty}: check --config.data.path')
  logs = Logs(
    frame=parsed.frame,
    files=tuple(map(file_name, parsed.files)),
    lines=lines,
    unfit=parsed.unfit,
    rejected=parsed.rejected.head(REJECTED_LINES),
    notes=notes,
    labelled=labels.kind != 'column' or 'label' in log_format.groups,
  )
  share = logs.unfit / (lines - notes['empty'])
  if share > max_rejected or not logs.frame.height:
    complaint = _complaint(logs, log_format, share, max_rejected)
    raise LogjaxError(complaint, rejected=_with_file_names(logs))
  if log_format.name not in FORMATS:
    _check_own(logs, log_format, labels, parsed.untimed)
  return logs


def _check_own(
  logs: Logs, log_format: LogFormat, labels: LineLabels, untimed: pl.DataFrame
) -> None:
  """Checks that some line has the normal label, and some a time, that a user describes."""
  label, shown = logs.frame['label'], pl.col('text').str.head(_FIELD_SHOWN_LIMIT)
  by_column = labels.kind == 'column' and 'label' in log_format.groups
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


def _parse(blocks: Iterable[Block], log_format: LogFormat, labels: LineLabels) -> Parsed:
  """Parses blocks one by one."""
  fit, unfit, unread, _ = _parse_block(Block('', 1, []), 0, log_format, labels)
  kept, rejected, untimed = [fit], [unfit], [unread]  # there may be no block at all
  notes, lines = Counter[str](), Counter[str]()
  files: dict[str, int] = {}
  unfit_lines = 0
  for block in blocks:
    file = files.setdefault(block.file, len(files))
    fit, unfit, unread, counts = _parse_block(block, file, log_format, labels)
    kept.append(fit)
    untimed.append(unread)
    # With the wrong format none of the lines fits, and there may be more than the memory can hold.
    rejected.append(unfit.head(max(0, REJECTED_LINES - unfit_lines)))
    unfit_lines += unfit.height
    notes.update(counts)
    lines[block.file] += len(block.lines)
  tables = pl.concat(kept), pl.concat(rejected), pl.concat(untimed)
  return Parsed(*tables, list(files), [lines[file] for file in files], unfit_lines, dict(notes))


def _first_lines(blocks: Iterable[Block], limit: int) -> Iterator[Block]:
  """Yields blocks until they hold `limit` lines, the last one cut."""
  for block in blocks:
    yield block._replace(lines=block.lines[:limit])
    limit -= len(block.lines)
    if limit <= 0:
      return


def _parse_block(
  block: Block, file: int, log_format: LogFormat, labels: LineLabels
) -> tuple[pl.DataFrame, pl.DataFrame, pl.DataFrame, dict[str, int]]:
  """One block's rows that fit, those that do not, and the counts for `Logs.notes`.

  Before the counts the first row whose time cannot be read, if there is one, that time as its text.
  """
  raw = pl.DataFrame({'text': block.lines}, schema={'text': pl.String})
  text = pl.col('text')
  counts = raw.select(
    crlf=text.str.ends_with('\r').sum(),
    nul=text.str.contains('\0', literal=True).sum(),
    undecodable=text.str.contains('\ufffd', literal=True).sum(),
    empty=(text.str.strip_chars() == '').sum(),
    empty_files=(pl.len() == 0).cast(pl.UInt32),
  ).row(0, named=True)
  rows = raw.select(
    text.str.strip_chars_end('\r').str.replace_all('\0', '\ufffd', literal=True),
    file=pl.lit(file, pl.Int32),
    line=block.first_line + pl.int_range(pl.len(), dtype=pl.Int64),
  ).with_columns(text.str.extract_groups(log_format.whole_line).struct.field(*log_format.groups))
  full = text.str.strip_chars() != ''
  fit = rows.filter(full & pl.col('message').is_not_null())
  unfit = rows.filter(full & pl.col('message').is_null())
  kept = _columns(fit, block.file, log_format, labels)
  limits = {name: limit for name, limit in _LIMITS.items() if name in fit.columns}
  too_long = [pl.col(name).str.len_chars() > limit for name, limit in limits.items()]
  counts['cut'] = fit.select(pl.any_horizontal(too_long).sum()).item()
  counts['untimed'] = kept['time'].null_count() if log_format.time_format else 0
  untimed = fit.clear()
  if log_format.time_format:
    untimed = fit.filter(kept['time'].is_null()).head(1)
    untimed = untimed.with_columns(text=pl.col('time').fill_null(''))
  short = ('file', 'line', _begin(text, _REJECTED_LIMIT))
  return kept, unfit.select(short), untimed.select(short), counts


def _columns(
  fit: pl.DataFrame, file: str, log_format: LogFormat, labels: LineLabels
) -> pl.DataFrame:
  """The columns of `Logs.frame` from the groups of the lines that fit."""
  columns = [_begin(pl.col('message'), MESSAGE_LIMIT)]
  if 'node' in fit.columns:
    columns.append(_begin(pl.col('node'), _NAME_LIMIT))
  if 'label' in fit.columns:
    label = pl.col('label')
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
  """The first characters of texts, copied: a part of a text in Polars keeps all of it in memory."""
  return text.str.head(limit) + ''


def _complaint(logs: Logs, log_format: LogFormat, share: float, max_rejected: float) -> str:
  """What a user is told whose lines do not fit: the counts, what to do, and three of the lines."""
  first = logs.rejected.head(3)
  text = pl.col('text')
  fitting = [
    name
    for name, other in FORMATS.items()
    if first.select(text.str.contains(other.whole_line).all()).item()
  ]
  known = f'{fitting[0]} fits them' if fitting else ', '.join((*FORMATS, 'own'))
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
  shown = first.select('file', 'line', _visible(text).str.head(_SHOWN_LIMIT))
  lines += [f'  {logs.files[file]}:{line}: {text}' for file, line, text in shown.iter_rows()]
  return '\n'.join(lines)


def write_rejected(logs: Logs, path: Path) -> None:
  """Writes the lines of some logs that do not fit, as `write_rejected_lines` does."""
  write_rejected_lines(_with_file_names(logs), path)


def write_rejected_lines(rejected: pl.DataFrame, path: Path) -> None:
  """Writes lines that do not fit as file, line number and text, separated by tabs.

  Control characters are written as escapes, so that a line stays a line.

  Args:
    rejected: file (its name), line and text, as a `LogjaxError` of `parse_blocks` carries them.
    path: of the file to write.
  """
  rejected.select(_visible(pl.col('file')), 'line', _visible(pl.col('text'))).write_csv(
    path, separator='\t', quote_style='never'
  )


def _with_file_names(logs: Logs) -> pl.DataFrame:
  """The rejected lines with names of files in place of their indices."""
  names = pl.lit(pl.Series('file', logs.files, dtype=pl.String))
  return logs.rejected.with_columns(file=names.gather(pl.col('file')))


def _visible(text: pl.Expr) -> pl.Expr:
  """Text with control characters as escapes: a terminal must not obey what a log holds."""
  return text.str.replace_many(CONTROLS)
