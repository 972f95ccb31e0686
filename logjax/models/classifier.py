"""A recurrent classifier: a GRU and a softmax of two, and its training.

S steps, C channels, N rows, U distinct rows, T tokens.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import linen as nn

from logjax.models.recurrent import GRUCell
from logjax.rules import Rule, above, at_least, boolean, choice, fraction
from logjax.training.blocks import make_apply, make_validate
from logjax.training.keys import numpy_generator
from logjax.training.loop import Trained, fit
from logjax.training.parallel import choose_devices, parallel, scan_steps
from logjax.training.runtime import Runtime
from logjax.training.state import create_state, make_train_step


class Classifier(nn.Module):
  """Reads ONE row step by step.

  Attributes:
    hidden: size of the GRU.
    dropout: fraction of its last state dropped in training.
    vocabulary: V for rows of token ids; 0 for rows of features.
    embedding: size of a token's embedding.
  """

  hidden: int
  dropout: float
  vocabulary: int = 0
  embedding: int = 0

  def setup(self):
    if self.vocabulary:
      self.embed = nn.Embed(self.vocabulary, self.embedding)
    self.cell = GRUCell(self.hidden)
    self.drop = nn.Dropout(self.dropout)
    self.head = nn.Dense(2)

  def __call__(self, row: jax.Array, training: bool = False) -> jax.Array:
    """Turns features [S, C] or token ids [T] into the logits of (normal, abnormal) [2]."""
    features = self.embed(row) if self.vocabulary else row
    read = nn.scan(
      lambda cell, h, x: (cell(h, x), None),
      variable_broadcast='params',
      split_rngs={'params': False},
    )
    h, _ = read(self.cell, jnp.zeros(self.hidden), self.cell.project(features))
    return self.head(self.drop(h, deterministic=not training))


class Noise(NamedTuple):
  """Gaussian noise on rows; a row has the same noise in every epoch (A11).

  Attributes:
    std: standard deviation; 0 for none.
    key: of the noise; each row folds its number into it.
  """

  std: float
  key: jax.Array


class FeatureRows(NamedTuple):
  """Rows, encoded by their distinct contents: most lines repeat.

  Attributes:
    table: distinct features [U, S, C] or token ids [U, T].
    index: the distinct row of each row, [N].
    abnormal: bool [N].
    noisy: marks the rows with noise, bool [N].
    number: the row's number in the corpus, [N]; it alone decides the row's noise.
  """

  table: np.ndarray
  index: np.ndarray
  abnormal: np.ndarray
  noisy: np.ndarray
  number: np.ndarray


def training_rules(prefix: str) -> dict[str, Rule]:
  """Returns the rules of a model's training fields (`configs/default.py:training`)."""
  return {
    f'{prefix}.batch': at_least(1),
    f'{prefix}.epochs': at_least(1),
    f'{prefix}.rows_per_epoch': at_least(0),
    f'{prefix}.least_rows_per_epoch': at_least(0),
    f'{prefix}.patience': at_least(0),
    f'{prefix}.restore_best': boolean(),
    f'{prefix}.learning_rate': above(0),
    f'{prefix}.dropout': fraction(),
    f'{prefix}.dropout_means': choice('drop', 'keep', auto=('drop', 'keep')),
  }


def drop_rate(probability: float, means: str) -> float:
  """Returns the fraction to drop; `means` says if `probability` is of 'drop' or of 'keep' (A8)."""
  return probability if means == 'drop' else 1 - probability


def make_classifier(
  settings: ml_collections.ConfigDict, vocabulary: int = 0, embedding: int = 0
) -> Classifier:
  """Makes the network of `config.detector.gru`, on features or on token ids."""
  rate = drop_rate(settings.dropout, settings.dropout_means)
  return Classifier(settings.hidden, rate, vocabulary, embedding)


def add_noise(features: jax.Array, noisy: jax.Array, number: jax.Array, noise: Noise) -> jax.Array:
  """Adds the noise of one row to its features [S, C]."""
  drawn = jax.random.normal(jax.random.fold_in(noise.key, number), features.shape)
  return features + jnp.where(noisy, noise.std * drawn, 0.0)


