"""The classifier: its size, its steps one by one, its noise, and rows that repeat."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import compiled_fast
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from configs import default
from logjax.models.classifier import (
  Classifier,
  ClassifierTrainer,
  FeatureRows,
  Noise,
  add_noise,
  balanced_weights,
  distinct_examples,
  make_classifier,
)
from logjax.models.recurrent import GRUCell
from logjax.training.runtime import quiet_runtime

STEPS, CHANNELS, HIDDEN = 4, 2, 3
NOISE = 0.5


def settings_of(**changes):
  settings = default.get_config().detector.gru
  settings.update(hidden=HIDDEN, dropout=0.0, dropout_means='drop', batch=8, rows_per_epoch=0)
  settings.update(changes)
  return settings


def draw_rows(count: int, distinct: int = 6, noisy: bool = False, seed: int = 0) -> FeatureRows:
  """FeatureRows of a few distinct features, abnormal where the first of these is positive."""
  rng = np.random.default_rng(seed)
  table = rng.normal(size=(distinct, STEPS, CHANNELS)).astype(np.float32)
  index = rng.integers(0, distinct, count)
  number = 1000 + rng.permutation(count)
  return FeatureRows(table, index, table[index, 0, 0] > 0, np.full(count, noisy), number)


def make_trainer(
  noise_std: float = 0.0, devices: int = 1, workdir: Path | None = None, **changes
) -> ClassifierTrainer:
  settings, noise = settings_of(**changes), Noise(noise_std, jax.random.key(9))
  runtime = quiet_runtime(devices, workdir)
  return ClassifierTrainer(make_classifier(settings), settings, noise=noise, runtime=runtime)


def draw_params(settings, shape: tuple[int, int]) -> dict:
  """Parameters of the classifier's shapes, drawn in NumPy: nothing to compile."""
  rng = np.random.default_rng(0)
  init = make_classifier(settings).init
  shapes = jax.eval_shape(init, jax.random.key(0), jnp.zeros(shape))['params']
  return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


@pytest.fixture(scope='module', autouse=True)
def fast_compilation():
  with compiled_fast():
    yield


@pytest.fixture(scope='module')
def plain():
  """A trainer without noise, and parameters."""
  return make_trainer(), draw_params(settings_of(), (STEPS, CHANNELS))


@pytest.fixture(scope='module')
def noisy():
  """A trainer with noise, and parameters."""
  return make_trainer(NOISE), draw_params(settings_of(), (STEPS, CHANNELS))


def test_the_papers_classifier_has_30_600_and_202_parameters():
  """3 * (100 * 1 + 100 * 100 + 100), and 100 * 2 + 2."""
  settings = default.get_config().detector.gru
  settings.dropout_means = 'drop'
  shapes = jax.eval_shape(make_classifier(settings).init, jax.random.key(0), jnp.zeros((40, 1)))[
    'params'
  ]
  sizes = {name: sum(x.size for x in jax.tree.leaves(part)) for name, part in shapes.items()}
  assert sizes == {'cell': 30_600, 'head': 202}


def test_the_classifier_is_a_loop_over_steps_and_a_linear_layer():
  settings = settings_of()
  params = draw_params(settings, (STEPS, CHANNELS))
  features = np.random.default_rng(1).normal(size=(STEPS, CHANNELS)).astype(np.float32)
  cell = GRUCell(HIDDEN)
  h = jnp.zeros(HIDDEN)
  for x in features:
    projected = cell.apply({'params': params['cell']}, x, method=cell.project)
    h = cell.apply({'params': params['cell']}, h, projected)
  expected = h @ params['head']['kernel'] + params['head']['bias']
  logits = make_classifier(settings).apply({'params': params}, features)
  np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(('means', 'dropped'), [('drop', 0.8), ('keep', 0.2)])
def test_a_probability_of_four_fifths_drops_or_keeps_as_much(means, dropped):
  model = make_classifier(settings_of(dropout=0.8, dropout_means=means))
  assert isinstance(model, Classifier) and model.dropout == pytest.approx(dropped)


def test_dropout_acts_in_training_only():
  settings = settings_of(dropout=0.5, hidden=50)
  model, params = make_classifier(settings), draw_params(settings, (STEPS, CHANNELS))
  features = np.ones((STEPS, CHANNELS), np.float32)
  trained = [
    model.apply({'params': params}, features, True, rngs={'dropout': jax.random.key(k)})
    for k in (0, 1)
  ]
  assert not np.allclose(*trained)
  tested = [model.apply({'params': params}, features) for _ in range(2)]
  np.testing.assert_array_equal(*tested)


def test_a_score_is_the_second_softmax_probability(plain):
  trainer, params = plain
  rows, model = draw_rows(5), make_classifier(settings_of())
  for score, features in zip(trainer.score(params, rows), rows.table[rows.index], strict=True):
    logits = np.asarray(model.apply({'params': params}, features))
    expected = np.exp(logits[1]) / np.exp(logits).sum()
    assert score == pytest.approx(expected, rel=1e-4)


