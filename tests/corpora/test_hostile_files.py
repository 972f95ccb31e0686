"""Files that are hostile by what they are or by their size: no hang, and memory that is measured.

Every case runs in a process of its own, with a time limit, and tells its peak of memory. Sizes are
those of the unpacked bytes; the processes read what is far smaller on the disk.
"""

import gzip
import json
import os
import socket
import subprocess
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from logjax.corpora import parsing, reading
from logjax.corpora.formats import FORMATS, own_format
from logjax.corpora.labels import LineLabels
from logjax.corpora.parsing import parse_blocks, write_rejected
from logjax.corpora.reading import Block, file_name, read_blocks
from logjax.corpora.source import find_paths
from logjax.errors import LogjaxError

MEGABYTE = 2**20
BGL = FORMATS['bgl'].example.encode()

# VmHWM and not getrusage: a new process inherits the latter's peak from the one that started it.
_HEAD = """
import json, os, sys
from pathlib import Path
import polars
from logjax.corpora.download import unpack
from logjax.corpora.formats import FORMATS, own_format
from logjax.corpora.parsing import parse_blocks
from logjax.corpora.labels import LineLabels, read_abnormal_blocks
from logjax.corpora.reading import read_blocks
from logjax.errors import LogjaxError

def peak():
  status = Path('/proc/self/status').read_text()
  return int(status.partition('VmHWM:')[2].split()[0]) // 1024

def parse(path, log_format):
  logs = parse_blocks(read_blocks([path]), log_format, labels=LineLabels(), max_rejected=1.0)
  assert logs.frame.height + logs.unfit + logs.notes['empty'] == logs.lines
  return {'lines': logs.lines, 'rows': logs.frame.height, 'cut': logs.notes['cut']}

def error(call):
  try:
    eval(call)
  except LogjaxError as error:
    return str(error)

polars.read_csv(b'BlockId,Label')  # its threads are not what reading a file needs
path, before, told = Path(sys.argv[1]), peak(), {}
try:
  told = CALL
except LogjaxError as error:
  told['error'] = str(error)
print(json.dumps(told | {'megabytes': peak() - before}))
"""
PARSE_BGL = "parse(path, FORMATS['bgl'])"
PARSE_ANY = "parse(path, own_format('(?<message>.*)'))"


def told_of(path: Path, call: str, timeout: float = 60) -> dict:
  """What a process says that reads a file, and the megabytes that it needed for that."""
  if not Path('/proc/self/status').exists():
    pytest.skip('only Linux tells the peak of a process')
  command = [sys.executable, '-c', _HEAD.replace('CALL', call), str(path)]
  answer = subprocess.run(
    command, capture_output=True, text=True, timeout=timeout, cwd=Path(__file__).parents[2]
  )
  assert answer.returncode == 0, answer.stderr
  told = json.loads(answer.stdout)
  print(call, told)
  return told


def bomb(path: Path, piece: bytes, times: int, first: bytes = b'') -> Path:
  """A gzip file that has a piece many times; of as many members, so that it is quickly made."""
  path.write_bytes(gzip.compress(first) + gzip.compress(piece) * times)
  return path


# Memory.


def test_one_line_of_ten_megabytes_needs_a_bounded_memory(tmp_path):
  (tmp_path / 'a.log').write_bytes(BGL + b'x' * 10 * MEGABYTE + b'\n' + BGL)
  told = told_of(tmp_path / 'a.log', PARSE_BGL)
  assert (told['lines'], told['rows'], told['cut']) == (2, 2, 1)
  assert told['megabytes'] < 350


