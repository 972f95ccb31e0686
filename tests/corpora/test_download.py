"""Archives are fetched, checked and unpacked whole, or not at all."""

import functools
import hashlib
import http.server
import io
import os
import socket
import tarfile
import threading
import time
import zipfile
from pathlib import Path

import pytest

from logjax.corpora.download import fetch, new_folder, unpack
from logjax.errors import LogjaxError

CONTENT = b'one line\nanother line\n' * 1000
MD5 = hashlib.md5(CONTENT).hexdigest()
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class _Handler(http.server.SimpleHTTPRequestHandler):
  """Serves a folder; two addresses misbehave."""

  def do_GET(self):
    self.server.requests.append(self.path)
    if self.path == '/silent.zip':
      time.sleep(1)
    elif self.path == '/cut.zip':
      self.send_response(200)
      self.send_header('Content-Length', str(len(CONTENT)))
      self.end_headers()
      self.wfile.write(CONTENT[:100])
    else:
      super().do_GET()

  def log_message(self, *args):
    pass


@pytest.fixture
def server(tmp_path, monkeypatch):
  monkeypatch.setenv('no_proxy', '*')
  folder = tmp_path / 'served'
  folder.mkdir()
  (folder / 'data.zip').write_bytes(CONTENT)
  handler = functools.partial(_Handler, directory=folder)
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
    server.requests = []
    server.address = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()


def _make_archive(path, members):
  """Writes a .zip or .tar.gz whose members are (name, bytes) pairs."""
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


archives = pytest.mark.parametrize('name', ['a.zip', 'a.tar.gz'])


def test_a_download_arrives_whole_and_tells_its_progress(server, tmp_path):
  told = []
  target = fetch(
    f'{server.address}/data.zip',
    tmp_path / 'new' / 'data.zip',
    md5=MD5,
    sha256=SHA256,
    size=len(CONTENT),
    progress=lambda done, total: told.append((done, total)),
  )
  assert target.read_bytes() == CONTENT
  assert told[-1] == (len(CONTENT), len(CONTENT))
  assert os.listdir(target.parent) == ['data.zip']


def test_what_is_there_is_not_downloaded_again(server, tmp_path):
  for _ in range(2):
    fetch(f'{server.address}/data.zip', tmp_path / 'data.zip', md5=MD5)
  assert server.requests == ['/data.zip']


@pytest.mark.parametrize(
  ('expected', 'found', 'sums'),
  [
    ('0' * 32, MD5, {'md5': '0' * 32}),
    ('0' * 64, SHA256, {'md5': MD5, 'sha256': '0' * 64}),
    ('17', str(len(CONTENT)), {'md5': MD5, 'size': 17}),
  ],
)
def test_a_wrong_checksum_is_named_beside_the_expected_one(server, tmp_path, expected, found, sums):
  folder = tmp_path / 'new'
  with pytest.raises(LogjaxError) as error:
    fetch(f'{server.address}/data.zip', folder / 'data.zip', **sums)
  message = str(error.value)
  assert 'data.zip' in message and f'{found}, expected {expected}' in message
  assert '\n' not in message
  assert os.listdir(folder) == []


@pytest.mark.parametrize(
  ('path', 'reason'),
  [
    ('absent.zip', '404'),
    ('cut.zip', f'ended after 100 of {len(CONTENT)} bytes'),
    ('silent.zip', 'does not answer in time'),
  ],
)
def test_a_failed_download_names_the_address_and_the_way_out(server, tmp_path, path, reason):
  folder = tmp_path / 'new'
  with pytest.raises(LogjaxError) as error:
    fetch(f'{server.address}/{path}', folder / path, md5=MD5, timeout=0.3)
  message = str(error.value)
  assert f'{server.address}/{path}' in message and reason in message
  assert f'{path} by other means and put it into data.manual_dir' in message
  assert '\n' not in message
  assert os.listdir(folder) == []


def test_no_network_is_a_user_error(tmp_path, monkeypatch):
  monkeypatch.setenv('no_proxy', '*')
  with socket.socket() as taken:  # bound, so that nobody else gets the port, and not listening
    taken.bind(('127.0.0.1', 0))
    url = f'http://127.0.0.1:{taken.getsockname()[1]}/data.zip'
    with pytest.raises(LogjaxError, match='refused'):
      fetch(url, tmp_path / 'data.zip', md5=MD5, timeout=0.3)


