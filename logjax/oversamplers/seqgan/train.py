"""SeqGAN's state, its steps, and Algorithm 1, for K sets at once.

Every set has its own generator and discriminator; parameters have a leading axis K and steps are
vmapped over it. K sets, B batch, S steps, T time, V vocabulary, N rollouts.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from logjax.oversamplers.seqgan import losses
from logjax.oversamplers.seqgan.models import Discriminator, Generator
from logjax.oversamplers.seqgan.rollout import Critic, rewards
from logjax.oversamplers.seqgan.sampling import (
  is_inside,
  log_probabilities,
  make_policy,
  sample_sentence,
)
from logjax.training.parallel import sum_over_devices
from logjax.training.state import TrainState, create_state, make_train_step


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
class SeqGAN:
  """The models and optimisers: everything about SeqGAN that does not change in training."""

  generator: Generator
  discriminator: Discriminator
  generator_tx: optax.GradientTransformation
  discriminator_tx: optax.GradientTransformation
  length: int
  rollouts: int
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
    h, token = jnp.zeros(model.generator.hidden), jnp.int32(0)
    generator = model.generator.init(for_generator, h, token)['params']
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
      logs = log_probabilities(policy, sentence)
      return losses.maximum_likelihood(logs, is_inside(sentence)), {}

    return make_train_step(loss, model.generator_tx)(state, batch, keys)

  def step(state: SeqGANState, batch: Any, keys: jax.Array):
    generator, metrics = jax.vmap(one_set)(state.generator, state.allowed, batch, keys)
    return state.replace(generator=generator), metrics

  return step


def make_discriminator_step(model: SeqGAN) -> Callable:
  """Makes the step of the discriminators.

  Its batch is ((sentences [K, B, T], real [K, B]), weights [K, B]), its keys [K, B].
  """

  def loss(params, example, key):
    sentence, real = example
    logits = model.discriminator.apply(
      {'params': params}, sentence, training=True, rngs={'dropout': key}
    )
    accuracy = (jnp.argmax(logits) == real).astype(jnp.float32)
    return losses.discriminator(logits, real), {'accuracy': accuracy}

  def penalty(params):
    return losses.output_penalty(params['out'], model.discriminator_l2)

  one_set = make_train_step(loss, model.discriminator_tx, penalty)

  def step(state: SeqGANState, batch: Any, keys: jax.Array):
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

  return Critic(tables, score)


def make_generator_step(model: SeqGAN, block: int) -> Callable:
  """Makes the policy-gradient step: sample, roll out, reward, update (equations 4 to 6).

  Its batch is empty (the generators make their own), its keys are [K, B, 2].

  Args:
    model: models and optimisers.
    block: sentences whose rollouts run together; bounds the memory.
  """

  def one_set(state: SeqGANState, keys: jax.Array):
    allowed = state.allowed
    policy = make_policy(model.generator, state.generator.params, allowed)
    beta = make_policy(model.generator, state.rollout, allowed)
    critic = make_critic(model, state.discriminator.params)
    sentences = jax.vmap(lambda key: sample_sentence(policy, key, model.length))(keys[:, 0])
    values = jax.lax.map(
      lambda xs: rewards(beta, critic, *xs, model.rollouts),
      (sentences, keys[:, 1]),
      batch_size=block,
    )

    def loss(params):
      policy = make_policy(model.generator, params, allowed)
      logs = jax.vmap(lambda s: log_probabilities(policy, s))(sentences)
      return jnp.sum(jax.vmap(losses.policy_gradient)(logs, values)), logs

    gradients, logs = jax.grad(loss, has_aux=True)(state.generator.params)
    inside = jax.vmap(is_inside)(sentences)
    gradients, logs, rewarded, tokens, count = sum_over_devices(
      (gradients, logs.sum(), (values * inside).sum(), inside.sum(), len(sentences))
    )
    updates, opt_state = model.generator_tx.update(
      gradients, state.generator.opt_state, state.generator.params
    )
    generator = TrainState(
      step=state.generator.step + 1,
      params=optax.apply_updates(state.generator.params, updates),
      opt_state=opt_state,
    )
    metrics = {
      'reward': rewarded / tokens,
      'entropy': -logs / tokens,
      'tokens': tokens / count,
      'gradient_norm': optax.tree.norm(gradients),
    }
    return generator, metrics

  def step(state: SeqGANState, batch: Any, keys: jax.Array):
    del batch
    generator, metrics = jax.vmap(one_set)(state, keys)
    return state.replace(generator=generator), metrics

  return step


def update_rollout_policy(state: SeqGANState, rate: float) -> SeqGANState:
  """beta <- rate * beta + (1 - rate) * theta; the paper's Algorithm 1 has rate 0."""
  mix = jax.tree.map(lambda b, t: rate * b + (1 - rate) * t, state.rollout, state.generator.params)
  return state.replace(rollout=mix)


def make_sampler(model: SeqGAN, temperature: float = 1.0) -> Callable:
  """Makes `(state, keys [K, B]) -> sentences int32 [K, B, T]`, sampling from the generators."""

  def one_set(params: Any, allowed: jax.Array, keys: jax.Array) -> jax.Array:
    policy = make_policy(model.generator, params, allowed, temperature)
    return jax.vmap(lambda key: sample_sentence(policy, key, model.length))(keys)

  def sample(state: tuple[Any, jax.Array], keys: jax.Array) -> jax.Array:
    return jax.vmap(one_set)(*state, keys)

  return sample
