"""A run's lines come from the first source that its config names, or the run ends."""

import hashlib
import zipfile
from pathlib import Path

import pytest

from configs import default
from logjax.corpora import catalog, source
from logjax.corpora.catalog import CATALOG
from logjax.corpora.simulated.simulate import VERSION
from logjax.corpora.source import find_paths, open_corpus
from logjax.errors import LogjaxError

NORMAL = CATALOG['bgl'].format.example
ABNORMAL = f'KERNDTLB{NORMAL[1:]}'


def _config(**fields):
  data = default.data()
  data.update({'corpus': 'bgl', 'simulated_lines': 200, **fields})
  return data


def _write(path, *lines):
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(''.join(f'{line}\n' for line in lines))
  return path


@pytest.fixture
def published(server, monkeypatch):
  """Publishes a tiny BGL.zip of one abnormal line in place of the real one."""
  path = server.folder / 'BGL.zip'
  with zipfile.ZipFile(path, 'w') as file:
    file.writestr('BGL.log', f'{ABNORMAL}\n')
  content = path.read_bytes()
  entry = CATALOG['bgl']
  archive = entry.archive._replace(
    url=f'{server.address}/BGL.zip',
    md5=hashlib.md5(content).hexdigest(),
    sha256=hashlib.sha256(content).hexdigest(),
    size=len(content),
  )
  monkeypatch.setitem(catalog.CATALOG, 'bgl', entry._replace(archive=archive))


def test_a_path_comes_before_a_manual_folder_before_a_download_before_simulation(
  tmp_path, published
):
  path = _write(tmp_path / 'mine.log', NORMAL, ABNORMAL)
  manual = _write(tmp_path / 'manual' / 'BGL.log', NORMAL, NORMAL, ABNORMAL)
  fields = {'path': str(path), 'manual_dir': str(manual.parent), 'download': True}
  found = []
  for named in ('path', 'manual_dir', 'download', None):
    corpus = open_corpus(_config(**fields), 0, tmp_path / 'cache')
    found.append((corpus.origin, corpus.logs.lines))
    assert corpus.name == 'bgl'
    assert corpus.paths == corpus.logs.files
    assert all(Path(path).is_file() for path in corpus.paths)
    fields.pop(named, None)
  assert found == [('file', 2), ('manual', 3), ('download', 1), ('simulated', 200)]


def test_a_prepared_corpus_is_parsed_like_its_file(tmp_path):
  manual = _write(tmp_path / 'manual' / 'BGL.log', NORMAL, ABNORMAL, '', 'unfit', NORMAL + '\r')
  fields = {'max_rejected': 0.5}
  by_path = open_corpus(_config(path=str(manual), **fields), 0, tmp_path / 'cache').logs
  by_tfds = open_corpus(
    _config(manual_dir=str(manual.parent), **fields), 0, tmp_path / 'cache'
  ).logs
  assert by_tfds.frame.equals(by_path.frame) and by_tfds.rejected.equals(by_path.rejected)
  assert (by_tfds.lines, by_tfds.notes) == (by_path.lines, by_path.notes)
  assert by_path.frame['abnormal'].to_list() == [False, True, False]


def test_a_download_goes_into_the_data_folder_of_the_config(tmp_path, published):
  config = _config(download=True, data_dir=str(tmp_path / 'data'))
  corpus = open_corpus(config, 0, tmp_path / 'cache')
  assert Path(corpus.paths[0]).is_relative_to(tmp_path / 'data')
  assert not (tmp_path / 'cache').exists()


def test_simulated_files_are_used_again(tmp_path, monkeypatch):
  first = open_corpus(_config(), 3, tmp_path)
  assert Path(first.paths[0]).parent == tmp_path / 'simulated' / f'bgl-200-3-v{VERSION}'
  monkeypatch.setattr(source, 'simulate', None)
  assert open_corpus(_config(), 3, tmp_path).logs.frame.equals(first.logs.frame)
  with pytest.raises(TypeError):  # another seed would have to be simulated
    open_corpus(_config(), 4, tmp_path)


@pytest.mark.parametrize('corpus', ['bgl', 'thunderbird', 'openstack'])
def test_every_simulated_corpus_is_read_in_the_order_of_the_simulator(corpus, tmp_path):
  opened = open_corpus(_config(corpus=corpus), 0, tmp_path / 'cache')
  expected = source.simulate(corpus, 200, 0, tmp_path / 'again')
  assert [Path(path).name for path in opened.paths] == [path.name for path in expected]
  assert opened.logs.lines == opened.logs.frame.height == 200
  assert 0 < opened.logs.frame['abnormal'].sum() < 200


def test_only_the_first_lines_are_read_where_a_limit_is_given(tmp_path):
  path = _write(tmp_path / 'a.log', NORMAL, ABNORMAL, NORMAL)
  assert open_corpus(_config(path=str(path), limit_lines=2), 0, tmp_path).logs.lines == 2


def test_paths_and_globs_are_read_in_order_and_once(tmp_path, monkeypatch):
  for name in ('b2.log', 'b1.log', 'a.log', 'odd[1].log', 'sub/b3.log'):
    _write(tmp_path / name, NORMAL)
  (tmp_path / 'b0.log').mkdir()  # a glob takes files, not folders
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv('HOME', str(tmp_path))
  assert [str(path) for path in find_paths('odd[1].log, b*.log,a.log,b1.log')] == [
    'odd[1].log',
    'b1.log',
    'b2.log',
    'a.log',
  ]
  assert find_paths('**/b3.log') == (Path('sub/b3.log'),)
  assert find_paths('~/a.log') == (tmp_path / 'a.log',)


