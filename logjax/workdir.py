"""A workdir: which configuration it belongs to, and files that appear whole or not at all."""

import fcntl
import hashlib
import json
import os
from pathlib import Path
from typing import Any, ClassVar

import ml_collections

from logjax.errors import LogjaxError
from logjax.files import read_json, write_json
from logjax.settings import flatten
from logjax.training import hosts

REMOVE = 'remove it and run the same command again'  # of what is then made anew


def _decisive(config: ml_collections.ConfigDict) -> dict[str, Any]:
  """All fields that decide what comes out, by dotted names: not how often it is kept."""
  fields = flatten(config.to_dict())
  return {name: value for name, value in fields.items() if not name.startswith('checkpoint.')}


def config_digest(config: ml_collections.ConfigDict) -> str:
  """A SHA-256 of all fields that decide what comes out."""
  return hashlib.sha256(json.dumps(_decisive(config), sort_keys=True).encode()).hexdigest()


def claim_workdir(config: ml_collections.ConfigDict, workdir: Path) -> None:
  """Writes config.json, or checks that the workdir belongs to the same configuration.

  Raises:
    LogjaxError: when it belongs to another one, with the fields that differ.
  """
  if not hosts.first():
    hosts.wait('claimed')  # then process 0 has written it
  mine = _decisive(config)
  path = workdir / 'config.json'
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    if not path.exists():
      write_json(path, mine)
  except OSError as error:
    raise LogjaxError(f'cannot write to --workdir={workdir}: {error.strerror}') from error
  if hosts.first():
    hosts.wait('claimed')
  theirs = read_config(workdir)
  differ = [
    f'{name} is {theirs.get(name)!r} there and {mine.get(name)!r} here'
    for name in sorted(mine.keys() | theirs.keys())
    if theirs.get(name) != mine.get(name)
  ]
  if differ:
    raise LogjaxError(
      f'{workdir} holds a run with another config: {"; ".join(differ[:5])}'
      f'{f" and {len(differ) - 5} more" if len(differ) > 5 else ""}; choose another --workdir'
    )


def read_config(workdir: Path) -> dict[str, Any]:
  """Reads the configuration of a workdir, dotted names.

  Raises:
    LogjaxError: when the workdir holds no run, or its file is damaged.
  """
  path = workdir / 'config.json'
  try:
    path.stat()
  except FileNotFoundError:
    raise LogjaxError(f'{workdir} holds no run: use --mode=train with this workdir first') from None
  except OSError:
    pass  # reading it says why
  return read_json(path, dict, 'choose another --workdir')


class Lock:
  """A workdir that belongs to this process until it is closed, or nothing refers to this.

  The same process may lock a workdir several times. Where the file system knows no locks there is
  none.

  Args:
    workdir: made where it is not there.

  Raises:
    LogjaxError: when another process has it, or it cannot be written.
  """

  _held: ClassVar[dict[str, list[int]]] = {}  # path -> descriptor, and how many locks it has
  _release = staticmethod(os.close)  # still there when the interpreter has cleared its modules

  def __init__(self, workdir: Path):
    self._path = ''
    path = os.path.realpath(workdir / 'lock')
    if path not in self._held:
      self._held[path] = [_lock(workdir, path), 0]
    self._path = path
    self._held[path][1] += 1

  def close(self) -> None:
    """Gives the workdir up."""
    if self._path:
      held, path, self._path = self._held[self._path], self._path, ''
      held[1] -= 1
      if not held[1]:
        del self._held[path]
        self._release(held[0])

  def __del__(self):
    self.close()


def _lock(workdir: Path, path: str) -> int:
  """Opens and locks a file."""
  try:
    workdir.mkdir(parents=True, exist_ok=True)
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
  except OSError as error:
    raise LogjaxError(f'cannot write to --workdir={workdir}: {error.strerror}') from error
  try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError as error:
    os.close(file)
    raise LogjaxError(
      f'another process is at work in {workdir}: wait for it, or choose another --workdir'
    ) from error
  except OSError:
    pass  # no locks on this file system
  return file
