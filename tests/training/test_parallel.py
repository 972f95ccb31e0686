"""Steps on several devices: what is divided, what is shared, and that devices agree."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from logjax.training.parallel import (
  choose_devices,
  devices_of_step,
  divide,
  divide_batch,
  fill_up,
  gather_over_devices,
  parallel,
  parallel_map,
  scan_steps,
  shard,
  share_of_device,
  sum_over_devices,
  unshard,
)

DEVICES = (1, 2, 4)


def step(state: jax.Array, batch: jax.Array, keys: jax.Array):
  """Adds the batch and a number drawn for each of its examples to the state."""
  noise = jax.vmap(lambda key: jax.random.uniform(key))(keys)
  total = sum_over_devices(jnp.sum(batch + noise))
  return state + total, {'total': total, 'devices': devices_of_step()}


def draw_keys(*shape: int) -> jax.Array:
  return jax.random.split(jax.random.key(0), shape)


def test_the_tests_run_on_four_devices():
  assert jax.local_device_count() == 4


@pytest.mark.parametrize(
  ('batch', 'most', 'expected'),
  [(128, 0, 4), (6, 0, 3), (7, 0, 1), (2, 0, 2), (128, 2, 2), (9, 4, 3), (128, 1, 1), (8, 100, 4)],
)
def test_as_many_devices_as_divide_the_batch(batch, most, expected):
  assert choose_devices(most, dividing=batch) == expected


@pytest.mark.parametrize(('most', 'expected'), [(0, 4), (3, 3), (1, 1), (100, 4)])
def test_a_batch_that_is_filled_up_may_have_any_number_of_devices(most, expected):
  assert choose_devices(most) == expected


def test_what_fills_a_batch_up_weighs_nothing_and_the_rest_what_it_did():
  examples, weights = np.arange(10).reshape(1, 2, 5), np.array([[[2, 0, 1, 3, 1], [1, 1, 1, 1, 5]]])
  (divided, weighed), keys = divide_batch(examples, weights, draw_keys(1, 2, 5), 3)
  assert divided.shape == weighed.shape == keys.shape == (3, 1, 2, 2)
  np.testing.assert_array_equal(unshard(weighed, 2)[0], [[2, 0, 1, 3, 1, 0], [1, 1, 1, 1, 5, 0]])
  np.testing.assert_array_equal(unshard(divided, 2)[..., :5], examples)


@pytest.mark.parametrize('devices', [1, 2, 3, 4])
def test_what_was_gathered_is_shared_out_again_with_zeros_behind(devices):
  rows = np.arange(1.0, 6)

  def step(state, mine, keys):
    whole = gather_over_devices(mine, axis=0)[:5]
    return state, sum_over_devices(jnp.sum(mine * share_of_device(whole, len(mine), axis=0)))

  given = divide(rows, devices, 0)
  assert parallel(step, devices, donate=False)(0, given, given)[1] == np.sum(rows**2)


def test_a_batch_is_filled_up_with_copies_of_its_first_entries_only_where_it_must_be():
  batch = np.arange(10).reshape(2, 5)
  assert fill_up(batch, 5, axis=1) is batch
  np.testing.assert_array_equal(
    fill_up(batch, 4, axis=1), [[0, 1, 2, 3, 4, 0, 1, 2], [5, 6, 7, 8, 9, 5, 6, 7]]
  )
  assert fill_up(batch, 16, axis=1).shape == (2, 16)
  keys = draw_keys(2, 5)
  np.testing.assert_array_equal(
    jax.random.key_data(fill_up(keys, 3, axis=1)), jax.random.key_data(keys[:, [0, 1, 2, 3, 4, 0]])
  )


@pytest.mark.parametrize('devices', DEVICES)
def test_a_sum_over_devices_is_the_sum_over_the_batch(devices):
  batch, keys = jnp.arange(8.0), draw_keys(8)
  expected = 10 + batch.sum() + jax.vmap(jax.random.uniform)(keys).sum()
  run = parallel(step, devices, donate=False)
  state, metrics = run(jnp.float32(10), shard(batch, devices, 0), shard(keys, devices, 0))
  np.testing.assert_allclose(state, expected, rtol=1e-6)
  assert metrics['devices'] == devices
  shards = [np.asarray(shard.data) for shard in state.addressable_shards]
  assert len(shards) == devices
  assert all(np.array_equal(shard, shards[0]) for shard in shards)


def test_only_a_donated_state_is_used_up():
  batch, keys = shard(jnp.arange(8.0), 2, 0), shard(draw_keys(8), 2, 0)
  for donate in (True, False):
    first, _ = parallel(step, 2, donate=donate)(jnp.float32(0), batch, keys)
    second, _ = parallel(step, 2, donate=donate)(first, batch, keys)
    assert first.is_deleted() == donate
    assert np.isfinite(second)


@pytest.mark.parametrize('devices', DEVICES)
def test_a_map_gives_every_key_its_own_output_in_order(devices):
  keys = draw_keys(2, 8)
  draw = jax.vmap(jax.vmap(jax.random.uniform))
  outputs = parallel_map(lambda shared, keys: shared * draw(keys), devices)(
    jnp.float32(2), shard(keys, devices, 1)
  )
  np.testing.assert_array_equal(unshard(outputs, 1), 2 * draw(keys))


def test_scanned_steps_equal_a_loop_of_steps_and_keep_what_each_measured():
  batches = jnp.arange(24.0).reshape(3, 8)
  keys = draw_keys(3, 8)
  alone = parallel(step, 2, donate=False)
  state, totals = jnp.float32(0), []
  for i in range(3):
    state, metrics = alone(state, shard(batches[i], 2, 0), shard(keys[i], 2, 0))
    totals.append(metrics['total'])
  together = parallel(scan_steps(step), 2, donate=False)
  scanned, metrics = together(jnp.float32(0), shard(batches, 2, 1), shard(keys, 2, 1))
  np.testing.assert_allclose(scanned, state, rtol=1e-6)
  np.testing.assert_allclose(metrics['total'], totals, rtol=1e-6)


@pytest.mark.parametrize('axis', [0, 1, 2])
def test_sharding_divides_one_axis_in_order_and_can_be_undone(axis):
  x = np.arange(4 * 8 * 12).reshape(4, 8, 12)
  divided = shard({'x': x}, 4, axis)
  np.testing.assert_array_equal(divided['x'], np.stack(np.split(x, 4, axis=axis)))
  np.testing.assert_array_equal(unshard(divided, axis)['x'], x)


def test_keys_are_sharded_like_numbers():
  keys = draw_keys(2, 8)
  divided = shard(keys, 4, 1)
  assert divided.shape == (4, 2, 2)
  data = jax.random.key_data
  np.testing.assert_array_equal(data(divided[1]), data(keys[:, 2:4]))
  np.testing.assert_array_equal(data(unshard(divided, 1)), data(keys))
