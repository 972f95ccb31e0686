"""Workloads: the rows that are sampled, rewarded and learned, and the tokens that this takes.

One set of rows (K = 1). B batch, T time, V vocabulary, N rollouts.
"""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from logjax.corpora.catalog import CATALOG
from logjax.corpora.labels import LineLabels
from logjax.corpora.parsing import parse_blocks
from logjax.corpora.reading import read_blocks
from logjax.errors import LogjaxError
from logjax.examples.text import PAD, fit_vocabulary, read_texts
from logjax.seqgan import train
from logjax.seqgan.fit import fit_generators
from logjax.seqgan.rollout import Critic, prefixes_to_finish, rollout_sums
from logjax.seqgan.sampling import make_policy
from logjax.seqgan.sets import make_sets
from logjax.training.progress import Progress
from logjax.training.runtime import quiet_runtime

_MAX_REJECTED = 0.01  # share of the lines that may fail to fit the format
_MAX_VOCABULARY = 20_000


class Workload(NamedTuple):
  """Rows and a generator of such rows.

  Attributes:
    name: 'synthetic' or 'real'.
    rows: shuffled, int32 [n, T].
    allowed: added to the generator's logits, [1, V].
    generator: its parameters, leading axis 1; None for initial ones.
  """

  name: str
  rows: np.ndarray
  allowed: np.ndarray
  generator: Any = None

  @property
  def vocabulary(self) -> int:
    """V."""
    return self.allowed.shape[1]

  @property
  def length(self) -> int:
    """T."""
    return self.rows.shape[1]

  def cycle(self, count: int) -> np.ndarray:
    """Returns `count` rows, [count, T]; the first ones again where there are fewer."""
    return self.rows[np.arange(count) % len(self.rows)]


class Rollouts(NamedTuple):
  """What the rewards of a batch need.

  Attributes:
    tokens: drawn to finish the prefixes, ends of sentences included.
    sentences: finished.
  """

  tokens: int
  sentences: int


def synthetic(vocabulary: int, length: int, count: int, seed: int) -> Workload:
  """Returns rows of uniform tokens; their end, token 0, is never drawn: all have T tokens."""
  rows = np.random.default_rng(seed).integers(PAD + 1, vocabulary, (count, length), np.int32)
  allowed = np.zeros((1, vocabulary), np.float32)
  allowed[:, PAD] = -np.inf
  return Workload('synthetic', rows, allowed)


def real(config: ml_collections.ConfigDict, devices: int) -> Workload:
  """Returns the abnormal rows of a log, as one set with its own vocabulary, and their generator.

  The lines are masked and tokenised as by default, and the generator is trained by maximum
  likelihood, so that what it writes ends where such rows do.

  Args:
    config: of the benchmark.
    devices: most devices to train on; 0 for all.

  Raises:
    LogjaxError: when the log has no labels or no abnormal line, and as `parse_blocks` does.
  """
  settings = config.benchmark
  logs = parse_blocks(
    read_blocks([Path(settings.log)]),
    CATALOG[settings.log_format].format,
    labels=LineLabels(),
    max_rejected=_MAX_REJECTED,
  )
  messages = logs.frame.filter(logs.frame['abnormal'])['message']
  if not logs.labelled or messages.is_empty():
    raise LogjaxError(
      f'--config.benchmark.log={settings.log} has no line labelled abnormal in the format '
      f'{settings.log_format}: name a log that has'
    )
  texts = read_texts(messages)
  vocabulary = fit_vocabulary(
    texts, np.arange(len(messages)), max_vocabulary=_MAX_VOCABULARY, kept_numbers=0
  )
  rows = vocabulary.encode(texts.texts, settings.length)[texts.index]
  sets = make_sets(rows, [np.random.default_rng(config.seed).permutation(len(rows))])
  seqgan = config.seqgan.copy_and_resolve_references()
  seqgan.mle_epochs = settings.mle_epochs
  key = jax.random.fold_in(jax.random.key(config.seed), 1)
  generators = fit_generators(
    seqgan,
    sets,
    method='mle',
    key=key,
    runtime=quiet_runtime(devices)._replace(progress=Progress()),
  )
  return Workload('real', sets.rows[0], sets.allowed, generators.params)


def create_state(model: train.SeqGAN, workload: Workload, key: jax.Array) -> train.SeqGANState:
  """Returns the state that a workload is measured in, with the workload's generator."""
  state = jax.jit(functools.partial(train.create, model))(workload.allowed, key)
  if workload.generator is None:
    return state
  params = jax.tree.map(jnp.asarray, workload.generator)
  return state.replace(generator=state.generator.replace(params=params), rollout=params)


def count_tokens(sentences: np.ndarray) -> int:
  """Counts the tokens of sentences [..., T], and the paddings that end them."""
  ended = np.cumsum(np.asarray(sentences) == PAD, axis=-1)
  return int(np.sum(ended - (np.asarray(sentences) == PAD) == 0))


def count_rollouts(
  model: train.SeqGAN, state: train.SeqGANState, sentences: jax.Array, keys: jax.Array
) -> Rollouts:
  """Counts what the rollouts of a batch draw until each sentence ends, given the same keys.

  Args:
    model: whose `rewards` say how many rollouts, and whether equal prefixes share them.
    state: with the rollout policy.
    sentences: int [1, B, T].
    keys: as given to `make_values`, [1, B].
  """
  rewards, length = model.rewards, model.length
  share = rewards.share_equal_prefixes

  @jax.jit
  def run(params, allowed, sentences, keys):
    sums, _ = rollout_sums(
      make_policy(model.generator, params, allowed),
      _counting_critic(),
      sentences,
      keys,
      jnp.arange(rewards.rollouts),
      rollouts=rewards.rollouts,
      block=rewards.block,
      share=share,
    )
    return sums, prefixes_to_finish(sentences, share)

  params = jax.tree.map(lambda x: x[0], state.rollout)
  sums, needed = map(np.asarray, run(params, state.allowed[0], sentences[0], keys[0]))
  given = rewards.rollouts * (np.arange(length) + 1)  # tokens of the N copies of each prefix
  tokens = np.where(needed, sums.round().astype(np.int64) - given, 0).sum()
  return Rollouts(int(tokens), rewards.rollouts * int(needed.sum()))


def _counting_critic() -> Critic:
  """A critic whose score of a sentence is the number of its tokens, its end included."""

  def read(memory, token: jax.Array):
    count, ended = memory
    return count + ~ended, ended | (token == PAD)

  return Critic(
    start=(jnp.int32(0), jnp.bool_(False)),
    read=read,
    settled=lambda memory: memory[1],
    score=lambda memory: memory[0].astype(jnp.float32),
  )
