"""Tiny runs in processes of their own, on any number of simulated devices."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from logjax.oversamplers import gan

ROOT = Path(__file__).parent.parent
PATIENCE = 240  # seconds that a call may take
# Batches of 7 rows, and 21 that are sampled, are divided evenly by no number of devices in use.
SEQGAN = {'mle_epochs': 4, 'batch': 7, 'rows_per_epoch': 21}
FIELDS = (
  '--config.devices=0',
  '--config.checkpoint.epochs=1',
  *(f'--config.seqgan.{name}={value}' for name, value in SEQGAN.items()),
)


def start(runs, workdir: Path, *flags: str, devices: int = 1) -> subprocess.Popen:
  """Starts a tiny run, or goes on with it."""
  env = os.environ | {
    'XDG_CACHE_HOME': str(runs.cache.parent),
    'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
  }
  args = [sys.executable, '-m', 'logjax.main', f'--config={ROOT}/tests/tiny.py:bgl']
  pipe = subprocess.PIPE
  return subprocess.Popen(
    [*args, f'--workdir={workdir}', *FIELDS, *flags],
    env=env,
    cwd=ROOT,
    text=True,
    stdout=pipe,
    stderr=pipe,
  )


def ended(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
  """Waits for processes: their exit codes and what they wrote to the two outputs."""
  outputs = [process.communicate(timeout=PATIENCE) for process in processes]
  return [(p.returncode, *output) for p, output in zip(processes, outputs, strict=True)]


def wait_for_epochs(workdir: Path, epochs: int, process: subprocess.Popen) -> None:
  """Waits until metrics.jsonl has so many lines."""
  path, deadline = workdir / 'metrics.jsonl', time.monotonic() + PATIENCE
  while not (path.exists() and path.read_text().count('\n') >= epochs):
    assert process.poll() is None and time.monotonic() < deadline, process.communicate()
    time.sleep(0.01)


def left(runs, workdir: Path) -> tuple[dict, str, list[np.ndarray]]:
  """Of a finished run: the results, the generated lines, and the arrays of the generators."""
  results = json.loads((workdir / 'results.json').read_text())
  run = runs.open(
    workdir, 'bgl', devices=0, **{f'seqgan__{name}': value for name, value in SEQGAN.items()}
  )
  generators = gan.restore(run.config, workdir / 'oversampler')
  return results, (workdir / 'generated.txt').read_text(), jax.tree.leaves(generators.params)


def assert_close(ours: Any, theirs: Any) -> None:
  """Two trees of JSON with the same numbers up to rounding."""
  if isinstance(ours, dict):
    assert ours.keys() == theirs.keys()
    for name in ours:
      assert_close(ours[name], theirs[name])
  elif isinstance(ours, list):
    for one, other in zip(ours, theirs, strict=True):
      assert_close(one, other)
  elif isinstance(ours, float):
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)
  else:
    assert ours == theirs


def assert_same_up_to_rounding(ours: tuple, theirs: tuple) -> None:
  """What two runs left: the same lines, and numbers that differ by rounding at most."""
  assert ours[1] == theirs[1]
  for one, other in zip(ours[2], theirs[2], strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
  for name in ('test', 'test_real', 'repetitions'):
    assert_close(ours[0][name], theirs[0][name])