@archives
def test_only_the_wanted_members_are_unpacked_flat_and_in_the_asked_order(tmp_path, name):
  members = [('top/b.log', b'b'), ('top/README', b'no'), ('a.log', b'a')]
  archive = _make_archive(tmp_path / name, members)
  paths = unpack(archive, ['a.log', 'b.log'], tmp_path / 'out')
  assert [path.read_bytes() for path in paths] == [b'a', b'b']
  assert sorted(os.listdir(tmp_path / 'out')) == ['a.log', 'b.log']


@archives
def test_an_archive_is_unpacked_once(tmp_path, name):
  archive = _make_archive(tmp_path / name, [('a.log', b'a')])
  unpack(archive, ['a.log'], tmp_path / 'out')
  archive.unlink()
  assert unpack(archive, ['a.log'], tmp_path / 'out') == (tmp_path / 'out' / 'a.log',)


@archives
@pytest.mark.parametrize('hostile', ['../x', 'top/../../a.log', '/a.log', '..\\a.log'])
def test_a_member_that_leads_out_of_the_archive_is_refused(tmp_path, name, hostile):
  archive = _make_archive(tmp_path / name, [('a.log', b'a'), (hostile, b'evil')])
  with pytest.raises(LogjaxError, match='leads out of the archive'):
    unpack(archive, ['a.log'], tmp_path / 'deep' / 'out')
  assert sorted(path.name for path in tmp_path.rglob('*')) == sorted([name, 'deep'])


def test_a_link_is_not_taken_for_the_file_it_points_to(tmp_path):
  (tmp_path / 'secret').write_text('secret')
  with tarfile.open(tmp_path / 'a.tar.gz', 'w:gz') as file:
    info = tarfile.TarInfo('a.log')
    info.type, info.linkname = tarfile.SYMTYPE, str(tmp_path / 'secret')
    file.addfile(info)
  with pytest.raises(LogjaxError, match='holds no a.log'):
    unpack(tmp_path / 'a.tar.gz', ['a.log'], tmp_path / 'out')


@archives
def test_a_member_that_is_missing_or_there_twice_is_named(tmp_path, name):
  archive = _make_archive(tmp_path / name, [('x/a.log', b'a'), ('y/a.log', b'b')])
  with pytest.raises(LogjaxError, match='holds a.log twice'):
    unpack(archive, ['a.log'], tmp_path / 'out')
  with pytest.raises(LogjaxError, match='holds no c.log'):
    unpack(archive, ['c.log'], tmp_path / 'out')
  assert os.listdir(tmp_path) == [name]


@archives
def test_a_truncated_archive_is_named_and_leaves_nothing(tmp_path, name):
  archive = _make_archive(tmp_path / name, [('a.log', os.urandom(50_000))])
  archive.write_bytes(archive.read_bytes()[:20_000])
  with pytest.raises(LogjaxError, match=f'{name}: cannot be unpacked'):
    unpack(archive, ['a.log'], tmp_path / 'out')
  assert os.listdir(tmp_path) == [name]


def test_a_flipped_bit_in_a_zip_file_is_found(tmp_path):
  archive = _make_archive(tmp_path / 'a.zip', [('a.log', os.urandom(50_000))])
  content = bytearray(archive.read_bytes())
  content[20_000] ^= 1
  archive.write_bytes(content)
  with pytest.raises(LogjaxError, match='cannot be unpacked'):
    unpack(archive, ['a.log'], tmp_path / 'out')


def test_a_locked_folder_is_a_user_error(tmp_path, monkeypatch):
  def locked(path, **_):
    raise PermissionError(13, 'Permission denied', str(path))

  monkeypatch.setattr(Path, 'exists', locked)
  with pytest.raises(LogjaxError, match='cannot download .*Permission denied'):
    fetch('http://localhost/a.zip', tmp_path / 'a.zip', md5='')
  with pytest.raises(LogjaxError, match='cannot be unpacked in .*Permission denied'):
    unpack(tmp_path / 'a.zip', ['a.log'], tmp_path / 'out')


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
