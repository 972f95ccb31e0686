"""No archive and no server writes outside of its folder, fills the memory or the disk, or loops."""

import contextlib
import functools
import gzip
import http.server
import io
import os
import shutil
import tarfile
import threading
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logjax.corpora import download
from logjax.corpora.download import fetch, unpack
from logjax.corpora.reading import CONTROLS, read_blocks
from logjax.errors import LogjaxError

ZIP, TAR = 'a.zip', 'a.tar.gz'
archives = pytest.mark.parametrize('name', [ZIP, TAR])
LINES = b'one line\nanother\n' * 50


def packed(name, members) -> bytes:
  """A .zip or .tar.gz whose members are (name, bytes) pairs."""
  file = io.BytesIO()
  if name == ZIP:
    with zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as archive:
      for member, content in members:
        archive.writestr(member, content)
  else:
    with tarfile.open(fileobj=file, mode='w:gz') as archive:
      for member, content in members:
        info = tarfile.TarInfo(member)
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
  return file.getvalue()


def try_unpack(folder, name, data):
  """Unpacks a.log and returns its bytes or the error; nothing else may be written by that."""
  (folder / name).write_bytes(data)
  try:
    (path,) = unpack(folder / name, ['a.log'], folder / 'deep' / 'out')
    found = path.read_bytes()
    assert sorted(os.listdir(folder / 'deep' / 'out')) == ['a.log'] and path.is_file()
  except LogjaxError as error:
    found = str(error)
    assert not CONTROLS.keys() & set(found) and name in found
    assert not (folder / 'deep' / 'out').exists()
  with contextlib.suppress(FileNotFoundError):
    assert set(os.listdir(folder / 'deep')) <= {'out'}
  assert set(os.listdir(folder)) <= {name, 'deep'}
  assert folder.parent.is_dir() and not (folder.parent / 'a.log').exists()
  return found


NAMES = st.sampled_from(
  [
    'a.log',
    'x/a.log',
    './a.log',
    '../a.log',
    'x/../../a.log',
    '/a.log',
    '..\\a.log',
    'C:\\a.log',
    '..',
  ]
) | st.text(st.characters(exclude_categories=['Cs']), min_size=1, max_size=12).filter(
  lambda name: name[0] != '\0'  # zipfile cuts names there, and writes no empty one
)


@archives
@settings(deadline=None, max_examples=40)
@given(names=st.lists(NAMES, max_size=4))
@pytest.mark.filterwarnings('ignore:Duplicate name')
def test_members_of_any_names_stay_in_their_folder(tmp_path_factory, name, names):
  folder = tmp_path_factory.mktemp('names')
  found = try_unpack(folder, name, packed(name, [(member, LINES) for member in names]))
  assert found == LINES or 'refused' in found or 'holds no a.log' in found


@archives
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_a_damaged_archive_is_unpacked_right_or_refused(tmp_path_factory, name, data):
  content = bytearray(packed(name, [('b.log', b'b'), ('x/a.log', LINES), ('last', b'')]))
  if name == TAR and data.draw(st.booleans()):  # damage below the compression
    content = bytearray(gzip.decompress(content))
  for _ in range(data.draw(st.integers(1, 4))):
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255))
  del content[data.draw(st.integers(0, 2 * len(content))) :]
  found = try_unpack(tmp_path_factory.mktemp('damage'), name, bytes(content))
  # A tar file has no checksum of what its members hold.
  assert found == LINES or isinstance(found, str) or (name == TAR and len(found) <= len(LINES))


@archives
@settings(deadline=None, max_examples=30)
@given(content=st.binary(max_size=600))
def test_any_bytes_are_an_archive_or_refused(tmp_path_factory, name, content):
  magic = b'PK\x05\x06' if name == ZIP else b'\x1f\x8b\x08'
  for data in (content, magic + content):
    assert isinstance(try_unpack(tmp_path_factory.mktemp('bytes'), name, data), str)


