"""Bytes to blocks, and the errors for files that cannot be read."""

import errno
import gzip
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logjax.corpora import reading
from logjax.corpora.reading import Block, read_blocks, visible
from logjax.errors import LogjaxError


def read(*paths, **options):
  return list(read_blocks(paths, **options))


def lines_of(blocks):
  return [line for block in blocks for line in block.lines]


def write(path, data):
  path.write_bytes(data)
  return path


def test_lines_come_in_order_with_the_number_of_the_first(tmp_path):
  path = write(tmp_path / 'a.log', b'one\ntwo\nthree\nfour\nfive\n')
  assert read(path, lines_per_block=2) == [
    Block(str(path), 1, ['one', 'two']),
    Block(str(path), 3, ['three', 'four']),
    Block(str(path), 5, ['five']),
  ]


def test_several_files_are_read_one_after_the_other(tmp_path):
  second, first = write(tmp_path / 'b', b'3\n'), write(tmp_path / 'c', b'1\n2\n')
  assert read(first, second) == [Block(str(first), 1, ['1', '2']), Block(str(second), 1, ['3'])]


def test_the_last_line_needs_no_newline(tmp_path):
  assert lines_of(read(write(tmp_path / 'a', b'one\ntwo'))) == ['one', 'two']


def test_empty_lines_count_as_lines(tmp_path):
  assert lines_of(read(write(tmp_path / 'a', b'\n\none\n\n'))) == ['', '', 'one', '']


def test_gzip_is_recognised_by_its_bytes_and_not_by_its_name(tmp_path):
  packed = write(tmp_path / 'plain.log', gzip.compress(b'one\ntwo\n') + gzip.compress(b'three\n'))
  plain = write(tmp_path / 'packed.gz', b'four\n')
  assert lines_of(read(packed, plain)) == ['one', 'two', 'three', 'four']


def test_only_newlines_end_a_line(tmp_path):
  text = 'a\x0bb\x0cc\x1cd\x85e\u2028f\rg'
  assert lines_of(read(write(tmp_path / 'a', f'{text}\n'.encode()))) == [text]


def test_a_carriage_return_before_the_newline_is_left_to_be_counted(tmp_path):
  assert lines_of(read(write(tmp_path / 'a', b'one\r\n'))) == ['one\r']


def test_bytes_that_are_not_utf8_become_replacement_characters(tmp_path):
  data = b'caf\xe9\nna\xc3\xafve\n\xe2\x82\n'
  assert lines_of(read(write(tmp_path / 'a', data))) == ['caf\ufffd', 'na\u00efve', '\ufffd']


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path):
  assert lines_of(read(write(tmp_path / 'a', b'\xef\xbb\xbf- 1\n'))) == ['- 1']


@pytest.mark.parametrize('size', [1_000_000, 10_000_000])
def test_a_line_of_megabytes_is_whole(tmp_path, size):
  path = write(tmp_path / 'a', b'one\n' + b'x' * size + b' END\ntwo\n')
  one, long, two = lines_of(read(path))
  assert (one, two) == ('one', 'two')
  assert len(long) == size + 4 and long.endswith('x END')


def test_of_an_endless_line_no_more_than_two_chunks_are_held(tmp_path, monkeypatch):
  monkeypatch.setattr(reading, 'CHUNK_BYTES', 1000)
  monkeypatch.setattr(reading, '_PIECE_BYTES', 100)
  path = write(tmp_path / 'a', b'start ' + b'x' * 50_000 + b' END\ntwo\n')
  long, two = lines_of(read(path))
  assert len(long) <= 2000 + 100
  assert long.startswith('start x') and long.endswith('x END') and two == 'two'


@settings(deadline=None)
@given(
  data=st.text(st.sampled_from('a\n\u00e9')).map(str.encode) | st.binary(),
  chunk=st.integers(1, 9),
  packed=st.booleans(),
)
def test_chunks_leave_no_trace(tmp_path_factory, data, chunk, packed):
  path = tmp_path_factory.mktemp('read') / 'a'
  write(path, gzip.compress(b'-' + data) if packed else b'-' + data)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(reading, '_PIECE_BYTES', chunk)
    # Lines longer than a chunk may lose their middle, which is tested above.
    patch.setattr(reading, 'CHUNK_BYTES', chunk if len(data) < chunk else len(data) + 1)
    read_lines = lines_of(read(path))
  expected = (b'-' + data).decode(errors='replace').split('\n')
  assert read_lines == (expected[:-1] if expected[-1] == '' else expected)


def test_an_empty_file_gives_a_block_without_lines(tmp_path):
  empty, full = write(tmp_path / 'a', b''), write(tmp_path / 'b', b'one\n')
  assert read(empty, full) == [Block(str(empty), 1, []), Block(str(full), 1, ['one'])]


