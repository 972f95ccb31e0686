"""Logs that several processes read together: every line once, in its place, with its number."""

import gzip

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logjax.corpora.formats import FORMATS, LogFormat, own_format
from logjax.corpora.labels import LineLabels
from logjax.corpora.parsing import Logs, parse_blocks
from logjax.corpora.reading import Share, read_blocks
from logjax.errors import LogjaxError

LABELS = LineLabels('column', frozenset())
LINE = (
  '{label} 1117838570 2005.06.03 node 2005-06-03-15.42.50.363779 node RAS KERNEL INFO message {n}'
)


def share_of(paths, part: int, parts: int) -> Share:
  return Share(part, parts, tuple(path.stat().st_size for path in paths))


def lines_of(paths, share: Share, size: int = 65_536) -> list[str]:
  return [line for block in read_blocks(paths, size, share) for line in block.lines]


def parse_together(paths, parts: int) -> list[Logs]:
  """What each of several processes ends with, the exchange done by hand."""
  packed = [_packed(paths, share_of(paths, part, parts)) for part in range(parts)]
  return [_parse(paths, share_of(paths, part, parts), lambda _: packed) for part in range(parts)]


class Gave(Exception):
  """What a process gave the others."""


def _parse(
  paths, share: Share, gather, max_rejected: float = 0.9, log_format: LogFormat = FORMATS['bgl']
) -> Logs:
  blocks = read_blocks(paths, share=share)
  return parse_blocks(blocks, log_format, labels=LABELS, max_rejected=max_rejected, gather=gather)


def _packed(paths, share: Share, **options) -> bytes:
  def give(data: bytes):
    raise Gave(data)

  with pytest.raises(Gave) as given:
    _parse(paths, share, give, **options)
  return given.value.args[0]


def assert_same(ours: Logs, theirs: Logs) -> None:
  assert ours.frame.equals(theirs.frame)
  assert ours.rejected.equals(theirs.rejected)
  assert (ours.files, ours.lines, ours.unfit) == (theirs.files, theirs.lines, theirs.unfit)
  assert (ours.notes, ours.labelled) == (theirs.notes, theirs.labelled)


@settings(max_examples=100, deadline=None)
@given(data=st.binary(max_size=60), parts=st.integers(1, 7))
def test_the_shares_of_a_file_make_the_file(tmp_path_factory, data, parts):
  path = tmp_path_factory.mktemp('shares') / 'log'
  data = data.replace(b'\x1f\x8b', b'').replace(b'\xff\xfe', b'').replace(b'\xfe\xff', b'')
  path.write_bytes(data)
  shares = [lines_of([path], share_of([path], part, parts)) for part in range(parts)]
  assert sum(shares, []) == lines_of([path], Share(0, 1))


def test_a_line_that_spans_shares_is_read_by_the_one_in_which_it_begins(tmp_path):
  path = tmp_path / 'log'
  path.write_text('short\n' + 'x' * 1_000_000 + '\nend')
  assert [lines_of([path], share_of([path], part, 4)) for part in range(4)] == [
    ['short', 'x' * 1_000_000],
    [],
    [],
    ['end'],
  ]


@pytest.mark.parametrize('parts', [1, 2, 3, 8])
def test_together_they_parse_what_one_parses(tmp_path, parts):
  paths = [tmp_path / name for name in ('a.log', 'b.log', 'c.log.gz', 'empty.log')]
  lines = [LINE.format(label='-' if n % 3 else 'KERNDTLB', n=n) for n in range(57)]
  lines[10], lines[20], lines[30] = 'does not fit', '', lines[30] + '\r'
  paths[0].write_text('\n'.join(lines[:40]))
  paths[1].write_text('\n'.join(lines[40:50]) + '\n')
  paths[2].write_bytes(gzip.compress('\n'.join(lines[50:]).encode()))
  paths[3].write_bytes(b'')
  alone = _parse(paths, Share(0, 1), None)
  assert alone.lines == 57 and alone.unfit == 1 and alone.notes['empty_files'] == 1
  for together in parse_together(paths, parts):
    assert_same(together, alone)


def test_a_mistake_is_told_of_all_lines_by_all(tmp_path):
  path = tmp_path / 'log'
  path.write_text('no\n' * 5 + LINE.format(label='-', n=1) + '\n')
  packed = [_packed([path], share_of([path], part, 2)) for part in range(2)]
  for part in range(2):
    with pytest.raises(LogjaxError, match='5 of 6 lines') as error:
      _parse([path], share_of([path], part, 2), lambda _: packed, max_rejected=0.1)
    assert isinstance(error.value.rejected, pl.DataFrame)
    assert error.value.rejected['line'].to_list() == [1, 2, 3, 4, 5]


def test_a_time_that_none_of_them_can_read_is_told_with_the_first_one_by_all(tmp_path):
  path = tmp_path / 'log'
  path.write_text('does not fit\n' * 9 + ''.join(f'{day}.2.2004|words\n' for day in range(1, 10)))
  own = {'log_format': own_format('(?<time>[^|]*)[|](?<message>.*)', '%Y-%m-%d')}
  packed = [_packed([path], share_of([path], part, 3), **own) for part in range(3)]
  for part in range(3):
    with pytest.raises(LogjaxError, match=":10: the time '1.2.2004' cannot be read as '%Y-%m-%d'"):
      _parse([path], share_of([path], part, 3), lambda _: packed, **own)


def test_a_log_that_grows_meanwhile_is_divided_as_it_was(tmp_path):
  path = tmp_path / 'log'
  path.write_text(''.join(f'{n}\n' for n in range(100)))
  first = share_of([path], 0, 2)
  lines = lines_of([path], first)
  with path.open('a') as file:
    file.write('more\n' * 100)
  lines += lines_of([path], first._replace(part=1))
  assert lines == [str(n) for n in range(100)]


def test_a_log_that_is_shorter_for_one_process_is_an_error(tmp_path):
  path = tmp_path / 'log'
  path.write_text('line\n' * 100)
  share = share_of([path], 1, 2)
  path.write_text('line\n' * 60)
  with pytest.raises(LogjaxError, match='ends sooner than process 0 said'):
    lines_of([path], share)
