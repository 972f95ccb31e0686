"""The losses of SeqGAN, each for ONE sentence, and the baselines of its rewards.

B batch, T time.
"""

import jax
import jax.numpy as jnp
import optax


def maximum_likelihood(log_probs: jax.Array) -> jax.Array:
  """Computes the negative log-likelihood of a sentence and its end, divided by T, as in [seqgan].

  T is the same for all sentences. A mean over each sentence's own tokens would give the tokens of
  short sentences more weight than their frequency.

  Args:
    log_probs: log-probability of each token given its predecessors, [T]; 0 after the end.
  """
  return -jnp.mean(log_probs)


def policy_gradient(log_probs: jax.Array, rewards: jax.Array) -> jax.Array:
  """Computes the loss of the policy gradient (equation 5), without the factor 1 / T.

  A sum over time, as in SeqGAN's published code. Adam is invariant to the factor; it only changes
  how often gradients are clipped.

  Args:
    log_probs: log-probability of each sampled token, [T]; 0 after the sentence's end.
    rewards: Q of equation 4, [T]; not differentiated.
  """
  return -jnp.sum(log_probs * jax.lax.stop_gradient(rewards))


def _minus_batch_mean(values: jax.Array, inside: jax.Array) -> jax.Array:
  return values - jnp.sum(values * inside) / jnp.sum(inside)


def _minus_position_mean(values: jax.Array, inside: jax.Array) -> jax.Array:
  # At positions beyond the end of every sentence the count is 0; the maximum prevents 0 / 0.
  return values - jnp.sum(values * inside, axis=0) / jnp.maximum(jnp.sum(inside, axis=0), 1)


# Baselines to subtract from the rewards [B, T] of a batch; `inside`, bool [B, T], marks tokens up
# to the end of each sentence. 'none' subtracts nothing ([seqgan], the paper), 'batch' the mean of
# all rewards, 'position' the mean of the rewards at the same position. The last two lower the
# variance of the gradient.
#
# The mean includes the reward it is subtracted from, so there is a small bias. 'position' scales
# the expected gradient by 1 - 1 / n, with n sentences inside at the position. 'batch' also includes
# later rewards of the same sentence, and so changes the direction of the gradient by O(1 / B).
BASELINES = {
  'none': lambda values, inside: values,
  'batch': _minus_batch_mean,
  'position': _minus_position_mean,
}


def discriminator(logits: jax.Array, real: jax.Array) -> jax.Array:
  """Computes the cross-entropy of the logits of (generated, real) [2]; `real` is 0 or 1."""
  return optax.softmax_cross_entropy_with_integer_labels(logits, real.astype(jnp.int32))


def output_penalty(out: dict[str, jax.Array], weight: float) -> jax.Array:
  """Computes [seqgan]'s L2 penalty: weight / 2 times the squared norm of the output layer."""
  return weight * 0.5 * (jnp.sum(out['kernel'] ** 2) + jnp.sum(out['bias'] ** 2))
