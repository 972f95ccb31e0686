"""launch/slurm.sbatch with a fake Slurm, and launch/multihost.sh with a fake Python."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BATCH = (ROOT / 'launch' / 'slurm.sbatch').read_text()
# Stand for Slurm's commands: each records its arguments and answers as a variable says.
SLURM = {
  'srun': """echo "srun $* devices=$JAX_NUM_CPU_DEVICES" >>"$CALLS"
if [[ -n "${SIGNAL_SCRIPT:-}" ]]; then kill -TERM "$PPID"; fi
exit "${SRUN_EXIT:-0}"
""",
  'squeue': 'echo "squeue $*" >>"$CALLS"; echo "${JOB_STATE:-RUNNING}"\n',
  'scontrol': 'echo "scontrol $*" >>"$CALLS"; exit "${SCONTROL_EXIT:-0}"\n',
}
# Stands for the Python of .venv: prints its arguments, and ends as a variable of its number says.
PYTHON = """#!/bin/bash
if [[ "$1" == -c ]]; then echo 4321; exit; fi
process="${@: -1}"; process="${process#--process=}"
echo "devices=$JAX_NUM_CPU_DEVICES $*"
code="EXIT_$process" hang="HANG_$process"
if [[ -n "${!hang:-}" ]]; then exec sleep 60; fi
exit "${!code:-0}"
"""
SETUP = 'set -euo pipefail\nroot="$PWD" python="$PWD/python"\nsay() { echo "logjax: $*" >&2; }\n'


@pytest.fixture
def repository(tmp_path) -> Path:
  """A copy of the launch scripts with a fake Python, and fake commands of Slurm in bin/."""
  root = tmp_path / 'repository'
  shutil.copytree(ROOT / 'launch', root / 'launch')
  (root / 'launch' / 'setup.sh').write_text(SETUP)
  (root / 'bin').mkdir()
  scripts = {root / 'bin' / name: f'#!/bin/bash\n{text}' for name, text in SLURM.items()}
  for path, text in (scripts | {root / 'python': PYTHON}).items():
    path.write_text(text)
    path.chmod(0o755)
  return root


def environment(root: Path, **more: str) -> dict[str, str]:
  own = {'PATH': f'{root}/bin:{os.environ["PATH"]}', 'CALLS': str(root / 'calls')}
  return own | more


@pytest.mark.parametrize('script', ['launch/multihost.sh', 'launch/slurm.sbatch'])
def test_a_script_parses(script):
  subprocess.run(['bash', '-n', script], cwd=ROOT, check=True)


def test_the_batch_script_asks_for_several_nodes_a_warning_and_to_be_requeued():
  found = dict(re.findall(r'^#SBATCH --([a-z-]+)(?:=(\S+))?', BATCH, re.MULTILINE))
  assert int(found['nodes']) > 1 and found['ntasks-per-node'] == '1'
  assert 'requeue' in found and found['open-mode'] == 'append'
  # With 'B:' the warning would go to the script alone.
  assert re.fullmatch(r'TERM@\d+', found['signal'])


def submit(root: Path, *flags: str, **env: str) -> subprocess.CompletedProcess:
  """Runs a copy of the batch script elsewhere, as Slurm does."""
  shutil.copy(root / 'launch' / 'slurm.sbatch', root.parent / 'slurm_script')
  job = {'SLURM_SUBMIT_DIR': str(root), 'SLURM_JOB_ID': '7', 'SLURM_CPUS_PER_TASK': '4'}
  return subprocess.run(
    ['bash', root.parent / 'slurm_script', *flags],
    env=environment(root) | job | env,
    cwd=root.parent,
    capture_output=True,
    text=True,
    timeout=60,
  )


def calls(root: Path) -> list[str]:
  return (root / 'calls').read_text().splitlines()


def test_the_tasks_get_the_flags_and_as_many_devices_as_cores(repository):
  run = submit(repository, '--config=a.py', '--config.data.path=b c')
  assert run.returncode == 0, run.stderr
  srun = calls(repository)[0]
  assert srun.endswith('/python -m logjax.main --config=a.py --config.data.path=b c devices=4')
  assert '--cpus-per-task=4 --kill-on-bad-exit=0' in srun


@pytest.mark.parametrize(
  ('code', 'state', 'requeued'),
  [
    (0, 'RUNNING', False),
    (2, 'RUNNING', False),
    (134, 'RUNNING', False),
    (143, 'RUNNING', True),
    (143, 'COMPLETING', False),  # the state of a cancelled job
  ],
)
def test_a_job_is_requeued_when_it_was_stopped_and_nobody_cancelled_it(
  repository, code, state, requeued
):
  run = submit(repository, SRUN_EXIT=str(code), JOB_STATE=state)
  assert run.returncode == code
  assert ('scontrol requeue 7' in calls(repository)) == requeued


def test_a_signal_to_the_script_does_not_end_it_before_it_has_requeued(repository):
  run = submit(repository, SRUN_EXIT='143', SIGNAL_SCRIPT='1')
  assert run.returncode == 143
  assert 'scontrol requeue 7' in calls(repository)


def test_a_job_submitted_elsewhere_ends_with_one_line(repository, tmp_path):
  run = submit(repository, SLURM_SUBMIT_DIR=str(tmp_path))
  assert run.returncode == 1
  assert run.stderr == (
    f'logjax: {tmp_path} is not the repository: submit launch/slurm.sbatch there\n'
  )


def start_processes(root: Path, *flags: str, **env: str) -> subprocess.Popen:
  """Starts launch/multihost.sh."""
  return subprocess.Popen(
    ['bash', 'launch/multihost.sh', *flags],
    cwd=root,
    env=environment(root, **env),
    stdout=subprocess.PIPE,
    text=True,
    # Bash cannot change that Ctrl-C is ignored where the tests run in a shell's background.
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  )


def test_every_process_gets_its_number(repository):
  run = start_processes(repository, '--config=a.py', PROCESSES='3', JAX_NUM_CPU_DEVICES='2')
  out, _ = run.communicate(timeout=60)
  assert run.returncode == 0
  assert sorted(out.splitlines()) == [
    'devices=2 -m logjax.main --config=a.py --coordinator=127.0.0.1:4321 --processes=3 '
    f'--process={process}'
    for process in range(3)
  ]


@pytest.mark.parametrize(('codes', 'code'), [((0, 0), 0), ((143, 143), 143), ((0, 3), 3)])
def test_the_exit_code_is_that_of_a_process_that_failed(repository, codes, code):
  run = start_processes(repository, EXIT_0=str(codes[0]), EXIT_1=str(codes[1]))
  run.communicate(timeout=60)
  assert run.returncode == code


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_process(repository, number):
  run = start_processes(repository, HANG_0='1', HANG_1='1')
  for _ in range(2):
    assert run.stdout.readline().startswith('devices')
  os.kill(run.pid, number)
  run.communicate(timeout=20)
  assert run.returncode == 128 + signal.SIGTERM
