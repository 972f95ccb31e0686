"""The training steps of SeqGAN for K sets at once, and sampling from its generators.

Each `make_*_step` returns a pure function `step(state, batch, keys) -> (state, metrics)` for
`training.parallel.parallel`. It runs on one device with this device's part of the batch, and sums
gradients and metrics over all devices. Metrics have the shape [K].

Keys belong to examples. When the devices do not divide a batch, examples of weight 0 fill it up.

K sets, B batch, T time, V vocabulary, N rollouts.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from logjax.seqgan import losses
from logjax.seqgan.critics import Critic, make_window_critic
from logjax.seqgan.rollout import action_values, rollout_sums
from logjax.seqgan.sampling import (
  is_inside,
  log_probabilities,
  make_policy,
  sample_sentence,
)
from logjax.seqgan.state import SeqGAN, SeqGANState
from logjax.seqgan.tables import tables_are_faster
from logjax.training.parallel import (
  devices_of_step,
  gather_over_devices,
  index_of_device,
  share_of_device,
  sum_over_devices,
)
from logjax.training.state import TrainState, apply_gradients, make_train_step


def make_sampler(model: SeqGAN, temperature: float = 1.0) -> Callable:
  """Makes a sampler of the generators.

  Returns:
    `((params, allowed), keys [K, B]) -> sentences`, int32 [K, B, T].
  """

  def one_set(params: Any, allowed: jax.Array, keys: jax.Array) -> jax.Array:
    policy = make_policy(model.generator, params, allowed, temperature)
    return jax.vmap(lambda key: sample_sentence(policy, key, model.length))(keys)

  def sample(state: tuple[Any, jax.Array], keys: jax.Array) -> jax.Array:
    return jax.vmap(one_set)(*state, keys)

  return sample


def make_mle_step(model: SeqGAN) -> Callable:
  """Makes the maximum-likelihood step of the generators.

  Its batch is (sentences [K, B, T], weights [K, B]), its keys have the shape [K, B].
  """

  def one_set(state: TrainState, allowed: jax.Array, batch: Any, keys: jax.Array):
    def loss(params, sentence, key):
      del key  # Nothing is drawn in this step.
      policy = make_policy(model.generator, params, allowed)
      return losses.maximum_likelihood(log_probabilities(policy, sentence)), {}

    return make_train_step(loss, model.generator_tx)(state, batch, keys)

  def step(state: SeqGANState, batch: Any, keys: jax.Array):
    generator, metrics = jax.vmap(one_set)(state.generator, state.allowed, batch, keys)
    return state.replace(generator=generator), metrics

  return step


def make_discriminator_step(model: SeqGAN) -> Callable:
  """Makes the cross-entropy step of the discriminators.

  Its batch is ((sentences [K, B, T], real [K, B]), weights [K, B]), its keys, for dropout, have
  the shape [K, B].
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
    # sentences[0] has B * T positions: one set's part of this device.
    by_tables = tables_are_faster(model.discriminator.vocabulary, sentences[0].size)
    one_loss = functools.partial(loss, by_tables)
    one_set = make_train_step(one_loss, model.discriminator_tx, penalty)
    discriminator, metrics = jax.vmap(one_set)(state.discriminator, batch, keys)
    return state.replace(discriminator=discriminator), metrics

  return step


def make_critic(model: SeqGAN, params: Any) -> Critic:
  """Makes a critic of one discriminator; its score is the probability of real, without dropout."""
  bound = {'params': params}
  tables = model.discriminator.apply(bound, method=model.discriminator.tables)

  def score(maxima: jax.Array) -> jax.Array:
    logits = model.discriminator.apply(bound, maxima, method=model.discriminator.classify_maxima)
    return jax.nn.softmax(logits)[1]

  return make_window_critic(tables, score)


