"""The rows of an epoch, and running a step over them. K sets, S steps, B batch, T time."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from logjax.seqgan.sets import Sets
from logjax.seqgan.state import SeqGANState
from logjax.training.divergence import mean_metrics
from logjax.training.keys import numpy_generator
from logjax.training.parallel import divide_batch


def epoch_of(rows: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
  """Shuffles rows [n, T] and takes `count` of them, in several passes where there are fewer."""
  passes = -(-count // len(rows))
  order = np.concatenate([generator.permutation(len(rows)) for _ in range(passes)])
  return rows[order[:count]]


def real_batch(sets: Sets, batch: int, key: jax.Array) -> np.ndarray:
  """Real rows for one step of the generators, [K, B, T]."""
  generator = numpy_generator(key)
  return np.stack([epoch_of(rows, batch, generator) for rows in sets.rows])


def run_epoch(
  step: Callable,
  state: SeqGANState,
  rows: Any,
  batch: int,
  key: jax.Array,
  devices: int,
  *,
  before: int = 0,
  prefix: str = '',
) -> tuple[SeqGANState, dict[str, np.ndarray]]:
  """Runs a step over all batches of rows [K, S * B, ...]; metrics are means over the steps, [K].

  Args:
    step: scanned and parallel.
    state: before the first step.
    rows: a tree of them.
    batch: B.
    key: consumed.
    devices: that the step runs on.
    before: number of steps of the epoch before these.
    prefix: of the names of the metrics.

  Raises:
    DivergenceError: at the first step with a metric that is not finite.
  """

  def batches(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x.reshape(x.shape[0], -1, batch, *x.shape[2:]), 0, 1)

  examples = jax.tree.map(batches, rows)
  shape = jax.tree.leaves(examples)[0].shape[:3]
  keys = jax.random.split(jax.random.fold_in(key, 1), shape)
  state, metrics = step(state, *divide_batch(examples, np.ones(shape), keys, devices))

  def batch_of(s: int) -> dict[str, Any]:
    return {'examples': jax.tree.map(lambda x: x[s], examples), 'keys': keys[s]}

  metrics = {prefix + name: value for name, value in metrics.items()}
  return state, mean_metrics(metrics, batch_of, before=before)
