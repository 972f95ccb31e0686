"""Sampling of tokens and sentences from a generator.

Every function works on ONE sentence; callers vmap it. V vocabulary, T time, H hidden.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from logjax.examples.text import PAD
from logjax.seqgan.models import Generator


class Policy(NamedTuple):
  """A generator prepared for sampling.

  Attributes:
    advance: `(h, projected [gates * H]) -> (h, logits [V])`; h is the recurrent state.
    inputs: projected input of every token, [V, gates * H].
    start: the state before the first token, see `Generator.start`.
    allowed: added to the logits, [V]: 0 for the tokens of this set, -inf for all others.
  """

  advance: Callable
  inputs: jax.Array
  start: Any
  allowed: jax.Array


def make_policy(
  generator: Generator, params: Any, allowed: jax.Array, temperature: float = 1.0
) -> Policy:
  """Makes the policy of a generator; its logits are divided by `temperature`."""

  def advance(h: Any, projected: jax.Array) -> tuple[Any, jax.Array]:
    h, logits = generator.apply({'params': params}, h, projected, method=generator.advance)
    return h, logits / temperature

  # Computed once for all tokens and time steps; later a lookup.
  inputs = generator.apply({'params': params}, method=generator.inputs)
  return Policy(advance, inputs, generator.start, allowed)


def sample_token(logits: jax.Array, uniform: jax.Array) -> jax.Array:
  """Draws a token from softmax(logits) by the inverse of its cumulative distribution.

  One uniform number is enough; `jax.random.categorical` draws V. The search has two levels, each
  over about sqrt(V) entries: first the row of a V-cell grid, then the column in this row.

  Args:
    logits: [V], finite or -inf, at least one finite.
    uniform: in [0, 1), [].

  Returns:
    The token, int32 []; never a token with logit -inf.
  """
  size = len(logits)
  columns = max(1, round(size**0.5))
  rows = -(-size // columns)  # rounded up
  # Weights are the probabilities without their normalisation: the target is scaled instead. The
  # subtraction of the maximum prevents overflow.
  weights = jnp.exp(logits - jnp.max(logits))
  # Fill the grid up with weight 0, which is never drawn.
  weights = jnp.pad(weights, (0, rows * columns - size)).reshape(rows, columns)
  # Example: the grid [[1, 3], [2, 2]] has row sums [4, 4], which end at [4, 8]. The uniform number
  # 0.7 is the target 5.6, in row 1. There 5.6 - 4 = 1.6 is left, in column 0 of [2, 2]: token 2.
  sums = weights.sum(axis=1)
  ends = _cumulative_sum(sums)
  target = uniform * ends[-1]
  row = _first_beyond(target, ends, sums)
  inside = weights[row]
  rest = target - (ends[row] - sums[row])  # the target, counted from the start of the row
  column = _first_beyond(rest, _cumulative_sum(inside), inside)
  return (row * columns + column).astype(jnp.int32)


def _cumulative_sum(weights: jax.Array) -> jax.Array:
  """Returns the sums of the first 1, 2, ..., n weights [n].

  A product with a triangular matrix, faster than `jnp.cumsum` for the short rows here.
  """
  ones = jnp.ones((len(weights), len(weights)), weights.dtype)
  # By default an accelerator would round the weights to fewer bits.
  return jnp.dot(jnp.tril(ones), weights, precision=lax.Precision.HIGHEST)


def _first_beyond(target: jax.Array, ends: jax.Array, weights: jax.Array) -> jax.Array:
  """Returns the index of the first positive weight with a cumulative sum above the target.

  Rounding may put the target beyond every sum; then the last positive weight is returned. The test
  for a positive weight guards against another rounding: a sum of the same numbers in another order
  may be slightly larger, so that `ends` alone could point to a weight of 0.

  Args:
    target: [].
    ends: cumulative sums of the weights, [n].
    weights: [n], at least one positive.
  """
  index = jnp.arange(len(weights))
  positive = weights > 0
  last = jnp.max(jnp.where(positive, index, 0))
  return jnp.min(jnp.where(positive & (ends > target), index, last))


def next_token(
  policy: Policy, h: Any, token: jax.Array, uniform: jax.Array, first: jax.Array
) -> tuple[Any, jax.Array]:
  """Draws the token after `token`, given the state before it.

  Token 0 has three roles: start token, end of a sentence, padding. After an end only padding
  follows, except at the start of a sentence (`first`).

  Returns:
    The new state and the new token, int32 [].
  """
  h, logits = policy.advance(h, policy.inputs[token])
  drawn = sample_token(logits + policy.allowed, uniform)
  return h, jnp.where((token == PAD) & ~first, PAD, drawn)


def sample_sentence(policy: Policy, key: jax.Array, length: int) -> jax.Array:
  """Draws one sentence: int32 [T], with padding after its end."""

  def step(carry, xs):
    h, token = carry
    uniform, position = xs
    h, token = next_token(policy, h, token, uniform, position == 0)
    return (h, token), token

  xs = (jax.random.uniform(key, (length,)), jnp.arange(length))
  return lax.scan(step, (policy.start, jnp.int32(PAD)), xs)[1]


def log_probabilities(policy: Policy, sentence: jax.Array) -> jax.Array:
  """Returns the log-probability of every token given its predecessors, [T]; 0 after the end."""

  def step(h, xs):
    token, target = xs
    h, logits = policy.advance(h, policy.inputs[token])
    return h, jax.nn.log_softmax(logits + policy.allowed)[target]

  # The input is shifted by one: the start token predicts y_1, y_1 predicts y_2, and so on.
  tokens = jnp.concatenate([jnp.array([PAD]), sentence[:-1]])
  logs = lax.scan(step, policy.start, (tokens, sentence))[1]
  return jnp.where(is_inside(sentence), logs, 0.0)


def is_inside(sentence: jax.Array) -> jax.Array:
  """Marks the tokens of a sentence and the padding at its end, bool [T].

  [5, 0, 0] gives [True, True, False]: the first padding is a prediction too, the end.
  """
  # Paddings strictly before each position.
  return jnp.cumsum(sentence == PAD) - (sentence == PAD) == 0
