"""Everything but numbers in training: devices, progress, checkpoints, signals."""

from pathlib import Path
from typing import NamedTuple

from logjax.training.checkpoint import Checkpoints
from logjax.training.progress import Progress
from logjax.training.stopping import Stopping


class Runtime(NamedTuple):
  """Everything but numbers in training; one object for a whole run.

  Attributes:
    devices: most devices to use; 0 for all.
    progress: prints lines and bars, and writes metrics.jsonl.
    checkpoints: of unfinished phases.
    stopping: remembers a request to stop.
  """

  devices: int
  progress: Progress
  checkpoints: Checkpoints
  stopping: Stopping


def quiet_runtime(devices: int = 0, workdir: Path | None = None) -> Runtime:
  """Returns a runtime that prints nothing and saves no checkpoint.

  Args:
    devices: most devices to use; 0 for all.
    workdir: where metrics.jsonl is written; None for nowhere.
  """
  stopping = Stopping()
  progress = Progress(workdir, quiet=True)
  return Runtime(devices, progress, Checkpoints(stopping=stopping), stopping)