@pytest.mark.parametrize('path', ['absent.log', 'absent*.log', 'a.log, absent.log'])
def test_a_path_that_matches_nothing_is_named_with_the_working_directory(
  path, tmp_path, monkeypatch
):
  _write(tmp_path / 'a.log', NORMAL)
  monkeypatch.chdir(tmp_path)
  with pytest.raises(LogjaxError) as error:
    open_corpus(_config(path=path, download=True), 0, tmp_path)
  assert f'data.path {path.split(", ")[-1]!r} matches no file' in str(error.value)
  assert str(tmp_path) in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize('field', ['path', 'manual_dir', 'data_dir', 'label_file'])
def test_the_home_of_an_unknown_user_is_named_with_its_field(field, tmp_path):
  fields = {field: '~no-such-user/x'}
  if field == 'label_file':
    log = _write(tmp_path / 'HDFS.log', CATALOG['hdfs'].format.example)
    fields |= {'corpus': 'hdfs', 'path': str(log)}
  with pytest.raises(LogjaxError) as error:
    open_corpus(_config(**fields), 0, tmp_path)
  assert str(error.value).startswith(
    f"data.{field} '~no-such-user/x' starts with an unknown home folder"
  )
  assert '\n' not in str(error.value)


def test_the_home_of_an_unknown_user_is_named_for_the_cache_folder(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(
    LogjaxError, match="^the cache folder '~no-such-user/x' starts with an unknown home"
  ):
    open_corpus(_config(), 0, '~no-such-user/x')


def test_a_cache_folder_that_cannot_be_made_is_named_with_the_way_out(tmp_path):
  cache = _write(tmp_path / 'file') / 'logjax'
  with pytest.raises(LogjaxError, match=f'^{cache}/simulated/.*Not a directory') as error:
    open_corpus(_config(), 0, cache)
  assert 'set XDG_CACHE_HOME to a folder that can be written' in str(error.value)
  assert '\n' not in str(error.value)


def test_a_cache_folder_that_is_locked_is_named_with_the_way_out(tmp_path, monkeypatch):
  def locked(path, **_):
    raise PermissionError(13, 'Permission denied', str(path))

  for method in ('mkdir', 'exists'):
    with monkeypatch.context() as patch, pytest.raises(LogjaxError) as error:
      patch.setattr(Path, method, locked)
      open_corpus(_config(), 0, tmp_path / 'cache')
    assert str(error.value).startswith(f'{tmp_path}/cache/simulated/bgl-200-0-')
    assert 'Permission denied' in str(error.value) and 'XDG_CACHE_HOME' in str(error.value)


@pytest.mark.parametrize(
  ('fields', 'message'),
  [
    ({'path': ' , '}, 'names no file'),
    ({'corpus': 'linux'}, "data.corpus 'linux' is unknown"),
    ({'corpus': 'own', 'pattern': '(?<message>.*)'}, 'needs log files: name them'),
    ({'corpus': 'hdfs'}, 'no simulated hdfs corpus'),
    ({'pattern': '(?<message>.*)'}, 'has a format of its own'),
    ({'labels': 'colour'}, "labels by 'colour' are unknown"),
    ({'manual_dir': 'nowhere', 'download': True}, 'BGL.log, BGL.log.gz, BGL.zip'),
  ],
)
def test_a_config_that_names_nothing_ends_with_a_clear_line(fields, message, tmp_path):
  with pytest.raises(LogjaxError, match=message) as error:
    open_corpus(_config(**fields), 0, tmp_path)
  assert '\n' not in str(error.value)


def test_openstack_is_labelled_by_instance_or_as_in_the_paper_by_file(tmp_path):
  line = CATALOG['openstack'].format.example
  fault = line.replace(
    'b9000564-fe1a-409b-b8cc-1e88b294cd1d', '544fd51c-4edc-4780-baae-ba1d80a0acfc'
  )
  _write(tmp_path / 'openstack_normal1.log', line)
  _write(tmp_path / 'openstack_abnormal.log', line, fault)
  fields = {'corpus': 'openstack', 'manual_dir': str(tmp_path)}
  for labels, expected in (('auto', [False, False, True]), ('file', [False, True, True])):
    logs = open_corpus(_config(labels=labels, **fields), 0, tmp_path / 'cache').logs
    assert logs.frame['abnormal'].to_list() == expected


def test_hdfs_is_labelled_by_the_blocks_of_a_file_beside_the_log(tmp_path):
  line = CATALOG['hdfs'].format.example
  log = _write(tmp_path / 'HDFS.log', line, line.replace('blk_38865049064139660', 'blk_-7'))
  config = _config(corpus='hdfs', path=str(log))
  with pytest.raises(LogjaxError, match='name it in --config.data.label_file'):
    open_corpus(config, 0, tmp_path)
  table = ('BlockId,Label', 'blk_38865049064139660,Normal', 'blk_-7,Anomaly')
  _write(tmp_path / 'preprocessed' / 'anomaly_label.csv', *table)
  assert open_corpus(config, 0, tmp_path).logs.frame['abnormal'].to_list() == [False, True]
  other = _write(tmp_path / 'other.csv', 'BlockId,Label', 'blk_38865049064139660,Anomaly')
  config.label_file = str(other)
  assert open_corpus(config, 0, tmp_path).logs.frame['abnormal'].to_list() == [True, False]


def test_an_own_format_is_read_from_a_path(tmp_path):
  path = _write(tmp_path / 'mine.log', 'ok|all is well', 'bad|all is lost')
  config = _config(
    corpus='own', path=str(path), pattern=r'(?<label>\w+)\|(?<message>.*)', normal_label='ok'
  )
  logs = open_corpus(config, 0, tmp_path).logs
  assert logs.frame['message'].to_list() == ['all is well', 'all is lost']
  assert logs.frame['abnormal'].to_list() == [False, True]
