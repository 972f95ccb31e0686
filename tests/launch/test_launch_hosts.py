"""launch/slurm.sbatch with a fake Slurm, and launch/multihost.sh with a fake Python."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from logjax.training.hosts import Place, find_place
from tests.launch.test_setup import Machine

ROOT = Path(__file__).parents[2]
BATCH = (ROOT / 'launch' / 'slurm.sbatch').read_text()

# Options of sbatch (22.05 and newer) that take a value, and those that take none.
WITH_VALUE = set(
  """account array begin chdir comment constraint cpus-per-gpu cpus-per-task deadline dependency
  error exclude export gpus gpus-per-node gpus-per-task gres job-name licenses mail-type mail-user
  mem mem-per-cpu mem-per-gpu nice nodelist nodes ntasks ntasks-per-node open-mode output partition
  priority qos reservation signal time time-min tmp""".split()
)
WITHOUT_VALUE = {'contiguous', 'exclusive', 'hold', 'no-requeue', 'overcommit', 'requeue'}
# Stand for Slurm's commands: what they are called with is recorded, and they answer as told.
SLURM = {
  'srun': """echo "srun $* devices=$JAX_NUM_CPU_DEVICES" >>"$CALLS"
if [[ -n "${SIGNAL_SCRIPT:-}" ]]; then kill -TERM "$PPID"; fi
exit "${SRUN_EXIT:-0}"
""",
  'squeue': 'echo "squeue $*" >>"$CALLS"; echo "${JOB_STATE:-RUNNING}"\n',
  'scontrol': 'echo "scontrol $*" >>"$CALLS"; exit "${SCONTROL_EXIT:-0}"\n',
}
# Stands for the Python of .venv: says what it was given, and ends as told for its number.
HOST = """#!/bin/bash
case "$*" in
  -V) echo Python 3.12.0 ;;
  '-c import socket'*) echo 4321 ;;
  *)
    echo "$JAX_COORDINATOR_ADDRESS $JAX_NUM_PROCESSES $JAX_PROCESS_ID $JAX_NUM_CPU_DEVICES $*"
    printf 'not whole' >&2
    hang="HANG_$JAX_PROCESS_ID" code="EXIT_$JAX_PROCESS_ID"
    if [[ -n "${!hang:-}" ]]; then exec sleep 60; fi
    exit "${!code:-0}" ;;
