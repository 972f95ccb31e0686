"""Where the lines of a run come from.

An explicit path, then a file in `manual_dir`, then a verified download, then the simulated corpus
of the same format: the first that the config names is used, and one that is named but not there
is an error, never a reason to use the next.
"""

import dataclasses
import glob
import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from logjax.corpora.archives import ARCHIVES, download_logs, find_logs
from logjax.corpora.builders import prepared_blocks
from logjax.corpora.download import Progress, new_folder
from logjax.corpora.formats import FORMATS, LogFormat, own_format
from logjax.corpora.labels import OPENSTACK_ABNORMAL_INSTANCES, LineLabels, read_abnormal_blocks
from logjax.corpora.parsing import Logs, parse_blocks
from logjax.corpora.reading import Block, file_name, read_blocks
from logjax.corpora.simulated.simulate import ABNORMAL_SHARE, VERSION, simulate
from logjax.errors import LogjaxError

CORPORA = (*FORMATS, 'own')

_DIGEST_ROWS = 100_000  # lines that are hashed at once: bounds the memory
_LABELS = {'openstack': 'instance', 'hdfs': 'blocks'}  # where 'auto' is not 'column'
_LABEL_NAMES = {'instance': OPENSTACK_ABNORMAL_INSTANCES, 'file': frozenset({'abnormal'})}
# Where the label file of HDFS is, seen from its log: unpacked here, or as in the archive.
_LABEL_FILES = ('anomaly_label.csv', 'preprocessed/anomaly_label.csv')


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
  """The lines of a run and where they are from.

  Attributes:
    name: of the corpus, one of `CORPORA`.
    origin: 'file', 'manual', 'download' or 'simulated'.
    paths: the log files as `file_name` shows them, in the order in which they were read.
    logs: what is in them.
  """

  name: str
  origin: str
  paths: tuple[str, ...]
  logs: Logs


def open_corpus(
  data: ConfigDict,
  seed: int,
  cache_dir: Path,
  *,
  address: str = '',
  progress: Progress | None = None,
) -> Corpus:
  """Finds, downloads or simulates the lines that a config asks for, and parses them.

  Args:
    data: the part `data` of the config.
    seed: of the simulation.
    cache_dir: for simulated files, and for downloads and TFDS where `data.data_dir` is ''.
    address: where archives are downloaded from instead of where they were published.
    progress: told how much of a download has come.

  Returns:
    The corpus.

  Raises:
    LogjaxError: when what the config names is not there, and as `parse_blocks` does.
  """
  log_format = _log_format(data)
  cache_dir = _expanded(cache_dir, 'the cache folder')
  origin, paths, blocks = _locate(data, seed, cache_dir, address, progress)
  logs = parse_blocks(
    blocks,
    log_format,
    labels=_line_labels(data, paths[0].parent),
    max_rejected=data.max_rejected,
    limit=data.limit_lines,
  )
  return Corpus(data.corpus, origin, tuple(map(file_name, paths)), logs)


def _log_format(data: ConfigDict) -> LogFormat:
  if data.corpus == 'own':
    return own_format(data.pattern, data.time_format, data.normal_label)
  if data.corpus not in FORMATS:
    raise LogjaxError(f'data.corpus {data.corpus!r} is unknown: use one of {", ".join(CORPORA)}')
  if data.pattern:
    raise LogjaxError(
      f'data.pattern is given, but data.corpus {data.corpus!r} has a format of its own: '
      'add --config.data.corpus=own, or leave the pattern out'
    )
  return FORMATS[data.corpus]


def _locate(
  data: ConfigDict, seed: int, cache_dir: Path, address: str, progress: Progress | None
) -> tuple[str, tuple[Path, ...], Iterable[Block]]:
  """Returns the origin, the log files and their blocks."""
  if data.path:
    paths = find_paths(data.path)
    return 'file', paths, read_blocks(paths)
  if data.corpus not in ARCHIVES:
    raise LogjaxError(
      f'data.corpus {data.corpus!r} needs log files: name them in --config.data.path'
    )
  archive = ARCHIVES[data.corpus]
  data_dir = _expanded(data.data_dir, 'data.data_dir') if data.data_dir else cache_dir / 'tfds'
  if data.manual_dir:
    folder = _expanded(data.manual_dir, 'data.manual_dir')
    paths = find_logs(archive, folder, data_dir / 'unpacked')
    return 'manual', paths, prepared_blocks(data.corpus, paths, data_dir)
  if data.download:
    paths = download_logs(archive, data_dir / 'downloads', base=address, progress=progress)
    return 'download', paths, prepared_blocks(data.corpus, paths, data_dir)
  paths = _simulated(data.corpus, data.simulated_lines, seed, cache_dir / 'simulated')
  return 'simulated', paths, read_blocks(paths)


