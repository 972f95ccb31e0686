"""MaliGAN's generator step (Che et al. 2017, arXiv 1702.07983), for K sets at once.

A discriminator D that is as good as can be knows how much likelier a sentence x is among the real
ones than among the generated: r(x) = D(x) / (1 - D(x)). Sampled sentences weighted by r thus stand
for real ones, and the generator raises their likelihood:

  gradient = sum over i of (r(x_i) / sum over j of r(x_j) - b) * gradient of log p(x_i)

Sentences are weighted whole, without rollouts. They are drawn from the generator itself in every
step, where the paper has a copy p' of it that is renewed now and then: this is the paper's
estimator with the copy always new. Of the paper's mixed variant, which begins sentences with N
tokens of a real one and lowers N to 0, nothing is implemented: each real beginning would need
several continuations that are weighted among themselves.

K sets, B batch, T time.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from logjax.seqgan.train import (
  SeqGAN,
  SeqGANState,
  make_policy_update,
  make_sampler,
)
from logjax.training.parallel import (
  devices_of_step,
  gather_over_devices,
  share_of_device,
  sum_over_devices,
)


def importance(log_odds: jax.Array) -> jax.Array:
  """Normalised weights less their mean: r_i / sum of r - 1 / B, in [-1 / B, 1), for ONE set.

  r is the exponential of the log-odds, so that a softmax gives the weights whatever their size.

  The paper calls b a baseline and lets it grow from 0 to 1. It subtracts b times the gradient of
  log p, whose expectation is 0 for any b, so b decides about variance only. Since weights that
  are normalised have the mean 1 / B, so has the baseline here: with b = 1 all sentences would be
  made less likely, each by about as much as the next.

  Args:
    log_odds: log r of the sentences, [B].
  """
  return jax.nn.softmax(log_odds) - 1 / len(log_odds)


def make_maligan_step(model: SeqGAN, batch_size: int) -> Callable:
  """Makes the step of the generators: sample, weigh, update.

  Its batch is empty (the generators make their own), its keys are [K, B, 2], of which the first
  are used; those from `batch_size` on only fill the devices up. The metric `reward` is
  the mean of D; `effective` is the number of equally weighted sentences that would vary as much as
  the weighted ones, 1 / sum of squared weights.
  """
  sample, update = make_sampler(model), make_policy_update(model)

  def log_odds_of(params: Any, sentences: jax.Array) -> jax.Array:
    logits = jax.vmap(lambda s: model.discriminator.apply({'params': params}, s))(sentences)
    return logits[:, 1] - logits[:, 0]

  def step(state: SeqGANState, batch: Any, keys: jax.Array):
    del batch
    sentences = sample((state.generator.params, state.allowed), keys[:, :, 0])
    mine = jax.vmap(log_odds_of)(state.discriminator.params, sentences)
    log_odds = gather_over_devices(mine, axis=1)[:, :batch_size]
    # Normalised over the sentences of all devices.
    values = jax.vmap(importance)(log_odds)
    own = share_of_device(values, mine.shape[1], axis=1)
    own = jnp.broadcast_to(own[:, :, None], sentences.shape)
    weights = share_of_device(jnp.ones_like(values), mine.shape[1], axis=1)
    generator, metrics = jax.vmap(update)(state, sentences, own, weights)
    effective = 1 / jnp.sum(jax.nn.softmax(log_odds) ** 2, axis=1)
    whole = {'reward': jax.nn.sigmoid(log_odds).mean(axis=1), 'effective': effective}
    # Every device has the same numbers; only their sum tells `pmap` so.
    whole = sum_over_devices(jax.tree.map(lambda x: x / devices_of_step(), whole))
    return state.replace(generator=generator), metrics | whole

  return step
