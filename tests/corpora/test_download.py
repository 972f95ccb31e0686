"""Archives are found, fetched, checked and unpacked whole, or not at all."""

import hashlib
import io
import os
import socket
import tarfile
import zipfile
from pathlib import Path

import pytest

from logjax.corpora.catalog import CATALOG, Archive
from logjax.corpora.download import (
  download_logs,
  fetch,
  find_logs,
  new_folder,
  unpack,
  wanted_names,
)
from logjax.errors import LogjaxError

CONTENT = b'one line\nanother line\n' * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
archives = pytest.mark.parametrize('name', ['a.zip', 'a.tar.gz'])


def archive_of(name, *members, url='', md5=MD5, sha256='', label_file=''):
  return Archive(name, url, md5, members, sha256, label_file=label_file)


def pack(path, members):
  """Writes a .zip or .tar.gz with members that are (name, bytes) pairs."""
  if path.suffix == '.zip':
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_DEFLATED) as file:
      for name, content in members:
        file.writestr(name, content)
  else:
    with tarfile.open(path, 'w:gz') as file:
      for name, content in members:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        file.addfile(info, io.BytesIO(content))
  return path


def one_line(call, *args, **options):
  with pytest.raises(LogjaxError) as raised:
    call(*args, **options)
  assert '\n' not in str(raised.value)
  return str(raised.value)


# Downloads.


@pytest.fixture
def published(server):
  """An archive that the local server offers."""
  (server.folder / 'data.zip').write_bytes(CONTENT)
  return archive_of('data.zip', url=f'{server.address}/data.zip', sha256=SHA256)


def test_a_download_arrives_whole_and_reports_its_progress(published, tmp_path, capfd):
  reported = []
  target = fetch(published, tmp_path / 'new', progress=lambda *bytes: reported.append(bytes))
  assert target == tmp_path / 'new' / 'data.zip' and target.read_bytes() == CONTENT
  assert reported[-1] == (len(CONTENT), len(CONTENT))
  assert all(received <= total for received, total in reported)
  assert os.listdir(target.parent) == ['data.zip']
  assert capfd.readouterr() == ('', '')


def test_an_archive_is_downloaded_again_only_if_its_checksum_is_wrong(published, server, tmp_path):
  published = published._replace(sha256='')
  for _ in range(2):
    target = fetch(published, tmp_path)
  assert server.requests == ['/data.zip']
  target.write_bytes(CONTENT[:100])  # as a copy by other means that was interrupted
  assert fetch(published, tmp_path).read_bytes() == CONTENT
  assert server.requests == 2 * ['/data.zip']


@pytest.mark.parametrize(
  ('sums', 'found', 'expected'),
  [({'md5': '0' * 32, 'sha256': ''}, MD5, '0' * 32), ({'sha256': '0' * 64}, SHA256, '0' * 64)],
)
def test_a_wrong_checksum_is_named_beside_the_expected_one(
  published, tmp_path, sums, found, expected
):
  message = one_line(fetch, published._replace(**sums), tmp_path / 'new')
  assert published.url in message and found in message and expected in message
  assert os.listdir(tmp_path / 'new') == []


@pytest.mark.parametrize(
  ('name', 'timeout', 'reason'),
  [
    ('absent.zip', 60, '404'),
    ('cut.zip', 60, '100 bytes read, 4900 more expected'),
    ('silent.zip', 0.3, 'timed out'),
  ],
)
def test_a_failed_download_names_the_address_and_the_way_out(
  server, tmp_path, name, timeout, reason
):
  archive = archive_of(name, url=f'{server.address}/{name}')
  message = one_line(fetch, archive, tmp_path / 'new', timeout=timeout)
  assert f'cannot download {archive.url}: ' in message and reason in message
  assert f'{name} by other means and put it into data.manual_dir' in message
  assert os.listdir(tmp_path / 'new') == []


def test_an_interrupted_download_leaves_nothing(published, tmp_path):
  def interrupt(*_):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    fetch(published, tmp_path / 'new', progress=interrupt)
  assert os.listdir(tmp_path / 'new') == []
  assert fetch(published, tmp_path / 'new').read_bytes() == CONTENT


def test_no_network_is_a_user_error(tmp_path, monkeypatch):
  monkeypatch.setenv('no_proxy', '*')
  with socket.socket() as taken:  # bound, so that nobody else gets the port, and not listening
    taken.bind(('127.0.0.1', 0))
    url = f'http://127.0.0.1:{taken.getsockname()[1]}/data.zip'
    assert 'refused' in one_line(fetch, archive_of('data.zip', url=url), tmp_path)


def test_a_corpus_is_downloaded_and_unpacked_once(server, tmp_path):
  content = pack(server.folder / 'a.zip', [('top/a.log', b'a')]).read_bytes()
  md5 = hashlib.md5(content).hexdigest()
  archive = archive_of('a.zip', 'a.log', url=f'{server.address}/a.zip', md5=md5)
  for _ in range(2):
    (path,) = download_logs(archive, tmp_path / 'downloads')
    assert path.read_bytes() == b'a'
    # The unpacked files are enough.
    (tmp_path / 'downloads' / 'a.zip').unlink(missing_ok=True)
  assert server.requests == ['/a.zip']


# Unpacking.


@archives
def test_only_the_wanted_members_are_unpacked_without_their_folders(tmp_path, name):
  members = [('top/b.log', b'b'), ('top/README', b'no'), ('./a.log', b'a'), ('x/labels.csv', b'l')]
  packed = pack(tmp_path / name, members)
  archive = archive_of(name, 'a.log', 'b.log', label_file='labels.csv')
  paths = unpack(archive, packed, tmp_path / 'out')
  assert [path.read_bytes() for path in paths] == [b'a', b'b']
  assert sorted(os.listdir(tmp_path / 'out')) == ['a.log', 'b.log', 'labels.csv']