@pytest.mark.parametrize('lines', [300, pytest.param(2000, marks=pytest.mark.slow)])
def test_lines_of_a_megabyte_do_not_stay_in_memory(tmp_path, lines):
  path = bomb(tmp_path / 'a.log', b'kept %b\nnot %b\n' % ((b'x' * MEGABYTE,) * 2), lines // 2)
  told = told_of(path, "parse(path, own_format('kept (?<message>.*)'))")
  assert told['lines'] == 2 * told['rows'] == 2 * told['cut'] == lines
  # Of a line that is kept 1/16 MB stays, for a moment twice; of one that is not nearly nothing.
  assert told['megabytes'] < 350 + lines / 16


@pytest.mark.parametrize(
  'gigabytes', [1 / 16, pytest.param(1, marks=pytest.mark.slow)], ids=['small', 'whole']
)
def test_a_gzip_bomb_of_zeros_is_one_line(tmp_path, gigabytes):
  path = bomb(tmp_path / 'a.log', bytes(16 * MEGABYTE), round(64 * gigabytes), BGL + b'\n')
  assert path.stat().st_size < 1.1 * gigabytes * MEGABYTE + 1000
  told = told_of(path, PARSE_BGL)
  assert (told['lines'], told['rows']) == (2, 1)
  # A chunk and what was kept of the ones before, in all forms from bytes to three for each NUL.
  assert told['megabytes'] < 750


@pytest.mark.parametrize('piece', [b'\n', b'x\n'], ids=['empty', 'unfit'])
def test_millions_of_short_lines_are_counted_and_not_kept(tmp_path, piece):
  path = bomb(tmp_path / 'a.log', piece * 500_000, 2, BGL + b'\n')
  told = told_of(path, PARSE_BGL)
  assert (told['lines'], told['rows']) == (1_000_001, 1)
  assert told['megabytes'] < 150


def test_of_lines_that_do_not_fit_the_first_are_kept_and_all_are_counted(monkeypatch):
  monkeypatch.setattr(parsing, 'REJECTED_LINES', 3)
  blocks = [
    Block('a.log', 1, ['1', 'words', '2']),
    Block('a.log', 4, ['3', '4']),
    Block('b', 1, ['5']),
  ]
  words = own_format('(?<message>[a-z]*)')
  logs = parse_blocks(blocks, words, labels=LineLabels(), max_rejected=1.0)
  assert (logs.lines, logs.unfit) == (6, 5)
  assert logs.rejected['text'].to_list() == ['1', '2', '3']
  with pytest.raises(LogjaxError, match='^5 of 6 lines') as error:
    parse_blocks(blocks, words, labels=LineLabels(), max_rejected=0.8)
  assert error.value.rejected.height == 3


def test_a_label_and_a_node_without_end_are_cut_and_counted():
  own = own_format(r'(?<label>\S+) (?<node>\S+) (?<message>.*)', normal_label='n' * 2000)
  lines = ['x' * 2000 + ' a b', 'n' * 2000 + ' a b', 'x ' + 'y' * 1001 + ' b', 'x y b']
  logs = parse_blocks([Block('a.log', 1, lines)], own, labels=LineLabels(), max_rejected=0.0)
  assert logs.notes['cut'] == 3
  assert logs.frame['label'].to_list() == ['x' * 1000, None, 'x', 'x']
  assert logs.frame['node'].to_list() == ['a', 'a', 'y' * 1000, 'y']
  assert logs.frame['abnormal'].to_list() == [True, False, True, True]


def test_a_zip_bomb_goes_to_the_disk_and_not_into_memory(tmp_path):
  with zipfile.ZipFile(tmp_path / 'a.zip', 'w', zipfile.ZIP_DEFLATED) as file:
    with file.open('a.log', 'w') as member:
      for _ in range(4):
        member.write(bytes(16 * MEGABYTE))
  call = "{'size': unpack(path, ['a.log'], path.parent / 'out')[0].stat().st_size}"
  told = told_of(tmp_path / 'a.zip', call)
  assert told['size'] == 64 * MEGABYTE
  assert told['megabytes'] < 30


def tar_of(path: Path, info: tarfile.TarInfo, times: int, content: int = 0) -> Path:
  """A .tar.gz with the same header many times, each before so many megabytes of zeros."""
  packer = zlib.compressobj(1, wbits=31)
  with path.open('wb') as file:
    for _ in range(times):
      file.write(packer.compress(info.tobuf()))
      for _ in range(content):
        file.write(packer.compress(bytes(MEGABYTE)))
    file.write(packer.flush())
  return path


def test_a_tar_file_of_endless_headers_needs_little_memory(tmp_path):
  call = "unpack(path, ['a.log'], path.parent / 'out') and {}"
  long_name = tarfile.TarInfo('long')
  long_name.type, long_name.size = tarfile.GNUTYPE_LONGNAME, 100 * MEGABYTE
  told = told_of(tar_of(tmp_path / 'a.tar.gz', long_name, 1, 2), call)
  assert 'the header of a member has 104,857,600 bytes' in told['error']
  assert told['megabytes'] < 20
  told = told_of(tar_of(tmp_path / 'b.tar.gz', tarfile.TarInfo('other'), 15_000), call)
  assert 'holds no a.log' in told['error']
  assert told['megabytes'] < 12


def test_a_packed_label_file_is_not_unpacked(tmp_path):
  piece = b'blk_1,Normal\n' * MEGABYTE
  path = bomb(tmp_path / 'labels.csv', piece, 10, b'BlockId,Label\n')
  told = told_of(path, 'read_abnormal_blocks(path) and {}')
  assert 'its first line does not name BlockId' in told['error']
  assert told['megabytes'] < 20


# What is no file, or changes.


def test_what_is_no_file_is_refused_at_once(tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  (tmp_path / 'zeros').symlink_to('/dev/zero')
  with socket.socket(socket.AF_UNIX) as bound:
    bound.bind(os.path.relpath(tmp_path / 'socket'))  # its name may be 107 bytes long
  labels = 'read_abnormal_blocks(path)'
  for name, kind in (('pipe', 'a named pipe'), ('zeros', 'a device'), ('socket', 'a socket')):
    told = told_of(
      tmp_path / name, f"{{'log': error({PARSE_ANY!r}), 'labels': error({labels!r})}}", 20
    )
    assert f'{name}: is {kind}, and only files are read: write its lines to one' in told['log']
    assert f'{name}: cannot be read as a CSV file' in told['labels']
    assert told['megabytes'] < 20


def test_what_may_not_be_read_is_named(tmp_path):
  (tmp_path / 'secret.log').write_bytes(BGL)
  (tmp_path / 'secret.log').chmod(0)
  for folder in (tmp_path, *tmp_path.parents[:-2]):
    if os.access(folder, os.W_OK):
      folder.chmod(folder.stat().st_mode | 0o111)
  nobody = 'os.geteuid() or os.setuid(65534), '
  told = told_of(tmp_path / 'secret.log', f'({nobody}{PARSE_ANY})[1]')
  assert 'secret.log: cannot be read (Permission denied): check the path' in told['error']


def test_a_folder_that_is_locked_is_named(tmp_path, monkeypatch):
  def refuse(*_, **__):
    raise PermissionError(13, os.strerror(13))

  monkeypatch.setattr(Path, 'exists', refuse)  # chmod would not stop root
  with pytest.raises(
    LogjaxError, match=r"'locked/a.log' cannot be looked up \(Permission denied\)"
  ):
    find_paths('locked/a.log')


def test_a_name_of_any_bytes_is_shown_in_one_line(tmp_path):
  name = os.fsdecode(b'caf\xe9 \x1b[31m\nred.log')
  (tmp_path / name).write_bytes(b'words\n1\n')
  (path,) = find_paths(f'{tmp_path}/*.log')
  logs = parse_blocks(
    read_blocks([path]), own_format('(?<message>[a-z]*)'), labels=LineLabels(), max_rejected=1.0
  )
  shown = f'{tmp_path}/caf\ufffd \\x1b[31m\\nred.log'
  assert logs.files == (shown,) == (file_name(path),)
  write_rejected(logs, tmp_path / 'rejected.tsv')
  assert (tmp_path / 'rejected.tsv').read_text() == f'file\tline\ttext\n{shown}\t2\t1\n'
  for content in (b'', b'\x1f\x8b', b'PK\x03\x04'):
    path.write_bytes(content)
    with pytest.raises(LogjaxError) as error:
      parse_blocks(read_blocks([path]), FORMATS['bgl'], labels=LineLabels(), max_rejected=1.0)
    assert shown in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('change', ['shrinks', 'grows', 'vanishes'])
def test_a_file_that_changes_while_it_is_read_is_read_as_it_is_found(tmp_path, monkeypatch, change):
  monkeypatch.setattr(reading, 'CHUNK_BYTES', 1000)
  monkeypatch.setattr(reading, '_PIECE_BYTES', 100)
  path = tmp_path / 'a.log'
  path.write_bytes(b'words\n' * 200_000)
  blocks = read_blocks([path])
  lines = [*next(blocks).lines]
  if change == 'shrinks':
    os.truncate(path, 3_000)
  elif change == 'grows':
    with path.open('ab') as file:
      file.write(b'more\n' * 100)
  else:
    path.unlink()
  lines += [line for block in blocks for line in block.lines]
  assert set(lines) <= {'words', 'more', 'words'[: len(lines[-1])], ''}
  assert {'shrinks': len(lines) < 200_000, 'grows': len(lines) == 200_100}.get(change, True)
