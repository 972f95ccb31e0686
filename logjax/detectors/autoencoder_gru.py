"""The paper's detector: two autoencoders make features, a GRU classifies them.

N rows, T tokens a row, U distinct rows, S x C features a row, R repetitions.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from logjax.errors import LogjaxError
from logjax.evaluation.metrics import best_f1_threshold
from logjax.examples.lines import Examples
from logjax.examples.splits import Split
from logjax.files import load_arrays, write_json
from logjax.models.autoencoder import fit_autoencoder, make_autoencoder, make_encode
from logjax.models.classifier import FeatureRows, GRUTrainer
from logjax.training.checkpoint import restore_params, save_params
from logjax.training.runtime import Runtime, quiet_runtime

NAMES = ('normal', 'abnormal')


class Detector(NamedTuple):
  """A fitted detector, arrays only.

  Attributes:
    autoencoders: parameters of the normal and the abnormal one.
    mean: of the features over the training rows [S, C]; 0 where noise.scale is 'absolute'.
    scale: their standard deviation [S, C]; 1 where it is 'absolute'.
    classifiers: parameters of every repetition.
    thresholds: score from which a row is abnormal, of every repetition [R].
    fitted: what each repetition measured in training: loss and accuracy, train and validation.
  """

  autoencoders: tuple[Any, Any]
  mean: np.ndarray
  scale: np.ndarray
  classifiers: tuple[Any, ...]
  thresholds: tuple[float, ...]
  fitted: tuple[dict[str, float], ...]


def fit_detector(
  config: ml_collections.ConfigDict,
  leaks: frozenset[str],
  examples: Examples,
  split: Split,
  repetitions: list[Split],
  vocabulary: int,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> Detector:
  """Trains the autoencoders and the classifiers.

  Args:
    config: of the run, resolved.
    leaks: of the run.
    examples: all rows; those that test are touched only where a leak says so.
    split: of the rows.
    repetitions: the split of every repetition.
    vocabulary: V.
    key: consumed.
    runtime: of the run.
  """
  encoder_key, noise_key, classifier_key = jax.random.split(key, 3)
  autoencoders = _fit_autoencoders(
    config, leaks, examples, split, vocabulary, key=encoder_key, runtime=runtime
  )
  settings = config.detector
  encode = make_encode(
    settings.autoencoder, settings.features, examples.inputs.shape[1], vocabulary
  )
  seen = np.unique(np.concatenate([split.train, split.valid]))
  table, index = _features(encode, autoencoders, examples, seen, leaks)
  mean, scale = _moments(settings.noise, table, index[np.isin(seen, split.train)])
  table = (table - mean) / scale
  place = np.full(len(examples.inputs), -1)
  place[seen] = index
  trainer = _trainer(config, noise_key, runtime)
  classifiers, thresholds, fitted = [], [], []
  for r, part in enumerate(repetitions):
    sides = [
      _rows(examples, side, table, place[side], noisy=noisy)
      for side, noisy in ((part.train, True), (part.valid, 'noise_on_test' in leaks))
    ]
    trained = trainer.fit(
      *sides,
      key=jax.random.fold_in(classifier_key, r),
      repetition=r,
      balanced=config.oversampler.name == 'class_weights',
    )
    threshold = 0.5
    if settings.threshold == 'valid_f1':
      threshold = best_f1_threshold(sides[1].abnormal, trainer.score(trained.params, sides[1]))
    classifiers.append(trained.params)
    thresholds.append(float(threshold))
    fitted.append({'epoch': trained.epoch, **trained.metrics})
  return Detector(autoencoders, mean, scale, tuple(classifiers), tuple(thresholds), tuple(fitted))


def score_rows(
  config: ml_collections.ConfigDict,
  leaks: frozenset[str],
  detector: Detector,
  examples: Examples,
  rows: np.ndarray,
  vocabulary: int,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> np.ndarray:
  """Scores rows: the probability of being abnormal for every repetition, float32 [R, N].

  Labels are looked at only with the leak label_routed_encoder.

  Args:
    config: of the run, resolved.
    leaks: of the run.
    detector: fitted.
    examples: all rows.
    rows: which to score, int [N].
    vocabulary: V.
    key: the one that `fit_detector` had, for the noise.
    runtime: of the run.
  """
  _, noise_key, _ = jax.random.split(key, 3)
  settings = config.detector
  encode = make_encode(
    settings.autoencoder, settings.features, examples.inputs.shape[1], vocabulary
  )
  table, index = _features(encode, detector.autoencoders, examples, rows, leaks)
  table = (table - detector.mean) / detector.scale
  batch = _rows(examples, rows, table, index, noisy='noise_on_test' in leaks)
  trainer = _trainer(config, noise_key, runtime)
  scores = []
  with runtime.progress.track('scoring', len(detector.classifiers)) as advance:
    for params in detector.classifiers:
      scores.append(trainer.score(params, batch))
      advance()
  return np.stack(scores)


def noise_std(settings: ml_collections.ConfigDict) -> float:
  """Standard deviation of the noise that `config.detector.noise` describes (A11)."""
  return settings.variance**0.5 if settings.reading == 'variance' else settings.variance


def _trainer(
  config: ml_collections.ConfigDict, noise_key: jax.Array, runtime: Runtime
) -> GRUTrainer:
  return GRUTrainer(
    config.detector.gru,
    noise_std=noise_std(config.detector.noise),
    noise_key=noise_key,
    runtime=runtime,
  )


def _fit_autoencoders(
  config: ml_collections.ConfigDict,
  leaks: frozenset[str],
  examples: Examples,
  split: Split,
  vocabulary: int,
  *,
  key: jax.Array,
  runtime: Runtime,
) -> tuple[Any, Any]:
  """Trains the two networks, each on the training rows of its class."""
  settings = config.detector
  if settings.features == 'none':
    return ({}, {})
  # The paper encodes before it splits: its autoencoders see all rows of their class.
  everything = 'label_routed_encoder' in leaks
  train = np.concatenate(split) if everything else split.train
  trained = []
  for i, name in enumerate(NAMES):
    abnormal = name == 'abnormal'
    rows = examples.inputs[train[examples.abnormal[train] == abnormal]]
    valid = examples.inputs[split.valid[examples.abnormal[split.valid] == abnormal]]
    result = fit_autoencoder(
      settings.autoencoder,
      rows,
      valid if len(valid) else rows,  # no such row validates: the training rows must do
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
  leaks: frozenset[str],
) -> tuple[np.ndarray, np.ndarray]:
  """Features of some rows: a table of distinct ones [U, S, C] and each row's place in it [N]."""
  distinct, index = np.unique(examples.inputs[rows], axis=0, return_inverse=True)
  table = encode(autoencoders, distinct)
  index = index.reshape(-1)
  if 'label_routed_encoder' not in leaks:
    return table, index
  # The leak: the true label picks the network. The table holds both choices one after the other.
  routed = np.concatenate([table[..., :1], table[..., 1:]])
  return routed, index + len(distinct) * examples.abnormal[rows]


