"""The autoencoders: sizes, losses by hand, the penalty, what they hand on, and training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import compiled_fast
from measurements import reproducible

from configs import default
from logjax.models import autoencoder as module
from logjax.models.autoencoder import (
  Autoencoder,
  fit_autoencoder,
  make_autoencoder,
  make_encode,
  reconstruction,
  reconstruction_loss,
  scaled,
)
from logjax.models.classifier import drop_rate
from logjax.training.runtime import quiet_runtime

LOSSES = ('softmax', 'tokens', 'mse')
LENGTH, VOCABULARY = 3, 4
# One row of three ids, its scaled input, and a last layer.
ROW, X = np.array([2, 1, 0]), np.array([0.5, 0.25, 0.0], np.float32)
OUTPUT = np.array([1.0, -1.0, 0.5], np.float32)
LOGITS = np.array([[0, 1, 2, 0], [1, 1, 0, 0], [3, 0, 0, 1]], np.float32)
ROWS = np.random.default_rng(0).integers(0, VOCABULARY, (40, LENGTH)).astype(np.int32)


def settings_of(**changes):
  """The paper's readings on tiny layers, and what a test changes."""
  settings = default.get_config().detector.autoencoder
  settings.update(layers=(6, 5, 4), batch=8, epochs=1, rows_per_epoch=0)
  settings.update(loss='softmax', dropout_means='drop', l1=0.01, l1_on='kernel')
  settings.update(changes)
  return settings


def softmax(x: np.ndarray) -> np.ndarray:
  return np.exp(x) / np.exp(x).sum(axis=-1, keepdims=True)


def output_of(loss: str) -> np.ndarray:
  return LOGITS.ravel() if loss == 'tokens' else OUTPUT


def draw_params(model: Autoencoder, seed: int = 0) -> dict:
  """Parameters of the model's shapes, drawn in NumPy: nothing to compile."""
  rng = np.random.default_rng(seed)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(LENGTH))['params']
  return jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)


def forward(params: dict, x: np.ndarray) -> list[np.ndarray]:
  """The network in NumPy: activities of the hidden layers, then the last layer."""
  layers = []
  for name in sorted(name for name in params if name.startswith('hidden')):
    x = np.maximum(x @ params[name]['kernel'] + params[name]['bias'], 0)
    layers.append(x)
  return [*layers, x @ params['output']['kernel'] + params['output']['bias']]


def size_of(settings, length: int, vocabulary: int) -> int:
  model = make_autoencoder(settings, length, vocabulary)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(length))
  return sum(leaf.size for leaf in jax.tree.leaves(shapes))


@pytest.fixture(scope='module', autouse=True)
def fast_compilation():
  with compiled_fast():
    yield


def test_the_papers_network_has_144_840_parameters():
  """40-400-200-200-40: 16,400 + 80,200 + 40,200 + 8,040, whatever the vocabulary."""
  settings = settings_of(layers=default.get_config().detector.autoencoder.layers)
  assert size_of(settings, 40, 500) == 144_840
  settings.loss = 'tokens'
  assert size_of(settings, 40, 500) == 144_840 - 8_040 + 201 * 40 * 500


