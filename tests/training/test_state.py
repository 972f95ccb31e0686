"""The step that all supervised models share, against the plain gradient on one device."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from logjax.training.parallel import parallel, shard
from logjax.training.state import create_state, make_train_step

DEVICES = (1, 2, 4)
RATE, PENALTY = 0.5, 0.3
# Of the eight examples of a batch the last three are padding.
WEIGHTS = np.array([1, 1, 2, 1, 1, 0, 0, 0], np.float32)


def example_loss(params, example, key):
  """Squared error of a linear model whose input is noisy."""
  x, y = example
  error = jnp.dot(params['w'], x + jax.random.normal(key, x.shape)) - y
  return error**2, {'error': error}


def penalty(params) -> jax.Array:
  return PENALTY * jnp.sum(params['w'] ** 2)


def draw_batch():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(8, 2)).astype(np.float32), rng.normal(size=8).astype(np.float32)
  return x, y, jax.random.split(jax.random.key(0), 8)


def run(programs, devices: int, x, y, keys):
  tx = optax.sgd(RATE)
  state = create_state({'w': jnp.array([1.0, -2.0])}, tx)
  return programs[devices](
    state, shard(((x, y), jnp.asarray(WEIGHTS)), devices, 0), shard(keys, devices, 0)
  )


@pytest.fixture(scope='module')
def programs():
  """The same step on 1, 2 and 4 devices."""
  step = make_train_step(example_loss, optax.sgd(RATE), penalty)
  return {devices: parallel(step, devices, donate=False) for devices in DEVICES}


@pytest.mark.parametrize('devices', DEVICES)
def test_the_step_follows_the_plain_gradient_with_the_penalty_counted_once(programs, devices):
  x, y, keys = draw_batch()
  start = {'w': jnp.array([1.0, -2.0])}

  def plain(params):
    losses, metrics = jax.vmap(example_loss, (None, 0, 0))(params, (x, y), keys)
    # Divided by the number of examples that are no padding, whatever they weigh.
    loss = jnp.sum(WEIGHTS * losses) / np.sum(WEIGHTS > 0)
    return loss + penalty(params), (loss, jnp.mean(metrics['error'][WEIGHTS > 0]))

  gradients, (loss, error) = jax.grad(plain, has_aux=True)(start)
  state, metrics = run(programs, devices, x, y, keys)
  np.testing.assert_allclose(
    state.params['w'], start['w'] - RATE * gradients['w'], rtol=1e-5, atol=1e-6
  )
  np.testing.assert_allclose(metrics['loss'], loss, rtol=1e-5)
  np.testing.assert_allclose(metrics['error'], error, rtol=1e-5)
  assert state.step == 1


@pytest.mark.parametrize('devices', DEVICES)
def test_all_devices_end_with_the_same_state_and_metrics(programs, devices):
  for leaf in jax.tree.leaves(run(programs, devices, *draw_batch())):
    shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
    assert len(shards) == devices
    assert all(np.array_equal(shard, shards[0]) for shard in shards)


@pytest.mark.parametrize('devices', DEVICES)
@pytest.mark.parametrize('garbage', [1e6, 1e30])
def test_what_stands_in_padding_changes_nothing(programs, devices, garbage):
  """The square of 1e30 overflows: even an infinite loss has no weight."""
  x, y, keys = draw_batch()
  expected = run(programs, devices, x, y, keys)
  y = np.where(WEIGHTS > 0, y, np.float32(garbage))
  for ours, theirs in zip(
    jax.tree.leaves(run(programs, devices, x, y, keys)), jax.tree.leaves(expected), strict=True
  ):
    np.testing.assert_array_equal(ours, theirs)


def test_a_batch_of_nothing_but_padding_leaves_only_the_penalty():
  step = parallel(make_train_step(example_loss, optax.sgd(RATE), penalty), 1, donate=False)
  x, y, keys = draw_batch()
  state = create_state({'w': jnp.array([1.0, -2.0])}, optax.sgd(RATE))
  state, metrics = step(state, shard(((x, y), jnp.zeros(8)), 1, 0), shard(keys, 1, 0))
  np.testing.assert_allclose(state.params['w'], np.array([1, -2]) * (1 - RATE * 2 * PENALTY))
  assert metrics['loss'] == 0


def test_a_new_state_has_taken_no_step():
  state = create_state({'w': jnp.ones(2)}, optax.adam(0.1))
  assert state.step == 0
  assert all(np.all(leaf == 0) for leaf in jax.tree.leaves(state.opt_state))
