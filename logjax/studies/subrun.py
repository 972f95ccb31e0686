"""A run inside a study: quiet, trained once, and read from its workdir afterwards.

A study (a ladder, a comparison) is many runs, each in a workdir below that of the study.
"""

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


class SubRun(NamedTuple):
  """The results of one run of a study.

  Attributes:
    results: the content of results.json.
    scores: the content of scores.npz.
  """

  results: dict
  scores: TestScores


@contextlib.contextmanager
def claim_study(config: ml_collections.ConfigDict, workdir: Path) -> Iterator[None]:
  """Claims the workdir of a study; frees it after an error if no run has read its log.

  Raises:
    LogjaxError: the workdir belongs to another config or to another process.
  """
  resolved = resolve(config)
  with lock(workdir) or contextlib.nullcontext():
    claim_workdir(resolved, workdir)
    try:
      yield
    except LogjaxError:
      # Two folders down: steps/<name>/corpus.json, cells/<name>/corpus.json.
      if hosts.first() and not any(workdir.glob('*/*/corpus.json')):
        (workdir / 'config.json').unlink(missing_ok=True)
      raise


def run_once(
  config: ml_collections.ConfigDict,
  workdir: Path,
  cache: Path,
  command: str,
  *,
  stopping: Stopping | None = None,
) -> SubRun:
  """Trains and tests one configuration, unless its workdir has the results already.

  Args:
    config: of the run, not yet resolved.
    workdir: of the run; runs with the same parent folder reuse each other's oversamplers.
    cache: the folder of simulated corpora.
    command: the command line of the study.
    stopping: of the process; None if no signal is answered.

  Raises:
    LogjaxError: as `experiment.train`, after the name of the run.
  """
  try:
    resolved = resolve(config)
    shared = workdir.parent / 'shared'
    run = open_run(resolved, workdir, cache, quiet=True, shared=shared, stopping=stopping)
    results, scores = workdir / 'results.json', workdir / 'scores.npz'
    finished = all(path.exists() for path in (results, scores, workdir / 'report.html'))
    with run.lock or contextlib.nullcontext():
      if not hosts.from_first(finished):
        experiment.train(run, command, keep_scores=True)
        _free_memory()
      hosts.wait('results')
      return SubRun(read_json(results, dict, REMOVE), load_scores(scores))
  except LogjaxError as error:
    raise LogjaxError(f'{workdir.name}: {error}') from error


def _free_memory() -> None:
  """Frees the compiled programs of a run, and returns the memory to the system.

  Each run compiles its own programs, and Linux limits the memory mappings of a process. Without
  `malloc_trim` the C library would keep the memory that the compiler's threads have freed: twice as
  much as the process uses.
  """
  jax.clear_caches()
  gc.collect()
  with contextlib.suppress(AttributeError):  # not in every C library
    ctypes.CDLL(None).malloc_trim(0)


def common_blocks(subruns: Sequence[SubRun], workdir: Path) -> dict[str, Any]:
  """Collects the blocks of a study's JSON that describe all of its runs.

  Returns:
    `origin`, `corpus` and `versions` of the first run; `git_commit` and `device`, every value once;
    `seconds`, the sum over all runs, those of earlier calls included.

  Raises:
    LogjaxError: the runs are of different logs.
  """
  first = subruns[0].results
  if len({subrun.results['corpus']['sha256'] for subrun in subruns}) > 1:
    raise LogjaxError(
      f'the log has changed since the run in {workdir} began: choose another --workdir'
    )

  def all_of(name: str) -> str:
    return '; '.join(dict.fromkeys(str(subrun.results[name]) for subrun in subruns))

  return {
    'origin': first['origin'],
    'corpus': first['corpus'],
    'versions': first['versions'],
    'device': all_of('device'),
    'git_commit': all_of('git_commit'),
    'seconds': round(sum(sum(subrun.results['seconds'].values()) for subrun in subruns), 1),
  }
