"""Checkpoints: what is saved comes back anywhere, and what does not fit is refused in one line."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from logjax.errors import LogjaxError
from logjax.training import checkpoint
from logjax.training.checkpoint import restore_params, save_params

PARAMS = {
  'layer': {'kernel': np.arange(6, dtype=np.float32).reshape(2, 3)},
  'bias': np.array([0.1, -0.2], np.float32),
}


def assert_equal(ours, theirs) -> None:
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.fixture
def folder(tmp_path):
  """A folder with a checkpoint of PARAMS."""
  save_params(tmp_path / 'model', PARAMS)
  return tmp_path / 'model'


@pytest.mark.parametrize('devices', [1, 4])
def test_parameters_of_any_number_of_devices_come_back_as_numpy_arrays(tmp_path, devices):
  mesh = Mesh(np.array(jax.devices()[:devices]), ('data',))
  params = jax.device_put(PARAMS, NamedSharding(mesh, PartitionSpec()))
  assert len(params['bias'].addressable_shards) == devices
  save_params(tmp_path / 'deep' / 'model', params)
  restored = restore_params(tmp_path / 'deep' / 'model', params)
  assert_equal(restored, PARAMS)
  assert all(type(leaf) is np.ndarray for leaf in jax.tree.leaves(restored))


def test_shapes_are_enough_to_restore(folder):
  like = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, PARAMS))
  assert_equal(restore_params(folder, like), PARAMS)


def test_the_newer_of_two_checkpoints_is_kept(folder):
  newer = jax.tree.map(lambda x: x + 1, PARAMS)
  save_params(folder, newer)
  assert_equal(restore_params(folder, PARAMS), newer)
  assert len([path for path in folder.iterdir() if path.is_dir()]) == 1


def test_a_relative_folder_is_understood(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  folder = (tmp_path / 'model').relative_to(tmp_path)
  save_params(folder, PARAMS)
  assert_equal(restore_params(folder, PARAMS), PARAMS)


def refusal(folder, like) -> str:
  with pytest.raises(LogjaxError) as error:
    restore_params(folder, like)
  return str(error.value)


def test_a_missing_folder_is_named_and_not_made(tmp_path):
  folder = tmp_path / 'model'
  assert refusal(folder, PARAMS) == (
    f'no checkpoint in {folder}: run --mode=train with the same workdir first'
  )
  assert not folder.exists()


def test_a_folder_without_a_complete_checkpoint_is_named(tmp_path):
  assert refusal(tmp_path, PARAMS) == (
    f'no complete checkpoint in {tmp_path}: delete its parent folder and run --mode=train again'
  )


def damaged(folder) -> str:
  return f'the checkpoint in {folder} is damaged, of another model or of an older version ('


@pytest.mark.parametrize('shape', [(3,), (1,), (2, 1)])
def test_other_shapes_are_refused(folder, shape):
  said = refusal(folder, {**PARAMS, 'bias': np.zeros(shape, np.float32)})
  assert said.startswith(damaged(folder) + 'it has other arrays or shapes)')


@pytest.mark.parametrize(
  'like', [{'bias': PARAMS['bias']}, {**PARAMS, 'scale': np.ones(1, np.float32)}]
)
def test_other_parameters_are_refused(folder, like):
  assert refusal(folder, like).startswith(damaged(folder) + 'it has other arrays or shapes)')


@pytest.mark.parametrize('damage', ['cut', 'removed'])
def test_a_damaged_checkpoint_is_refused(folder, damage):
  saved = folder / '1' / 'arrays'
  if damage == 'cut':
    data = max(
      (path for path in saved.rglob('*') if path.is_file()), key=lambda p: p.stat().st_size
    )
    data.write_bytes(data.read_bytes()[:10])
  else:
    shutil.rmtree(saved)
  assert refusal(folder, PARAMS).startswith(damaged(folder))


def test_a_checkpoint_of_an_older_version_is_refused(tmp_path):
  with ocp.CheckpointManager(tmp_path / 'model') as manager:
    items = {'params': ocp.args.StandardSave(PARAMS), 'about': ocp.args.JsonSave({'format': 1})}
    manager.save(1, args=ocp.args.Composite(**items))
  assert refusal(tmp_path / 'model', PARAMS).startswith(damaged(tmp_path / 'model'))


@pytest.mark.parametrize('place', range(0, 30, 2))
def test_a_flipped_byte_is_noticed_or_changes_nothing(folder, place):
  files = [path for path in sorted(folder.rglob('*')) if path.is_file()]
  sizes = [path.stat().st_size for path in files]
  at = sum(sizes) * place // 30
  for path, size in zip(files, sizes, strict=True):
    if at < size:
      content = bytearray(path.read_bytes())
      content[at] ^= 16
      path.write_bytes(content)
      break
    at -= size
  try:
    assert_equal(restore_params(folder, PARAMS), PARAMS)
  except LogjaxError as error:
    assert str(folder) in str(error) and '\n' not in str(error)


def test_another_format_is_refused_by_its_version(folder, monkeypatch):
  monkeypatch.setattr(checkpoint, 'FORMAT', 5)
  monkeypatch.setattr(checkpoint.logjax, '__version__', '7.0')
  save_params(folder, PARAMS)
  monkeypatch.undo()
  assert 'was written by logjax 7.0 in format 5' in refusal(folder, PARAMS)
