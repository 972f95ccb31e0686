"""Lines to Logs: the published formats, bad input, and the errors for lines that do not fit."""

import os
import string
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logjax.corpora import parsing
from logjax.corpora.catalog import CATALOG
from logjax.corpora.fields import own_format
from logjax.corpora.labels import ABNORMAL_FILES, LineLabels
from logjax.corpora.parsing import MESSAGE_LIMIT, parse_blocks, write_rejected, write_rejected_lines
from logjax.corpora.reading import Block, file_name, read_blocks
from logjax.corpora.source import find_paths
from logjax.errors import LogjaxError

DATA = Path(
  os.environ.get('LOGJAX_TEST_DATA', Path(__file__).resolve().parents[3] / 'shared' / 'data')
)
BY_INSTANCE = LineLabels('instance', CATALOG['openstack'].abnormal_instances)
WORDS = own_format('(?<message>[a-z ]*)')
NOT_ONE = {'max_rejected': 0.0, 'labels': LineLabels()}
ANY = {'max_rejected': 1.0, 'labels': LineLabels()}


def parse(lines, log_format=WORDS, *, file='a.log', labels=None, max_rejected=0.5, limit=0):
  return parse_blocks(
    [Block(file, 1, lines)],
    log_format,
    labels=labels or LineLabels(),
    max_rejected=max_rejected,
    limit=limit,
  )


def row(line, log_format, **options):
  return parse([line], log_format, **options).frame.row(0, named=True)


def microseconds(*moment):
  return round(datetime(*moment, tzinfo=UTC).timestamp() * 1_000_000)


def error(call, *args, **options):
  with pytest.raises(LogjaxError) as raised:
    call(*args, **options)
  return str(raised.value)


# Formats.


def test_a_bgl_line():
  line = (
    'APPREAD 1117869872 2005.06.04 R04-M1-N4-I:J18-U11 2005-06-04-00.24.32.432192 '
    'R04-M1-N4-I:J18-U11 RAS APP FATAL ciod: failed to read message prefix'
  )
  assert row(line, CATALOG['bgl'].format) == {
    'message': 'ciod: failed to read message prefix',
    'abnormal': True,
    'label': 'APPREAD',
    'time': microseconds(2005, 6, 4, 7, 24, 32),
    'node': 'R04-M1-N4-I:J18-U11',
    'file': 0,
    'line': 1,
  }


def test_a_bgl_line_may_end_after_its_level():
  line = '- 1 2005.06.03 NULL 2005-06-03-15.42.50.363779 NULL RAS KERNEL INFO'
  assert row(line, CATALOG['bgl'].format)['message'] == ''


@pytest.mark.parametrize(
  'message',
  [
    'dn228/dn228 crond(pam_unix)[2915]: session closed for user root',
    'src@aadmin1 sshd[29997]: Accepted publickey for root',
    'an343/an343 Server Administrator: Instrumentation Service EventID: 1052',
    'local@tbird-admin1 /apps/x86_64/sbin/gmetad[1682]: data_thread() got not answer',
    '#1#/#1# last message repeated 3 times',
  ],
)
def test_a_thunderbird_message_is_all_after_the_node(message):
  _, expected = message.split(' ', 1)
  found = row(
    f'- 1131566461 2005.11.09 dn228 Nov 9 12:01:01 {message}', CATALOG['thunderbird'].format
  )
  assert found['message'] == expected
  assert found['node'] == 'dn228'
  assert found['time'] == microseconds(2005, 11, 9, 20, 1, 1)
  assert (found['abnormal'], found['label']) == (False, None)


@pytest.mark.parametrize('request_id', ['[req-3ea4052c-895d - - - - -] ', '[-] ', ''])
def test_an_openstack_message_is_all_after_the_request(request_id):
  line = f'n.log 2017-05-16 00:00:04.500 2931 INFO nova.virt {request_id}[instance: 1] VM Started'
  found = row(line, CATALOG['openstack'].format)
  assert found['message'] == '[instance: 1] VM Started'
  assert found['time'] == microseconds(2017, 5, 16, 0, 0, 4, 500_000)
  assert found['node'] is None


def test_an_hdfs_line():
  found = row(CATALOG['hdfs'].format.example, CATALOG['hdfs'].format)
  assert found['message'] == 'PacketResponder 1 for block blk_38865049064139660 terminating'
  assert found['time'] == microseconds(2008, 11, 9, 20, 36, 15)


