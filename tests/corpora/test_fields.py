"""Own formats: their fields, and the errors for patterns and time formats that cannot be used."""

from datetime import UTC, datetime

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logjax.corpora.fields import named_groups, own_format
from logjax.corpora.labels import LineLabels
from logjax.corpora.parsing import parse_blocks
from logjax.corpora.reading import Block
from logjax.errors import LogjaxError

WORDS = own_format('(?<message>[a-z ]*)')


def parse(lines, log_format):
  return parse_blocks([Block('a.log', 1, lines)], log_format, labels=LineLabels(), max_rejected=0.5)


def microseconds(*moment):
  return round(datetime(*moment, tzinfo=UTC).timestamp() * 1_000_000)


def error(call, *args, **options):
  with pytest.raises(LogjaxError) as raised:
    call(*args, **options)
  return str(raised.value)


def test_an_own_format_with_all_fields():
  own = own_format(
    r'(?P<time>\S+ \S+) \[(?P<node>\w+)\] (?P<label>[A-Z]+): (?P<message>.*)',
    time_format='%Y-%m-%d %H:%M:%S%.f',
    normal_label='INFO',
  )
  logs = parse(
    ['2024-02-29 10:00:00.25 [web1] INFO: fine', '2024-02-29 10:00:01 [web2] ERROR: broken'], own
  )
  assert logs.labelled
  assert logs.frame['message'].to_list() == ['fine', 'broken']
  assert logs.frame['abnormal'].to_list() == [False, True]
  assert logs.frame['label'].to_list() == [None, 'ERROR']
  assert logs.frame['node'].to_list() == ['web1', 'web2']
  assert logs.frame['time'].to_list() == [
    microseconds(2024, 2, 29, 10, 0, 0, 250_000),
    microseconds(2024, 2, 29, 10, 0, 1),
  ]


def test_an_own_format_with_a_message_only_is_unlabelled():
  logs = parse(['some words'], WORDS)
  assert not logs.labelled
  assert logs.frame.schema == {
    'message': pl.String,
    'abnormal': pl.Boolean,
    'label': pl.String,
    'time': pl.Int64,
    'node': pl.String,
    'file': pl.Int32,
    'line': pl.Int64,
  }
  assert logs.frame.row(0) == ('some words', False, None, None, None, 0, 1)


def test_a_pattern_must_match_the_whole_line():
  assert parse(['some words', 'some words 1'], WORDS).rejected['line'].to_list() == [2]


@pytest.mark.parametrize(
  ('pattern', 'expected'),
  [
    ('(?<message>.*', 'not a regular expression: unclosed group'),
    (r'\S+ (.*)', 'no group is named message'),
    ('(?<message>.*) (?<host>.*)', "the group name 'host' is unknown: choose from message, label"),
    ('(?=x)(?<message>.*)', 'never backtracks, so look-around such as'),
    ('(?<!x)(?<message>.*)', 'never backtracks, so look-around such as'),
    (r'(?<message>.*)\1', 'never backtracks, so look-around such as'),
    (r'(?<message>(\d{1000}){1000})', 'exceeds size limit'),
    ('(?<message>.)(?<message>.)', 'duplicate capture group name'),
    ('(?<time>.)(?<message>.)', 'is empty, but data.pattern has the group time'),
  ],
)
def test_a_pattern_that_cannot_be_used_is_explained_in_one_line(pattern, expected):
  message = error(own_format, pattern)
  assert expected in message and '\n' not in message
  assert message.startswith(('data.pattern: ', 'data.time_format: '))


@pytest.mark.parametrize(
  ('time_format', 'expected'),
  [
    ('%Q', "'%Q' cannot be read"),
    ('%H:%M', 'has no day'),
    ('%Y-%m', 'has no day'),
    ('', 'is empty, but data.pattern has the group time'),
    ('%I %p', 'cannot be read'),
    ('%H:%M:%S,%f', 'counts nanoseconds: write %.f'),
  ],
)
def test_a_time_format_that_cannot_be_used_is_explained_in_one_line(time_format, expected):
  message = error(own_format, '(?<time>.*) (?<message>.*)', time_format)
  assert expected in message and '\n' not in message


def test_a_time_format_without_a_time_group_is_explained():
  assert 'no group time' in error(own_format, '(?<message>.*)', 'epoch')


@pytest.mark.parametrize(
  ('time_format', 'time', 'expected'),
  [
    ('epoch', '12.25', 12_250_000),
    ('epoch', '-1', -1_000_000),
    ('epoch', '1e300', None),
    ('epoch', 'soon', None),
    ('%Y-%m-%dT%H:%M:%S.%f', '1970-01-01T00:00:01.5', 1_500_000),
    ('%Y-%m-%d %H:%M:%S,%3f', '1970-01-01 00:00:01,500', 1_500_000),
    ('%Y-%m-%d %H:%M:%S %z', '1970-01-01 01:00:00 +0100', 0),
    ('%Y-%m-%d', '1970-01-02', 86_400_000_000),
    ('%b %d %H:%M:%S', 'Nov  9 12:31:18', microseconds(2000, 11, 9, 12, 31, 18)),
    ('%b %e %H:%M:%S', 'Feb 29 12:31:18', microseconds(2000, 2, 29, 12, 31, 18)),
    ('%s', '12', 12_000_000),
    ('%Y-%m-%d', '1970-02-30', None),
  ],
)
def test_times_are_microseconds_and_unreadable_ones_are_counted(time_format, time, expected):
  own = own_format('(?<time>[^|]*)[|](?<message>.*)', time_format)
  logs = parse([f'{time}|words', f'{written(time_format)}|words'], own)
  assert logs.frame['time'][0] == expected and logs.frame['time'][1] is not None
  assert logs.notes['untimed'] == (expected is None)


def written(time_format):
  """A moment as text of a format."""
  if time_format == 'epoch':
    return '0'
  moment = pl.Series([datetime(2004, 2, 3, 16, 5, 6, tzinfo=UTC)])
  return moment.dt.strftime(time_format).item()


def test_a_time_format_that_reads_no_time_is_named_with_the_first_time():
  own = own_format('(?<time>[^|]*)[|](?<message>.*)', '%d.%m.%Y')
  blocks = [Block('a.log', 1, ['', '?']), Block('b.log', 4, ['2004-02-03|words', '|words'])]
  message = error(parse_blocks, blocks, own, labels=LineLabels(), max_rejected=1.0)
  assert message == (
    "b.log:4: the time '2004-02-03' cannot be read as '%d.%m.%Y', nor can that of any other line: "
    'correct --config.data.time_format, or leave it empty and write the group time of '
    '--config.data.pattern as (?:...)'
  )


def test_a_time_group_that_takes_part_in_no_line_is_named_too():
  own = own_format('(?:(?<time>[0-9]+)[|])?(?<message>.*)', 'epoch')
  assert error(parse, ['words'], own).startswith("a.log:1: the time '' cannot be read as 'epoch'")


@settings(deadline=None)
@given(pattern=st.text(max_size=20), time_format=st.text('%YmdHMSfQ:.- ', max_size=8))
def test_only_logjax_errors_escape_from_arbitrary_patterns(pattern, time_format):
  for whole in (pattern, f'(?<message>{pattern})', f'(?<time>{pattern})(?<message>.)'):
    try:
      own = own_format(whole, time_format)
    except LogjaxError as raised:
      assert '\n' not in str(raised)
    else:
      assert 'message' in named_groups(own.whole_line)
