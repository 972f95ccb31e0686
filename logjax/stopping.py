"""A request to stop: SIGTERM (pre-emption) or Ctrl-C, answered where nothing is lost."""

import signal
import sys
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
  """

  def __init__(self):
    self.phase = ''
    self.asked: int | None = None

  def listen(self) -> None:
    """Answers SIGTERM and SIGINT from now on."""
    for number in (signal.SIGTERM, signal.SIGINT):
      signal.signal(number, self._answer)

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
    print(f'\nlogjax: {name}: keeping what {self.phase} has reached', file=sys.stderr)


STOPPING = Stopping()  # signals belong to the process, so there is one