@pytest.mark.parametrize('name', CATALOG)
def test_an_example_fits_its_own_format_and_no_other(name):
  example = CATALOG[name].format.example
  assert parse([example], CATALOG[name].format, **NOT_ONE).frame.height == 1
  for other in CATALOG.keys() - {name}:
    message = error(parse, [example], CATALOG[other].format)
    assert f'({name} fits them)' in message


@pytest.mark.parametrize(
  ('name', 'files', 'labels', 'lines', 'abnormal'),
  [
    ('bgl', ['bgl/BGL_100k.log'], LineLabels(), 100_000, 2_613),
    ('thunderbird', ['thunderbird/Thunderbird_2005-11-15.log'], LineLabels(), 19_350, 715),
    ('thunderbird', ['thunderbird/Thunderbird_2005-11-09.log'], LineLabels(), 10_219, 0),
    (
      'openstack',
      [
        'openstack/openstack_normal1_by_instance.log',
        'openstack/openstack_abnormal_by_instance.log',
      ],
      BY_INSTANCE,
      18_768,
      100,
    ),
    (
      'openstack',
      [
        'openstack/openstack_normal1_by_instance.log',
        'openstack/openstack_abnormal_by_instance.log',
      ],
      LineLabels('file', ABNORMAL_FILES),
      18_768,
      4_903,
    ),
  ],
)
def test_every_line_of_the_real_files_fits(name, files, labels, lines, abnormal):
  paths = [DATA / file for file in files]
  if not all(path.exists() for path in paths):
    pytest.skip(f'{paths[0]} is absent')
  logs = parse_blocks(read_blocks(paths), CATALOG[name].format, labels=labels, max_rejected=0.0)
  assert logs.lines == logs.frame.height == lines
  assert logs.frame['abnormal'].sum() == abnormal
  assert logs.labelled
  assert set(logs.notes.values()) == {0}
  assert logs.frame['time'].null_count() == 0


# Bad input.


def test_empty_lines_are_counted_and_not_rejected():
  logs = parse(['', 'words', '  \t', '\r'], **NOT_ONE)
  assert logs.notes['empty'] == 3
  assert (logs.lines, logs.frame.height, logs.rejected.height) == (4, 1, 0)
  assert logs.frame['line'].to_list() == [2]


def test_carriage_returns_are_stripped_and_counted():
  logs = parse(['words\r', 'more words'])
  assert logs.frame['message'].to_list() == ['words', 'more words']
  assert logs.notes['crlf'] == 1


def test_undecodable_and_nul_bytes_are_counted_and_shown_as_replacements(tmp_path):
  path = tmp_path / 'a.log'
  path.write_bytes(b'caf\xe9\nnul\0byte\nplain\n')
  logs = parse_blocks(read_blocks([path]), own_format('(?<message>.*)'), **NOT_ONE)
  assert logs.frame['message'].to_list() == ['caf\ufffd', 'nul\ufffdbyte', 'plain']
  assert (logs.notes['undecodable'], logs.notes['nul']) == (1, 1)


@pytest.mark.parametrize('size', [1_000_000, 10_000_000])
def test_a_line_of_megabytes_is_kept_up_to_the_limit_and_counted(tmp_path, size):
  path = tmp_path / 'a.log'
  bgl = CATALOG['bgl'].format.example
  path.write_text(f'{bgl}\n{bgl}{"x" * size}\n')
  logs = parse_blocks(read_blocks([path]), CATALOG['bgl'].format, **NOT_ONE)
  assert logs.frame['message'].str.len_chars().to_list()[1] == MESSAGE_LIMIT
  assert logs.notes['cut'] == 1


def test_an_empty_file_is_named(tmp_path):
  path = tmp_path / 'empty.log'
  for content, expected in (('', 'nothing at all'), ('\n\n', '2 empty lines and nothing else')):
    path.write_text(content)
    message = error(parse_blocks, read_blocks([path]), WORDS, **ANY)
    assert message == f'{path}: holds {expected}: check --config.data.path'


def test_an_empty_file_among_others_is_noted(tmp_path):
  empty, full = tmp_path / 'empty.log', tmp_path / 'full.log'
  empty.write_text('')
  full.write_text('words\n')
  logs = parse_blocks(read_blocks([empty, full]), WORDS, **NOT_ONE)
  assert logs.notes['empty_files'] == 1
  assert logs.files == (str(empty), str(full))
  assert logs.frame.select('file', 'line').rows() == [(1, 1)]


def test_no_file_at_all_is_an_error():
  assert 'no file: holds nothing at all' in error(parse_blocks, [], WORDS, **ANY)


