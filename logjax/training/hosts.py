"""Several processes, usually one a host, that do one run together.

All of them run the same program on the same rows; only the devices' work is divided, in
`training/parallel.py`, and the reading of the log. The first process alone has the workdir. The
others work in a copy that it sends them at the start, so that no file system needs to be shared,
and tell nothing: whatever decides how a run goes on is then the same everywhere.
"""

import contextlib
import hashlib
import io
import os
import re
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from logjax.errors import LogjaxError
from logjax.training.stopping import Stopped, Stopping
from logjax.training.watch import Place, Watch

# Jobs of Slurm choose a port by their number, so that two of them on one node do not meet.
_SLURM_PORTS = (61_440, 4_096)
_PIECE_BYTES = 64 * 2**20


class Hosts:
  """The processes of this run.

  Attributes:
    place: of this process; None where it is the only one.
    watch: over the others; None before it begins.
  """

  def __init__(self):
    self.place: Place | None = None
    self.watch: Watch | None = None

  @property
  def several(self) -> bool:
    """Whether there is more than one process."""
    return self.place is not None

  @property
  def first(self) -> bool:
    """Whether this is the process that writes and tells."""
    return self.place is None or self.place.process == 0

  @contextlib.contextmanager
  def joined(self, place: Place | None, stopping: Stopping) -> Iterator[None]:
    """Meets the other processes, and inside works with them; an error here ends them all.

    Args:
      place: of this process; None for a run of one.
      stopping: of this process.

    Raises:
      LogjaxError: when the processes do not find each other.
    """
    if place is None:
      yield
      return
    self._meet(place)
    try:
      self._check_devices()
      yield
      self._part()
    except Stopped as stop:
      if stopping.together:
        self._part()
      else:
        self.watch.tell('it was stopped', 128 + stop.signal)
      raise
    except LogjaxError as error:
      # What all of them meet the first one tells, whose workdir it is about.
      if self.first:
        self.watch.tell(str(error))
      else:
        self.watch.explain(str(error), farewells=5)
      raise
    except Exception as error:
      # Of a process that died the others usually learn first by a collective that fails.
      self.watch.explain(f'{type(error).__name__}: {error}')
      raise

  def _meet(self, place: Place) -> None:
    import jax

    self.watch = Watch(place)
    # It would take SIGTERM, which is answered in stopping.py.
    jax.config.update('jax_enable_preemption_service', False)
    jax.distributed.initialize(
      place.coordinator, place.processes, place.process, cluster_detection_method='deactivate'
    )
    self.place = place
    _hide_gloo()

  def _check_devices(self) -> None:
    import jax

    counts = set(Counter(device.process_index for device in jax.devices()).values())
    if len(counts) > 1:
      raise LogjaxError(
        f'processes have {" and ".join(map(str, sorted(counts)))} devices: give each the same '
        'number (on a CPU: JAX_NUM_CPU_DEVICES)'
      )

  def _part(self) -> None:
    """Leaves together with the others, when all have come so far."""
    import jax

    self.gather(b'')
    self.watch.close()
    jax.distributed.shutdown()

  def gather(self, data: bytes) -> list[bytes]:
    """Returns what every process gave, in their order."""
    if self.place is None:
      return [data]
    # As bytes: JAX would make 32 bits of a larger number.
    sizes = [
      int.from_bytes(size.tobytes(), 'big') for size in _of_all(len(data).to_bytes(8, 'big'))
    ]
    parts = [bytearray() for _ in sizes]
    for begin in range(0, max(sizes), _PIECE_BYTES):
      piece = data[begin : begin + _PIECE_BYTES].ljust(min(max(sizes) - begin, _PIECE_BYTES), b'\0')
      for part, row, size in zip(parts, _of_all(piece), sizes, strict=True):
        part += row[: max(0, size - begin)].tobytes()
    return [bytes(part) for part in parts]

  def from_first(self, data: bytes) -> bytes:
    """Returns what the first process gave."""
    if self.place is None:
      return data
    from jax.experimental import multihost_utils

    size = int(self.gather(b'%d' % (len(data) if self.first else 0))[0])
    given = bytearray()
    for begin in range(0, size, _PIECE_BYTES):
      piece = np.zeros(min(size - begin, _PIECE_BYTES), np.uint8)
      if self.first:
        piece[:] = np.frombuffer(data[begin : begin + _PIECE_BYTES], np.uint8)
      given += np.asarray(multihost_utils.broadcast_one_to_all(piece)).tobytes()
    return bytes(given)

  def others_than_first(self, text: str) -> list[int]:
    """Returns the processes that gave another text than the first one, the same list on all."""
    first, *others = self.gather(hashlib.sha256(text.encode()).digest())
    return [number for number, other in enumerate(others, 1) if other != first]

  def check_flags(self, text: str) -> None:
    """Checks that all processes are about to do the same, of which `text` says all.

    Raises:
      LogjaxError: when they are not.
    """
    if differ := self.others_than_first(text):
      raise LogjaxError(
        f'process {", ".join(map(str, differ))} was given other flags than process 0, or another '
        'logjax: give all the same command, but for --process'
      )

  def most(self, number: int) -> int:
    """Returns the largest of the numbers that the processes gave."""
    return max(int(n) for n in self.gather(b'%d' % number))

  @contextlib.contextmanager
  def workdir(self, workdir: Path) -> Iterator[Path]:
    """Gives the folder that this process works in: the workdir, or a copy that vanishes."""
    with contextlib.ExitStack() as stack:
      if not self.first:
        workdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='logjax-')))
        self.watch.folders.append(workdir)
      self.give(workdir)
      yield workdir

  def give(self, folder: Path) -> None:
    """Copies all files of the first process's folder to the same folder of the others."""
    if not self.several:
      return
    packed = self.from_first(_packed(folder) if self.first else b'')
    if not self.first:
      with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter='data')


