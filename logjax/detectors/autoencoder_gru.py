"""The paper's detector: two autoencoders make features, a GRU classifies them.

One autoencoder learns the normal lines, one the abnormal ones. N lines, U distinct lines, T tokens
a line, S x C features a line, R repetitions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from logjax.evaluation.thresholds import choose_threshold
from logjax.examples.lines import Encoder
from logjax.examples.protocol import Protocol, protocol_of
from logjax.examples.splits import redraw
from logjax.examples.types import Data, Examples, Reason, Split
from logjax.files import load_arrays, read_json, save_arrays, write_json
from logjax.models.autoencoder import fit_autoencoder, make_autoencoder, make_encode
from logjax.models.classifier import (
  ClassifierTrainer,
  FeatureRows,
  Noise,
  make_classifier,
  score_rows,
  summary_of,
  training_rules,
)
from logjax.rules import Rule, at_least, choice, sizes
from logjax.training.checkpoint import restore_params, save_params
from logjax.training.runtime import Runtime

KIND, NEEDS, SCORES = 'lines', 'labels', 'rows'
TITLE = 'autoencoders and GRU'
RULES: dict[str, Rule] = {
  'detector.autoencoder.loss': choice('softmax', 'tokens', 'mse', auto=('softmax', 'mse')),
  'detector.autoencoder.output': choice('reconstruction', 'code'),
  'detector.autoencoder.layers': sizes(),
  'detector.autoencoder.l1': at_least(0, auto=(0.01, 1e-5)),
  'detector.autoencoder.l1_on': choice('kernel', 'activity', auto=('kernel', 'activity')),
  **training_rules('detector.autoencoder'),
  'detector.noise.variance': at_least(0),
  'detector.noise.scale': choice('absolute', 'relative'),
  'detector.gru.hidden': at_least(1),
  'detector.gru.layout': choice('steps', 'features'),
  **training_rules('detector.gru'),
}

NAMES = ('normal', 'abnormal')
_TINY_VARIANCE = 1e-12  # of a feature that never changes, like the last position of short lines


class Detector(NamedTuple):
  """A fitted detector, arrays only.

  Attributes:
    autoencoders: parameters of the normal and the abnormal one.
    mean: of the features over the training lines [S, C]; 0 if noise.scale is 'absolute'.
    scale: their standard deviation [S, C]; 1 if noise.scale is 'absolute'.
    classifiers: parameters of every repetition.
    vocabulary: V of the lines' tokens.
    thresholds: lowest abnormal score, of every repetition [R].
    history: loss and accuracy of each repetition's training, and its number of epochs.
  """

  autoencoders: tuple[Any, Any]
  mean: np.ndarray
  scale: np.ndarray
  classifiers: tuple[Any, ...]
  vocabulary: int
  thresholds: tuple[float, ...]
  history: tuple[dict[str, float], ...]


def fit(
  config: ml_collections.ConfigDict, data: Data, *, key: jax.Array, runtime: Runtime
) -> Detector:
  """Trains the autoencoders, then a classifier for every repetition.

  Args:
    config: of the run, resolved.
    data: examples and their split; test lines are read only with a leak.
    key: consumed.
    runtime: devices, progress, checkpoints.
  """
  protocol, settings = protocol_of(config), config.detector
  examples, split = data.examples, data.split
  vocabulary = len(data.encoder.vocabulary)
  encoder_key, noise_key, classifier_key = jax.random.split(key, 3)
  autoencoders = _fit_autoencoders(
    config, protocol, data, vocabulary, key=encoder_key, runtime=runtime
  )
  encode = make_encode(settings.autoencoder, examples.distinct.tokens.shape[1], vocabulary)
  seen = np.unique(np.concatenate([split.train, split.valid]))
  table, index = _features(encode, autoencoders, examples, seen, protocol)
  mean, scale = _moments(settings.noise, table, index[np.isin(seen, split.train)])
  table = _shaped(settings, (table - mean) / scale)
  # The row of `table` for every example; -1 for the test examples, which have none.
  place = np.full(len(examples.index), -1)
  place[seen] = index
  trainer = ClassifierTrainer(
    make_classifier(settings.gru),
    settings.gru,
    noise=_noise(config, noise_key),
    runtime=runtime,
  )
  classifiers, thresholds, history = [], [], []
  for r, part in enumerate(repetition_splits(config, protocol, split)):
    train, valid = (
      _rows(examples, side, table, place[side], noisy=noisy)
      for side, noisy in ((part.train, True), (part.valid, protocol.noise_on_test))
    )
    trained = trainer.fit(
      train,
      valid,
      key=jax.random.fold_in(classifier_key, r),
      repetition=r,
      balanced=data.balanced,
    )
    scores = trainer.score(trained.params, valid)
    classifiers.append(trained.params)
    thresholds.append(choose_threshold(settings.threshold, valid.abnormal, scores))
    history.append(summary_of(trained))
  return Detector(
    autoencoders, mean, scale, tuple(classifiers), vocabulary, tuple(thresholds), tuple(history)
  )


def repetition_splits(
  config: ml_collections.ConfigDict, protocol: Protocol, split: Split
) -> list[Split]:
  """Returns the split of every repetition.

  In the paper each repetition draws its own training and validation lines. Here this needs leaks by
  which oversampler and autoencoders have learned from all lines anyway. Without these leaks a
  repetition would validate on lines of their training.
  """
  redrawn = (
    protocol.oversampler_sees_test
    and protocol.label_routed_encoder
    and protocol.split_by == 'random'
    and not config.split.abnormal_train
  )
  return [
    redraw(split, r, shuffled=redrawn, seed=config.seed) for r in range(config.detector.repetitions)
  ]


def score(
  config: ml_collections.ConfigDict,
  detector: Detector,
  examples: Examples,
  rows: np.ndarray,
  *,
  key: jax.Array,
) -> np.ndarray:
  """Returns the probability of being abnormal of some lines, float32 [R, M].

  Labels are read, and needed, only with the leak label_routed_encoder.

  Args:
    config: of the run, resolved.
    detector: fitted.
    examples: all of them.
    rows: indices of the examples to score [M].
    key: the key of `fit`, for the noise of the leak noise_on_test.
  """
  protocol, settings = protocol_of(config), config.detector
  noise = _noise(config, jax.random.split(key, 3)[1])
  length = examples.distinct.tokens.shape[1]
  encode = make_encode(settings.autoencoder, length, detector.vocabulary)
  table, index = _features(encode, detector.autoencoders, examples, rows, protocol)
  table = _shaped(settings, (table - detector.mean) / detector.scale)
  batch = _rows(examples, rows, table, index, noisy=protocol.noise_on_test)
  model = make_classifier(settings.gru)
  return np.stack([score_rows(model, params, batch, noise) for params in detector.classifiers])


def explain(
  config: ml_collections.ConfigDict,
  detector: Detector,
  encoder: Encoder,
  examples: Examples,
  index: np.ndarray,
) -> list[list[Reason]]:
  """Names the tokens with the largest fall of the mean score, for the distinct lines `index`.

  The fall is measured with the features of the token's position replaced by their means over the
  training lines.
  """
  settings, tokens = config.detector, examples.distinct.tokens[index]
  encode = make_encode(settings.autoencoder, tokens.shape[1], detector.vocabulary)
  table = (encode(detector.autoencoders, tokens) - detector.mean) / detector.scale
  if settings.autoencoder.output == 'code':
    return [[] for _ in index]  # the units of a code have no position in the line
  reasons = []
  texts = encoder.vocabulary.decode(tokens)
  for text, row in zip(texts, table, strict=True):
    words = text.split()
    # Variant 0 is the line itself; variant i + 1 has the mean, 0 when standardised, at position i.
    variants = np.repeat(row[None], len(words) + 1, axis=0)
    variants[np.arange(len(words)) + 1, np.arange(len(words))] = 0.0
    scores = _mean_score(settings, detector, variants)
    falls = scores[0] - scores[1:]
    top = [i for i in np.argsort(-falls, kind='stable')[:3] if falls[i] > 0]
    reasons.append([Reason('token', words[i], (), float(falls[i])) for i in top])
  return reasons


def _mean_score(
  settings: ml_collections.ConfigDict, detector: Detector, table: np.ndarray
) -> np.ndarray:
  """Scores standardised features [U, S, C]; returns the mean over the repetitions [U]."""
  table, count = _shaped(settings, table), len(table)
  clean = np.zeros(count, bool)
  rows = FeatureRows(table, np.arange(count), clean, clean, np.arange(count))
  model = make_classifier(settings.gru)
  return np.mean([score_rows(model, params, rows) for params in detector.classifiers], axis=0)


def _noise(config: ml_collections.ConfigDict, key: jax.Array) -> Noise:
  return Noise(config.detector.noise.variance**0.5, key)


def _fit_autoencoders(
  config: ml_collections.ConfigDict,
  protocol: Protocol,
  data: Data,
  vocabulary: int,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> tuple[Any, Any]:
  """Trains the two networks, each on the training lines of its class."""
  examples, split = data.examples, data.split
  # The paper encodes before it splits: its autoencoders see all lines of their class.
  train = np.concatenate(split) if protocol.label_routed_encoder else split.train
  trained = []
  for i, name in enumerate(NAMES):
    abnormal = name == 'abnormal'
    rows = examples.index[train[examples.abnormal[train] == abnormal]]
    valid = examples.index[split.valid[examples.abnormal[split.valid] == abnormal]]
    result = fit_autoencoder(
      config.detector.autoencoder,
      examples.distinct.tokens,
      rows,
      valid if len(valid) else rows,  # the class may have no validation line
      vocabulary=vocabulary,
      key=jax.random.fold_in(key, i),
      runtime=runtime,
      name=f'autoencoder_{name}',
    )
    trained.append(result.params)
  return tuple(trained)


def _features(
  encode: Callable,
  autoencoders: tuple[Any, Any],
  examples: Examples,
  rows: np.ndarray,
  protocol: Protocol,
) -> tuple[np.ndarray, np.ndarray]:
  """Encodes lines: a table of distinct features [U, S, C] and each line's place in it [N]."""
  used, index = np.unique(examples.index[rows], return_inverse=True)
  table = encode(autoencoders, examples.distinct.tokens[used])
  if not protocol.label_routed_encoder:
    return table, index
  # The leak: the true label picks the network. The table holds the outputs of the normal one, then
  # those of the abnormal one, so abnormal lines look len(used) places further down.
  routed = np.concatenate([table[..., :1], table[..., 1:]])
  return routed, index + len(used) * examples.abnormal[rows]


