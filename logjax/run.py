"""A run and its workdir: claim, lock, finished stages, seconds, and named keys.

A stage saves its result in a folder of the workdir, its marker file last. If the marker exists, the
stage is restored and not made again. So the same command resumes a run.
"""

import contextlib
import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import jax
import ml_collections
import numpy as np

from logjax.errors import LogjaxError
from logjax.examples.protocol import Protocol, protocol_of
from logjax.examples.types import Examples, Split
from logjax.files import read_json, write_json
from logjax.settings import flatten, unflatten
from logjax.training import hosts
from logjax.training.checkpoint import Checkpoints
from logjax.training.progress import Progress
from logjax.training.runtime import Runtime
from logjax.training.stopping import Stopping

Result = TypeVar('Result')
REMOVE = 'remove it and run the same command again'  # advice for a damaged file that is made again
# Version of config.json and the folders beside it; raised when older workdirs cannot be resumed.
FORMAT = 2
# The marker file of each stage.
MARKERS = {'encoder': 'encoder.json', 'oversampler': 'summary.json', 'detector': 'fitted.json'}
SECONDS = 'seconds.json'
_KEYS = ('oversampler', 'sampling', 'detector')


class Run(NamedTuple):
  """A run in its workdir.

  Attributes:
    config: resolved.
    protocol: of the run.
    workdir: of the run.
    cache: the folder of simulated corpora.
    keys: random keys by name.
    runtime: devices, progress, checkpoints and stopping.
    shared: the folder of results for other runs of a study; None outside a study.
    lock: of the workdir; None if the run does not write.
  """

  config: ml_collections.ConfigDict
  protocol: Protocol
  workdir: Path
  cache: Path
  keys: dict[str, jax.Array]
  runtime: Runtime
  shared: Path | None = None
  lock: IO | None = None


def open_run(
  config: ml_collections.ConfigDict,
  workdir: Path,
  cache: Path,
  *,
  new: bool = True,
  quiet: bool = False,
  shared: Path | None = None,
  stopping: Stopping | None = None,
) -> Run:
  """Claims the workdir for a resolved config and makes the run's named keys.

  Args:
    config, workdir, cache, shared: those of `Run`.
    new: allows a new workdir, and locks it; false for reading a trained run.
    quiet: prints nothing on the terminal.
    stopping: of the process; None if no signal is answered.

  Raises:
    LogjaxError: the workdir belongs to another config or another process, or it is empty and `new`
      is false.
  """
  if not new:
    read_config(workdir)
  file = lock(workdir) if new else None  # before the claim, so that two processes cannot both claim
  claim_workdir(config, workdir)
  keys = jax.random.split(jax.random.key(config.seed), len(_KEYS))
  stopping = stopping or Stopping()
  checkpoints = Checkpoints(
    workdir / 'unfinished',
    stopping=stopping,
    owner=config_digest(config),
    **config.checkpoint.to_dict(),
  )
  runtime = Runtime(config.devices, Progress(workdir, quiet=quiet), checkpoints, stopping)
  named = dict(zip(_KEYS, keys, strict=True))
  return Run(config, protocol_of(config), workdir, cache, named, runtime, shared, file)


def reopen_run(workdir: Path, cache: Path, *, stopping: Stopping | None = None) -> Run:
  """Opens the run of a workdir with its saved configuration; writes nothing.

  Args:
    workdir, cache: those of `Run`.
    stopping: of the process; None if no signal is answered.

  Raises:
    LogjaxError: the workdir holds no run, or one of another version.
  """
  fields = read_config(workdir)
  if 'protocol' not in fields:
    raise LogjaxError(f'{workdir} is of configs/oracle.py: only --mode=train resumes it')
  config = unflatten(fields)
  # The pace of checkpoints is not saved with a run.
  config.checkpoint = ml_collections.ConfigDict({'minutes': 0.0, 'epochs': 0})
  return open_run(config, workdir, cache, new=False, stopping=stopping)


def release(run: Run) -> None:
  """Frees the workdir for a corrected command, unless the run has read its log."""
  if run.lock is not None and not (run.workdir / 'corpus.json').exists():
    (run.workdir / 'config.json').unlink(missing_ok=True)


def lock(workdir: Path) -> IO | None:
  """Locks a workdir until the returned file is closed or garbage-collected.

  The same process may lock a workdir several times; closing one of the files frees it. On a file
  system without locks this does nothing. Of several processes process 0 locks for all.

  Raises:
    LogjaxError: another process has locked the workdir, or it cannot be written.
  """
  import fcntl  # not on Windows

  if not hosts.first():
    return None
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    file = (workdir / 'lock').open('a')
  except OSError as error:
    raise LogjaxError(f'cannot write to --workdir={workdir}: {error.strerror}') from error
  try:
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except (BlockingIOError, PermissionError) as error:  # systems differ: both mean a held lock
    file.close()
    raise LogjaxError(
      f'another process is at work in {workdir}: wait for it, or choose another --workdir'
    ) from error
  except OSError:  # a file system without locks
    pass
  return file


