"""What a process parsed of the log, and how the shares of several processes become the whole."""

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import polars as pl


class Parsed(NamedTuple):
  """What was found in some blocks of lines.

  Attributes:
    frame: the lines that fit, as in `Logs`.
    rejected: the first of those that do not: file, line and text.
    lines: how many lines each file has, by its path, in reading order.
    unfit: how many do not fit.
    notes: further counts, as in `Logs`.
  """

  frame: pl.DataFrame
  rejected: pl.DataFrame
  lines: dict[str, int]
  unfit: int
  notes: dict[str, int]


def join_shares(mine: Parsed, gather: Callable[[bytes], list[bytes]]) -> Parsed:
  """Returns what all processes parsed together, equal on all of them.

  Args:
    mine: what this process parsed of its `Share` of the files.
    gather: returns the bytes that every process gives, in their order.
  """
  shares = [_unpacked(data) for data in gather(_packed(mine))]
  files = list(shares[0].lines)  # the first share has a block of every file
  before, notes = Counter[str](), Counter[str]()
  for number, share in enumerate(shares):
    placed = [_placed(table, list(share.lines), files, before) for table in share[:2]]
    shares[number] = share._replace(frame=placed[0], rejected=placed[1])
    before.update(share.lines)
    notes.update(share.notes)
  return Parsed(
    frame=_in_order([share.frame for share in shares]),
    rejected=_in_order([share.rejected for share in shares]),
    lines={file: before[file] for file in files},
    unfit=sum(share.unfit for share in shares),
    notes=dict(notes),
  )


def _in_order(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
  """All rows, those of a file together and in its order."""
  return pl.concat(tables).sort('file', maintain_order=True)


def _placed(
  table: pl.DataFrame, own: Sequence[str], files: Sequence[str], before: Counter[str]
) -> pl.DataFrame:
  """Rows of one share with the numbers that files and lines have in the whole."""
  index = pl.Series([files.index(file) for file in own], dtype=pl.Int32)
  begin = pl.Series([before[file] for file in own], dtype=pl.Int64)
  file = table['file']
  return table.with_columns(
    index.gather(file).alias('file'), (table['line'] + begin.gather(file)).alias('line')
  )


def _packed(parsed: Parsed) -> bytes:
  head = json.dumps([parsed.lines, parsed.unfit, parsed.notes]).encode()
  tables = [io.BytesIO(), io.BytesIO()]
  for table, file in zip(parsed[:2], tables, strict=True):
    table.write_ipc(file, compression='lz4')
  parts = [head, *(file.getvalue() for file in tables)]
  return b''.join(len(part).to_bytes(8, 'big') + part for part in parts)


def _unpacked(data: bytes) -> Parsed:
  parts = []
  while data:
    size = int.from_bytes(data[:8], 'big')
    parts.append(data[8 : 8 + size])
    data = data[8 + size :]
  head, *tables = parts
  return Parsed(*(pl.read_ipc(io.BytesIO(table)) for table in tables), *json.loads(head))
