"""A function of ONE row, over many rows in blocks of one size."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

_BLOCK = 512


def make_validate(example_metrics: Callable) -> Callable:
  """Makes `(examples, weights [N]) -> (params -> weighted means of their metrics)`.

  N is filled up to a power of two, or to whole blocks, so that other examples of about as many
  rows need no other program.

  Args:
    example_metrics: `(params, example) -> dict of scalars` for ONE example, dropout off. Examples
      are a tree of arrays [N, ...], best distinct ones; weights are how often each occurs.
  """

  @jax.jit
  def means(params: Any, examples: Any, weights: jax.Array) -> dict[str, jax.Array]:
    metrics = lax.map(lambda e: example_metrics(params, e), examples, batch_size=_BLOCK)
    return jax.tree.map(lambda m: jnp.sum(m * weights) / jnp.sum(weights), metrics)

  def validate_on(examples: Any, weights: np.ndarray) -> Callable:
    count = len(weights)
    whole = 1 << (count - 1).bit_length() if count <= _BLOCK else -(-count // _BLOCK) * _BLOCK
    missing = whole - count
    # Filled up with a real one: its metrics are finite.
    examples = jax.tree.map(lambda x: np.concatenate([x, np.repeat(x[:1], missing, 0)]), examples)
    weights = np.pad(weights.astype(np.float32), (0, missing))
    examples, weights = jax.device_put((examples, weights))
    return lambda params: means(params, examples, weights)

  return validate_on


def make_apply(function: Callable) -> Callable:
  """Makes `(params, rows [N, ...]) -> outputs [N, ...]` of a function of ONE row, in blocks.

  Blocks have one size whatever N is, and run on one device, so that a row's output has the same
  bits in every run and on every number of devices.
  """

  @jax.jit
  def block_of(params: Any, rows: Any) -> Any:
    return jax.vmap(lambda row: function(params, row))(rows)

  def apply(params: Any, rows: Any) -> Any:
    count = len(jax.tree.leaves(rows)[0])
    blocks = []
    for begin in range(0, count, _BLOCK):
      block = jax.tree.map(lambda x, b=begin: x[b : b + _BLOCK], rows)
      missing = _BLOCK - len(jax.tree.leaves(block)[0])
      padded = jax.tree.map(
        lambda x, m=missing: np.pad(x, ((0, m),) + ((0, 0),) * (x.ndim - 1)), block
      )
      outputs = block_of(params, padded)
      blocks.append(jax.tree.map(lambda x, m=missing: np.asarray(x)[: _BLOCK - m], outputs))
    return jax.tree.map(lambda *parts: np.concatenate(parts), *blocks)

  return apply
