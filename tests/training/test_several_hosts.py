"""Two processes that do one run end like one process, and do not outlive each other."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from calls import ROOT, assert_same_up_to_rounding, ended, left, start, wait_for_epochs

from logjax.errors import LogjaxError
from logjax.training import hosts

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
  """Starts two processes on this machine in one workdir."""
  with socket.create_server(('localhost', 0)) as server:
    port = server.getsockname()[1]
  two = [
    start(
      runs,
      workdir,
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
  workdir = tmp_path_factory.mktemp('hosts') / 'whole'
  first, second = ended(start_two(runs, [], workdir))
  assert first[0] == 0, first
  assert second[0] == 0 and 'training' not in second[2], second  # process 0 alone prints
  return workdir


def test_two_processes_end_like_one_process_with_two_devices(runs, whole, tmp_path):
  code, _, err = ended([start(runs, tmp_path / 'one', devices=2)])[0]
  assert code == 0, err
  two, one = left(runs, whole), left(runs, tmp_path / 'one')
  assert two[0]['device'] == one[0]['device']
  assert_same_up_to_rounding(two, one)
  names = [{path.name for path in workdir.rglob('*')} for workdir in (whole, tmp_path / 'one')]
  assert names[0] == names[1]


@pytest.mark.slow
@pytest.mark.parametrize('dead', [0, 1])
def test_a_process_that_dies_ends_the_other_and_the_run_resumes(
  runs, started, whole, tmp_path, dead
):
  workdir = tmp_path / 'killed'
  two = start_two(runs, started, workdir)
  wait_for_epochs(workdir, 3, two[0])
  two[dead].send_signal(signal.SIGKILL)
  code, _, err = ended(two)[1 - dead]
  assert code != 0 and 'another task died' in err
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
@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_saves_the_epoch_and_stops_both(runs, started, tmp_path, number):
  workdir = tmp_path / 'stopped'
  flags = ('--config.checkpoint.epochs=0', '--config.checkpoint.minutes=0')
  two = start_two(runs, started, workdir, *flags)
  wait_for_epochs(workdir, 2, two[0])
  two[1].send_signal(number)
  (code, _, err), second = ended(two)
  assert (code, second[0]) == (143, 143), (err, second)
  assert list((workdir / 'unfinished').glob('*/*'))


def test_a_mistake_of_both_is_one_line(runs, started, tmp_path):
  two = start_two(runs, started, tmp_path / 'run', '--config.data.path=nothing.log')
  for code, _, err in ended(two):
    assert code == 2 and "data.path 'nothing.log' matches no file" in err
    assert 'Traceback' not in err and 'Fatal' not in err


@pytest.mark.slow
def test_a_partner_with_another_config_is_refused_and_ends_both(runs, started, tmp_path):
  both = ended(start_two(runs, started, tmp_path / 'run', each=((), ('--config.seed=1',))))
  assert all(code != 0 for code, _, _ in both), both
  said = both[1][2]
  assert 'holds a run with another config' in said and ' seed is 0 there and 1 here' in said


def test_processes_with_unequal_devices_are_refused(runs, started, tmp_path):
  for code, _, err in ended(start_two(runs, started, tmp_path / 'run', devices=(1, 2))):
    assert code == 2 and 'processes have 1 and 2 devices' in err and 'Traceback' not in err


def test_evaluation_is_for_one_process(runs, started, tmp_path):
  for code, _, err in ended(start_two(runs, started, tmp_path, '--mode=evaluate')):
    assert code == 2 and 'are for one process' in err


def test_a_process_alone_connects_to_nobody(monkeypatch):
  for name in ('SLURM_STEP_NODELIST', 'KUBERNETES_SERVICE_HOST'):
    monkeypatch.delenv(name, raising=False)
  hosts.connect(None, None, None)
  hosts.connect('localhost:1', 1, 0)
  assert hosts.first() and not hosts.several() and not hosts.preempted(1)
  hosts.wait('nobody')
  assert hosts.from_first({'a': [1, None]}) == {'a': [1, None]}


@pytest.mark.parametrize('flags', [('a:1', 2, None), (None, 2, 0), ('a:1', None, 1)])
def test_a_part_of_the_flags_is_refused(flags):
  with pytest.raises(LogjaxError, match='need all of --coordinator, --processes and --process'):
    hosts.connect(*flags)


def test_one_of_several_pods_that_finds_no_others_stops_with_one_line():
  """Without the package kubernetes JAX does not detect the job."""
  program = (
    'from logjax.errors import LogjaxError\n'
    'from logjax.training import hosts\n'
    'try:\n  hosts.connect(None, None, None)\n'
    'except LogjaxError as error:\n  print(error)\n'
  )
  pod = {'KUBERNETES_SERVICE_HOST': 'nowhere', 'JOB_COMPLETION_INDEX': '1'}
  env = {k: v for k, v in os.environ.items() if not k.startswith(('SLURM', 'JAX_'))} | pod
  answer = subprocess.run(
    [sys.executable, '-c', program], env=env, cwd=ROOT, capture_output=True, text=True
  )
  (line,) = answer.stdout.splitlines()
  assert line.startswith('this process is one of several and does not find the others (')
  assert "pip install 'jax[k8s]'" in line
