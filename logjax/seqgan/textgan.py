"""TextGAN's two steps (Zhang et al., ICML 2017, arXiv 1706.03850), for K sets at once.

The generator matches the discriminator's features of real and of generated sentences, f and f~:

  generator      minimises  L_MMD, the squared maximum mean discrepancy of f and f~
  discriminator  maximises  L_GAN - lambda_r * L_recon + lambda_m * L_MMD

Implemented: L_GAN (as cross-entropy, with SeqGAN's dropout and penalty), L_MMD for both with a
mixture of Gaussian kernels, lambda_m, and gradients through soft tokens. Not implemented, or other
than in the paper:

  - L_recon and its lambda_r: it makes the discriminator reconstruct the latent code z from which
    the paper's generator derives a whole sentence. The generators here have no code: chance
    enters with every token that is sampled.
  - The soft-argmax softmax(L * logits), L large, replaces tokens in the paper, where z alone has
    chance. Here Gumbel noise has it: the largest of logits + noise is a sample. That token stays
    what it is, and softmax((logits + noise) / temperature) only takes its place in the derivative
    (`draw_soft`): the discriminator is given what the generator will write, and cannot tell it by
    its softness.
  - Pretraining is SeqGAN's, by maximum likelihood and on generated rows, instead of an
    autoencoder's for the generator and permuted sentences for the discriminator.

K sets, B batch, T time, V vocabulary, F features.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import lax

from logjax.examples.text import PAD
from logjax.seqgan import losses
from logjax.seqgan.sampling import Policy, make_policy
from logjax.seqgan.train import SeqGAN, SeqGANState
from logjax.training.parallel import (
  devices_of_step,
  gather_over_devices,
  share_of_device,
  sum_over_devices,
)
from logjax.training.state import TrainState, apply_gradients

# Squared bandwidths of the kernels, in units of the features' mean squared distance: the features'
# own scale changes as the discriminator learns. [logjax]
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def signs_of(real: jax.Array, weights: jax.Array) -> jax.Array:
  """Weights that turn a sum over examples into (mean of real) - (mean of generated), [B].

  All 0 where there are only real or only generated ones.

  Args:
    real: 1 or True for real examples, [B].
    weights: 0 for padding, [B].
  """
  ours, theirs = weights * real, weights * (1 - real)
  both = (ours.sum() > 0) & (theirs.sum() > 0)
  total = jnp.where(both, ours.sum(), jnp.inf), jnp.where(both, theirs.sum(), jnp.inf)
  return ours / total[0] - theirs / total[1]


def squared_distances(features: jax.Array) -> jax.Array:
  """Squared distances of all pairs of features [B, F], [B, B]."""
  inner = jnp.dot(features, features.T, precision=lax.Precision.HIGHEST)
  squares = jnp.diag(inner)
  return jnp.maximum(squares[:, None] + squares[None, :] - 2 * inner, 0.0)


def mean_squared_distance(features: jax.Array, signs: jax.Array) -> jax.Array:
  """Of all pairs [B, F], real and generated ones weighing the same in total."""
  weights = jnp.abs(signs)
  return weights @ squared_distances(features) @ weights / 4


def squared_mmd(features: jax.Array, signs: jax.Array, scale: jax.Array) -> jax.Array:
  """Squared maximum mean discrepancy of real and generated features, at least 0 but for rounding.

  E k(f, f') + E k(f~, f~') - 2 E k(f, f~), where expectations are means over all pairs of a batch,
  a feature with itself included, and k is the mean of exp(-|f - f'|^2 / (bandwidth * scale)).

  Args:
    features: [B, F].
    signs: 1 / n for each of n real ones, -1 / m for each of m generated ones, [B].
    scale: of squared distances, [].
  """
  ratios = squared_distances(features) / jnp.maximum(scale, 1e-6)
  kernel = sum(jnp.exp(-ratios / bandwidth) for bandwidth in BANDWIDTHS) / len(BANDWIDTHS)
  return signs @ kernel @ signs


def draw_soft(
  policy: Policy, key: jax.Array, length: int, temperature: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Draws a sentence of the generator in a form that has a derivative.

  Its value is one-hot; in its derivative a token is softmax((logits + noise) / temperature), here
  and where the generator reads it ("straight-through"): an approximation at every temperature.

  The end of a sentence is absorbing, also in the derivative: a token that becomes more of an end
  makes all later ones more of a padding. After the end there is padding without a derivative;
  an end that becomes less of one thus makes room for one token, behind which the sentence ends.

  Returns:
    Tokens [T, V]; log-probabilities of those drawn, [T], 0 after the end; and which were drawn
    and are not padding after the end, bool [T].
  """
  ended = jax.nn.one_hot(PAD, len(policy.allowed))

  def step(carry, key):
    h, token, alive = carry
    h, logits = policy.advance(h, jnp.dot(token, policy.inputs, precision=lax.Precision.HIGHEST))
    logits += policy.allowed
    noisy = logits + jax.random.gumbel(key, logits.shape)
    drawn = jnp.argmax(noisy)
    soft = jax.nn.softmax(noisy / temperature)
    inside = alive > 0
    # The bracket is 0: the value stays exactly one-hot.
    token = jax.nn.one_hot(drawn, len(logits)) + (soft - lax.stop_gradient(soft))
    token = jnp.where(inside, token, ended)
    log_probability = jnp.where(inside, jax.nn.log_softmax(logits)[drawn], 0.0)
    out = alive * token + (1 - alive) * ended, lax.stop_gradient(log_probability), inside
    return (h, token, alive * (1 - token[PAD])), out

  return lax.scan(step, (policy.start, ended, jnp.float32(1)), jax.random.split(key, length))[1]


def make_textgan_steps(
  model: SeqGAN, temperature: float, mmd_weight: float, batch_size: int
) -> tuple[Callable, Callable]:
  """Makes the steps of the generators and of the discriminators.

  Args:
    model: models and optimisers; its rewards are not used.
    temperature: of `draw_soft`.
    mmd_weight: lambda_m.
    batch_size: of the generators, B.
  """
  generator_step = _make_generator_step(model, temperature, batch_size)
  return generator_step, _make_discriminator_step(model, mmd_weight)


def _describe(model: SeqGAN, params: Any, sentences: jax.Array) -> jax.Array:
  """Features [B, F] of tokens [B, T] or soft tokens [B, T, V]."""
  bound, method = {'params': params}, model.discriminator.describe
  return jax.vmap(lambda s: model.discriminator.apply(bound, s, method=method))(sentences)


def _make_generator_step(model: SeqGAN, temperature: float, batch_size: int) -> Callable:
  """Its batch has the real sentences to match, [K, B, T], its keys are [K, B, 2].

  Of both, what comes from `batch_size` on only fills the devices up.
  """

  def one_set(state: SeqGANState, real: jax.Array, keys: jax.Array):
    judge = state.discriminator.params
    wanted = _describe(model, judge, real)
    weights = share_of_device(jnp.ones(batch_size), len(keys), axis=0)

    def share_of_loss(params):
      policy = make_policy(model.generator, params, state.allowed)
      draw = jax.vmap(lambda key: draw_soft(policy, key, model.length, temperature))
      sentences, logs, inside = draw(keys)
      features = jnp.stack([wanted, _describe(model, judge, sentences)])
      # [2, B, F] of all devices.
      features = gather_over_devices(features, axis=1)[:, :batch_size]
      marks = jnp.repeat(jnp.array([1.0, 0.0]), features.shape[1])
      features = features.reshape(len(marks), -1)
      signs = signs_of(marks, jnp.ones_like(marks))
      # Far from the real ones, with a scale that follows, moving nearer would seem to gain nothing.
      scale = lax.stop_gradient(mean_squared_distance(features, signs))
      # Every device has the whole loss; their gradients, of a share each, are summed.
      counts = tuple(jnp.sum(weights * x.sum(axis=1)) for x in (logs, inside))
      return squared_mmd(features, signs, scale) / devices_of_step(), counts

    (loss, counts), gradients = jax.value_and_grad(share_of_loss, has_aux=True)(
      state.generator.params
    )
    loss, (logs, tokens), count, gradients = sum_over_devices(
      (loss, counts, weights.sum(), gradients)
    )
    metrics = {
      'mmd': loss,
      'entropy': -logs / tokens,
      'tokens': tokens / count,
      'gradient_norm': optax.tree.norm(gradients),
    }
    return apply_gradients(model.generator_tx, state.generator, gradients), metrics

  def step(state: SeqGANState, batch: jax.Array, keys: jax.Array):
    generator, metrics = jax.vmap(one_set)(state, batch, keys[:, :, 0])
    return state.replace(generator=generator), metrics

  return step


def _make_discriminator_step(model: SeqGAN, mmd_weight: float) -> Callable:
  """Its batch and keys are those of `train.make_discriminator_step`."""

  def one_set(state: TrainState, batch: Any, keys: jax.Array):
    (sentences, real), weights = batch
    everyone = gather_over_devices((real, weights), axis=0)
    signs, total = signs_of(*everyone), jnp.maximum(everyone[1].sum(), 1e-9)

    def share_of_loss(params):
      def judge(features, key):
        bound, method = {'params': params}, model.discriminator.judge
        return model.discriminator.apply(
          bound, features, training=True, rngs={'dropout': key}, method=method
        )

      own = _describe(model, params, sentences)
      logits = jax.vmap(judge)(own, keys)
      cross_entropy = jnp.sum(weights * jax.vmap(losses.discriminator)(logits, real)) / total
      right = jnp.sum(weights * (jnp.argmax(logits, axis=1) == real)) / total
      features = gather_over_devices(own, axis=0)
      # The scale follows the features here: else they would grow for ever, which gains nothing.
      mmd = squared_mmd(features, signs, mean_squared_distance(features, signs))
      penalty = losses.output_penalty(params['out'], model.discriminator_l2)
      loss = cross_entropy + (penalty - mmd_weight * mmd) / devices_of_step()
      return loss, {'loss': cross_entropy, 'accuracy': right, 'mmd': mmd / devices_of_step()}

    gradients, metrics = jax.grad(share_of_loss, has_aux=True)(state.params)
    gradients, metrics = sum_over_devices((gradients, metrics))
    metrics = metrics | {'gradient_norm': optax.tree.norm(gradients)}
    return apply_gradients(model.discriminator_tx, state, gradients), metrics

  def step(state: SeqGANState, batch: Any, keys: jax.Array):
    discriminator, metrics = jax.vmap(one_set)(state.discriminator, batch, keys)
    return state.replace(discriminator=discriminator), metrics

  return step
