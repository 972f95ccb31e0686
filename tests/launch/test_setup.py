"""The launch scripts and the declared dependencies; no test here installs anything."""

import ast
import os
import re
import shutil
import stat
import subprocess
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = [
  'launch/benchmark.sh',
  'launch/quickstart.sh',
  'launch/setup.sh',
  'launch/test.sh',
  '.ci/run',
]
PROJECT = tomllib.loads((ROOT / 'pyproject.toml').read_text())
LOCK = (ROOT / 'requirements.lock').read_text()

# Stands for python in $PATH and in .venv: records its arguments, and pip answers as told.
FAKE_PYTHON = """#!/bin/bash
echo "$*" >>"$CALLS"
case "$*" in
  -V) echo Python 3.12.0 ;;
  '-c import sys;'*) echo "${FAKE_VERSION:-3.12}"; [[ -z "${FAKE_VERSION:-}" ]] ;;
  '-c import ensurepip'*) [[ -z "${FAKE_NO_VENV:-}" ]] ;;
  '-m venv '*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  '-m pip install'*) echo "${FAKE_PIP:-Collecting}"; [[ -z "${FAKE_PIP:-}" ]] ;;
esac
"""
COMMANDS = 'awk bash cat cksum cp dirname grep mkdir rm tail uname'.split()


class Machine:
  """A copy of the launch scripts on a machine with no Python but the fake one."""

  def __init__(self, folder: Path):
    self.root = folder / 'repository'
    self.venv = self.root / '.venv'
    self.calls_file = folder / 'calls'
    self.bin = folder / 'bin'
    shutil.copytree(ROOT / 'launch', self.root / 'launch')
    for name in ('pyproject.toml', 'requirements.lock'):
      shutil.copy(ROOT / name, self.root)
    self.bin.mkdir()
    for name in COMMANDS:
      (self.bin / name).symlink_to(shutil.which(name))
    self.add_python('python3')

  def add_python(self, name: str) -> Path:
    path = self.bin / name
    path.write_text(FAKE_PYTHON)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path

  def run(self, *flags: str, script: str = 'quickstart.sh', **env: str):
    self.calls_file.write_text('')
    return subprocess.run(
      [shutil.which('bash'), self.root / 'launch' / script, *flags],
      env={'PATH': str(self.bin), 'CALLS': str(self.calls_file), **env},
      cwd='/',
      capture_output=True,
      text=True,
      timeout=60,
    )

  def calls(self) -> list[str]:
    return self.calls_file.read_text().splitlines()

  def installed_anything(self) -> bool:
    return any(call.startswith('-m pip install') for call in self.calls())


@pytest.fixture
def machine(tmp_path) -> Machine:
  return Machine(tmp_path)


def assert_ends_with_one_line(run, *parts: str):
  """The last line says all of `parts`, it is the only complaint, and nothing was run."""
  assert run.returncode == 1
  *before, last = run.stderr.splitlines()
  assert last.startswith('logjax: ')
  assert all(part in last for part in parts), last
  assert len(before) <= 1 and all('setting up' in line for line in before), before


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_script_parses(script):
  subprocess.run(['bash', '-n', ROOT / script], check=True)


def test_without_python_3_11_the_one_line_names_what_was_found(machine):
  run = machine.run(FAKE_VERSION='3.9')
  assert_ends_with_one_line(run, 'Python 3.11 or newer is needed', f'3.9 ({machine.bin}/python3)')
  assert not machine.venv.exists()


def test_without_any_python_the_one_line_says_so(machine):
  (machine.bin / 'python3').unlink()
  assert_ends_with_one_line(machine.run(), 'no Python was found', 'apt-get install')


def test_a_python_named_by_the_user_is_the_only_one_tried(machine):
  run = machine.run(PYTHON='/nowhere/python3')
  assert_ends_with_one_line(run, 'no Python was found at PYTHON=/nowhere/python3')


def test_without_the_venv_module_the_one_line_names_the_package_to_install(machine):
  assert_ends_with_one_line(machine.run(FAKE_NO_VENV='1'), 'venv', 'python3.12-venv')


@pytest.mark.parametrize(
  ('pip_says', 'parts'),
  [
    (
      "WARNING: Retrying after connection broken by 'NewConnectionError'\n"
      'ERROR: No matching distribution found for setuptools==1',
      ['the package index cannot be reached', 'No matching distribution', 'PIP_INDEX_URL'],
    ),
    (
      'ERROR: No matching distribution found for jaxlib==0',
      ['no build for Python 3.12.0', 'jaxlib==0', 'PYTHON=python3.12'],
    ),
    (
      'ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device',
      ['the disk is full', 'make room'],
    ),
    ('ERROR: something new', ['the installation failed', 'something new', 'install.log']),
  ],
)
def test_a_failed_installation_is_explained_in_one_line(machine, pip_says, parts):
  run = machine.run(FAKE_PIP=pip_says)
  assert_ends_with_one_line(run, *parts)
  assert pip_says in (machine.venv / 'install.log').read_text()
  assert not any('logjax.main' in call for call in machine.calls())


def test_a_stand_in_that_does_not_start_is_passed_over(machine):
  machine.add_python('python3.13').write_text('#!/bin/bash\necho not installed >&2; exit 127\n')
  run = machine.run()
  assert run.returncode == 0, run.stderr
  assert machine.installed_anything()