@archives
def test_an_archive_is_unpacked_once(tmp_path, name):
  packed = pack(tmp_path / name, [('a.log', b'a')])
  archive = archive_of(name, 'a.log')
  unpack(archive, packed, tmp_path / 'out')
  packed.unlink()
  assert unpack(archive, packed, tmp_path / 'out') == (tmp_path / 'out' / 'a.log',)


@archives
def test_a_member_is_written_into_the_folder_wherever_its_name_leads(tmp_path, name):
  packed = pack(tmp_path / name, [('../../a.log', b'a'), ('/b.log', b'b')])
  unpack(archive_of(name, 'a.log', 'b.log'), packed, tmp_path / 'deep' / 'out')
  assert sorted(path.name for path in tmp_path.rglob('*')) == sorted(
    [name, 'deep', 'out', 'a.log', 'b.log']
  )


def test_a_link_is_not_taken_for_the_file_it_points_to(tmp_path):
  with tarfile.open(tmp_path / 'a.tar.gz', 'w:gz') as file:
    info = tarfile.TarInfo('a.log')
    info.type, info.linkname = tarfile.SYMTYPE, str(tmp_path / 'secret')
    file.addfile(info)
  archive = archive_of('a.tar.gz', 'a.log')
  assert 'holds no a.log' in one_line(unpack, archive, tmp_path / 'a.tar.gz', tmp_path / 'out')


@archives
def test_a_missing_member_is_named(tmp_path, name):
  packed = pack(tmp_path / name, [('a.log', b'a')])
  message = one_line(unpack, archive_of(name, 'a.log', 'c.log'), packed, tmp_path / 'out')
  assert 'holds no c.log; is it the right archive?' in message
  assert os.listdir(tmp_path) == [name]


@archives
def test_a_truncated_archive_is_named_and_leaves_nothing(tmp_path, name):
  packed = pack(tmp_path / name, [('a.log', os.urandom(50_000))])
  packed.write_bytes(packed.read_bytes()[:20_000])
  message = one_line(unpack, archive_of(name, 'a.log'), packed, tmp_path / 'out')
  assert f'{name}: cannot be unpacked' in message
  assert os.listdir(tmp_path) == [name]


def test_a_flipped_bit_in_a_zip_file_is_found(tmp_path):
  packed = pack(tmp_path / 'a.zip', [('a.log', os.urandom(50_000))])
  content = bytearray(packed.read_bytes())
  content[20_000] ^= 1
  packed.write_bytes(content)
  assert 'cannot be unpacked' in one_line(
    unpack, archive_of('a.zip', 'a.log'), packed, tmp_path / 'out'
  )


def test_a_locked_folder_is_a_user_error(tmp_path, monkeypatch):
  def locked(path, **_):
    raise PermissionError(13, 'Permission denied', str(path))

  monkeypatch.setattr(Path, 'exists', locked)
  message = one_line(unpack, archive_of('a.zip', 'a.log'), tmp_path / 'a.zip', tmp_path / 'out')
  assert 'cannot be unpacked in ' in message and 'Permission denied' in message


def test_a_new_folder_appears_only_when_its_block_ends_well(tmp_path):
  with pytest.raises(KeyboardInterrupt), new_folder(tmp_path / 'out') as temporary:
    (temporary / 'half').touch()
    raise KeyboardInterrupt
  assert os.listdir(tmp_path) == []
  with new_folder(tmp_path / 'out') as temporary:
    (temporary / 'whole').touch()
  assert os.listdir(tmp_path) == ['out'] and os.listdir(tmp_path / 'out') == ['whole']


def test_of_two_that_make_a_folder_at_once_the_first_one_wins(tmp_path):
  with new_folder(tmp_path / 'out') as second:
    (second / 'second').touch()
    with new_folder(tmp_path / 'out') as first:
      (first / 'first').touch()
  assert os.listdir(tmp_path) == ['out'] and os.listdir(tmp_path / 'out') == ['first']


# Folders of the user.


def test_plain_files_come_before_packed_ones_and_those_before_the_archive(tmp_path):
  archive = CATALOG['bgl'].archive
  pack(tmp_path / 'BGL.zip', [('BGL.log', b'from the archive\n')])
  (unpacked,) = find_logs(archive, tmp_path, tmp_path / 'unpacked')
  assert unpacked.read_text() == 'from the archive\n'
  for name in ('BGL.log.gz', 'BGL.log'):
    (tmp_path / name).touch()
    assert find_logs(archive, tmp_path, tmp_path / 'unpacked') == (tmp_path / name,)


def test_some_of_several_files_are_taken_if_there_is_no_archive(tmp_path):
  (tmp_path / 'openstack_abnormal.log').touch()
  (tmp_path / 'openstack_normal1.log.gz').touch()
  names = [path.name for path in find_logs(CATALOG['openstack'].archive, tmp_path, tmp_path)]
  assert names == ['openstack_normal1.log.gz', 'openstack_abnormal.log']


def test_another_archive_under_the_same_name_is_unpacked_again(tmp_path):
  for text in (b'old', b'newer'):
    pack(tmp_path / 'BGL.zip', [('BGL.log', text)])
    (found,) = find_logs(CATALOG['bgl'].archive, tmp_path, tmp_path / 'unpacked')
    assert found.read_bytes() == text


@pytest.mark.parametrize('exists', [True, False])
def test_a_folder_without_the_corpus_names_the_files_looked_for(tmp_path, exists):
  folder = tmp_path if exists else tmp_path / 'absent'
  archive = CATALOG['openstack'].archive
  message = one_line(find_logs, archive, folder, tmp_path)
  for name in (str(folder), *wanted_names(archive)):
    assert name in message
