"""A runtime that saves a checkpoint after every epoch."""

from pathlib import Path

from logjax.training.checkpoint import Checkpoints
from logjax.training.progress import Progress
from logjax.training.runtime import Runtime
from logjax.training.stopping import Stopping


def saving_runtime(workdir: Path, **options) -> Runtime:
  """Returns a runtime on one device; `options` are those of its checkpoints."""
  stopping = Stopping()
  options = {'epochs': 1, 'owner': 'run', 'stopping': stopping} | options
  return Runtime(1, Progress(workdir), Checkpoints(workdir / 'unfinished', **options), stopping)
