"""A run that is killed at any moment and started again ends like one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
from measurements import reproducible

from logjax.detectors.autoencoder_gru import restore_detector
from logjax.oversamplers.saved import restore_generators
from logjax.run import finished

pytest_plugins = ['tiny_runs']

ROOT = Path(__file__).parents[2]
PATIENCE = 180  # seconds that a call may take
FIELDS = ('--config.checkpoint.epochs=1', '--config.seqgan.mle_epochs=5')


def start(runs, workdir: Path) -> subprocess.Popen:
  """Starts the run, or goes on with it, in a process of its own."""
  env = os.environ | {
    'XDG_CACHE_HOME': str(runs.cache.parent),
    'XLA_FLAGS': '--xla_force_host_platform_device_count=1',
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
  }
  flags = (f'--config={ROOT}/tests/tiny.py:bgl', f'--workdir={workdir}', *FIELDS)
  args = [sys.executable, '-m', 'logjax.main', *flags]
  pipe = subprocess.PIPE
  return subprocess.Popen(args, env=env, cwd=ROOT, text=True, stdout=pipe, stderr=pipe)


def finish(process: subprocess.Popen) -> None:
  _, err = process.communicate(timeout=PATIENCE)
  assert process.returncode == 0, err


def lines(workdir: Path) -> int:
  """How many epochs metrics.jsonl tells of."""
  path = workdir / 'metrics.jsonl'
  return path.read_text().count('\n') if path.exists() else 0


def kill_after(runs, workdir: Path, epochs: int, seconds: float) -> bool:
  """Kills a call some moment after the run has come so far; returns whether it still ran."""
  process = start(runs, workdir)
  deadline = time.monotonic() + PATIENCE
  while lines(workdir) < epochs and process.poll() is None:
    assert time.monotonic() < deadline
    time.sleep(0.01)
  time.sleep(seconds)
  alive = process.poll() is None
  process.send_signal(signal.SIGKILL)
  process.communicate(timeout=PATIENCE)
  return alive


def left(runs, workdir: Path) -> dict:
  """Everything that a run leaves, timings aside: numbers, texts and every fitted array."""
  results = json.loads((workdir / 'results.json').read_text())
  for name in ('seconds', 'command'):
    del results[name]
  run = runs.open(workdir, 'bgl', seqgan__mle_epochs=5)
  generators, vocabulary = restore_generators(workdir / 'oversampler', run.config.seqgan)
  detector = restore_detector(
    run.config,
    workdir / 'detector',
    finished(run, 'detector'),
    run.config.text.length,
    len(vocabulary),
  )
  names = ('generated.txt', 'details.json')
  return {
    'results': results,
    'measured': reproducible(workdir),
    'texts': {name: (workdir / name).read_text() for name in names},
    'arrays': (generators._asdict(), detector._asdict()),
  }


def assert_equal(ours: dict, theirs: dict) -> None:
  assert ours['results'] == theirs['results']
  assert ours['measured'] == theirs['measured']
  assert ours['texts'] == theirs['texts']
  assert jax.tree.structure(ours['arrays']) == jax.tree.structure(theirs['arrays'])
  jax.tree.map(np.testing.assert_array_equal, ours['arrays'], theirs['arrays'])


@pytest.fixture(scope='module')
def whole(runs, tmp_path_factory) -> Path:
  """The workdir of a run that was never killed."""
  workdir = tmp_path_factory.mktemp('kill') / 'whole'
  finish(start(runs, workdir))
  return workdir


@pytest.mark.parametrize('kills', [4, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_run_ends_with_the_same_bits(runs, whole, tmp_path, kills):
  workdir, drawn = tmp_path / 'killed', random.Random()  # other moments every time
  moments = sorted(drawn.uniform(0, lines(whole)) for _ in range(kills))
  survived = 0
  for moment in moments:
    survived += kill_after(runs, workdir, int(moment), drawn.uniform(0, 0.3))
  finish(start(runs, workdir))
  assert survived >= kills // 2, f'only {survived} kills at {moments} hit a running process'
  assert_equal(left(runs, workdir), left(runs, whole))
  assert not (workdir / 'unfinished').exists()


def test_a_run_on_a_full_disk_ends_with_one_line_and_goes_on_where_there_is_room(
  runs, whole, small_disk
):
  folder, enlarge = small_disk(400)
  process = start(runs, folder / 'run')
  _, err = process.communicate(timeout=PATIENCE)
  assert process.returncode == 2, err
  assert 'Traceback' not in err
  (said,) = [line for line in err.splitlines() if line.startswith('logjax: ')]
  assert 'the disk is full' in said and 'run the same command again' in said
  enlarge()
  finish(start(runs, folder / 'run'))
  assert_equal(left(runs, folder / 'run'), left(runs, whole))
