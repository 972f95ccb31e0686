"""From the bytes of log files to blocks of decoded lines.

Bytes are split and decoded a chunk at a time, so that memory does not grow with the file. Nothing
is judged here: which lines fit a format, and what is odd about them, is for `parsing.py` to say.
"""

import codecs
import errno
import gzip
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from logjax.errors import LogjaxError

# What a terminal would obey, as escapes.
CONTROLS = {chr(code): f'\\x{code:02x}' for code in (*range(32), *range(127, 160))}
CONTROLS |= {'\t': '\\t', '\r': '\\r', '\n': '\\n'}

# Bytes read (unpacked) at a time, and what is kept of a line that is still open at a chunk's end.
CHUNK_BYTES = 16 * 2**20
_PIECE_BYTES = 256 * 2**10

_GZIP_MAGIC = b'\x1f\x8b'
_GZIP_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile)

# What is given in place of a log file most often. Read as text, each would be one long complaint
# about lines that do not fit.
_NOT_LINES = {
  'a zip archive': re.compile(rb'PK\x03\x04'),
  'packed with bzip2': re.compile(rb'BZh[1-9]1AY&SY'),
  'packed with xz': re.compile(rb'\xfd7zXZ\x00'),
  'packed with zstd': re.compile(rb'\x28\xb5\x2f\xfd'),
  'a tar archive': re.compile(rb'.{257}ustar', re.DOTALL),
  'UTF-16 text': re.compile(rb'\xff\xfe|\xfe\xff'),
  'packed with gzip twice': re.compile(_GZIP_MAGIC),  # once is unpacked by now
}

# To open or to read one of these may take for ever, and a run that goes on reads its log again.
_NO_FILES = {
  'a named pipe': Path.is_fifo,
  'a socket': Path.is_socket,
  'a device': lambda path: path.is_char_device() or path.is_block_device(),
}


class Block(NamedTuple):
  """Some thousand consecutive lines of one file.

  Lines are decoded from UTF-8 with U+FFFD for every undecodable byte and have lost their newline. A
  carriage return before the newline is kept, for `parse_blocks` to strip and count. A file without
  a single byte gives one block without lines.
  """

  file: str
  first_line: int  # 1-based
  lines: list[str]


