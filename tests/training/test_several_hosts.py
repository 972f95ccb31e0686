"""Two processes that do one run end like one process, and survive each other's death."""

import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from calls import assert_same_up_to_rounding, ended, left, start, wait_for_epochs

pytest_plugins = ['tiny_runs']


@pytest.fixture
def started():
  """Processes that a test started; those that are left are killed at its end."""
  processes = []
  yield processes
  for process in processes:
    process.kill()
    process.communicate()


def start_two(
  runs, started: list, workdir: Path, *flags: str, each: tuple = ((), ()), devices: tuple = (1, 1)
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
      devices=devices[process],
    )
    for process in range(2)
  ]
  started += two
  return two


@pytest.fixture(scope='module')
def whole(runs, tmp_path_factory) -> Path:
  """The workdir of two processes that nothing happened to."""
  folder, processes = tmp_path_factory.mktemp('hosts'), []
  (folder / 'disk').mkdir()
  workdir = folder / 'whole'
  workdir.symlink_to(folder / 'disk')
  first, second = ended(start_two(runs, processes, workdir))
  assert first[0] == 0, first
  assert second == (0, '', ''), 'only the first process tells'
  assert 'Gloo' not in first[1]
  return workdir


def test_two_processes_end_like_one_process_with_two_devices(runs, whole, tmp_path):
  code, _, err = ended([start(runs, tmp_path / 'one', devices=2)])[0]
  assert code == 0, err
  two, one = left(runs, whole), left(runs, tmp_path / 'one')
  assert two[0]['device'] == one[0]['device']
  assert_same_up_to_rounding(two, one)


def test_only_the_first_process_has_the_workdir(whole):
  assert not (whole / 'not').exists()


@pytest.mark.slow
@pytest.mark.parametrize('dead', [0, 1])
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
  for one, other in zip(ours[2], theirs[2], strict=True):
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


def test_a_partner_who_does_something_else_is_refused(runs, started, tmp_path):
  """Other flags, other devices."""
  cases = {
    'process 1 was given other flags than process 0': {'each': ((), ('--config.seed=1',))},
    'processes have 1 and 2 devices': {'devices': (1, 2)},
  }
  for said, options in cases.items():
    both = ended(start_two(runs, started, tmp_path / 'run', **options))
    assert {code for code, _, _ in both} == {2}, both
    assert all(said in err and 'Traceback' not in err for _, _, err in both), both


@pytest.mark.slow
def test_what_both_meet_the_first_one_tells(runs, started, tmp_path):
  flags = ('--config.seqgan.generator_learning_rate=1e30',)
  both = ended(start_two(runs, started, tmp_path / 'run', *flags))
  for code, _, err in both:
    assert code == 2 and f'its batch is in {tmp_path}/run/diverged/' in err, both
    assert 'Fatal' not in err and 'logjax-' not in err, both
  assert list((tmp_path / 'run' / 'diverged').iterdir())


def test_evaluation_is_for_one_process(runs, started, tmp_path):
  (code, _, err), _ = ended(start_two(runs, started, tmp_path, '--mode=evaluate'))
  assert code == 2 and 'are for one process' in err
