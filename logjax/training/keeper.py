"""Checkpoints inside a phase, so that a run that was killed goes on as if it had not been.

A phase hands in its state after every epoch. `Checkpoints` writes that now and then with Orbax, in
the background; a checkpoint appears whole or not at all, and the last two stay.
Each has a SHA-256 of its arrays, and one that does not fit it is left for the one before.
All arrays are written as one of bytes: of a tree of them Orbax makes a database, and TensorStore
loses memory with each of its arrays.
"""

import contextlib
import errno
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

import logjax
from logjax.errors import LogjaxError, is_full
from logjax.training import hosts
from logjax.training.checkpoint import check_sizes, digest_of, open_manager
from logjax.training.stopping import Stopping

_FORMAT = 2  # of a checkpoint within a phase; another is refused

# Errors of the machine and not of the file.
_PASSING = (errno.EMFILE, errno.ENFILE, errno.EACCES, errno.EIO)


def _warn(text: str) -> None:
  """Prints a line that is shown in quiet runs too."""
  if hosts.first():
    print(text, file=sys.stderr)


class Checkpoints:
  """The checkpoints of a run's unfinished phases.

  Args:
    folder: for the checkpoints, a folder a phase; None saves nothing.
    stopping: asked after every epoch; told which phase is running.
    minutes: between two checkpoints of a phase; 0 for none by time.
    epochs: between two checkpoints; 0 for none by number.
    owner: what the checkpoints belong to, such as a hash of the config.
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
    say: Callable[[str], None] = _warn,
  ):
    self._folder, self._owner, self._say = folder, owner, say
    self._stopping = stopping
    self._seconds, self._epochs = 60 * minutes, epochs
    self._manager: ocp.CheckpointManager | None = None
    self._phase, self._saved, self._since = '', 0.0, 0

  def restore(self, phase: str, like: Any) -> tuple[Any, dict[str, Any]] | None:
    """Begins a phase, and restores its newest checkpoint.

    Args:
      phase: its name, the same in every call of the run.
      like: a tree of arrays or shapes, the structure of what is saved.

    Returns:
      The tree, of NumPy arrays, and the `about` that was saved with it; None where there is no
      checkpoint.

    Raises:
      LogjaxError: when the checkpoint belongs to another run, or has another format.
    """
    self.close()
    self._phase, self._saved, self._since = phase, time.monotonic(), 0
    if self._folder is None:
      return None
    self._stopping.phase = phase
    self._manager = open_manager(self._folder / phase, keep=2, background=True)
    leaves, structure = jax.tree.flatten(like)
    steps = sorted(self._manager.all_steps(), reverse=True)
    found = next(filter(None, (self._restore(step, leaves) for step in steps)), None)
    if not hosts.first():
      self._manager.close()
      self._manager = None  # the first process writes for all
    if found is None:
      return None
    arrays, about, _ = found
    return jax.tree.unflatten(structure, arrays), about

  def save(self, tree: Any, about: dict[str, Any], *, last: bool = False) -> None:
    """Saves the state after an epoch, if a checkpoint is due.

    Args:
      tree: of arrays; copied before this returns.
      about: what else there is to know, for JSON.
      last: whether the phase is finished.

    Raises:
      Stopped: when the process was asked to stop, after it was written.
    """
    asked = self._stopping.requested()
    self._since += 1
    due = 0 < self._epochs <= self._since
    due |= 0 < self._seconds <= time.monotonic() - self._saved
    if self._manager is not None and (due or last or asked):
      self._write([np.asarray(leaf) for leaf in jax.tree.leaves(tree)], about)
      self._saved, self._since = time.monotonic(), 0
    if asked:
      self.close()
      self._stopping.check()

  def close(self) -> None:
    """Ends a phase: waits until its checkpoint is written.

    Raises:
      LogjaxError: when it could not be.
    """
    manager, self._manager = self._manager, None
    if manager is None:
      return
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

  def _write(self, arrays: list[np.ndarray], about: dict[str, Any]) -> None:
    head = {
      'format': _FORMAT,
      'version': logjax.__version__,
      'owner': self._owner,
      'about': about,
      'arrays': digest_of(arrays, {}),
    }
    head['sha256'] = digest_of([], head)
    saved = ocp.args.ArraySave(_bytes_of(arrays))
    items = ocp.args.Composite(arrays=saved, head=ocp.args.JsonSave(head))
    with self._writing():
      self._manager.save(max(self._manager.all_steps(), default=0) + 1, args=items, force=True)

  @contextlib.contextmanager
  def _writing(self) -> Iterator[None]:
    """Says in one line what Orbax and TensorStore say in many when a disk is full."""
    try:
      yield
    except Exception as error:
      phase, self._stopping.phase, self._manager = self._phase, '', None
      why = 'the disk is full' if is_full(error) else ' '.join(str(error).split())[:120]
      raise LogjaxError(
        f'cannot write a checkpoint to {self._folder / phase}: {why}; what was written before is '
        'whole: make room and run the same command again'
      ) from error

  def _restore(
    self, step: int, like: list[Any]
  ) -> tuple[list[np.ndarray], dict[str, Any], str] | None:
    """Restores arrays, what is told of them and the SHA-256 of both.

    None, with a line that says why, where the checkpoint is damaged.
    """
    where = f'checkpoint {step} of {self._phase} in {self._folder}'
    try:
      items = ocp.args.Composite(head=ocp.args.JsonRestore())
      head = self._manager.restore(step, args=items).head
      if digest_of([], head) != head['sha256']:
        raise ValueError('the SHA-256 of its head is another')
      self._check(head, where)
      size = sum(leaf.size * leaf.dtype.itemsize for leaf in like)
      check_sizes(self._folder / self._phase / str(step), size)
      as_numpy = ocp.args.ArrayRestore(restore_args=ocp.RestoreArgs(restore_type=np.ndarray))
      saved = self._manager.restore(step, args=ocp.args.Composite(arrays=as_numpy)).arrays
      arrays = _arrays_of(saved, like)
      if digest_of(arrays, {}) != head['arrays']:
        raise ValueError('the SHA-256 of its arrays is another')
      return arrays, head['about'], head['sha256']
    except LogjaxError:
      raise
    except Exception as error:  # Orbax and TensorStore have many for a damaged file
      why = ' '.join(str(error).split())[:120]
      if isinstance(error, MemoryError) or getattr(error, 'errno', None) in _PASSING:
        raise LogjaxError(f'cannot read {where}: {why}; run the same command again') from error
      # It stays: newer ones will push it out.
      self._say(f'{where} is damaged ({why}): it is left out')
      return None

  def _check(self, head: dict[str, Any], where: str) -> None:
    if head['format'] != _FORMAT:
      raise LogjaxError(
        f'{where} was written by logjax {head["version"]} in format {head["format"]}, and this '
        f'logjax {logjax.__version__} reads {_FORMAT}: go on with the logjax that wrote it, or '
        f'delete {self._folder} and begin the stage anew'
      )
    if head['owner'] != self._owner:
      raise LogjaxError(f'{where} belongs to another config: choose another --workdir')


def _bytes_of(arrays: Sequence[np.ndarray]) -> np.ndarray:
  """Copies arrays of any shapes and types, one after the other, into one of bytes."""
  copies = np.empty(sum(array.nbytes for array in arrays), np.uint8)
  ends = np.cumsum([array.nbytes for array in arrays])
  for end, array in zip(ends, arrays, strict=True):
    copies[end - array.nbytes : end] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
  return copies


def _arrays_of(data: np.ndarray, like: Sequence[Any]) -> list[np.ndarray]:
  """Undoes `_bytes_of` for arrays with the shapes and types of `like`."""
  sizes = [leaf.size * leaf.dtype.itemsize for leaf in like]
  if data.shape != (sum(sizes),):
    raise ValueError(f'it has {data.size} bytes, not {sum(sizes)}')
  parts = zip(np.split(data, np.cumsum(sizes)[:-1]), like, strict=True)
  return [part.copy().view(leaf.dtype).reshape(leaf.shape) for part, leaf in parts]
