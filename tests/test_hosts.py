"""Which process of how many this is, and that the death of one ends the others with its name."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from logjax.errors import LogjaxError
from logjax.hosts import Hosts, Place, find_place

ROOT = Path(__file__).parent.parent
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

# Process I of N watches over the others; 'first' is told through a file, not by a collective.
WATCHER = """
import sys, time
from pathlib import Path
from logjax.watch import Watch

folder, process, processes, silence = Path(sys.argv[1]), *map(int, sys.argv[2:5])

def from_first(data):
  told = folder / 'told'
  if process == 0:
    told.with_suffix('.part').write_bytes(data)
    told.with_suffix('.part').rename(told)
  while not told.exists():
    time.sleep(0.01)
  return told.read_bytes()

watch = Watch('localhost', processes, process, from_first, silence=silence)
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


@pytest.fixture
def watchers(tmp_path):
  """Starts processes that watch over each other; ends those that are left."""
  started = []

  def start(processes: int) -> list[subprocess.Popen]:
    for process in range(processes):
      args = [sys.executable, '-c', WATCHER, str(tmp_path), str(process), str(processes)]
      pipe = subprocess.PIPE
      started.append(
        subprocess.Popen(
          [*args, str(SILENCE)], cwd=ROOT, text=True, stdin=pipe, stdout=pipe, stderr=pipe
        )
      )
    for process in started:
      assert process.stdout.readline() == 'ready\n', process.stderr.read()
    return started

  yield start
  for process in started:
    process.kill()
    process.communicate()


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


def test_a_stranger_who_does_not_know_the_token_is_sent_away(tmp_path, watchers):
  def intrude():
    while not (tmp_path / 'told').exists():
      time.sleep(0.001)
    port, _ = json.loads((tmp_path / 'told').read_text())
    with socket.create_connection(('localhost', port)) as stranger:
      stranger.sendall(b'guess\n"process 1"\nstop "gone"\n')
      heard.append(stranger.recv(100))

  heard = []
  thread = threading.Thread(target=intrude)
  thread.start()
  processes = watchers(2)
  thread.join(timeout=30)
  assert heard in ([b''], []) and all(process.poll() is None for process in processes)


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
