"""Nothing that is read can run: no pickle, no eval, no shell, by the source and by trying."""

import ast
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from logjax.errors import LogjaxError
from logjax.evaluation.scores import load_scores
from logjax.files import load_arrays
from logjax.oversamplers.generated import restore_generated
from logjax.training.checkpoint import Checkpoints, restore_params, save_params
from logjax.training.stopping import Stopping

ROOT = Path(__file__).parent.parent
MODULES = {
  str(path.relative_to(ROOT)): ast.parse(path.read_text())
  for folder in ('logjax', 'configs', 'launch')
  for path in sorted((ROOT / folder).rglob('*.py'))
}
# Python's `re` backtracks: these use it on flags, first bytes of files, and text of our own.
USES_RE = {
  'logjax/corpora/fields.py',
  'logjax/corpora/simulated/rendering.py',
  'logjax/reports/leaderboard.py',
  'logjax/reports/plots.py',
  'logjax/training/hosts.py',
}
UNSAFE_MODULES = {
  'pickle',
  'cPickle',
  '_pickle',
  'dill',
  'cloudpickle',
  'joblib',
  'marshal',
  'shelve',
}
UNSAFE_MODULES |= {'yaml', 'code', 'runpy'}
UNSAFE_CALLS = {'eval', 'exec', 'compile', '__import__', 'extract', 'extractall', 'unpack_archive'}
UNSAFE_CALLS |= {'read_pickle', 'fromregex', 'system', 'popen', 'literal_eval'}


def imported(tree: ast.AST) -> Iterator[str]:
  """Yields the names of all modules that are imported, wherever that is."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      yield from (alias.name.partition('.')[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and not node.level:
      yield (node.module or '').partition('.')[0]


def calls(tree: ast.AST) -> Iterator[tuple[str, str, ast.Call]]:
  """Yields what each call is made on, the function's own name, and the call."""
  for node in ast.walk(tree):
    if isinstance(node, ast.Call):
      match node.func:
        case ast.Name(id=name):
          yield '', name, node
        case ast.Attribute(value=owner, attr=name):
          yield ast.unparse(owner), name, node


def unsafe(tree: ast.AST) -> Iterator[str]:
  """Yields what in a module could run what it reads."""
  yield from UNSAFE_MODULES.intersection(imported(tree))
  for owner, name, call in calls(tree):
    options = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    # re.compile makes no code, JAX's compile() takes no text, and Polars' eval() an expression.
    safe = {
      'compile': owner != '',
      'eval': owner.endswith('.list'),
      'extractall': options.get('filter') == "'data'",
    }
    if name in UNSAFE_CALLS and not safe.get(name):
      yield f'{owner}.{name}'
    if owner == 'np' and name == 'load' and options.get('allow_pickle') != 'False':
      yield 'np.load with pickle'
    if options.get('allow_pickle') == 'True' or options.get('shell', 'False') != 'False':
      yield f'{owner}.{name} with {options}'


def test_no_module_can_run_what_it_reads():
  assert len(MODULES) > 80
  found = {path: list(unsafe(tree)) for path, tree in MODULES.items()}
  assert {path: names for path, names in found.items() if names} == {}


@pytest.mark.parametrize(
  'source',
  [
    'import pickle',
    'def f():\n  from dill import load',
    'eval("1")',
    'np.load("x")',
    'np.load("x", allow_pickle=True)',
    'np.save("x", y, allow_pickle=True)',
    'file.extractall()',
    "file.extractall(filter='fully_trusted')",
    'subprocess.run("ls", shell=True)',
    'subprocess.run("ls", shell=loud)',
    'os.system("ls")',
    'yaml.load(text)\nimport yaml',
  ],
)
def test_what_is_unsafe_would_be_found(source):
  assert list(unsafe(ast.parse(source)))


def test_pythons_backtracking_expressions_stay_away_from_log_lines():
  assert {path for path, tree in MODULES.items() if 're' in imported(tree)} <= USES_RE


class Touch:
  """Makes a file when it is unpickled."""

  def __init__(self, path: Path):
    self.path = path

  def __reduce__(self):
    return os.mkdir, (str(self.path),)


@pytest.fixture
def touched(tmp_path):
  """A path that exists once a pickle was loaded, which is checked."""
  path = tmp_path / 'touched'
  pickle.loads(pickle.dumps(Touch(path)))  # so does it work at all?
  assert path.exists()
  path.rmdir()
  yield path
  assert not path.exists()


