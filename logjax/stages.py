"""A run and its workdir: whose it is, what is finished in it, and how long that took.

A stage that is expensive leaves its result in the workdir and is skipped when it is there already,
so that the same command goes on where an interrupted run stopped.
"""

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import jax
import ml_collections
import numpy as np

from logjax.errors import LogjaxError
from logjax.examples.lines import Prepared
from logjax.files import read_json, write_json
from logjax.settings import flatten
from logjax.training import hosts
from logjax.training.keeper import Checkpoints
from logjax.training.progress import Progress
from logjax.training.runtime import Runtime
from logjax.training.stopping import Stopping
from logjax.workdir import REMOVE, Lock, claim_workdir, config_digest, read_config

Result = TypeVar('Result')
_SECONDS = 'seconds.json'
_MEASURED = 'metrics.json'  # beside what is shared: lines of metrics.jsonl
# The file that a stage writes last: where it is, the stage is finished.
MARKERS = {'oversampler': 'summary.json', 'detector': 'fitted.json'}


class Run(NamedTuple):
  """What every mode of one run shares.

  Attributes:
    config: resolved.
    leaks: of the run.
    workdir: of the run.
    cache: where simulated corpora are kept.
    keys: named, for everything random.
    runtime: what training needs besides numbers.
    shared: where runs leave results that others may use; None for nowhere.
    lock: of the workdir, while it is open; None for a run that writes nothing.
  """

  config: ml_collections.ConfigDict
  leaks: frozenset[str]
  workdir: Path
  cache: Path
  keys: dict[str, jax.Array]
  runtime: Runtime
  shared: Path | None = None
  lock: Lock | None = None


