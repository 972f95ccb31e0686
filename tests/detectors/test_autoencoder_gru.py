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
from logjax.detectors.autoencoder_gru import Detector
from logjax.errors import LogjaxError
from logjax.evaluation.thresholds import best_f1_threshold
from logjax.examples.lines import Encoder, Rows
from logjax.examples.protocol import PROTOCOLS, Protocol
from logjax.examples.text import Masks, Vocabulary
from logjax.examples.types import Data, Examples, Split
from logjax.models.autoencoder import make_autoencoder
from logjax.models.classifier import make_classifier
from logjax.settings import resolve
from logjax.training.loop import Trained
from logjax.training.runtime import quiet_runtime

ROWS, LENGTH, VOCABULARY = 48, 4, 8
SPLIT = Split(np.arange(0, 24), np.arange(24, 36), np.arange(36, 48))
KEY = jax.random.key(5)
ROUTED = Protocol(label_routed_encoder=True)
NOISY = Protocol(noise_on_test=True)
HONEST, PAPER = PROTOCOLS['honest'], PROTOCOLS['paper']
ENCODER = Encoder(Masks(), Vocabulary(('<pad>', '<unk>', *'abcdef')), LENGTH)


def make_examples() -> Examples:
  """A third is abnormal; few distinct rows, so that train and test have some in common."""
  rng = np.random.default_rng(0)
  texts = rng.integers(0, VOCABULARY, (10, LENGTH)).astype(np.int32)
  texts[:, 0] = 1 + np.arange(10) % 7
  texts[:, -1] = 0  # a feature that never changes
  abnormal = np.arange(ROWS) % 3 == 0
  group = np.where(abnormal, rng.integers(0, 4, ROWS), rng.integers(3, 10, ROWS))
  distinct = Rows(texts, ENCODER.vocabulary.decode(texts).to_numpy())
  place = np.arange(ROWS)
  return Examples(distinct, group.astype(np.int32), abnormal, place, place, group, None)


EXAMPLES = make_examples()
INPUTS = EXAMPLES.distinct.tokens[EXAMPLES.index]


def config_of(protocol=HONEST, **changes):
  """A resolved tiny configuration; dots in names are written `__`."""
  config = default.get_config()
  config.leaks = ','.join(protocol.leaks) or 'none'
  config.text.length = LENGTH
  config.devices = 1
  for model in (config.detector.autoencoder, config.detector.gru):
    # All epochs are run, so that validation rows decide nothing about the parameters.
    model.update(batch=8, epochs=2, rows_per_epoch=0, patience=100, restore_best=False)
  config.detector.autoencoder.layers = (5, 4, 3)
  config.detector.gru.hidden = 4
  config.detector.repetitions = 1
  config.update_from_flattened_dict({name.replace('__', '.'): v for name, v in changes.items()})
  return resolve(config)


def fit(config, examples=EXAMPLES, runtime=None, balanced=False):
  data = Data(examples, SPLIT, ENCODER, balanced)
  with compiled_fast():
    return module.fit(config, data, key=KEY, runtime=runtime or quiet_runtime(1))


def score(config, detector, rows=SPLIT.test, examples=EXAMPLES):
  return module.score(config, detector, examples, rows, key=KEY)


def flipped(rows: np.ndarray) -> Examples:
  """The examples with other labels on some rows."""
  abnormal = EXAMPLES.abnormal.copy()
  abnormal[rows] = ~abnormal[rows]
  return EXAMPLES._replace(abnormal=abnormal)


def rewritten(rows: np.ndarray) -> Examples:
  """The examples with other tokens in some rows, none of which occurs elsewhere."""
  tokens, masked = EXAMPLES.distinct
  new = np.full((1, LENGTH), VOCABULARY - 1, np.int32)
  index = EXAMPLES.index.copy()
  index[rows] = len(tokens)
  distinct = Rows(np.concatenate([tokens, new]), np.append(masked, 'other'))
  return EXAMPLES._replace(distinct=distinct, index=index)


