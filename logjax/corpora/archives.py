"""The published corpora: where they are, what is in them, and how to find them on a disk."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path

from logjax.corpora.download import Progress, fetch, unpack
from logjax.errors import LogjaxError

RECORD = 'https://zenodo.org/records/8196385'
LICENSE = 'CC BY 4.0'


@dataclasses.dataclass(frozen=True)
class Archive:
  """A corpus as it was published.

  Attributes:
    name: file name of the archive.
    url: its address.
    md5: its MD5 sum in hexadecimal digits.
    members: names of the log files in it, in the order in which they are read.
    sha256: its SHA-256 sum, '' where none is published.
    size: its bytes, 0 where they are not published.
    label_file: name of the file in it that says what is abnormal, '' where the lines do.
  """

  name: str
  url: str
  md5: str
  members: tuple[str, ...]
  sha256: str = ''
  size: int = 0
  label_file: str = ''


ARCHIVES = {
  'bgl': Archive(
    name='BGL.zip',
    url=f'{RECORD}/files/BGL.zip',
    md5='4452953c470f2d95fcb32d5f6e733f7a',
    members=('BGL.log',),
    sha256='d67fd82a711aea0157a9b83175892c6ee60e384a2ddf5bc51f39118453816da8',
    size=57_489_019,
  ),
  'thunderbird': Archive(
    name='Thunderbird.tar.gz',
    url=f'{RECORD}/files/Thunderbird.tar.gz',
    md5='0891b048df2919dc78c99c4428686b44',
    members=('Thunderbird.log',),
  ),
  'openstack': Archive(
    name='OpenStack.tar.gz',
    url=f'{RECORD}/files/OpenStack.tar.gz',
    md5='66bd42c07837a094d9b0ea2d036b5713',
    members=('openstack_normal1.log', 'openstack_normal2.log', 'openstack_abnormal.log'),
  ),
  'hdfs': Archive(
    name='HDFS_v1.zip',
    url=f'{RECORD}/files/HDFS_v1.zip',
    md5='76a24b4d9a6164d543fb275f89773260',
    members=('HDFS.log',),
    label_file='anomaly_label.csv',
  ),
}


def wanted_names(archive: Archive) -> tuple[str, ...]:
  """Returns the file names that `find_logs` looks for."""
  return (*archive.members, *(f'{name}.gz' for name in archive.members), archive.name)


def find_logs(archive: Archive, folder: Path, unpacked: Path) -> tuple[Path, ...]:
  """Finds a corpus in a folder that the user filled.

  All log files (plain before .gz) are preferred to the archive, and that to some log files.

  Args:
    archive: the corpus.
    folder: where to look. An archive in it is taken as it is: its checksum is the user's affair.
    unpacked: below it the archive is unpacked, where there is one.

  Returns:
    Log files, plain or .gz, in the order in which they are read.

  Raises:
    LogjaxError: when the folder cannot be looked into, or holds none of `wanted_names`, or a
      damaged archive.
  """
  choices = [(folder / name, folder / f'{name}.gz') for name in archive.members]
  packed = folder / archive.name
  try:
    files = [next(filter(Path.is_file, choice), None) for choice in choices]
    is_packed = packed.is_file()
  except OSError as error:
    raise LogjaxError(
      f'data.manual_dir {str(folder)!r} cannot be looked into ({error.strerror}): check the path '
      'and its permissions'
    ) from error
  found = tuple(file for file in files if file)
  if len(found) < len(files) and is_packed:
    return _unpack(archive, packed, unpacked / f'{archive.name}-{fingerprint([packed])}')
  if not found:
    state = 'holds none of' if folder.is_dir() else 'is not a folder that holds one of'
    raise LogjaxError(
      f'data.manual_dir {str(folder)!r} {state} {", ".join(wanted_names(archive))}: '
      'name the folder that has the corpus'
    )
  return found


def download_logs(
  archive: Archive, folder: Path, *, base: str = '', progress: Progress | None = None
) -> tuple[Path, ...]:
  """Downloads, checks and unpacks a corpus, unless that was done before.

  Args:
    archive: the corpus.
    folder: for the archive and what is in it. Both are kept: reports name lines of the files.
    base: address of a folder that offers the archive under its name, '' for `archive.url`.
    progress: told how much of the archive has come.

  Returns:
    Log files, in the order in which they are read.

  Raises:
    LogjaxError: when it cannot be fetched, is not what was published, or is damaged.
  """
  packed = folder / archive.name
  unpacked = folder / f'{archive.name}-{archive.md5[:12]}'
  if not unpacked.exists():
    fetch(
      f'{base}/{archive.name}' if base else archive.url,
      packed,
      md5=archive.md5,
      sha256=archive.sha256,
      size=archive.size,
      progress=progress,
    )
  return _unpack(archive, packed, unpacked)


def _unpack(archive: Archive, packed: Path, folder: Path) -> tuple[Path, ...]:
  """Unpacks log files and label file; returns the log files."""
  labels = (archive.label_file,) if archive.label_file else ()
  return unpack(packed, (*archive.members, *labels), folder)[: len(archive.members)]


def fingerprint(files: Sequence[Path]) -> str:
  """Returns 12 digits that change when one of the files is moved, replaced or written to."""
  stats = [(str(file.resolve()), file.stat()) for file in files]
  state = [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]
  return hashlib.sha256(repr(state).encode()).hexdigest()[:12]
