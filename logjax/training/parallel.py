"""Devices: the only place with a `pmap`.

Every step has the form `step(state, batch, keys) -> (state, metrics)`. The state is the same on
all devices (`in_axes=None`), the batch and its keys are divided among them. Keys belong to
examples, are made outside and travel with them, so that one device and eight devices draw the
same numbers. A step sums its gradients over the devices with `sum_over_devices`; every output
must have gone through it, because `out_axes=None` does not check that devices agree.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

AXIS = 'data'


def choose_devices(batch: int, most: int = 0) -> int:
  """Returns the largest number of devices that divides a batch, at most `most` (0 = all)."""
  available = jax.local_device_count() if most == 0 else min(most, jax.local_device_count())
  return max(n for n in range(1, available + 1) if batch % n == 0)


def sum_over_devices(tree: Any) -> Any:
  """Sums every leaf over the devices; only inside a parallel step."""
  return lax.psum(tree, AXIS)


def devices_of_step() -> int:
  """Returns the number of devices that run the step; only inside a parallel step."""
  return lax.axis_size(AXIS)


def index_of_device() -> jax.Array:
  """Returns which of the devices this is, from 0; only inside a parallel step."""
  return lax.axis_index(AXIS)


def gather_over_devices(tree: Any, axis: int) -> Any:
  """Joins the devices' shares along `axis`, as `shard` divided it; only inside a parallel step."""
  return lax.all_gather(tree, AXIS, axis=axis, tiled=True)


def parallel(step: Callable, devices: int, *, donate: bool = True) -> Callable:
  """Runs `step(state, batch, keys) -> (state, metrics)` on several devices.

  Args:
    step: pure function of one device's share; its outputs are equal on all devices.
    devices: how many; the leading axis of every array in `batch` and `keys`.
    donate: whether the old state's memory is reused for the new one.
  """
  return jax.pmap(
    step,
    axis_name=AXIS,
    in_axes=(None, 0, 0),
    out_axes=None,
    devices=jax.local_devices()[:devices],
    donate_argnums=0 if donate else (),
  )


def replicate(state: Any, devices: int) -> Any:
  """Puts a state on all devices as a parallel step returns it, so that the step compiles once."""
  chosen = jax.local_devices()[:devices]
  mesh = jax.make_mesh((devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=chosen)
  return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def parallel_map(function: Callable, devices: int) -> Callable:
  """Runs `function(shared, keys) -> outputs` where keys and outputs are divided among devices."""
  return jax.pmap(
    function, axis_name=AXIS, in_axes=(None, 0), devices=jax.local_devices()[:devices]
  )


def scan_steps(step: Callable) -> Callable:
  """Makes of a step one that takes many batches, stacked on a new leading axis [S, ...].

  One dispatch then runs a whole epoch. Metrics are means over the S steps.
  """

  def steps(state: Any, batches: Any, keys: jax.Array) -> tuple[Any, Any]:
    state, metrics = lax.scan(lambda s, xs: step(s, *xs), state, (batches, keys))
    return state, jax.tree.map(lambda m: jnp.mean(m, axis=0), metrics)

  return steps


def shard(tree: Any, devices: int, axis: int) -> Any:
  """Divides `axis` of every array among devices: [..., B, ...] -> [D, ..., B / D, ...]."""

  def divide(x: jax.Array) -> jax.Array:
    shape = (*x.shape[:axis], devices, x.shape[axis] // devices, *x.shape[axis + 1 :])
    return jnp.moveaxis(x.reshape(shape), axis, 0)

  return jax.tree.map(divide, tree)


def unshard(tree: Any, axis: int) -> Any:
  """Undoes `shard`: [D, ..., B / D, ...] -> [..., B, ...]."""

  def join(x: jax.Array) -> jax.Array:
    x = jnp.moveaxis(x, 0, axis)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

  return jax.tree.map(join, tree)
