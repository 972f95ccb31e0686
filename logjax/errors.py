"""The exception for the user's mistakes, and the one line printed for an error."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # a wrong flag is answered before Polars is loaded
  import polars as pl

# No room on the disk, no room in the user's quota, and a file larger than the system allows.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Fields that lower the memory of a run, in order of their effect.
_LESS_MEMORY = (
  'seqgan.rollout_block, seqgan.batch, detector.autoencoder.batch, detector.gru.batch, text.length '
  'or the sizes of the layers'
)


class LogjaxError(Exception):
  """A mistake that the user can mend, in one line: the mistake, its place, and the cure.

  `command_line.run` prints the message without a traceback and exits with 2. Any other exception is
  a defect of logjax and keeps its traceback.

  Attributes:
    rejected: the log lines outside the format, if there are too many of them: columns file (its
      name), line (1-based) and text; None for every other mistake.
  """

  def __init__(self, message: str, *, rejected: pl.DataFrame | None = None):
    super().__init__(message)
    self.rejected = rejected


def is_full(error: BaseException) -> bool:
  """Returns true if the system, TensorStore or Polars had no room to write."""
  # TensorStore and Polars raise other exceptions, with the system's text for the error number.
  if isinstance(error, OSError) and error.errno in _FULL:
    return True
  return any(os.strerror(number) in str(error) for number in _FULL)


def is_out_of_memory(error: BaseException) -> bool:
  """Returns true if NumPy (MemoryError) or JAX had no memory left."""
  # JAX says RESOURCE_EXHAUSTED on an accelerator, and INTERNAL with these words on a CPU.
  words = ('RESOURCE_EXHAUSTED', 'Out of memory')
  return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def explain(error: Exception) -> str | None:
  """Returns the line to print for an error, or None for a defect of logjax."""
  if isinstance(error, LogjaxError):
    return str(error)
  if is_full(error):
    where = getattr(error, 'filename', None) or 'a result'
    return (
      f'cannot write {where}: the disk is full; files written before are whole. Make room and run '
      'the same command again'
    )
  if is_out_of_memory(error):
    first = (str(error).strip() or 'MemoryError').splitlines()[0]
    asked = first[max(first.find('Out of memory'), 0) :][:160]
    return f'memory ran out ({asked}): lower {_LESS_MEMORY}, in a new workdir'
  return None