def _moments(
  settings: ml_collections.ConfigDict, table: np.ndarray, index: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """Mean and deviation of each feature over the training rows, or 0 and 1."""
  if settings.scale == 'absolute':
    return np.zeros(table.shape[1:], np.float32), np.ones(table.shape[1:], np.float32)
  counts = np.bincount(index, minlength=len(table)).astype(np.float64)[:, None, None]
  mean = (table * counts).sum(axis=0) / counts.sum()
  variance = (counts * (table - mean) ** 2).sum(axis=0) / counts.sum()
  # A feature that never changes, like the last positions of short rows, stays where it is.
  scale = np.where(variance > 1e-12, np.sqrt(variance), 1.0)
  return mean.astype(np.float32), scale.astype(np.float32)


def _rows(
  examples: Examples, rows: np.ndarray, table: np.ndarray, index: np.ndarray, *, noisy: bool
) -> FeatureRows:
  return FeatureRows(table, index, examples.abnormal[rows], np.full(len(rows), noisy), rows)


def save_detector(folder: Path, detector: Detector) -> None:
  """Saves a detector: parameters with Orbax, the rest as plain arrays and JSON."""
  folder.mkdir(parents=True, exist_ok=True)
  save_params(folder / 'classifiers', {str(r): p for r, p in enumerate(detector.classifiers)})
  if detector.autoencoders[0]:
    save_params(folder / 'autoencoders', dict(zip(NAMES, detector.autoencoders, strict=True)))
  np.savez(folder / 'features.npz', mean=detector.mean, scale=detector.scale)
  fitted = {'thresholds': detector.thresholds, 'fitted': detector.fitted}
  write_json(folder / 'fitted.json', fitted)


def restore_detector(
  config: ml_collections.ConfigDict, folder: Path, fitted: dict, length: int, vocabulary: int
) -> Detector:
  """Restores what `save_detector` saved, on any number of devices.

  Args:
    config: of the run, resolved.
    folder: where it is.
    fitted: the content of its fitted.json.
    length: T.
    vocabulary: V.

  Raises:
    LogjaxError: when there is nothing or something else.
  """
  path = folder / 'features.npz'
  if not path.exists():
    raise LogjaxError(f'no trained detector in {folder}: delete the folder and run --mode=train')
  saved = load_arrays(path, ('mean', 'scale'))
  mean, scale = saved['mean'], saved['scale']
  key = jax.random.key(0)
  autoencoders = ({}, {})
  if config.detector.features != 'none':
    model = make_autoencoder(config.detector.autoencoder, length, vocabulary)
    like = jax.eval_shape(lambda k: model.init(k, jnp.zeros(length))['params'], key)
    saved = restore_params(folder / 'autoencoders', dict.fromkeys(NAMES, like))
    autoencoders = tuple(saved[name] for name in NAMES)
  trainer = _trainer(config, key, quiet_runtime(config.devices))
  like = jax.eval_shape(lambda k: trainer.init(mean.shape, k), key)
  repetitions = [str(r) for r in range(len(fitted['thresholds']))]
  saved = restore_params(folder / 'classifiers', dict.fromkeys(repetitions, like))
  return Detector(
    autoencoders,
    mean,
    scale,
    tuple(saved[r] for r in repetitions),
    tuple(fitted['thresholds']),
    tuple(fitted['fitted']),
  )
