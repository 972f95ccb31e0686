"""Published archives: fetch one, check it, take the wanted files out of it.

Nothing appears under its final name before it is complete and checked: a fetch that was cut off
and a half unpacked archive leave no trace, and two runs at once do not disturb each other.

TFDS has a download manager of its own, but it can only check SHA-256 sums that are registered
beforehand, and takes what comes where none is. Most of these archives are published with an MD5
sum alone, so they are fetched here and handed to TFDS in a folder, as its `manual_dir`.
"""

import contextlib
import hashlib
import http.client
import lzma
import os
import shutil
import struct
import tarfile
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from logjax.errors import LogjaxError

_CHUNK = 1 << 20

# RuntimeError: a zip file that is encrypted or packed in a way that Python does not know. The
# others are what Python's readers meet in headers that were changed.
_DAMAGE = (
  zipfile.BadZipFile,
  tarfile.TarError,
  zlib.error,
  lzma.LZMAError,
  struct.error,
  ArithmeticError,
  EOFError,
  LookupError,
  OSError,
  RuntimeError,
  TypeError,
  ValueError,
)

# Bytes that the header of a tar file's member may go on for: names and attributes.
_HEADER_LIMIT = 1 << 18
_LONG_HEADERS = (
  tarfile.GNUTYPE_LONGNAME,
  tarfile.GNUTYPE_LONGLINK,
  tarfile.XHDTYPE,
  tarfile.XGLTYPE,
  tarfile.SOLARIS_XHDTYPE,
)

# Called with the bytes that have come and the bytes that are to come (0 where unknown).
Progress = Callable[[int, int], None]


def fetch(
  url: str,
  target: Path,
  *,
  md5: str,
  sha256: str = '',
  size: int = 0,
  timeout: float = 60.0,
  progress: Progress | None = None,
) -> Path:
  """Downloads `url` to `target`, unless that is there already, and checks it first.

  Args:
    url: address of the file.
    target: where to put it; its folder is made. What stands there was checked when it came.
    md5: expected MD5 sum, in hexadecimal digits.
    sha256: expected SHA-256 sum; '' where none is published.
    size: expected size in bytes; 0 where it is not known.
    timeout: seconds that the server may be silent.
    progress: told of every MiB.

  Returns:
    `target`.

  Raises:
    LogjaxError: when the address does not answer, the connection breaks, or what came is not
      the published file. Nothing is left behind.
  """
  partial = None
  try:
    if target.exists():
      return target
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp('.part', f'{target.name}.', target.parent)
    partial = Path(name)
    with os.fdopen(handle, 'wb') as file:
      found = _stream(url, file, size, timeout, progress)
    for what, expected in (('md5', md5), ('sha256', sha256), ('size', str(size or ''))):
      if expected and found[what] != expected:
        raise LogjaxError(
          f'{url}: is not the published file: its {what} is {found[what]}, expected {expected}; '
          f'it was removed: try again, or put {target.name} into data.manual_dir'
        )
    partial.chmod(0o644)
    partial.replace(target)
  except (OSError, ValueError, http.client.HTTPException) as error:
    raise LogjaxError(
      f'cannot download {url}: {_reason(error)}; try again, or fetch {target.name} by other '
      'means and put it into data.manual_dir'
    ) from error
  finally:
    if partial:
      partial.unlink(missing_ok=True)
  return target


def _stream(
  url: str, file: BinaryIO, size: int, timeout: float, progress: Progress | None
) -> dict[str, str]:
  """Copies what the address holds into `file`; returns its md5, sha256 and size as text."""
  md5, sha256, received = hashlib.md5(usedforsecurity=False), hashlib.sha256(), 0
  request = urllib.request.Request(url, headers={'User-Agent': 'logjax'})
  with urllib.request.urlopen(request, timeout=timeout) as response:
    announced = _announced(response.headers.get('Content-Length'))
    while chunk := response.read(_CHUNK):
      file.write(chunk)
      md5.update(chunk)
      sha256.update(chunk)
      received += len(chunk)
      if progress:
        progress(received, announced or size)
      if received - _CHUNK > (size or announced or received):  # else it goes on for ever
        raise ConnectionError(f'more came than the {size or announced} bytes of the file')
  if received < announced:
    raise ConnectionError(f'the connection ended after {received} of {announced} bytes')
  return {'md5': md5.hexdigest(), 'sha256': sha256.hexdigest(), 'size': str(received)}