def test_the_network_is_dense_layers_rectified_but_for_the_last():
  model = make_autoencoder(settings_of(), LENGTH, VOCABULARY)
  params = draw_params(model)
  expected = forward(params, X)
  output, code, activity = model.apply({'params': params}, X)
  np.testing.assert_allclose(output, expected[3], rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(code, expected[1], rtol=1e-5, atol=1e-5)
  np.testing.assert_allclose(activity, expected[0], rtol=1e-5, atol=1e-5)
  assert (len(activity), len(code), len(output)) == (6, 5, 3)


@pytest.mark.parametrize(('means', 'dropped'), [('drop', 0.8), ('keep', 0.2)])
def test_a_probability_of_four_fifths_drops_or_keeps_as_much(means, dropped):
  """The second layer sees which of 20,000 units stayed; in testing all do."""
  assert drop_rate(0.8, means) == pytest.approx(dropped)
  settings = settings_of(layers=(20_000,), dropout_means=means)
  model = make_autoencoder(settings, 1, VOCABULARY)
  params = {
    'hidden_0': {'kernel': np.zeros((1, 20_000)), 'bias': np.full(20_000, 0.5)},
    'output': {'kernel': np.full((20_000, 1), 1 / 20_000), 'bias': np.zeros(1)},
  }
  x = np.zeros(1, np.float32)
  assert model.apply({'params': params}, x)[0] == pytest.approx(0.5)
  trained, _, activity = model.apply(
    {'params': params}, x, True, rngs={'dropout': jax.random.key(0)}
  )
  # Those that stay are scaled up: the mean is the same, its deviation that of the share kept.
  deviation = 0.5 * np.sqrt(dropped / (1 - dropped) / 20_000)
  assert trained == pytest.approx(0.5, abs=6 * deviation) and trained != 0.5
  assert np.all(activity == 0.5)  # what the L1 norm sees has nothing dropped


def test_ids_are_shares_of_the_vocabulary():
  np.testing.assert_allclose(scaled(ROW, VOCABULARY), X)


@pytest.mark.parametrize(
  ('loss', 'expected'),
  [
    # Cross-entropies of softmax([1, -1, 0.5]) = e / (e + 1 / e + sqrt(e)) and so on.
    ('softmax', -(2 / 3 * np.log(softmax(OUTPUT)[0]) + 1 / 3 * np.log(softmax(OUTPUT)[1]))),
    # The tokens 2, 1 and 0 at their positions.
    ('tokens', -np.mean(np.log(softmax(LOGITS)[[0, 1, 2], ROW]))),
    ('mse', (0.5**2 + 1.25**2 + 0.5**2) / 3),
  ],
)
def test_losses_by_hand(loss, expected):
  value = reconstruction_loss(loss, output_of(loss), ROW, X)
  assert value == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize('loss', LOSSES)
def test_an_empty_row_has_a_finite_loss(loss):
  zeros = np.zeros(LENGTH, np.int32)
  assert np.isfinite(reconstruction_loss(loss, output_of(loss), zeros, zeros.astype(np.float32)))


@pytest.mark.parametrize(
  ('loss', 'expected'),
  [
    ('softmax', softmax(OUTPUT)),
    # The expected token, as a share of the vocabulary.
    ('tokens', softmax(LOGITS) @ np.arange(4) / 4),
    ('mse', OUTPUT),
  ],
)
def test_reconstructions_by_hand(loss, expected):
  np.testing.assert_allclose(reconstruction(loss, output_of(loss), X), expected, rtol=1e-5)


@pytest.mark.parametrize('loss', ['softmax', 'mse', 'tokens'])
def test_the_loss_is_least_where_the_reconstruction_is_the_input(loss):
  """For 'tokens' and 'softmax' with the input's own probabilities."""
  best = {
    'softmax': np.log(X / X.sum() + 1e-9),
    'mse': X,
    'tokens': 30 * np.eye(4)[ROW].ravel(),
  }[loss].astype(np.float32)
  target = X / X.sum() if loss == 'softmax' else X
  np.testing.assert_allclose(reconstruction(loss, best, X), target, atol=1e-5)
  least = reconstruction_loss(loss, best, ROW, X)
  rng = np.random.default_rng(0)
  for _ in range(20):
    other = best + rng.normal(size=best.shape).astype(np.float32)
    assert reconstruction_loss(loss, other, ROW, X) >= least - 1e-6


def first_equal(rows: np.ndarray) -> np.ndarray:
  """The first row that equals each row, int [N]."""
  _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
  return first[inverse.reshape(-1)]


class Captured:
  """What `fit_autoencoder` hands to the trainer, with nothing compiled or trained."""

  def __init__(self, monkeypatch, settings, valid=ROWS[:8], devices=0):
    def make_train_step(example_loss, tx, penalty):
      self.example_loss, self.penalty = example_loss, penalty

    def fit(state, step, take, rows, validate, settings, **options):
      self.params, self.take, self.rows, self.options = state.params, take, rows, options

    def make_validate(example_metrics):
      self.example_metrics = example_metrics
      return validate_on

    def validate_on(examples, weights):
      self.examples, self.weights = examples, weights

    monkeypatch.setattr(module, 'make_train_step', make_train_step)
    monkeypatch.setattr(module, 'make_validate', make_validate)
    monkeypatch.setattr(module, 'fit', fit)
    monkeypatch.setattr(module, 'scan_steps', lambda step: step)
    monkeypatch.setattr(module, 'parallel', lambda step, devices: step)
    distinct = np.concatenate([ROWS, valid])
    fit_autoencoder(
      settings,
      distinct,
      np.arange(len(ROWS)),
      len(ROWS) + first_equal(valid),
      vocabulary=VOCABULARY,
      key=jax.random.key(0),
      runtime=quiet_runtime(devices),
      name='autoencoder_normal',
    )


@pytest.mark.parametrize('l1_on', ['kernel', 'activity'])
def test_the_l1_norm_is_of_the_first_layers_kernel_or_of_its_activity(monkeypatch, l1_on):
  settings = settings_of(l1_on=l1_on, l1=0.1, loss='mse', dropout=0.0)
  captured = Captured(monkeypatch, settings)
  params = draw_params(make_autoencoder(settings, LENGTH, VOCABULARY))
  activities = forward(params, X)
  plain = np.mean((activities[3] - X) ** 2)
  loss, _ = captured.example_loss(params, jnp.asarray(ROW), jax.random.key(0))
  on_kernel = 0.1 * np.abs(params['hidden_0']['kernel']).sum()
  on_activity = 0.1 * np.abs(activities[0]).sum()
  expected = (0, on_kernel) if l1_on == 'kernel' else (on_activity, 0)
  assert loss - plain == pytest.approx(expected[0], rel=1e-4, abs=1e-6)
  assert captured.penalty(params) == pytest.approx(expected[1], rel=1e-5)


def test_validation_is_without_dropout_and_penalty_on_distinct_rows(monkeypatch):
  settings = settings_of(l1_on='activity', l1=0.1, loss='mse')
  valid = ROWS[[0, 1, 0, 0, 2]]
  captured = Captured(monkeypatch, settings, valid)
  assert len(captured.examples) == len(np.unique(valid, axis=0))
  np.testing.assert_array_equal(
    np.sort(np.repeat(captured.examples, captured.weights, axis=0), axis=0), np.sort(valid, axis=0)
  )
  params = draw_params(make_autoencoder(settings, LENGTH, VOCABULARY))
  expected = np.mean((forward(params, X)[3] - X) ** 2)
  metrics = captured.example_metrics(params, jnp.asarray(ROW))
  assert metrics['loss'] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize('loss', LOSSES)
def test_the_accuracy_is_whether_the_largest_position_is_found(monkeypatch, loss):
  """The network gives position 1 the largest output; the row's largest id is there or not."""
  settings = settings_of(loss=loss)
  captured = Captured(monkeypatch, settings)
  params = jax.tree.map(np.zeros_like, draw_params(make_autoencoder(settings, LENGTH, VOCABULARY)))
  bias = np.array([[9, 0, 0, 0], [0, 0, 0, 9], [9, 0, 0, 0]]) if loss == 'tokens' else [0, 1, 0]
  params['output']['bias'] = np.ravel(bias).astype(np.float32)
  for row, expected in (([1, 3, 1], 1), ([3, 1, 1], 0)):
    assert captured.example_metrics(params, jnp.asarray(row))['accuracy'] == expected


def test_training_is_told_its_rows_devices_and_name(monkeypatch):
  captured = Captured(monkeypatch, settings_of(), devices=2)
  assert captured.rows == len(ROWS)
  np.testing.assert_array_equal(captured.take(np.array([[3, 1]])), ROWS[[[3, 1]]])
  assert captured.options['runtime'].devices == 2
  assert captured.options['name'] == 'autoencoder_normal'


@pytest.mark.parametrize(
  'changes',
  [
    {'loss': 'softmax', 'l1_on': 'kernel'},
    {'loss': 'tokens', 'l1_on': 'kernel'},
    {'loss': 'mse', 'l1_on': 'activity'},
  ],
)
def test_every_alternative_runs_an_epoch_with_finite_losses(changes, tmp_path):
  """A6 to A9; dropout and the output that is handed on alternate too."""
  means, output = ('keep', 'code') if changes['l1_on'] == 'activity' else ('drop', 'reconstruction')
  settings = settings_of(dropout_means=means, output=output, **changes)
  trained = fit_autoencoder(
    settings,
    ROWS,
    np.arange(len(ROWS)),
    np.arange(8),
    vocabulary=VOCABULARY,
    key=jax.random.key(0),
    runtime=quiet_runtime(1, tmp_path),
    name='autoencoder_abnormal',
  )
  (line,) = reproducible(tmp_path)
  count = {'epoch': 0, 'step': 5, 'rows': len(ROWS)}
  assert line == {'stage': 'autoencoder_abnormal', **count, **trained.metrics}
  assert np.all(np.isfinite(list(trained.metrics.values())))
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(trained.params))
  assert trained.metrics['loss'] > 0
  features = make_encode(settings, LENGTH, VOCABULARY)((trained.params,) * 2, ROWS[:2])
  assert np.all(np.isfinite(features))


