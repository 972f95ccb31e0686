"""SeqGAN's models: their sizes, and the discriminator token by token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from logjax.seqgan.models import Discriminator, Generator
from logjax.seqgan.tables import (
  group_widths,
  responses_at,
  strongest_windows,
  tables_are_faster,
  window_responses,
)

VOCABULARY, LENGTH = 6, 5
PUBLISHED_WIDTHS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
PUBLISHED_FILTERS = (100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160)


@pytest.fixture(scope='module', autouse=True)
def compile_quickly():
  """These programs are tiny: most of their time is compilation."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def size_of(init, *args) -> int:
  """Number of parameters, none of them allocated."""
  return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(init, jax.random.key(0), *args)))


def draw_params(init, *args) -> dict:
  """Parameters of the model's shapes, drawn in NumPy: nothing to compile."""
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(init, jax.random.key(0), *args)
  return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


def test_the_published_discriminator_has_the_published_number_of_parameters():
  model = Discriminator(5000, 64, PUBLISHED_WIDTHS, PUBLISHED_FILTERS, 0.25)
  assert sum(PUBLISHED_FILTERS) == 1720
  assert size_of(model.init, jnp.zeros(20, jnp.int32)) == 7_045_402


def test_the_published_generator_has_the_published_number_of_parameters():
  model = Generator(5000, 32, 32, cell='lstm')
  assert size_of(model.init, model.start, jnp.int32(0)) == 333_320


def test_the_generator_has_one_bias_a_gate():
  """Embedding, W and b of three gates, U of three gates, head."""
  model = Generator(1000, 32, 30)
  expected = 1000 * 32 + 3 * (32 * 30 + 30) + 3 * 30 * 30 + 30 * 1000 + 1000
  assert size_of(model.init, jnp.zeros(30), jnp.int32(0)) == expected


def test_all_of_the_generator_is_drawn_from_one_normal_law():
  """Weights and biases alike, with the standard deviation of the published code."""
  model = Generator(200, 10, 20, init_std=0.1)
  params = jax.jit(model.init)(jax.random.key(0), jnp.zeros(20), jnp.int32(0))
  for leaf in jax.tree.leaves(params):
    # Four standard errors of the standard deviation of that many draws.
    assert abs(leaf.std() - 0.1) < 0.1 * 4 / np.sqrt(2 * leaf.size)


@pytest.mark.parametrize(('cell', 'gates'), [('gru', 3), ('lstm', 4)])
def test_a_generator_step_is_a_lookup_and_an_advance(cell, gates):
  model = Generator(VOCABULARY, 3, 4, cell=cell)
  h = jax.tree.map(lambda x: x + jnp.arange(4.0), model.start)
  variables = draw_params(model.init, h, jnp.int32(0))
  inputs = model.apply(variables, method=model.inputs)
  assert inputs.shape == (VOCABULARY, 4 * gates)
  for token in (0, 5):
    ours = model.apply(variables, h, inputs[token], method=model.advance)
    theirs = model.apply(variables, h, jnp.int32(token))
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)
    assert jax.tree.map(jnp.shape, ours[0]) == jax.tree.map(jnp.shape, h)
    assert ours[1].shape == (VOCABULARY,)


SIZES = pytest.mark.parametrize(
  ('widths', 'filters'),
  [
    ((1,), (3,)),
    ((1, 2, 4), (2, 3, 1)),
    ((3,), (2,)),
    ((2, LENGTH), (1, 4)),
    ((2, 3, 4), (2, 1, 3)),
  ],
)


def plain(model: Discriminator, variables: dict, sentence) -> jax.Array:
  """Logits by plain convolutions."""
  features = model.apply(variables, sentence, method=model.convolve)
  return model.apply(variables, features, method=model.classify)


@SIZES
def test_the_running_maxima_of_windows_equal_plain_convolutions(widths, filters):
  model = Discriminator(VOCABULARY, 3, widths, filters, dropout=0.0)
  sentences = np.random.default_rng(1).integers(VOCABULARY, size=(50, LENGTH))
  variables = draw_params(model.init, sentences[0])
  widest = max(widths)

  @jax.jit
  @jax.vmap
  def both(sentence):
    tables = model.apply(variables, method=model.tables)

    def step(carry, token):
      recent, maxima = carry
      recent = jnp.concatenate([token[None], recent[:-1]])
      maxima = jnp.maximum(maxima, jnp.concatenate(window_responses(tables, recent)))
      return (recent, maxima), maxima

    start = jnp.full(widest, VOCABULARY), jnp.full(sum(filters), -jnp.inf)
    (_, maxima), running = lax.scan(step, start, sentence)
    score = model.apply(variables, maxima, method=model.classify_maxima)
    return score, plain(model, variables, sentence), running

  score, expected, running = both(sentences)
  np.testing.assert_allclose(score, expected, rtol=1e-5, atol=1e-5)
  assert expected.std(axis=0).min() > 1e-3  # Sentences do differ in their scores.
  ends = np.repeat(np.array(widths), filters)
  started = np.arange(1, LENGTH + 1)[:, None] >= ends
  np.testing.assert_array_equal(np.isfinite(running), np.broadcast_to(started, running.shape))


