"""What a process parsed of the log, and how the shares of several processes become the whole."""

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

_TABLES = ('frame', 'rejected', 'untimed')  # of Parsed; its other fields are ready for JSON


class Parsed(NamedTuple):
  """What was found in some blocks of lines.

  Attributes:
    frame: the lines that fit, as in `Logs`.
    rejected: the first of those that do not: file, line and text.
    untimed: some of those whose time cannot be read, the first one included: file, line and
      the text of that time.
    files: in reading order, the same files in every process, wherever they lie there.
    lines: how many each of them has.
    unfit: how many do not fit.
    notes: further counts, as in `Logs`.
  """

  frame: pl.DataFrame
  rejected: pl.DataFrame
  untimed: pl.DataFrame
  files: list[str]
  lines: list[int]
  unfit: int
  notes: dict[str, int]


def join_shares(mine: Parsed, gather: Callable[[bytes], list[bytes]]) -> Parsed:
  """Returns what all processes parsed together, equal on all of them.

  Args:
    mine: what this process parsed of its `Share` of the files.
    gather: returns the bytes that every process gives, in their order.
  """
  shares = [_unpacked(data) for data in gather(_packed(mine))]
  begin = np.zeros(len(mine.files), np.int64)
  notes = Counter[str]()
  for number, share in enumerate(shares):
    placed = {name: _placed(getattr(share, name), begin) for name in _TABLES}
    begin = begin + share.lines
    # A share may have nothing of a file that is not empty.
    notes.update({n: c for n, c in share.notes.items() if n != 'empty_files' or number == 0})
    shares[number] = share._replace(**placed)
  return Parsed(
    frame=_in_order([share.frame for share in shares]),
    rejected=_in_order([share.rejected for share in shares]),
    untimed=_in_order([share.untimed for share in shares]),
    files=shares[0].files,
    lines=begin.tolist(),
    unfit=sum(share.unfit for share in shares),
    notes=dict(notes),
  )


def _in_order(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
  """All rows, those of a file together and in its order."""
  return pl.concat(tables).sort('file', maintain_order=True)


def _placed(table: pl.DataFrame, begin: np.ndarray) -> pl.DataFrame:
  """Rows of one share with the line numbers that they have in the whole files."""
  return table.with_columns(line=table['line'] + pl.Series(begin).gather(table['file']))


def _packed(parsed: Parsed) -> bytes:
  fields = parsed._asdict()
  files = [fields.pop(name).write_ipc(None, compression='lz4') for name in _TABLES]
  parts = [json.dumps(fields).encode(), *(file.getvalue() for file in files)]
  return b''.join(len(part).to_bytes(8, 'big') + part for part in parts)


def _unpacked(data: bytes) -> Parsed:
  parts = []
  while data:
    size = int.from_bytes(data[:8], 'big')
    parts.append(data[8 : 8 + size])
    data = data[8 + size :]
  head, *files = parts
  tables = (pl.read_ipc(io.BytesIO(file)) for file in files)
  return Parsed(**dict(zip(_TABLES, tables, strict=True)), **json.loads(head))
