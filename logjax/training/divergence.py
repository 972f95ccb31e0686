"""Training that diverged: the step of an epoch, and the batch that it was taken with.

What it leaves for whoever looks into it is `diverged/<phase>.npz` in the workdir. S steps.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from logjax.errors import LogjaxError
from logjax.training import hosts
from logjax.training.runtime import Runtime


class Diverged(Exception):
  """A step measured something absurd or not finite, or left parameters that are not finite.

  Attributes:
    what: was measured, such as 'loss nan'.
    step: of the epoch, from 0.
    batch: that it was given, a tree of arrays; None where that is not known.
    measured: of this step and those before it, by name, [..., its last is this one's].
  """

  def __init__(self, what: str, step: int, batch: Any, measured: Mapping[str, np.ndarray]):
    super().__init__(what)
    self.what, self.step, self.batch, self.measured = what, step, batch, measured


def means_of_steps(
  metrics: Mapping[str, jax.Array],
  batch_of: Callable[[int], Any],
  *,
  before: int = 0,
  most: float = np.inf,
) -> dict[str, np.ndarray]:
  """Returns what the steps of an epoch measured on average, [S, ...] -> [...].

  Args:
    metrics: of every step.
    batch_of: what a step was given, for the one that diverged.
    before: how many steps of the epoch came before these.
    most: that a loss can be without having diverged.

  Raises:
    Diverged: at the first step that measured something that is not finite, or such a loss.
  """
  measured = {name: np.asarray(value) for name, value in metrics.items()}
  wrong = {
    name: ~np.isfinite(value) | (value > (most if name.endswith('loss') else np.inf))
    for name, value in measured.items()
  }
  of_steps = {name: value.reshape(len(value), -1).any(axis=1) for name, value in wrong.items()}
  anything = np.logical_or.reduce(list(of_steps.values()))
  if anything.any():
    step = int(anything.argmax())
    names = [name for name, is_wrong in of_steps.items() if is_wrong[step]]
    name = min(names, key=lambda name: not name.endswith('loss'))  # what says most
    value = measured[name][step][wrong[name][step]].reshape(-1)[0]
    what = f'{name.replace("_", " ")} {value:.6g}'
    measured = {name: value[: step + 1] for name, value in measured.items()}
    raise Diverged(what, before + step, batch_of(step), measured)
  return {name: value.mean(axis=0) for name, value in measured.items()}


@jax.jit
def all_finite(tree: Any) -> jax.Array:
  """Whether every number of a tree is finite, bool []."""
  return jnp.all(jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)]))


def stopped(
  diverged: Diverged, runtime: Runtime, phase: str, label: str, epoch: int, cure: str
) -> LogjaxError:
  """Ends a phase that diverged: saves the batch and finishes the last good checkpoint.

  Args:
    diverged: what happened.
    runtime: of the run.
    phase: its name, for the file.
    label: its name for people.
    epoch: from 0; the checkpoints that are kept are of those before it.
    cure: what the user can do.

  Returns:
    The error to raise.
  """
  path = _save(diverged, runtime.progress.workdir, phase, epoch)
  runtime.checkpoints.close()
  seen = f' (its batch is in {path})' if path else ''
  return LogjaxError(
    f'{label}: {diverged.what} in step {diverged.step + 1} of epoch {epoch + 1}{seen}: {cure}'
  )


def _save(diverged: Diverged, workdir: Path | None, phase: str, epoch: int) -> Path | None:
  """Saves plain arrays; returns the file, or None where there is no place for one."""
  if workdir is None or diverged.batch is None or not hosts.first():
    return None
  arrays = {'epoch': np.array(epoch), 'step': np.array(diverged.step)}
  arrays |= {f'measured.{name}': value for name, value in diverged.measured.items()}
  for path, leaf in jax.tree.leaves_with_path(diverged.batch):
    name = jax.tree_util.keystr(path, simple=True, separator='.')
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
      leaf = jax.random.key_data(leaf)
    arrays[name] = np.asarray(leaf)
  path = workdir / 'diverged' / f'{phase}.npz'
  partial = path.with_name(path.name + '.part')
  try:
    path.parent.mkdir(exist_ok=True)
    with partial.open('wb') as file:
      np.savez(file, **arrays)
    partial.replace(path)
  except OSError:  # what it says is worth more than what it keeps
    return None
  return path
