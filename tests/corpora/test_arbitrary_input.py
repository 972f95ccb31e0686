"""No bytes break a reader: any input ends in one line of error, or with every line counted."""

import gzip
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logjax.corpora.catalog import CATALOG
from logjax.corpora.fields import named_groups, own_format
from logjax.corpora.labels import LineLabels, read_abnormal_blocks
from logjax.corpora.parsing import parse_blocks
from logjax.corpora.reading import read_blocks, visible
from logjax.corpora.source import find_paths
from logjax.errors import LogjaxError
from logjax.examples.keys import fit_templates
from logjax.examples.text import Masks, fit_vocabulary, read_texts

INT64 = 2**63
# Numbers beyond every type and calendar, and what looks like one.
NUMBERS = [
  '0',
  '-1',
  '1e400',
  'inf',
  '-inf',
  'nan',
  '9' * 30,
  str(INT64),
  f'-{INT64}',
  '0x1f',
  '1_0',
]
NUMBERS += [
  '9' * 400,
  '253402300800',
  '9223372036854',
  '9223372036855',
  '-9223372036855',
  '.5',
  '1,5',
]
DATES = ['9999-99-99', '0000-00-00', '2004-02-30', '+262143-01-01', '-262144-01-01', '999999']
DATES += ['9999.12.31', 'Feb 30 25:61:61', '000000 000000', '2017-05-16 00:00:60.500', '２００５']
ODD = [
  '',
  '-',
  '\0',
  '\r',
  '\t',
  '\x1b[2J',
  '\ufeff',
  '\u2028',
  '\u202e',
  '\u0663',
  '€',
  '😀',
  '"',
  "'",
]
COLUMNS = st.sampled_from(NUMBERS + DATES + ODD) | st.text(max_size=8)
ODD_LINES = st.sampled_from(
  [b'', b'\r', b'\0', b'\xff\xfe', b'\xc0\xaf', b'\xed\xa0\x80', b' \t\xc2\xa0']
)


@st.composite
def changed_lines(draw, example: str) -> bytes:
  """A line that fits a format, some of its columns replaced, removed or doubled."""
  columns = example.split(' ')
  for _ in range(draw(st.integers(0, 3))):
    at = draw(st.integers(0, len(columns) - 1))
    columns[at : at + draw(st.integers(0, 1))] = [draw(COLUMNS)]
  return ' '.join(columns).replace('\n', ' ').encode(errors='replace')


def files(example: str) -> st.SearchStrategy[bytes]:
  """Files of lines that nearly fit a format, between arbitrary ones."""
  lines = changed_lines(example) | ODD_LINES | st.binary(max_size=40)
  return st.lists(lines, max_size=8).map(b'\n'.join)


def write(folder_factory, data, name='a.log'):
  path = folder_factory.mktemp('hostile') / name
  path.write_bytes(data)
  return path


def check_counted(path, data, log_format, labels=None):
  """Parses a file whose first line fits, and finds each of its lines kept, rejected or empty."""
  logs = parse_blocks(
    read_blocks([path]), log_format, labels=labels or LineLabels(), max_rejected=1.0
  )
  assert logs.lines == data.count(b'\n') + (not data.endswith(b'\n'))
  assert logs.frame.height + logs.unfit + logs.notes['empty'] == logs.lines
  assert logs.rejected.height == logs.unfit
  numbers = pl.concat([logs.frame['line'], logs.rejected['line']])
  assert numbers.n_unique() == len(numbers) and numbers.is_between(1, logs.lines).all()
  assert logs.frame['message'].null_count() == logs.frame['abnormal'].null_count() == 0
  assert logs.notes['untimed'] == (logs.frame['time'].null_count() if log_format.time_format else 0)
  return logs


def one_line(call, *args) -> str:
  with pytest.raises(LogjaxError) as raised:
    call(*args)
  assert visible(str(raised.value)) == str(raised.value)
  return str(raised.value)


