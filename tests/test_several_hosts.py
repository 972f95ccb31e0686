"""Two processes that do one run end like one process, and survive each other's death."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from logjax.oversamplers.saved import restore_generators

pytest_plugins = ['tiny_runs']

ROOT = Path(__file__).parent.parent
PATIENCE = 240  # seconds that a call may take
FIELDS = ('--config.devices=0', '--config.checkpoint.epochs=1', '--config.seqgan.mle_epochs=4')


@pytest.fixture
def started():
  """Processes that a test started; those that are left are killed at its end."""
  processes = []
  yield processes
  for process in processes:
    process.kill()
    process.communicate()


def start(runs, workdir: Path, *flags: str, devices: int = 1) -> subprocess.Popen:
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


def start_two(
  runs, started: list, workdir: Path, *flags: str, each: tuple = ((), ())
) -> list[subprocess.Popen]:
  """Starts two processes on this machine; only the first is given a workdir that is there."""
  with socket.create_server(('localhost', 0)) as server:
    port = server.getsockname()[1]
  two = [
    start(
      runs,
      workdir if process == 0 else workdir / 'not' / 'here',
      f'--coordinator=localhost:{port}',
      '--processes=2',
      f'--process={process}',
      *flags,
      *each[process],
    )
    for process in range(2)
  ]
  started += two
  return two


def ended(processes: list[subprocess.Popen]) -> list[tuple[int, str, str]]:
  """Waits for processes: their exit codes and what they wrote to the two outputs."""
  outputs = [process.communicate(timeout=PATIENCE) for process in processes]
  return [(p.returncode, *output) for p, output in zip(processes, outputs, strict=True)]


def wait_for_epochs(workdir: Path, epochs: int, process: subprocess.Popen) -> None:
  path, deadline = workdir / 'metrics.jsonl', time.monotonic() + PATIENCE
  while not (path.exists() and path.read_text().count('\n') >= epochs):
    assert process.poll() is None and time.monotonic() < deadline, process.communicate()
    time.sleep(0.01)


def left(runs, workdir: Path) -> tuple[dict, str, object]:
  """The results without what may differ, the generated lines, and the generators."""
  results = json.loads((workdir / 'results.json').read_text())
  run = runs.open(workdir, 'bgl', devices=0, seqgan__mle_epochs=4)
  generators, _ = restore_generators(workdir / 'oversampler', run.config.seqgan)
  return results, (workdir / 'generated.txt').read_text(), generators.params


@pytest.fixture(scope='module')
def whole(runs, tmp_path_factory) -> Path:
  """The workdir of two processes that nothing happened to."""
  workdir, processes = tmp_path_factory.mktemp('hosts') / 'whole', []
  first, second = ended(start_two(runs, processes, workdir))
  assert first[0] == 0, first
  assert second == (0, '', ''), 'only the first process tells'
  assert 'Gloo' not in first[1]
  return workdir


def leaves(tree) -> list[np.ndarray]:
  import jax

  return [np.asarray(leaf) for leaf in jax.tree.leaves(tree)]


def test_two_processes_end_like_one_process_with_two_devices(runs, whole, tmp_path):
  code, _, err = ended([start(runs, tmp_path / 'one', devices=2)])[0]
  assert code == 0, err
  results, lines, params = left(runs, whole)
  results_of_one, lines_of_one, params_of_one = left(runs, tmp_path / 'one')
  assert lines == lines_of_one
  assert results['device'] == results_of_one['device']
  for ours, theirs in zip(leaves(params), leaves(params_of_one), strict=True):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)
  for name in ('test', 'test_real', 'thresholds'):
    if name in results:
      jax_close(results[name], results_of_one[name])


def jax_close(ours, theirs) -> None:
  """Two trees of JSON with the same numbers up to rounding."""
  if isinstance(ours, dict):
    assert ours.keys() == theirs.keys()
    for name in ours:
      jax_close(ours[name], theirs[name])
  elif isinstance(ours, list):
    for one, other in zip(ours, theirs, strict=True):
      jax_close(one, other)
  elif isinstance(ours, float):
    assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-4)
  else:
    assert ours == theirs


def test_only_the_first_process_has_the_workdir(whole):
  assert not (whole / 'not').exists()


@pytest.mark.parametrize('dead', [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_process_that_dies_ends_the_other_and_the_run_goes_on(
  runs, started, whole, tmp_path, dead
):
  workdir = tmp_path / 'killed'
  two = start_two(runs, started, workdir)
  wait_for_epochs(workdir, 3, two[0])
  two[dead].send_signal(signal.SIGKILL)
  begin = time.monotonic()
  code, _, err = ended(two)[1 - dead]
  assert time.monotonic() - begin < 60
  assert code == 2 and f'logjax: process {dead} (' in err and 'died' in err
  assert (workdir / 'unfinished').exists()
  first, second = ended(start_two(runs, started, workdir))
  assert (first[0], second[0]) == (0, 0), (first, second)
  ours, theirs = left(runs, workdir), left(runs, whole)
  for name in ('seconds', 'command'):
    del ours[0][name], theirs[0][name]
  assert ours[:2] == theirs[:2]
  for one, other in zip(leaves(ours[2]), leaves(theirs[2]), strict=True):
    np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_both_stop_when_one_is_asked_to(runs, started, tmp_path):
  workdir = tmp_path / 'stopped'
  two = start_two(runs, started, workdir)
  wait_for_epochs(workdir, 2, two[0])
  two[1].send_signal(signal.SIGTERM)
  (code, _, err), second = ended(two)
  assert (code, second[0]) == (143, 143), (err, second)
  assert 'stopped; what was reached is kept' in err
  assert (workdir / 'unfinished').exists()


def test_a_mistake_of_one_is_told_by_both(runs, started, tmp_path):
  two = start_two(runs, started, tmp_path / 'run', '--config.data.path=nothing.log')
  for code, _, err in ended(two):
    assert code == 2 and "data.path 'nothing.log' matches no file" in err
    assert 'Traceback' not in err and 'Fatal' not in err


def test_other_flags_for_one_process_are_refused(runs, started, tmp_path):
  two = start_two(runs, started, tmp_path / 'run', each=((), ('--config.seed=1',)))
  for code, _, err in ended(two):
    assert code == 2 and 'process 1 was given other flags than process 0' in err


def test_evaluation_is_for_one_process(runs, started, tmp_path):
  (code, _, err), _ = ended(start_two(runs, started, tmp_path, '--mode=evaluate'))
  assert code == 2 and 'are for one process' in err
