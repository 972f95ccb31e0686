"""Checkpoints of unfinished phases: when they are saved, what is restored, what is refused."""

import shutil
import signal

import jax.numpy as jnp
import numpy as np
import pytest

from logjax.errors import LogjaxError
from logjax.training import checkpoint as module
from logjax.training.checkpoint import Checkpoints
from logjax.training.stopping import Stopped, Stopping


def tree_of(value: float) -> dict:
  return {'params': jnp.full((3, 2), value), 'step': jnp.int32(value), 'flag': np.array([True])}


LIKE = tree_of(0)


@pytest.fixture
def stopping() -> Stopping:
  return Stopping()


@pytest.fixture
def said() -> list[str]:
  return []


@pytest.fixture
def open_checkpoints(tmp_path, said, stopping):
  """Opens the checkpoints of one folder as often as asked, and closes them at the end."""
  opened = []

  def open_checkpoints(**options) -> Checkpoints:
    common = {'epochs': 1, 'owner': 'a run', 'say': said.append, 'stopping': stopping}
    options = common | options
    opened.append(Checkpoints(tmp_path / 'unfinished', **options))
    return opened[-1]

  yield open_checkpoints
  for checkpoints in opened:
    checkpoints.close()


def save_three(checkpoints: Checkpoints, phase: str = 'phase') -> None:
  checkpoints.restore(phase, LIKE)
  for epoch in (1, 2, 3):
    checkpoints.save(tree_of(epoch), {'epoch': epoch, 'metrics': {'loss': 0.1 * epoch}})
  checkpoints.close()


def steps(tmp_path, phase: str = 'phase') -> list[int]:
  return sorted(int(path.name) for path in (tmp_path / 'unfinished' / phase).iterdir())


def test_the_newest_checkpoint_is_restored_with_its_bits_and_types(tmp_path, open_checkpoints):
  save_three(open_checkpoints())
  tree, about = open_checkpoints().restore('phase', LIKE)
  assert about == {'epoch': 3, 'metrics': {'loss': 0.1 * 3}}
  assert tree['step'].dtype == np.int32 and tree['flag'].dtype == bool
  np.testing.assert_array_equal(tree['params'], np.full((3, 2), 3, np.float32))
  assert steps(tmp_path) == [2, 3]  # the last two


def test_phases_have_checkpoints_of_their_own(open_checkpoints):
  save_three(open_checkpoints(), 'one')
  checkpoints = open_checkpoints()
  assert checkpoints.restore('other', LIKE) is None
  assert checkpoints.restore('one', LIKE) is not None


def test_nothing_is_written_before_it_is_due(tmp_path, open_checkpoints, monkeypatch):
  clock = [0.0]
  monkeypatch.setattr(module.time, 'monotonic', lambda: clock[0])
  checkpoints = open_checkpoints(epochs=0, minutes=1.0)
  checkpoints.restore('phase', LIKE)
  for seconds in (30, 59, 61, 90, 120):
    clock[0] = seconds
    checkpoints.save(tree_of(seconds), {'epoch': seconds})
  checkpoints.save(tree_of(122), {'epoch': 122}, last=True)
  checkpoints.close()
  assert steps(tmp_path) == [1, 2]  # at 61 seconds, and the last
  assert open_checkpoints().restore('phase', LIKE)[1] == {'epoch': 122}


def test_without_a_folder_nothing_is_saved():
  checkpoints = Checkpoints(epochs=1, stopping=Stopping())
  assert checkpoints.restore('phase', LIKE) is None
  checkpoints.save(tree_of(1), {}, last=True)
  checkpoints.delete()


def files_of(tmp_path, step: int) -> list:
  folder = tmp_path / 'unfinished' / 'phase' / str(step)
  return [path for path in sorted(folder.rglob('*')) if path.is_file()]


@pytest.mark.parametrize('how', ['cut', 'flip', 'empty', 'remove'])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_taken(
  tmp_path, open_checkpoints, said, how
):
  save_three(open_checkpoints())
  data = max(files_of(tmp_path, 3), key=lambda path: ('arrays' in str(path), path.stat().st_size))
  content = data.read_bytes()
  if how == 'remove':
    shutil.rmtree(tmp_path / 'unfinished' / 'phase' / '3' / 'arrays')
  else:
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    data.write_bytes({'cut': content[:middle], 'flip': flipped, 'empty': b''}[how])
  _, about = open_checkpoints().restore('phase', LIKE)
  assert about['epoch'] == 2
  assert len(said) == 1 and said[0].startswith('checkpoint 3 of phase in') and 'damaged' in said[0]
  assert '\n' not in said[0]


