"""Training after training in one process: memory, files, descriptors and threads do not grow."""

import gc
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import tiny
from absl import logging
from compiling import compiled_fast
from saving import saving_runtime

from logjax.studies.subrun import run_once
from logjax.training.checkpoint import restore_params, save_params
from tests.training.test_loop import fit_line

TRAININGS = int(os.environ.get('LOGJAX_SOAK', 200))
FULL = 10  # every so many trainings has all phases; the others are the quickest that there are
IDLE = 30  # seconds after which TensorStore has ended the threads of its pool that had no work (20)


class Use(NamedTuple):
  """What this process holds: resident memory in MB, and how many of each."""

  memory: float
  descriptors: int
  threads: int
  mappings: int


def use() -> Use:
  gc.collect()
  pages = int(Path('/proc/self/statm').read_text().split()[1])
  return Use(
    pages * os.sysconf('SC_PAGE_SIZE') / 1e6,
    len(os.listdir('/proc/self/fd')),
    len(os.listdir('/proc/self/task')),
    Path('/proc/self/maps').read_text().count('\n'),
  )


def config_of(number: int):
  config = tiny.get_config('bgl')
  config.checkpoint.epochs = 1
  if number % FULL:
    config.oversampler.name = 'mle'
    config.detector.repetitions = 1
  return config


def fit_and_keep(workdir: Path) -> None:
  """Trains a line, a phase of its own that saves every epoch."""
  runtime = saving_runtime(workdir)
  fit_line(1, epochs=3, runtime=runtime)
  runtime.checkpoints.delete()


def objects_left(folder: Path, arrays: int) -> dict[str, float]:
  """How many Python objects each call leaves behind, for a tree of so many arrays."""
  tree = {str(i): np.ones((2, 3), np.float32) for i in range(arrays)}
  checkpoints = saving_runtime(folder).checkpoints
  checkpoints.restore('phase', tree)
  calls = {
    'save_params': lambda: save_params(folder / 'saved', tree),
    'restore_params': lambda: restore_params(folder / 'saved', tree),
    'save': lambda: checkpoints.save(tree, {}),
    'restore': lambda: checkpoints.restore('phase', tree),
  }
  left = {}
  for name, call in calls.items():
    counts = []
    for _ in range(7):
      call()
      gc.collect()
      counts.append(sys.getallocatedblocks())
    left[name] = (counts[-1] - counts[2]) / 4  # the first calls fill caches
  checkpoints.close()
  return left


def test_a_checkpoint_leaves_fewer_than_two_objects_an_array_behind(tmp_path):
  """TensorStore loses four with each array of a database, written or read."""
  few, many = (objects_left(tmp_path / str(n), n) for n in (5, 45))
  an_array = {name: (many[name] - few[name]) / 40 for name in few}
  assert max(an_array.values()) < 2, (few, many)


needs_proc = pytest.mark.skipif(not Path('/proc/self/statm').exists(), reason='needs Linux /proc')


@needs_proc
def test_phases_leave_no_file_descriptor_or_thread_behind(tmp_path):
  used = []
  for _ in range(8):
    fit_and_keep(tmp_path)
    used.append(use())
    assert {path.name for path in tmp_path.iterdir()} == {'metrics.jsonl'}
  assert used[-1].descriptors <= used[0].descriptors, used
  # After four phases: by then pools are nearly full, and a thread a phase would be four more.
  assert used[-1].threads <= used[3].threads + 2, used


@needs_proc
@pytest.mark.slow
def test_many_trainings_in_one_process_leave_nothing_behind(tmp_path, monkeypatch, capsys, request):
  temporary = tmp_path / 'temporary'
  temporary.mkdir()
  monkeypatch.setattr(tempfile, 'tempdir', str(temporary))
  # As in main.py; pytest would hold every line in memory, of Orbax as of the trainings.
  verbosity = logging.get_verbosity()
  request.addfinalizer(lambda: logging.set_verbosity(verbosity))
  logging.set_verbosity(logging.FATAL)
  used, last_full = {}, TRAININGS - TRAININGS % FULL
  for number in range(1, TRAININGS + 1):
    workdir = tmp_path / str(number) / 'run'
    with compiled_fast():
      run_once(config_of(number), workdir, tmp_path / 'cache' / 'logjax', 'the command')
    left = {path.name for path in workdir.rglob('*') if '.part' in path.name}
    assert not left and not (workdir / 'unfinished').exists()
    shutil.rmtree(workdir.parent)
    capsys.readouterr()
    if number in (FULL, last_full):
      time.sleep(IDLE)
    used[number] = use()
    with capsys.disabled():
      print(number, used[number], flush=True)
  assert not list(temporary.iterdir())
  tenth, last = used[FULL], used[last_full]
  assert last.memory < 1.05 * tenth.memory, used
  assert last.descriptors <= tenth.descriptors, used
  assert last.threads <= tenth.threads, used
  assert last.mappings < 1.05 * tenth.mappings, used