class Stage:
  """Stands in for the models: notes which rows each is given, and makes features by hand.

  The features of a row are its ids for the normal autoencoder, and its ids plus 100 for the
  abnormal one.
  """

  def __init__(self, monkeypatch):
    self.autoencoders, self.encoded, self.fits, self.trainers = {}, [], [], []
    monkeypatch.setattr(module, 'fit_autoencoder', self.fit_autoencoder)
    monkeypatch.setattr(module, 'make_encode', self.make_encode)
    monkeypatch.setattr(module, 'ClassifierTrainer', self.make_trainer)
    monkeypatch.setattr(module, 'score_rows', self.score_rows)

  def fit_autoencoder(self, settings, distinct, rows, valid, **options):
    assert options['vocabulary'] == VOCABULARY
    self.autoencoders[options['name']] = (distinct[rows], distinct[valid])
    return Trained({'of': options['name']}, 0, {})

  def make_encode(self, settings, length, vocabulary):
    assert (length, vocabulary) == (LENGTH, VOCABULARY)

    def encode(networks, rows):
      self.encoded.append(rows)
      return np.stack([rows, rows + 100], axis=2).astype(np.float32)

    return encode

  def make_trainer(self, model, settings, **options):
    self.trainers.append(options)
    return self

  def score_rows(self, model, params, rows, noise):
    self.trainers.append({'noise': noise})
    return self.score(params, rows)

  def fit(self, train, valid, *, key, repetition, balanced):
    self.fits.append((train, valid, key))
    self.balanced = balanced
    metrics = dict.fromkeys(('loss', 'accuracy', 'valid_loss', 'valid_accuracy'), 0.5)
    return Trained({'repetition': repetition}, repetition, metrics)

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
      expected = INPUTS[side[EXAMPLES.abnormal[side] == label]]
      np.testing.assert_array_equal(rows, expected)


def test_where_no_row_of_a_class_validates_the_training_rows_do(stage):
  abnormal = EXAMPLES.abnormal.copy()
  abnormal[SPLIT.valid] = False
  fit(config_of(), EXAMPLES._replace(abnormal=abnormal))
  rows, valid = stage.autoencoders['autoencoder_abnormal']
  np.testing.assert_array_equal(valid, rows)
  assert len(stage.autoencoders['autoencoder_normal'][1]) == len(SPLIT.valid)


def test_only_with_the_leak_do_autoencoders_learn_all_rows(stage):
  fit(config_of(ROUTED))
  for name, label in (('autoencoder_normal', False), ('autoencoder_abnormal', True)):
    expected = INPUTS[EXAMPLES.abnormal == label]
    assert sorted_rows(stage.autoencoders[name][0]) == sorted_rows(expected)


def test_fitting_encodes_no_test_row(stage):
  fit(config_of(), rewritten(SPLIT.test))
  (encoded,) = stage.encoded
  assert not np.any(np.all(encoded == VOCABULARY - 1, axis=1))
  expected = np.unique(INPUTS[: SPLIT.test[0]], axis=0)
  np.testing.assert_array_equal(np.unique(encoded, axis=0), expected)
  assert len(encoded) == len(np.unique(EXAMPLES.index[: SPLIT.test[0]]))  # each once


@pytest.mark.parametrize('protocol', [HONEST, ROUTED, PAPER])
def test_relative_noise_standardises_on_the_training_rows(stage, protocol):
  """Rows count as often as they occur; a feature that never changes stays where it is."""
  detector = fit(config_of(protocol, detector__noise__scale='relative'))
  x, label = INPUTS[SPLIT.train].astype(np.float64), EXAMPLES.abnormal[SPLIT.train]
  features = np.stack([x, x + 100], axis=2)
  if protocol.label_routed_encoder:
    features = (x + 100 * label[:, None])[:, :, None]
  assert detector.mean.shape == features.shape[1:]
  np.testing.assert_allclose(detector.mean, features.mean(axis=0), rtol=1e-5)
  deviation = features.std(axis=0)
  deviation[deviation == 0] = 1
  np.testing.assert_allclose(detector.scale, deviation, rtol=1e-5)
  assert protocol.leaks or np.all(detector.scale[-1] == 1)
  train, _, _ = stage.fits[0]
  expected = (features - detector.mean) / detector.scale
  np.testing.assert_allclose(features_of(train), expected, rtol=1e-4, atol=1e-5)


