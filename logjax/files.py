"""The files of a run: JSON and NumPy arrays, written whole or not at all, read without pickle."""

import contextlib
import json
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from logjax.errors import LogjaxError

# Exceptions of NumPy and the readers of zip files for files that were cut or changed.
_DAMAGE = (
  zipfile.BadZipFile,
  zlib.error,
  struct.error,
  ArithmeticError,
  AttributeError,
  EOFError,
  LookupError,
  RuntimeError,
  SyntaxError,
  TypeError,
  ValueError,
)


def load_arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
  """Reads all arrays of an .npz file by their names.

  Arrays of Python objects are refused: they would be pickles, and reading a pickle can run code.

  Args:
    path: of the file.
    names: of the arrays to expect in it.

  Raises:
    LogjaxError: the file is missing, damaged, or not of numbers; or the machine cannot read it.
  """
  with _refused(path), np.load(path, allow_pickle=False) as file:
    arrays = {name: file[name] for name in file.files}
    if missing := sorted(set(names) - arrays.keys()):
      raise ValueError(f'it has no {missing[0]}')
    return arrays


def save_arrays(path: Path, **arrays: np.ndarray) -> None:
  """Writes arrays to an .npz file; after a kill it is whole or absent."""
  partial = path.with_name('part.' + path.name)
  np.savez(partial, **arrays)
  partial.replace(path)


@contextlib.contextmanager
def _refused(path: Path) -> Iterator[None]:
  """Turns the exceptions of a damaged file into a LogjaxError."""
  try:
    yield
  except FileNotFoundError:
    raise LogjaxError(f'{path} is missing: run --mode=train in a new workdir') from None
  except OSError as error:  # the machine failed, not the file
    reason = error.strerror or error
    raise LogjaxError(f'cannot read {path}: {reason}; run the same command again') from error
  except _DAMAGE as error:
    reason = ' '.join(str(error).split())[:120] or type(error).__name__
    raise LogjaxError(
      f'{path}: is damaged ({reason}): run --mode=train in a new workdir'
    ) from error


def read_json(path: Path, kind: type, cure: str) -> Any:
  """Reads a file written by `write_json`.

  Args:
    path: of the file.
    kind: type of the value, such as `dict`.
    cure: advice for the user if the file is damaged or missing.

  Raises:
    LogjaxError: the file cannot be read, or its value is of another type.
  """
  try:
    value = json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    raise LogjaxError(f'{path} is missing: {cure}') from None
  except OSError as error:  # the machine failed, not the file
    raise LogjaxError(
      f'cannot read {path}: {error.strerror}; run the same command again'
    ) from error
  except ValueError as error:
    raise LogjaxError(f'{path} is damaged ({error}): {cure}') from None
  if not isinstance(value, kind):
    raise LogjaxError(f'{path} is damaged ({type(value).__name__}, not {kind.__name__}): {cure}')
  return value


def write_json(path: Path, value: Any) -> None:
  """Writes JSON to a file; after a kill it is whole or absent."""
  partial = path.with_name(path.name + '.part')
  partial.write_text(json.dumps(value, indent=2, allow_nan=False) + '\n')
  partial.replace(path)