def find_paths(text: str) -> tuple[Path, ...]:
  """Returns the files named by paths and globs with commas between them, each file once.

  The order is that of the text; the files of one glob are sorted by name. A `~` in front is the
  home folder.

  Raises:
    LogjaxError: for a path or glob that matches nothing or cannot be looked up, or that starts
      with an unknown home.
  """
  found: list[Path] = []
  for entry in filter(None, (part.strip() for part in text.split(','))):
    path = _expanded(entry, 'data.path')
    try:
      if path.exists():
        found.append(path)
        continue
      matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
      files = [match for match in matches if match.is_file()]
    except (OSError, ValueError) as error:  # too long a name, a folder that is locked, a NUL
      reason = getattr(error, 'strerror', None) or error
      raise LogjaxError(
        f'data.path {entry!r} cannot be looked up ({reason}): check the path and its permissions'
      ) from error
    if not files:
      raise LogjaxError(
        f'data.path {entry!r} matches no file; paths start at the working directory {Path.cwd()}'
      )
    found.extend(files)
  if not found:
    raise LogjaxError(f'data.path {text!r} names no file')
  return tuple(dict.fromkeys(found))


def _expanded(path: str | Path, name: str) -> Path:
  """A path with the home folder in place of a `~` in front; `name` is what the user calls it."""
  try:
    return Path(path).expanduser()
  except RuntimeError as error:
    raise LogjaxError(
      f'{name} {str(path)!r} starts with a home folder that is not known here: write it out'
    ) from error


def _simulated(corpus: str, lines: int, seed: int, folder: Path) -> tuple[Path, ...]:
  """Returns the files of a simulated corpus, written only where they are not there already."""
  if corpus not in ABNORMAL_SHARE:
    raise LogjaxError(
      f'there is no simulated {corpus} corpus: name its files in --config.data.path or their '
      'folder in --config.data.manual_dir, or add --config.data.download'
    )
  folder = folder / f'{corpus}-{lines}-{seed}-v{VERSION}'
  try:
    if not folder.exists():
      with new_folder(folder) as temporary:
        simulate(corpus, lines, seed, temporary)
    paths = list(folder.iterdir())
  except OSError as error:
    raise LogjaxError(
      f'{folder}: cannot keep the simulated corpus there ({error.strerror or error}): set '
      'XDG_CACHE_HOME to a folder that can be written, or name a log in --config.data.path'
    ) from error
  return tuple(sorted(paths, key=lambda path: ('abnormal' in path.name, path.name)))


def _line_labels(data: ConfigDict, folder: Path) -> LineLabels:
  """Returns what makes a line abnormal; `folder` is that of the log files."""
  kind = _LABELS.get(data.corpus, 'column') if data.labels == 'auto' else data.labels
  if kind == 'blocks':
    return LineLabels(kind, read_abnormal_blocks(_label_file(data, folder)))
  return LineLabels(kind, _LABEL_NAMES.get(kind, frozenset()))


def _label_file(data: ConfigDict, folder: Path) -> Path:
  if data.label_file:
    return _expanded(data.label_file, 'data.label_file')
  for name in _LABEL_FILES:
    if (folder / name).is_file():
      return folder / name
  raise LogjaxError(
    f'labels by block need {_LABEL_FILES[0]}, which is not beside the log in {folder}: '
    'name it in --config.data.label_file'
  )


def log_digest(logs: Logs) -> str:
  """A SHA-256 of the lines' messages and labels: equal for equal logs, wherever they lie."""
  digest = hashlib.sha256(np.packbits(logs.frame['abnormal'].to_numpy()).tobytes())
  for part in logs.frame['message'].to_frame().iter_slices(_DIGEST_ROWS):
    digest.update('\n'.join(part['message']).encode(errors='replace'))
    digest.update(b'\n')
  return digest.hexdigest()
