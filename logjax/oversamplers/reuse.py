"""A stage with equal inputs in several runs of a study: made once, then copied."""

import hashlib
import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from logjax.files import read_json, write_json
from logjax.run import SECONDS, Run, save_seconds, seconds_before
from logjax.settings import flatten
from logjax.training import hosts

_MEASURED = 'metrics.json'  # lines of metrics.jsonl


def reuse_stage(
  run: Run,
  folder: Path,
  arrays: Sequence[np.ndarray],
  fields: Sequence[str],
  make: Callable[[Path], None],
  phases: Sequence[str] = (),
) -> None:
  """Fills a stage's folder, or copies the result of another run with the same inputs.

  Args:
    run: opened; without `run.shared` the stage is always made.
    folder: of the stage.
    arrays: all arrays with an influence on the result.
    fields: all fields of the config with an influence, or groups of them.
    make: fills a folder, its marker file last.
    phases: of metrics.jsonl in this stage.
  """
  if run.shared is None:
    make(folder)
    return
  config = flatten(run.config.to_dict())
  used = {k: v for k, v in config.items() if any(k == f or k.startswith(f + '.') for f in fields)}
  digest = hashlib.sha256(json.dumps([jax.device_count(), used], sort_keys=True).encode())
  # The inputs name the folder, so equal inputs find the result of an earlier run.
  for array in arrays:
    digest.update(f'{array.dtype}{array.shape}'.encode() + np.ascontiguousarray(array).tobytes())
  source = run.shared / digest.hexdigest()[:32]
  new = hosts.from_first(hosts.first() and not source.exists())
  if not hosts.first():
    if new:
      make(folder)
    return
  progress = run.runtime.progress
  if new:
    partial, begin = source.with_suffix('.part'), time.monotonic()
    spent = seconds_before(run).get(folder.name, 0.0)  # seconds of killed calls
    shutil.rmtree(partial, ignore_errors=True)
    make(partial)
    write_json(partial / SECONDS, round(spent + time.monotonic() - begin, 3))
    if phases:
      write_json(partial / _MEASURED, progress.measured(*phases))
    partial.rename(source)
  advice = f'delete the folder {source} and run the same command again'
  if (source / _MEASURED).exists():
    progress.adopt(read_json(source / _MEASURED, list, advice), *phases)
  # A copy counts the time of making it, so that methods are compared fairly.
  progress.seconds[folder.name] = read_json(source / SECONDS, float, advice)
  shutil.rmtree(folder, ignore_errors=True)
  # Copied to another name first: a copy cut short by a kill has no marker file in `folder`.
  partial = folder.with_suffix('.part')
  shutil.rmtree(partial, ignore_errors=True)
  shutil.copytree(source, partial)
  partial.rename(folder)
  save_seconds(run)
