"""The generator step of MaliGAN (Che et al. 2017, arXiv 1702.07983) for K sets at once.

An optimal discriminator D knows the ratio of a sentence's likelihoods among real and generated
sentences: r(x) = D(x) / (1 - D(x)). Sampled sentences with the weights r therefore stand in for
real ones, and the generator raises their likelihood:

  gradient = sum over i of (r(x_i) / sum over j of r(x_j) - b) * gradient of log p(x_i)

Differences from the paper:

- Sentences are drawn from the current generator in every step. The paper draws from a copy p' and
  renews it from time to time; here the copy is always new.
- The mixed variant is not implemented. It starts sentences with N tokens of a real one and lowers N
  to 0. Each real start would need several continuations with weights of their own.

Sentences are weighted whole, without rollouts.

K sets, B batch, T time.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logjax.seqgan.state import SeqGAN, SeqGANState
from logjax.seqgan.steps import make_policy_update, make_sampler
from logjax.training.parallel import (
  devices_of_step,
  gather_over_devices,
  share_of_device,
  sum_over_devices,
)


def importance(log_odds: jax.Array) -> jax.Array:
  """Computes normalised weights minus their mean, for ONE set: r_i / sum of r - 1 / B.

  r is the exponential of the log-odds, so a softmax computes the weights without overflow.

  The paper calls b a baseline and raises it from 0 to 1. The term b * gradient of log p has the
  expectation 0 for any b, so b only changes the variance. Normalised weights have the mean 1 / B,
  hence this value of b. With b = 1 all sentences would become less likely by about the same amount.

  Args:
    log_odds: log r of the sentences, [B].

  Returns:
    Values in [-1 / B, 1), [B].
  """
  return jax.nn.softmax(log_odds) - 1 / len(log_odds)


def make_maligan_step(model: SeqGAN, batch_size: int) -> Callable:
  """Makes the step of the generators: sample, weigh, update.

  Its batch is empty: the generators write it. Its keys have the shape [K, B, 2] as in
  `make_generator_step`; only the first of each pair is used, and keys from number `batch_size` on
  fill the devices up.

  Two metrics are its own. `reward` is the mean of D. `effective` is the effective sample size,
  1 / sum of squared weights.
  """
  sample, update = make_sampler(model), make_policy_update(model)

  def log_odds_of(params: Any, sentences: jax.Array) -> jax.Array:
    logits = jax.vmap(lambda s: model.discriminator.apply({'params': params}, s))(sentences)
    return logits[:, 1] - logits[:, 0]

  def step(state: SeqGANState, batch: Any, keys: jax.Array):
    del batch
    sentences = sample((state.generator.params, state.allowed), keys[:, :, 0])
    local = jax.vmap(log_odds_of)(state.discriminator.params, sentences)
    # Weights are normalised over the sentences of all devices, without the padding.
    log_odds = gather_over_devices(local, axis=1)[:, :batch_size]
    values = jax.vmap(importance)(log_odds)
    # Back to this device's part. All tokens of a sentence have the same value.
    local_values = share_of_device(values, local.shape[1], axis=1)
    local_values = jnp.broadcast_to(local_values[:, :, None], sentences.shape)
    weights = share_of_device(jnp.ones_like(values), local.shape[1], axis=1)
    generator, metrics = jax.vmap(update)(state, sentences, local_values, weights)
    effective = 1 / jnp.sum(jax.nn.softmax(log_odds) ** 2, axis=1)
    common = {'reward': jax.nn.sigmoid(log_odds).mean(axis=1), 'effective': effective}
    # Equal on all devices, but `pmap` demands outputs that were summed over the devices.
    common = sum_over_devices(jax.tree.map(lambda x: x / devices_of_step(), common))
    return state.replace(generator=generator), metrics | common

  return step