def test_rejected_lines_are_kept_with_file_and_line():
  blocks = [Block('a', 1, ['words', '1']), Block('a', 3, ['2']), Block('b', 1, ['3' * 999, 'x'])]
  logs = parse_blocks(blocks, WORDS, **ANY)
  assert logs.rejected.rows() == [(0, 2, '1'), (0, 3, '2'), (1, 1, '3' * 200)]
  assert logs.frame.select('message', 'file', 'line').rows() == [('words', 0, 1), ('x', 1, 2)]
  assert logs.lines == 5


def test_too_many_rejected_lines_end_in_one_message_with_the_first_three():
  bgl = CATALOG['bgl'].format
  bad = ['bad\x1b[31m\tred', 'y' * 500, '', 'third', 'fourth']
  blocks = [Block('a.log', 1, [bgl.example, *bad]), Block('a.log', 7, [bgl.example] * 3)]
  message = error(parse_blocks, blocks, bgl, labels=LineLabels(), max_rejected=0.01)
  summary, expected, *shown = message.split('\n')
  assert summary.startswith('4 of 8 lines (50 %) do not fit the format bgl, and')
  assert 'data.max_rejected allows 1 %' in summary
  for name in ('corpus (', 'corpus=own', 'pattern', 'time_format', 'max_rejected'):
    assert f'--config.data.{name}' in summary
  assert '(bgl, thunderbird, openstack, hdfs, own)' in summary
  assert expected == f'  expected: {bgl.example}'
  assert shown == [
    '  a.log:2: bad\\x1b[31m\\tred',
    f'  a.log:3: {"y" * 120}',
    '  a.log:5: third',
  ]


def test_the_largest_allowed_share_is_still_allowed():
  lines = ['words', '1', '', 'words', 'words']
  assert parse(lines, max_rejected=0.25).rejected.height == 1
  assert '1 of 4 lines (25 %)' in error(parse, lines, max_rejected=0.24)


def test_one_line_that_does_not_fit_is_counted_in_the_singular():
  lines = ['words', '1']
  assert error(parse, lines, max_rejected=0.0).startswith('1 of 2 lines (50 %) does not fit the')


@pytest.mark.parametrize('max_rejected', [0.01, 1.0])
def test_where_no_line_fits_more_are_not_offered_to_be_allowed(max_rejected):
  message = error(parse, ['1', '2'], max_rejected=max_rejected)
  summary = message.partition('\n')[0]
  assert summary.startswith('no line of 2 fits the format own: choose the format with ')
  assert 'max_rejected' not in summary


LABELLED = '(?<label>[^|]*)[|](?<message>.*)'


def test_a_normal_label_that_no_line_has_is_named_with_the_labels_there_are():
  labels = ['INFO'] * 1200 + ['WARN'] * 3 + ['b', 'a\x1b[31m', 'c' * 99, 'd']
  message = error(parse, [f'{label}|words' for label in labels], own_format(LABELLED, '', 'ok'))
  assert message == (
    "no line has the label 'ok', which data.normal_label calls normal: the lines have "
    f"'INFO' (1,200), 'WARN' (3), 'a\\x1b[31m' (1), 'b' (1), '{'c' * 40}' (1), ...: "
    'name the normal one in --config.data.normal_label'
  )


def test_a_label_column_may_be_all_abnormal_where_it_does_not_decide_or_the_format_is_known():
  names = LineLabels('file', ABNORMAL_FILES)
  logs = parse(['bad|words'], own_format(LABELLED, '', 'ok'), labels=names)
  assert logs.frame['abnormal'].to_list() == [False]
  bgl = CATALOG['bgl'].format
  assert row(f'KERNDTLB{bgl.example[1:]}', bgl)['abnormal']


def test_rejected_lines_are_written_as_tab_separated_text(tmp_path):
  logs = parse(['words', '1\t2', 'say "3"\x00'], max_rejected=1.0)
  write_rejected(logs, tmp_path / 'rejected.tsv')
  assert (tmp_path / 'rejected.tsv').read_text().split('\n') == [
    'file\tline\ttext',
    'a.log\t2\t1\\t2',
    'a.log\t3\tsay "3"\ufffd',
    '',
  ]


def test_the_error_about_too_many_rejected_lines_carries_all_of_them(tmp_path):
  blocks = [Block('a.log', 1, ['words', '1', '', '2']), Block('b.log', 1, ['3\t4'])]
  with pytest.raises(LogjaxError) as raised:
    parse_blocks(blocks, WORDS, **NOT_ONE)
  assert raised.value.rejected.rows() == [
    ('a.log', 2, '1'),
    ('a.log', 4, '2'),
    ('b.log', 1, '3\t4'),
  ]
  write_rejected_lines(raised.value.rejected, tmp_path / 'of_error.tsv')
  write_rejected(parse_blocks(blocks, WORDS, **ANY), tmp_path / 'of_logs.tsv')
  written = (tmp_path / 'of_error.tsv').read_text()
  assert written == 'file\tline\ttext\na.log\t2\t1\na.log\t4\t2\nb.log\t1\t3\\t4\n'
  assert written == (tmp_path / 'of_logs.tsv').read_text()


