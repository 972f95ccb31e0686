"""The state of a model in training and the step that all supervised models share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from logjax.training.parallel import devices_of_step, sum_over_devices


class TrainState(struct.PyTreeNode):
  """A model in training.

  Attributes:
    step: number of gradient steps taken, int [].
    params: of the model.
    opt_state: of the optimiser.
  """

  step: jax.Array
  params: Any
  opt_state: Any


def create_state(params: Any, tx: optax.GradientTransformation) -> TrainState:
  """Returns the state before the first step."""
  return TrainState(step=jnp.int32(0), params=params, opt_state=tx.init(params))


def apply_gradients(
  tx: optax.GradientTransformation, state: TrainState, gradients: Any
) -> TrainState:
  """Takes one step of an optimiser."""
  updates, opt_state = tx.update(gradients, state.opt_state, state.params)
  params = optax.apply_updates(state.params, updates)
  return TrainState(step=state.step + 1, params=params, opt_state=opt_state)


def make_train_step(
  example_loss: Callable,
  tx: optax.GradientTransformation,
  penalty: Callable[[Any], jax.Array] = lambda params: jnp.float32(0),
) -> Callable:
  """Makes the step `(state, batch, keys) -> (state, metrics)` of a model.

  Args:
    example_loss: `(params, example, key) -> (loss, metrics)` for ONE example; metrics is a dict
      of scalars.
    tx: optimiser.
    penalty: regulariser of the parameters, added to the mean loss once.

  Returns:
    A step for `parallel`. Its batch is a pair of the examples [B, ...] and their weights [B];
    weight 0 marks padding, best a copy of an example: its loss may be infinite, but not the
    gradient of it. The loss is the weighted sum over the batches of all devices, divided by the
    number of examples there, padding not counted: a mean where weights are 1. Divided by the sum of
    weights instead, a batch without an example of large weight would pull as much as one with it.
    Metrics are means over the examples, whatever they weigh. `gradient_norm` is the global norm of
    the gradient as the optimiser is given it, before anything is clipped.
  """

  def step(state: TrainState, batch: tuple[Any, jax.Array], keys: jax.Array):
    examples, weights = batch
    total = jnp.maximum(sum_over_devices(jnp.sum(weights > 0)), 1)

    def share_of_loss(params):
      losses, metrics = jax.vmap(example_loss, (None, 0, 0))(params, examples, keys)
      metrics = {'loss': weights * losses, **metrics}
      # Chosen, not only multiplied: padding may have an infinite loss, and 0 * inf is not 0.
      metrics = jax.tree.map(lambda m: jnp.sum(jnp.where(weights > 0, m, 0.0)) / total, metrics)
      return metrics['loss'] + penalty(params) / devices_of_step(), metrics

    gradients, metrics = jax.grad(share_of_loss, has_aux=True)(state.params)
    gradients, metrics = sum_over_devices((gradients, metrics))
    metrics = metrics | {'gradient_norm': optax.tree.norm(gradients)}
    return apply_gradients(tx, state, gradients), metrics

  return step
