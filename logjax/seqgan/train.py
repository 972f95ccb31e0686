"""SeqGAN's state, its steps, and Algorithm 1, for K sets at once.

Every set has its own generator and discriminator; parameters have a leading axis K and steps are
vmapped over it. K sets, B batch, S steps, T time, V vocabulary, N rollouts.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct
from jax import lax

from logjax.seqgan import losses
from logjax.seqgan.models import Discriminator, Generator, tables_pay
from logjax.seqgan.rollout import (
  Critic,
  action_values,
  make_window_critic,
  rollout_sums,
)
from logjax.seqgan.sampling import (
  is_inside,
  log_probabilities,
  make_policy,
  sample_sentence,
)
from logjax.training.parallel import (
  devices_of_step,
  gather_over_devices,
  index_of_device,
  share_of_device,
  sum_over_devices,
)
from logjax.training.state import TrainState, apply_gradients, create_state, make_train_step


class SeqGANState(struct.PyTreeNode):
  """Generators, discriminators and rollout policies of K sets.

  Attributes:
    generator: in training; leading axis K on every leaf.
    discriminator: likewise.
    rollout: parameters of the rollout policy, beta.
    allowed: added to the logits, [K, V]: 0 for tokens of the set, -inf for others.
  """

  generator: TrainState
  discriminator: TrainState
  rollout: Any
  allowed: jax.Array


@dataclasses.dataclass(frozen=True)
class Rewards:
  """How sampled tokens are rewarded.

  Attributes:
    kind: 'discriminator' (equation 4), or a control: 'constant' (1 / 2) or 'random' in [0, 1).
    rollouts: N.
    block: rollouts that run together on a device; bounds the memory.
    share_equal_prefixes: whether equal prefixes of a batch share their rollouts.
    baseline: what is subtracted, see `losses.BASELINES`.
  """

  kind: str
  rollouts: int
  block: int
  share_equal_prefixes: bool
  baseline: str


@dataclasses.dataclass(frozen=True)
class SeqGAN:
  """The models and optimisers: everything about SeqGAN that does not change in training."""

  generator: Generator
  discriminator: Discriminator
  generator_tx: optax.GradientTransformation
  discriminator_tx: optax.GradientTransformation
  length: int
  rewards: Rewards
  discriminator_l2: float


def create(model: SeqGAN, allowed: jax.Array, key: jax.Array) -> SeqGANState:
  """Returns the state before training.

  Args:
    model: models and optimisers.
    allowed: [K, V].
    key: consumed; one draw for each set.
  """

  def one_set(key: jax.Array) -> tuple[TrainState, TrainState]:
    for_generator, for_discriminator = jax.random.split(key)
    start, token = model.generator.start, jnp.int32(0)
    generator = model.generator.init(for_generator, start, token)['params']
    sentence = jnp.zeros(model.length, jnp.int32)
    discriminator = model.discriminator.init(for_discriminator, sentence)['params']
    return (
      create_state(generator, model.generator_tx),
      create_state(discriminator, model.discriminator_tx),
    )

  generator, discriminator = jax.vmap(one_set)(jax.random.split(key, len(allowed)))
  rollout = jax.tree.map(jnp.copy, generator.params)
  return SeqGANState(generator, discriminator, rollout, jnp.array(allowed))


def make_mle_step(model: SeqGAN) -> Callable:
  """Makes the maximum-likelihood step of the generators.

  Its batch is (sentences [K, B, T], weights [K, B]), its keys [K, B].
  """

  def one_set(state: TrainState, allowed: jax.Array, batch: Any, keys: jax.Array):
    def loss(params, sentence, key):
      del key
      policy = make_policy(model.generator, params, allowed)
      return losses.maximum_likelihood(log_probabilities(policy, sentence)), {}

    return make_train_step(loss, model.generator_tx)(state, batch, keys)

  def step(state: SeqGANState, batch: Any, keys: jax.Array):
    generator, metrics = jax.vmap(one_set)(state.generator, state.allowed, batch, keys)
    return state.replace(generator=generator), metrics

  return step


def make_discriminator_step(model: SeqGAN) -> Callable:
  """Makes the step of the discriminators.

  Its batch is ((sentences [K, B, T], real [K, B]), weights [K, B]), its keys [K, B].
  """

  def loss(by_tables, params, example, key):
    sentence, real = example
    logits = model.discriminator.apply(
      {'params': params}, sentence, True, by_tables, rngs={'dropout': key}
    )
    accuracy = (jnp.argmax(logits) == real).astype(jnp.float32)
    return losses.discriminator(logits, real), {'accuracy': accuracy}

  def penalty(params):
    return losses.output_penalty(params['out'], model.discriminator_l2)

  def step(state: SeqGANState, batch: Any, keys: jax.Array):
    (sentences, _), _ = batch
    by_tables = tables_pay(model.discriminator.vocabulary, sentences[0].size)
    one_loss = functools.partial(loss, by_tables)
    one_set = make_train_step(one_loss, model.discriminator_tx, penalty)
    discriminator, metrics = jax.vmap(one_set)(state.discriminator, batch, keys)
    return state.replace(discriminator=discriminator), metrics

  return step


def make_critic(model: SeqGAN, params: Any) -> Critic:
  """Returns the discriminator ready to score, dropout off."""
  bound = {'params': params}
  tables = model.discriminator.apply(bound, method=model.discriminator.tables)

  def score(maxima: jax.Array) -> jax.Array:
    logits = model.discriminator.apply(bound, maxima, method=model.discriminator.score)
    return jax.nn.softmax(logits)[1]

  return make_window_critic(tables, score)


def rollouts_of_device(rollouts: int) -> jax.Array:
  """Which of the N rollouts this device runs; only inside a parallel step.

  Where N cannot be divided the last devices are given numbers from N on, which do nothing.
  """
  each = -(-rollouts // devices_of_step())
  return index_of_device() * each + jnp.arange(each)


def make_values(model: SeqGAN) -> Callable:
  """Makes `(state, sentences [K, B, T], keys [K, B]) -> Q [K, B, T]`, for a parallel step.

  All devices are given all sentences, do a share of the N rollouts of each, and end with the same
  values. Equal prefixes are thus found wherever they are, and the work is divided evenly.
  """
  rewards = model.rewards

  def of_rollouts(state: SeqGANState, sentences: jax.Array, keys: jax.Array) -> jax.Array:
    numbers = rollouts_of_device(rewards.rollouts)

    def one_set(xs):
      state, sentences, keys = xs
      beta = make_policy(model.generator, state.rollout, state.allowed)
      critic = make_critic(model, state.discriminator.params)
      return rollout_sums(
        beta,
        critic,
        sentences,
        keys,
        numbers,
        rollouts=rewards.rollouts,
        block=rewards.block,
        share=rewards.share_equal_prefixes,
      )

    # Sets in turn, not vmapped: each then stops as soon as its own sentences are finished.
    sums, whole = lax.map(one_set, (state, sentences, keys))
    finish = functools.partial(
      action_values, rollouts=rewards.rollouts, share=rewards.share_equal_prefixes
    )
    return jax.vmap(finish)(sentences, sum_over_devices(sums), whole)

  def constant(state: SeqGANState, sentences: jax.Array, keys: jax.Array) -> jax.Array:
    del state, keys
    return jnp.full(sentences.shape, 0.5)

  def random(state: SeqGANState, sentences: jax.Array, keys: jax.Array) -> jax.Array:
    del state
    uniform = jax.vmap(jax.vmap(lambda key: jax.random.uniform(key, sentences.shape[2:])))
    return uniform(keys)

  return {'discriminator': of_rollouts, 'constant': constant, 'random': random}[rewards.kind]


def make_policy_update(model: SeqGAN) -> Callable:
  """Makes `(state, sentences [B, T], values [B, T], weights [B]) -> (generator, metrics)`, ONE set.

  It follows the policy gradient of equation 5; the sentences are this device's share. Those of
  weight 0 only fill it up, and have the value 0.
  """

  def update(state: SeqGANState, sentences: jax.Array, values: jax.Array, weights: jax.Array):
    def loss(params):
      policy = make_policy(model.generator, params, state.allowed)
      logs = jax.vmap(lambda s: log_probabilities(policy, s))(sentences)
      return jnp.sum(jax.vmap(losses.policy_gradient)(logs, values)), logs

    gradients, logs = jax.grad(loss, has_aux=True)(state.generator.params)
    inside = jax.vmap(is_inside)(sentences)
    logs, tokens = (jnp.sum(weights * x.sum(axis=1)) for x in (logs, inside))
    gradients, logs, tokens, count = sum_over_devices((gradients, logs, tokens, weights.sum()))
    generator = apply_gradients(model.generator_tx, state.generator, gradients)
    metrics = {
      'entropy': -logs / tokens,
      'tokens': tokens / count,
      'gradient_norm': optax.tree.norm(gradients),
    }
    return generator, metrics

  return update


def make_generator_step(model: SeqGAN, batch_size: int) -> Callable:
  """Makes the policy-gradient step: sample, roll out, reward, update (equations 4 to 6).

  Its batch is empty (the generators make their own), its keys are [K, B, 2]; those from
  `batch_size` on only fill the devices up.
  """
  sample, values_of, update = make_sampler(model), make_values(model), make_policy_update(model)
  subtract_baseline = losses.BASELINES[model.rewards.baseline]

  def step(state: SeqGANState, batch: Any, keys: jax.Array):
    del batch
    mine = sample((state.generator.params, state.allowed), keys[:, :, 0])
    gathered = gather_over_devices((mine, keys[:, :, 1]), axis=1)
    sentences, reward_keys = jax.tree.map(lambda x: x[:, :batch_size], gathered)
    values = values_of(state, sentences, reward_keys)
    inside = jax.vmap(jax.vmap(is_inside))(sentences)
    # Every device has the same values; only their sum tells `pmap` so.
    reward = sum_over_devices((values * inside).sum((1, 2)) / inside.sum((1, 2)))
    values = jax.vmap(subtract_baseline)(values, inside)
    values = share_of_device(values, mine.shape[1], axis=1)
    weights = share_of_device(jnp.ones(sentences.shape[:2]), mine.shape[1], axis=1)
    generator, metrics = jax.vmap(update)(state, mine, values, weights)
    metrics['reward'] = reward / devices_of_step()
    return state.replace(generator=generator), metrics

  return step


def update_rollout_policy(state: SeqGANState, rate: float) -> SeqGANState:
  """beta <- rate * beta + (1 - rate) * theta; the paper's Algorithm 1 has rate 0."""
  return state.replace(rollout=_mix(state.rollout, state.generator.params, rate))


@jax.jit
def _mix(beta: Any, theta: Any, rate: float) -> Any:
  return jax.tree.map(lambda b, t: rate * b + (1 - rate) * t, beta, theta)


def make_sampler(model: SeqGAN, temperature: float = 1.0) -> Callable:
  """Makes `(state, keys [K, B]) -> sentences int32 [K, B, T]`, sampling from the generators."""

  def one_set(params: Any, allowed: jax.Array, keys: jax.Array) -> jax.Array:
    policy = make_policy(model.generator, params, allowed, temperature)
    return jax.vmap(lambda key: sample_sentence(policy, key, model.length))(keys)

  def sample(state: tuple[Any, jax.Array], keys: jax.Array) -> jax.Array:
    return jax.vmap(one_set)(*state, keys)

  return sample
