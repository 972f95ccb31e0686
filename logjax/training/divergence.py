"""Training that diverged: the step of an epoch, and its batch. S steps."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logjax.errors import LogjaxError
from logjax.training import hosts
from logjax.training.runtime import Runtime

# Nats, or squares of numbers from 0 to 1. Adam with far too large a learning rate ends in finite
# losses beyond this; guessing loses less than 14 a token.
_LARGEST_LOSS = 1e6


class DivergenceError(Exception):
  """A metric or a parameter is not finite, or a loss is absurd.

  Attributes:
    what: the metric and its value, such as 'loss nan'.
    step: of the epoch, from 0.
    batch: of the step, a tree of arrays; None if unknown.
    measured: the metrics of this step and those before it, by name.
  """

  def __init__(self, what: str, step: int, batch: Any, measured: Mapping[str, np.ndarray]):
    super().__init__(what)
    self.what, self.step, self.batch, self.measured = what, step, batch, measured


def mean_metrics(
  metrics: Mapping[str, jax.Array], batch_of: Callable[[int], Any], *, before: int = 0
) -> dict[str, np.ndarray]:
  """Returns the means of an epoch's metrics over its steps, [S, ...] -> [...].

  Args:
    metrics: of every step.
    batch_of: from a step to its batch.
    before: number of steps of the epoch before these.

  Raises:
    DivergenceError: at the first step with a metric that is not finite, or with an absurd loss.
  """
  measured = {name: np.asarray(value) for name, value in metrics.items()}
  bad = {
    name: ~np.isfinite(value) | (name.endswith('loss') and value > _LARGEST_LOSS)
    for name, value in measured.items()
  }
  wrong = {name: value.reshape(len(value), -1).any(axis=1) for name, value in bad.items()}
  diverged = np.logical_or.reduce(list(wrong.values()))
  if diverged.any():
    step = int(diverged.argmax())
    # A loss explains most.
    name = min((n for n in wrong if wrong[n][step]), key=lambda n: not n.endswith('loss'))
    value = measured[name][step][bad[name][step]].reshape(-1)[0]
    seen = {n: metric[: step + 1] for n, metric in measured.items()}
    what = f'{name.replace("_", " ")} {value:.6g}'
    raise DivergenceError(what, before + step, batch_of(step), seen)
  return {name: value.mean(axis=0) for name, value in measured.items()}


@jax.jit
def all_finite(tree: Any) -> jax.Array:
  """Returns whether every number of a tree is finite, bool []."""
  return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))


@contextlib.contextmanager
def divergence_reported(
  runtime: Runtime, phase: str, label: str, epoch: int, advice: str
) -> Iterator[None]:
  """Turns a DivergenceError inside into a LogjaxError, and saves the batch of its step.

  Args:
    runtime: of the run; its last checkpoint, of a good epoch, is finished first.
    phase: its name, for the file `diverged/<phase>.npz` in the workdir.
    label: its name for people.
    epoch: from 0.
    advice: to the user.
  """
  try:
    yield
  except DivergenceError as error:
    path = _save(error, runtime.progress.workdir, phase, epoch)
    runtime.checkpoints.close()
    where = f' (its batch is in {path})' if path else ''
    raise LogjaxError(
      f'{label}: {error.what} in step {error.step + 1} of epoch {epoch + 1}{where}: {advice}'
    ) from None


def _save(error: DivergenceError, workdir: Path | None, phase: str, epoch: int) -> Path | None:
  """Saves plain arrays; returns the file, or None if there is none."""
  if workdir is None or error.batch is None:
    return None
  arrays = {'epoch': np.array(epoch), 'step': np.array(error.step)}
  arrays |= {f'measured.{name}': value for name, value in error.measured.items()}
  for path, leaf in jax.tree.leaves_with_path(error.batch):
    name = jax.tree_util.keystr(path, simple=True, separator='.')
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    arrays[name] = np.asarray(leaf)
  path = workdir / 'diverged' / f'{phase}.npz'
  if hosts.first():
    with contextlib.suppress(OSError):  # the error itself matters more than the file
      path.parent.mkdir(exist_ok=True)
      np.savez(path, **arrays)
  return path if path.exists() else None
