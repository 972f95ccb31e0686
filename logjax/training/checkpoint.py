"""Saving and restoring parameters with Orbax."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from logjax.errors import LogjaxError


def save_params(folder: Path, params: Any) -> None:
  """Saves a tree of arrays as the item `params` of a checkpoint; an older one is replaced."""
  options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
  with ocp.CheckpointManager(folder.resolve(), options=options) as manager:
    step = (manager.latest_step() or 0) + 1
    params = jax.tree.map(np.asarray, params)
    manager.save(step, args=ocp.args.Composite(params=ocp.args.StandardSave(params)))


def restore_params(folder: Path, like: Any) -> Any:
  """Restores what `save_params` saved, on any number of devices.

  Args:
    folder: of the checkpoint.
    like: tree of arrays or shapes with the structure of the parameters.

  Returns:
    The tree as NumPy arrays.

  Raises:
    LogjaxError: when there is no checkpoint, or it has another structure or other shapes.
  """
  if not folder.is_dir():
    raise LogjaxError(f'no checkpoint in {folder}: run --mode=train with the same workdir first')
  template = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), like)
  with ocp.CheckpointManager(folder.resolve()) as manager:
    step = manager.latest_step()
    if step is None:
      raise LogjaxError(f'no complete checkpoint in {folder}: run --mode=train again')
    try:
      args = ocp.args.Composite(params=ocp.args.StandardRestore(template))
      params = manager.restore(step, args=args).params
    except (ValueError, KeyError, FileNotFoundError) as error:
      # Orbax's own message has many lines, and names no remedy.
      raise LogjaxError(
        f'the checkpoint in {folder} is damaged or of another model: '
        'run --mode=train in a new workdir'
      ) from error
  shapes = jax.tree.map(lambda a, b: a.shape == b.shape, params, template)
  if not jax.tree.all(shapes):
    raise LogjaxError(
      f'the checkpoint in {folder} has other shapes than the model: '
      'run --mode=train in a new workdir'
    )
  return params