@SIZES
def test_scores_and_their_gradients_are_those_of_plain_convolutions(widths, filters):
  """Also where several windows have the same tokens: a padded end, a sentence of one token."""
  model = Discriminator(VOCABULARY, 3, widths, filters, dropout=0.0)
  sentences = np.random.default_rng(2).integers(VOCABULARY, size=(20, LENGTH))
  sentences[0] = 1
  sentences[1, 2:] = 0
  variables = draw_params(model.init, sentences[0])

  def scores_and_gradients(score):
    @jax.jit
    def total(variables):
      logits = jax.vmap(lambda sentence: score(variables, sentence))(sentences)
      return jnp.sum(logits * np.linspace(-1, 1, logits.size).reshape(logits.shape)), logits

    return jax.grad(total, has_aux=True)(variables)

  ours = scores_and_gradients(
    lambda variables, sentence: model.apply(variables, sentence, False, True)
  )
  theirs = scores_and_gradients(lambda variables, sentence: plain(model, variables, sentence))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), ours, theirs)
  assert all(np.abs(leaf).max() > 1e-3 for leaf in jax.tree.leaves(ours))


def test_of_equal_responses_the_first_window_is_the_strongest():
  """Filters of width 1 and 2 whose response to a token, or two, is its number or their sum."""
  rows = jnp.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0], [-jnp.inf, -jnp.inf]])
  older = rows.at[:, 0].set(0.0)  # the narrower filter does not reach it
  sentence = jnp.array([1, 2, 2, 0, 2, 2])
  ends = strongest_windows([[rows, older]], sentence)
  np.testing.assert_array_equal(ends, [1, 2])
  np.testing.assert_array_equal(responses_at([[rows, older]], sentence, ends), [2, 4])


def test_tables_are_made_for_sentences_with_enough_places():
  assert tables_are_faster(240, 64 * 40) and tables_are_faster(31, 8 * 16)
  assert not tables_are_faster(1_000, 64 * 40) and not tables_are_faster(31, 8 * 15)


def test_a_sentence_shorter_than_a_filter_is_refused():
  model = Discriminator(VOCABULARY, 3, (1, 4), (2, 3), dropout=0.0)
  variables = draw_params(model.init, np.zeros(4, np.int32))
  with pytest.raises(ValueError, match='no window of 4'):
    model.apply(variables, np.zeros(2, np.int32), False, True)


def test_a_response_that_is_not_a_number_is_the_maximum():
  model = Discriminator(VOCABULARY, 3, (1, 2), (2, 3), dropout=0.0)
  sentence = np.array([1, 2, 3, 4, 0])
  variables = draw_params(model.init, sentence)
  variables['params']['embed']['embedding'][3] = np.nan
  assert np.isnan(model.apply(variables, sentence, False, True)).all()


@pytest.mark.parametrize(
  ('widths', 'expected'),
  [
    ((3,), [(3,)]),
    ((1, 2, 3), [(1, 2), (3,)]),
    ((2, 3, 4, 5), [(2, 3, 4), (5,)]),
    (PUBLISHED_WIDTHS, [(1, 2), (3, 4, 5, 6), (7, 8, 9, 10), (15, 20)]),
  ],
)
def test_bands_have_widths_within_a_factor_of_two(widths, expected):
  assert [tuple(widths[i] for i in band) for band in group_widths(widths)] == expected


def test_a_convolution_by_hand():
  """Embedding 1, filters of width 1 and 2; the maximum of sums over two neighbours."""
  model = Discriminator(3, 1, (1, 2), (1, 1), dropout=0.0)
  variables = {
    'params': {
      'embed': {'embedding': jnp.array([[0.0], [1.0], [10.0]])},
      'kernel_1': jnp.array([[[2.0]]]),
      'kernel_2': jnp.array([[[1.0]], [[-1.0]]]),
      'bias': jnp.array([0.5, -0.5]),
      # A closed gate lets the features through as they are.
      'highway': {'kernel': jnp.ones((2, 2)), 'bias': jnp.zeros(2)},
      'gate': {'kernel': jnp.zeros((2, 2)), 'bias': jnp.full(2, -100.0)},
      'out': {'kernel': jnp.eye(2), 'bias': jnp.array([0.0, 1.0])},
    }
  }
  # Width 1: 2 * 10 + 0.5. Width 2, older minus newer token: 0 - 1, 1 - 10, 10 - 1, 1 - 0; the
  # largest is 9, minus 0.5.
  logits = model.apply(variables, jnp.array([0, 1, 2, 1, 0]))
  np.testing.assert_allclose(logits, [20.5, 9.5], rtol=1e-6)


def test_dropout_acts_in_training_only():
  model = Discriminator(VOCABULARY, 3, (1, 2), (4, 4), dropout=0.5)
  sentence = jnp.array([1, 2, 3, 4, 5])
  variables = draw_params(model.init, sentence)
  key_a, key_b = jax.random.split(jax.random.key(1))
  a, b = (model.apply(variables, sentence, True, rngs={'dropout': k}) for k in (key_a, key_b))
  assert not np.allclose(a, b)
  same = [model.apply(variables, sentence) for _ in range(2)]
  np.testing.assert_array_equal(*same)