def claim_workdir(config: ml_collections.ConfigDict, workdir: Path) -> None:
  """Writes config.json, or compares it with the configuration if it exists.

  Raises:
    LogjaxError: the workdir belongs to another configuration; names the fields.
  """
  fields = _decisive(config)
  path = workdir / 'config.json'
  if hosts.first():
    try:
      workdir.mkdir(parents=True, exist_ok=True)
      if not path.exists():
        write_json(path, {'format': FORMAT} | fields)
    except OSError as error:
      raise LogjaxError(f'cannot write to --workdir={workdir}: {error.strerror}') from error
  hosts.wait('claimed')
  saved = read_config(workdir)
  differ = [
    f'{name} is {saved.get(name)!r} there and {fields.get(name)!r} here'
    for name in sorted(fields.keys() | saved.keys())
    if saved.get(name) != fields.get(name)
  ]
  if differ:
    raise LogjaxError(
      f'{workdir} holds a run with another config: {"; ".join(differ[:5])}'
      f'{f" and {len(differ) - 5} more" if len(differ) > 5 else ""}; choose another --workdir'
    )


def read_config(workdir: Path) -> dict[str, Any]:
  """Reads the configuration of a workdir by dotted names.

  Raises:
    LogjaxError: the workdir holds no run or one of another version, or config.json is damaged.
  """
  path = workdir / 'config.json'
  try:
    path.stat()
  except FileNotFoundError:
    raise LogjaxError(f'{workdir} holds no run: use --mode=train with this workdir first') from None
  except OSError:
    pass  # `read_json` gives the reason
  fields = read_json(path, dict, 'choose another --workdir')
  version = fields.pop('format', 1)
  if not isinstance(version, int):
    raise LogjaxError(f'{path} is damaged (format {version!r}): choose another --workdir')
  if version != FORMAT:
    age = 'an older' if version < FORMAT else 'a newer'
    raise LogjaxError(
      f'{workdir} was made by {age} version of logjax: choose another --workdir and train again'
    )
  return fields


def config_digest(config: ml_collections.ConfigDict) -> str:
  """Computes the SHA-256 of all fields with an influence on the results."""
  return hashlib.sha256(json.dumps(_decisive(config), sort_keys=True).encode()).hexdigest()


def _decisive(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """Returns the fields with an influence on the results, by dotted names: not `checkpoint`."""
  fields = flatten(config.to_dict())
  return {name: value for name, value in fields.items() if not name.startswith('checkpoint.')}


def check_examples(run: Run, examples: Examples, split: Split) -> None:
  """Writes corpus.json, or compares it with the examples if it exists.

  Raises:
    LogjaxError: the examples differ from those of an earlier call, or of another process.
  """
  digest = hashlib.sha256()
  arrays = (*jax.tree.leaves(examples.distinct), examples.index, examples.abnormal, *split)
  for array in arrays:
    if array.dtype == object:  # texts
      digest.update('\n'.join(array).encode(errors='replace'))
    else:
      digest.update(np.ascontiguousarray(array).tobytes())
  rows = {'rows': len(examples.index), 'sha256': digest.hexdigest()}
  if hosts.from_first(rows) != rows:
    raise LogjaxError('the processes have read different lines: give all of them the same log')
  path = run.workdir / 'corpus.json'
  if not hosts.first():
    return
  if not path.exists():
    write_json(path, rows)
  elif read_json(path, dict, 'choose another --workdir') != rows:
    raise LogjaxError(
      f'the log has changed since the run in {run.workdir} began: choose another --workdir'
    )


def stage(
  run: Run,
  name: str,
  make: Callable[[Path], None],
  restore: Callable[[Path, dict], Result],
) -> Result:
  """Makes a stage's result, or restores it if an earlier call has finished the stage.

  Args:
    run: opened.
    name: of the stage and of its folder in the workdir.
    make: fills a folder, its marker file last.
    restore: from the folder and the content of the marker file to the result.
  """
  new = finished(run, name) is None
  spent = seconds_before(run).get(name, 0.0) if new else 0.0
  with run.runtime.progress.stage(name, spent=spent, keep=lambda: save_seconds(run)):
    if new:
      with _output_folder(run.workdir / name) as folder:
        make(folder)
      hosts.wait(name)
    result = restore(run.workdir / name, finished(run, name))
  if new:  # otherwise the checkpoints are of a later stage, stopped in an earlier call
    run.runtime.checkpoints.delete()
  elif name in seconds_before(run):
    del run.runtime.progress.seconds[name]  # the time of restoring does not count
  save_seconds(run)
  return result


def finished(run: Run, name: str) -> dict | None:
  """Returns the content of a stage's marker file; None if the stage is not finished."""
  path = run.workdir / name / MARKERS[name]
  advice = f'delete the folder {path.parent} and train again'
  here = hosts.first() and path.exists()
  return hosts.from_first(read_json(path, dict, advice) if here else None)


@contextlib.contextmanager
def _output_folder(folder: Path) -> Iterator[Path]:
  """Yields the folder for a stage's output; a temporary one for processes other than 0."""
  if hosts.first():
    yield folder
  else:
    with tempfile.TemporaryDirectory(prefix='logjax-') as scratch:
      yield Path(scratch) / folder.name


def save_seconds(run: Run) -> dict[str, float]:
  """Saves and returns the seconds of every stage, earlier calls included."""
  before, now = seconds_before(run), run.runtime.progress.seconds
  # A stage counts its time from the first call on, so the larger value is the complete one.
  seconds = before | {name: max(s, before.get(name, 0.0)) for name, s in now.items()}
  if hosts.first():
    write_json(run.workdir / SECONDS, seconds)
  return seconds


def seconds_before(run: Run) -> dict[str, float]:
  """Returns the seconds saved by earlier calls, and by earlier stages of this one."""
  path = run.workdir / SECONDS
  return read_json(path, dict, REMOVE) if path.exists() else {}
