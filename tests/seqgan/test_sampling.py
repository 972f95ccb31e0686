"""Drawing tokens and sentences: the law, the extremes, and toy policies with known sentences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logjax.seqgan.models import Generator
from logjax.seqgan.sampling import (
  Policy,
  is_inside,
  log_probabilities,
  make_policy,
  sample_sentence,
  sample_token,
)

BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))
UNIFORMS = (0.0, 1e-30, 0.25, 0.5, 0.999999, BELOW_ONE)

draw = jax.jit(sample_token)
draw_many = jax.jit(jax.vmap(sample_token, (None, 0)))


@pytest.fixture(scope='module', autouse=True)
def compile_quickly():
  """These programs are tiny: most of their time is compilation."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def counting_policy(vocabulary: int) -> Policy:
  """After token v surely v + 1, after the last one surely 0."""

  def advance(h, token):
    return h, 1e4 * jnp.roll(token, 1)

  return Policy(advance, jnp.eye(vocabulary), jnp.zeros(1), jnp.zeros(vocabulary))


def assert_drawn_from(counts: np.ndarray, probabilities: np.ndarray) -> None:
  """Pearson's chi-square within six standard deviations of its mean, and nothing impossible."""
  possible = probabilities > 0
  assert counts[~possible].sum() == 0
  expected = counts.sum() * probabilities[possible]
  statistic = np.sum((counts[possible] - expected) ** 2 / expected)
  freedom = possible.sum() - 1
  assert statistic < freedom + 6 * np.sqrt(2 * freedom)


@pytest.mark.parametrize('vocabulary', [5, 37])
def test_tokens_follow_the_softmax_of_the_logits(vocabulary):
  """20,000 draws; 37 tokens do not fill their blocks."""
  logits = 1.5 * np.random.default_rng(vocabulary).normal(size=vocabulary).astype(np.float32)
  logits[3] = -np.inf
  uniforms = jax.random.uniform(jax.random.key(0), (20_000,))
  counts = np.bincount(draw_many(logits, uniforms), minlength=vocabulary)
  assert counts.size == vocabulary
  assert_drawn_from(counts, np.asarray(jax.nn.softmax(logits)))


@pytest.mark.parametrize('vocabulary', [2, 5, 37])
def test_a_rising_uniform_passes_all_tokens_in_order(vocabulary):
  """Equal logits cut [0, 1) into equal parts."""
  uniforms = (np.arange(vocabulary * 4, dtype=np.float32) + 0.5) / (vocabulary * 4)
  tokens = draw_many(jnp.full(vocabulary, -3.0), uniforms)
  np.testing.assert_array_equal(tokens, np.repeat(np.arange(vocabulary), 4))


def test_a_uniform_on_the_border_of_two_tokens_draws_the_later_one():
  np.testing.assert_array_equal(draw_many(jnp.zeros(4), jnp.array([0, 0.25, 0.5, 0.75])), range(4))


@pytest.mark.parametrize('uniform', UNIFORMS)
@pytest.mark.parametrize('certain', [0, 4, 17, 36])
@pytest.mark.parametrize(
  ('high', 'low'), [(1e4, -1e4), (1e4, -np.inf), (-1e4, -np.inf), (3e38, -3e38), (0.0, -np.inf)]
)
def test_a_certain_token_is_drawn_whatever_the_uniform(uniform, certain, high, low):
  logits = np.full(37, low, np.float32)
  logits[certain] = high
  token = draw(logits, np.float32(uniform))
  assert token == certain and token.dtype == jnp.int32


@pytest.mark.parametrize('logit', [1e4, -1e4, 3e38])
def test_equal_extreme_logits_are_equally_likely(logit):
  assert draw(np.full(37, logit, np.float32), np.float32(0)) == 0
  assert draw(np.full(37, logit, np.float32), np.float32(0.5)) == 18
  assert draw(np.full(37, logit, np.float32), np.float32(BELOW_ONE)) == 36


def test_a_vocabulary_of_one_token_has_one_answer():
  assert draw(jnp.zeros(1), np.float32(BELOW_ONE)) == 0


LOGITS = st.one_of(st.just(-np.inf), st.floats(-1e4, 1e4, width=32), st.floats(-5, 5, width=32))


