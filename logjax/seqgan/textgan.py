"""The two steps of TextGAN (Zhang et al., ICML 2017, arXiv 1706.03850) for K sets at once.

The generator matches the discriminator's features of real and of generated sentences, f and f~:

  generator      minimises  L_MMD, the squared maximum mean discrepancy of f and f~
  discriminator  maximises  L_GAN - lambda_r * L_recon + lambda_m * L_MMD

Implemented: L_GAN (as cross-entropy, with SeqGAN's dropout and penalty), L_MMD for both with a
mixture of Gaussian kernels, lambda_m, and gradients through soft tokens.

Differences from the paper:

- There is no L_recon. It makes the discriminator reconstruct the latent code z of a sentence. The
  generators here have no code: every token is sampled.
- The paper replaces tokens by softmax(L * logits) with a large L. Its randomness is all in z. Here
  Gumbel noise supplies it: the largest of logits + noise is a sample. This token stays one-hot, and
  softmax((logits + noise) / temperature) replaces it only in the derivative (`draw_soft`). So the
  discriminator sees real output of the generator, not soft tokens, which are easy to recognise.
- Pretraining is SeqGAN's: maximum likelihood, and generated rows for the discriminator. The paper
  pretrains the generator as an autoencoder and the discriminator on permuted sentences.

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
from logjax.seqgan.state import SeqGAN, SeqGANState
from logjax.training.parallel import (
  devices_of_step,
  gather_over_devices,
  share_of_device,
  sum_over_devices,
)
from logjax.training.state import TrainState, apply_gradients

# Squared bandwidths of the kernels in units of the features' mean squared distance, because the
# scale of the features changes while the discriminator learns. [logjax]
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


def mean_difference_weights(real: jax.Array, weights: jax.Array) -> jax.Array:
  """Returns the weights for a difference of means: sum of weights * x = mean real - mean generated.

  Two real and one generated example get [1/2, 1/2, -1]. With examples of one kind only all are 0.

  Args:
    real: 1 or True for real examples, [B].
    weights: 0 for padding, [B].

  Returns:
    [B].
  """
  of_real, of_generated = weights * real, weights * (1 - real)
  both = (of_real.sum() > 0) & (of_generated.sum() > 0)
  # Division by infinity gives the zeros, without a division by 0 in the other case.
  reals = jnp.where(both, of_real.sum(), jnp.inf)
  generated = jnp.where(both, of_generated.sum(), jnp.inf)
  return of_real / reals - of_generated / generated


def squared_distances(features: jax.Array) -> jax.Array:
  """Computes the squared distances of all pairs of features [B, F]: [B, B]."""
  # |a - b|^2 = |a|^2 + |b|^2 - 2 ab. Rounding may make it negative, hence the maximum.
  inner = jnp.dot(features, features.T, precision=lax.Precision.HIGHEST)
  squares = jnp.diag(inner)
  return jnp.maximum(squares[:, None] + squares[None, :] - 2 * inner, 0.0)


def mean_squared_distance(features: jax.Array, signs: jax.Array) -> jax.Array:
  """Computes the mean squared distance of all pairs of features.

  Real and generated examples have the same total weight.

  Args:
    features: [B, F].
    signs: from `mean_difference_weights`, [B].
  """
  weights = jnp.abs(signs)
  return weights @ squared_distances(features) @ weights / 4  # the weights sum to 2, squared 4


def squared_mmd(features: jax.Array, signs: jax.Array, scale: jax.Array) -> jax.Array:
  """Computes the squared maximum mean discrepancy of real and generated features.

  It is E k(f, f') + E k(f~, f~') - 2 E k(f, f~). The expectations are means over all pairs of a
  batch, pairs of a feature with itself included, so it is at least 0 up to rounding. The kernel k
  is the mean of exp(-|f - f'|^2 / (bandwidth * scale)) over the bandwidths.

  Args:
    features: [B, F].
    signs: from `mean_difference_weights`, [B].
    scale: of squared distances, [].
  """
  ratios = squared_distances(features) / jnp.maximum(scale, 1e-6)
  kernel = sum(jnp.exp(-ratios / bandwidth) for bandwidth in BANDWIDTHS) / len(BANDWIDTHS)
  # The product of two signs is positive for pairs of one kind and negative for mixed pairs.
  return signs @ kernel @ signs


def draw_soft(
  policy: Policy, key: jax.Array, length: int, temperature: float
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Draws a sentence of the generator in a differentiable form.

  The value is one-hot. In the derivative a token is softmax((logits + noise) / temperature), in
  the output and in the generator's own input ("straight-through"). This is an approximation at
  every temperature.

  The end of a sentence is absorbing, also in the derivative: raising the probability of an end
  raises the probability of padding at all later positions. Padding after the end has no derivative
  of its own. Lowering the probability of an end makes room for one more token, then the sentence
  ends.

  Returns:
    Soft tokens [T, V]; log-probabilities of the drawn tokens, [T], 0 after the end; a mark for
    tokens up to the end, bool [T].
  """
  ended = jax.nn.one_hot(PAD, len(policy.allowed))

  def step(carry, key):
    h, token, alive = carry  # alive: 1 before the end and 0 after it, with a derivative
    h, logits = policy.advance(h, jnp.dot(token, policy.inputs, precision=lax.Precision.HIGHEST))
    logits += policy.allowed
    noisy = logits + jax.random.gumbel(key, logits.shape)
    drawn = jnp.argmax(noisy)
    soft = jax.nn.softmax(noisy / temperature)
    inside = alive > 0
    # The bracket has the value 0, so the token stays exactly one-hot; its derivative is soft's.
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
    batch_size: B of the generators.
  """
  generator_step = _make_generator_step(model, temperature, batch_size)
  return generator_step, _make_discriminator_step(model, mmd_weight)


def _features(model: SeqGAN, params: Any, sentences: jax.Array) -> jax.Array:
  """Computes the features [B, F] of tokens [B, T] or soft tokens [B, T, V]."""
  bound, method = {'params': params}, model.discriminator.convolve
  return jax.vmap(lambda s: model.discriminator.apply(bound, s, method=method))(sentences)


def _make_generator_step(model: SeqGAN, temperature: float, batch_size: int) -> Callable:
  """Makes the generator step.

  Its batch is real sentences to match, [K, B, T]; its keys have the shape [K, B, 2]. Sentences and
  keys from number `batch_size` on fill the devices up.
  """

  def one_set(state: SeqGANState, real: jax.Array, keys: jax.Array):
    discriminator = state.discriminator.params
    real_features = _features(model, discriminator, real)
    weights = share_of_device(jnp.ones(batch_size), len(keys), axis=0)  # 0 for padding

    def local_loss(params):
      policy = make_policy(model.generator, params, state.allowed)
      draw = jax.vmap(lambda key: draw_soft(policy, key, model.length, temperature))
      sentences, logs, inside = draw(keys)
      features = jnp.stack([real_features, _features(model, discriminator, sentences)])
      # [2, B, F] of all devices, without the padding; then [2 B, F], real ones first.
      features = gather_over_devices(features, axis=1)[:, :batch_size]
      is_real = jnp.repeat(jnp.array([1.0, 0.0]), features.shape[1])
      features = features.reshape(len(is_real), -1)
      signs = mean_difference_weights(is_real, jnp.ones_like(is_real))
      # The scale has no gradient. It grows with the distance to the real features, so with its
      # gradient a far generator would seem to gain nothing from moving nearer.
      scale = lax.stop_gradient(mean_squared_distance(features, signs))
      counts = tuple(jnp.sum(weights * x.sum(axis=1)) for x in (logs, inside))
      # Every device computes the whole loss. Divided by their number, it sums to the loss, and the
      # gradients sum to its gradient.
      return squared_mmd(features, signs, scale) / devices_of_step(), counts

    (loss, counts), gradients = jax.value_and_grad(local_loss, has_aux=True)(state.generator.params)
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
  """Makes the discriminator step; batch and keys as in `steps.make_discriminator_step`."""

  def one_set(state: TrainState, batch: Any, keys: jax.Array):
    (sentences, real), weights = batch
    all_real, all_weights = gather_over_devices((real, weights), axis=0)
    signs = mean_difference_weights(all_real, all_weights)
    total = jnp.maximum(all_weights.sum(), 1e-9)

    def local_loss(params):
      def classify(features, key):
        bound, method = {'params': params}, model.discriminator.classify
        return model.discriminator.apply(
          bound, features, training=True, rngs={'dropout': key}, method=method
        )

      local = _features(model, params, sentences)
      logits = jax.vmap(classify)(local, keys)
      cross_entropy = jnp.sum(weights * jax.vmap(losses.discriminator)(logits, real)) / total
      correct = jnp.sum(weights * (jnp.argmax(logits, axis=1) == real)) / total
      features = gather_over_devices(local, axis=0)
      # Here the scale does have a gradient. Without it the features could grow for ever to raise
      # the discrepancy; with it, growth changes nothing.
      mmd = squared_mmd(features, signs, mean_squared_distance(features, signs))
      penalty = losses.output_penalty(params['out'], model.discriminator_l2)
      # The cross-entropy is this device's part of a sum, mmd and penalty are whole on every device.
      loss = cross_entropy + (penalty - mmd_weight * mmd) / devices_of_step()
      return loss, {'loss': cross_entropy, 'accuracy': correct, 'mmd': mmd / devices_of_step()}

    gradients, metrics = jax.grad(local_loss, has_aux=True)(state.params)
    gradients, metrics = sum_over_devices((gradients, metrics))
    metrics = metrics | {'gradient_norm': optax.tree.norm(gradients)}
    return apply_gradients(model.discriminator_tx, state, gradients), metrics

  def step(state: SeqGANState, batch: Any, keys: jax.Array):
    discriminator, metrics = jax.vmap(one_set)(state.discriminator, batch, keys)
    return state.replace(discriminator=discriminator), metrics

  return step
