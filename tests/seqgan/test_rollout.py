"""Rewards by rollouts, against toy policies and against equation 4 to the letter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from logjax.seqgan.critics import Critic, make_sentence_critic, make_window_critic
from logjax.seqgan.models import Discriminator, Generator
from logjax.seqgan.rollout import (
  action_values,
  finish_prefix,
  first_with_prefix,
  longest_first,
  prefixes_to_finish,
  rewards,
  rollout_sums,
  scan_prefixes,
)
from logjax.seqgan.sampling import Policy, make_policy

VOCABULARY = 5


@pytest.fixture(scope='module', autouse=True)
def compile_quickly():
  """These programs are tiny: most of their time is compilation."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def remembering_policy(vocabulary: int) -> Policy:
  """The next token is surely the sum of all tokens so far plus one, modulo V.

  Its state is that sum, so that a rollout from a wrong state, or one that reads a token twice,
  goes elsewhere.
  """

  def advance(h, token):
    h = jnp.mod(h + token, vocabulary)
    following = jnp.mod(h[0] + 1, vocabulary).astype(jnp.int32)
    return h, 1e4 * jax.nn.one_hot(following, vocabulary)

  inputs = jnp.arange(vocabulary, dtype=jnp.float32)[:, None]
  return Policy(advance, inputs, jnp.zeros(1), jnp.zeros(vocabulary))


