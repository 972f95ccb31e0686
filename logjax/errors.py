"""The one exception whose message is meant for the user."""

from __future__ import annotations

import errno
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # main.py answers a wrong flag without waiting for Polars.
  import polars as pl


# What the system says when there is no room: the disk, the user's share, the largest file.
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LogjaxError(Exception):
  """A mistake that the user can mend: one line with what is wrong, where, and what to do.

  `main.py` prints the message without a traceback and exits with status 2. Anything else that
  escapes is a defect of logjax and keeps its traceback.

  Attributes:
    rejected: file (its name), line (1-based) and text of the lines of a log that do not fit its
      format, where they are too many; None where the mistake is another.
  """

  def __init__(self, message: str, *, rejected: pl.DataFrame | None = None):
    super().__init__(message)
    self.rejected = rejected


def is_full(error: BaseException) -> bool:
  """Whether an error of the system, of TensorStore or of Polars is for want of room on a disk."""
  full = isinstance(error, OSError) and error.errno in _FULL
  return full or 'RESOURCE_EXHAUSTED' in str(error) or 'No space left' in str(error)


def quiet_threads() -> None:
  """Keeps the threads of Orbax and TensorStore from printing what is told in one line anyway.

  What fails in them is raised again where their work is waited for; what they have not finished
  then complains to an event loop that is closed.
  """
  thread, unraisable = threading.excepthook, sys.unraisablehook

  def in_thread(raised: threading.ExceptHookArgs) -> None:
    if not is_full(raised.exc_value):
      thread(raised)

  def ignored(raised: sys.UnraisableHookArgs) -> None:
    if str(raised.exc_value) != 'Event loop is closed':
      unraisable(raised)

  threading.excepthook, sys.unraisablehook = in_thread, ignored
