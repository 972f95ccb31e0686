"""The floor: the time that a device needs for what no implementation can leave out.

That is the matrix products and exponentials of the models' layers, timed in this process on the
same devices: a loop in which every lane goes through the generator's step, or the discriminator's
highway layer, and nothing else happens. No token is looked up, searched for or kept. Each pass
depends on the one before it, so that the compiler can leave none out; and of several numbers of
lanes the fastest counts, those of the rollouts' own blocks among them.

L lanes, T time, E embedding, F filters.
"""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from logjax.seqgan.state import SeqGAN, SeqGANState
from logjax.training.parallel import parallel, replicate, sum_over_devices

_LEAST_SECONDS = 0.05  # of a timed loop
_TIMES = 3  # that a loop is timed; the fastest counts
_TINY = 1e-9  # how much of its results a pass adds to what the next one is given


class Work(NamedTuple):
  """What a call cannot avoid.

  Attributes:
    drawn: tokens drawn: the generator's products forward, and the exponentials of its gates and
      of all V logits.
    learned: tokens that the generator learns: the same forward, and the products backward.
    judged: sentences scored: the two products F x F of the highway layer.
    taught: sentences that the discriminator learns: the highway layer's products both ways. Its
      filters' products depend on whether it has tables or convolves, and are left out.
  """

  drawn: int = 0
  learned: int = 0
  judged: int = 0
  taught: int = 0


def floor_seconds(model: SeqGAN, state: SeqGANState, work: Work, devices: int) -> float:
  """Returns the least time that some work takes on so many devices, divided evenly.

  Args:
    model: whose layers do it.
    state: with their parameters; of K = 1 sets.
    work: how much of it.
    devices: how many.
  """
  params = {'generator': state.generator.params, 'discriminator': state.discriminator.params}
  params = replicate(jax.tree.map(lambda x: x[0], params), devices)
  total = 0.0
  for unit, amount in zip(UNITS, work, strict=True):
    if amount:
      lanes = model.rewards.block
      sizes = sorted({max(1, lanes // 2), lanes, 2 * lanes})
      total += amount * min(_seconds_each(unit, model, params, size, devices) for size in sizes)
  return total


def _seconds_each(unit: Callable, model: SeqGAN, params: Any, lanes: int, devices: int) -> float:
  """Times one lane's pass, all devices at work."""

  def repeat(params: Any, passes: jax.Array, keys: jax.Array) -> jax.Array:
    del keys
    run, start = unit(model, params, lanes)
    end = lax.fori_loop(0, passes[0], lambda _, carry: run(carry), start)
    return sum_over_devices(sum(jnp.sum(x) for x in jax.tree.leaves(end)))

  step = parallel(repeat, devices, donate=False)
  nothing = jnp.zeros((devices, 1))

  def seconds(passes: int) -> float:
    batch = jnp.full((devices, 1), passes)
    start = time.perf_counter()
    jax.block_until_ready(step(params, batch, nothing))
    return time.perf_counter() - start

  passes = 1
  seconds(passes)  # compiles
  while (first := seconds(passes)) < _LEAST_SECONDS:
    passes *= 2
  best = min(first, *(seconds(passes) for _ in range(_TIMES - 1)))
  return best / (passes * lanes * devices)


def _step(model: SeqGAN, params: Any, h: Any) -> tuple[Any, jax.Array]:
  """The generator's step: states h [L, H] -> h, and the sums of the logits' exponentials [L]."""
  generator, bound = model.generator, {'params': params}
  # The inputs of all tokens are projected once for many steps, so here one token's must do.
  one = {**params, 'embed': {'embedding': params['embed']['embedding'][:1]}}
  alone = generator.clone(vocabulary=1)
  projected = alone.apply({'params': one}, method=alone.inputs)[0]
  advance = jax.vmap(lambda h: generator.apply(bound, h, projected, method=generator.advance))
  h, logits = advance(h)
  return h, jnp.exp(logits).sum(axis=1)


def _judgement(model: SeqGAN, params: Any, maxima: jax.Array) -> jax.Array:
  """From windows' maxima [L, F] through the highway layer: the sum of the two logits, [L]."""
  discriminator = model.discriminator
  score = jax.vmap(
    lambda m: discriminator.apply({'params': params}, m, method=discriminator.classify_maxima)
  )
  return score(maxima).sum(axis=1)


def _draw(model: SeqGAN, params: Any, lanes: int) -> tuple[Callable, Any]:
  def run(h):
    h, sums = _step(model, params['generator'], h)
    return jax.tree.map(lambda x: x + _TINY * sums[:, None], h)

  return run, _start(model, lanes)


def _learn(model: SeqGAN, params: Any, lanes: int) -> tuple[Callable, Any]:
  def loss(params, h):
    h, sums = _step(model, params, h)
    return jnp.sum(jnp.log(sums)) + sum(jnp.sum(x) for x in jax.tree.leaves(h))

  return _descend(loss), (params['generator'], _start(model, lanes))


def _judge(model: SeqGAN, params: Any, lanes: int) -> tuple[Callable, Any]:
  def run(maxima):
    return maxima + _TINY * _judgement(model, params['discriminator'], maxima)[:, None]

  return run, jnp.zeros((lanes, sum(model.discriminator.filters)))


def _teach(model: SeqGAN, params: Any, lanes: int) -> tuple[Callable, Any]:
  def loss(params, maxima):
    return jnp.sum(_judgement(model, params, maxima))

  maxima = jnp.zeros((lanes, sum(model.discriminator.filters)))
  return _descend(loss), (params['discriminator'], maxima)


def _start(model: SeqGAN, lanes: int) -> Any:
  """The generator's first state in all lanes."""
  return jax.tree.map(lambda x: jnp.broadcast_to(x, (lanes, *x.shape)), model.generator.start)


def _descend(loss: Callable) -> Callable:
  """A pass forward and backward: `(params, x) -> (params, x)`, hardly changed."""

  def run(carry):
    gradients = jax.grad(loss, argnums=(0, 1))(*carry)
    return jax.tree.map(lambda x, g: x - _TINY * g, carry, gradients)

  return run


UNITS = (_draw, _learn, _judge, _teach)  # in the order of Work's fields
