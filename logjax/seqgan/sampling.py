"""Drawing tokens and sentences from the generator.

Everything is written for ONE sentence and vmapped by the caller. V vocabulary, T time, H hidden.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from logjax.examples.text import PAD
from logjax.seqgan.models import Generator


class Policy(NamedTuple):
  """A generator ready to sample: functions and tables, nothing that is trained.

  Attributes:
    advance: `(h, projected [gates * H]) -> (h, logits [V])`; h is the recurrent state.
    inputs: projected input of every token, [V, gates * H].
    start: the state before the first token, as `Generator.start`.
    allowed: added to the logits, [V]: 0, or -inf for a token that this set does not have.
  """

  advance: Callable
  inputs: jax.Array
  start: Any
  allowed: jax.Array


def make_policy(
  generator: Generator, params: Any, allowed: jax.Array, temperature: float = 1.0
) -> Policy:
  """Returns the policy of a generator; `temperature` divides its logits."""

  def advance(h: Any, projected: jax.Array) -> tuple[Any, jax.Array]:
    h, logits = generator.apply({'params': params}, h, projected, method=generator.advance)
    return h, logits / temperature

  inputs = generator.apply({'params': params}, method=generator.inputs)
  return Policy(advance, inputs, generator.start, allowed)


def sample_token(logits: jax.Array, uniform: jax.Array) -> jax.Array:
  """Draws a token by searching the cumulative sum of softmax(logits) in two levels.

  One uniform number a token, where Gumbel noise would need V. First a block of about sqrt(V)
  tokens is found, then the token in it.

  Args:
    logits: [V], any finite values or -inf, not all -inf.
    uniform: in [0, 1), [].

  Returns:
    The token, int32 []; never one whose logit is -inf.
  """
  size = len(logits)
  block = max(1, round(size**0.5))
  blocks = -(-size // block)
  weights = jnp.exp(logits - jnp.max(logits))
  weights = jnp.pad(weights, (0, blocks * block - size)).reshape(blocks, block)
  sums = weights.sum(axis=1)
  ends = _cumulative_sum(sums)
  target = uniform * ends[-1]
  row = _first_beyond(target, ends, sums)
  inside = weights[row]
  column = _first_beyond(target - (ends[row] - sums[row]), _cumulative_sum(inside), inside)
  return (row * block + column).astype(jnp.int32)


def _cumulative_sum(weights: jax.Array) -> jax.Array:
  """Sums of the first 1, 2, ..., n weights [n]: a product, which is faster than `jnp.cumsum`."""
  ones = jnp.ones((len(weights), len(weights)), weights.dtype)
  # An accelerator would round the weights to fewer bits.
  return jnp.dot(jnp.tril(ones), weights, precision=lax.Precision.HIGHEST)


def _first_beyond(target: jax.Array, ends: jax.Array, weights: jax.Array) -> jax.Array:
  """Index of the first positive weight whose cumulative sum, in `ends`, exceeds the target.

  The last positive weight where none does: rounding may put the target beyond every sum. Asking
  for the weight too makes the answer safe whatever the order in which a device adds them up.
  """
  index = jnp.arange(len(weights))
  positive = weights > 0
  last = jnp.max(jnp.where(positive, index, 0))
  return jnp.min(jnp.where(positive & (ends > target), index, last))


def next_token(
  policy: Policy, h: Any, token: jax.Array, uniform: jax.Array, first: jax.Array
) -> tuple[Any, jax.Array]:
  """Draws the token after `token` from the state before it.

  The end of a sentence is absorbing: after a padding, except as start token (`first`), only
  padding follows.

  Returns:
    The new state and the token [].
  """
  h, logits = policy.advance(h, policy.inputs[token])
  drawn = sample_token(logits + policy.allowed, uniform)
  return h, jnp.where((token == PAD) & ~first, PAD, drawn)


def sample_sentence(policy: Policy, key: jax.Array, length: int) -> jax.Array:
  """Draws one sentence from the generator: int32 [T], padded after its end."""

  def step(carry, xs):
    h, token = carry
    uniform, position = xs
    h, token = next_token(policy, h, token, uniform, position == 0)
    return (h, token), token

  xs = (jax.random.uniform(key, (length,)), jnp.arange(length))
  return lax.scan(step, (policy.start, jnp.int32(PAD)), xs)[1]


def log_probabilities(policy: Policy, sentence: jax.Array) -> jax.Array:
  """Log-probability of every token given those before it, [T]; 0 after the sentence's end."""

  def step(h, xs):
    token, target = xs
    h, logits = policy.advance(h, policy.inputs[token])
    return h, jax.nn.log_softmax(logits + policy.allowed)[target]

  tokens = jnp.concatenate([jnp.array([PAD]), sentence[:-1]])
  logs = lax.scan(step, policy.start, (tokens, sentence))[1]
  return jnp.where(is_inside(sentence), logs, 0.0)


def is_inside(sentence: jax.Array) -> jax.Array:
  """Marks the tokens of a sentence and the padding that ends it, bool [T]."""
  return jnp.cumsum(sentence == PAD) - (sentence == PAD) == 0
