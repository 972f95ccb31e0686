"""Devices: the only place with a `pmap`.

Every step has the form `step(state, batch, keys) -> (state, metrics)`. The state is the same on
all devices (`in_axes=None`); the batch and its keys are divided among them. Keys belong to examples
and are made outside, so one device and eight devices draw the same numbers. A step sums its
gradients over the devices with `sum_over_devices`. Every output must be such a sum, because
`out_axes=None` does not check for equality.

D counts the devices of all processes, the same number of each. Every process makes the whole batch
and gives its own devices their part; outputs are whole on every process.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from logjax.errors import LogjaxError
from logjax.training import hosts

AXIS = 'data'


def choose_devices(most: int = 0, *, dividing: int = 0) -> int:
  """Returns the number of devices to use, the same number of each process.

  Args:
    most: upper limit, but at least one of each process; 0 for none.
    dividing: a number to be divisible by the devices of one process; 0 for none.
  """
  processes, each = jax.process_count(), jax.local_device_count()
  if most:
    each = min(each, max(most // processes, 1))
  return processes * max(n for n in range(1, each + 1) if dividing % n == 0)


def check_devices(most: int) -> None:
  """Refuses more devices than there are.

  Raises:
    LogjaxError: with the number of devices.
  """
  there = jax.device_count()
  if most > there:
    raise LogjaxError(
      f'--config.devices={most}, but the number of devices is {there}: give that at most, or 0 for '
      'all'
    )


def sum_over_devices(tree: Any) -> Any:
  """Sums every leaf over the devices; only inside a parallel step."""
  return lax.psum(tree, AXIS)


def devices_of_step() -> int:
  """Returns the number of devices of the step; only inside a parallel step."""
  return lax.axis_size(AXIS)


def index_of_device() -> jax.Array:
  """Returns the number of this device, from 0; only inside a parallel step."""
  return lax.axis_index(AXIS)


def gather_over_devices(tree: Any, axis: int) -> Any:
  """Joins the devices' parts along `axis`, as `shard` divided it; only inside a parallel step."""
  return lax.all_gather(tree, AXIS, axis=axis, tiled=True)


def share_of_device(whole: jax.Array, size: int, axis: int) -> jax.Array:
  """Undoes `gather_over_devices`: this device's `size` entries along `axis`, 0 beyond the last.

  Only inside a parallel step. `whole` may be shorter than all parts together.
  """
  missing = devices_of_step() * size - whole.shape[axis]
  padding = [(0, missing if i == axis else 0) for i in range(whole.ndim)]
  return lax.dynamic_slice_in_dim(jnp.pad(whole, padding), index_of_device() * size, size, axis)


def parallel(step: Callable, devices: int, *, donate: bool = True) -> Callable:
  """Runs `step(state, batch, keys) -> (state, metrics)` on several devices.

  Args:
    step: pure function of one device's part; its outputs are equal on all devices.
    devices: D, the leading axis of every array in `batch` and `keys`.
    donate: whether the old state's memory is reused for the new one.
  """
  mapped = jax.pmap(
    step,
    axis_name=AXIS,
    in_axes=(None, 0, 0),
    out_axes=None,
    devices=_chosen(devices),
    donate_argnums=0 if donate else (),
  )
  if not hosts.several():
    return mapped
  _meet(tuple(_chosen(devices)))
  return lambda state, batch, keys: mapped(state, *_part_of_process((batch, keys)))


def replicate(state: Any, devices: int) -> Any:
  """Puts a state on all devices as a parallel step returns it: the step then compiles once."""
  own = [d for d in _chosen(devices) if d.process_index == jax.process_index()]
  mesh = jax.make_mesh((len(own),), (AXIS,), axis_types=(AxisType.Auto,), devices=own)
  return jax.device_put(state, NamedSharding(mesh, PartitionSpec()))


def parallel_map(function: Callable, devices: int) -> Callable:
  """Runs `function(shared, keys) -> outputs` where keys and outputs are divided among devices."""
  mapped = jax.pmap(function, axis_name=AXIS, in_axes=(None, 0), devices=_chosen(devices))
  if not hosts.several():
    return mapped
  _meet(tuple(_chosen(devices)))
  return lambda shared, keys: multihost_utils.process_allgather(
    mapped(shared, _part_of_process(keys)), tiled=True
  )