@settings(max_examples=300, deadline=None)
@given(
  st.lists(LOGITS, min_size=37, max_size=37).filter(lambda logits: max(logits) > -np.inf),
  st.one_of(st.sampled_from(UNIFORMS), st.floats(0, BELOW_ONE, width=32)),
)
def test_a_forbidden_token_is_never_drawn(logits, uniform):
  logits = np.array(logits, np.float32)
  token = int(draw(logits, np.float32(uniform)))
  assert 0 <= token < 37 and logits[token] > -np.inf


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 0.5, 0.9]))
def test_a_forbidden_token_is_not_drawn_at_the_edge_of_another(seed, share):
  """Uniforms at the very ends of the tokens' parts of [0, 1), where rounding decides."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=37).astype(np.float32)
  logits[(rng.random(37) < share) & (np.arange(37) != rng.integers(37))] = -np.inf
  if not np.isfinite(logits).any():
    logits[0] = 0
  edges = np.cumsum(np.asarray(jax.nn.softmax(logits)), dtype=np.float32)
  edges = np.concatenate([edges, np.nextafter(edges, 0), np.nextafter(edges, np.float32(2))])
  tokens = np.asarray(draw_many(logits, np.clip(edges, 0, np.float32(BELOW_ONE))))
  assert tokens.max() < 37 and np.isfinite(logits[tokens]).all()


def test_a_counting_policy_counts_and_its_end_is_absorbing():
  """Nothing follows the end, though the policy would begin anew."""
  sentence = sample_sentence(counting_policy(4), jax.random.key(0), 7)
  np.testing.assert_array_equal(sentence, [1, 2, 3, 0, 0, 0, 0])
  assert sentence.dtype == jnp.int32


def test_a_sentence_may_end_with_its_first_token_or_not_at_all():
  policy = counting_policy(3)
  at_once = policy._replace(advance=lambda h, token: (h, jnp.array([1e4, 0.0, 0.0])))
  never = policy._replace(advance=lambda h, token: (h, jnp.array([-1e4, -1e4, 0.0])))
  key = jax.random.key(0)
  np.testing.assert_array_equal(sample_sentence(at_once, key, 4), [0, 0, 0, 0])
  np.testing.assert_array_equal(sample_sentence(never, key, 4), [2, 2, 2, 2])


def test_tokens_that_a_set_does_not_have_are_skipped():
  """The policy all but insists on 2, which is not allowed."""
  policy = counting_policy(4)._replace(
    advance=lambda h, token: (h, jnp.array([0.0, 1.0, 1e4, 50.0])),
    allowed=jnp.array([0.0, 0.0, -jnp.inf, 0.0]),
  )
  np.testing.assert_array_equal(sample_sentence(policy, jax.random.key(0), 3), [3, 3, 3])


@pytest.fixture(scope='module')
def generator() -> tuple[Generator, dict]:
  """A generator of four tokens with weights large enough to have opinions."""
  model = Generator(4, 3, 5)
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(5), jnp.int32(0))['params']
  return model, jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


def by_hand(params: dict, allowed: np.ndarray, sentence: list[int]) -> list[float]:
  """Log-probabilities of a sentence and its end from equations 1 to 3 and a softmax, in NumPy."""
  cell = params['recurrent']
  h, previous, logs = np.zeros(5), 0, []
  for token in sentence:
    x = params['embed']['embedding'][previous]
    r, z, c = np.split(x @ cell['input']['kernel'] + cell['input']['bias'], 3)
    u_r, u_z = np.split(cell['gates'], 2, axis=1)
    r, z = 1 / (1 + np.exp(-(r + h @ u_r))), 1 / (1 + np.exp(-(z + h @ u_z)))
    h = z * h + (1 - z) * np.tanh(c + (r * h) @ cell['candidate'])
    weights = np.exp(h @ params['head']['kernel'] + params['head']['bias'] + allowed)
    logs.append(np.log(weights[token] / weights.sum()))
    previous = token
  return logs


@pytest.mark.parametrize(
  ('sentence', 'length'), [([3, 1, 3, 1, 1], 5), ([1, 0, 0, 0, 0], 2), ([0, 0, 0, 0, 0], 1)]
)
def test_log_probabilities_by_hand_up_to_the_end(generator, sentence, length):
  model, params = generator
  allowed = np.array([0, 0, -np.inf, 0], np.float32)
  logs = log_probabilities(make_policy(model, params, allowed), jnp.array(sentence))
  expected = by_hand(params, allowed, sentence[:length]) + [0.0] * (5 - length)
  np.testing.assert_allclose(logs, expected, rtol=1e-4, atol=1e-6)


def test_a_sampled_sentence_is_as_likely_as_its_log_probability_says(generator):
  """All 40 sentences of at most three tokens against 20,000 sampled ones."""
  model, params = generator
  policy = make_policy(model, params, jnp.zeros(4))
  all_tokens = np.stack(np.meshgrid(*[np.arange(4)] * 3, indexing='ij'), axis=-1).reshape(-1, 3)
  after_end = np.cumsum(all_tokens == 0, axis=1) - (all_tokens == 0) > 0
  sentences = all_tokens[~np.any(after_end & (all_tokens != 0), axis=1)]
  assert len(sentences) == 40
  score = jax.jit(jax.vmap(lambda s: log_probabilities(policy, s).sum()))
  probabilities = np.exp(score(sentences))
  np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-5)
  keys = jax.random.split(jax.random.key(0), 20_000)
  sampled = jax.jit(jax.vmap(lambda key: sample_sentence(policy, key, 3)))(keys)
  code = np.array([16, 4, 1])
  counts = np.bincount(sampled @ code, minlength=64)[sentences @ code]
  assert counts.sum() == 20_000
  assert_drawn_from(counts, probabilities)


def test_the_temperature_divides_the_logits(generator):
  model, params = generator
  plain, warm = (make_policy(model, params, jnp.zeros(4), t) for t in (1.0, 2.0))
  h, projected = jnp.ones(5), plain.inputs[2]
  np.testing.assert_allclose(
    warm.advance(h, projected)[1], plain.advance(h, projected)[1] / 2, rtol=1e-6
  )


@pytest.mark.parametrize(
  ('sentence', 'inside'),
  [
    ([3, 1, 2, 4], [True, True, True, True]),
    ([3, 1, 2, 0], [True, True, True, True]),
    ([3, 0, 0, 0], [True, True, False, False]),
    ([0, 0, 0, 0], [True, False, False, False]),
    ([0, 2, 0, 0], [True, False, False, False]),
    ([5], [True]),
  ],
)
def test_the_end_counts_as_inside_and_what_follows_does_not(sentence, inside):
  np.testing.assert_array_equal(is_inside(jnp.array(sentence)), inside)
