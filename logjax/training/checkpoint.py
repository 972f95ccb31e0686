"""Saving and restoring parameters with Orbax, with a SHA-256 that damage does not survive."""

import hashlib
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

import logjax
from logjax.errors import LogjaxError

FORMAT = 1  # of checkpoints; raised when an older logjax could not read them


def save_params(folder: Path, params: Any) -> None:
  """Saves a tree of arrays as the item `params` of a checkpoint; an older one is replaced."""
  # A Zarr array a parameter. A database of them, Orbax's own choice, is written faster, but
  # TensorStore loses memory with each of its arrays, and again when it is read.
  params_handler = ocp.PyTreeCheckpointHandler(
    use_ocdbt=False, multiprocessing_options=_alone_among_processes()
  )
  handlers = {'params': params_handler, 'about': ocp.JsonCheckpointHandler()}
  with open_manager(folder, keep=1, handlers=handlers) as manager:
    step = (manager.latest_step() or 0) + 1
    params = jax.tree.map(np.asarray, params)
    about = {'format': FORMAT, 'version': logjax.__version__}
    about['sha256'] = digest_of(jax.tree.leaves(params), about)
    items = {'params': ocp.args.PyTreeSave(params), 'about': ocp.args.JsonSave(about)}
    manager.save(step, args=ocp.args.Composite(**items))


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
  with open_manager(folder) as manager:
    step = manager.latest_step()
    if step is None:
      raise LogjaxError(
        f'no complete checkpoint in {folder}: delete its parent folder and run --mode=train again'
      )
    try:
      items = ocp.args.Composite(about=ocp.args.JsonRestore())
      about = manager.restore(step, args=items).about
      params = None
      if about['format'] <= FORMAT:
        check_sizes(folder, max(leaf.nbytes for leaf in jax.tree.leaves(template)))
        items = ocp.args.Composite(params=ocp.args.StandardRestore(template))
        params = manager.restore(step, args=items).params
        if digest_of(jax.tree.leaves(params), about) != about['sha256']:
          raise ValueError('its SHA-256 is another')
    except (ValueError, KeyError, TypeError, OSError) as error:
      # Orbax's own message has many lines, and names no remedy.
      raise LogjaxError(
        f'the checkpoint in {folder} is damaged or of another model: '
        'run --mode=train in a new workdir'
      ) from error
  if about['format'] > FORMAT:
    raise LogjaxError(
      f'the checkpoint in {folder} was written by logjax {about["version"]} in format '
      f'{about["format"]}, and this logjax {logjax.__version__} reads {FORMAT}: update it'
    )
  shapes = jax.tree.map(lambda a, b: a.shape == b.shape, params, template)
  if not jax.tree.all(shapes):
    raise LogjaxError(
      f'the checkpoint in {folder} has other shapes than the model: '
      'run --mode=train in a new workdir'
    )
  return params


def open_manager(
  folder: Path,
  *,
  keep: int | None = None,
  background: bool = False,
  handlers: dict[str, ocp.CheckpointHandler] | None = None,
) -> ocp.CheckpointManager:
  """Opens the checkpoints of a folder that belongs to this process alone.

  Args:
    folder: made where it is not there.
    keep: how many checkpoints stay, the newest; None for all.
    background: whether they are written while the program goes on.
    handlers: that write the items of a checkpoint; None for Orbax's own choice.
  """
  create = jax.process_count() == 1
  if not create:  # Orbax then leaves the folder to us
    folder.mkdir(parents=True, exist_ok=True)
  options = ocp.CheckpointManagerOptions(
    max_to_keep=keep,
    enable_async_checkpointing=background,
    create=create,
    multiprocessing_options=_alone_among_processes(),
  )
  return ocp.CheckpointManager(folder.resolve(), options=options, item_handlers=handlers)


def _alone_among_processes() -> ocp.options.MultiprocessingOptions:
  """Orbax would wait for the other processes of a run, who have folders of their own."""
  if jax.process_count() == 1:
    return ocp.options.MultiprocessingOptions()
  me = jax.process_index()
  return ocp.options.MultiprocessingOptions(
    primary_host=me, active_processes={me}, barrier_sync_key_prefix=f'process_{me}'
  )


def check_sizes(folder: Path, most: int) -> None:
  """Looks at what the Zarr arrays in a folder say of themselves, before they are read.

  TensorStore ends the process when it finds no room for an array that is said to be enormous.

  Args:
    folder: with all in it.
    most: bytes that an array, and a chunk of one, may have.

  Raises:
    ValueError: where one is said to have more, or to be no such array.
  """
  for path in folder.rglob('.zarray'):
    try:
      said = json.loads(path.read_bytes())
      size = max(math.prod(said['shape']), math.prod(said['chunks']))
      size *= np.dtype(said['dtype']).itemsize
    except (KeyError, TypeError, SyntaxError) as error:  # the last of a damaged dtype
      raise ValueError(f'{path.parent.name} is no Zarr array') from error
    if size > most:
      raise ValueError(f'{path.parent.name} is said to have {size} bytes, not at most {most}')


def digest_of(arrays: Sequence[np.ndarray], about: dict[str, Any]) -> str:
  """Returns the SHA-256 of arrays and of what is told about them, `sha256` left out."""
  told = {name: value for name, value in about.items() if name != 'sha256'}
  digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
  for array in map(np.asarray, arrays):
    digest.update(f'{array.dtype}{array.shape}'.encode())
    digest.update(np.ascontiguousarray(array).tobytes())
  return digest.hexdigest()