def damaged(path, change):
  """A gzip file of 5,000 lines, damaged; the lines that were read and the error."""
  data = bytearray(gzip.compress(b''.join(b'line %d\n' % number for number in range(5000))))
  blocks = []
  with pytest.raises(LogjaxError) as raised:
    for block in read_blocks([write(path, change(data))]):
      blocks.append(block)
  return lines_of(blocks), str(raised.value)


def test_a_truncated_gzip_is_named_with_the_last_good_line(tmp_path):
  lines, message = damaged(tmp_path / 'a.gz', lambda data: data[: len(data) // 2])
  assert 0 < len(lines) < 5000
  assert lines == [f'line {number}' for number in range(len(lines))]
  assert f'a.gz: the gzip file is cut short or damaged after line {len(lines)} (' in message
  assert 'get the file again' in message and '\n' not in message


def test_a_gzip_cut_in_its_header_is_named(tmp_path):
  lines, message = damaged(tmp_path / 'a.gz', lambda data: data[:5])
  assert lines == []
  assert 'damaged after line 0' in message


def test_a_gzip_with_a_wrong_checksum_is_named(tmp_path):
  lines, message = damaged(tmp_path / 'a.gz', lambda data: data[:-8] + bytes(8))
  assert len(lines) == 5000
  assert 'damaged after line 5000 (CRC check failed' in message


def test_a_corrupt_gzip_is_named(tmp_path):
  middle = bytes(range(256))
  _, message = damaged(tmp_path / 'a.gz', lambda data: data[:3000] + middle + data[3256:])
  assert 'a.gz: the gzip file is cut short or damaged after line ' in message


def test_a_missing_file_is_named(tmp_path):
  with pytest.raises(LogjaxError, match=r'none\.log: there is no such file'):
    read(tmp_path / 'none.log')


def test_a_directory_is_named_with_what_to_write(tmp_path):
  with pytest.raises(LogjaxError, match=r'is a directory: name the files in it, for example .*/\*'):
    read(tmp_path)


def test_an_unreadable_file_is_named(tmp_path, monkeypatch):
  def refuse(*_):
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

  monkeypatch.setattr(Path, 'open', refuse)  # chmod would not stop root
  with pytest.raises(LogjaxError, match=r'secret\.log: cannot be read \(Permission denied\)'):
    read(tmp_path / 'secret.log')


def test_a_path_through_a_file_is_named(tmp_path):
  path = write(tmp_path / 'a.log', b'one\n')
  with pytest.raises(LogjaxError, match=r'a\.log/b: cannot be read \(Not a directory\)'):
    read(path / 'b')


def test_a_pipe_is_refused_at_once(tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  (tmp_path / 'zeros').symlink_to('/dev/zero')
  for name in ('pipe', 'zeros'):
    with pytest.raises(LogjaxError, match=f'{name}: is a pipe or a device: write its lines to a'):
      read(tmp_path / name)


@pytest.mark.parametrize('change', ['shrinks', 'grows', 'vanishes'])
def test_a_file_that_changes_while_it_is_read_is_read_as_found(tmp_path, monkeypatch, change):
  monkeypatch.setattr(reading, 'CHUNK_BYTES', 1000)
  monkeypatch.setattr(reading, '_PIECE_BYTES', 100)
  path = write(tmp_path / 'a.log', b'words\n' * 200_000)
  blocks = read_blocks([path])
  lines = [*next(blocks).lines]
  if change == 'shrinks':
    os.truncate(path, 3_000)
  elif change == 'grows':
    with path.open('ab') as file:
      file.write(b'more\n' * 100)
  else:
    path.unlink()
  lines += lines_of(blocks)
  assert set(lines) <= {'words', 'more', 'words'[: len(lines[-1])], ''}
  assert {'shrinks': len(lines) < 200_000, 'grows': len(lines) == 200_100}.get(change, True)


def test_control_characters_become_visible():
  assert visible('a\x1b[2J\tb\r\n\x7f\x9b\u00e9') == r'a\x1b[2J\tb\r\n\x7f\x9b' + '\u00e9'


@pytest.mark.parametrize(
  ('data', 'kind'),
  [
    (b'PK\x03\x04....', 'a zip archive'),
    (b'BZh91AY&SY....', 'packed with bzip2'),
    (b'\xfd7zXZ\x00...', 'packed with xz'),
    (b'\x28\xb5\x2f\xfd..', 'packed with zstd'),
    ('- 1\n'.encode('utf-16'), 'UTF-16 text'),
    (gzip.compress(b'BGL.log'.ljust(257, b'\0') + b'ustar\0', mtime=0), 'a tar archive'),
  ],
)
def test_files_of_another_kind_are_named(tmp_path, data, kind):
  with pytest.raises(LogjaxError, match=f'a.log: is {kind}, and only plain UTF-8 text and gzip'):
    read(write(tmp_path / 'a.log', data))