def hostile_array(path: Path, touched: Path) -> bytes:
  """An .npy file of one object that makes a folder when it is loaded."""
  np.save(path, np.array([Touch(touched)], object), allow_pickle=True)
  return path.with_suffix('.npy').read_bytes()


def test_an_array_of_objects_is_refused(tmp_path, touched):
  data = hostile_array(tmp_path / 'generated.npy', touched)
  with zipfile.ZipFile(tmp_path / 'generated.npz', 'w') as file:
    for name in ('distinct', 'index'):
      file.writestr(f'{name}.npy', data)
  with pytest.raises(LogjaxError, match=r'generated\.npz: is damaged \(Object arrays cannot be'):
    restore_generated(tmp_path, {})
  with zipfile.ZipFile(tmp_path / 'scores.npz', 'w') as file:
    for name in ('origin', 'abnormal', 'group', 'seen', 'scores', 'thresholds'):
      file.writestr(f'{name}.npy', data)
  with pytest.raises(LogjaxError, match=r'scores\.npz: is damaged \(Object arrays cannot be'):
    load_scores(tmp_path / 'scores.npz')


def test_a_bare_pickle_is_refused(tmp_path, touched):
  (tmp_path / 'scores.npz').write_bytes(pickle.dumps(Touch(touched)))
  with pytest.raises(LogjaxError, match='scores.npz: is damaged'):
    load_scores(tmp_path / 'scores.npz')


@pytest.mark.parametrize('place', range(0, 40))
def test_a_damaged_file_of_arrays_is_refused_or_changes_numbers_only(tmp_path, place):
  np.savez(tmp_path / 'a.npz', one=np.arange(9), two=np.eye(3))
  content = bytearray((tmp_path / 'a.npz').read_bytes())
  content[len(content) * place // 40] ^= 1 << place % 8
  (tmp_path / 'a.npz').write_bytes(content)
  try:
    arrays = load_arrays(tmp_path / 'a.npz', ['one', 'two'])
    assert {array.dtype.kind for array in arrays.values()} <= set('biufc')
  except LogjaxError as error:
    assert '\n' not in str(error) and 'a.npz: is damaged (' in str(error)


PARAMS = {'bias': np.array([0.1, -0.2], np.float32)}


def replace_all(folder: Path, data: bytes) -> int:
  """Puts the same bytes into every file of a folder; returns how many there were."""
  files = [path for path in folder.rglob('*') if path.is_file()]
  for path in files:
    path.write_bytes(data)
  return len(files)


def test_a_checkpoint_of_pickles_is_refused_and_runs_nothing(tmp_path, touched):
  save_params(tmp_path / 'model', PARAMS)
  assert replace_all(tmp_path / 'model', pickle.dumps(Touch(touched))) > 3
  with pytest.raises(LogjaxError, match='is damaged, of another model or of an older version'):
    restore_params(tmp_path / 'model', PARAMS)


def test_each_file_of_a_checkpoint_may_be_a_pickle(tmp_path, touched):
  save_params(tmp_path / 'model', PARAMS)
  for path in [path for path in (tmp_path / 'model').rglob('*') if path.is_file()]:
    kept = path.read_bytes()
    path.write_bytes(pickle.dumps(Touch(touched)))
    try:  # some files say nothing that is needed
      assert restore_params(tmp_path / 'model', PARAMS)['bias'].tolist() == PARAMS['bias'].tolist()
    except LogjaxError as error:
      assert '\n' not in str(error)
    path.write_bytes(kept)


def test_an_unfinished_phase_of_pickles_is_left_out_and_runs_nothing(tmp_path, touched):
  checkpoints = Checkpoints(tmp_path / 'unfinished', stopping=Stopping(), epochs=1, owner='me')
  assert checkpoints.restore('phase', PARAMS) is None
  checkpoints.save(PARAMS, {'epoch': 1})
  checkpoints.close()
  assert replace_all(tmp_path / 'unfinished', pickle.dumps(Touch(touched))) > 3
  said = []
  again = Checkpoints(
    tmp_path / 'unfinished', stopping=Stopping(), epochs=1, owner='me', say=said.append
  )
  assert again.restore('phase', PARAMS) is None
  again.close()
  assert len(said) == 1 and 'is damaged (' in said[0] and '\n' not in said[0]


def test_a_missing_file_of_arrays_is_called_missing_and_an_unreadable_one_unreadable(tmp_path):
  with pytest.raises(LogjaxError, match='is missing'):
    load_arrays(tmp_path / 'a.npz', ['one'])
  (tmp_path / 'b.npz').mkdir()
  with pytest.raises(LogjaxError, match='cannot read'):
    load_arrays(tmp_path / 'b.npz', ['one'])
