"""Checkpoints inside a phase: what is kept, what is restored, and what is refused."""

import json
import shutil
import signal

import jax.numpy as jnp
import numpy as np
import pytest

from logjax.errors import LogjaxError
from logjax.training import keeper as module
from logjax.training.keeper import Keeper
from logjax.training.stopping import STOPPING, Stopped


def tree_of(value: float) -> dict:
  return {'params': jnp.full((3, 2), value), 'step': jnp.int32(value), 'flag': np.array([True])}


LIKE = tree_of(0)


@pytest.fixture(autouse=True)
def _nobody_asked():
  yield
  STOPPING.asked, STOPPING.phase = None, ''


@pytest.fixture
def said() -> list[str]:
  return []


@pytest.fixture
def open_keeper(tmp_path, said):
  """Opens a keeper in the same folder again and again, and ends it at last."""
  opened = []

  def open_keeper(**options) -> Keeper:
    options = {'epochs': 1, 'owner': 'a run', 'say': said.append} | options
    opened.append(Keeper(tmp_path / 'unfinished', **options))
    return opened[-1]

  yield open_keeper
  for keeper in opened:
    keeper.end()


def keep_three(keeper: Keeper, phase: str = 'phase') -> None:
  keeper.begin(phase, LIKE)
  for epoch in (1, 2, 3):
    keeper.keep(tree_of(epoch), {'epoch': epoch, 'metrics': {'loss': 0.1 * epoch}})
  keeper.end()


def steps(tmp_path, phase: str = 'phase') -> list[int]:
  return sorted(int(path.name) for path in (tmp_path / 'unfinished' / phase).iterdir())


def test_what_was_kept_last_is_restored_with_its_bits_and_types(tmp_path, open_keeper):
  keep_three(open_keeper())
  tree, about = open_keeper().begin('phase', LIKE)
  assert about == {'epoch': 3, 'metrics': {'loss': 0.1 * 3}}
  assert tree['step'].dtype == np.int32 and tree['flag'].dtype == bool
  np.testing.assert_array_equal(tree['params'], np.full((3, 2), 3, np.float32))
  assert steps(tmp_path) == [2, 3]  # the last two


def test_phases_have_checkpoints_of_their_own(open_keeper):
  keep_three(open_keeper(), 'one')
  keeper = open_keeper()
  assert keeper.begin('other', LIKE) is None
  assert keeper.begin('one', LIKE) is not None


def test_nothing_is_written_before_it_is_due(tmp_path, open_keeper, monkeypatch):
  clock = [0.0]
  monkeypatch.setattr(module.time, 'monotonic', lambda: clock[0])
  keeper = open_keeper(epochs=0, minutes=1.0)
  keeper.begin('phase', LIKE)
  for seconds in (30, 59, 61, 90, 120):
    clock[0] = seconds
    keeper.keep(tree_of(seconds), {'epoch': seconds})
  keeper.keep(tree_of(122), {'epoch': 122}, last=True)
  keeper.end()
  assert steps(tmp_path) == [1, 2]  # at 61 seconds, and the last
  assert open_keeper().begin('phase', LIKE)[1] == {'epoch': 122}


def test_without_a_folder_nothing_is_kept():
  keeper = Keeper(epochs=1)
  assert keeper.begin('phase', LIKE) is None
  keeper.keep(tree_of(1), {}, last=True)
  keeper.clear()


def files_of(tmp_path, step: int) -> list:
  folder = tmp_path / 'unfinished' / 'phase' / str(step)
  return [path for path in sorted(folder.rglob('*')) if path.is_file()]


@pytest.mark.parametrize('how', ['cut', 'flip', 'empty', 'remove'])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
  tmp_path, open_keeper, said, how
):
  keep_three(open_keeper())
  data = max(files_of(tmp_path, 3), key=lambda path: ('arrays' in str(path), path.stat().st_size))
  content = data.read_bytes()
  if how == 'remove':
    shutil.rmtree(tmp_path / 'unfinished' / 'phase' / '3' / 'arrays')
  else:
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    data.write_bytes({'cut': content[:middle], 'flip': flipped, 'empty': b''}[how])
  _, about = open_keeper().begin('phase', LIKE)
  assert about['epoch'] == 2
  assert len(said) == 1 and said[0].startswith('checkpoint 3 of phase in') and 'damaged' in said[0]
  assert '\n' not in said[0]


