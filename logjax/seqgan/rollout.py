"""Action values by Monte Carlo rollouts (equation 4), exact and without waste.

For a sentence y_1..y_T and t < T, Q_t is the mean of D over N sentences that begin with y_1..y_t
and are finished by the rollout policy; Q_T is D of the sentence itself.

- No prefix is replayed: one teacher-forced scan keeps the policy's state, and what the critic
  remembers, after every prefix.
- A lane (one rollout of one prefix) takes a step for each token that is missing. Lanes are sorted
  by how many those will be and run in blocks; a block is over with its slowest lane.
- A prefix that has ended is not rolled out: there is one way to finish it, the sentence itself.
- Equal prefixes may share their rollouts, since Q depends on the prefix alone.

B batch, T time, N rollouts, L lanes, F filters, W widest filter.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from logjax.examples.text import PAD
from logjax.seqgan.models import window
from logjax.seqgan.sampling import Policy, next_token


class Critic(NamedTuple):
  """Reads a sentence token by token and scores it; its memory is any PyTree.

  Attributes:
    start: the memory before the first token.
    read: `(memory, token []) -> memory`.
    settled: `memory -> bool []`: whether more padding would leave the score as it is.
    score: `memory -> []` of a whole sentence.
  """

  start: Any
  read: Callable
  settled: Callable
  score: Callable


class Prefix(NamedTuple):
  """All that is needed to go on from a prefix.

  Attributes:
    h: state of the policy before it reads the newest token.
    token: the newest, [].
    memory: of the critic.
  """

  h: Any
  token: jax.Array
  memory: Any


def make_window_critic(tables: list[list[jax.Array]], score: Callable) -> Critic:
  """Returns a critic that keeps the maxima of a discriminator's windows.

  The windows inside a prefix are thus computed once for all its rollouts.

  Args:
    tables: of `Discriminator.tables`.
    score: `maxima [F] -> []`.
  """
  none = tables[0][0].shape[0] - 1
  widest = max(len(band) for band in tables)
  maxima = tuple(jnp.full(band[0].shape[1], -jnp.inf) for band in tables)

  def read(memory, token: jax.Array):
    recent, maxima = memory
    recent = jnp.concatenate([token[None], recent[:-1]])
    return recent, tuple(map(jnp.maximum, maxima, window(tables, recent)))

  return Critic(
    start=(jnp.full(widest, none), maxima),
    read=read,
    settled=lambda memory: jnp.all(memory[0] == PAD),
    score=lambda memory: score(jnp.concatenate(memory[1])),
  )


def make_sentence_critic(length: int, score: Callable) -> Critic:
  """Returns a critic that keeps the tokens: `score` sees the whole sentence, int32 [T]."""

  def read(memory, token: jax.Array):
    position, tokens = memory
    return position + 1, tokens.at[position].set(token)

  return Critic(
    start=(jnp.int32(0), jnp.full(length, PAD, jnp.int32)),
    read=read,
    settled=lambda memory: jnp.any((memory[1] == PAD) & (jnp.arange(length) < memory[0])),
    score=lambda memory: score(memory[1]),
  )


def keep_prefixes(policy: Policy, critic: Critic, sentence: jax.Array) -> Prefix:
  """Returns all prefixes of a sentence [T], stacked: row t - 1 is the prefix of length t."""

  def step(prefix, token):
    h, _ = policy.advance(prefix.h, policy.inputs[prefix.token])
    prefix = Prefix(h, token, critic.read(prefix.memory, token))
    return prefix, prefix

  return lax.scan(step, Prefix(policy.start, jnp.int32(PAD), critic.start), sentence)[1]


def finish_prefix(
  policy: Policy, critic: Critic, prefix: Prefix, t: jax.Array, length: int, key: jax.Array
) -> Any:
  """Runs one lane: finishes a prefix of length t, at least 1.

  Args:
    policy: of the rollouts, G_beta.
    critic: reads the tokens drawn.
    prefix: as `keep_prefixes` keeps it.
    t: its length; from T on there is nothing to do.
    length: T.
    key: consumed.

  Returns:
    The critic's memory of the finished sentence.
  """
  uniforms = jax.random.uniform(key, (length,))

  def unfinished(carry):
    t, prefix = carry
    return (t < length) & ~critic.settled(prefix.memory)

  def step(carry):
    t, prefix = carry
    h, token = next_token(policy, prefix.h, prefix.token, uniforms[t], jnp.bool_(False))
    return t + 1, Prefix(h, token, critic.read(prefix.memory, token))

  return lax.while_loop(unfinished, step, (t, prefix))[1].memory


def first_with_prefix(sentences: jax.Array) -> jax.Array:
  """For every prefix of sentences [B, T] the first sentence that has the same one, [B, T]."""

  def step(equal, tokens):
    equal = equal & (tokens[:, None] == tokens[None, :])
    return equal, jnp.argmax(equal, axis=1)

  equal = jnp.ones((len(sentences), len(sentences)), bool)
  return lax.scan(step, equal, sentences.T)[1].T


def prefixes_to_finish(sentences: jax.Array, share: bool) -> jax.Array:
  """Marks the prefixes of sentences [B, T] that need rollouts, [B, T].

  Not the whole sentence, none that has ended, and, where equal ones `share`, the first of them.
  """
  ended = jnp.cumsum(sentences == PAD, axis=1) > 0
  needed = ~ended & (jnp.arange(sentences.shape[1]) < sentences.shape[1] - 1)
  if share:
    needed &= first_with_prefix(sentences) == jnp.arange(len(sentences))[:, None]
  return needed


def longest_first(sentences: jax.Array, needed: jax.Array) -> jax.Array:
  """Orders the prefixes, flat indices [B * T], by the steps that their rollouts will take.

  Nobody knows, but the sentence from which a prefix comes was finished by the same policy, or
  nearly, and is as good a guess as any. Those that are not needed come last.
  """
  size = jnp.sum(sentences != PAD, axis=1, keepdims=True)
  missing = size - jnp.arange(sentences.shape[1])
  return jnp.argsort(-jnp.where(needed, missing, -1).ravel(), stable=True)


def rollout_sums(
  policy: Policy,
  critic: Critic,
  sentences: jax.Array,
  keys: jax.Array,
  numbers: jax.Array,
  *,
  rollouts: int,
  block: int,
  share: bool,
) -> tuple[jax.Array, jax.Array]:
  """Runs some or all of the N rollouts of every prefix of a batch.

  Args:
    policy: of the rollouts, G_beta.
    critic: scores sentences; dropout off.
    sentences: int [B, T].
    keys: one a sentence, [B]; consumed.
    numbers: which of the rollouts 0..N-1 to run, [n]; from N on they do nothing.
    rollouts: N.
    block: lanes that run together, in whole prefixes: one prefix's n at least.
    share: whether equal prefixes share their rollouts.

  Returns:
    Sums of the scores [B, T], 0 where no rollout was needed, and the scores of the sentences
    themselves [B].
  """
  batch, length = sentences.shape
  prefixes = jax.vmap(lambda s: keep_prefixes(policy, critic, s))(sentences)
  whole = jax.vmap(critic.score)(jax.tree.map(lambda x: x[:, -1], prefixes.memory))
  flat = jax.tree.map(lambda x: x.reshape(batch * length, *x.shape[2:]), prefixes)
  needed = prefixes_to_finish(sentences, share)
  count = needed.sum()
  together = min(max(1, block // len(numbers)), batch * length)  # prefixes a block
  order = jnp.pad(longest_first(sentences, needed), (0, together))

  def lane(prefix: Prefix, index: jax.Array, place: jax.Array, number: jax.Array) -> jax.Array:
    t = index % length + 1
    idle = (place >= count) | (number >= rollouts)
    key = jax.random.fold_in(jax.random.fold_in(keys[index // length], t), number)
    memory = finish_prefix(policy, critic, prefix, jnp.where(idle, length, t), length, key)
    return jnp.where(idle, 0.0, critic.score(memory))

  def run_block(i: jax.Array, sums: jax.Array) -> jax.Array:
    start = i * together
    chosen = lax.dynamic_slice(order, (start,), (together,))
    lanes = jnp.repeat(jnp.arange(together), len(numbers))
    index = chosen[lanes]
    prefix = jax.tree.map(lambda x: x[index], flat)
    scores = jax.vmap(lane)(prefix, index, start + lanes, jnp.tile(numbers, together))
    scores = scores.reshape(together, len(numbers)).sum(axis=1)
    return lax.dynamic_update_slice(sums, scores, (start,))

  blocks = (count + together - 1) // together
  sums = lax.fori_loop(0, blocks, run_block, jnp.zeros(batch * length + together))
  by_prefix = jnp.zeros(batch * length).at[order[: batch * length]].set(sums[: batch * length])
  return by_prefix.reshape(batch, length), whole


def action_values(
  sentences: jax.Array, sums: jax.Array, whole: jax.Array, *, rollouts: int, share: bool
) -> jax.Array:
  """Q of every token (equation 4) from all sums of `rollout_sums`: [B, T]."""
  ended = jnp.cumsum(sentences == PAD, axis=1) > 0
  last = jnp.arange(sentences.shape[1]) == sentences.shape[1] - 1
  if share:
    sums = jnp.take_along_axis(sums, first_with_prefix(sentences), axis=0)
  return jnp.where(ended | last, whole[:, None], sums / rollouts)


def rewards(
  policy: Policy,
  critic: Critic,
  sentences: jax.Array,
  keys: jax.Array,
  *,
  rollouts: int,
  block: int,
  share: bool,
) -> jax.Array:
  """Q of every token of a batch (equation 4), [B, T], on one device; arguments as above."""
  numbers = jnp.arange(rollouts)
  sums, whole = rollout_sums(
    policy, critic, sentences, keys, numbers, rollouts=rollouts, block=block, share=share
  )
  return action_values(sentences, sums, whole, rollouts=rollouts, share=share)
