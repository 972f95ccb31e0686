"""Rewards by Monte Carlo rollouts (equation 4), for ONE sentence.

For a sentence y_1..y_T and t < T, Q_t is the mean of D over N sentences that begin with y_1..y_t
and are finished by the rollout policy; Q_T is D of the sentence itself.

No prefix is replayed: one teacher-forced scan keeps the policy's state and the discriminator's
running maxima after every prefix. And no step of a scan is masked: a lane finishes the prefix of
length t in T - t steps, then restarts from the kept state of the prefix of length T - t and
finishes that in t steps. Every lane has T steps, whatever its t. (A sentence that has ended goes on
with padding, which is work for nothing.)

T time, H hidden size, F filters, W widest filter, N rollouts, L lanes.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from logjax.corpora.text import PAD
from logjax.oversamplers.seqgan.models import window
from logjax.oversamplers.seqgan.sampling import Policy, next_token


class Critic(NamedTuple):
  """A discriminator ready to score.

  Attributes:
    tables: of `Discriminator.tables`.
    score: `maxima [F] -> probability that the sentence is real []`.
  """

  tables: Sequence[jax.Array]
  score: Callable


class Prefix(NamedTuple):
  """All that is needed to go on from a prefix.

  Attributes:
    h: state of the policy before it reads the newest token, [H].
    recent: the newest W tokens, newest first, V before the beginning, [W].
    maxima: of the discriminator's windows inside the prefix, [F].
  """

  h: jax.Array
  recent: jax.Array
  maxima: jax.Array


def lanes(length: int, rollouts: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns which two prefixes each lane finishes: lengths t and T - t, int [L] each.

  Every prefix length from 1 to T - 1 occurs exactly N times among both together.

  Raises:
    ValueError: when T is even and N is odd, for then the prefix T / 2 cannot be paired.
  """
  if length % 2 == 0 and rollouts % 2 == 1:
    raise ValueError('an even length needs an even number of rollouts')
  first = np.repeat(np.arange(1, (length + 1) // 2), rollouts)
  if length % 2 == 0:
    first = np.concatenate([first, np.full(rollouts // 2, length // 2)])
  return first, length - first


def empty_prefix(policy: Policy, critic: Critic) -> Prefix:
  """Returns the prefix of no tokens."""
  rows, size = critic.tables[0].shape
  return Prefix(policy.start, jnp.full(len(critic.tables), rows - 1), jnp.full(size, -jnp.inf))


def read_token(critic: Critic, prefix: Prefix, h: jax.Array, token: jax.Array) -> Prefix:
  """Appends a token to a prefix, scoring the windows that it completes."""
  recent = jnp.concatenate([token[None], prefix.recent[:-1]])
  maxima = jnp.maximum(prefix.maxima, window(critic.tables, recent))
  return Prefix(h, recent, maxima)


def keep_prefixes(policy: Policy, critic: Critic, sentence: jax.Array) -> Prefix:
  """Returns all prefixes of a sentence [T], stacked: row t - 1 is the prefix of length t."""

  def step(prefix, xs):
    token, previous = xs
    h, _ = policy.advance(prefix.h, policy.inputs[previous])
    prefix = read_token(critic, prefix, h, token)
    return prefix, prefix

  previous = jnp.concatenate([jnp.array([PAD]), sentence[:-1]])
  return lax.scan(step, empty_prefix(policy, critic), (sentence, previous))[1]


def finish_two_prefixes(
  policy: Policy, critic: Critic, prefixes: Prefix, t: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Runs one lane: finishes the prefix of length t, then the one of length T - t.

  Args:
    policy: of the rollouts, G_beta.
    critic: scores the finished sentences.
    prefixes: of one sentence, [T, ...].
    t: length of the first prefix, at least 1, below T.
    key: consumed.

  Returns:
    D of the first finished sentence, D of the second, and the T sampled tokens: the first T - t
    finish the first prefix, the others the second.
  """
  length = len(prefixes.recent)

  first, second = (jax.tree.map(lambda rows, n=n: rows[n - 1], prefixes) for n in (t, length - t))

  def step(carry, xs):
    prefix, finished = carry
    uniform, position = xs
    restart = position == length - t
    finished = jnp.where(restart, prefix.maxima, finished)
    prefix = jax.tree.map(lambda a, b: jnp.where(restart, a, b), second, prefix)
    h, token = next_token(policy, prefix.h, prefix.recent[0], uniform, jnp.bool_(False))
    return (read_token(critic, prefix, h, token), finished), token

  xs = (jax.random.uniform(key, (length,)), jnp.arange(length))
  (prefix, finished), tokens = lax.scan(step, (first, first.maxima), xs)
  return critic.score(finished), critic.score(prefix.maxima), tokens


def rewards(
  policy: Policy, critic: Critic, sentence: jax.Array, key: jax.Array, rollouts: int
) -> jax.Array:
  """Action values Q_1..Q_T of a sentence's tokens (equation 4).

  Args:
    policy: of the rollouts, G_beta.
    critic: the discriminator, dropout off.
    sentence: int [T].
    key: consumed.
    rollouts: N.

  Returns:
    Q [T], each a mean of probabilities.
  """
  length = len(sentence)
  prefixes = keep_prefixes(policy, critic, sentence)
  first, second = lanes(length, rollouts)
  finish = functools.partial(finish_two_prefixes, policy, critic, prefixes)
  keys = jax.random.split(key, len(first))
  scores_first, scores_second, _ = jax.vmap(finish)(jnp.asarray(first), keys)
  values = jnp.zeros(length).at[first - 1].add(scores_first).at[second - 1].add(scores_second)
  whole = critic.score(jax.tree.map(lambda rows: rows[-1], prefixes).maxima)
  return (values / rollouts).at[-1].set(whole)