def test_another_error_carries_no_rejected_lines():
  with pytest.raises(LogjaxError) as raised:
    parse([''])
  assert raised.value.rejected is None


def test_a_name_of_any_bytes_is_shown_in_one_line(tmp_path):
  name = os.fsdecode(b'caf\xe9 \x1b[31m\nred.log')
  (tmp_path / name).write_bytes(b'words\n1\n')
  (path,) = find_paths(f'{tmp_path}/*.log')
  logs = parse_blocks(read_blocks([path]), WORDS, **ANY)
  shown = f'{tmp_path}/caf\ufffd \\x1b[31m\\nred.log'
  assert logs.files == (shown,) == (file_name(path),)
  write_rejected(logs, tmp_path / 'rejected.tsv')
  assert (tmp_path / 'rejected.tsv').read_text() == f'file\tline\ttext\n{shown}\t2\t1\n'
  for content in (b'', b'\x1f\x8b', b'PK\x03\x04'):
    path.write_bytes(content)
    message = error(parse_blocks, read_blocks([path]), WORDS, **ANY)
    assert shown in message and '\n' not in message


# Limits.


def test_of_lines_that_do_not_fit_the_first_are_kept_and_all_are_counted(monkeypatch):
  monkeypatch.setattr(parsing, 'REJECTED_LINES', 3)
  blocks = [
    Block('a.log', 1, ['1', 'words', '2']),
    Block('a.log', 4, ['3', '4']),
    Block('b', 1, ['5']),
  ]
  logs = parse_blocks(blocks, WORDS, **ANY)
  assert (logs.lines, logs.unfit) == (6, 5)
  assert logs.rejected['text'].to_list() == ['1', '2', '3']
  with pytest.raises(LogjaxError, match='^5 of 6 lines') as raised:
    parse_blocks(blocks, WORDS, **NOT_ONE)
  assert raised.value.rejected.height == 3


def test_a_very_long_label_or_node_is_cut_and_counted():
  own = own_format(r'(?<label>\S+) (?<node>\S+) (?<message>.*)', normal_label='n' * 2000)
  lines = ['x' * 2000 + ' a b', 'n' * 2000 + ' a b', 'x ' + 'y' * 1001 + ' b', 'x y b']
  logs = parse(lines, own)
  assert logs.notes['cut'] == 3
  assert logs.frame['label'].to_list() == ['x' * 1000, None, 'x', 'x']
  assert logs.frame['node'].to_list() == ['a', 'a', 'y' * 1000, 'y']
  assert logs.frame['abnormal'].to_list() == [True, False, True, True]


def test_a_limit_keeps_the_first_lines_and_reads_no_further():
  def blocks():
    yield Block('a', 1, ['one', 'two', '3'])
    yield Block('b', 1, ['four', 'five'])
    raise AssertionError('read on')

  logs = parse_blocks(blocks(), WORDS, **ANY, limit=4)
  assert logs.lines == 4
  assert logs.frame['message'].to_list() == ['one', 'two', 'four']
  assert parse_blocks(blocks(), WORDS, **ANY, limit=5).lines == 5


@settings(deadline=None)
@given(
  data=st.binary(max_size=200)
  | st.text(string.ascii_lowercase + '0\n\r\0 ').map(str.encode)
  | st.lists(st.sampled_from([b'words', b'1', b'', b'\xff', b'\0', b'\r'])).map(b'\n'.join),
  limit=st.integers(0, 5),
)
def test_every_line_is_kept_or_rejected_or_empty(tmp_path_factory, data, limit):
  path = tmp_path_factory.mktemp('property') / 'a.log'
  path.write_bytes(data)
  try:
    logs = parse_blocks(read_blocks([path]), WORDS, **ANY, limit=limit)
  except LogjaxError:
    return
  lines = data.count(b'\n') + (not data.endswith(b'\n'))
  assert logs.lines == (min(lines, limit) if limit else lines)
  assert logs.frame.height + logs.rejected.height + logs.notes['empty'] == logs.lines
  numbers = pl.concat([logs.frame['line'], logs.rejected['line']])
  assert numbers.n_unique() == len(numbers)