def test_absolute_noise_leaves_the_features_as_they_are(stage):
  detector = fit(config_of(detector__noise__scale='absolute'))
  assert not detector.mean.any() and np.all(detector.scale == 1)
  x = INPUTS[SPLIT.valid]
  np.testing.assert_array_equal(features_of(stage.fits[0][1]), np.stack([x, x + 100], axis=2))


@pytest.mark.parametrize('change', [rewritten, flipped])
@pytest.mark.parametrize('side', ['valid', 'test'])
def test_validation_and_test_rows_do_not_move_the_standard(stage, change, side):
  before = fit(config_of())
  after = fit(config_of(), change(getattr(SPLIT, side)))
  np.testing.assert_array_equal(after.mean, before.mean)
  np.testing.assert_array_equal(after.scale, before.scale)


@pytest.mark.parametrize('protocol', [HONEST, NOISY])
def test_noise_is_on_training_rows_and_elsewhere_only_with_the_leak(stage, protocol):
  config = config_of(protocol)
  detector = fit(config)
  train, valid, _ = stage.fits[0]
  score(config, detector)
  assert train.noisy.all()
  for rows in (valid, stage.scored):
    assert np.all(rows.noisy == protocol.noise_on_test)
  for rows, side in zip((train, valid, stage.scored), SPLIT, strict=True):
    np.testing.assert_array_equal(rows.number, side)
    np.testing.assert_array_equal(rows.abnormal, EXAMPLES.abnormal[side])


@pytest.mark.parametrize('variance', [0.1, 0.0])
def test_the_number_of_the_paper_is_a_variance(stage, variance):
  config = config_of(detector__noise__variance=variance)
  score(config, fit(config))
  noises = [trainer['noise'] for trainer in stage.trainers]
  assert [noise.std for noise in noises] == pytest.approx([variance**0.5] * 2)
  keys = [jax.random.key_data(noise.key).tolist() for noise in noises]
  assert keys[0] == keys[1]  # one noise, in training and in testing


def test_without_the_leak_every_row_goes_through_both_autoencoders(stage):
  config = config_of(detector__noise__scale='absolute')
  detector = fit(config)
  score(config, detector)
  x = INPUTS[SPLIT.test]
  np.testing.assert_array_equal(features_of(stage.scored), np.stack([x, x + 100], axis=2))


def test_with_the_leak_the_true_label_picks_the_autoencoder(stage):
  config = config_of(ROUTED, detector__noise__scale='absolute')
  score(config, fit(config))
  train, valid, _ = stage.fits[0]
  for rows, side in zip((train, valid, stage.scored), SPLIT, strict=True):
    expected = INPUTS[side] + 100 * EXAMPLES.abnormal[side][:, None]
    np.testing.assert_array_equal(features_of(rows), expected[:, :, None])


@pytest.mark.parametrize('threshold', ['half', 'valid_f1'])
def test_every_repetition_has_its_split_its_key_and_its_threshold(stage, threshold, monkeypatch):
  """The second repetition swaps some rows; its scores are 1 higher."""
  other = Split(np.arange(12, 36), np.arange(12), SPLIT.test)
  monkeypatch.setattr(module, 'repetition_splits', lambda *_: [SPLIT, other])
  config = config_of(detector__threshold=threshold)
  detector = fit(config)
  for (train, valid, _), split in zip(stage.fits, (SPLIT, other), strict=True):
    np.testing.assert_array_equal(train.number, split.train)
    np.testing.assert_array_equal(valid.number, split.valid)
  keys = [jax.random.key_data(key).tolist() for _, _, key in stage.fits]
  assert keys[0] != keys[1]
  assert detector.classifiers == ({'repetition': 0}, {'repetition': 1})
  assert [one['epochs'] for one in detector.history] == [1, 2]
  assert detector.history[0]['train_loss'] == 0.5
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