def test_a_classifier_of_tokens_reads_their_embeddings():
  settings, vocabulary = settings_of(), 7
  model = make_classifier(settings, vocabulary, embedding=CHANNELS)
  tokens = np.array([1, 5, 0, 2], np.int32)
  shapes = jax.eval_shape(model.init, jax.random.key(0), tokens)['params']
  rng = np.random.default_rng(0)
  params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
  embedded = params['embed']['embedding'][tokens]
  without = {name: part for name, part in params.items() if name != 'embed'}
  expected = make_classifier(settings).apply({'params': without}, embedded)
  np.testing.assert_allclose(model.apply({'params': params}, tokens), expected, rtol=1e-5)
  assert params['embed']['embedding'].shape == (vocabulary, CHANNELS)


def test_initial_parameters_are_compiled_once_for_all_repetitions():
  trainer, row = make_trainer(), np.zeros((STEPS, CHANNELS), np.float32)
  states = [trainer.create(row, jax.random.key(r)) for r in range(3)]
  assert trainer.create._cache_size() == 1
  kernels = [jax.tree.leaves(state.params)[-1] for state in states]
  assert not np.array_equal(kernels[0], kernels[1])


def test_noise_depends_on_the_number_of_the_row_alone():
  key = jax.random.key(0)
  rng = np.random.default_rng(0)
  one, other = rng.normal(size=(2, STEPS, CHANNELS)).astype(np.float32)

  def noise(features, number):
    return np.asarray(add_noise(features, jnp.array(True), number, Noise(NOISE, key))) - features

  np.testing.assert_allclose(noise(one, 7), noise(other, 7), atol=1e-6)
  assert np.abs(noise(one, 7) - noise(one, 8)).min() > 1e-6


def test_noise_has_its_standard_deviation_and_no_mean():
  """8,000 numbers: 4,000 rows of two. Bounds are six standard errors."""
  noisy = jax.jit(
    jax.vmap(
      lambda number: add_noise(
        jnp.zeros((1, 2)), jnp.array(True), number, Noise(NOISE, jax.random.key(0))
      )
    )
  )(jnp.arange(4000))
  assert abs(noisy.mean()) < 6 * NOISE / np.sqrt(8000)
  assert abs(noisy.std() - NOISE) < 6 * NOISE / np.sqrt(2 * 8000)
  assert abs(np.corrcoef(noisy[:, 0].T)[0, 1]) < 6 / np.sqrt(4000)


def test_rows_without_noise_are_left_as_they_are():
  features = np.random.default_rng(0).normal(size=(STEPS, CHANNELS)).astype(np.float32)
  same = add_noise(features, jnp.array(False), 3, Noise(NOISE, jax.random.key(0)))
  np.testing.assert_array_equal(same, features)


def test_the_noise_of_a_noisy_row_reaches_its_score(noisy):
  """The score of a noisy row is that of the row with the noise in its features."""
  trainer, params = noisy
  rows = draw_rows(12)
  mixed = rows._replace(noisy=np.arange(12) % 2 == 0)
  added = [
    np.asarray(add_noise(rows.table[i], jnp.array(flag), number, Noise(NOISE, jax.random.key(9))))
    for i, flag, number in zip(mixed.index, mixed.noisy, mixed.number, strict=True)
  ]
  expected = trainer.score(params, rows._replace(table=np.stack(added), index=np.arange(12)))
  scores, clean = trainer.score(params, mixed), trainer.score(params, rows)
  np.testing.assert_allclose(scores, expected, rtol=1e-5)
  np.testing.assert_allclose(scores[1::2], clean[1::2], rtol=1e-6)
  assert np.all(np.abs(scores[::2] - clean[::2]) > 1e-6)


def test_a_noisy_row_has_one_score_in_whatever_company(noisy):
  trainer, params = noisy
  rows = draw_rows(20, noisy=True)
  scores = trainer.score(params, rows)
  some = np.array([13, 4, 17])
  part = FeatureRows(rows.table, rows.index[some], *(x[some] for x in rows[2:]))
  np.testing.assert_array_equal(trainer.score(params, part), scores[some])


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 99))
@hypothesis_settings(max_examples=20, deadline=None)
def test_equal_rows_scored_once_have_the_scores_of_every_row(plain, count, distinct, seed):
  """FeatureRows marked as noisy are scored one by one; here the noise is none."""
  trainer, params = plain
  rows = draw_rows(count, distinct, seed=seed)
  scores = trainer.score(params, rows)
  assert scores.shape == (count,) and scores.dtype == np.float32
  np.testing.assert_array_equal(
    scores, trainer.score(params, rows._replace(noisy=np.ones(count, bool)))
  )


def test_scores_do_not_look_at_labels(plain, noisy):
  for (trainer, params), marked in ((plain, False), (noisy, True)):
    rows = draw_rows(20, noisy=marked)
    flipped = trainer.score(params, rows._replace(abnormal=~rows.abnormal))
    np.testing.assert_array_equal(flipped, trainer.score(params, rows))


