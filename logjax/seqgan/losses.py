"""Losses of SeqGAN, each for ONE sentence. T time."""

import jax
import jax.numpy as jnp
import optax


def maximum_likelihood(log_probs: jax.Array) -> jax.Array:
  """Negative log-likelihood of a sentence's tokens and its end, over T, as in [seqgan].

  T is the same for all sentences. A mean over each one's own tokens would have short sentences
  learned more often than they occur.

  Args:
    log_probs: of each token given those before it, [T]; 0 after the sentence's end.
  """
  return -jnp.mean(log_probs)


def policy_gradient(log_probs: jax.Array, rewards: jax.Array) -> jax.Array:
  """The loss whose gradient is the policy gradient of equation 5, without its factor 1 / T.

  A sum over time, as in SeqGAN's published code; with Adam the factor changes nothing but the
  point where gradients are clipped.

  Args:
    log_probs: of each sampled token, [T]; 0 after the sentence's end.
    rewards: Q of equation 4, [T]; not differentiated.
  """
  return -jnp.sum(log_probs * jax.lax.stop_gradient(rewards))


def _minus_batch_mean(values: jax.Array, inside: jax.Array) -> jax.Array:
  return values - jnp.sum(values * inside) / jnp.sum(inside)


def _minus_position_mean(values: jax.Array, inside: jax.Array) -> jax.Array:
  return values - jnp.sum(values * inside, axis=0) / jnp.maximum(jnp.sum(inside, axis=0), 1)


# What is subtracted from the rewards [B, T] of a batch, given which tokens are inside, bool [B, T]:
# nothing ([seqgan], the paper), their mean, or the mean of those at the same position. Both lower
# the gradient's variance. A reward is in the mean that is taken from it: with 'position' that
# scales the expected gradient by 1 - 1 / n for n sentences inside there; with 'batch' a sentence's
# later rewards are in the mean as well, which also turns the gradient a little, by O(1 / B).
BASELINES = {
  'none': lambda values, inside: values,
  'batch': _minus_batch_mean,
  'position': _minus_position_mean,
}


def discriminator(logits: jax.Array, real: jax.Array) -> jax.Array:
  """Cross-entropy of the logits for (generated, real), [2], with `real` 0 or 1."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, real.astype(jnp.int32))


def output_penalty(out: dict[str, jax.Array], weight: float) -> jax.Array:
  """Half the squared norm of the discriminator's output layer, weighted ([seqgan] L2)."""
  return weight * 0.5 * (jnp.sum(out['kernel'] ** 2) + jnp.sum(out['bias'] ** 2))
