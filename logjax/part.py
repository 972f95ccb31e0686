"""A run as a part of a larger one: quiet, done once, and restored from its workdir afterwards."""

import gc
import json
from pathlib import Path
from typing import NamedTuple

import jax
import ml_collections

from logjax import experiment
from logjax.errors import LogjaxError
from logjax.scores import TestScores, load_scores
from logjax.settings import resolve
from logjax.stages import open_run


class Part(NamedTuple):
  """What a part left in its workdir.

  Attributes:
    results: its results.json.
    scores: its scores.npz.
  """

  results: dict
  scores: TestScores


def do_part(
  config: ml_collections.ConfigDict, workdir: Path, cache: Path, command: str
) -> tuple[Part, bool]:
  """Trains and tests one configuration, unless its workdir has that already.

  Args:
    config: of the part, not yet resolved.
    workdir: of the part; parts with the same parent share what they have in common.
    cache: where simulated corpora are kept.
    command: that started the larger run.

  Returns:
    The part, and whether it was done just now.

  Raises:
    LogjaxError: as a run does, with the workdir in front.
  """
  try:
    resolved, leaks = resolve(config)
    run = open_run(resolved, leaks, workdir, cache, quiet=True, shared=workdir.parent / 'shared')
    paths = workdir / 'results.json', workdir / 'scores.npz'
    new = not all(path.exists() for path in paths)
    if new:
      experiment.train(run, command, keep_scores=True)
      # Each part compiles its own programs, whose memory mappings Linux limits.
      jax.clear_caches()
      gc.collect()
    return Part(json.loads(paths[0].read_text()), load_scores(paths[1])), new
  except LogjaxError as error:
    raise LogjaxError(f'{workdir.name}: {error}') from error