@pytest.mark.parametrize('balanced', [True, False])
def test_the_classifiers_loss_is_balanced_where_the_data_ask_for_it(stage, balanced):
  fit(config_of(), balanced=balanced)
  assert stage.balanced == balanced


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
  assert_equal(
    other._replace(thresholds=(), history=()), fitted._replace(thresholds=(), history=())
  )
  assert other.thresholds != fitted.thresholds
  for after, before in zip(other.history, fitted.history, strict=True):
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


def draw_detector(protocol: Protocol) -> Detector:
  """A detector of the right shapes that never saw a row."""
  config = config_of(protocol)
  rng = np.random.default_rng(0)
  channels = 1 if protocol.label_routed_encoder else 2

  def draw(model, x):
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)['params']
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)

  network = make_autoencoder(config.detector.autoencoder, LENGTH, VOCABULARY)
  autoencoders = tuple(draw(network, jnp.zeros(LENGTH)) for _ in range(2))
  classifier = make_classifier(config.detector.gru)
  classifiers = (draw(classifier, jnp.zeros((LENGTH, channels))),)
  mean, scale = np.zeros((LENGTH, channels)), np.ones((LENGTH, channels))
  return Detector(autoencoders, mean, scale, classifiers, VOCABULARY, (0.5,), ())


@pytest.mark.parametrize(
  ('protocol', 'matters'), [(HONEST, False), (NOISY, False), (ROUTED, True), (PAPER, True)]
)
def test_test_labels_change_scores_only_with_the_leak(protocol, matters):
  config, detector = config_of(protocol), draw_detector(protocol)
  scores = score(config, detector)
  other = score(config, detector, examples=flipped(SPLIT.test))
  np.testing.assert_array_equal(scores != other, np.full(scores.shape, matters))


def test_noise_on_test_rows_is_the_same_every_time():
  config, detector = config_of(NOISY), draw_detector(NOISY)
  scores = score(config, detector)
  np.testing.assert_array_equal(score(config, detector), scores)
  assert np.all(scores != score(config_of(), detector))
  order = np.random.default_rng(0).permutation(len(SPLIT.test))
  shuffled = score(config, detector, rows=SPLIT.test[order])
  np.testing.assert_array_equal(shuffled, scores[:, order])


@pytest.fixture(scope='module')
def saved(fitted, tmp_path_factory) -> Path:
  folder = tmp_path_factory.mktemp('detector')
  module.save(folder, fitted)
  return folder


def restore(config, folder: Path) -> Detector:
  return module.restore(config, folder)


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
    'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',  # as `fitted` was compiled
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


def test_lines_without_labels_have_the_same_scores(fitted):
  unlabelled = EXAMPLES._replace(abnormal=None)
  np.testing.assert_array_equal(
    score(config_of(), fitted, examples=unlabelled), score(config_of(), fitted)
  )


def test_reasons_are_tokens_of_the_line_that_raise_its_score(fitted):
  index = np.array([3, 0])
  for place, reasons in zip(
    index, module.explain(config_of(), fitted, ENCODER, EXAMPLES, index), strict=True
  ):
    words = ENCODER.vocabulary.decode(EXAMPLES.distinct.tokens[[place]])[0].split()
    assert all(reason.observed in words and reason.weight > 0 for reason in reasons)


def test_missing_or_other_detectors_are_one_line(saved, tmp_path):
  cases = [
    (config_of(), tmp_path / 'nothing', 'fitted.json is missing'),
    (config_of(detector__gru__hidden=5), saved, 'checkpoint'),
    (config_of(detector__autoencoder__layers=(5, 4, 9)), saved, 'checkpoint'),
  ]
  for config, folder, expected in cases:
    with pytest.raises(LogjaxError, match=expected) as raised:
      restore(config, folder)
    assert str(folder) in str(raised.value) and '\n' not in str(raised.value)