def rollouts_of_device(rollouts: int) -> jax.Array:
  """Returns the numbers of the rollouts to run on this device; only inside a parallel step.

  The N rollouts are divided into contiguous parts of ceil(N / devices). With N = 5 on 2 devices the
  parts are [0, 1, 2] and [3, 4, 5]: numbers from N on fill the last part up and do nothing.
  """
  part = -(-rollouts // devices_of_step())  # rounded up
  return index_of_device() * part + jnp.arange(part)


def make_action_values(model: SeqGAN) -> Callable:
  """Makes the function of the action values, for use inside a parallel step.

  Every device receives all sentences and runs a part of the N rollouts of each, so the work is
  divided evenly and equal prefixes are found across the whole batch. All devices return the same.

  Returns:
    `(state, sentences [K, B, T], keys [K, B]) -> Q`, [K, B, T].
  """
  rewards = model.rewards

  def by_rollouts(state: SeqGANState, sentences: jax.Array, keys: jax.Array) -> jax.Array:
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

    # Sets one after the other, not vmapped: vmapped loops run until the slowest set has finished.
    sums, scores = lax.map(one_set, (state, sentences, keys))
    finish = functools.partial(
      action_values, rollouts=rewards.rollouts, share=rewards.share_equal_prefixes
    )
    return jax.vmap(finish)(sentences, sum_over_devices(sums), scores)

  def constant(state: SeqGANState, sentences: jax.Array, keys: jax.Array) -> jax.Array:
    del state, keys
    return jnp.full(sentences.shape, 0.5)

  def random(state: SeqGANState, sentences: jax.Array, keys: jax.Array) -> jax.Array:
    del state
    uniform = jax.vmap(jax.vmap(lambda key: jax.random.uniform(key, sentences.shape[2:])))
    return uniform(keys)

  return {'discriminator': by_rollouts, 'constant': constant, 'random': random}[rewards.kind]


def make_policy_update(model: SeqGAN) -> Callable:
  """Makes the update by the policy gradient of equation 5, for ONE set in a parallel step.

  Returns:
    `(state, sentences [B, T], values [B, T], weights [B]) -> (generator, metrics)`. The batch is
    this device's part. Sentences of weight 0 fill it up and must have the value 0.
  """

  def update(state: SeqGANState, sentences: jax.Array, values: jax.Array, weights: jax.Array):
    assert values.shape == sentences.shape  # Other shapes would broadcast silently.

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
      # The mean of -log p over sampled tokens estimates the entropy of a token, in nats.
      'entropy': -logs / tokens,
      'tokens': tokens / count,
      'gradient_norm': optax.tree.norm(gradients),
    }
    return generator, metrics

  return update


def make_generator_step(model: SeqGAN, batch_size: int) -> Callable:
  """Makes the policy-gradient step: sample, roll out, reward, update (equations 4 to 6).

  Its batch is empty: the generators write it. Its keys have the shape [K, B, 2], one for the
  sentence and one for its rollouts. Keys from number `batch_size` on fill the devices up.
  """
  sample, update = make_sampler(model), make_policy_update(model)
  values_of = make_action_values(model)
  subtract_baseline = losses.BASELINES[model.rewards.baseline]

  def step(state: SeqGANState, batch: Any, keys: jax.Array):
    del batch
    local = sample((state.generator.params, state.allowed), keys[:, :, 0])  # this device's part
    # From here on all devices see the whole batch, without the sentences of the padding.
    gathered = gather_over_devices((local, keys[:, :, 1]), axis=1)
    sentences, reward_keys = jax.tree.map(lambda x: x[:, :batch_size], gathered)
    values = values_of(state, sentences, reward_keys)
    inside = jax.vmap(jax.vmap(is_inside))(sentences)
    # Every device has the same mean. `pmap` demands outputs that were summed over the devices,
    # so it is summed here and divided by their number below.
    reward = sum_over_devices((values * inside).sum((1, 2)) / inside.sum((1, 2)))
    values = jax.vmap(subtract_baseline)(values, inside)
    # Back to this device's part; padding gets the value 0 and the weight 0.
    values = share_of_device(values, local.shape[1], axis=1)
    weights = share_of_device(jnp.ones(sentences.shape[:2]), local.shape[1], axis=1)
    generator, metrics = jax.vmap(update)(state, local, values, weights)
    metrics['reward'] = reward / devices_of_step()
    return state.replace(generator=generator), metrics

  return step
