"""The launch scripts and the declared dependencies; no test here installs anything."""

import ast
import os
import re
import shutil
import subprocess
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
import yaml

import logjax

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

# Stands for python: records its arguments, and its pip fails when told to.
FAKE_PYTHON = """#!/bin/bash
echo "$*" >>"$CALLS"
case "$*" in
  -V) echo Python 3.12.0 ;;
  '-m venv '*) mkdir -p "${@: -1}/bin" && cp "$0" "${@: -1}/bin/python" ;;
  '-m pip install'*) echo "$PIP_SAYS" >&2; [[ -z "$PIP_SAYS" ]] ;;
esac
"""
COMMANDS = 'awk bash cat cksum cp dirname mkdir rm'.split()


@pytest.fixture
def start(tmp_path):
  """Starts a copy of the scripts where the fake Python is the only one; returns what it called."""
  root, folder, calls = tmp_path / 'repository', tmp_path / 'bin', tmp_path / 'calls'
  shutil.copytree(ROOT / 'launch', root / 'launch')
  for name in ('pyproject.toml', 'requirements.lock'):
    shutil.copy(ROOT / name, root)
  folder.mkdir()
  for name in COMMANDS:
    (folder / name).symlink_to(shutil.which(name))
  (folder / 'python3').write_text(FAKE_PYTHON)
  (folder / 'python3').chmod(0o755)

  def start(script: str, *flags: str, **env: str) -> tuple[int, str, list[str]]:
    calls.write_text('')
    answer = subprocess.run(
      [shutil.which('bash'), root / 'launch' / script, *flags],
      env={'PATH': str(folder), 'CALLS': str(calls), 'PIP_SAYS': '', **env},
      cwd='/',
      capture_output=True,
      text=True,
    )
    return answer.returncode, answer.stderr, calls.read_text().splitlines()

  return start


def installed(calls: list[str]) -> bool:
  return any(call.startswith('-m pip install') for call in calls)


@pytest.mark.parametrize('script', SCRIPTS)
def test_a_script_parses(script):
  subprocess.run(['bash', '-n', ROOT / script], check=True)


def test_without_python_the_one_line_says_what_to_install(start):
  code, err, _ = start('quickstart.sh', PYTHON='/nowhere/python3')
  assert code == 1
  assert 'Python 3.11 or newer with its module venv is needed, and /nowhere/python3 is not' in err


def test_a_failed_installation_shows_the_reason_and_is_made_afresh(start):
  code, err, calls = start('quickstart.sh', PIP_SAYS='ERROR: no such package')
  assert code == 1 and not any('logjax.main' in call for call in calls)
  reason, last = err.splitlines()[-2:]
  assert reason == 'ERROR: no such package'
  assert last.startswith('logjax: the installation failed for the reason above')
  _, _, calls = start('quickstart.sh')
  assert any(call.startswith('-m venv --clear ') for call in calls)


def test_the_second_run_installs_nothing_until_the_lock_changes(start, tmp_path):
  assert installed(start('test.sh')[2])
  code, err, calls = start('quickstart.sh', PIP_SAYS='ERROR: no network')
  assert (code, err, installed(calls)) == (0, '', False)
  with (tmp_path / 'repository' / 'requirements.lock').open('a') as lock:
    lock.write('# another version\n')
  calls = start('quickstart.sh')[2]
  assert installed(calls) and not any(call.startswith('-m venv') for call in calls)


@pytest.mark.parametrize(
  ('flags', 'passed'),
  [
    ([], '--config=configs/thunderbird.py'),
    (['--config.seed=1'], '--config=configs/thunderbird.py --config.seed=1'),
    (['--config', 'a.py', '--workdir', 'b'], '--config a.py --workdir b'),
  ],
)
def test_quickstart_gives_its_own_config_only_where_the_user_gave_none(start, flags, passed):
  assert start('quickstart.sh', *flags)[2][-1] == f'-m logjax.main {passed}'


def test_arguments_of_test_sh_reach_pytest(start):
  call = start('test.sh', '-k', 'two words')[2][-1]
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
    name, _, bound = text.partition(',')[0].partition('>=')
    pin = PINS[canonical(name)]
    assert [int(part) for part in pin.split('.')] >= [int(part) for part in bound.split('.')], text


def test_the_workflow_runs_every_python_that_the_project_names():
  workflow = yaml.safe_load((ROOT / '.github' / 'workflows' / 'test.yml').read_text())
  named = [text.split()[-1] for text in PROJECT['project']['classifiers'] if '3.' in text]
  assert workflow['jobs']['test']['strategy']['matrix']['python'] == named
  assert PROJECT['project']['requires-python'] == f'>={named[0]}'


def test_the_citation_names_the_version_and_the_licence():
  citation = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
  assert citation['version'] == logjax.__version__
  assert citation['license'] == PROJECT['project']['license']


def test_the_lock_holds_the_build_backend():
  assert PROJECT['build-system']['requires'] == PROJECT['dependency-groups']['build']
