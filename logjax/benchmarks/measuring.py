"""Measures one call: its time, its memory, and its distance from the floor."""

import contextlib
import ctypes
import gc
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import ml_collections

from logjax.benchmarks.calls import Call, Case
from logjax.benchmarks.floor import floor_seconds
from logjax.training.parallel import parallel, replicate, shard

_MIN_BLOCK_SECONDS = 0.1  # a shorter call is repeated within a block
_MIN_BLOCKS = 3
_PROCESS = Path('/proc/self')


def measure(
  case: Case, call: Call, devices: int, settings: ml_collections.ConfigDict
) -> dict[str, Any]:
  """Measures one call on some devices.

  Args:
    case: the models and their state.
    call: made from `case`.
    devices: number of devices.
    settings: `config.benchmark`.

  Returns:
    The fields of throughput.py from `seconds` on.
  """
  jax.clear_caches()  # otherwise programs of earlier calls would count as memory of this one
  state = replicate(case.state, devices)
  batch, keys = (shard(x, devices, call.axis) for x in (call.batch, call.keys))
  # The state is not donated, so every repetition does the same work.
  step = parallel(call.step, devices, donate=False).lower(state, batch, keys).compile()
  peak = watch_memory(devices)
  cpu_seconds: list[float] = []

  def run() -> None:
    start = time.process_time()
    jax.block_until_ready(step(state, batch, keys))
    cpu_seconds.append(time.process_time() - start)

  seconds = time_blocks(run, settings)
  peak_memory_mb = peak()
  median = statistics.median(seconds)
  return {
    'seconds': _digits(median),
    'best': _digits(min(seconds)),
    'cpu_seconds': _digits(statistics.median(cpu_seconds)),
    'tokens_per_second': round(call.tokens / median),
    'rows_per_second': _digits(call.rows / median),
    'peak_memory_mb': peak_memory_mb,
    'share_of_floor': _digits(floor_seconds(case.model, state, call.work, devices) / median),
  }


def _digits(value: float) -> float:
  """Rounds to four digits; more would be noise."""
  return float(f'{value:.4g}')


def time_blocks(call: Callable[[], Any], settings: ml_collections.ConfigDict) -> list[float]:
  """Times blocks of calls after some calls for warming up.

  Args:
    call: returns after its work is finished.
    settings: `config.benchmark`.

  Returns:
    The mean seconds of one call, for each block.
  """

  def seconds(times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
      call()
    return (time.perf_counter() - start) / times

  for _ in range(settings.warm_up):
    last = seconds(1)
  times = max(1, math.ceil(_MIN_BLOCK_SECONDS / last))
  blocks: list[float] = []
  while len(blocks) < settings.blocks:
    if len(blocks) >= _MIN_BLOCKS and sum(blocks) * times >= settings.seconds:
      break
    blocks.append(seconds(times))
  return blocks


def watch_memory(devices: int) -> Callable[[], int | None]:
  """Returns a function of the peak memory since now in 10^6 bytes, None if unknown.

  On a CPU it is the memory of the process (Linux only). The peak of an accelerator cannot be reset,
  so there it is known only if it exceeds the highest use since the process began.
  """
  before = 0 if _reset_peak() else _peak(devices)

  def peak() -> int | None:
    after = _peak(devices)
    return round(after / 10**6) if after > before else None

  return peak


def _reset_peak() -> bool:
  """Sets the peak memory of the process to its present use; returns whether that worked."""
  if jax.default_backend() != 'cpu':
    return False
  gc.collect()
  # Memory freed by the compiler stays with the process until glibc is asked to return it.
  with contextlib.suppress(AttributeError, OSError, TypeError):
    ctypes.CDLL(None).malloc_trim(0)
  try:
    (_PROCESS / 'clear_refs').write_text('5')
  except OSError:  # not Linux, or not allowed
    return False
  return True


def _peak(devices: int) -> int:
  """Returns the peak memory so far in bytes, of the process or of one device; 0 if unknown."""
  if jax.default_backend() != 'cpu':
    stats = [device.memory_stats() or {} for device in jax.local_devices()[:devices]]
    return max(s.get('peak_bytes_in_use', 0) for s in stats)
  with contextlib.suppress(OSError):
    for line in (_PROCESS / 'status').read_text().splitlines():
      if line.startswith('VmHWM:'):
        return int(line.split()[1]) * 1024
  return 0