class Share(NamedTuple):
  """Which part of every file is read, of how many equal ones.

  A line belongs to the part in which it begins. A gzip file, which cannot be entered in its middle,
  belongs to the first part.

  Attributes:
    part: from 0.
    parts: how many.
    sizes: of the files in bytes, by which they are divided; needed for several parts. A log may
      grow, and whoever reads the parts must divide the same.
  """

  part: int
  parts: int
  sizes: tuple[int, ...] = ()

  def of(self, number: int) -> tuple[int, int | None]:
    """Where the part of a file begins and ends, in bytes; None for its end, wherever that is."""
    if self.parts == 1:
      return 0, None
    size = self.sizes[number]
    return -(-size * self.part // self.parts), -(-size * (self.part + 1) // self.parts)


WHOLE = Share(0, 1)


def read_blocks(
  paths: Sequence[Path], lines_per_block: int = 65_536, share: Share = WHOLE
) -> Iterator[Block]:
  """Reads log files one after the other, lazily and in bounded memory.

  Args:
    paths: plain or gzip files, told apart by their first bytes and not by their names.
    lines_per_block: the most lines a block may have. Blocks that end a chunk have fewer.
    share: which part of every file to read; lines are counted from its beginning then.

  Yields:
    Blocks in the order of the files and of their lines, at least one of every file. All lines
    before a damage are yielded before the damage is raised. Of a line longer than 16 MiB the middle
    may be missing.

  Raises:
    LogjaxError: for a path that cannot be read, a truncated or corrupt gzip file (with the last
      line that could be unpacked), and for files that hold no lines of text at all.
  """
  for number, path in enumerate(paths):
    yield from _read_file(Path(path), lines_per_block, share.of(number))


def file_name(path: Path | str) -> str:
  """The name of a file as text of one line, which may hold any bytes but one.

  Bytes that are not UTF-8 become U+FFFD and control characters escapes, as a name comes from
  whoever may write into a folder.
  """
  return os.fsencode(path).decode('utf-8', errors='replace').translate(str.maketrans(CONTROLS))


def _read_file(path: Path, lines_per_block: int, part: tuple[int, int | None]) -> Iterator[Block]:
  """Yields the blocks of one file, and turns what can go wrong on the way into a LogjaxError."""
  first_line, name = 1, file_name(path)
  try:
    for kind, is_kind in _NO_FILES.items():
      if is_kind(path):
        raise LogjaxError(
          f'{name}: is {kind}, and only files are read: write its lines to one and name that'
        )
    for text in _whole_lines(_chunks(path, part)):
      # Not splitlines(): it also splits at form feeds, U+2028 and others that a line may hold.
      lines = text.decode('utf-8', errors='replace').split('\n')
      for start in range(0, len(lines), lines_per_block):
        block = Block(str(path), first_line, lines[start : start + lines_per_block])
        yield block
        first_line += len(block.lines)
  except _GZIP_DAMAGE as error:  # before OSError, of which BadGzipFile is one
    raise LogjaxError(
      f'{name}: the gzip file is cut short or damaged after line {first_line - 1} '
      f'({_in_one_line(error)}): get the file again, or unpack what is left of it with gzip -dc'
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
  """Cuts chunks anew so that each ends with a line, whose newline is removed."""
  rest = b''
  for chunk in chunks:
    complete, newline, tail = chunk.rpartition(b'\n')
    if newline:
      yield rest + complete
      rest = tail
    else:
      rest = (rest + tail)[:CHUNK_BYTES]
  if rest:
    yield rest


def _chunks(path: Path, part: tuple[int, int | None]) -> Iterator[bytes]:
  """Yields the unpacked bytes of a file's part, CHUNK_BYTES or a little more at a time."""
  with path.open('rb') as raw:
    packed = raw.peek(len(_GZIP_MAGIC)).startswith(_GZIP_MAGIC)
    if part[0] > 0:
      # What the file is was seen, and said if need be, by whoever reads the first part.
      yield from () if packed else _fill_chunks(_Part(raw, *part))
      return
    # GzipFile and not zlib itself, because a gzip file may have several members.
    stream = gzip.GzipFile(fileobj=raw) if packed else _Part(raw, *part)
    chunks = _fill_chunks(stream)
    first = next(chunks, b'')
    for kind, magic in _NOT_LINES.items():
      if magic.match(first):
        raise LogjaxError(
          f'{file_name(path)}: is {kind}, and only plain UTF-8 text and gzip files are read: '
          'convert or unpack it first'
        )
    yield first.removeprefix(codecs.BOM_UTF8)
    yield from chunks


class _Part:
  """The bytes of all lines that begin in a part of a file."""

  def __init__(self, raw: BinaryIO, begin: int, end: int | None):
    self._raw, self._end = raw, end
    self._inside = False  # whether what was read last ended within a line
    if begin:
      raw.seek(begin - 1)
      while (piece := raw.readline(_PIECE_BYTES)) and not piece.endswith(b'\n'):
        pass

  def read1(self, size: int) -> bytes:
    """Returns some of the bytes; none at the end."""
    if self._end is None:
      return self._raw.read1(size)
    left = self._end - self._raw.tell()
    if left <= 0 and not self._inside:
      return b''
    piece = self._raw.read1(min(size, left)) if left > 0 else self._raw.readline(size)
    if left > 0 and not piece:
      raise OSError(errno.EIO, 'it ends sooner than process 0 said')
    self._inside = not piece.endswith(b'\n')
    return piece


def _fill_chunks(stream: BinaryIO | _Part) -> Iterator[bytes]:
  """Collects pieces into chunks. What was unpacked before a damage comes before its exception."""
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


def _in_one_line(error: Exception) -> str:
  return ' '.join(str(error).split())