def _shaped(settings: ml_collections.ConfigDict, table: np.ndarray) -> np.ndarray:
  """Shapes features [U, S, C] for the GRU (A12): S steps of C features, or one step of S * C."""
  return table.reshape(len(table), 1, -1) if settings.gru.layout == 'features' else table


def _moments(
  settings: ml_collections.ConfigDict, table: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Returns mean and deviation of each feature over the training lines, or 0 and 1.

  Args:
    settings: `config.detector.noise`.
    table: distinct features [U, S, C].
    index: the distinct features of each training line [N].
  """
  if settings.scale == 'absolute':
    return np.zeros(table.shape[1:], np.float32), np.ones(table.shape[1:], np.float32)
  counts = np.bincount(index, minlength=len(table)).astype(np.float64)[:, None, None]
  mean = (table * counts).sum(axis=0) / counts.sum()
  variance = (counts * (table - mean) ** 2).sum(axis=0) / counts.sum()
  scale = np.where(variance > _TINY_VARIANCE, np.sqrt(variance), 1.0)
  return mean.astype(np.float32), scale.astype(np.float32)


def _rows(
  examples: Examples, rows: np.ndarray, table: np.ndarray, index: np.ndarray, *, noisy: bool
) -> FeatureRows:
  abnormal = np.zeros(len(rows), bool) if examples.abnormal is None else examples.abnormal[rows]
  return FeatureRows(table, index, abnormal, np.full(len(rows), noisy), rows)


def save(folder: Path, detector: Detector) -> None:
  """Saves parameters with Orbax, the moments as arrays, the rest as JSON."""
  folder.mkdir(parents=True, exist_ok=True)
  save_params(folder / 'classifiers', {str(r): p for r, p in enumerate(detector.classifiers)})
  save_params(folder / 'autoencoders', dict(zip(NAMES, detector.autoencoders, strict=True)))
  save_arrays(folder / 'features.npz', mean=detector.mean, scale=detector.scale)
  about = {
    'vocabulary': detector.vocabulary,
    'thresholds': detector.thresholds,
    'history': detector.history,
  }
  write_json(folder / 'fitted.json', about)


def restore(config: ml_collections.ConfigDict, folder: Path) -> Detector:
  """Restores a detector written by `save`, on any number of devices.

  Args:
    config: of the run, resolved.
    folder: of the detector.

  Raises:
    LogjaxError: the folder has no detector, or one of another shape.
  """
  about = read_json(folder / 'fitted.json', dict, f'delete {folder} and run --mode=train')
  saved = load_arrays(folder / 'features.npz', ('mean', 'scale'))
  key, length = jax.random.key(0), config.text.length
  autoencoder = make_autoencoder(config.detector.autoencoder, length, about['vocabulary'])
  like = jax.eval_shape(lambda k: autoencoder.init(k, jnp.zeros(length))['params'], key)
  autoencoders = restore_params(folder / 'autoencoders', dict.fromkeys(NAMES, like))
  classifier = make_classifier(config.detector.gru)
  row = _shaped(config.detector, saved['mean'][None])[0]
  like = jax.eval_shape(lambda k: classifier.init(k, row)['params'], key)
  repetitions = [str(r) for r in range(len(about['thresholds']))]
  classifiers = restore_params(folder / 'classifiers', dict.fromkeys(repetitions, like))
  return Detector(
    tuple(autoencoders[name] for name in NAMES),
    saved['mean'],
    saved['scale'],
    tuple(classifiers[r] for r in repetitions),
    about['vocabulary'],
    tuple(about['thresholds']),
    tuple(about['history']),
  )
