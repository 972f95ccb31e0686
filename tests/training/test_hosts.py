"""Which process of how many this is, and that the death of one ends the others with its name."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from logjax.errors import LogjaxError
from logjax.training.hosts import Hosts, find_place
from logjax.training.watch import Place

ROOT = Path(__file__).parents[2]
SLURM = {
  'SLURM_JOB_ID': '5000',
  'SLURM_NTASKS': '3',
  'SLURM_PROCID': '1',
  'SLURM_STEP_NODELIST': 'gpu[007-009]',
}
VARIABLES = {
  'JAX_COORDINATOR_ADDRESS': 'first:1234',
  'JAX_NUM_PROCESSES': '4',
  'JOB_COMPLETION_INDEX': '2',
}

SILENCE = 3  # seconds

# A process that watches over the others and does what it is told.
WATCHER = """
import sys, time
from logjax.errors import LogjaxError
from logjax.training.watch import Place, Watch

coordinator, processes, process, silence, patience = sys.argv[1], *map(int, sys.argv[2:6])
try:
  watch = Watch(Place(coordinator, processes, process), silence=silence, patience=patience)
except LogjaxError as error:
  sys.exit(f'logjax: {error}')
print('ready', flush=True)
for line in sys.stdin:
  if line == 'close\\n':
    watch.close()
    time.sleep(1)
    sys.exit(0)
  if line == 'tell\\n':
    watch.tell('the log is not there')
    sys.exit(3)
