"""The calls of the benchmark: steps of SeqGAN on a workload, with the work in each.

K = 1 set. B batch, T time, N rollouts.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from logjax.benchmarks.floor import Work
from logjax.benchmarks.workload import Workload, count_rollouts, count_tokens
from logjax.seqgan.critics import make_sentence_critic
from logjax.seqgan.rollout import rollout_sums
from logjax.seqgan.sampling import make_policy
from logjax.seqgan.state import SeqGAN, SeqGANState
from logjax.seqgan.steps import (
  make_action_values,
  make_discriminator_step,
  make_generator_step,
  make_mle_step,
  make_sampler,
  rollouts_of_device,
)
from logjax.training.parallel import gather_over_devices, scan_steps, sum_over_devices


class Case(NamedTuple):
  """The input of a call.

  Attributes:
    model: models and optimisers.
    state: their state, K = 1.
    workload: the rows.
    batch: B.
    sentences: number of sentences for 'sample'.
    mle_rows: number of rows for 'mle_epoch', rounded down to whole batches.
    key: not consumed; every call made from a case draws the same.
  """

  model: SeqGAN
  state: SeqGANState
  workload: Workload
  batch: int
  sentences: int
  mle_rows: int
  key: jax.Array


class Call(NamedTuple):
  """One call `step(state, batch, keys)`, the same each time.

  Attributes:
    step: for `parallel`.
    batch: whole arrays of the batch.
    keys: whole array of keys.
    axis: axis of both, divided among the devices.
    rows: number of sentences drawn, rewarded or learned.
    tokens: number of useful tokens.
    work: the unavoidable work.
  """

  step: Callable
  batch: Any
  keys: jax.Array
  axis: int
  rows: int
  tokens: int
  work: Work


def sample(case: Case) -> Call:
  """Samples sentences. Tokens: all drawn ones, the end of each sentence included."""
  keys = jax.random.split(case.key, (1, case.sentences))
  tokens = count_tokens(_draw(case, keys))
  sampler = make_sampler(case.model)

  def step(state, batch, keys):
    del batch
    return gather_over_devices(sampler((state.generator.params, state.allowed), keys), axis=1)

  return Call(step, jnp.zeros(keys.shape), keys, 1, case.sentences, tokens, Work(drawn=tokens))


def rollouts(case: Case) -> Call:
  """Runs the rollouts of a batch without a discriminator; the score is the sum of the token ids.

  Tokens: those of equation 4, drawn until each rollout ends, for every prefix before its end. If
  no sentence ends early these are N * (T - t) for a prefix of length t. If equal prefixes share
  their rollouts, only the first one counts.
  """
  model = case.model

  def step(state, sentences, keys):
    sentences, keys = gather_over_devices((sentences, keys), axis=1)
    rollout_params = jax.tree.map(lambda x: x[0], state.rollout)
    sums = rollout_sums(
      make_policy(model.generator, rollout_params, state.allowed[0]),
      make_sentence_critic(model.length, lambda sentence: jnp.sum(sentence).astype(jnp.float32)),
      sentences[0],
      keys[0],
      rollouts_of_device(model.rewards.rollouts),
      rollouts=model.rewards.rollouts,
      block=model.rewards.block,
      share=model.rewards.share_equal_prefixes,
    )
    return sum_over_devices(sums)

  call = rewards(case)
  return call._replace(step=step, work=Work(drawn=call.tokens))


def rewards(case: Case) -> Call:
  """Computes the action values of a batch (equation 4). Tokens: those of its rollouts."""
  sentences = jnp.asarray(case.workload.cycle(case.batch))[None]
  keys = jax.random.split(case.key, (1, case.batch))
  tokens, finished = count_rollouts(case.model, case.state, sentences, keys)
  values = make_action_values(case.model)

  def step(state, sentences, keys):
    return values(state, *gather_over_devices((sentences, keys), axis=1))

  work = Work(drawn=tokens, scored=finished + case.batch)
  return Call(step, sentences, keys, 1, case.batch, tokens, work)


def generator_step(case: Case) -> Call:
  """Takes one policy-gradient step. Tokens: the sampled ones and those of their rollouts."""
  keys = jax.random.split(case.key, (1, case.batch, 2))
  sentences = _draw(case, keys[:, :, 0])
  sampled = count_tokens(sentences)
  rolled_out, finished = count_rollouts(case.model, case.state, sentences, keys[:, :, 1])
  tokens = sampled + rolled_out
  work = Work(drawn=tokens, learned=sampled, scored=finished + case.batch)
  step = make_generator_step(case.model, case.batch)
  # The step writes its own sentences: the batch is not used.
  return Call(step, jnp.zeros(keys.shape), keys, 1, case.batch, tokens, work)


def discriminator_step(case: Case) -> Call:
  """Takes one step on a batch, every other row real. Tokens: those of the rows and their ends."""
  sample_key, step_key = jax.random.split(case.key)
  real = np.arange(case.batch) % 2 == 0
  generated = np.asarray(_draw(case, jax.random.split(sample_key, (1, case.batch))))[0]
  sentences = np.where(real[:, None], case.workload.cycle(case.batch), generated)[None]
  batch = ((jnp.asarray(sentences), jnp.asarray(real[None])), jnp.ones((1, case.batch)))
  keys, tokens = jax.random.split(step_key, (1, case.batch)), count_tokens(sentences)
  step = make_discriminator_step(case.model)
  return Call(step, batch, keys, 1, case.batch, tokens, Work(taught=case.batch))


def mle_epoch(case: Case) -> Call:
  """Trains one epoch by maximum likelihood. Tokens: those of the rows and their ends."""
  steps = case.mle_rows // case.batch
  rows = case.workload.cycle(steps * case.batch)
  shape = (steps, 1, case.batch)
  batch = (jnp.asarray(rows).reshape(*shape, -1), jnp.ones(shape))
  keys, tokens = jax.random.split(case.key, shape), count_tokens(rows)
  step = scan_steps(make_mle_step(case.model))
  return Call(step, batch, keys, 2, len(rows), tokens, Work(learned=tokens))


def _draw(case: Case, keys: jax.Array) -> jax.Array:
  """Returns the generator's sentences [1, B, T] for keys [1, B]."""
  state = case.state
  return jax.jit(make_sampler(case.model))((state.generator.params, state.allowed), keys)
