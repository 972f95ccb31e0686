"""Reads log files as blocks of decoded lines.

Files are read and decoded a chunk at a time, so the memory does not grow with their size. Lines are
not judged here: `parsing.py` decides if they fit a format.
"""

import codecs
import gzip
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from logjax.errors import LogjaxError

CHUNK_BYTES = 16 * 2**20  # unpacked bytes that are decoded at a time
_PIECE_BYTES = 256 * 2**10  # unpacked bytes that one read asks for

_GZIP_MAGIC = b'\x1f\x8b'
_GZIP_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)

# Files that are often given in place of a log: kind, offset and bytes at that offset. As text each
# would be one long complaint about lines that do not fit.
_OTHER_FILES = (
  ('a zip archive', 0, b'PK\x03\x04'),
  ('packed with bzip2', 4, b'1AY&SY'),
  ('packed with xz', 0, b'\xfd7zXZ\x00'),
  ('packed with zstd', 0, b'\x28\xb5\x2f\xfd'),
  ('a tar archive', 257, b'ustar'),
  ('UTF-16 text', 0, codecs.BOM_UTF16_LE),
  ('UTF-16 text', 0, codecs.BOM_UTF16_BE),
)

_ESCAPES = {code: f'\\x{code:02x}' for code in (*range(32), *range(127, 160))}
_ESCAPES |= {ord('\t'): '\\t', ord('\r'): '\\r', ord('\n'): '\\n'}


def visible(text: str) -> str:
  """Replaces control characters by escapes such as `\\x1b`, so no terminal obeys a log."""
  return text.translate(_ESCAPES)


def file_name(path: Path | str) -> str:
  """Returns the name of a file as one printable line; bytes outside of UTF-8 become U+FFFD."""
  return visible(os.fsencode(path).decode('utf-8', errors='replace'))


class Block(NamedTuple):
  """Consecutive lines of one file, some thousand of them.

  Attributes:
    file: path of the file.
    first_line: number of the first line, from 1.
    lines: decoded from UTF-8, with U+FFFD for undecodable bytes, without the newline. A carriage
      return before the newline is kept: `parse_blocks` strips and counts it. An empty file gives
      one block without lines.
  """

  file: str
  first_line: int
  lines: list[str]


def read_blocks(paths: Sequence[Path], lines_per_block: int = 65_536) -> Iterator[Block]:
  """Reads log files one after the other, lazily and in bounded memory.

  Args:
    paths: plain or gzip files, recognised by their first bytes and not by their names.
    lines_per_block: maximum number of lines in a block. Blocks at the end of a chunk have fewer.

  Yields:
    Blocks in the order of the files and of their lines, at least one for every file. If a file is
    damaged, all lines before the damage come before the error. A line longer than 16 MiB may lose
    its middle.

  Raises:
    LogjaxError: for a path that cannot be read, for a damaged gzip file (with the number of the
      last line that could be unpacked), and for a file of another kind.
  """
  for path in paths:
    yield from _read_file(Path(path), lines_per_block)


def _read_file(path: Path, lines_per_block: int) -> Iterator[Block]:
  """Yields the blocks of one file; turns errors of the system into LogjaxErrors."""
  first_line, name = 1, file_name(path)
  try:
    # Opening a named pipe would wait for its writer, perhaps for ever.
    if path.exists() and not (path.is_file() or path.is_dir()):
      raise LogjaxError(f'{name}: is a pipe or a device: write its lines to a file and name that')
    with path.open('rb') as file:
      for text in _whole_lines(_chunks(file, name)):
        # Not splitlines(): it also splits at form feeds, U+2028 and others inside of a line.
        lines = text.decode('utf-8', errors='replace').split('\n')
        for start in range(0, len(lines), lines_per_block):
          block = Block(str(path), first_line, lines[start : start + lines_per_block])
          yield block
          first_line += len(block.lines)
  except _GZIP_DAMAGE as error:  # before OSError, the base class of BadGzipFile
    reason = ' '.join(str(error).split())
    raise LogjaxError(
      f'{name}: the gzip file is cut short or damaged after line {first_line - 1} '
      f'({reason}): get the file again, or unpack what is left of it with gzip -dc'
    ) from error
  except IsADirectoryError as error:
    raise LogjaxError(
      f'{name}: is a directory: name the files in it, for example {name}/*.log'
    ) from error
  except FileNotFoundError as error:
    raise LogjaxError(f'{name}: there is no such file: check --config.data.path') from error
  except OSError as error:
    raise LogjaxError(
      f'{name}: cannot be read ({error.strerror}): check the path and its permissions'
    ) from error
  if first_line == 1:
    yield Block(str(path), 1, [])


def _whole_lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
  """Regroups chunks to end at the end of a line, without its newline."""
  rest = b''  # the begin of a line that the chunks so far have not ended
  for chunk in chunks:
    complete, newline, tail = chunk.rpartition(b'\n')
    if newline:
      yield rest + complete
      rest = tail
    else:
      # A chunk without a newline: of an endless line only the begin and the last chunk are kept.
      rest = (rest + tail)[:CHUNK_BYTES]
  if rest:
    yield rest


def _chunks(file: BinaryIO, name: str) -> Iterator[bytes]:
  """Yields the unpacked bytes of a file, CHUNK_BYTES or a little more at a time.

  Raises:
    LogjaxError: if the file is neither text nor packed text.
  """
  packed = file.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
  # GzipFile and not zlib, because a gzip file may have several members.
  chunks = _fill_chunks(gzip.GzipFile(fileobj=file) if packed else file)
  first = next(chunks)
  for kind, offset, magic in _OTHER_FILES:
    if first.startswith(magic, offset):
      raise LogjaxError(
        f'{name}: is {kind}, and only plain UTF-8 text and gzip files are read: '
        'convert or unpack it first'
      )
  yield first.removeprefix(codecs.BOM_UTF8)
  yield from chunks


def _fill_chunks(stream: BinaryIO) -> Iterator[bytes]:
  """Collects reads into chunks, at least one; yields the bytes before a damage before raising."""
  pieces: list[bytes] = []
  size = 0
  damage = None
  try:
    while piece := stream.read1(_PIECE_BYTES):
      pieces.append(piece)
      size += len(piece)
      if size >= CHUNK_BYTES:
        yield b''.join(pieces)
        pieces, size = [], 0
  except _GZIP_DAMAGE as error:
    damage = error
  yield b''.join(pieces)
  if damage is not None:
    raise damage
