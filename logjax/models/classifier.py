"""The paper's classifier: a GRU and a softmax of two. S steps, C channels, N rows."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import linen as nn

from logjax.models.autoencoder import drop_rate
from logjax.models.recurrent import GRUCell
from logjax.training.blocks import make_apply, make_validate
from logjax.training.keys import numpy_generator
from logjax.training.loop import Trained, fit
from logjax.training.parallel import choose_devices, parallel, scan_steps
from logjax.training.runtime import Runtime
from logjax.training.state import TrainState, create_state, make_train_step


class Classifier(nn.Module):
  """Reads ONE row's features step by step.

  Attributes:
    hidden: size of the GRU.
    reset_after: where its reset gate acts.
    dropout: share of its last state that is dropped in training.
  """

  hidden: int
  reset_after: bool
  dropout: float

  def setup(self):
    self.cell = GRUCell(self.hidden, self.reset_after)
    self.drop = nn.Dropout(self.dropout)
    self.head = nn.Dense(2)

  def __call__(self, features: jax.Array, training: bool = False) -> jax.Array:
    """From features [S, C] to the logits of (normal, abnormal) [2]."""
    read = nn.scan(
      lambda cell, h, x: (cell(h, x), None),
      variable_broadcast='params',
      split_rngs={'params': False},
    )
    h, _ = read(self.cell, jnp.zeros(self.hidden), self.cell.project(features))
    return self.head(self.drop(h, deterministic=not training))


class FeatureRows(NamedTuple):
  """Rows by their distinct features, since most lines repeat.

  Attributes:
    table: distinct features [U, S, C].
    index: which of them each row has, [N].
    abnormal: bool [N].
    noisy: whether the row gets noise, bool [N].
    number: the row's number in the corpus, [N]; its noise depends on it alone.
  """

  table: np.ndarray
  index: np.ndarray
  abnormal: np.ndarray
  noisy: np.ndarray
  number: np.ndarray


def make_classifier(settings: ml_collections.ConfigDict) -> Classifier:
  """Returns the network that `config.detector.gru` describes."""
  rate = drop_rate(settings.dropout, settings.dropout_means)
  return Classifier(settings.hidden, settings.reset_after, rate)


def add_noise(
  features: jax.Array, noisy: jax.Array, number: jax.Array, key: jax.Array, std: float
) -> jax.Array:
  """Adds Gaussian noise to one row's features [S, C], the same whenever the row is seen (A11)."""
  noise = std * jax.random.normal(jax.random.fold_in(key, number), features.shape)
  return features + jnp.where(noisy, noise, 0.0)


class GRUTrainer:
  """Compiles the classifier's programs once for all repetitions.

  Args:
    settings: `config.detector.gru`.
    noise_std: standard deviation of the noise; 0 for none.
    noise_key: of the noise.
    runtime: of the run.

  Attributes:
    step: on one batch, for `parallel`.
  """

  def __init__(
    self,
    settings: ml_collections.ConfigDict,
    *,
    noise_std: float,
    noise_key: jax.Array,
    runtime: Runtime,
  ):
    self._settings, self._runtime = settings, runtime
    self._model = make_classifier(settings)
    self._tx = optax.adam(settings.learning_rate)
    model, flat = self._model, settings.layout == 'features'

    def logits_of(params, example, **kwargs):
      features, abnormal, noisy, number = example
      if noise_std > 0:
        features = add_noise(features, noisy, number, noise_key, noise_std)
      features = features.reshape(1, -1) if flat else features
      return model.apply({'params': params}, features, **kwargs), abnormal.astype(jnp.int32)

    def example_loss(params, example, key):
      logits, label = logits_of(params, example, training=True, rngs={'dropout': key})
      return _measure(logits, label)['loss'], {'accuracy': _measure(logits, label)['accuracy']}

    self._create = jax.jit(
      lambda shape, key: create_state(self.init(shape, key), self._tx), static_argnums=0
    )
    self.step = make_train_step(example_loss, self._tx)
    self._step = parallel(scan_steps(self.step), choose_devices(runtime.devices))
    self._validate = make_validate(lambda params, example: _measure(*logits_of(params, example)))
    self._score = make_apply(lambda params, example: nn.softmax(logits_of(params, example)[0])[1])

  def init(self, shape: tuple[int, int], key: jax.Array) -> Any:
    """Initial parameters for features of a shape [S, C]."""
    shape = (1, shape[0] * shape[1]) if self._settings.layout == 'features' else shape
    return self._model.init(key, jnp.zeros(shape))['params']

  def create(self, shape: tuple[int, int], key: jax.Array) -> TrainState:
    """The state before the first step, for features of a shape [S, C]."""
    return self._create(shape, key)

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
      valid: rows that decide when to stop.
      key: consumed.
      repetition: its number, for metrics.jsonl.
      balanced: whether both classes weigh the same in the training loss, however many rows they
        have.
    """
    init_key, fit_key, valid_key = jax.random.split(key, 3)
    examples, weights = distinct_examples(valid, self._settings.rows_per_epoch, valid_key)
    return fit(
      self.create(train.table.shape[1:], init_key),
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
    """Probability that each row is abnormal, float32 [N]; equal rows are computed once."""
    if rows.noisy.any():
      return self._score(params, _examples(rows, np.arange(len(rows.index))))
    used, inverse = np.unique(rows.index, return_inverse=True)
    zeros = np.zeros(len(used), np.int32)
    examples = (rows.table[used], zeros.astype(bool), zeros.astype(bool), zeros)
    return self._score(params, examples)[inverse]


def balanced_weights(abnormal: np.ndarray) -> np.ndarray:
  """Weights of rows [N], with mean 1, that give both classes the same sum (where both have rows).

  Scikit-learn's `class_weight='balanced'`.
  """
  counts = np.bincount(abnormal.astype(int), minlength=2)
  weight = len(abnormal) / ((counts > 0).sum() * np.maximum(counts, 1))
  return weight[abnormal.astype(int)].astype(np.float32)


def _measure(logits: jax.Array, label: jax.Array) -> dict[str, jax.Array]:
  loss = optax.softmax_cross_entropy_with_integer_labels(logits, label)
  return {'loss': loss, 'accuracy': (jnp.argmax(logits) == label).astype(jnp.float32)}


def _examples(rows: FeatureRows, index: np.ndarray) -> tuple[np.ndarray, ...]:
  """Examples (features, abnormal, noisy, number) of some rows."""
  return (
    rows.table[rows.index[index]],
    rows.abnormal[index],
    rows.noisy[index],
    rows.number[index].astype(np.int32),
  )


def distinct_examples(
  rows: FeatureRows, most: int, key: jax.Array
) -> tuple[tuple[np.ndarray, ...], np.ndarray]:
  """Returns the distinct examples among the rows and how often each occurs.

  Noisy rows are all distinct: then at most `most` random ones stand for all (0 = all).
  """
  chosen = np.arange(len(rows.index))
  if rows.noisy.any():
    if most and len(chosen) > most:
      chosen = numpy_generator(key).permutation(chosen)[:most]
    return _examples(rows, chosen), np.ones(len(chosen))
  pairs = rows.index * 2 + rows.abnormal
  _, first, counts = np.unique(pairs, return_index=True, return_counts=True)
  return _examples(rows, chosen[first]), counts