@pytest.mark.parametrize(
  'kind', [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_pipes_and_devices_are_not_made(tmp_path, kind):
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode='w:gz') as archive:
    info = tarfile.TarInfo('a.log')
    info.type, info.linkname = kind, '/etc/passwd'
    archive.addfile(info)
  assert 'holds no a.log' in try_unpack(tmp_path, TAR, file.getvalue())


def test_a_link_in_a_zip_is_no_more_than_its_text(tmp_path):
  info = zipfile.ZipInfo('a.log')
  info.external_attr = 0o120777 << 16
  assert try_unpack(tmp_path, ZIP, packed(ZIP, [(info, b'/etc/passwd')])) == b'/etc/passwd'
  assert not (tmp_path / 'deep' / 'out' / 'a.log').is_symlink()


@archives
def test_an_archive_in_an_archive_is_told_when_it_is_read(tmp_path, name):
  inner = packed(TAR, [('a.log', LINES)])
  assert try_unpack(tmp_path, name, packed(name, [('a.log', inner)])) == inner
  with pytest.raises(LogjaxError, match='a.log: is a tar archive, and only plain UTF-8 text'):
    list(read_blocks([tmp_path / 'deep' / 'out' / 'a.log']))


@archives
def test_what_the_disk_cannot_hold_is_refused_before_it_is_written(tmp_path, name, monkeypatch):
  usage = shutil.disk_usage(tmp_path)._replace(free=len(LINES) - 1)
  monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage)
  monkeypatch.setattr(shutil, 'copyfileobj', None)
  found = try_unpack(tmp_path, name, packed(name, [('a.log', LINES)]))
  assert f'a.log would have {len(LINES)} bytes and the disk of' in found


def test_a_sparse_member_of_an_exabyte_is_refused(tmp_path):
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode='w:gz', format=tarfile.PAX_FORMAT) as archive:
    info = tarfile.TarInfo('a.log')
    info.pax_headers = {'GNU.sparse.map': '0,0', 'GNU.sparse.size': str(2**60)}
    archive.addfile(info)
  found = try_unpack(tmp_path, TAR, file.getvalue())
  assert 'refused, a.log would have 1,152,921,504,606,846,976 bytes' in found


@pytest.mark.parametrize('kind', [tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, tarfile.XGLTYPE])
def test_a_header_without_end_is_refused(tmp_path, kind):
  file = io.BytesIO()
  with tarfile.open(fileobj=file, mode='w:gz') as archive:
    info = tarfile.TarInfo('long')
    info.type, info.size = kind, 1 << 20
    archive.addfile(info, io.BytesIO(bytes(info.size)))
  found = try_unpack(tmp_path, TAR, file.getvalue())
  assert 'the header of a member has 1,048,576 bytes' in found


def test_nested_headers_end_in_one_line(tmp_path):
  info = tarfile.TarInfo('long')
  info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1
  header = info.tobuf(tarfile.GNU_FORMAT) + b'x'.ljust(512, b'\0')
  found = try_unpack(tmp_path, TAR, gzip.compress(header * 2000))
  assert 'a.tar.gz: cannot be unpacked' in found


class _Hostile(http.server.BaseHTTPRequestHandler):
  """A server that answers as its path says."""

  def do_GET(self):
    self.send_response(302 if self.path == '/redirect' else 200, 'odd \x1b[31m reason')
    if self.path == '/redirect':
      self.send_header('Location', 'http://[bad')
    if self.path == '/length':
      self.send_header('Content-Length', 'many')
    if self.path == '/negative':
      self.send_header('Content-Length', '-5')
    self.end_headers()
    with contextlib.suppress(OSError):
      for _ in range(1_000_000 if self.path == '/endless' else 1):
        self.wfile.write(bytes(1 << 16))

  def log_message(self, *args):
    pass


@pytest.fixture
def address(monkeypatch):
  monkeypatch.setenv('no_proxy', '*')
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), _Hostile) as server:
    serve = functools.partial(server.serve_forever, poll_interval=0.01)
    thread = threading.Thread(target=serve)
    thread.start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()
    thread.join()


@pytest.mark.parametrize('path', ['redirect', 'length', 'negative', 'endless'])
def test_no_answer_of_a_server_is_more_than_one_line(address, path, tmp_path, monkeypatch):
  monkeypatch.setattr(download, '_CHUNK', 1 << 16)
  with pytest.raises(LogjaxError) as error:
    fetch(f'{address}/{path}', tmp_path / 'new' / 'a.zip', md5='0' * 32, size=100_000, timeout=10)
  assert not CONTROLS.keys() & set(str(error.value)) and f'{address}/{path}' in str(error.value)
  assert ('more came than the 100000 bytes' in str(error.value)) == (path == 'endless')
  assert os.listdir(tmp_path / 'new') == []