def open_run(
  config: ml_collections.ConfigDict,
  leaks: frozenset[str],
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
    config: resolved.
    leaks: of the run.
    workdir: of the run.
    cache: where simulated corpora are kept.
    new: whether the workdir may be a new one.
    quiet: tell nothing on the terminal.
    shared: where runs that belong together leave results for each other.
    stopping: of the process; None where no signal is answered.

  Raises:
    LogjaxError: when the workdir belongs to another config, to another process, or to none and
      `new` is false.
  """
  if not new:
    read_config(workdir)
  # Locked first, so that nobody claims it at the same moment.
  lock = Lock(workdir) if new and hosts.first() else None
  claim_workdir(config, workdir)
  names = ('oversampler', 'sampling', 'detector')
  keys = dict(zip(names, jax.random.split(jax.random.key(config.seed), len(names)), strict=True))
  stopping = stopping or Stopping()
  checkpoints = Checkpoints(
    workdir / 'unfinished',
    stopping=stopping,
    minutes=config.checkpoint.minutes,
    epochs=config.checkpoint.epochs,
    owner=config_digest(config),
  )
  runtime = Runtime(config.devices, Progress(workdir, quiet=quiet), checkpoints, stopping)
  return Run(config, leaks, workdir, cache, keys, runtime, shared, lock)


def release(run: Run) -> None:
  """Frees a workdir in which nothing was run yet, so that a corrected command may have it."""
  if run.lock is not None and not (run.workdir / 'corpus.json').exists():
    (run.workdir / 'config.json').unlink(missing_ok=True)


def check_rows(run: Run, prepared: Prepared) -> None:
  """Writes corpus.json, or checks that the log still gives the rows that it tells of.

  Raises:
    LogjaxError: when it does not; what is in the workdir was made from other rows then.
  """
  digest = hashlib.sha256()
  for array in (prepared.examples.inputs, prepared.examples.abnormal, *prepared.split):
    digest.update(np.ascontiguousarray(array).tobytes())
  rows = {'rows': len(prepared.examples.inputs), 'sha256': digest.hexdigest()}
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
  """Makes a stage's result unless its marker file is there, and restores it from its folder.

  Args:
    run: whose stage.
    name: of the stage and of its folder in the workdir.
    make: fills the folder, its marker file last.
    restore: from the folder and the content of the marker file to the result.
  """
  new = finished(run, name) is None
  spent = _seconds_before(run).get(name, 0.0) if new else 0.0
  with run.runtime.progress.stage(name, spent=spent, keep=lambda: keep_seconds(run)):
    if new:
      with _output_folder(run.workdir / name) as folder:
        make(folder)
      hosts.wait(name)
    result = restore(run.workdir / name, finished(run, name))
  if new:  # else what is kept belongs to a later stage, in which an earlier call was stopped
    run.runtime.checkpoints.delete()
  elif name in _seconds_before(run):
    del run.runtime.progress.seconds[name]  # restoring can take longer than what was quickly made
  keep_seconds(run)
  return result


def share_stage(
  run: Run,
  folder: Path,
  arrays: Sequence[np.ndarray],
  fields: Sequence[str],
  make: Callable[[Path], None],
  phases: Sequence[str] = (),
) -> None:
  """Fills a stage's folder, or copies what another run made of the same.

  Args:
    run: whose stage.
    folder: of the stage.
    arrays: all rows that decide what is made.
    fields: and all fields of the config, or groups of them.
    make: fills the folder, its marker file last.
    phases: the stages in metrics.jsonl that it measures.
  """
  if run.shared is None:
    make(folder)
    return
  config = flatten(run.config.to_dict())
  used = {k: v for k, v in config.items() if any(k == f or k.startswith(f + '.') for f in fields)}
  digest = hashlib.sha256(json.dumps([jax.device_count(), used], sort_keys=True).encode())
  for array in arrays:
    digest.update(f'{array.dtype}{array.shape}'.encode() + np.ascontiguousarray(array).tobytes())
  kept = run.shared / digest.hexdigest()[:32]
  if not hosts.first():
    if hosts.from_first(None):
      make(folder)
    return
  if hosts.from_first(not kept.exists()):
    partial, begin = kept.with_suffix('.part'), time.monotonic()
    spent = _seconds_before(run).get(folder.name, 0.0)  # by calls that were killed
    shutil.rmtree(partial, ignore_errors=True)
    make(partial)
    write_json(partial / _SECONDS, round(spent + time.monotonic() - begin, 3))
    if phases:
      write_json(partial / _MEASURED, run.runtime.progress.measured(*phases))
    partial.rename(kept)
  cure = f'delete the folder {kept} and run the same command again'
  if (kept / _MEASURED).exists():
    run.runtime.progress.adopt(read_json(kept / _MEASURED, list, cure), *phases)
  # What it would have taken this run: a copy is no saving of the method's.
  run.runtime.progress.seconds[folder.name] = read_json(kept / _SECONDS, float, cure)
  shutil.rmtree(folder, ignore_errors=True)
  # The marker of a copy that is cut short must not be there.
  partial = folder.with_suffix('.part')
  shutil.rmtree(partial, ignore_errors=True)
  shutil.copytree(kept, partial)
  partial.rename(folder)
  keep_seconds(run)


@contextlib.contextmanager
def _output_folder(folder: Path) -> Iterator[Path]:
  """Yields the folder that a stage fills; that of a process other than 0 is thrown away."""
  if hosts.first():
    yield folder
  else:
    with tempfile.TemporaryDirectory(prefix='logjax-') as scratch:
      yield Path(scratch) / folder.name


def finished(run: Run, name: str) -> dict | None:
  """What a stage's marker file says; None where the stage is not finished."""
  path = run.workdir / name / MARKERS[name]
  cure = f'delete the folder {path.parent} and train again'
  here = hosts.first() and path.exists()
  return hosts.from_first(read_json(path, dict, cure) if here else None)


def keep_seconds(run: Run) -> dict[str, float]:
  """Seconds of every stage; of one that an earlier call finished, what that call measured."""
  path = run.workdir / _SECONDS
  before, now = _seconds_before(run), run.runtime.progress.seconds
  seconds = before | {name: max(s, before.get(name, 0.0)) for name, s in now.items()}
  if hosts.first():
    write_json(path, seconds)
  return seconds


def _seconds_before(run: Run) -> dict[str, float]:
  """What earlier calls, and earlier stages of this one, measured."""
  path = run.workdir / _SECONDS
  return read_json(path, dict, REMOVE) if path.exists() else {}
