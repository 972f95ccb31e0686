"""Generators that are kept while they train, so that a killed run goes on at its last epoch."""

import functools
from typing import Any

import jax
import ml_collections

from logjax.seqgan.generators import make_model
from logjax.seqgan.sets import Sets
from logjax.seqgan.state import SeqGANState, create_seqgan_state
from logjax.training.runtime import Runtime

PHASE = 'generators'


def kept(settings: ml_collections.ConfigDict, sets: Sets, runtime: Runtime) -> dict[str, Any]:
  """Returns the arguments `start` and `watch` of `fit_generators`.

  Args:
    settings: `config.seqgan`.
    sets: the rows.
    runtime: of the run.
  """
  model = make_model(settings, sets.tokens.shape[1], sets.length)
  create = functools.partial(create_seqgan_state, model)
  found = runtime.checkpoints.restore(
    PHASE, jax.eval_shape(create, sets.allowed, jax.random.key(0))
  )
  start = None
  if found is not None:
    state, about = found
    start = (about['stage'], about['epoch'], state)

  def watch(stage: str, epoch: int, state: SeqGANState) -> None:
    runtime.checkpoints.save(state, {'stage': stage, 'epoch': epoch})

  return {'start': start, 'watch': watch}