def _announced(length: str | None) -> int:
  """The bytes that a server says are to come; 0 where it does not say, or no number."""
  try:
    return int(length or 0)
  except ValueError:
    return 0


def _reason(error: Exception) -> str:
  if isinstance(error, urllib.error.HTTPError):
    return f'the server answers {error.code} {error.reason}'
  if isinstance(error, urllib.error.URLError):
    error = error.reason if isinstance(error.reason, Exception) else error
  if isinstance(error, TimeoutError):
    return 'the server does not answer in time'
  return ' '.join(str(error).split()) or type(error).__name__


def unpack(archive: Path, members: Sequence[str], folder: Path) -> tuple[Path, ...]:
  """Takes some files out of a .zip or .tar.gz archive, unless `folder` is there already.

  Args:
    archive: the archive.
    members: names of the wanted files, without the folders they have inside the archive.
    folder: where to put them, all directly in it.

  Returns:
    Paths of the files, in the order of `members`.

  Raises:
    LogjaxError: when the archive is damaged, lacks a wanted file or has it twice, when a name in
      it leads out of the archive, or when a file would not fit on the disk. `folder` does not
      exist then.
  """
  try:
    if folder.exists():
      return tuple(folder / name for name in members)
    with new_folder(folder) as temporary:
      _extract(archive, members, temporary)
      missing = [name for name in members if not (temporary / name).exists()]
      if missing:
        raise LogjaxError(f'{archive}: holds no {", ".join(missing)}; is it the right archive?')
  except _DAMAGE as error:
    raise LogjaxError(
      f'{archive}: cannot be unpacked in {folder.parent}: {_reason(error)}; '
      'is it complete, and is there room?'
    ) from error
  return tuple(folder / name for name in members)


def _extract(archive: Path, members: Sequence[str], folder: Path) -> None:
  """Writes the wanted members into `folder`, under their last names."""
  for name, size, opened in _entries(archive):
    path = PurePosixPath(name.replace('\\', '/'))
    if path.is_absolute() or '..' in path.parts:
      raise LogjaxError(f'{archive}: refused, its member {name!r} leads out of the archive')
    if opened is None or path.name not in members:
      continue
    if (folder / path.name).exists():
      raise LogjaxError(f'{archive}: refused, it holds {path.name} twice')
    if size > (room := shutil.disk_usage(folder).free):
      raise LogjaxError(
        f'{archive}: refused, {path.name} would have {size:,} bytes and the disk of '
        f'{folder.parent} has room for {room:,}: make room, or name another data.data_dir'
      )
    with opened() as source, (folder / path.name).open('wb') as target:
      shutil.copyfileobj(source, target, _CHUNK)


def _entries(archive: Path) -> Iterator[tuple[str, int, Callable[[], BinaryIO] | None]]:
  """Yields the name of every member, its bytes and how to open it (None unless a plain file).

  A tar file is read once from front to end: going back in it would unpack it a second time.
  """
  if archive.suffix == '.zip':
    with zipfile.ZipFile(archive) as file:
      for info in file.infolist():
        # Bound now: the caller opens a member before it asks for the next one.
        opened = None if info.is_dir() else lambda info=info: file.open(info)
        yield info.filename, info.file_size, opened
  else:
    with tarfile.open(archive, 'r|*', tarinfo=_Member) as file:
      for info in file:
        opened = (lambda info=info: file.extractfile(info)) if info.isfile() else None
        yield info.name, info.size, opened
        file.members.clear()  # else it keeps every member that it has met


class _Member(tarfile.TarInfo):
  """A member of a tar file, refused where it would take much memory to say what it is."""

  @classmethod
  def frombuf(cls, *args, **options) -> '_Member':
    info = super().frombuf(*args, **options)
    if info.type in _LONG_HEADERS and info.size > _HEADER_LIMIT:
      raise tarfile.ReadError(f'the header of a member has {info.size:,} bytes')
    return info


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
  """Gives a temporary folder that becomes `folder` when the block ends well, else vanishes.

  Where another process was first, its folder is left as it is and this one vanishes.
  """
  folder.parent.mkdir(parents=True, exist_ok=True)
  temporary = Path(tempfile.mkdtemp('.part', f'{folder.name}.', folder.parent))
  try:
    yield temporary
    temporary.chmod(0o755)
    try:
      temporary.rename(folder)
    except OSError:
      if not folder.is_dir():
        raise
  finally:
    shutil.rmtree(temporary, ignore_errors=True)
