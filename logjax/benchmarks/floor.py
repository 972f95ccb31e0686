"""The floor: the least time for the arithmetic that every implementation must do.

It is the time of the matrix products and exponentials of the models' layers, measured in this
process on the same devices. A loop takes every lane through the generator's step or the
discriminator's highway layer and does nothing else: no token is looked up, searched or stored.

L lanes, H hidden size, F filters.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from logjax.seqgan.state import SeqGAN, SeqGANState
from logjax.training.parallel import parallel, replicate, sum_over_devices

_MIN_SECONDS = 0.05  # a timed loop has enough passes to take this long
_REPETITIONS = 3  # of a timed loop; the fastest counts
_TINY = 1e-9  # makes the next pass depend on this one, almost without changing its input


class Work(NamedTuple):
  """The unavoidable work of a call, in passes of one lane.

  Attributes:
    drawn: tokens to draw: forward products of the generator, exponentials of its gates and of all
      V logits.
    learned: tokens the generator learns from: the same, and the backward products.
    scored: sentences to score: the two products F x F of the highway layer.
    taught: sentences the discriminator learns from: the highway layer's products, both ways. The
      products of its filters are left out, because there are two ways to compute them.
  """

  drawn: int = 0
  learned: int = 0
  scored: int = 0
  taught: int = 0


def floor_seconds(model: SeqGAN, state: SeqGANState, work: Work, devices: int) -> float:
  """Measures the least time for some work, divided evenly among devices.

  Args:
    model: models.
    state: with their parameters, for K = 1 set.
    work: the amount of each kind.
    devices: number of devices.
  """
  block = model.rewards.block
  total = 0.0
  for unit, amount in zip(UNITS, work, strict=True):
    if amount:
      # A floor must be low: of several numbers of lanes the fastest counts.
      sizes = sorted({max(1, block // 2), block, 2 * block})
      total += amount * min(_seconds_each(unit, model, state, size, devices) for size in sizes)
  return total


def _seconds_each(
  unit: Callable, model: SeqGAN, state: SeqGANState, lanes: int, devices: int
) -> float:
  """Measures the time of one pass of one lane, with all devices at work."""

  def repeat(state: SeqGANState, passes: jax.Array, keys: jax.Array) -> jax.Array:
    del keys
    run, start = unit(model, state, lanes)
    end = lax.fori_loop(0, passes[0], lambda _, carry: run(carry), start)
    return sum_over_devices(sum(jnp.sum(x) for x in jax.tree.leaves(end)))

  step, state = parallel(repeat, devices, donate=False), replicate(state, devices)

  def seconds(passes: int) -> float:
    batch = jnp.full((devices, 1), passes)
    start = time.perf_counter()
    jax.block_until_ready(step(state, batch, batch))
    return time.perf_counter() - start

  passes = 1
  seconds(passes)  # compiles
  while (first := seconds(passes)) < _MIN_SECONDS:
    passes *= 2
  best = min(first, *(seconds(passes) for _ in range(_REPETITIONS - 1)))
  return best / (passes * lanes * devices)


def _generator(model: SeqGAN, state: SeqGANState, lanes: int) -> tuple[Callable, Any, Any]:
  """Returns `layer(params, x) -> [L]`, params and x: the generator's step from states [L, H]."""
  generator, params = model.generator, jax.tree.map(lambda x: x[0], state.generator.params)

  def layer(params: Any, h: Any) -> jax.Array:
    # The inputs of all tokens are projected once for many steps, so here one token has to do.
    one = {**params, 'embed': {'embedding': params['embed']['embedding'][:1]}}
    alone = generator.clone(vocabulary=1)
    projected = alone.apply({'params': one}, method=alone.inputs)[0]
    bound, method = {'params': params}, generator.advance
    h, logits = jax.vmap(lambda h: generator.apply(bound, h, projected, method=method))(h)
    # Every result enters the sum, or the compiler would drop its computation.
    return jnp.log(jnp.exp(logits).sum(axis=1)) + sum(x.sum(axis=1) for x in jax.tree.leaves(h))

  h = jax.tree.map(lambda x: jnp.broadcast_to(x, (lanes, *x.shape)), generator.start)
  return layer, params, h


def _highway(model: SeqGAN, state: SeqGANState, lanes: int) -> tuple[Callable, Any, Any]:
  """Returns `layer(params, x) -> [L]`, params and x: the highway layer from maxima [L, F]."""
  discriminator = model.discriminator
  params = jax.tree.map(lambda x: x[0], state.discriminator.params)

  def layer(params: Any, maxima: jax.Array) -> jax.Array:
    bound, method = {'params': params}, discriminator.classify_maxima
    return jax.vmap(lambda m: discriminator.apply(bound, m, method=method))(maxima).sum(axis=1)

  return layer, params, jnp.zeros((lanes, sum(discriminator.filters)))


def _forward(make: Callable) -> Callable:
  """Makes the unit of a forward pass: the input plus a tiny part of the result."""

  def unit(model: SeqGAN, state: SeqGANState, lanes: int) -> tuple[Callable, Any]:
    layer, params, start = make(model, state, lanes)

    def run(x):
      result = layer(params, x)
      return jax.tree.map(lambda leaf: leaf + _TINY * result[:, None], x)

    return run, start

  return unit


def _both_ways(make: Callable) -> Callable:
  """Makes the unit of a pass forward and backward: a tiny step down the gradient."""

  def unit(model: SeqGAN, state: SeqGANState, lanes: int) -> tuple[Callable, Any]:
    layer, params, start = make(model, state, lanes)

    def run(carry):
      gradients = jax.grad(lambda params, x: layer(params, x).sum(), argnums=(0, 1))(*carry)
      return jax.tree.map(lambda x, g: x - _TINY * g, carry, gradients)

    return run, (params, start)

  return unit


# One function per field of Work, in its order: `(model, state, lanes) -> (run, start)`, with a pass
# `run(carry) -> carry` and its first carry.
UNITS = (_forward(_generator), _both_ways(_generator), _forward(_highway), _both_ways(_highway))