def learn(devices: int):
  """Three rows that an autoencoder can learn by heart."""
  settings = settings_of(loss='mse', dropout=0.0, l1=0.0, epochs=40, learning_rate=0.01)
  settings.update(layers=(16, 16, 16))
  distinct = np.array([[0, 1, 2], [3, 3, 0], [1, 0, 0]], np.int32)
  rows = np.arange(32) % 3
  return fit_autoencoder(
    settings,
    distinct,
    rows,
    rows,
    vocabulary=VOCABULARY,
    key=jax.random.key(3),
    runtime=quiet_runtime(devices),
    name='autoencoder_normal',
  )


@pytest.fixture(scope='module')
def learnt():
  return learn(4)


def test_an_autoencoder_learns_its_rows(learnt):
  """Predicting the mean of every position would leave their variance, 0.07."""
  assert learnt.metrics['valid_loss'] < 0.01


def test_the_same_devices_train_the_same_bits_and_others_the_same_numbers(learnt):
  jax.tree.map(np.testing.assert_array_equal, learn(4).params, learnt.params)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-2, atol=1e-3),
    learn(1).params,
    learnt.params,
  )


@pytest.mark.parametrize('output', ['reconstruction', 'code'])
@pytest.mark.parametrize('loss', LOSSES)
def test_the_features_are_the_outputs_of_both_networks(loss, output):
  settings = settings_of(loss=loss, output=output)
  model = make_autoencoder(settings, LENGTH, VOCABULARY)
  networks = draw_params(model, 1), draw_params(model, 2)
  features = make_encode(settings, LENGTH, VOCABULARY)(networks, ROWS)
  assert features.shape == (len(ROWS), 5 if output == 'code' else LENGTH, 2)
  for i, row in enumerate(ROWS[:5]):
    for c, network in enumerate(networks):
      x = row / np.float32(VOCABULARY)
      layers = forward(network, x)
      expected = layers[1] if output == 'code' else reconstruction(loss, layers[3], x)
      np.testing.assert_allclose(features[i, :, c], expected, rtol=1e-3, atol=1e-4)
