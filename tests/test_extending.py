"""docs/extending.md: its code runs, and what it names is there."""

import re
from pathlib import Path

import pytest
from compiling import compiled_fast

pytest_plugins = ['tiny_runs']
ROOT = Path(__file__).parent.parent
TEXT = (ROOT / 'docs' / 'extending.md').read_text()
CODE = re.findall('```python\n(.*?)```', TEXT, re.DOTALL)


def test_the_small_config_changes_one_field():
  names = {}
  exec(compile(CODE[0], 'docs/extending.md', 'exec'), names)
  assert names['get_config']('quick').oversampler.temperature == 0.7


def test_a_trained_run_is_restored_from_python_as_told(runs, monkeypatch, capsys):
  workdir = runs.finished('bgl')
  monkeypatch.setattr('logjax.command_line.cache_folder', lambda: runs.cache)
  code = CODE[1].replace("'runs/thunderbird'", repr(str(workdir)))
  names = {}
  with compiled_fast():
    exec(compile(code, 'docs/extending.md', 'exec'), names)
  assert capsys.readouterr().out.strip() == str(names['results']['test']['abnormal']['f1'])
  assert len(names['lines']) == 5


@pytest.mark.parametrize('path', sorted(set(re.findall(r'`([a-z_/]+\.py)', TEXT))))
def test_files_that_are_named_are_there(path):
  assert [*ROOT.glob(path), *(ROOT / 'logjax').rglob(path)]


@pytest.mark.parametrize(
  'name',
  ['draw_rows', 'make_generate', 'make_maligan_step', 'make_train_step'],
)
def test_functions_that_are_named_are_there(name):
  assert name in TEXT
  assert any(f'def {name}(' in path.read_text() for path in (ROOT / 'logjax').rglob('*.py'))
