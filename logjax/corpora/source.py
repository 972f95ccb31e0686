"""Finds the log of a run.

The config may name a path, a folder in `manual_dir` or a download; the first of them is used. A
named source that is absent is an error. Without any, the log is simulated.
"""

import dataclasses
import glob
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from logjax.corpora.builder import prepared_blocks
from logjax.corpora.catalog import CATALOG, LogFormat
from logjax.corpora.download import Progress, download_logs, find_logs, new_folder
from logjax.corpora.fields import own_format
from logjax.corpora.labels import (
  ABNORMAL_FILES,
  BLOCK_LABEL_FILES,
  LineLabels,
  read_abnormal_blocks,
)
from logjax.corpora.parsing import Logs, parse_blocks
from logjax.corpora.reading import Block, file_name, read_blocks
from logjax.corpora.simulated.simulate import VERSION, simulate
from logjax.errors import LogjaxError

CORPORA = (*CATALOG, 'own')

_DIGEST_ROWS = 100_000  # lines hashed at a time, to bound the memory


@dataclasses.dataclass(frozen=True, eq=False)
class Corpus:
  """The lines of a run and their origin.

  Attributes:
    name: of the corpus, one of `CORPORA`.
    origin: 'file', 'manual', 'download' or 'simulated'.
    paths: the log files in reading order, as returned by `file_name`.
    logs: the parsed lines.
  """

  name: str
  origin: str
  paths: tuple[str, ...]
  logs: Logs


def open_corpus(
  data: ConfigDict, seed: int, cache_dir: Path, *, progress: Progress | None = None
) -> Corpus:
  """Finds, downloads or simulates the log of a config, and parses it.

  Args:
    data: the part `data` of the config.
    seed: of the simulation.
    cache_dir: for simulated files, and for downloads and TFDS if `data.data_dir` is ''.
    progress: called with the progress of a download.

  Returns:
    The corpus.

  Raises:
    LogjaxError: if the named source is absent, and as `parse_blocks` does.
  """
  log_format = _log_format(data)
  cache_dir = _expanded(cache_dir, 'the cache folder')
  origin, paths, blocks = _locate(data, seed, cache_dir, progress)
  logs = parse_blocks(
    blocks,
    log_format,
    labels=_line_labels(data, paths[0].parent),
    max_rejected=data.max_rejected,
    limit=data.limit_lines,
  )
  return Corpus(data.corpus, origin, tuple(map(file_name, paths)), logs)


def _log_format(data: ConfigDict) -> LogFormat:
  """Returns the format named or described by the config."""
  if data.corpus == 'own':
    return own_format(data.pattern, data.time_format, data.normal_label)
  if data.corpus not in CATALOG:
    raise LogjaxError(f'data.corpus {data.corpus!r} is unknown: use one of {", ".join(CORPORA)}')
  if data.pattern:
    raise LogjaxError(
      f'data.pattern is given, but data.corpus {data.corpus!r} has a format of its own: '
      'add --config.data.corpus=own, or leave the pattern out'
    )
  return CATALOG[data.corpus].format


def _locate(
  data: ConfigDict, seed: int, cache_dir: Path, progress: Progress | None
) -> tuple[str, tuple[Path, ...], Iterable[Block]]:
  """Returns the origin, the log files and their blocks."""
  if data.path:
    paths = find_paths(data.path)
    return 'file', paths, read_blocks(paths)
  if data.corpus not in CATALOG:
    raise LogjaxError(
      f'data.corpus {data.corpus!r} needs log files: name them in --config.data.path'
    )
  archive = CATALOG[data.corpus].archive
  data_dir = _expanded(data.data_dir, 'data.data_dir') if data.data_dir else cache_dir / 'tfds'
  if data.manual_dir:
    folder = _expanded(data.manual_dir, 'data.manual_dir')
    paths = find_logs(archive, folder, data_dir / 'unpacked')
    return 'manual', paths, prepared_blocks(data.corpus, paths, data_dir)
  if data.download:
    paths = download_logs(archive, data_dir / 'downloads', progress=progress)
    return 'download', paths, prepared_blocks(data.corpus, paths, data_dir)
  paths = _simulated(data.corpus, data.simulated_lines, seed, cache_dir / 'simulated')
  return 'simulated', paths, read_blocks(paths)


def find_paths(text: str) -> tuple[Path, ...]:
  """Returns the files named by paths and globs with commas between them, each file once.

  The files are in the order of the text; those of one glob are sorted by name. A `~` in front
  stands for the home folder.

  Raises:
    LogjaxError: for a path or glob that matches nothing or cannot be looked up, and for an unknown
      home.
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
    except (OSError, ValueError) as error:  # a name too long, a locked folder, a NUL
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
  """Replaces a `~` in front of a path by the home folder; errors call the path `name`."""
  try:
    return Path(path).expanduser()
  except RuntimeError as error:
    raise LogjaxError(
      f'{name} {str(path)!r} starts with an unknown home folder: write the path out'
    ) from error


def _simulated(corpus: str, lines: int, seed: int, folder: Path) -> tuple[Path, ...]:
  """Returns the files of a simulated corpus; writes them only if they are absent."""
  if CATALOG[corpus].grammar is None:
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
      f'{folder}: cannot write the simulated corpus there ({error.strerror or error}): set '
      'XDG_CACHE_HOME to a folder that can be written, or name a log in --config.data.path'
    ) from error
  return tuple(sorted(paths, key=lambda path: ('abnormal' in path.name, path.name)))


def _line_labels(data: ConfigDict, folder: Path) -> LineLabels:
  """Returns the rule for abnormal lines; `folder` has the log files."""
  kind = data.labels
  if kind == 'auto':
    kind = CATALOG[data.corpus].labels if data.corpus in CATALOG else 'column'
  if kind == 'blocks':
    return LineLabels(kind, read_abnormal_blocks(_label_file(data, folder)))
  if kind == 'file':
    return LineLabels(kind, ABNORMAL_FILES)
  if kind == 'instance':
    # Those of all corpora: the format may be the user's own.
    return LineLabels(kind, frozenset().union(*(e.abnormal_instances for e in CATALOG.values())))
  return LineLabels(kind)


def _label_file(data: ConfigDict, folder: Path) -> Path:
  """Returns the label file of HDFS, named in the config or beside the log."""
  if data.label_file:
    return _expanded(data.label_file, 'data.label_file')
  for name in BLOCK_LABEL_FILES:
    if (folder / name).is_file():
      return folder / name
  raise LogjaxError(
    f'labels by block need {BLOCK_LABEL_FILES[0]}, and {folder}, the folder of the log, has none: '
    'name it in --config.data.label_file'
  )


def corpus_block(corpus: Corpus) -> dict[str, Any]:
  """Returns the block `corpus` of results.json; the number of abnormal lines is that of the log."""
  logs = corpus.logs
  return {
    'name': corpus.name,
    'path': list(corpus.paths),
    'lines': logs.lines,
    'rejected': logs.unfit,
    'abnormal': int(logs.frame['abnormal'].sum()),
    'sha256': log_digest(logs),
    'notes': logs.notes,
  }


def log_digest(logs: Logs) -> str:
  """Returns a SHA-256 of the lines' messages and labels, independent of files and places."""
  digest = hashlib.sha256(np.packbits(logs.frame['abnormal'].to_numpy()).tobytes())
  for part in logs.frame['message'].to_frame().iter_slices(_DIGEST_ROWS):
    digest.update('\n'.join(part['message']).encode(errors='replace'))
    digest.update(b'\n')
  return digest.hexdigest()