def _chosen(devices: int) -> list[jax.Device]:
  """The first devices of each process, as many of each."""
  each = devices // jax.process_count()
  by_process: dict[int, list[jax.Device]] = {}
  for device in jax.devices():
    by_process.setdefault(device.process_index, []).append(device)
  return [device for process in sorted(by_process) for device in by_process[process][:each]]


@functools.cache
def _meet(devices: tuple[jax.Device, ...]) -> None:
  """Connects devices of several processes.

  Gloo waits only 30 seconds for all of them when devices first do something together. A process
  that still reads or compiles is later than that, so this waits for all processes before.
  """
  hosts.wait('meet')
  total = jax.pmap(lambda x: lax.psum(x, AXIS), axis_name=AXIS, devices=devices)
  jax.block_until_ready(total(np.ones(len(devices) // jax.process_count())))


def _part_of_process(tree: Any) -> Any:
  """The part of arrays [D, ...] that is for the devices of this process."""

  def part(x: jax.Array) -> jax.Array:
    each = x.shape[0] // jax.process_count()
    return x[jax.process_index() * each :][:each]

  return jax.tree.map(part, tree)


def scan_steps(step: Callable) -> Callable:
  """Makes a step for many batches, stacked on a new leading axis [S, ...], of a step for one.

  One dispatch then runs a whole epoch. Metrics are those of every step, [S, ...], to name the step
  of a divergence.
  """

  def steps(state: Any, batches: Any, keys: jax.Array) -> tuple[Any, Any]:
    return lax.scan(lambda s, xs: step(s, *xs), state, (batches, keys))

  return steps


def fill_up(tree: Any, devices: int, axis: int) -> Any:
  """Lengthens `axis` of every array to a multiple of the devices, with copies of its entries.

  [..., B, ...] -> [..., D * ceil(B / D), ...]; the copies must have weight 0.
  """

  def longer(x: Any) -> Any:
    size = x.shape[axis]
    places = np.arange(-(-size // devices) * devices) % size
    return x if len(places) == size else x[(slice(None),) * axis + (places,)]

  return jax.tree.map(longer, tree)


def divide(tree: Any, devices: int, axis: int) -> Any:
  """Divides `axis` of every array among devices, after `fill_up`.

  [..., B, ...] -> [D, ..., ceil(B / D), ...]; the copies must have weight 0.
  """
  return shard(fill_up(tree, devices, axis), devices, axis)


def divide_batch(
  examples: Any, weights: np.ndarray, keys: jax.Array, devices: int
) -> tuple[tuple[Any, np.ndarray], jax.Array]:
  """Divides a batch, filled up with examples of weight 0.

  Args:
    examples: a tree of arrays [..., B, ...] with as many axes before B as the weights have. NumPy
      arrays are best: nothing is compiled for them.
    weights: [..., B].
    keys: [..., B].
    devices: D.

  Returns:
    Batch and keys as a step of `parallel` takes them, [D, ..., ceil(B / D), ...].
  """
  axis = weights.ndim - 1
  missing = -weights.shape[axis] % devices
  padded = np.pad(weights, [(0, 0)] * axis + [(0, missing)])
  return divide(((examples, padded.astype(np.float32)), keys), devices, axis)


def shard(tree: Any, devices: int, axis: int) -> Any:
  """Divides `axis` of every array among devices: [..., B, ...] -> [D, ..., B / D, ...]."""

  def divided(x: Any) -> Any:
    if isinstance(x, np.ndarray):
      return _shard(x, devices, axis, np.moveaxis)
    return _shard_on_device(x, devices, axis)

  return jax.tree.map(divided, tree)


def _shard(x: Any, devices: int, axis: int, move: Callable = jnp.moveaxis) -> Any:
  shape = (*x.shape[:axis], devices, x.shape[axis] // devices, *x.shape[axis + 1 :])
  return move(x.reshape(shape), axis, 0)


_shard_on_device = jax.jit(_shard, static_argnums=(1, 2))


def unshard(tree: Any, axis: int) -> Any:
  """Undoes `shard`: [D, ..., B / D, ...] -> [..., B, ...]."""

  def join(x: Any) -> Any:
    x = (np.moveaxis if isinstance(x, np.ndarray) else jnp.moveaxis)(x, 0, axis)
    return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

  return jax.tree.map(join, tree)
