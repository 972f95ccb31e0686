"""A request to stop: SIGTERM (pre-emption) or Ctrl-C, answered where nothing is lost."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType


class Stopped(BaseException):
  """The process was asked to stop, and what it had reached is kept.

  Attributes:
    signal: SIGTERM or SIGINT.
  """

  def __init__(self, number: int):
    super().__init__(number)
    self.signal = number


class Stopping:
  """Whether the process was asked to stop, and whether a phase is running that must be kept first.

  Attributes:
    phase: that keeps what it has reached when asked, after its current epoch; '' for none.
    asked: the signal, None before one.
    together: whether all processes of the run stop now.
  """

  def __init__(self):
    self.phase = ''
    self.asked: int | None = None
    self.together = False

  @contextlib.contextmanager
  def listening(self) -> Iterator[None]:
    """Answers SIGTERM and SIGINT inside."""
    before = {n: signal.signal(n, self._answer) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
      yield
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)
      self.asked, self.phase = None, ''

  def check(self) -> None:
    """Raises Stopped when the process was asked to stop."""
    if self.asked is not None:
      raise Stopped(self.asked)

  def _answer(self, number: int, frame: FrameType | None) -> None:
    """Waits for the phase that runs; between phases, and the second time, stops at once."""
    if not self.phase or self.asked is not None:
      raise Stopped(number)
    self.asked = number
    name = signal.Signals(number).name
    # Not print: the handler may have interrupted one, and the reader may be gone.
    with contextlib.suppress(OSError):
      os.write(2, f'\nlogjax: {name}: keeping what {self.phase} has reached\n'.encode())
