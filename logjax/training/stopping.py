"""Requests to stop: SIGTERM (pre-emption) and Ctrl-C, answered when the epoch is saved."""

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType


class Stopped(BaseException):
  """The process was asked to stop, and its epoch is saved.

  Attributes:
    signal: SIGTERM or SIGINT.
  """

  def __init__(self, number: int):
    super().__init__(number)
    self.signal = number


class Stopping:
  """Remembers that the process was asked to stop.

  Attributes:
    phase: the one that runs and saves its epoch before it stops; '' for none.
    asked: the signal; None before one.
  """

  def __init__(self):
    self.phase = ''
    self.asked: int | None = None
    self._checks = 0

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

  def requested(self) -> bool:
    """Returns whether to stop now.

    Of several processes all must call this equally often. After a SIGTERM to one of them all get
    the same answer at the same call.
    """
    from logjax.training import hosts  # imports JAX, for which --help does not wait

    self._checks += 1
    if hosts.preempted(self._checks):
      self.asked = signal.SIGTERM
    return self.asked is not None

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
      os.write(2, f'\nlogjax: {name}: saving the epoch of {self.phase}\n'.encode())
