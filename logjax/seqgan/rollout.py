"""Action values by Monte Carlo rollouts (equation 4), exact and without repeated work.

For a sentence y_1..y_T and t < T, Q_t is the mean score of N sentences. Each begins with the prefix
y_1..y_t and is finished by the rollout policy. Q_T is the score of the sentence itself. The critic
computes the score, here the discriminator's probability of "real".

Terms:

  prefix  the first t tokens of a sentence, 1 <= t <= T; has flat index b * T + t - 1 in the batch
  lane    one rollout of one prefix; takes one step per missing token
  block   the lanes in memory together; a block takes as many steps as its longest lane

Four measures avoid work without changing the result:

- One scan over a sentence stores the policy's state and the critic's memory after every prefix.
  Rollouts start there, so no prefix is replayed.
- Lanes are sorted by their expected length, so the lanes of a block end at about the same time.
- An ended prefix has only one completion, the sentence itself, and is not rolled out.
- Equal prefixes may share their rollouts, because Q depends on the prefix alone
  (`state.Rewards` has the price of that).

Shapes: B batch, T time, N rollouts, n rollouts of this device, L lanes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from logjax.examples.text import PAD
from logjax.seqgan.critics import Critic
from logjax.seqgan.sampling import Policy, next_token


class Prefix(NamedTuple):
  """The state needed to continue a prefix.

  Attributes:
    h: recurrent state of the policy before it reads the newest token.
    token: the newest token, [].
    memory: the critic's memory, newest token included.
  """

  h: Any
  token: jax.Array
  memory: Any


def scan_prefixes(policy: Policy, critic: Critic, sentence: jax.Array) -> Prefix:
  """Returns all prefixes of a sentence [T], stacked: row t - 1 is the prefix of length t."""

  def step(prefix, token):
    h, _ = policy.advance(prefix.h, policy.inputs[prefix.token])
    prefix = Prefix(h, token, critic.read(prefix.memory, token))
    return prefix, prefix

  return lax.scan(step, Prefix(policy.start, jnp.int32(PAD), critic.start), sentence)[1]


def finish_prefix(
  policy: Policy, critic: Critic, prefix: Prefix, t: jax.Array, length: int, key: jax.Array
) -> Any:
  """Runs one lane: samples the missing tokens of a prefix.

  Args:
    policy: the rollout policy G_beta.
    critic: reads the sampled tokens.
    prefix: one row of `scan_prefixes`.
    t: length of the prefix, at least 1; a lane with t >= T takes no step.
    length: T.
    key: consumed.

  Returns:
    The critic's memory of the finished sentence.
  """
  # One number per position: token t + 1 is drawn with uniforms[t], whenever the lane began.
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
  """Returns for every prefix the first sentence with an equal prefix.

  The sentences [7, 8], [7, 9], [7, 8] give [[0, 0], [0, 1], [0, 0]].

  Args:
    sentences: int [B, T].

  Returns:
    Indices into the batch, int [B, T].
  """

  def step(equal, tokens):
    # equal[i, j]: sentences i and j agree up to and including this position.
    equal = equal & (tokens[:, None] == tokens[None, :])
    return equal, jnp.argmax(equal, axis=1)  # the first True of a row

  equal = jnp.ones((len(sentences), len(sentences)), bool)
  return lax.scan(step, equal, sentences.T)[1].T


def prefixes_to_finish(sentences: jax.Array, share: bool) -> jax.Array:
  """Marks the prefixes in need of rollouts, bool [B, T].

  Whole sentences and ended prefixes need none. With `share` only the first of equal prefixes does.

  Args:
    sentences: int [B, T].
    share: share the rollouts of equal prefixes.
  """
  ended = jnp.cumsum(sentences == PAD, axis=1) > 0
  needed = ~ended & (jnp.arange(sentences.shape[1]) < sentences.shape[1] - 1)
  if share:
    needed &= first_with_prefix(sentences) == jnp.arange(len(sentences))[:, None]
  return needed


def longest_first(sentences: jax.Array, needed: jax.Array) -> jax.Array:
  """Orders the prefixes by the expected length of their rollouts, longest first.

  The true lengths are unknown before sampling. The guess is the length of the sentence around the
  prefix, because almost the same policy wrote it. Prefixes without rollouts come last.

  Args:
    sentences: int [B, T].
    needed: from `prefixes_to_finish`, [B, T].

  Returns:
    Flat indices of prefixes, [B * T].
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
    policy: the rollout policy G_beta.
    critic: scores sentences, without dropout.
    sentences: int [B, T].
    keys: one a sentence, [B]; consumed.
    numbers: numbers of the rollouts to run, [n], out of 0..N-1; numbers from N on do nothing.
    rollouts: N.
    block: L, lanes in memory together, rounded down to whole prefixes; one prefix at least.
    share: run the rollouts of equal prefixes once, see `state.Rewards`.

  Returns:
    Sums of the scores, [B, T], 0 for a prefix without rollouts; and the scores of the sentences
    themselves, [B].
  """
  assert keys.shape == sentences.shape[:1]  # A longer array of keys would go unnoticed.
  batch, length = sentences.shape
  prefixes = jax.vmap(lambda s: scan_prefixes(policy, critic, s))(sentences)
  # The last row of a sentence's prefixes is the sentence itself.
  sentence_scores = jax.vmap(critic.score)(jax.tree.map(lambda x: x[:, -1], prefixes.memory))
  flat = jax.tree.map(lambda x: x.reshape(batch * length, *x.shape[2:]), prefixes)
  needed = prefixes_to_finish(sentences, share)
  count = needed.sum()
  # A block has all n rollouts of `width` prefixes.
  width = min(max(1, block // len(numbers)), batch * length)
  # `order` holds the prefixes in need of rollouts first: order[:count]. The padding lets the last
  # block read `width` entries even when fewer are left.
  order = jnp.pad(longest_first(sentences, needed), (0, width))

  def lane(prefix: Prefix, index: jax.Array, rank: jax.Array, number: jax.Array) -> jax.Array:
    """Returns the score of one rollout: of a prefix, its flat index, and its rank in `order`."""
    t = index % length + 1
    # The last block is filled up by prefixes without need, the last device by numbers from N on.
    idle = (rank >= count) | (number >= rollouts)
    # The key depends on sentence, prefix and rollout only. So block size, order and number of
    # devices do not change the draws.
    key = jax.random.fold_in(jax.random.fold_in(keys[index // length], t), number)
    # An idle lane starts at T and so takes no step.
    memory = finish_prefix(policy, critic, prefix, jnp.where(idle, length, t), length, key)
    return jnp.where(idle, 0.0, critic.score(memory))

  def run_block(i: jax.Array, sums: jax.Array) -> jax.Array:
    start = i * width
    chosen = lax.dynamic_slice(order, (start,), (width,))
    # Lanes of one prefix are neighbours. With width 2 and numbers [0, 1, 2], column is
    # [0, 0, 0, 1, 1, 1] and the numbers are [0, 1, 2, 0, 1, 2].
    column = jnp.repeat(jnp.arange(width), len(numbers))
    index = chosen[column]
    prefix = jax.tree.map(lambda x: x[index], flat)
    scores = jax.vmap(lane)(prefix, index, start + column, jnp.tile(numbers, width))
    scores = scores.reshape(width, len(numbers)).sum(axis=1)
    return lax.dynamic_update_slice(sums, scores, (start,))

  # The number of blocks depends on the data: a loop, not a scan.
  blocks = (count + width - 1) // width  # rounded up
  sums = lax.fori_loop(0, blocks, run_block, jnp.zeros(batch * length + width))
  # `sums` is in the sorted order; scatter it back to flat indices, without the padding.
  by_prefix = jnp.zeros(batch * length).at[order[: batch * length]].set(sums[: batch * length])
  return by_prefix.reshape(batch, length), sentence_scores


def action_values(
  sentences: jax.Array, sums: jax.Array, sentence_scores: jax.Array, *, rollouts: int, share: bool
) -> jax.Array:
  """Computes Q of every token (equation 4) from the results of `rollout_sums`.

  Args:
    sentences: int [B, T].
    sums: sums over all N rollouts, [B, T].
    sentence_scores: [B].
    rollouts: N.
    share: as given to `rollout_sums`.

  Returns:
    Q, [B, T].
  """
  ended = jnp.cumsum(sentences == PAD, axis=1) > 0
  last = jnp.arange(sentences.shape[1]) == sentences.shape[1] - 1
  if share:
    # Every prefix takes the sum of the first equal one: same column t, that sentence's row.
    sums = jnp.take_along_axis(sums, first_with_prefix(sentences), axis=0)
  return jnp.where(ended | last, sentence_scores[:, None], sums / rollouts)


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
  """Computes Q of every token of a batch (equation 4) on one device; see `rollout_sums`.

  Returns:
    Q, [B, T].
  """
  numbers = jnp.arange(rollouts)
  sums, sentence_scores = rollout_sums(
    policy, critic, sentences, keys, numbers, rollouts=rollouts, block=block, share=share
  )
  return action_values(sentences, sums, sentence_scores, rollouts=rollouts, share=share)
