"""What the benchmark calls: SeqGAN's steps on a batch of a workload, and the work that is in them.

K = 1 set. B batch, S steps, T time, N rollouts.
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
from logjax.training.parallel import (
  gather_over_devices,
  scan_steps,
  sum_over_devices,
)


class Sizes(NamedTuple):
  """How many of what.

  Attributes:
    batch: B.
    sentences: that 'sample' draws.
    mle_rows: of 'mle_epoch'; whole batches of them are used.
  """

  batch: int
  sentences: int
  mle_rows: int


class Call(NamedTuple):
  """One call, the same each time: `step(state, batch, keys)`.

  Attributes:
    step: for `parallel`.
    batch: its arrays, whole.
    keys: likewise.
    axis: of both, that is divided among the devices.
    rows: sentences that are drawn, rewarded or learned.
    tokens: useful ones.
    work: what cannot be avoided.
  """

  step: Callable
  batch: Any
  keys: jax.Array
  axis: int
  rows: int
  tokens: int
  work: Work


def sample(
  model: SeqGAN, state: SeqGANState, workload: Workload, sizes: Sizes, key: jax.Array
) -> Call:
  """Free sampling; its tokens are those drawn, each sentence's end included."""
  keys = jax.random.split(key, (1, sizes.sentences))
  tokens = count_tokens(_draw(model, state, keys))
  sampler = make_sampler(model)

  def step(state, batch, keys):
    del batch
    drawn = sampler((state.generator.params, state.allowed), keys)
    return gather_over_devices(drawn, axis=1)

  batch = jnp.zeros(keys.shape)
  return Call(step, batch, keys, 1, sizes.sentences, tokens, Work(drawn=tokens))


def rollouts(
  model: SeqGAN, state: SeqGANState, workload: Workload, sizes: Sizes, key: jax.Array
) -> Call:
  """The rollouts of a batch alone, with a critic that adds token ids up.

  Its tokens are those that equation 4 needs: for every prefix that has not ended, what its N
  rollouts draw until they end, N * (T - t) where no sentence ends sooner. Where equal prefixes
  share their rollouts, only the first of them counts.
  """

  def step(state, sentences, keys):
    sentences, keys = gather_over_devices((sentences, keys), axis=1)
    policy = make_policy(
      model.generator, jax.tree.map(lambda x: x[0], state.rollout), state.allowed[0]
    )
    sums = rollout_sums(
      policy,
      make_sentence_critic(model.length, lambda sentence: jnp.sum(sentence).astype(jnp.float32)),
      sentences[0],
      keys[0],
      rollouts_of_device(model.rewards.rollouts),
      rollouts=model.rewards.rollouts,
      block=model.rewards.block,
      share=model.rewards.share_equal_prefixes,
    )
    return sum_over_devices(sums)

  call = rewards(model, state, workload, sizes, key)
  return call._replace(step=step, work=Work(drawn=call.tokens))


def rewards(
  model: SeqGAN, state: SeqGANState, workload: Workload, sizes: Sizes, key: jax.Array
) -> Call:
  """The action values of a batch (equation 4); its tokens are those of its rollouts."""
  sentences = jnp.asarray(workload.cycle(sizes.batch))[None]
  keys = jax.random.split(key, (1, sizes.batch))
  needed = count_rollouts(model, state, sentences, keys)
  values = make_action_values(model)

  def step(state, sentences, keys):
    return values(state, *gather_over_devices((sentences, keys), axis=1))

  work = Work(drawn=needed.tokens, judged=needed.sentences + sizes.batch)
  return Call(step, sentences, keys, 1, sizes.batch, needed.tokens, work)


def generator_step(
  model: SeqGAN, state: SeqGANState, workload: Workload, sizes: Sizes, key: jax.Array
) -> Call:
  """One policy-gradient step; its tokens are those sampled and those of their rollouts."""
  keys = jax.random.split(key, (1, sizes.batch, 2))
  sentences = _draw(model, state, keys[:, :, 0])
  sampled = count_tokens(sentences)
  needed = count_rollouts(model, state, sentences, keys[:, :, 1])
  tokens = sampled + needed.tokens
  work = Work(drawn=tokens, learned=sampled, judged=needed.sentences + sizes.batch)
  batch = jnp.zeros(keys.shape)  # Not used: the step makes its own.
  step = make_generator_step(model, sizes.batch)
  return Call(step, batch, keys, 1, sizes.batch, tokens, work)


def discriminator_step(
  model: SeqGAN, state: SeqGANState, workload: Workload, sizes: Sizes, key: jax.Array
) -> Call:
  """One step on a batch, every other row real; its tokens are those of the rows and their ends."""
  sample_key, step_key = jax.random.split(key)
  keys = jax.random.split(sample_key, (1, sizes.batch))
  is_real = np.arange(sizes.batch) % 2 == 0
  generated = np.asarray(_draw(model, state, keys))[0]
  sentences = np.where(is_real[:, None], workload.cycle(sizes.batch), generated)[None]
  batch = ((jnp.asarray(sentences), jnp.asarray(is_real[None])), jnp.ones((1, sizes.batch)))
  return Call(
    make_discriminator_step(model),
    batch,
    jax.random.split(step_key, (1, sizes.batch)),
    1,
    sizes.batch,
    count_tokens(sentences),
    Work(taught=sizes.batch),
  )


def mle_epoch(
  model: SeqGAN, state: SeqGANState, workload: Workload, sizes: Sizes, key: jax.Array
) -> Call:
  """An epoch of maximum likelihood; its tokens are those of the rows and their ends."""
  del state
  steps = sizes.mle_rows // sizes.batch
  rows = workload.cycle(steps * sizes.batch)
  shape = (steps, 1, sizes.batch)
  sentences = jnp.asarray(rows).reshape(*shape, -1)
  return Call(
    scan_steps(make_mle_step(model)),
    (sentences, jnp.ones(shape)),
    jax.random.split(key, shape),
    2,
    len(rows),
    count_tokens(rows),
    Work(learned=count_tokens(rows)),
  )


def _draw(model: SeqGAN, state: SeqGANState, keys: jax.Array) -> jax.Array:
  """The sentences [1, B, T] that the generator writes with these keys [1, B]."""
  return jax.jit(make_sampler(model))((state.generator.params, state.allowed), keys)
