"""The TFDS builder keeps every line, in order."""

import gzip
import sys
import zipfile

import pytest
import tensorflow_datasets as tfds

from logjax.corpora import builder as builder_module
from logjax.corpora.builder import LogCorpus, prepared_blocks
from logjax.corpora.catalog import CATALOG, RECORD
from logjax.corpora.download import find_logs
from logjax.corpora.reading import read_blocks
from logjax.errors import LogjaxError

# Everything that a line of a log may hold besides letters, and lines without anything.
ODD = 'a\r\n\n\ttab\x0b\x0c\x1c\x85\u2028end\n\0nul\nü€😀\n  spaces  \n\n'.encode()
ODD += b'not \xff utf-8\nlast line without an end'


def _write_corpus(corpus, folder):
  folder.mkdir(exist_ok=True)
  archive = CATALOG[corpus].archive
  for number, name in enumerate(archive.members):
    (folder / name).write_bytes(f'file {number}\n'.encode() + ODD)
  return find_logs(archive, folder, folder / 'unpacked')


def _lines(blocks):
  """The lines of blocks with their places, however they are cut into blocks."""
  return [
    (block.file, block.first_line + number, line)
    for block in blocks
    for number, line in enumerate(block.lines)
  ]


@pytest.mark.parametrize('corpus', CATALOG)
def test_a_prepared_corpus_gives_back_the_identical_lines(corpus, tmp_path):
  files = _write_corpus(corpus, tmp_path / 'manual')
  expected = _lines(read_blocks(files))
  assert len(expected) == 10 * len(files)
  assert _lines(prepared_blocks(corpus, files, tmp_path / 'tfds')) == expected


def test_tensorflow_is_never_imported(tmp_path):
  files = _write_corpus('bgl', tmp_path / 'manual')
  list(prepared_blocks('bgl', files, tmp_path / 'tfds'))
  assert 'tensorflow' not in sys.modules


def test_lines_stay_in_order_over_many_shards(tmp_path, monkeypatch):
  monkeypatch.setattr(builder_module, '_LINES_PER_EXAMPLE', 3)
  monkeypatch.setattr(builder_module, '_EXAMPLES_PER_SHARD', 2)
  file = tmp_path / 'BGL.log'
  file.write_text(''.join(f'line {number}\n' for number in range(1, 101)))
  blocks = list(prepared_blocks('bgl', [file], tmp_path / 'tfds'))
  assert _lines(blocks) == [(str(file), number, f'line {number}') for number in range(1, 101)]
  assert len(blocks) == 34
  assert len(list((tmp_path / 'tfds').rglob('*array_record*'))) == 17


def test_an_empty_file_differs_from_one_with_an_empty_line(tmp_path):
  for name, text in (('empty', ''), ('newline', '\n')):
    file = tmp_path / name / 'BGL.log'
    file.parent.mkdir()
    file.write_text(text)
    read = list(prepared_blocks('bgl', [file], tmp_path / 'tfds'))
    assert read == list(read_blocks([file]))
    assert [block.lines for block in read] == ([[]] if name == 'empty' else [['']])


def test_a_corpus_is_prepared_once_and_again_when_its_file_changes(tmp_path, monkeypatch):
  files = _write_corpus('bgl', tmp_path / 'manual')
  read = []
  monkeypatch.setattr(builder_module, 'read_blocks', lambda *a: read.append(1) or read_blocks(*a))
  first = list(prepared_blocks('bgl', files, tmp_path / 'tfds'))
  assert len(read) == 2  # once to count, once to write
  assert list(prepared_blocks('bgl', files, tmp_path / 'tfds')) == first
  assert len(read) == 2
  files[0].write_text('another line\n')
  assert _lines(prepared_blocks('bgl', files, tmp_path / 'tfds'))[0][2] == 'another line'


def test_a_truncated_gzip_is_a_user_error_and_leaves_no_half_corpus(tmp_path):
  file = tmp_path / 'BGL.log.gz'
  whole = gzip.compress(b''.join(b'line %d\n' % number for number in range(5000)))
  file.write_bytes(whole[: len(whole) // 2])
  with pytest.raises(LogjaxError, match='BGL.log.gz: the gzip file is cut short'):
    list(prepared_blocks('bgl', [file], tmp_path / 'tfds'))
  file.write_bytes(whole)
  assert len(_lines(prepared_blocks('bgl', [file], tmp_path / 'tfds'))) == 5000


def test_two_processes_that_prepare_a_corpus_in_one_folder_both_have_it(tmp_path, monkeypatch):
  files = _write_corpus('bgl', tmp_path / 'manual')
  expected, examples_of, other = _lines(read_blocks(files)), builder_module._examples, []

  def other_is_quicker(files):
    if not other:  # what the second process has when the first is about to begin
      other.append(None)
      other[0] = _lines(prepared_blocks('bgl', files, tmp_path / 'tfds'))
    return examples_of(files)

  monkeypatch.setattr(builder_module, '_examples', other_is_quicker)
  assert _lines(prepared_blocks('bgl', files, tmp_path / 'tfds')) == expected == other[0]
  assert not list((tmp_path / 'tfds').rglob('*incomplete*'))


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
  files = _write_corpus('bgl', tmp_path / 'manual')
  (tmp_path / 'tfds').write_text('in the way')
  with pytest.raises(LogjaxError, match='name another folder in data.data_dir'):
    list(prepared_blocks('bgl', files, tmp_path / 'tfds'))


def test_nothing_is_printed(tmp_path, capfd):
  files = _write_corpus('bgl', tmp_path / 'manual')
  list(prepared_blocks('bgl', files, tmp_path / 'tfds'))
  assert capfd.readouterr() == ('', '')


def test_tfds_alone_prepares_the_published_archive(tmp_path):
  (tmp_path / 'manual').mkdir()
  with zipfile.ZipFile(tmp_path / 'manual' / 'BGL.zip', 'w') as file:
    file.writestr('BGL/BGL.log', 'first\nsecond\n')
  builder = LogCorpus(config='bgl', data_dir=tmp_path / 'tfds', file_format='array_record')
  config = tfds.download.DownloadConfig(manual_dir=tmp_path / 'manual')
  builder.download_and_prepare(download_config=config)
  (example,) = builder.as_data_source(split='train')
  assert example == {'lines': b'first\nsecond\n', 'file': b'BGL.log', 'first_line': 1}


@pytest.mark.parametrize('corpus', CATALOG)
def test_each_config_names_the_origin_of_its_corpus(corpus, tmp_path):
  info = LogCorpus(config=corpus, data_dir=tmp_path).info
  assert info.full_name == f'logs/{corpus}/1.0.0'
  assert info.description == CATALOG[corpus].about
  assert info.homepage == RECORD
  assert info.redistribution_info.license == 'CC BY 4.0'
  assert info.citation == CATALOG[corpus].citation
  assert CATALOG[corpus].archive.url in LogCorpus.MANUAL_DOWNLOAD_INSTRUCTIONS