time.sleep(600)
"""


def free_port() -> int:
  with socket.create_server(('localhost', 0)) as server:
    return server.getsockname()[1]


@pytest.fixture
def watcher():
  """Starts one process; those that are left are ended with the test."""
  started = []

  def start(port: int, processes: int, process: int, patience: int = 30) -> subprocess.Popen:
    args = map(str, (f'localhost:{port}', processes, process, SILENCE, patience))
    pipe = subprocess.PIPE
    started.append(
      subprocess.Popen(
        [sys.executable, '-c', WATCHER, *args],
        cwd=ROOT,
        text=True,
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
      )
    )
    return started[-1]

  yield start
  for process in started:
    process.kill()
    process.communicate()


@pytest.fixture
def watchers(watcher):
  """Starts processes that watch over each other, and waits until they have met."""

  def start(processes: int) -> list[subprocess.Popen]:
    port = free_port()
    started = [watcher(port, processes, process) for process in range(processes)]
    for process in started:
      assert process.stdout.readline() == 'ready\n', process.stderr.read()
    return started

  return start


@pytest.mark.parametrize('dead', [0, 1, 2])
def test_a_death_ends_the_others_with_the_name_of_the_dead(watchers, dead):
  processes = watchers(3)
  begin = time.monotonic()
  processes[dead].kill()
  for number, process in enumerate(processes):
    _, err = process.communicate(timeout=60)
    if number != dead:
      assert process.returncode == 2
      assert err.startswith(f'\nlogjax: process {dead} (') and 'died' in err
      assert err.count('logjax:') == 1
  assert time.monotonic() - begin < 10 * SILENCE


def test_silence_ends_the_others_too(watchers):
  first, second = watchers(2)
  second.send_signal(signal.SIGSTOP)  # like a host that is gone: it neither speaks nor hangs up
  _, err = first.communicate(timeout=60)
  assert first.returncode == 2
  assert 'process 1' in err and 'has said nothing for 3 seconds' in err


def test_an_error_of_one_is_told_by_all(watchers):
  processes = watchers(3)
  processes[1].stdin.write('tell\n')
  processes[1].stdin.flush()
  errs = [process.communicate(timeout=60)[1] for process in processes]
  assert [process.returncode for process in processes] == [2, 3, 2]
  assert 'process 1' in errs[0] and 'ended: the log is not there' in errs[0]
  assert errs[2] == errs[0] and not errs[1]


def test_a_farewell_is_no_death(watchers):
  processes = watchers(2)
  for process in processes:
    process.stdin.write('close\n')
    process.stdin.flush()
  for process in processes:
    _, err = process.communicate(timeout=60)
    assert process.returncode == 0 and not err


def test_a_stranger_is_sent_away(watcher):
  port = free_port()
  first = watcher(port, 2, 0)
  while True:
    try:
      stranger = socket.create_connection(('localhost', port))
      break
    except OSError:
      time.sleep(0.01)
  with stranger:
    stranger.sendall(b'GET / HTTP/1.1\n')
    assert stranger.recv(100) == b''
  second = watcher(port, 2, 1)
  assert [process.stdout.readline() for process in (first, second)] == ['ready\n'] * 2


def test_a_process_that_does_not_come_is_named(watcher):
  port = free_port()
  first, third = watcher(port, 3, 0, patience=3), watcher(port, 3, 2, patience=6)
  _, err = first.communicate(timeout=60)
  assert first.returncode == 1
  assert f'process 1 of 3 has not come to localhost:{port} within 3 seconds' in err
  assert 'process 0' in third.communicate(timeout=60)[1]


def test_the_first_process_that_is_not_there_is_named(watcher):
  port = free_port()
  _, err = watcher(port, 2, 1, patience=1).communicate(timeout=60)
  assert f'process 1 cannot reach process 0 at localhost:{port}' in err
  assert len(err.splitlines()) == 1


def test_a_port_that_is_taken_is_named(watcher):
  with socket.create_server(('', 0), family=socket.AF_INET6, dualstack_ipv6=True) as server:
    port = server.getsockname()[1]
    _, err = watcher(port, 2, 0).communicate(timeout=60)
  assert f'cannot listen at port {port} (Address already in use)' in err


@pytest.mark.parametrize(('processes', 'process'), [(3, 1), (2, 2)])
def test_a_process_that_does_not_fit_is_refused(watcher, processes, process):
  port = free_port()
  first = watcher(port, 2, 0)
  second = watcher(port, processes, process)
  _, err = first.communicate(timeout=60)
  assert f'came as number {process} of {processes} processes' in err
  assert 'gave up waiting' in second.communicate(timeout=60)[1]


def test_one_process_needs_nothing():
  assert find_place(None, None, None, {}) is None
  assert find_place(None, None, None, {'JOB_COMPLETION_INDEX': '3'}) is None
  assert find_place('here:1', 1, 0, {}) is None
  assert find_place(None, None, None, SLURM | {'SLURM_NTASKS': '1'}) is None


def test_flags_come_before_variables_and_those_before_slurm():
  assert find_place('a:1', 2, 1, VARIABLES | SLURM) == Place('a:1', 2, 1)
  assert find_place(None, None, None, VARIABLES | SLURM) == Place('first:1234', 4, 2)
  assert find_place(None, None, None, VARIABLES | {'JAX_PROCESS_ID': '3'}).process == 3
  assert find_place(None, None, 0, VARIABLES) == Place('first:1234', 4, 0)


@pytest.mark.parametrize(
  ('nodes', 'first'),
  [
    ('gpu7', 'gpu7'),
    ('gpu7,gpu9', 'gpu7'),
    ('gpu[007-010,12],cpu1', 'gpu007'),
    ('gpu[3,7]', 'gpu3'),
    ('rack-2-node-[15-16]', 'rack-2-node-15'),
  ],
)
def test_the_first_node_of_a_slurm_job_is_where_all_meet(nodes, first):
  place = find_place(None, None, None, SLURM | {'SLURM_STEP_NODELIST': nodes})
  assert place == Place(f'{first}:{61_440 + 5_000 % 4_096}', 3, 1)


@pytest.mark.parametrize(
  ('flags', 'environment', 'said'),
  [
    (('a:1', 2, None), {}, '--process (None)'),
    ((None, 2, 0), {}, '--coordinator (here None)'),
    (('a', 2, 0), {}, 'must be HOST:PORT'),
    (('a:1', 2, 2), {}, 'must be from 0 to --processes - 1 = 1'),
    ((None, None, None), VARIABLES | {'JAX_NUM_PROCESSES': 'four'}, 'JAX_NUM_PROCESSES=four'),
  ],
)
def test_a_part_that_is_missing_or_wrong_is_named(flags, environment, said):
  with pytest.raises(LogjaxError, match='.*') as error:
    find_place(*flags, environment)
  assert said in str(error.value)


def test_a_run_of_one_shares_nothing(tmp_path):
  hosts = Hosts()
  assert hosts.first and not hosts.several
  assert hosts.gather(b'data') == [b'data'] and hosts.most(7) == 7
  with hosts.joined(None), hosts.workdir(tmp_path / 'run') as workdir:
    hosts.give(workdir)
    assert workdir == tmp_path / 'run' and not workdir.exists()
