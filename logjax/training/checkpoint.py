"""Checkpoints by Orbax: of finished parameters, and of phases that are not finished yet.

A checkpoint has two items: `arrays`, all arrays of a tree one after the other in one array of
bytes, and `head`, JSON with their names, types, shapes and SHA-256. It appears whole or not at all.

All arrays go into one because Orbax makes an OCDBT database of a tree, and TensorStore leaks memory
with every array of one.
"""

import contextlib
import errno
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

import logjax
from logjax.errors import LogjaxError, is_full
from logjax.training import hosts
from logjax.training.stopping import Stopping

FORMAT = 3  # of a checkpoint; another one is refused
_ROOM_BYTES = 64_000  # for the metadata of a checkpoint


class Restored(NamedTuple):
  """A checkpoint from the disk.

  Attributes:
    tree: of NumPy arrays.
    about: other facts.
    owner: the run that it belongs to.
    step: its number in its folder.
  """

  tree: Any
  about: dict[str, Any]
  owner: str
  step: int


def save_params(folder: Path, params: Any) -> None:
  """Saves a tree of arrays in a folder; an older one is replaced."""
  with _open(folder, keep=1) as manager:
    _write(manager, params, {}, owner='')


def restore_params(folder: Path, like: Any) -> Any:
  """Restores parameters of `save_params`, on any number of devices.

  Args:
    folder: of the checkpoint.
    like: a tree of arrays or shapes with the structure of the parameters.

  Returns:
    The tree, of NumPy arrays.

  Raises:
    LogjaxError: when there is no checkpoint, or it is damaged or of another model.
  """
  if not folder.is_dir():
    raise LogjaxError(f'no checkpoint in {folder}: run --mode=train with the same workdir first')
  with _open(folder) as manager:
    step = manager.latest_step()
    if step is None:
      raise LogjaxError(
        f'no complete checkpoint in {folder}: delete its parent folder and run --mode=train again'
      )
    try:
      return _read(manager, step, like).tree
    except LogjaxError:
      raise
    except Exception as error:  # Orbax and TensorStore have many for a damaged file
      raise LogjaxError(
        f'the checkpoint in {folder} is damaged, of another model or of an older version '
        f'({_one_line(error)}): run --mode=train in a new workdir'
      ) from error


class Checkpoints:
  """The checkpoints of a run's unfinished phases, the newest two of each.

  Of several processes process 0 writes them, and all read them.

  Args:
    folder: for the checkpoints, a folder a phase; None saves nothing.
    stopping: asked after every epoch, and told which phase is running.
    minutes: between two checkpoints of a phase; 0 for none by time.
    epochs: between two checkpoints; 0 for none by number.
    owner: of the checkpoints, such as a hash of the config.
    say: prints a line.
  """

  def __init__(
    self,
    folder: Path | None = None,
    *,
    stopping: Stopping,
    minutes: float = 0.0,
    epochs: int = 0,
    owner: str = '',
    say: Callable[[str], None] = lambda text: print(text, file=sys.stderr),
  ):
    self._folder, self._owner, self._say = folder, owner, say
    self._stopping = stopping
    self._seconds, self._epochs = 60 * minutes, epochs
    self._manager: ocp.CheckpointManager | None = None
    self._phase, self._saved, self._since = '', 0.0, 0

  def restore(self, phase: str, like: Any) -> tuple[Any, dict[str, Any]] | None:
    """Begins a phase, and restores its newest checkpoint.

    A damaged checkpoint is reported, and the one before it is taken.

    Args:
      phase: its name, the same in every call of the run.
      like: a tree of arrays or shapes, the structure of what is saved.

    Returns:
      The tree, of NumPy arrays, and its `about`; None if there is no checkpoint.

    Raises:
      LogjaxError: when the checkpoint belongs to another run, or has another format.
    """
    self.close()
    self._phase, self._saved, self._since = phase, time.monotonic(), 0
    if self._folder is None:
      return None
    self._stopping.phase = phase
    found = None
    if hosts.first():
      self._manager = _open(self._folder / phase, keep=2)
      steps = sorted(self._manager.all_steps(), reverse=True)
      found = next(filter(None, (self._restore(step, like) for step in steps)), None)
    step = hosts.from_first(found and found.step)
    if step is not None and not hosts.first():
      with _open(self._folder / phase) as manager:
        found = _read(manager, step, like)
    return found and (found.tree, found.about)

  def save(self, tree: Any, about: dict[str, Any], *, last: bool = False) -> None:
    """Saves the state after an epoch, if a checkpoint is due.

    Args:
      tree: of arrays; copied before this returns.
      about: other facts, for JSON.
      last: whether the phase is finished, or a checkpoint is due for another reason.

    Raises:
      Stopped: when the process was asked to stop, after the checkpoint is written.
    """
    stop = self._stopping.requested()
    self._since += 1
    due = 0 < self._epochs <= self._since
    due |= 0 < self._seconds <= time.monotonic() - self._saved
    if self._manager is not None and (due or last or stop):
      with self._writing():
        _write(self._manager, tree, about, self._owner)
      self._saved, self._since = time.monotonic(), 0
    if stop:
      self.close()
      self._stopping.check()

  def close(self) -> None:
    """Ends a phase: waits until its checkpoint is written.

    Raises:
      LogjaxError: when it could not be written.
    """
    manager, self._manager = self._manager, None
    if manager is not None:
      with self._writing():
        try:
          manager.wait_until_finished()
        finally:
          manager.close()
    self._stopping.phase = self._phase = ''

  def delete(self) -> None:
    """Removes all checkpoints, when the results of the phases are saved elsewhere.

    Raises:
      Stopped: when the process was asked to stop since the last checkpoint.
    """
    self.close()
    if self._folder is not None:
      if hosts.first():
        shutil.rmtree(self._folder, ignore_errors=True)
      if self._stopping.requested():
        self._stopping.check()

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """Turns the errors of Orbax and TensorStore into one line."""
    try:
      yield
    except Exception as error:
      phase, self._stopping.phase, self._manager = self._phase, '', None
      why = 'the disk is full' if is_full(error) else _one_line(error)
      raise LogjaxError(
        f'cannot write a checkpoint to {self._folder / phase}: {why}; what was written before is '
        'whole: make room and run the same command again'
      ) from error

  def _restore(self, step: int, like: Any) -> Restored | None:
    """Reads a checkpoint; None, with a line, where it is damaged."""
    where = f'checkpoint {step} of {self._phase} in {self._folder}'
    try:
      found = _read(self._manager, step, like)
    except LogjaxError:
      raise
    except Exception as error:  # Orbax and TensorStore have many for a damaged file
      # It is not deleted: newer ones will replace it.
      self._say(f'{where} is damaged ({_one_line(error)}): it is left out')
      return None
    if found.owner != self._owner:
      raise LogjaxError(f'{where} belongs to another config: choose another --workdir')
    return found