@pytest.mark.parametrize('place', range(0, 40, 3))
def test_no_flipped_byte_changes_what_is_restored(tmp_path, open_checkpoints, place):
  save_three(open_checkpoints())
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
  tree, about = open_checkpoints().restore('phase', LIKE)
  np.testing.assert_array_equal(tree['params'], np.full((3, 2), about['epoch'], np.float32))
  assert about in (
    {'epoch': 2, 'metrics': {'loss': 0.2}},
    {'epoch': 3, 'metrics': {'loss': 0.1 * 3}},
  )


def test_when_all_are_damaged_the_phase_begins_again_and_says_so(tmp_path, open_checkpoints, said):
  save_three(open_checkpoints())
  for step in steps(tmp_path):
    for path in files_of(tmp_path, step):
      path.write_bytes(b'')
  assert open_checkpoints().restore('phase', LIKE) is None
  assert len(said) == 2


def test_a_checkpoint_of_another_config_is_refused(open_checkpoints):
  save_three(open_checkpoints())
  with pytest.raises(LogjaxError, match='belongs to another config'):
    open_checkpoints(owner='another').restore('phase', LIKE)


@pytest.mark.parametrize('number', [1, 7])
def test_another_format_is_refused_by_its_version(open_checkpoints, monkeypatch, number):
  monkeypatch.setattr(module, 'FORMAT', number)
  monkeypatch.setattr(module.logjax, '__version__', '9.9')
  save_three(open_checkpoints())
  monkeypatch.undo()
  with pytest.raises(LogjaxError, match=f'written by logjax 9.9 in format {number}'):
    open_checkpoints().restore('phase', LIKE)


def test_a_phase_that_is_asked_to_stop_saves_its_epoch_first(open_checkpoints, stopping):
  checkpoints = open_checkpoints(epochs=0)
  checkpoints.restore('phase', LIKE)
  checkpoints.save(tree_of(1), {'epoch': 1})
  stopping._answer(signal.SIGTERM, None)
  with pytest.raises(Stopped) as raised:
    checkpoints.save(tree_of(2), {'epoch': 2})
  assert raised.value.signal == signal.SIGTERM
  stopping.asked = None
  assert open_checkpoints().restore('phase', LIKE)[1] == {'epoch': 2}


def test_between_phases_and_the_second_time_a_signal_stops_at_once(open_checkpoints, stopping):
  with pytest.raises(Stopped):
    stopping._answer(signal.SIGINT, None)
  checkpoints = open_checkpoints()
  checkpoints.restore('phase', LIKE)
  stopping._answer(signal.SIGINT, None)
  with pytest.raises(Stopped):
    stopping._answer(signal.SIGINT, None)
  checkpoints.close()
  assert stopping.phase == ''


def test_deleted_checkpoints_are_gone(tmp_path, open_checkpoints):
  checkpoints = open_checkpoints()
  save_three(checkpoints)
  checkpoints.delete()
  assert not (tmp_path / 'unfinished').exists()
  assert checkpoints.restore('phase', LIKE) is None


def test_a_full_disk_is_one_line_and_leaves_the_checkpoints_before_it(small_disk, stopping):
  disk, _ = small_disk(380)
  tree = {'params': np.random.default_rng(0).normal(size=40_000).astype(np.float32)}
  checkpoints = Checkpoints(disk / 'unfinished', stopping=stopping, epochs=1, owner='a run')
  checkpoints.restore('phase', tree)
  with pytest.raises(LogjaxError, match='cannot write a checkpoint .* the disk is full') as raised:
    for epoch in range(9):
      checkpoints.save(tree, {'epoch': epoch})
    checkpoints.close()
  assert '\n' not in str(raised.value)
  checkpoints.close()
  assert stopping.phase == ''
  again = Checkpoints(disk / 'unfinished', stopping=stopping, epochs=1, owner='a run')
  restored, about = again.restore('phase', tree)
  again.close()
  np.testing.assert_array_equal(restored['params'], tree['params'])
  assert about['epoch'] >= 0