@pytest.mark.parametrize('place', range(0, 40, 3))
def test_no_flipped_byte_changes_what_is_restored(tmp_path, open_keeper, place):
  keep_three(open_keeper())
  files = files_of(tmp_path, 3)
  sizes = [path.stat().st_size for path in files]
  at = int(sum(sizes) * place / 40)
  for path, size in zip(files, sizes, strict=True):
    if at < size:
      content = bytearray(path.read_bytes())
      content[at] ^= 4
      path.write_bytes(content)
      break
    at -= size
  tree, about = open_keeper().begin('phase', LIKE)
  np.testing.assert_array_equal(tree['params'], np.full((3, 2), about['epoch'], np.float32))
  assert about in (
    {'epoch': 2, 'metrics': {'loss': 0.2}},
    {'epoch': 3, 'metrics': {'loss': 0.1 * 3}},
  )


def test_an_array_that_is_said_to_be_enormous_is_left_out_unread(tmp_path, open_keeper, said):
  """TensorStore would end the process for want of memory."""
  keep_three(open_keeper())
  (path,) = (tmp_path / 'unfinished' / 'phase' / '3').rglob('.zarray')
  content = json.loads(path.read_text())
  path.write_text(json.dumps(content | {'shape': [10**15], 'chunks': [10**15]}))
  _, about = open_keeper().begin('phase', LIKE)
  assert about['epoch'] == 2 and 'said to have' in said[0]


def test_when_all_are_damaged_the_phase_begins_anew_and_says_so(tmp_path, open_keeper, said):
  keep_three(open_keeper())
  for step in steps(tmp_path):
    for path in files_of(tmp_path, step):
      path.write_bytes(b'')
  assert open_keeper().begin('phase', LIKE) is None
  assert len(said) == 2


def test_a_checkpoint_of_another_config_is_refused(open_keeper):
  keep_three(open_keeper())
  with pytest.raises(LogjaxError, match='belongs to another config'):
    open_keeper(owner='another').begin('phase', LIKE)


@pytest.mark.parametrize('number', [1, 7])
def test_another_format_is_refused_by_its_version(open_keeper, monkeypatch, number):
  monkeypatch.setattr(module, '_FORMAT', number)
  monkeypatch.setattr(module.logjax, '__version__', '9.9')
  keep_three(open_keeper())
  monkeypatch.undo()
  with pytest.raises(LogjaxError, match=f'written by logjax 9.9 in format {number}'):
    open_keeper().begin('phase', LIKE)


def test_a_phase_that_is_asked_to_stop_keeps_its_epoch_first(open_keeper):
  keeper = open_keeper(epochs=0)
  keeper.begin('phase', LIKE)
  keeper.keep(tree_of(1), {'epoch': 1})
  STOPPING._answer(signal.SIGTERM, None)
  with pytest.raises(Stopped) as stopped:
    keeper.keep(tree_of(2), {'epoch': 2})
  assert stopped.value.signal == signal.SIGTERM
  STOPPING.asked = None
  assert open_keeper().begin('phase', LIKE)[1] == {'epoch': 2}


def test_between_phases_and_the_second_time_a_signal_stops_at_once(open_keeper):
  with pytest.raises(Stopped):
    STOPPING._answer(signal.SIGINT, None)
  keeper = open_keeper()
  keeper.begin('phase', LIKE)
  STOPPING._answer(signal.SIGINT, None)
  with pytest.raises(Stopped):
    STOPPING._answer(signal.SIGINT, None)
  keeper.end()
  assert STOPPING.phase == ''


def test_what_is_cleared_is_gone(tmp_path, open_keeper):
  keeper = open_keeper()
  keep_three(keeper)
  keeper.clear()
  assert not (tmp_path / 'unfinished').exists()
  assert keeper.begin('phase', LIKE) is None


def test_a_full_disk_is_one_line_and_leaves_the_checkpoints_before_it(small_disk):
  disk, _ = small_disk(380)
  tree = {'params': np.random.default_rng(0).normal(size=40_000).astype(np.float32)}
  keeper = Keeper(disk / 'unfinished', epochs=1, owner='a run')
  keeper.begin('phase', tree)
  with pytest.raises(LogjaxError, match='cannot write a checkpoint .* the disk is full') as raised:
    for epoch in range(9):
      keeper.keep(tree, {'epoch': epoch})
    keeper.end()
  assert '\n' not in str(raised.value)
  keeper.end()
  assert STOPPING.phase == ''
  again = Keeper(disk / 'unfinished', epochs=1, owner='a run')
  restored, about = again.begin('phase', tree)
  again.end()
  np.testing.assert_array_equal(restored['params'], tree['params'])
  assert about['epoch'] >= 0