def _open(folder: Path, *, keep: int | None = None) -> ocp.CheckpointManager:
  """Opens the checkpoints of a folder.

  Args:
    folder: made where it is not there.
    keep: how many checkpoints are kept, the newest; None for all.
  """
  folder.mkdir(parents=True, exist_ok=True)
  alone = ocp.options.MultiprocessingOptions()
  if hosts.several():  # else Orbax waits for the others, which write nothing
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
      primary_host=me, active_processes={me}, barrier_sync_key_prefix=f'process_{me}'
    )
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep,
    enable_async_checkpointing=False,
    create=False,
    multiprocessing_options=alone,
  )
  return ocp.CheckpointManager(folder.resolve(), options=options)


def _write(manager: ocp.CheckpointManager, tree: Any, about: dict[str, Any], owner: str) -> None:
  """Writes a checkpoint after the newest one.

  Raises:
    OSError: when the disk has no room for it.
  """
  data = _to_bytes([np.asarray(leaf) for leaf in jax.tree.leaves(tree)])
  # Orbax writes in threads, which print the traceback of a full disk: ask before.
  if shutil.disk_usage(manager.directory).free < data.nbytes + _ROOM_BYTES:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(manager.directory))
  head = {
    'format': FORMAT,
    'version': logjax.__version__,
    'owner': owner,
    'about': about,
    'leaves': _describe(tree),
    'arrays': hashlib.sha256(data).hexdigest(),
  }
  head = head | {'sha256': _digest(head)}
  step = max(manager.all_steps(), default=0) + 1
  items = ocp.args.Composite(arrays=ocp.args.ArraySave(data), head=ocp.args.JsonSave(head))
  manager.save(step, args=items, force=True)


def _read(manager: ocp.CheckpointManager, step: int, like: Any) -> Restored:
  """Reads a checkpoint.

  Raises:
    LogjaxError: when it has another format.
    Exception: of any kind when it is damaged or of another tree.
  """
  head = manager.restore(step, args=ocp.args.Composite(head=ocp.args.JsonRestore())).head
  if _digest(head) != head['sha256']:
    raise ValueError('the SHA-256 of its head differs')
  if head['format'] != FORMAT:
    raise LogjaxError(
      f'checkpoint {step} in {manager.directory} was written by logjax {head["version"]} in format '
      f'{head["format"]}, and this logjax {logjax.__version__} reads {FORMAT}: use the logjax that '
      'wrote it, or begin again in a new workdir'
    )
  if head['leaves'] != _describe(like):
    raise ValueError('it has other arrays or shapes')
  as_numpy = ocp.args.ArrayRestore(restore_args=ocp.RestoreArgs(restore_type=np.ndarray))
  data = manager.restore(step, args=ocp.args.Composite(arrays=as_numpy)).arrays
  if hashlib.sha256(data).hexdigest() != head['arrays']:
    raise ValueError('the SHA-256 of its arrays differs')
  leaves, structure = jax.tree.flatten(like)
  tree = jax.tree.unflatten(structure, _from_bytes(data, leaves))
  return Restored(tree, head['about'], head['owner'], step)


def _describe(tree: Any) -> list[list]:
  """Returns the path, the type and the shape of every array of a tree, for JSON."""
  return [
    [jax.tree_util.keystr(path), str(leaf.dtype), list(leaf.shape)]
    for path, leaf in jax.tree.leaves_with_path(tree)
  ]


def _digest(head: dict[str, Any]) -> str:
  """Returns the SHA-256 of a head, without its own."""
  facts = {name: value for name, value in head.items() if name != 'sha256'}
  return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _to_bytes(arrays: Sequence[np.ndarray]) -> np.ndarray:
  """Copies arrays of any shapes and types, one after the other, into one of bytes."""
  parts = [np.ascontiguousarray(array).reshape(-1).view(np.uint8) for array in arrays]
  return np.concatenate([np.empty(0, np.uint8), *parts])


def _from_bytes(data: np.ndarray, like: Sequence[Any]) -> list[np.ndarray]:
  """Undoes `_to_bytes` for arrays with the shapes and types of `like`."""
  ends = np.cumsum([leaf.size * leaf.dtype.itemsize for leaf in like])
  parts = zip(np.split(data, ends[:-1]), like, strict=True)
  return [part.copy().view(leaf.dtype).reshape(leaf.shape) for part, leaf in parts]


def _one_line(error: Exception) -> str:
  return ' '.join(str(error).split())[:120]