@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 99))
@hypothesis_settings(max_examples=20, deadline=None)
def test_distinct_examples_count_as_often_as_they_occur(count, distinct, seed):
  rows = draw_rows(count, distinct, seed=seed)
  labels = np.random.default_rng(seed).random(count) < 0.5  # equal features, both labels
  (features, abnormal, noisy, _), weights = distinct_examples(
    rows._replace(abnormal=labels), 0, jax.random.key(0)
  )
  assert not noisy.any()
  found = {}
  for feature, label, weight in zip(features, abnormal, weights, strict=True):
    assert found.setdefault((feature.tobytes(), bool(label)), weight) == weight
  assert len(found) == len(weights)
  for feature, label in zip(rows.table[rows.index], labels, strict=True):
    found[feature.tobytes(), bool(label)] -= 1
  assert set(found.values()) == {0}


def test_of_many_noisy_rows_some_are_drawn_by_the_key():
  rows = draw_rows(50, distinct=50, noisy=True)
  numbers = []
  for seed in (0, 0, 1):
    examples, weights = distinct_examples(rows, 20, jax.random.key(seed))
    assert weights.sum() == 20
    numbers.append(set(examples[3].tolist()))
  assert numbers[0] == numbers[1] != numbers[2]
  assert distinct_examples(rows, 50, jax.random.key(0))[1].sum() == 50


def test_every_noisy_row_is_an_example_of_its_own():
  rows = draw_rows(30, distinct=2, noisy=True)
  (_, _, noisy, number), weights = distinct_examples(rows, 0, jax.random.key(0))
  np.testing.assert_array_equal(number, rows.number)
  assert np.all(weights == 1) and noisy.all()


def fit(devices: int, workdir: Path | None = None):
  trainer = make_trainer(0.1, devices, workdir, epochs=20, learning_rate=0.05)
  train, valid = draw_rows(64, noisy=True), draw_rows(30)
  return trainer, trainer.fit(train, valid, key=jax.random.key(1), repetition=3)


@pytest.fixture(scope='module')
def fitted(tmp_path_factory):
  workdir = tmp_path_factory.mktemp('gru')
  return *fit(4, workdir), workdir


def test_the_classifier_learns_which_rows_are_abnormal(fitted):
  trainer, trained, _ = fitted
  assert trained.metrics['valid_accuracy'] == 1
  rows = draw_rows(30)
  np.testing.assert_array_equal(trainer.score(trained.params, rows) > 0.5, rows.abnormal)


@pytest.mark.parametrize('abnormal', [1, 5, 9])
def test_balanced_weights_give_both_classes_half_and_a_mean_of_one(abnormal):
  label = np.arange(10) < abnormal
  weights = balanced_weights(label)
  assert weights[label].sum() == pytest.approx(5) == weights[~label].sum()
  assert np.unique(weights[label]).size == np.unique(weights[~label]).size == 1


def test_balanced_weights_of_one_class_are_ones():
  np.testing.assert_array_equal(balanced_weights(np.zeros(4, bool)), np.ones(4))


@pytest.mark.parametrize('few', [8, 2])  # two of 64: most batches of 8 have none
def test_a_balanced_classifier_guesses_half_where_nothing_tells_the_classes_apart(few):
  table = np.ones((1, STEPS, CHANNELS), np.float32)
  count = 64
  label = np.arange(count) < few
  rows = FeatureRows(table, np.zeros(count, int), label, np.zeros(count, bool), np.arange(count))
  trainer = make_trainer(epochs=30, learning_rate=0.05, patience=100, restore_best=False)
  options = {'key': jax.random.key(0), 'repetition': 0}
  scores = [
    trainer.score(_last(trainer, rows, balanced, options), rows)[0] for balanced in (False, True)
  ]
  assert scores[0] == pytest.approx(few / count, abs=0.06)
  assert scores[1] == pytest.approx(1 / 2, abs=0.12)


def _last(trainer: ClassifierTrainer, rows: FeatureRows, balanced: bool, options: dict) -> dict:
  return trainer.fit(rows, rows, balanced=balanced, **options).params


def test_every_epoch_is_measured_under_its_repetition(fitted):
  _, trained, workdir = fitted
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  assert [line['epoch'] for line in lines] == list(range(len(lines)))
  assert {(line['stage'], line['repetition']) for line in lines} == {('gru', 3)}
  own = {name: lines[trained.epoch][name] for name in trained.metrics}
  assert own == trained.metrics
  assert set(own) == {'loss', 'accuracy', 'gradient_norm', 'valid_loss', 'valid_accuracy'}


def test_the_same_devices_train_the_same_bits_and_others_the_same_numbers(fitted):
  _, trained, _ = fitted
  _, again = fit(4)
  jax.tree.map(np.testing.assert_array_equal, again.params, trained.params)
  assert again.metrics == trained.metrics
  _, alone = fit(1)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3),
    alone.params,
    trained.params,
  )