esac
"""


def executable(path: Path, text: str) -> None:
  path.unlink(missing_ok=True)
  path.write_text(text)
  path.chmod(0o755)


@pytest.fixture
def machine(tmp_path) -> Machine:
  """A machine on which everything is installed."""
  machine = Machine(tmp_path)
  for name in ('getconf', 'mkfifo', 'mktemp', 'sleep'):
    (machine.bin / name).symlink_to(shutil.which(name))
  assert machine.run(script='test.sh').returncode == 0
  machine.calls_file.write_text('')
  return machine


def directives(text: str) -> dict[str, str | None]:
  """The options that sbatch reads: those before the first command.

  Raises:
    ValueError: for an option that sbatch does not know, or one that it would not read.
  """
  found, commands = {}, False
  for line in text.splitlines():
    commands |= bool(line.strip()) and not line.startswith('#')
    if not line.startswith('#SBATCH'):
      continue
    match = re.fullmatch(r'#SBATCH --([a-z-]+)(?:=(\S+))?', line)
    if not match or match[1] not in (WITHOUT_VALUE if match[2] is None else WITH_VALUE):
      raise ValueError(f'sbatch does not know {line}')
    if commands:
      raise ValueError(f'sbatch does not read {line}')
    found[match[1]] = match[2]
  return found


def submit(machine: Machine, *flags: str, **env: str) -> subprocess.CompletedProcess:
  """Runs a copy of the batch script elsewhere, as Slurm does."""
  for name, text in SLURM.items():
    executable(machine.bin / name, f'#!/bin/bash\n{text}')
  spool = machine.root.parent / 'spool'
  spool.mkdir()
  shutil.copy(machine.root / 'launch' / 'slurm.sbatch', spool / 'slurm_script')
  given = {'SLURM_SUBMIT_DIR': str(machine.root), 'SLURM_JOB_ID': '7', 'SLURM_CPUS_PER_TASK': '4'}
  return subprocess.run(
    [shutil.which('bash'), spool / 'slurm_script', *flags],
    env={'PATH': str(machine.bin), 'CALLS': str(machine.calls_file)} | given | env,
    cwd=spool,
    capture_output=True,
    text=True,
    timeout=60,
  )


@pytest.mark.parametrize('script', ['launch/multihost.sh', 'launch/slurm.sbatch'])
def test_a_script_parses_and_shellcheck_finds_nothing(script):
  subprocess.run(['bash', '-n', script], cwd=ROOT, check=True)
  if shutil.which('shellcheck') is None:
    pytest.skip('shellcheck is not installed')
  run = subprocess.run(['shellcheck', '-x', script], cwd=ROOT, capture_output=True, text=True)
  assert run.returncode == 0, run.stdout


def test_the_batch_script_asks_for_several_nodes_a_warning_and_to_be_requeued():
  found = directives(BATCH)
  assert int(found['nodes']) > 1 and found['ntasks-per-node'] == '1'
  assert 'requeue' in found and found['open-mode'] == 'append'
  # With 'B:' the warning would go to the script alone.
  assert re.fullmatch(r'TERM@\d+', found['signal'])


@pytest.mark.parametrize(
  ('old', 'new'),
  [
    ('--requeue', '--requeu'),
    ('--requeue', '--requeue=yes'),
    ('--nodes=2', '--nodes'),
    ('--nodes=2', '-N 2'),
    ('#SBATCH --job-name', 'true\n#SBATCH --job-name'),
  ],
)
def test_a_directive_that_slurm_would_not_take_is_found(old, new):
  assert old in BATCH
  with pytest.raises(ValueError, match='sbatch does not'):
    directives(BATCH.replace(old, new))


def test_the_processes_get_the_flags_and_as_many_devices_as_cores(machine):
  run = submit(machine, '--config=a.py', '--config.data.path=b c')
  assert run.returncode == 0, run.stderr
  srun = next(call for call in machine.calls() if call.startswith('srun'))
  assert srun.endswith(
    '/.venv/bin/python -m logjax.main --config=a.py --config.data.path=b c devices=4'
  )
  assert '--cpus-per-task=4 --kill-on-bad-exit=0' in srun


@pytest.mark.parametrize(
  ('code', 'state', 'requeued'),
  [
    (0, 'RUNNING', False),
    (2, 'RUNNING', False),
    (137, 'RUNNING', False),
    (143, 'RUNNING', True),
    (143, 'COMPLETING', False),  # what a cancelled job is
  ],
)
def test_a_job_is_requeued_when_it_was_stopped_and_nobody_cancelled_it(
  machine, code, state, requeued
):
  run = submit(machine, SRUN_EXIT=str(code), JOB_STATE=state)
  assert run.returncode == code
  assert ('scontrol requeue 7' in machine.calls()) == requeued
  assert ('goes back to the queue' in run.stderr) == requeued


def test_a_signal_to_the_script_does_not_end_it_before_it_has_requeued(machine):
  run = submit(machine, SRUN_EXIT='143', SIGNAL_SCRIPT='1')
  assert run.returncode == 143
  assert 'scontrol requeue 7' in machine.calls()


def test_a_job_that_slurm_does_not_requeue_says_so(machine):
  run = submit(machine, SRUN_EXIT='143', SCONTROL_EXIT='1')
  assert run.returncode == 143
  assert run.stderr.splitlines()[-1].endswith('submit the same job again to go on')


def test_a_job_submitted_elsewhere_ends_with_one_line(machine, tmp_path):
  run = submit(machine, SLURM_SUBMIT_DIR=str(tmp_path))
  assert run.returncode == 1
  assert run.stderr == (
    f'logjax: {tmp_path} is not the repository: submit launch/slurm.sbatch there\n'
  )


def hosts(machine: Machine, *flags: str, **env: str) -> subprocess.Popen:
  """Starts launch/multihost.sh on a machine whose Python is `HOST`."""
  executable(machine.venv / 'bin' / 'python', HOST)
  return subprocess.Popen(
    [shutil.which('bash'), machine.root / 'launch' / 'multihost.sh', *flags],
    env={'PATH': str(machine.bin), 'CALLS': str(machine.calls_file)} | env,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    # Where the tests run in a shell's background Ctrl-C is ignored, and Bash cannot change that.
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  )


def test_every_process_finds_its_place_and_says_who_it_is(machine):
  run = hosts(machine, '--config=a.py', '--workdir=b', PROCESSES='3', JAX_NUM_CPU_DEVICES='2')
  out, err = run.communicate(timeout=60)
  assert run.returncode == 0, err
  assert sorted(err.splitlines()) == ['[0] not whole', '[1] not whole', '[2] not whole']
  for process, line in enumerate(sorted(out.splitlines())):
    number, coordinator, processes, index, devices, *flags = line.split()
    assert (number, devices) == (f'[{process}]', '2')
    assert flags == ['-m', 'logjax.main', '--config=a.py', '--workdir=b']
    env = {
      'JAX_COORDINATOR_ADDRESS': coordinator,
      'JAX_NUM_PROCESSES': processes,
      'JAX_PROCESS_ID': index,
    }
    assert find_place(None, None, None, env) == Place('127.0.0.1:4321', 3, process)


@pytest.mark.parametrize(
  ('codes', 'code'), [((0, 0), 0), ((143, 143), 143), ((2, 137), 2), ((0, 3), 3)]
)
def test_the_exit_code_is_that_of_process_0_or_of_the_first_that_failed(machine, codes, code):
  run = hosts(machine, EXIT_0=str(codes[0]), EXIT_1=str(codes[1]))
  run.communicate(timeout=60)
  assert run.returncode == code


def test_a_process_that_goes_on_when_another_has_failed_is_killed(machine):
  begun = time.monotonic()
  run = hosts(machine, HANG_0='1', EXIT_1='3', PATIENCE='0')
  _, err = run.communicate(timeout=60)
  assert run.returncode == 128 + signal.SIGKILL
  killed = 'logjax: process 0 goes on alone: it is killed'
  assert set(err.splitlines()) == {'[0] not whole', '[1] not whole', killed}
  assert time.monotonic() - begun < 20


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_process(machine, number):
  run = hosts(machine, HANG_0='1', HANG_1='1')
  for _ in range(2):
    assert run.stdout.readline().startswith('[')
  os.kill(run.pid, number)
  run.communicate(timeout=20)
  assert run.returncode == 128 + number


def test_a_wrong_number_of_processes_ends_with_one_line(machine):
  run = hosts(machine, PROCESSES='two')
  _, err = run.communicate(timeout=60)
  assert run.returncode == 1
  assert err == 'logjax: PROCESSES=two must be a number from 1 to 99\n'
