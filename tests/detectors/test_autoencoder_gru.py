"""The paper's detector: who sees which rows, what labels decide, and that it can be restored."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import compiled_fast

from configs import default
from logjax.detectors import autoencoder_gru as module
from logjax.detectors.autoencoder_gru import (
  Detector,
  fit_detector,
  noise_std,
  restore_detector,
  save_detector,
  score_rows,
)
from logjax.errors import LogjaxError
from logjax.evaluation.metrics import best_f1_threshold
from logjax.examples.lines import Examples
from logjax.examples.splits import LEAKS, Split
from logjax.models.autoencoder import make_autoencoder
from logjax.models.classifier import make_classifier
from logjax.settings import resolve
from logjax.training.loop import Trained
from logjax.training.runtime import quiet_runtime

ROWS, LENGTH, VOCABULARY = 48, 4, 8
SPLIT = Split(np.arange(0, 24), np.arange(24, 36), np.arange(36, 48))
KEY = jax.random.key(5)
ROUTED = frozenset({'label_routed_encoder'})
NOISY = frozenset({'noise_on_test'})


def make_examples() -> Examples:
  """A third is abnormal; few distinct rows, so that train and test have some in common."""
  rng = np.random.default_rng(0)
  texts = rng.integers(0, VOCABULARY, (10, LENGTH)).astype(np.int32)
  texts[:, 0] = 1 + np.arange(10) % 7
  texts[:, -1] = 0  # a feature that never changes
  abnormal = np.arange(ROWS) % 3 == 0
  group = np.where(abnormal, rng.integers(0, 4, ROWS), rng.integers(3, 10, ROWS))
  return Examples(texts[group], abnormal, np.arange(ROWS), group)


EXAMPLES = make_examples()


def config_of(leaks=frozenset(), **changes):
  """A resolved tiny configuration; dots in names are written `__`."""
  config = default.get_config()
  config.leaks = ','.join(sorted(leaks))
  config.devices = 1
  for model in (config.detector.autoencoder, config.detector.gru):
    # All epochs are run, so that validation rows decide nothing about the parameters.
    model.update(batch=8, epochs=2, rows_per_epoch=0, patience=100, restore_best=False)
  config.detector.autoencoder.layers = (5, 4, 3)
  config.detector.gru.hidden = 4
  config.detector.repetitions = 1
  config.update_from_flattened_dict({name.replace('__', '.'): v for name, v in changes.items()})
  return resolve(config)[0]


def fit(config, examples=EXAMPLES, leaks=frozenset(), repetitions=(SPLIT,), runtime=None):
  with compiled_fast():
    return fit_detector(
      config,
      leaks,
      examples,
      SPLIT,
      list(repetitions),
      VOCABULARY,
      key=KEY,
      runtime=runtime or quiet_runtime(1),
    )


def score(config, detector, rows=SPLIT.test, examples=EXAMPLES, leaks=frozenset()):
  return score_rows(
    config, leaks, detector, examples, rows, VOCABULARY, key=KEY, runtime=quiet_runtime(1)
  )


def flipped(rows: np.ndarray) -> Examples:
  """The examples with other labels on some rows."""
  abnormal = EXAMPLES.abnormal.copy()
  abnormal[rows] = ~abnormal[rows]
  return EXAMPLES._replace(abnormal=abnormal)


def rewritten(rows: np.ndarray) -> Examples:
  """The examples with other tokens in some rows, none of which occurs elsewhere."""
  inputs = EXAMPLES.inputs.copy()
  inputs[rows] = VOCABULARY - 1
  return EXAMPLES._replace(inputs=inputs)


class Stage:
  """Stands in for the models: notes which rows each is given, and makes features by hand.

  The features of a row are its ids for the normal autoencoder, and its ids plus 100 for the
  abnormal one.
  """

  def __init__(self, monkeypatch):
    self.autoencoders, self.encoded, self.fits, self.trainers = {}, [], [], []
    monkeypatch.setattr(module, 'fit_autoencoder', self.fit_autoencoder)
    monkeypatch.setattr(module, 'make_encode', self.make_encode)
    monkeypatch.setattr(module, 'GRUTrainer', self.make_trainer)

  def fit_autoencoder(self, settings, rows, valid, **options):
    assert options['vocabulary'] == VOCABULARY
    self.autoencoders[options['name']] = (rows, valid)
    return Trained({'of': options['name']}, 0, {})

  def make_encode(self, settings, features, length, vocabulary):
    assert (length, vocabulary) == (LENGTH, VOCABULARY)

    def encode(networks, rows):
      self.encoded.append(rows)
      return np.stack([rows, rows + 100], axis=2).astype(np.float32)

    return encode

  def make_trainer(self, settings, **options):
    self.trainers.append(options)
    return self

  def fit(self, train, valid, *, key, repetition, balanced):
    self.fits.append((train, valid, key))
    self.balanced = balanced
    return Trained({'repetition': repetition}, repetition, {'loss': 0.5})

  def score(self, params, rows):
    self.scored = rows
    return rows.table[rows.index][:, 0, 0] / 10 + params['repetition']


@pytest.fixture
def stage(monkeypatch):
  return Stage(monkeypatch)


def features_of(rows) -> np.ndarray:
  return rows.table[rows.index]


def sorted_rows(rows: np.ndarray) -> list:
  return sorted(rows.tolist())


def test_each_autoencoder_learns_the_training_rows_of_its_class(stage):
  fit(config_of())
  assert list(stage.autoencoders) == ['autoencoder_normal', 'autoencoder_abnormal']
  for name, label in (('autoencoder_normal', False), ('autoencoder_abnormal', True)):
    for rows, side in zip(stage.autoencoders[name], (SPLIT.train, SPLIT.valid), strict=True):
      expected = EXAMPLES.inputs[side[EXAMPLES.abnormal[side] == label]]
      np.testing.assert_array_equal(rows, expected)


def test_where_no_row_of_a_class_validates_the_training_rows_do(stage):
  abnormal = EXAMPLES.abnormal.copy()
  abnormal[SPLIT.valid] = False
  fit(config_of(), EXAMPLES._replace(abnormal=abnormal))
  rows, valid = stage.autoencoders['autoencoder_abnormal']
  assert valid is rows
  assert len(stage.autoencoders['autoencoder_normal'][1]) == len(SPLIT.valid)


def test_only_with_the_leak_do_autoencoders_learn_all_rows(stage):
  fit(config_of(ROUTED), leaks=ROUTED)
  for name, label in (('autoencoder_normal', False), ('autoencoder_abnormal', True)):
    expected = EXAMPLES.inputs[EXAMPLES.abnormal == label]
    assert sorted_rows(stage.autoencoders[name][0]) == sorted_rows(expected)


def test_fitting_encodes_no_test_row(stage):
  fit(config_of(), rewritten(SPLIT.test))
  (encoded,) = stage.encoded
  assert not np.any(np.all(encoded == VOCABULARY - 1, axis=1))
  expected = np.unique(EXAMPLES.inputs[: SPLIT.test[0]], axis=0)
  np.testing.assert_array_equal(encoded, expected)


@pytest.mark.parametrize('leaks', [frozenset(), ROUTED, frozenset(LEAKS)])
def test_relative_noise_standardises_on_the_training_rows(stage, leaks):
  """Rows count as often as they occur; a feature that never changes stays where it is."""
  detector = fit(config_of(leaks), leaks=leaks)
  x, label = EXAMPLES.inputs[SPLIT.train].astype(np.float64), EXAMPLES.abnormal[SPLIT.train]
  features = np.stack([x, x + 100], axis=2)
  if 'label_routed_encoder' in leaks:
    features = (x + 100 * label[:, None])[:, :, None]
  assert detector.mean.shape == features.shape[1:]
  np.testing.assert_allclose(detector.mean, features.mean(axis=0), rtol=1e-5)
  deviation = features.std(axis=0)
  deviation[deviation == 0] = 1
  np.testing.assert_allclose(detector.scale, deviation, rtol=1e-5)
  assert leaks or np.all(detector.scale[-1] == 1)
  train, _, _ = stage.fits[0]
  expected = (features - detector.mean) / detector.scale
  np.testing.assert_allclose(features_of(train), expected, rtol=1e-4, atol=1e-5)


def test_absolute_noise_leaves_the_features_as_they_are(stage):
  detector = fit(config_of(detector__noise__scale='absolute'))
  assert not detector.mean.any() and np.all(detector.scale == 1)
  x = EXAMPLES.inputs[SPLIT.valid]
  np.testing.assert_array_equal(features_of(stage.fits[0][1]), np.stack([x, x + 100], axis=2))


@pytest.mark.parametrize('change', [rewritten, flipped])
@pytest.mark.parametrize('side', ['valid', 'test'])
def test_validation_and_test_rows_do_not_move_the_standard(stage, change, side):
  before = fit(config_of())
  after = fit(config_of(), change(getattr(SPLIT, side)))
  np.testing.assert_array_equal(after.mean, before.mean)
  np.testing.assert_array_equal(after.scale, before.scale)


@pytest.mark.parametrize('leaks', [frozenset(), NOISY])
def test_noise_is_on_training_rows_and_elsewhere_only_with_the_leak(stage, leaks):
  config = config_of(leaks)
  detector = fit(config, leaks=leaks)
  train, valid, _ = stage.fits[0]
  score(config, detector, leaks=leaks)
  assert train.noisy.all()
  for rows in (valid, stage.scored):
    assert np.all(rows.noisy == bool(leaks))
  for rows, side in zip((train, valid, stage.scored), SPLIT, strict=True):
    np.testing.assert_array_equal(rows.number, side)
    np.testing.assert_array_equal(rows.abnormal, EXAMPLES.abnormal[side])


@pytest.mark.parametrize(
  ('variance', 'reading', 'expected'),
  [(0.1, 'variance', 0.1**0.5), (0.1, 'std', 0.1), (0.0, 'variance', 0.0), (0.0, 'std', 0.0)],
)
def test_the_number_of_the_paper_is_a_variance_or_a_deviation(stage, variance, reading, expected):
  config = config_of(detector__noise__variance=variance, detector__noise__reading=reading)
  assert noise_std(config.detector.noise) == pytest.approx(expected)
  score(config, fit(config))
  for trainer in stage.trainers:
    assert trainer['noise_std'] == pytest.approx(expected)
  keys = [jax.random.key_data(trainer['noise_key']).tolist() for trainer in stage.trainers]
  assert len(keys) == 2 and keys[0] == keys[1]  # one noise, in training and in testing


def test_without_the_leak_every_row_goes_through_both_autoencoders(stage):
  config = config_of(detector__noise__scale='absolute')
  detector = fit(config)
  score(config, detector)
  x = EXAMPLES.inputs[SPLIT.test]
  np.testing.assert_array_equal(features_of(stage.scored), np.stack([x, x + 100], axis=2))


def test_with_the_leak_the_true_label_picks_the_autoencoder(stage):
  config = config_of(ROUTED, detector__noise__scale='absolute')
  detector = fit(config, leaks=ROUTED)
  score(config, detector, leaks=ROUTED)
  train, valid, _ = stage.fits[0]
  for rows, side in zip((train, valid, stage.scored), SPLIT, strict=True):
    expected = EXAMPLES.inputs[side] + 100 * EXAMPLES.abnormal[side][:, None]
    np.testing.assert_array_equal(features_of(rows), expected[:, :, None])


@pytest.mark.parametrize('threshold', ['half', 'valid_f1'])
def test_every_repetition_has_its_split_its_key_and_its_threshold(stage, threshold):
  """The second repetition swaps some rows; its scores are 1 higher."""
  other = Split(np.arange(12, 36), np.arange(12), SPLIT.test)
  config = config_of(detector__threshold=threshold)
  detector = fit(config, repetitions=(SPLIT, other))
  for (train, valid, _), split in zip(stage.fits, (SPLIT, other), strict=True):
    np.testing.assert_array_equal(train.number, split.train)
    np.testing.assert_array_equal(valid.number, split.valid)
  keys = [jax.random.key_data(key).tolist() for _, _, key in stage.fits]
  assert keys[0] != keys[1]
  assert detector.classifiers == ({'repetition': 0}, {'repetition': 1})
  assert detector.fitted == ({'epoch': 0, 'loss': 0.5}, {'epoch': 1, 'loss': 0.5})
  expected = [0.5, 0.5]
  if threshold == 'valid_f1':
    expected = [
      best_f1_threshold(valid.abnormal, stage.score({'repetition': r}, valid))
      for r, (_, valid, _) in enumerate(stage.fits)
    ]
    assert expected[0] != expected[1]
  np.testing.assert_allclose(detector.thresholds, expected)
  scores = score(config, detector)
  assert scores.shape == (2, len(SPLIT.test))
  np.testing.assert_allclose(scores[1], scores[0] + 1, rtol=1e-6)


def test_without_autoencoders_none_is_trained(stage):
  detector = fit(config_of(detector__features='none'))
  assert stage.autoencoders == {} and detector.autoencoders == ({}, {})


@pytest.mark.parametrize('name', ['class_weights', 'random'])
def test_class_weights_balance_the_classifiers_loss_and_nothing_else_does(stage, name):
  fit(config_of(oversampler__name=name))
  assert stage.balanced == (name == 'class_weights')


@pytest.fixture(scope='module')
def fitted() -> Detector:
  """A real, honest detector."""
  return fit(config_of())


def assert_equal(one, other) -> None:
  """Equal bits in every array."""
  assert jax.tree.structure(one) == jax.tree.structure(other)
  jax.tree.map(np.testing.assert_array_equal, one, other)


def test_an_honest_fit_does_not_depend_on_the_test_rows(fitted):
  """Other labels and other tokens on all test rows: every fitted array has the same bits."""
  changed = rewritten(SPLIT.test)._replace(abnormal=flipped(SPLIT.test).abnormal)
  assert_equal(fit(config_of(), changed), fitted)


def test_a_fit_does_depend_on_every_kind_of_array_that_it_may_see(fitted):
  """The test above could not fail otherwise."""
  other = fit(config_of(), flipped(SPLIT.train[:3]))
  for one, before in zip(other[:4], fitted[:4], strict=True):
    pairs = zip(jax.tree.leaves(one), jax.tree.leaves(before), strict=True)
    assert any(not np.array_equal(a, b) for a, b in pairs)


def test_validation_labels_decide_thresholds_and_measurements_only(fitted):
  """All epochs are run here; else they decide which epoch is kept, too."""
  other = fit(config_of(), flipped(SPLIT.valid))
  assert_equal(other._replace(thresholds=(), fitted=()), fitted._replace(thresholds=(), fitted=()))
  assert other.thresholds != fitted.thresholds
  for after, before in zip(other.fitted, fitted.fitted, strict=True):
    differ = {name for name in before if after[name] != before[name]}
    assert {'valid_loss'} <= differ <= {'valid_loss', 'valid_accuracy'}


def test_the_threshold_is_the_best_on_the_validation_rows(fitted):
  scores = score(config_of(), fitted, rows=SPLIT.valid)
  expected = best_f1_threshold(EXAMPLES.abnormal[SPLIT.valid], scores[0])
  assert fitted.thresholds == (expected,)


def test_scores_are_probabilities_of_each_row_in_any_company(fitted):
  scores = score(config_of(), fitted)
  assert scores.shape == (1, len(SPLIT.test)) and scores.dtype == np.float32
  assert np.all((scores > 0) & (scores < 1)) and len(np.unique(scores)) > 3
  some = SPLIT.test[[7, 0, 3]]
  np.testing.assert_array_equal(score(config_of(), fitted, rows=some), scores[:, [7, 0, 3]])


def draw_detector(leaks: frozenset[str]) -> Detector:
  """A detector of the right shapes that never saw a row."""
  config = config_of(leaks)
  rng = np.random.default_rng(0)
  channels = 1 if 'label_routed_encoder' in leaks else 2

  def draw(model, x):
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)['params']
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)

  network = make_autoencoder(config.detector.autoencoder, LENGTH, VOCABULARY)
  autoencoders = tuple(draw(network, jnp.zeros(LENGTH)) for _ in range(2))
  classifier = make_classifier(config.detector.gru)
  classifiers = (draw(classifier, jnp.zeros((LENGTH, channels))),)
  mean, scale = np.zeros((LENGTH, channels)), np.ones((LENGTH, channels))
  return Detector(autoencoders, mean, scale, classifiers, (0.5,), ())


@pytest.mark.parametrize(
  ('leaks', 'matters'),
  [(frozenset(), False), (NOISY, False), (ROUTED, True), (frozenset(LEAKS), True)],
)
def test_test_labels_change_scores_only_with_the_leak(leaks, matters):
  config, detector = config_of(leaks), draw_detector(leaks)
  scores = score(config, detector, leaks=leaks)
  other = score(config, detector, examples=flipped(SPLIT.test), leaks=leaks)
  np.testing.assert_array_equal(scores != other, np.full(scores.shape, matters))


def test_noise_on_test_rows_is_the_same_every_time():
  config, detector = config_of(NOISY), draw_detector(NOISY)
  scores = score(config, detector, leaks=NOISY)
  np.testing.assert_array_equal(score(config, detector, leaks=NOISY), scores)
  assert np.all(scores != score(config, detector))
  order = np.random.default_rng(0).permutation(len(SPLIT.test))
  shuffled = score(config, detector, rows=SPLIT.test[order], leaks=NOISY)
  np.testing.assert_array_equal(shuffled, scores[:, order])


@pytest.fixture(scope='module')
def saved(fitted, tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp('detector')
  save_detector(folder, fitted)
  return folder


def restore(config, folder: Path) -> Detector:
  summary = json.loads((folder / 'fitted.json').read_text())
  return restore_detector(config, folder, summary, LENGTH, VOCABULARY)


def test_a_restored_detector_is_the_one_saved(fitted, saved):
  restored = restore(config_of(), saved)
  assert_equal(restored, fitted)
  np.testing.assert_array_equal(score(config_of(), restored), score(config_of(), fitted))


ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(ROOT), str(ROOT / 'tests')])
SCRIPT = """
import json, sys
import jax
from pathlib import Path
from tests.detectors.test_autoencoder_gru import config_of, restore, score
scores = score(config_of(), restore(config_of(), Path(sys.argv[1])))
print(json.dumps([jax.local_device_count(), scores.tolist()]))
"""


@pytest.mark.parametrize('devices', [1])
def test_another_number_of_devices_gives_the_same_scores(fitted, saved, devices):
  environment = {
    **os.environ,
    'XLA_FLAGS': f'--xla_force_host_platform_device_count={devices}',
    'PYTHONPATH': PYTHONPATH,
  }
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT, str(saved)],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  available, scores = json.loads(done.stdout)
  assert available == devices
  np.testing.assert_array_equal(np.float32(scores), score(config_of(), fitted))


def test_a_detector_without_autoencoders_is_fitted_saved_and_restored(tmp_path):
  config = config_of(detector__features='none')
  detector = fit(config)
  assert detector.mean.shape == (LENGTH, 1) and detector.autoencoders == ({}, {})
  save_detector(tmp_path, detector)
  assert not (tmp_path / 'autoencoders').exists()
  restored = restore(config, tmp_path)
  assert_equal(restored, detector)
  np.testing.assert_array_equal(score(config, restored), score(config, detector))


def test_missing_or_other_detectors_are_one_line(saved, tmp_path):
  cases = [
    (config_of(), tmp_path / 'nothing', 'no trained detector'),
    (config_of(detector__gru__hidden=5), saved, 'checkpoint'),
    (config_of(detector__autoencoder__layers=(5, 4, 9)), saved, 'checkpoint'),
  ]
  summary = json.loads((saved / 'fitted.json').read_text())
  for config, folder, expected in cases:
    with pytest.raises(LogjaxError, match=expected) as raised:
      restore_detector(config, folder, summary, LENGTH, VOCABULARY)
    assert str(folder) in str(raised.value) and '\n' not in str(raised.value)
