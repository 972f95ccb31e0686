"""Finds the published files of a corpus: in a folder of the user, or by a download.

pooch downloads and checks the archives. The download manager of TFDS 4.9.10 is not used: without
TensorFlow it cannot unpack, and it checks SHA-256 sums, while most of these archives are published
with an MD5 sum alone.

Files and folders get their final names when they are complete, so an interrupted download or
unpacking is never taken for the whole.
"""

import contextlib
import hashlib
import logging
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import pooch

from logjax.corpora.catalog import Archive
from logjax.errors import LogjaxError

_CHUNK = 2**20  # bytes copied at a time
_DAMAGE = (OSError, EOFError, zlib.error, tarfile.TarError, zipfile.BadZipFile)

# A function of the bytes received and the bytes expected (0 if unknown).
Progress = Callable[[int, int], None]


def find_logs(archive: Archive, folder: Path, unpacked: Path) -> tuple[Path, ...]:
  """Finds a corpus in a folder of the user.

  The complete set of log files (plain before .gz) comes first, then the archive, then an incomplete
  set of log files.

  Args:
    archive: the corpus.
    folder: to look in. The checksum of an archive in it is not checked.
    unpacked: folder in which the archive is unpacked, if there is one.

  Returns:
    Log files, plain or .gz, in reading order.

  Raises:
    LogjaxError: if the folder cannot be read, has none of `wanted_names`, or has a damaged archive.
  """
  choices = [(folder / name, folder / f'{name}.gz') for name in archive.members]
  packed = folder / archive.name
  try:
    files = [next(filter(Path.is_file, choice), None) for choice in choices]
    is_packed = packed.is_file()
  except OSError as error:
    raise LogjaxError(
      f'data.manual_dir {str(folder)!r} cannot be read ({error.strerror}): check the path '
      'and its permissions'
    ) from error
  found = tuple(file for file in files if file)
  if len(found) < len(files) and is_packed:
    return unpack(archive, packed, unpacked / f'{archive.name}-{fingerprint([packed])}')
  if not found:
    state = 'has none of' if folder.is_dir() else 'is not a folder with one of'
    raise LogjaxError(
      f'data.manual_dir {str(folder)!r} {state} {", ".join(wanted_names(archive))}: '
      'name the folder with the corpus'
    )
  return found


def wanted_names(archive: Archive) -> tuple[str, ...]:
  """Returns the file names that `find_logs` looks for."""
  return (*archive.members, *(f'{name}.gz' for name in archive.members), archive.name)


def download_logs(
  archive: Archive, folder: Path, *, progress: Progress | None = None
) -> tuple[Path, ...]:
  """Downloads, checks and unpacks a corpus, unless it was unpacked before.

  Args:
    archive: the corpus.
    folder: for the archive and the unpacked files. They are kept: reports name lines in them.
    progress: called with the progress of the download.

  Returns:
    Log files, in reading order.

  Raises:
    LogjaxError: as `fetch` and `unpack` do.
  """
  unpacked = folder / f'{archive.name}-{archive.md5[:12]}'
  if not unpacked.exists():
    fetch(archive, folder, progress=progress)
  return unpack(archive, folder / archive.name, unpacked)


def fetch(
  archive: Archive, folder: Path, *, timeout: float = 60.0, progress: Progress | None = None
) -> Path:
  """Downloads an archive into a folder, unless it is there with the right checksum.

  Args:
    archive: the corpus.
    folder: made if it is absent.
    timeout: seconds without an answer of the server before the download fails.
    progress: called after every MiB.

  Returns:
    Path of the archive.

  Raises:
    LogjaxError: if the server does not answer, the connection breaks, or the checksum is wrong.
  """
  pooch.get_logger().setLevel(logging.WARNING)  # else it prints the address and the path
  downloader = pooch.HTTPDownloader(
    progressbar=_ProgressBar(progress) if progress else False, chunk_size=_CHUNK, timeout=timeout
  )
  checksum = f'sha256:{archive.sha256}' if archive.sha256 else f'md5:{archive.md5}'
  try:
    path = pooch.retrieve(
      archive.url, checksum, fname=archive.name, path=folder, downloader=downloader
    )
  except (OSError, ValueError) as error:  # requests' exceptions are OSErrors
    raise LogjaxError(
      f'cannot download {archive.url}: {_in_one_line(error)}; try again, or fetch {archive.name} '
      'by other means and put it into data.manual_dir'
    ) from error
  return Path(path)


class _ProgressBar:
  """A progress bar in the sense of pooch that calls a `Progress` function."""

  def __init__(self, progress: Progress):
    self.total = 0  # set by pooch
    self._progress = progress
    self._received = 0

  def update(self, size: int) -> None:
    # pooch counts whole chunks, the last one too.
    self._received += size
    self._progress(min(self._received, self.total or self._received), self.total)

  def reset(self) -> None:
    self._received = 0

  def close(self) -> None:
    pass


def unpack(archive: Archive, packed: Path, folder: Path) -> tuple[Path, ...]:
  """Unpacks the log files and the label file of a corpus, unless `folder` exists.

  Args:
    archive: the corpus.
    packed: its archive, .zip or .tar.gz.
    folder: to unpack into. The folders inside of the archive are left out.

  Returns:
    Log files, in reading order.

  Raises:
    LogjaxError: if the archive is damaged or lacks a file; `folder` does not exist then.
  """
  wanted = (*archive.members, *filter(None, [archive.label_file]))
  try:
    if not folder.exists():
      with new_folder(folder) as temporary:
        for name, member in _members(packed):
          if name in wanted:
            with (temporary / name).open('xb') as target:  # x: refuse a second file of that name
              shutil.copyfileobj(member, target, _CHUNK)
        missing = [name for name in wanted if not (temporary / name).exists()]
        if missing:
          raise LogjaxError(f'{packed}: holds no {", ".join(missing)}; is it the right archive?')
  except _DAMAGE as error:
    raise LogjaxError(
      f'{packed}: cannot be unpacked in {folder.parent}: {_in_one_line(error)}; '
      'is it complete, and is there room?'
    ) from error
  return tuple(folder / name for name in archive.members)


def _members(packed: Path) -> Iterator[tuple[str, BinaryIO]]:
  """Yields the name, without folders, and the open content of every file in an archive.

  Reads a tar file once from front to end, because Thunderbird's has 30 GiB; pooch's `Untar` would
  read it several times.
  """
  if packed.suffix == '.zip':
    with zipfile.ZipFile(packed) as file:
      for info in file.infolist():
        with file.open(info) as member:
          yield PurePosixPath(info.filename).name, member
  else:
    with tarfile.open(packed, 'r|*') as file:
      for info in file:
        if info.isfile():
          yield PurePosixPath(info.name).name, file.extractfile(info)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
  """Gives a temporary folder, renamed to `folder` at the end of the block.

  An exception in the block removes it. If another process made `folder` first, its folder stays.
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


def fingerprint(files: Sequence[Path]) -> str:
  """Returns 12 digits, changed if one of the files is moved, replaced or written to."""
  stats = [(str(file.resolve()), file.stat()) for file in files]
  state = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
  return hashlib.sha256(repr(state).encode()).hexdigest()[:12]


def _in_one_line(error: Exception) -> str:
  return ' '.join(str(error).split()) or type(error).__name__