class ClassifierTrainer:
  """Compiles the programs of a classifier once for all repetitions.

  Args:
    model: the network.
    settings: `config.detector.gru`: batch, epochs, learning rate and others.
    noise: on the rows.
    runtime: devices, progress, checkpoints.

  Attributes:
    create: `(row, key) -> state` before the first step.
    step: on one batch, for `parallel`.
  """

  def __init__(
    self,
    model: Classifier,
    settings: ml_collections.ConfigDict,
    *,
    noise: Noise | None,
    runtime: Runtime,
  ):
    self._model, self._settings, self._runtime = model, settings, runtime
    self._devices = choose_devices(runtime.devices)
    self._noise = noise
    self._tx = optax.adam(settings.learning_rate)

    def example_loss(params, example, key):
      row, abnormal, *of_noise = example
      logits = _logits(model, noise, params, row, *of_noise, training=True, rngs={'dropout': key})
      measured = _measure(logits, abnormal.astype(jnp.int32))
      return measured['loss'], {'accuracy': measured['accuracy']}

    def example_metrics(params, example):
      row, abnormal, *of_noise = example
      return _measure(_logits(model, noise, params, row, *of_noise), abnormal.astype(jnp.int32))

    self.create = jax.jit(lambda row, key: create_state(model.init(key, row)['params'], self._tx))
    self.step = make_train_step(example_loss, self._tx)
    self._step = parallel(scan_steps(self.step), self._devices)
    self._validate = make_validate(example_metrics)

  def fit(
    self,
    train: FeatureRows,
    valid: FeatureRows,
    *,
    key: jax.Array,
    repetition: int,
    balanced: bool = False,
  ) -> Trained:
    """Trains one classifier.

    Args:
      train: rows to train on.
      valid: validation rows; they decide when to stop.
      key: consumed.
      repetition: its number, for metrics.jsonl.
      balanced: gives both classes the same weight in the training loss.
    """
    init_key, fit_key, valid_key = jax.random.split(key, 3)
    examples, weights = distinct_examples(valid, self._settings.rows_per_epoch, valid_key)
    return fit(
      self.create(np.zeros_like(train.table[0]), init_key),
      self._step,
      lambda index: _examples(train, index),
      len(train.index),
      self._validate(examples, weights),
      self._settings,
      key=fit_key,
      runtime=self._runtime,
      name='gru',
      importance=balanced_weights(train.abnormal) if balanced else None,
      repetition=repetition,
    )

  def score(self, params: Any, rows: FeatureRows) -> np.ndarray:
    """Returns the probability of each row of being abnormal, float32 [N]."""
    return score_rows(self._model, params, rows, self._noise)


def score_rows(
  model: Classifier, params: Any, rows: FeatureRows, noise: Noise | None = None
) -> np.ndarray:
  """Returns the probability of each row of being abnormal, float32 [N].

  Equal rows are computed once, unless they have noise.

  Args:
    model: the network.
    params: its parameters.
    rows: to score.
    noise: on the noisy rows.
  """
  if rows.noisy.any():
    row, _, noisy, number = _examples(rows, np.arange(len(rows.index)))
    return _noisy_scorer(model, noise.std)((params, noise.key), (row, noisy, number))
  used, inverse = np.unique(rows.index, return_inverse=True)
  return _scorer(model)(params, rows.table[used])[inverse]


@functools.cache
def _scorer(model: Classifier) -> Callable:
  """Compiles the scores of clean rows once for each network."""
  return make_apply(lambda params, row: nn.softmax(_logits(model, None, params, row))[1])


@functools.cache
def _noisy_scorer(model: Classifier, std: float) -> Callable:
  """Compiles the scores of noisy rows once for each network and deviation."""

  def probability(params_and_key: tuple[Any, jax.Array], example: tuple) -> jax.Array:
    params, key = params_and_key
    return nn.softmax(_logits(model, Noise(std, key), params, *example))[1]

  return make_apply(probability)


def _logits(
  model: Classifier, noise: Noise | None, params: Any, row: jax.Array, *of_noise: Any, **kwargs: Any
) -> jax.Array:
  """Computes the logits of one row with its noise; `of_noise` is (noisy, number) of the row."""
  if noise is not None and noise.std > 0:
    row = add_noise(row, *of_noise, noise)
  return model.apply({'params': params}, row, **kwargs)


def summary_of(trained: Trained) -> dict[str, float]:
  """Returns the measurements of a training under their names in results.json."""
  return {
    'train_loss': trained.metrics['loss'],
    'train_accuracy': trained.metrics['accuracy'],
    'valid_loss': trained.metrics['valid_loss'],
    'valid_accuracy': trained.metrics['valid_accuracy'],
    'epochs': trained.epoch + 1,
  }


def balanced_weights(abnormal: np.ndarray) -> np.ndarray:
  """Computes weights of rows [N] with mean 1 and equal sums for both classes.

  With rows of one class only, all weights are 1. The same as scikit-learn's
  `class_weight='balanced'`.
  """
  counts = np.bincount(abnormal.astype(int), minlength=2)
  weight = len(abnormal) / ((counts > 0).sum() * np.maximum(counts, 1))
  return weight[abnormal.astype(int)].astype(np.float32)


def _measure(logits: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
  loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
  return {'loss': loss, 'accuracy': (jnp.argmax(logits) == label).astype(jnp.float32)}


def _examples(rows: FeatureRows, index: np.ndarray) -> tuple[np.ndarray, ...]:
  """Collects the examples (row, abnormal, noisy, number) of some rows."""
  return (
    rows.table[rows.index[index]],
    rows.abnormal[index],
    rows.noisy[index],
    rows.number[index].astype(np.int32),
  )


def distinct_examples(
  rows: FeatureRows, most: int, key: jax.Array
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
  """Returns the distinct examples among the rows, and the number of rows of each.

  Noisy rows are all distinct. Of them at most `most` are drawn at random (0 for all).
  """
  chosen = np.arange(len(rows.index))
  if rows.noisy.any():
    if most and len(chosen) > most:
      chosen = numpy_generator(key).permutation(chosen)[:most]
    return _examples(rows, chosen), np.ones(len(chosen))
  pairs = rows.index * 2 + rows.abnormal  # one number for each pair of content and label
  _, first, counts = np.unique(pairs, return_index=True, return_counts=True)
  return _examples(rows, chosen[first]), counts