@pytest.mark.parametrize('name', CATALOG)
@settings(deadline=None, max_examples=30)
@given(data=st.data(), packed=st.booleans())
def test_every_line_of_any_file_is_counted(tmp_path_factory, name, data, packed):
  log_format = CATALOG[name].format
  content = log_format.example.encode() + b'\n' + data.draw(files(log_format.example))
  labels = {
    'openstack': LineLabels('instance', frozenset({'x'})),
    'hdfs': LineLabels('blocks', frozenset({'blk_1'})),
  }.get(name)
  path = write(tmp_path_factory, gzip.compress(content) if packed else content)
  check_counted(path, content, log_format, labels)


TIME_FORMATS = [
  'epoch',
  '%Y-%m-%d %H:%M:%S%.f',
  '%y%m%d %H%M%S',
  '%b %d %H:%M:%S',
  '%d/%b/%Y:%T %z',
]
TIME_FORMATS += [
  '%s',
  '%+',
  '%c',
  '%G-W%V-%u',
  '%Y-%j',
  '%m/%d/%y %I:%M %p',
  '%FT%T%.9fZ',
  '%Y年%m月%d日',
]


@pytest.mark.parametrize('time_format', TIME_FORMATS)
@settings(deadline=None, max_examples=30)
@given(times=st.lists(COLUMNS | st.text('0123456789-+:./TZ ', max_size=30), max_size=8))
def test_any_time_is_read_or_counted_as_unread(tmp_path_factory, time_format, times):
  own = own_format('(?<time>[^|]*)[|](?<message>.*)', time_format)
  moment = pl.Series([datetime(2004, 2, 3, 16, 5, 6, tzinfo=UTC)])
  good = '0' if time_format == 'epoch' else moment.dt.strftime(time_format).item()
  lines = [f'{good}|words', '|words', *(f'{time}|words'.replace('\n', ' ') for time in times)]
  content = '\n'.join(lines).encode(errors='replace')
  check_counted(write(tmp_path_factory, content), content, own)


@settings(deadline=None, max_examples=60)
@given(
  time_format=st.text('%YyCmbBhdeajuwUWGgVHkIlMSfpPQTRDFrcxXvsZz+:.3690#E-_ntN年\0 ', max_size=10)
)
def test_any_time_format_is_taken_or_explained(time_format):
  try:
    own_format('(?<time>.*)[|](?<message>.*)', time_format)
  except LogjaxError as error:
    assert '\n' not in str(error) and str(error).startswith('data.time_format: ')


@settings(deadline=None, max_examples=60)
@given(
  pieces=st.lists(
    st.sampled_from(['(?<message>', '(', ')', '|', '.*', 'a+', '$', '^', '\\S', '?', 'x'])
  ),
  content=files('a aa aaa x'),
)
def test_every_line_is_counted_whatever_the_pattern(tmp_path_factory, pieces, content):
  try:
    own = own_format(''.join(pieces))
    path = write(tmp_path_factory, content)
    logs = parse_blocks(read_blocks([path]), own, labels=LineLabels(), max_rejected=1.0)
  except LogjaxError:
    return  # the pattern is none, or no line fits it
  assert logs.frame.height + logs.unfit + logs.notes['empty'] == logs.lines


BACKTRACKING = [
  '(a+)+$',
  '(a|a)*$',
  '(a|aa)+$',
  '(.*a){20}',
  '(a*)*b',
  '([a-z]+)*[0-9]',
  '(?:a?){100}a{100}',
]


@pytest.mark.parametrize('pattern', BACKTRACKING)
def test_no_pattern_makes_the_engine_backtrack(pattern):
  own = own_format(f'(?<message>{pattern})')
  lines = pl.DataFrame({'text': ['a' * 100, 'a' * 20_000 + '!', '!' + 'a' * 20_000]})
  # A backtracking engine would need longer than the universe is old.
  lines.select(pl.col('text').str.extract_groups(own.whole_line))


ENORMOUS = [
  '(a{1000}){1000}',
  '((a{100}){100}){100}',
  r'\w{5000}',
  r'(\pL{99}){99}',
]
ENORMOUS += ['a{4294967296}', '(' * 10_000, '[' * 10_000, '(?:' * 300 + ')' * 300]


