"""Measuring one call: its time, the memory it takes, and how near the floor it is."""

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

from logjax.benchmarks.calls import Call
from logjax.benchmarks.floor import floor_seconds
from logjax.seqgan.state import SeqGAN, SeqGANState
from logjax.training.parallel import parallel, replicate, shard

_LEAST_BLOCK = 0.1  # seconds: a shorter call is repeated within a block
_LEAST_BLOCKS = 3
_PROCESS = Path('/proc/self')


def measure(
  model: SeqGAN,
  state: SeqGANState,
  call: Call,
  devices: int,
  settings: ml_collections.ConfigDict,
) -> dict[str, Any]:
  """Measures one call on so many devices.

  Args:
    model: that the call was made with.
    state: likewise; kept, so that each time the call does the same.
    call: what to measure.
    devices: how many.
    settings: `config.benchmark`.

  Returns:
    The fields of throughput.py from `seconds` on.
  """
  measured = time_call(state, call, devices, settings)
  floor = floor_seconds(model, state, call.work, devices)
  return measured | {'share_of_floor': _digits(floor / measured['seconds'])}


def time_call(
  state: Any, call: Call, devices: int, settings: ml_collections.ConfigDict
) -> dict[str, Any]:
  """Times one call and tells its memory: as `measure`, without the share of the floor."""
  jax.clear_caches()  # Programs of earlier calls would count as memory of this one.
  state = replicate(state, devices)
  batch, keys = (shard(x, devices, call.axis) for x in (call.batch, call.keys))
  step = parallel(call.step, devices, donate=False).lower(state, batch, keys).compile()
  peak = watch_memory(devices)
  used: list[float] = []

  def run() -> None:
    begun = time.process_time()
    jax.block_until_ready(step(state, batch, keys))
    used.append(time.process_time() - begun)

  seconds = time_blocks(run, settings)
  peak_memory_mb = peak()
  median = statistics.median(seconds)
  return {
    'seconds': _digits(median),
    'best': _digits(min(seconds)),
    'cpu_seconds': _digits(statistics.median(used)),
    'tokens_per_second': round(call.tokens / median),
    'rows_per_second': _digits(call.rows / median),
    'peak_memory_mb': peak_memory_mb,
  }


def _digits(value: float) -> float:
  """Four digits: more would be noise."""
  return float(f'{value:.4g}')


def time_blocks(call: Callable[[], Any], settings: ml_collections.ConfigDict) -> list[float]:
  """Times blocks of calls, after the calls that warm up.

  Args:
    call: comes back when it has finished.
    settings: `config.benchmark`.

  Returns:
    For each block the seconds of one call.
  """

  def seconds(times: int) -> float:
    start = time.perf_counter()
    for _ in range(times):
      call()
    return (time.perf_counter() - start) / times

  for _ in range(settings.warm_up):
    last = seconds(1)
  times = max(1, math.ceil(_LEAST_BLOCK / last))
  blocks: list[float] = []
  while len(blocks) < settings.blocks:
    if len(blocks) >= _LEAST_BLOCKS and sum(blocks) * times >= settings.seconds:
      break
    blocks.append(seconds(times))
  return blocks


def watch_memory(devices: int) -> Callable[[], int | None]:
  """Returns a function that tells the most memory used since now, in 10^6 bytes, or None."""
  if jax.default_backend() == 'cpu':
    return _watch_process()
  before = _device_peak(devices)

  def peak() -> int | None:
    after = _device_peak(devices)
    return round(after / 10**6) if after is not None and after > before else None

  return peak


def _watch_process() -> Callable[[], int | None]:
  gc.collect()
  # What the compiler has freed stays with the process until the C library (glibc) is asked for it.
  with contextlib.suppress(AttributeError, OSError, TypeError):
    ctypes.CDLL(None).malloc_trim(0)
  try:
    (_PROCESS / 'clear_refs').write_text('5')  # The peak begins again with what is used now.
  except OSError:  # not Linux, or not allowed
    return lambda: None

  def peak() -> int | None:
    for line in (_PROCESS / 'status').read_text().splitlines():
      if line.startswith('VmHWM:'):
        return round(int(line.split()[1]) * 1024 / 10**6)
    return None

  return peak


def _device_peak(devices: int) -> int | None:
  """The highest use so far of one device's memory, bytes; None where devices do not tell."""
  told = [device.memory_stats() or {} for device in jax.local_devices()[:devices]]
  return max((s['peak_bytes_in_use'] for s in told if 'peak_bytes_in_use' in s), default=None)
