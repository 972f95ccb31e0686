"""Follows the training on an oracle's rows: judges generators, keeps checkpoints, watches the time.

The workdir has

  curve.jsonl  one line an evaluation: stage, epoch, seconds of training in the stage, measures
  checkpoint/  the state of the training, how far it is, and how long it took

A checkpoint is written whole or not at all, and after the curve's line for the same epoch; lines
beyond the checkpoint, which a killed run can leave, are written anew.
"""

import json
import time
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np

from logjax.benchmarks.oracle.judge import OracleMetrics as Judge
from logjax.benchmarks.oracle.model import SequenceModel as Writer
from logjax.errors import LogjaxError
from logjax.seqgan.fit import STAGES
from logjax.seqgan.models import Generator
from logjax.seqgan.state import SeqGANState
from logjax.training.checkpoint import restore_params, save_params
from logjax.training.runtime import Runtime

MLE, PRETRAIN, ADVERSARIAL = STAGES
# A killed run loses no more than this, and the epoch it was in.
_SECONDS_BETWEEN_CHECKPOINTS = 120.0


class OutOfTime(Exception):
  """The minutes for training are used up; what was reached is recorded."""


class Recorder:
  """Records one run; `start` comes first, then `watch` after every epoch.

  Attributes:
    done: finished epochs of every stage.
    scheduled: epochs that every stage should have.
    seconds: of training, by stage; and of 'evaluation'.
  """

  def __init__(
    self,
    config: ml_collections.ConfigDict,
    workdir: Path,
    judge: Judge,
    generator: Generator,
    key: jax.Array,
    runtime: Runtime,
  ):
    settings = config.seqgan
    counts = (settings.mle_epochs, settings.discriminator_rounds, settings.rounds)
    self.scheduled = dict(zip(STAGES, counts, strict=True))
    self.done = dict.fromkeys(STAGES, 0)
    self.seconds = dict.fromkeys((*STAGES, 'evaluation'), 0.0)
    self._every, self._limit = config.oracle.every, 60 * config.oracle.minutes
    self._curve, self._checkpoint = workdir / 'curve.jsonl', workdir / 'checkpoint'
    self._judge, self._generator, self._key, self._runtime = judge, generator, key, runtime
    self._mark = self._saved = time.monotonic()

  def start(self, state: SeqGANState) -> tuple[str, int, SeqGANState]:
    """Restores the last checkpoint, or judges the untrained generator.

    Args:
      state: before training; the structure of what is restored.

    Returns:
      Stage, its last finished epoch (-1 for none) and the state after it.
    """
    stage = MLE
    if _is_complete(self._checkpoint):
      stage, state = self._restore(state)
      self._runtime.progress.say(f'goes on after epoch {self.done[stage]} of {stage}')
    else:
      self._curve.unlink(missing_ok=True)
      self._judge_generator(stage, state)
    self._mark = self._saved = time.monotonic()
    return stage, self.done[stage] - 1, state

  def watch(self, stage: str, epoch: int, state: SeqGANState) -> None:
    """Takes note of a finished epoch, counted from 0.

    Raises:
      OutOfTime: when the minutes are used up.
    """
    now = time.monotonic()
    self.seconds[stage] += now - self._mark
    self.done[stage] = epoch + 1
    spent = self.seconds[PRETRAIN] + self.seconds[ADVERSARIAL]
    last = self.done[stage] == self.scheduled[stage]
    out_of_time = 0 < self._limit <= spent and not (stage == ADVERSARIAL and last)
    # The generator stays as it is while the discriminator is pretrained.
    due = stage != PRETRAIN and (self.done[stage] % self._every == 0 or last or out_of_time)
    if due:
      self._judge_generator(stage, state)
    if due or last or out_of_time or now - self._saved > _SECONDS_BETWEEN_CHECKPOINTS:
      self._save(stage, state)
    self._mark = time.monotonic()
    if out_of_time:
      raise OutOfTime

  def curve(self) -> list[dict[str, Any]]:
    """Returns all evaluations so far."""
    return [json.loads(line) for line in self._curve.read_text().splitlines()]

  def _judge_generator(self, stage: str, state: SeqGANState) -> None:
    """Adds a line to the curve."""
    begin = time.monotonic()
    params = jax.tree.map(lambda x: np.asarray(x)[0], state.generator.params)
    key = jax.random.fold_in(jax.random.fold_in(self._key, STAGES.index(stage)), self.done[stage])
    measures = self._judge.generator(Writer(self._generator, params), key)
    where = {'stage': stage, 'epoch': self.done[stage], 'seconds': round(self.seconds[stage], 1)}
    with self._curve.open('a') as file:
      file.write(json.dumps(where | measures, allow_nan=False) + '\n')
    self._runtime.progress.say(
      f'{stage} {self.done[stage]}: oracle NLL {measures["oracle_nll"]:.3f}, '
      f'generator NLL {measures["generator_nll"]:.3f}, self-BLEU-2 {measures["self_bleu_2"]:.3f}'
    )
    self.seconds['evaluation'] += time.monotonic() - begin

  def _save(self, stage: str, state: SeqGANState) -> None:
    progress = {
      'stage': np.int32(STAGES.index(stage)),
      'done': np.array(list(self.done.values()), np.int32),
      'seconds': np.array(list(self.seconds.values()), np.float64),
    }
    save_params(self._checkpoint, {'progress': progress, 'leaves': _leaves(state)})
    self._saved = time.monotonic()

  def _restore(self, state: SeqGANState) -> tuple[str, SeqGANState]:
    progress = {
      'stage': np.int32(0),
      'done': np.zeros(len(self.done), np.int32),
      'seconds': np.zeros(len(self.seconds)),
    }
    like = {'progress': progress, 'leaves': _leaves(state)}
    saved = restore_params(self._checkpoint, like)
    progress, leaves = saved['progress'], saved['leaves']
    self.done = dict(zip(self.done, progress['done'].tolist(), strict=True))
    self.seconds = dict(zip(self.seconds, progress['seconds'].tolist(), strict=True))
    state = jax.tree.unflatten(jax.tree.structure(state), [leaves[name] for name in sorted(leaves)])
    self._forget_later_lines()
    return STAGES[int(progress['stage'])], state

  def _forget_later_lines(self) -> None:
    """Drops from the curve what comes after the checkpoint, and a line that is not whole."""
    kept = []
    try:
      for line in self._curve.read_text().splitlines(keepends=True):
        if not line.endswith('\n'):
          break
        point = json.loads(line)
        if point['epoch'] <= self.done[point['stage']]:
          kept.append(line)
    except (OSError, ValueError, KeyError) as error:
      raise LogjaxError(f'{self._curve} is missing or damaged: choose another --workdir') from error
    partial = self._curve.with_name(self._curve.name + '.part')
    partial.write_text(''.join(kept))
    partial.replace(self._curve)


def _leaves(state: SeqGANState) -> dict[str, np.ndarray]:
  """The arrays of a state under names whose order is that of the tree."""
  return {f'{i:04}': np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(state))}


def _is_complete(checkpoint: Path) -> bool:
  """Whether a checkpoint was ever finished; Orbax names unfinished ones otherwise."""
  return checkpoint.is_dir() and any(child.name.isdigit() for child in checkpoint.iterdir())