@pytest.mark.parametrize('pattern', ENORMOUS, ids=range(len(ENORMOUS)))
def test_an_enormous_pattern_is_refused_in_one_line(pattern):
  message = one_line(own_format, f'(?<message>{pattern})')
  assert message.startswith('data.pattern: ') and len(message) < 500


def test_an_enormous_number_of_nothing_is_nothing():
  assert named_groups('(?<message>(?:){4294967295})') == ('message',)


def test_globs_do_not_backtrack(tmp_path):
  (tmp_path / ('a' * 200)).touch()
  assert 'matches no file' in one_line(find_paths, f'{tmp_path}/{"a*" * 40}b')


@settings(deadline=None, max_examples=60)
@given(
  text=st.text(st.characters(exclude_characters='~'))
  | st.sampled_from(['a' * 5000, '/' * 99, '\0*', '*\0/*'])
)
def test_any_path_is_found_or_explained(text, tmp_path_factory):
  folder = tmp_path_factory.mktemp('paths')
  with pytest.MonkeyPatch.context() as patch:
    patch.chdir(folder)
    try:
      assert all(path.exists() for path in find_paths(text.replace('/', '')))
    except LogjaxError as error:
      assert visible(str(error)) == str(error)


@settings(deadline=None, max_examples=60)
@given(body=st.binary(max_size=200))
def test_any_gzip_body_is_read_or_named_as_damaged(tmp_path_factory, body):
  for head in (b'\x1f\x8b', gzip.compress(b'one\ntwo\n')[:10], gzip.compress(b'one\n')):
    path = write(tmp_path_factory, head + body)
    try:
      assert all('\n' not in line for block in read_blocks([path]) for line in block.lines)
    except LogjaxError as error:
      assert 'the gzip file is cut short or damaged after line ' in str(error)
      assert '\n' not in str(error)


LABELS = st.sampled_from(
  ['blk_1', 'blk_-2', 'Normal', 'Anomaly', '', '"', '"a\nb"', '\0', ',', '\r', '9' * 30]
)


@settings(deadline=None, max_examples=60)
@given(
  rows=st.lists(st.lists(LABELS | st.text(max_size=5), max_size=3).map(','.join)),
  header=st.sampled_from(
    ['BlockId,Label', 'Label,BlockId', 'BlockId,BlockId,Label', '"BlockId",Label', '']
  ),
  rest=st.binary(max_size=40),
)
def test_any_label_file_is_read_or_explained(tmp_path_factory, rows, header, rest):
  content = '\n'.join([header, *rows]).encode(errors='replace') + rest
  try:
    names = read_abnormal_blocks(write(tmp_path_factory, content, 'labels.csv'))
    assert all(isinstance(name, str) for name in names)
    if names:
      LineLabels('blocks', names).abnormal('a.log', ['text'])
  except LogjaxError as error:
    assert visible(str(error)) == str(error) and 'labels.csv: ' in str(error)


@settings(deadline=None, max_examples=30)
@given(
  messages=st.lists(
    st.text(max_size=30) | st.sampled_from(NUMBERS + DATES), min_size=1, max_size=8
  ),
  numbers=st.sampled_from(['mask', 'keep']),
  identifiers=st.sampled_from(['mask', 'keep', 'drop']),
)
def test_any_message_becomes_a_row(messages, numbers, identifiers):
  texts = read_texts(pl.Series([*messages, 'word']), Masks(numbers, identifiers))
  assert len(texts.index) == len(messages) + 1 and texts.texts.null_count() == 0
  lines = np.arange(len(texts.index))
  vocabulary = fit_vocabulary(texts, lines, max_vocabulary=50, kept_numbers=3)
  assert vocabulary.encode(texts.texts, 5).shape == (len(texts.texts), 5)
  drain = fit_templates(texts.texts)
  assert len(drain.apply(texts.texts)) == len(texts.texts)


def test_a_pattern_that_the_engine_refuses_is_never_half_taken():
  for pattern in (r'(?-u:\xff)(?<message>.)', '(?<message>a{2,1})', '(?<message>[z-a])'):
    assert one_line(named_groups, pattern).startswith('data.pattern: ')
