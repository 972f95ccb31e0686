"""Workloads: rows to sample, reward and learn from, and counts of their tokens.

One set of rows (K = 1). B batch, T time, V vocabulary, N rollouts, n rows.
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
from logjax.seqgan.critics import Critic
from logjax.seqgan.fit import fit_generators
from logjax.seqgan.rollout import prefixes_to_finish, rollout_sums
from logjax.seqgan.sampling import make_policy
from logjax.seqgan.sets import make_sets
from logjax.seqgan.state import SeqGAN, SeqGANState, create_seqgan_state
from logjax.training.progress import Progress
from logjax.training.runtime import quiet_runtime

_MAX_REJECTED = 0.01  # limit of the fraction of lines in another format
_MAX_VOCABULARY = 20_000


class Workload(NamedTuple):
  """Rows and a generator of similar rows.

  Attributes:
    name: 'synthetic' or 'real'.
    rows: shuffled, int32 [n, T].
    allowed: added to the generator's logits, [1, V].
    generator: parameters with the leading axis 1; None for initial parameters.
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
    """Returns `count` rows, [count, T], starting again from the first if there are fewer."""
    return self.rows[np.arange(count) % len(self.rows)]


def synthetic(vocabulary: int, length: int, count: int, seed: int) -> Workload:
  """Makes rows of uniform tokens without token 0, the end, so that all have T tokens."""
  rows = np.random.default_rng(seed).integers(PAD + 1, vocabulary, (count, length), np.int32)
  allowed = np.zeros((1, vocabulary), np.float32)
  allowed[:, PAD] = -np.inf
  return Workload('synthetic', rows, allowed)


def real(config: ml_collections.ConfigDict, devices: int) -> Workload:
  """Makes a workload from the abnormal lines of a log, as one set with its own vocabulary.

  The lines are masked and tokenised as by default. The generator is trained by maximum likelihood,
  so its sentences are about as long as the real rows.

  Args:
    config: of the benchmark.
    devices: limit of the devices to train on; 0 for all.

  Raises:
    LogjaxError: for a log without labels or abnormal lines, and as in `parse_blocks`.
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


def create_state(model: SeqGAN, workload: Workload, key: jax.Array) -> SeqGANState:
  """Returns an untrained state with the generator of the workload."""
  state = jax.jit(functools.partial(create_seqgan_state, model))(workload.allowed, key)
  if workload.generator is None:
    return state
  params = jax.tree.map(jnp.asarray, workload.generator)
  return state.replace(generator=state.generator.replace(params=params), rollout=params)


def count_tokens(sentences: np.ndarray) -> int:
  """Counts the tokens of sentences [..., T], the padding at the end of each included."""
  padding = np.asarray(sentences) == PAD
  return int(np.sum(np.cumsum(padding, axis=-1) - padding == 0))


def count_rollouts(
  model: SeqGAN, state: SeqGANState, sentences: jax.Array, keys: jax.Array
) -> tuple[int, int]:
  """Counts the tokens that the rollouts of a batch draw, given the same keys.

  The rollouts are run with a critic of token counts, so the numbers are exact.

  Args:
    model: with the number of rollouts and the treatment of equal prefixes in its `rewards`.
    state: with the rollout policy.
    sentences: int [1, B, T].
    keys: as given to `make_action_values`, [1, B].

  Returns:
    The number of tokens drawn, ends included; the number of sentences finished.
  """
  rewards = model.rewards

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
      share=rewards.share_equal_prefixes,
    )
    return sums, prefixes_to_finish(sentences, rewards.share_equal_prefixes)

  params = jax.tree.map(lambda x: x[0], state.rollout)
  sums, needed = map(np.asarray, run(params, state.allowed[0], sentences[0], keys[0]))
  # The sum over N rollouts of the prefix of length t includes N * t tokens of the prefix itself.
  in_prefix = rewards.rollouts * (np.arange(model.length) + 1)
  tokens = np.where(needed, sums.round().astype(np.int64) - in_prefix, 0).sum()
  return int(tokens), rewards.rollouts * int(needed.sum())


def _counting_critic() -> Critic:
  """Makes a critic with the number of tokens, the end included, as its score."""

  def read(memory, token: jax.Array):
    count, ended = memory
    return count + ~ended, ended | (token == PAD)

  return Critic(
    start=(jnp.int32(0), jnp.bool_(False)),
    read=read,
    settled=lambda memory: memory[1],
    score=lambda memory: memory[0].astype(jnp.float32),
  )