def _of_all(data: bytes) -> np.ndarray:
  """What every process gave, as many bytes each, uint8 [processes, bytes]."""
  from jax.experimental import multihost_utils

  return np.asarray(multihost_utils.process_allgather(np.frombuffer(data, np.uint8)))


def _packed(folder: Path) -> bytes:
  """All files of a folder in a tar archive, or those that there are."""
  packed = io.BytesIO()
  with tarfile.open(fileobj=packed, mode='w', dereference=True) as archive:
    if folder.is_dir():
      archive.add(folder, '.', filter=lambda about: None if about.name == './lock' else about)
  return packed.getvalue()


def find_place(
  coordinator: str | None,
  processes: int | None,
  process: int | None,
  environment: Mapping[str, str],
) -> Place | None:
  """Finds out which process of how many this is, from flags, and else from the environment.

  Read are JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID or JOB_COMPLETION_INDEX,
  which Kubernetes sets in an indexed job; then what Slurm sets for each task of `srun`.

  Args:
    coordinator: the flag, host and port.
    processes: the flag.
    process: the flag.
    environment: of this process.

  Returns:
    None for a process that is alone.

  Raises:
    LogjaxError: when a part is missing, or does not fit the others.
  """
  job = 'SLURM_JOB_ID' in environment and int(environment.get('SLURM_NTASKS', '1')) > 1
  if (coordinator, processes, process) == (None, None, None) and 'SLURM_PROCID' in environment:
    named = 'JAX_COORDINATOR_ADDRESS' in environment
    if job and 'SLURM_STEP_NODELIST' in environment and not named:
      return Place(
        _slurm_coordinator(environment['SLURM_STEP_NODELIST'], int(environment['SLURM_JOB_ID'])),
        int(environment['SLURM_NTASKS']),
        int(environment['SLURM_PROCID']),
      )
  index = environment.get('JAX_PROCESS_ID', environment.get('JOB_COMPLETION_INDEX'))
  coordinator = coordinator or environment.get('JAX_COORDINATOR_ADDRESS')
  processes = _number(processes, environment.get('JAX_NUM_PROCESSES'), 'JAX_NUM_PROCESSES')
  if coordinator is None and processes is None and process is None:
    return None  # an index alone is that of a job whose processes have nothing to do together
  process = _number(process, index, 'JAX_PROCESS_ID')
  if None in (coordinator, processes, process):
    raise LogjaxError(
      f'several processes need --coordinator (here {coordinator}), --processes ({processes}) and '
      f'--process ({process}), or JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID'
    )
  if not re.fullmatch(r'.+:[0-9]{1,5}', coordinator):
    raise LogjaxError(f'--coordinator={coordinator} must be HOST:PORT, of process 0')
  if not 0 <= process < processes:
    raise LogjaxError(f'--process={process} must be from 0 to --processes - 1 = {processes - 1}')
  return Place(coordinator, processes, process) if processes > 1 else None


def _number(flag: int | None, text: str | None, name: str) -> int | None:
  """A flag, or a variable of the environment where there is none."""
  if flag is not None or text is None:
    return flag
  if not re.fullmatch('[0-9]{1,6}', text):
    raise LogjaxError(f'{name}={text} must be a whole number from 0')
  return int(text)


def _slurm_coordinator(nodes: str, job: int) -> str:
  """The first of nodes such as 'gpu7', 'gpu7,gpu9' or 'gpu[007-010,12],cpu1', and a port."""
  name, bracket, numbers = re.match(r'([^,\[]+)(\[?)([^,\]-]*)', nodes).groups()
  first, count = _SLURM_PORTS
  return f'{name}{numbers if bracket else ""}:{first + job % count}'


def _hide_gloo() -> None:
  """Keeps the lines that Gloo writes to standard output away from results that are printed."""
  sys.stdout.flush()
  sys.stdout = os.fdopen(os.dup(1), 'w', buffering=1)
  os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


HOSTS = Hosts()  # a process belongs to one run
