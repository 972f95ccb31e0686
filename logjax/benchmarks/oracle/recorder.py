"""Follows the training on an oracle's rows: judges generators, saves checkpoints, watches the time.

The workdir has

  curve.jsonl  one line an evaluation: stage, epoch, seconds of training in the stage, measures
  unfinished/  checkpoints: the state of the training, its position and times, and the curve so far
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from logjax.benchmarks.oracle.judge import OracleMetrics
from logjax.benchmarks.oracle.model import SequenceModel
from logjax.seqgan.fit import PHASE, STAGES
from logjax.seqgan.models import Generator
from logjax.seqgan.state import SeqGANState
from logjax.training.runtime import Runtime

MLE, PRETRAIN, ADVERSARIAL = STAGES


class OutOfTime(Exception):
  """The minutes for training are used up; the last epoch is recorded."""


class Recorder:
  """Records one run; `start` comes first, then `watch` after every epoch.

  Attributes:
    done: finished epochs of every stage.
    scheduled: epochs that every stage should have.
    seconds: of training, by stage; and of 'evaluation'.
    curve: all evaluations so far.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    workdir: Path,
    judge: OracleMetrics,
    generator: Generator,
    key: jax.Array,
    runtime: Runtime,
  ):
    settings = config.seqgan
    counts = (settings.mle_epochs, settings.discriminator_rounds, settings.rounds)
    self.scheduled = dict(zip(STAGES, counts, strict=True))
    self.done = dict.fromkeys(STAGES, 0)
    self.seconds = dict.fromkeys((*STAGES, 'evaluation'), 0.0)
    self.curve: list[dict[str, Any]] = []
    self._every, self._limit = config.oracle.every, 60 * config.oracle.minutes
    self._file = workdir / 'curve.jsonl'
    self._judge, self._generator, self._key, self._runtime = judge, generator, key, runtime
    self._mark = time.monotonic()

  def start(self, state: SeqGANState) -> tuple[str, int, SeqGANState]:
    """Restores the newest checkpoint, or judges the untrained generator.

    Args:
      state: before training.

    Returns:
      Stage, its last finished epoch (-1 for none) and the state after it.
    """
    stage = MLE
    found = self._runtime.checkpoints.restore(PHASE, state)
    if found is None:
      self._judge_generator(stage, state)
    else:
      state, saved = found
      stage, self.done, self.seconds = saved['stage'], saved['done'], saved['seconds']
      self.curve = saved['curve']
      self._runtime.progress.say(f'resumes after epoch {self.done[stage]} of {stage}')
    self._write_curve()
    self._mark = time.monotonic()
    return stage, self.done[stage] - 1, state

  def watch(self, stage: str, epoch: int, state: SeqGANState) -> None:
    """Records a finished epoch, counted from 0, and saves a checkpoint if one is due.

    Raises:
      OutOfTime: when the minutes are used up.
      Stopped: when the process was asked to stop.
    """
    self.seconds[stage] += time.monotonic() - self._mark
    self.done[stage] = epoch + 1
    spent = self.seconds[PRETRAIN] + self.seconds[ADVERSARIAL]
    last = self.done[stage] == self.scheduled[stage]
    out_of_time = 0 < self._limit <= spent and not (stage == ADVERSARIAL and last)
    # The generator does not change while the discriminator is pretrained.
    due = stage != PRETRAIN and (self.done[stage] % self._every == 0 or last or out_of_time)
    if due:
      self._judge_generator(stage, state)
      self._write_curve()
    about = {'stage': stage, 'done': self.done, 'seconds': self.seconds, 'curve': self.curve}
    self._runtime.checkpoints.save(state, about, last=due or last or out_of_time)
    self._mark = time.monotonic()
    if out_of_time:
      raise OutOfTime

  def _judge_generator(self, stage: str, state: SeqGANState) -> None:
    """Adds a point to the curve."""
    begin = time.monotonic()
    params = jax.tree.map(lambda x: np.asarray(x)[0], state.generator.params)
    key = jax.random.fold_in(jax.random.fold_in(self._key, STAGES.index(stage)), self.done[stage])
    measures = self._judge.generator(SequenceModel(self._generator, params), key)
    where = {'stage': stage, 'epoch': self.done[stage], 'seconds': round(self.seconds[stage], 1)}
    self.curve.append(where | measures)
    self._runtime.progress.say(
      f'{stage} {self.done[stage]}: oracle NLL {measures["oracle_nll"]:.3f}, '
      f'generator NLL {measures["generator_nll"]:.3f}, self-BLEU-2 {measures["self_bleu_2"]:.3f}'
    )
    self.seconds['evaluation'] += time.monotonic() - begin

  def _write_curve(self) -> None:
    lines = ''.join(json.dumps(point, allow_nan=False) + '\n' for point in self.curve)
    partial = self._file.with_name(self._file.name + '.part')
    partial.write_text(lines)
    partial.replace(self._file)
