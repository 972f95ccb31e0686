"""Rewards by rollouts, against toy policies and against equation 4 to the letter."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logjax.oversamplers.seqgan.models import Discriminator, Generator
from logjax.oversamplers.seqgan.rollout import (
  Critic,
  finish_two_prefixes,
  keep_prefixes,
  lanes,
  rewards,
)
from logjax.oversamplers.seqgan.sampling import Policy, make_policy

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
  params = draw_params(model.init, jnp.zeros(4), jnp.int32(0))['params']
  params = jax.tree.map(lambda x: 0.7 * x, params)
  return make_policy(model, params, jnp.array([0, 0, 0, -jnp.inf, 0]), 1 / certainty)


@functools.cache
def make_discriminator(widths: tuple[int, ...] = (1, 2, 3)):
  """Returns a critic, and the same discriminator by plain convolutions."""
  model = Discriminator(VOCABULARY, 3, widths, (2, 3, 2)[: len(widths)], dropout=0.0)
  params = draw_params(model.init, jnp.zeros(4, jnp.int32))

  def score(maxima):
    return jax.nn.softmax(model.apply(params, maxima, method=model.score))[1]

  def plain(sentence):
    return jax.nn.softmax(model.apply(params, sentence))[1]

  return Critic(model.apply(params, method=model.tables), score), jax.jit(plain)


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


@given(st.integers(1, 41), st.integers(1, 17))
def test_every_prefix_is_finished_n_times_without_a_token_too_many(length, rollouts):
  if length % 2 == 0 and rollouts % 2 == 1:
    with pytest.raises(ValueError, match='even number of rollouts'):
      lanes(length, rollouts)
    return
  first, second = lanes(length, rollouts)
  counts = np.bincount(np.concatenate([first, second]), minlength=length)
  np.testing.assert_array_equal(counts[1:], rollouts)
  assert counts[0] == 0 and counts.size == length
  np.testing.assert_array_equal(first + second, length)
  # Equation 4 needs N * (1 + 2 + ... + T - 1) tokens; a lane has T steps.
  assert len(first) * length == rollouts * length * (length - 1) // 2


@pytest.mark.parametrize('t', [1, 2, 3])
def test_the_rollouts_of_a_toy_policy_are_the_known_ones(t):
  """After 2 come 3, 1, 2; after 2 4 come 2, 4; after 2 4 1 comes 3 (sums modulo 5, plus 1)."""
  sentence = jnp.array([2, 4, 1, 3])
  known = {1: [3, 1, 2], 2: [2, 4], 3: [3]}
  policy = remembering_policy(VOCABULARY)
  critic, _ = make_discriminator()
  prefixes = keep_prefixes(policy, critic, sentence)
  tokens = finish_two_prefixes(policy, critic, prefixes, t, jax.random.key(0))[2]
  assert tokens.tolist() == known[t] + known[4 - t]


def test_kept_prefixes_know_their_newest_tokens():
  critic, _ = make_discriminator()
  prefixes = keep_prefixes(remembering_policy(VOCABULARY), critic, jnp.array([2, 4, 1, 3]))
  none = VOCABULARY  # Before the sentence.
  assert prefixes.recent.tolist() == [[2, none, none], [4, 2, none], [1, 4, 2], [3, 1, 4]]
  # The state before the newest token is read: the sum of those before it.
  assert prefixes.h[:, 0].tolist() == [0, 2, 1, 2]


@pytest.fixture(scope='module')
def finished():
  """Rollouts of the random policy: two sentences, the second one ended, and 50 keys each.

  Returns:
    The sentences and for both prefix lengths of a lane, 1 to 4 of T = 5: the scores of the
    finished sentences and the tokens drawn, first prefix first.
  """
  policy = random_policy()
  critic, _ = make_discriminator()
  sentences = jnp.array([[1, 4, 2, 2, 4], [4, 1, 0, 0, 0]])

  @jax.jit
  @jax.vmap
  def all_lanes(sentence):
    prefixes = keep_prefixes(policy, critic, sentence)
    keys = jax.random.split(jax.random.key(0), (4, 50))
    finish = functools.partial(finish_two_prefixes, policy, critic, prefixes)
    return jax.vmap(jax.vmap(finish, (None, 0)))(jnp.arange(1, 5), keys)

  return np.asarray(sentences), jax.tree.map(np.asarray, all_lanes(sentences))


def assemble(finished, row: int, t: int) -> tuple[np.ndarray, np.ndarray]:
  """The whole sentences of the lanes (t, T - t) with the scores they were given."""
  sentences, (first, second, tokens) = finished
  sentence, drawn = sentences[row], tokens[row, t - 1]
  length, count = len(sentence), len(drawn)
  whole = np.concatenate(
    [
      np.hstack([np.tile(sentence[:t], (count, 1)), drawn[:, : length - t]]),
      np.hstack([np.tile(sentence[: length - t], (count, 1)), drawn[:, length - t :]]),
    ]
  )
  return whole, np.concatenate([first[row, t - 1], second[row, t - 1]])


@pytest.mark.parametrize('row', [0, 1])
@pytest.mark.parametrize('t', [1, 2, 3, 4])
def test_scores_of_rollouts_are_those_of_the_whole_sentences(finished, row, t):
  """So the prefix is kept, and windows across its end are counted."""
  whole, scores = assemble(finished, row, t)
  _, plain = make_discriminator()
  np.testing.assert_allclose(scores, jax.vmap(plain)(whole), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize('t', [1, 2, 3, 4])
def test_nothing_follows_the_end_of_a_sentence_in_a_rollout(finished, t):
  whole, scores = assemble(finished, 0, t)
  ended = np.cumsum(whole == 0, axis=1) > 0
  assert ended.any() and not ended.all(axis=0).any()
  assert np.all(whole[ended] == 0)
  assert np.unique(scores).size > 1
  assert 3 not in whole


def test_a_sentence_that_has_ended_is_finished_in_one_way_only(finished):
  """The second sentence ends at 3: only prefixes of length 1 and 2 have anything to draw."""
  sentences, _ = finished
  whole, scores = assemble(finished, 1, 1)
  ended = whole[50:]  # The prefix of length 4.
  np.testing.assert_array_equal(ended, np.tile(sentences[1], (50, 1)))
  assert np.unique(scores[50:]).size == 1 and np.unique(scores[:50]).size > 1


@functools.cache
def make_programs(length: int):
  """Returns `(certainty, sentences [R, T], keys [R]) -> Q [R, T]`: ours, and equation 4."""
  # A discriminator has no convolution wider than its sentences.
  critic, plain = make_discriminator(tuple(range(1, min(3, length) + 1)))

  def ours(certainty, sentence, key):
    return rewards(random_policy(certainty), critic, sentence, key, 2)

  def reference(certainty, sentence, key):
    return equation_4(random_policy(certainty), plain, sentence, key, 2)

  return tuple(jax.jit(jax.vmap(program, (None, 0, 0))) for program in (ours, reference))


ESTIMATES = 4000


def draw_sentences(length: int) -> tuple[np.ndarray, jax.Array]:
  """Random sentences, many of which have ended early, and a key for each."""
  sentences = np.random.default_rng(length).integers(VOCABULARY, size=(ESTIMATES, length))
  ended = np.cumsum(sentences == 0, axis=1) > 0
  return np.where(ended, 0, sentences), jax.random.split(jax.random.key(1), ESTIMATES)


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
