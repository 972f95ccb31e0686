"""A run as a part of a larger one: quiet, done once, and restored from its workdir afterwards."""

import contextlib
import ctypes
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections

from logjax import experiment
from logjax.errors import LogjaxError
from logjax.evaluation.scores import TestScores, load_scores
from logjax.files import read_json
from logjax.run import REMOVE, claim_workdir, lock, open_run
from logjax.settings import resolve
from logjax.training import hosts
from logjax.training.stopping import Stopping


class Part(NamedTuple):
  """What a part left in its workdir.

  Attributes:
    results: its results.json.
    scores: its scores.npz.
  """

  results: dict
  scores: TestScores


@contextlib.contextmanager
def claimed(config: ml_collections.ConfigDict, workdir: Path) -> Iterator[None]:
  """Claims the workdir of a larger run; frees it after an error if no part has read its log.

  Raises:
    LogjaxError: when the workdir belongs to another config, or to another process.
  """
  resolved = resolve(config)
  with lock(workdir) or contextlib.nullcontext():
    claim_workdir(resolved, workdir)
    try:
      yield
    except LogjaxError:
      if hosts.first() and not any(workdir.glob('*/*/corpus.json')):
        (workdir / 'config.json').unlink(missing_ok=True)
      raise


def do_part(
  config: ml_collections.ConfigDict,
  workdir: Path,
  cache: Path,
  command: str,
  *,
  stopping: Stopping | None = None,
) -> Part:
  """Trains and tests one configuration, unless its workdir has that already.

  Args:
    config: of the part, not yet resolved.
    workdir: of the part; parts with the same parent share what they have in common.
    cache: where simulated corpora are kept.
    command: that started the larger run.
    stopping: of the process; None where no signal is answered.

  Raises:
    LogjaxError: as a run does, with the name of the part in front.
  """
  try:
    resolved = resolve(config)
    shared = workdir.parent / 'shared'
    run = open_run(resolved, workdir, cache, quiet=True, shared=shared, stopping=stopping)
    results, scores = workdir / 'results.json', workdir / 'scores.npz'
    finished = all(path.exists() for path in (results, scores, workdir / 'report.html'))
    if not hosts.from_first(finished):
      experiment.train(run, command, keep_scores=True)
      _free_memory()
    hosts.wait('results')
    return Part(read_json(results, dict, REMOVE), load_scores(scores))
  except LogjaxError as error:
    raise LogjaxError(f'{workdir.name}: {error}') from error


def _free_memory() -> None:
  """Frees what a part compiled, and gives the memory back to the system.

  Each part compiles its own programs, whose memory mappings Linux limits. What the compiler's
  threads freed the C library would keep: twice as much as the process uses.
  """
  jax.clear_caches()
  gc.collect()
  with contextlib.suppress(AttributeError):  # not in every C library
    ctypes.CDLL(None).malloc_trim(0)


def about_parts(parts: Sequence[Part], workdir: Path) -> dict[str, Any]:
  """What all parts of a larger run have in common, for its JSON.

  Returns:
    `origin`, `corpus` and `versions`; `seconds`, the sum of the parts' own, whatever call they were
    run by; `git_commit` and `device`, all that there were.

  Raises:
    LogjaxError: when the parts are of different logs.
  """
  first = parts[0].results
  if len({part.results['corpus']['sha256'] for part in parts}) > 1:
    raise LogjaxError(
      f'the log has changed since the run in {workdir} began: choose another --workdir'
    )

  def all_of(name: str) -> str:
    return '; '.join(dict.fromkeys(str(part.results[name]) for part in parts))

  return {
    'origin': first['origin'],
    'corpus': first['corpus'],
    'versions': first['versions'],
    'device': all_of('device'),
    'git_commit': all_of('git_commit'),
    'seconds': round(sum(sum(part.results['seconds'].values()) for part in parts), 1),
  }
