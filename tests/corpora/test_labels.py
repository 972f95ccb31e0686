"""Labels by column, by instance, by block and by file."""

import os

import pytest

from logjax.corpora.catalog import CATALOG
from logjax.corpora.labels import ABNORMAL_FILES, LineLabels, read_abnormal_blocks
from logjax.corpora.parsing import parse_blocks
from logjax.corpora.reading import Block
from logjax.errors import LogjaxError

INSTANCES = CATALOG['openstack'].abnormal_instances


def parse(lines, log_format, *, labels, file='a.log'):
  return parse_blocks([Block(file, 1, lines)], log_format, labels=labels, max_rejected=0.0)


def error(call, *args, **options):
  with pytest.raises(LogjaxError) as raised:
    call(*args, **options)
  return str(raised.value)


def test_a_line_is_abnormal_when_it_names_an_abnormal_instance():
  head = 'n.log 2017-05-16 00:00:04.500 2931 INFO nova.virt [-] '
  bad = sorted(INSTANCES)[0]
  good = bad.replace('4', '5')
  logs = parse(
    [f'{head}{text}' for text in (f'[instance: {bad}] x', f'GET /{good}/{bad}', good, 'none')],
    CATALOG['openstack'].format,
    labels=LineLabels('instance', INSTANCES),
  )
  assert logs.labelled
  assert logs.frame['abnormal'].to_list() == [True, True, False, False]


@pytest.mark.parametrize(
  ('file', 'abnormal'),
  [('d/openstack_abnormal.log', True), ('abnormal/openstack_normal1.log', False)],
)
def test_a_line_is_abnormal_when_its_files_name_says_so(file, abnormal):
  labels = LineLabels('file', ABNORMAL_FILES)
  logs = parse(
    [CATALOG['openstack'].format.example], CATALOG['openstack'].format, file=file, labels=labels
  )
  assert logs.frame['abnormal'].to_list() == [abnormal]


def test_a_line_is_abnormal_when_it_names_an_abnormal_block(tmp_path):
  csv = tmp_path / 'anomaly_label.csv'
  csv.write_text('BlockId,Label\nblk_-38,Anomaly\nblk_386,Normal\nblk_7,Anomaly\n')
  labels = LineLabels('blocks', read_abnormal_blocks(csv))
  assert labels.names == {'blk_-38', 'blk_7'}
  head = '081109 203615 148 INFO dfs.FSNamesystem: '
  texts = ['blk_-38 gone', 'blk_38 here', 'blk_-386 here', 'delete blk_386 blk_7', 'none']
  logs = parse([head + text for text in texts], CATALOG['hdfs'].format, labels=labels)
  assert logs.labelled
  assert logs.frame['abnormal'].to_list() == [True, False, False, True, False]


def test_hdfs_without_labels_is_unlabelled():
  logs = parse([CATALOG['hdfs'].format.example], CATALOG['hdfs'].format, labels=LineLabels())
  assert not logs.labelled
  assert logs.frame['abnormal'].to_list() == [False]


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('Block,Label\nblk_1,Normal\n', 'with the columns BlockId and Label'),
    ('', 'with the columns BlockId and Label'),
    ('PK\x03\x04\x00\x08', 'with the columns BlockId and Label'),
    ('BlockId,Label\nblk_1,Fine\n', "block blk_1 is labelled 'Fine'"),
    ('BlockId,Label\nblk_1,\x1b[2J\n', "block blk_1 is labelled '\\\\x1b[2J'"),
    ('BlockId,Label\nblk_1,Anomaly\n,Anomaly\n', 'row 2 names no block'),
  ],
)
def test_a_label_file_that_cannot_be_used_is_explained(tmp_path, text, expected):
  csv = tmp_path / 'labels.csv'
  csv.write_text(text)
  message = error(read_abnormal_blocks, csv)
  assert str(csv) in message and expected in message and '\n' not in message


def test_a_label_file_that_is_absent_or_no_file_is_explained_at_once(tmp_path):
  os.mkfifo(tmp_path / 'pipe')
  for name in ('none.csv', 'pipe', '.'):
    assert 'cannot be read as a CSV file' in error(read_abnormal_blocks, tmp_path / name)


def test_labels_of_an_unknown_kind_or_without_names_are_refused():
  assert "by 'colour' are unknown: choose one of column" in error(LineLabels, 'colour')
  assert 'need the names of what is abnormal' in error(LineLabels, 'blocks')
