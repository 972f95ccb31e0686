"""Several processes, usually one a host, that do one run together by `jax.distributed`.

All run the same command on the same log, with a workdir on a shared file system. Only the devices'
work is divided, in `training/parallel.py`. Process 0 writes and prints.
"""

import json
import os
import signal
from collections import Counter
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from logjax.errors import LogjaxError

# Seconds: a process silent for so long counts as dead; one at its end waits so long for the others.
_HEARTBEAT, _SHUTDOWN = 60, 90


def connect(coordinator: str | None, processes: int | None, process: int | None) -> None:
  """Joins the other processes of the run, if there are any.

  Without flags JAX finds them where Slurm or an indexed job of Kubernetes started this process.

  Args:
    coordinator: host and port of process 0.
    processes: how many there are; 1 for a process alone, whoever started it.
    process: the number of this one, from 0.

  Raises:
    LogjaxError: when the processes do not find each other.
  """
  flags = (coordinator, processes, process)
  if processes == 1 or not (any(flag is not None for flag in flags) or _in_a_cluster()):
    return
  if None in flags and flags != (None, None, None):
    raise LogjaxError(
      'several processes need all of --coordinator, --processes and --process, or none of them '
      'under Slurm and in an indexed job of Kubernetes'
    )
  try:
    jax.distributed.initialize(
      *flags, heartbeat_timeout_seconds=_HEARTBEAT, shutdown_timeout_seconds=_SHUTDOWN
    )
  except (ValueError, RuntimeError) as error:
    why = ' '.join(str(error).split())[:200]
    raise LogjaxError(
      f'this process is one of several and does not find the others ({why}): start all with the '
      "same --coordinator and --processes; Kubernetes needs pip install 'jax[k8s]'; "
      '--processes=1 runs this one alone'
    ) from error
  if jax.process_count() == 1:
    raise LogjaxError(
      'Slurm or Kubernetes started this process as one of several, and JAX finds no other: give '
      'all of --coordinator, --processes and --process, or --processes=1 to run this one alone'
    )
  # From here on JAX answers SIGTERM, and passes it on to the other processes (`preempted`).
  signal.signal(signal.SIGINT, lambda number, frame: os.kill(os.getpid(), signal.SIGTERM))
  counts = set(Counter(device.process_index for device in jax.devices()).values())
  if len(counts) > 1:
    raise LogjaxError(
      f'processes have {" and ".join(map(str, sorted(counts)))} devices: give each the same '
      'number (on a CPU: JAX_NUM_CPU_DEVICES)'
    )


def several() -> bool:
  """Returns whether this process is one of several."""
  return jax.distributed.is_initialized() and jax.process_count() > 1


def first() -> bool:
  """Returns whether this process writes and prints."""
  return not several() or jax.process_index() == 0


def preempted(step: int) -> bool:
  """Returns whether to stop at this step, because SIGTERM was sent to one of several processes.

  Args:
    step: a number that rises from call to call, and is the same in all processes.
  """
  return several() and multihost_utils.reached_preemption_sync_point(step)


def wait(name: str) -> None:
  """Waits for all processes; afterwards all can read the files that process 0 wrote before."""
  if several():
    multihost_utils.sync_global_devices(name)


def from_first(value: Any) -> Any:
  """Returns the value of process 0, one for JSON; all processes must call this."""
  if not several():
    return value
  data = np.frombuffer(json.dumps(value).encode(), np.uint8)
  size = int(multihost_utils.broadcast_one_to_all(np.int32(data.size)))
  data = data if first() else np.zeros(size, np.uint8)
  return json.loads(np.asarray(multihost_utils.broadcast_one_to_all(data)).tobytes())


def _in_a_cluster() -> bool:
  """Returns whether Slurm or Kubernetes started this process as one of several."""
  tasks = int(os.environ.get('SLURM_NTASKS', '1')) if 'SLURM_STEP_NODELIST' in os.environ else 1
  pod = 'KUBERNETES_SERVICE_HOST' in os.environ and 'JOB_COMPLETION_INDEX' in os.environ
  return tasks > 1 or pod
