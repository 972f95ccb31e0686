"""A stage that several runs need alike, such as those of a comparison: made once and copied."""

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


def share_stage(
  run: Run,
  folder: Path,
  arrays: Sequence[np.ndarray],
  fields: Sequence[str],
  make: Callable[[Path], None],
  phases: Sequence[str] = (),
) -> None:
  """Fills a stage's folder, or copies the result of another run with the same inputs.

  Args:
    run: whose stage.
    folder: of the stage.
    arrays: all rows that decide the result.
    fields: all fields of the config that do, or groups of them.
    make: fills a folder, its marker file last.
    phases: those of metrics.jsonl that belong to the stage.
  """
  if run.shared is None:
    make(folder)
    return
  config = flatten(run.config.to_dict())
  used = {k: v for k, v in config.items() if any(k == f or k.startswith(f + '.') for f in fields)}
  digest = hashlib.sha256(json.dumps([jax.device_count(), used], sort_keys=True).encode())
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
    spent = seconds_before(run).get(folder.name, 0.0)  # by calls that were killed
    shutil.rmtree(partial, ignore_errors=True)
    make(partial)
    write_json(partial / SECONDS, round(spent + time.monotonic() - begin, 3))
    if phases:
      write_json(partial / _MEASURED, progress.measured(*phases))
    partial.rename(source)
  advice = f'delete the folder {source} and run the same command again'
  if (source / _MEASURED).exists():
    progress.adopt(read_json(source / _MEASURED, list, advice), *phases)
  # The time of the run that made it, so that methods are compared fairly.
  progress.seconds[folder.name] = read_json(source / SECONDS, float, advice)
  shutil.rmtree(folder, ignore_errors=True)
  # Copied beside its place and moved there, so that the marker of half a copy is never there.
  partial = folder.with_suffix('.part')
  shutil.rmtree(partial, ignore_errors=True)
  shutil.copytree(source, partial)
  partial.rename(folder)
  save_seconds(run)