def draw_params(init, *args) -> dict:
  """Parameters of the model's shapes, drawn in NumPy: nothing to compile."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(init, jax.random.key(0), *args)
  return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


def random_policy(certainty: float | jax.Array = 1.0) -> Policy:
  """A generator that never draws token 3; `certainty` multiplies its logits."""
  model = Generator(VOCABULARY, 3, 4)
  params = draw_params(model.init, model.start, jnp.int32(0))['params']
  params = jax.tree.map(lambda x: 0.7 * x, params)
  return make_policy(model, params, jnp.array([0, 0, 0, -jnp.inf, 0]), 1 / certainty)


@functools.cache
def make_discriminator(widths: tuple[int, ...] = (1, 2, 3)):
  """Returns a critic, and the same discriminator by plain convolutions."""
  model = Discriminator(VOCABULARY, 3, widths, (2, 3, 2)[: len(widths)], dropout=0.0)
  params = draw_params(model.init, jnp.zeros(4, jnp.int32))

  def score(maxima):
    return jax.nn.softmax(model.apply(params, maxima, method=model.classify_maxima))[1]

  def plain(sentence):
    return jax.nn.softmax(model.apply(params, sentence))[1]

  critic = make_window_critic(model.apply(params, method=model.tables), score)
  return critic, jax.jit(plain)


def equation_4(policy, score, sentence, key, rollouts) -> jax.Array:
  """Q_1..Q_T to the letter: every prefix replayed, every sentence scored whole."""

  def value(t, key):
    h, token, tokens = policy.start, 0, []
    for i, given_token in enumerate(sentence):
      h, logits = policy.advance(h, policy.inputs[token])
      drawn = jax.random.categorical(jax.random.fold_in(key, i), logits + policy.allowed)
      drawn = jnp.where((i > 0) & (token == 0), 0, drawn)
      token = jnp.where(i < t, given_token, drawn)
      tokens.append(token)
    return score(jnp.stack(tokens))

  lengths = jnp.arange(1, len(sentence))
  keys = jax.random.split(key, (len(lengths), rollouts))
  finished = jax.vmap(jax.vmap(value, (None, 0)))(lengths, keys)
  return jnp.append(finished.mean(axis=1), score(sentence))


@pytest.mark.parametrize('t', [1, 2, 3, 4])
def test_the_rollouts_of_a_toy_policy_are_the_known_ones(t):
  """After 2 come 3, 1, 2; after 2 4 come 2, 4; after 2 4 1 comes 3 (sums modulo 5, plus 1)."""
  sentence = jnp.array([2, 4, 1, 3])
  known = {1: [2, 3, 1, 2], 2: [2, 4, 2, 4], 3: [2, 4, 1, 3], 4: [2, 4, 1, 3]}
  policy, critic = remembering_policy(VOCABULARY), make_sentence_critic(4, jnp.sum)
  prefix = jax.tree.map(lambda x: x[t - 1], scan_prefixes(policy, critic, sentence))
  _, tokens = finish_prefix(policy, critic, prefix, t, 4, jax.random.key(0))
  assert tokens.tolist() == known[t]


def test_kept_prefixes_know_their_newest_tokens():
  critic, _ = make_discriminator()
  prefixes = scan_prefixes(remembering_policy(VOCABULARY), critic, jnp.array([2, 4, 1, 3]))
  none = VOCABULARY  # Before the sentence.
  recent, _ = prefixes.memory
  assert recent.tolist() == [[2, none, none], [4, 2, none], [1, 4, 2], [3, 1, 4]]
  assert prefixes.token.tolist() == [2, 4, 1, 3]
  # The state before the newest token is read: the sum of those before it.
  assert prefixes.h[:, 0].tolist() == [0, 2, 1, 2]


def count_steps(policy: Policy, critic: Critic, sentence, t: int, length: int) -> int:
  """How many tokens a lane draws before it stops."""

  def read(memory, token):
    steps, inner = memory
    return steps + 1, critic.read(inner, token)

  counting = Critic(
    (jnp.int32(0), critic.start), read, lambda memory: critic.settled(memory[1]), critic.score
  )
  prefix = jax.tree.map(lambda x: x[t - 1], scan_prefixes(policy, counting, jnp.array(sentence)))
  return int(finish_prefix(policy, counting, prefix, t, length, jax.random.key(0))[0]) - t


@pytest.mark.parametrize(
  ('sentence', 't', 'steps'),
  [
    ([2, 4, 1, 3, 1, 2, 4], 2, 5),  # 2 4 2 4 3 1 2: never ends, T - t steps.
    ([1, 3, 1, 2, 3, 1, 2], 1, 6),  # 1 2 4 3 1 2 4
    ([4, 1, 1, 1, 1, 1, 1], 1, 3),  # 4, then 0: over with the third padding, the widest filter.
    ([4, 0, 0, 0, 0, 0, 0], 2, 2),  # Ended already.
    ([4, 0, 0, 0, 0, 0, 0], 5, 0),  # Settled already.
    ([2, 4, 1, 3, 1, 2, 4], 7, 0),  # Whole already.
  ],
)
def test_a_lane_draws_what_is_missing_and_no_more(sentence, t, steps):
  critic, _ = make_discriminator()
  assert count_steps(remembering_policy(VOCABULARY), critic, sentence, t, 7) == steps


def tokens_of_rollouts(sentences, rollouts: int, block: int, share: bool) -> jax.Array:
  """Runs `rollout_sums` with a score that writes the sentence as a number in base 5."""
  length = sentences.shape[1]
  critic = make_sentence_critic(
    length, lambda s: jnp.sum(s * VOCABULARY ** jnp.arange(length)).astype(jnp.float32)
  )
  keys = jax.random.split(jax.random.key(7), len(sentences))
  run = functools.partial(rollout_sums, rollouts=rollouts, block=block, share=share)
  numbers = jnp.arange(rollouts)
  return jax.jit(lambda s, k: run(random_policy(), critic, s, k, numbers)[0])(sentences, keys)


def read_number(number: float, length: int) -> list[int]:
  return [int(number) // VOCABULARY**i % VOCABULARY for i in range(length)]


def test_rollouts_keep_their_prefix_end_once_and_draw_no_token_that_is_not_allowed():
  sentences = np.tile([[1, 4, 2, 2, 4], [4, 1, 0, 0, 0]], (100, 1))
  sums = np.asarray(tokens_of_rollouts(sentences, rollouts=1, block=64, share=False))
  ended = 0
  for sentence, row in zip(sentences, sums, strict=True):
    needed = (sentence != 0).sum() if sentence[-1] == 0 else 4
    assert not row[needed:].any()
    for t in range(1, needed + 1):
      finished = read_number(row[t - 1], 5)
      assert finished[:t] == sentence[:t].tolist()
      end = finished.index(0) if 0 in finished else 5
      assert not any(finished[end:])
      assert 3 not in finished[t:]
      ended += end < 5
  assert ended > 50 and len(np.unique(sums[::2, 0])) > 10


@pytest.mark.parametrize('share', [False, True])
def test_the_block_changes_nothing(share):
  sentences, _ = draw_sentences(5)
  sums = [tokens_of_rollouts(sentences[:9], 3, block, share) for block in (3, 4, 50, 10_000)]
  for other in sums[1:]:
    np.testing.assert_array_equal(sums[0], other)


def test_parts_of_the_rollouts_add_up_to_all_of_them():
  """As on several devices, where the last has less to do if N cannot be divided."""
  critic, _ = make_discriminator()
  sentences, keys = (x[:6] for x in draw_sentences(5))
  run = functools.partial(rollout_sums, rollouts=5, block=8, share=True)

  @jax.jit
  def sums(numbers):
    return run(random_policy(), critic, sentences, keys, numbers)

  (whole, scores), *parts = (sums(jnp.array(n)) for n in (range(5), [0, 1, 2], [3, 4, 5]))
  np.testing.assert_allclose(whole, parts[0][0] + parts[1][0], rtol=1e-5)
  np.testing.assert_array_equal(scores, parts[1][1])


# One shape, compiled once.
SMALL_SENTENCES = arrays.arrays(np.int32, (5, 4), elements=st.integers(0, 2))
find_first = jax.jit(first_with_prefix)
find_needed = jax.jit(prefixes_to_finish, static_argnums=1)
find_order = jax.jit(longest_first)


@settings(max_examples=50, deadline=None)
@given(SMALL_SENTENCES)
def test_equal_prefixes_are_found_and_finished_once(sentences):
  first = np.asarray(find_first(sentences))
  needed = {share: np.asarray(find_needed(sentences, share)) for share in (False, True)}
  length = sentences.shape[1]
  distinct = set()
  for b, sentence in enumerate(sentences):
    for t in range(1, length + 1):
      same = [i for i, other in enumerate(sentences) if (other[:t] == sentence[:t]).all()]
      assert first[b, t - 1] == same[0]
      open_prefix = t < length and 0 not in sentence[:t]
      assert needed[0][b, t - 1] == open_prefix
      if open_prefix:
        distinct.add(tuple(sentence[:t]))
  assert needed[1].sum() == len(distinct)


@settings(max_examples=50, deadline=None)
@given(SMALL_SENTENCES)
def test_prefixes_are_ordered_by_what_their_sentences_still_have(sentences):
  needed = np.asarray(find_needed(sentences, False))
  order = np.asarray(find_order(sentences, needed))
  assert sorted(order.tolist()) == list(range(sentences.size))
  missing = ((sentences != 0).sum(axis=1)[:, None] - np.arange(sentences.shape[1])).ravel()
  count = needed.sum()
  assert needed.ravel()[order[:count]].all()
  assert np.all(np.diff(missing[order[:count]]) <= 0)


def test_shared_rollouts_are_those_of_the_first_sentence_with_the_prefix():
  critic, _ = make_discriminator()
  sentences, keys = (x[:40] for x in draw_sentences(5))

  @functools.partial(jax.jit, static_argnums=1)
  def values(keys, share):
    return rewards(random_policy(), critic, sentences, keys, rollouts=3, block=16, share=share)

  shared, alone = np.asarray(values(keys, True)), np.asarray(values(keys, False))
  first = np.asarray(find_first(sentences))
  expected = np.take_along_axis(alone, first, axis=0)
  np.testing.assert_allclose(shared, expected, rtol=1e-5, atol=1e-6)
  assert not np.allclose(shared, alone)


def test_action_values_by_hand():
  """Two sentences with the prefix 1; the first ends at its second token."""
  sentences = jnp.array([[1, 0, 0], [1, 2, 1]])
  sums, whole = jnp.array([[3.0, 0, 0], [0, 1.0, 0]]), jnp.array([0.25, 0.75])
  values = action_values(sentences, sums, whole, rollouts=4, share=True)
  np.testing.assert_allclose(values, [[0.75, 0.25, 0.25], [0.75, 0.25, 0.75]])


@functools.cache
def make_programs(length: int):
  """Returns `(certainty, sentences [B, T], keys [B]) -> Q [B, T]`: ours, and equation 4."""
  # A discriminator has no convolution wider than its sentences.
  critic, plain = make_discriminator(tuple(range(1, min(3, length) + 1)))

  def ours(certainty, sentences, keys):
    policy = random_policy(certainty)
    return rewards(policy, critic, sentences, keys, rollouts=2, block=512, share=False)

  def reference(certainty, sentence, key):
    return equation_4(random_policy(certainty), plain, sentence, key, 2)

  return jax.jit(ours), jax.jit(jax.vmap(reference, (None, 0, 0)))


ESTIMATES = 4000


def draw_sentences(length: int) -> tuple[jax.Array, jax.Array]:
  """Random sentences, many of which have ended early, and a key for each."""
  sentences = np.random.default_rng(length).integers(VOCABULARY, size=(ESTIMATES, length))
  ended = np.cumsum(sentences == 0, axis=1) > 0
  return jnp.asarray(np.where(ended, 0, sentences)), jax.random.split(jax.random.key(1), ESTIMATES)


@pytest.mark.parametrize('length', [1, 2, 4, 5])
def test_rewards_follow_equation_4_exactly_where_nothing_is_random(length):
  """A policy so certain that its rollouts are known, on 4,000 sentences."""
  ours, reference = make_programs(length)
  inputs = (1e6, *draw_sentences(length))
  np.testing.assert_allclose(ours(*inputs), reference(*inputs), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('sentence', [(2, 4, 1, 1), (1, 4, 4, 1, 4)])
def test_rewards_follow_equation_4_in_law(sentence):
  """Means and spreads of 4,000 estimates of one sentence's Q."""
  sentences = np.tile(np.array(sentence), (ESTIMATES, 1))
  keys = jax.random.split(jax.random.key(2), (2, ESTIMATES))
  ours, theirs = (
    np.asarray(program(1.0, sentences, k))
    for program, k in zip(make_programs(len(sentence)), keys, strict=True)
  )
  deviation = theirs.std(axis=0)
  assert np.all(deviation[:-1] > 0.1)
  difference = np.abs(ours.mean(axis=0) - theirs.mean(axis=0))
  assert np.all(difference < 6 * deviation * np.sqrt(2 / ESTIMATES) + 1e-6)
  np.testing.assert_allclose(ours.std(axis=0), deviation, rtol=0.2, atol=1e-6)


def test_the_reward_of_the_last_token_is_the_score_of_the_sentence():
  sentences, keys = draw_sentences(5)
  _, plain = make_discriminator()
  values = make_programs(5)[0](1.0, sentences, keys)
  np.testing.assert_allclose(values[:, -1], jax.vmap(plain)(sentences), rtol=1e-5, atol=1e-5)