def test_the_second_run_installs_nothing(machine):
  assert machine.run().returncode == 0
  assert machine.installed_anything()
  second = machine.run(FAKE_PIP='ERROR: no network')
  assert (second.returncode, second.stderr) == (0, '')
  assert not machine.installed_anything()


def test_both_scripts_share_one_installation(machine):
  assert machine.run(script='test.sh').returncode == 0
  assert machine.run(script='quickstart.sh').returncode == 0
  assert not machine.installed_anything()


def test_a_changed_lock_is_installed_into_the_same_environment(machine):
  machine.run()
  (machine.venv / 'kept').touch()
  with (machine.root / 'requirements.lock').open('a') as lock:
    lock.write('# another version\n')
  assert machine.run().returncode == 0
  assert machine.installed_anything()
  assert (machine.venv / 'kept').exists()


def test_an_unfinished_installation_is_made_afresh(machine):
  assert machine.run(FAKE_PIP='ERROR: cut off').returncode == 1
  (machine.venv / 'half').touch()
  assert machine.run().returncode == 0
  assert not (machine.venv / 'half').exists()
  machine.run()
  assert not machine.installed_anything()


def test_another_python_than_the_environment_has_is_refused(machine):
  machine.run()
  other = machine.add_python('other')
  other.write_text('#!/bin/bash\necho Python 3.13.0\n')
  assert_ends_with_one_line(machine.run(PYTHON=str(other)), 'made with Python 3.12.0', 'remove')


@pytest.mark.parametrize(
  ('flags', 'passed'),
  [
    ([], '--config=configs/thunderbird.py --workdir=runs/thunderbird'),
    (
      ['--config.seed=1'],
      '--config=configs/thunderbird.py --workdir=runs/thunderbird --config.seed=1',
    ),
    (['--config=a.py'], '--workdir=runs/thunderbird --config=a.py'),
    (['--config', 'a.py', '--workdir', 'b'], '--config a.py --workdir b'),
  ],
)
def test_quickstart_gives_its_own_flags_only_where_the_user_gave_none(machine, flags, passed):
  assert machine.run(*flags).returncode == 0
  assert machine.calls()[-1] == f'-m logjax.main {passed}'


def test_arguments_of_test_sh_reach_pytest(machine):
  assert machine.run('-k', 'two words', script='test.sh').returncode == 0
  call = machine.calls()[-1]
  assert call.startswith('-m pytest ') and call.endswith(' -k two words')


def test_tests_see_four_devices():
  import jax

  if 'device_count=4' not in os.environ['XLA_FLAGS']:
    pytest.skip('XLA_FLAGS ask for another number of devices')
  assert jax.local_device_count('cpu') == 4


def canonical(name: str) -> str:
  return re.sub(r'[-_.]+', '-', name).lower()


def names(requirements: list[str]) -> set[str]:
  return {canonical(re.match(r'[\w.-]+', text)[0]) for text in requirements}


DECLARED = names(PROJECT['project']['dependencies'])
EXTRAS = PROJECT['project']['optional-dependencies']
PINS = {canonical(name): pin for name, pin in re.findall(r'^([\w.-]+)==(\S+)', LOCK, re.MULTILINE)}


def imported(folders: list[str]) -> set[str]:
  """Distributions that the code in `folders` imports, the standard library and our own left out."""
  modules = set()
  for folder in folders:
    for path in (ROOT / folder).rglob('*.py'):
      for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
          modules |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
          modules.add(node.module.split('.')[0])
  distributions = packages_distributions()
  found = {canonical(name) for module in modules for name in distributions.get(module, ())}
  return found - {'logjax'}


def test_every_import_of_logjax_is_declared():
  assert imported(['logjax', 'configs']) <= DECLARED


def test_every_declared_dependency_is_imported():
  # Two that only tensorflow-datasets imports, which forgets to declare them.
  of_tfds = {'array-record', 'importlib-resources'}
  assert DECLARED - imported(['logjax', 'configs']) <= of_tfds


def test_every_import_of_the_tests_is_declared():
  assert imported(['tests']) <= DECLARED | names(EXTRAS['test'])


def test_the_lock_pins_everything_with_hashes_and_names_no_address():
  assert not re.search(r'https?:|://|file:|--(extra-)?index|--find-links', LOCK)
  entries = re.findall(r'^[\w.-]+==.*\n(?:    .*\n)*', LOCK, re.MULTILINE)
  assert all('--hash=sha256:' in entry for entry in entries)
  lines = sum(not line.startswith('#') for line in LOCK.splitlines())
  assert sum(entry.count('\n') for entry in entries) == lines


def test_the_lock_satisfies_every_declared_lower_bound():
  build = PROJECT['build-system']['requires']
  for text in PROJECT['project']['dependencies'] + EXTRAS['test'] + build:
    name, _, bound = text.partition('>=')
    pin = PINS[canonical(name)]
    assert [int(part) for part in pin.split('.')] >= [int(part) for part in bound.split('.')], text


def test_the_lock_holds_the_build_backend():
  assert PROJECT['build-system']['requires'] == PROJECT['dependency-groups']['build']
