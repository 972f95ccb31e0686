"""Autoencoders of rows of token ids; the paper has one for each class.

T tokens a row, V vocabulary, U distinct rows, N rows, C channels.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import linen as nn

from logjax.models.classifier import drop_rate
from logjax.training.blocks import make_apply, make_validate
from logjax.training.loop import Trained, fit
from logjax.training.parallel import choose_devices, parallel, scan_steps
from logjax.training.runtime import Runtime
from logjax.training.state import create_state, make_train_step


class Autoencoder(nn.Module):
  """Layers T-400-200-200-T for ONE row.

  Attributes:
    outputs: T, or T * V to predict the token at every position.
    layers: units of the hidden layers; the code is the second.
    dropout: fraction of each hidden layer dropped in training.
  """

  outputs: int
  layers: tuple[int, ...]
  dropout: float

  @nn.compact
  def __call__(
    self, row: jax.Array, training: bool = False
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Reads a scaled row [T].

    Returns:
      The last layer without activation [outputs], the code, and the first layer's activity.
    """
    hidden, layers = row, []
    for i, units in enumerate(self.layers):
      hidden = nn.relu(nn.Dense(units, name=f'hidden_{i}')(hidden))
      layers.append(hidden)
      hidden = nn.Dropout(self.dropout)(hidden, deterministic=not training)
    return nn.Dense(self.outputs, name='output')(hidden), layers[min(1, len(layers) - 1)], layers[0]


def decode(model: Autoencoder, params: Any, code: jax.Array) -> jax.Array:
  """Runs the layers after the code [C], without dropout.

  Returns:
    The last layer without activation [outputs].
  """
  hidden = code
  for i, units in list(enumerate(model.layers))[2:]:
    layer = {'params': params[f'hidden_{i}']}
    hidden = nn.relu(nn.Dense(units).apply(layer, hidden))
  return nn.Dense(model.outputs).apply({'params': params['output']}, hidden)


def scaled(row: jax.Array, vocabulary: int) -> jax.Array:
  """Divides token ids [T] by V: the input of the autoencoder."""
  return row / vocabulary


def reconstruction_loss(loss: str, output: jax.Array, row: jax.Array, x: jax.Array) -> jax.Array:
  """Returns the loss of one row (A6).

  Args:
    loss: 'softmax', 'tokens' or 'mse', as `config.detector.autoencoder.loss`.
    output: the last layer, [T] or [T * V].
    row: token ids [T].
    x: the scaled row [T].
  """
  if loss == 'softmax':
    return -jnp.sum(x / jnp.maximum(jnp.sum(x), 1e-9) * nn.log_softmax(output))
  if loss == 'tokens':
    logits = output.reshape(len(row), -1)
    return optax.softmax_cross_entropy_with_integer_labels(logits, row).mean()
  return jnp.mean((output - x) ** 2)


def reconstruction(loss: str, output: jax.Array, x: jax.Array) -> jax.Array:
  """Returns the network's output [T] on the scale of the input.

  Args:
    loss: 'softmax', 'tokens' or 'mse'.
    output: the last layer, [T] or [T * V].
    x: the scaled row [T].
  """
  if loss == 'softmax':
    return nn.softmax(output)
  if loss == 'tokens':
    probabilities = nn.softmax(output.reshape(len(x), -1), axis=1)
    # The mean token id, divided by V like the input.
    return probabilities @ jnp.arange(probabilities.shape[1]) / probabilities.shape[1]
  return output


def make_autoencoder(
  settings: ml_collections.ConfigDict, length: int, vocabulary: int
) -> Autoencoder:
  """Makes the network of `config.detector.autoencoder`."""
  return Autoencoder(
    outputs=length * (vocabulary if settings.loss == 'tokens' else 1),
    layers=settings.layers,
    dropout=drop_rate(settings.dropout, settings.dropout_means),
  )


def fit_autoencoder(
  settings: ml_collections.ConfigDict,
  distinct: np.ndarray,
  train: np.ndarray,
  valid: np.ndarray,
  *,
  vocabulary: int,
  key: jax.Array,
  runtime: Runtime,
  name: str,
) -> Trained:
  """Trains one autoencoder on the rows of one class.

  Args:
    settings: `config.detector.autoencoder`.
    distinct: token ids [U, T].
    train: the distinct row of each training row [N].
    valid: the distinct row of each validation row [M]; they decide when to stop.
    vocabulary: V.
    key: consumed.
    runtime: devices, progress, checkpoints.
    name: of the phase in metrics.jsonl.
  """
  length = distinct.shape[1]
  model = make_autoencoder(settings, length, vocabulary)
  tx = optax.adam(settings.learning_rate)
  example_loss, penalty, example_metrics = make_losses(settings, model, vocabulary)
  init_key, fit_key = jax.random.split(key)
  create = jax.jit(lambda key, row: create_state(model.init(key, row)['params'], tx))
  step = make_train_step(example_loss, tx, penalty)
  used, counts = np.unique(valid, return_counts=True)
  return fit(
    create(init_key, np.zeros(length, np.float32)),
    parallel(scan_steps(step), choose_devices(runtime.devices)),
    lambda index: distinct[train[index]],
    len(train),
    make_validate(example_metrics)(distinct[used], counts),
    settings,
    key=fit_key,
    runtime=runtime,
    name=name,
  )


def make_losses(
  settings: ml_collections.ConfigDict, model: Autoencoder, vocabulary: int
) -> tuple[Callable, Callable, Callable]:
  """Makes the loss of ONE row, the penalty of the parameters, and the validation metrics.

  Returns:
    `(params, row, key) -> (loss, {})` with dropout; `params -> penalty`;
    `(params, row) -> {'loss', 'accuracy'}` without dropout.
  """
  loss, weight, on_kernel = settings.loss, settings.l1, settings.l1_on == 'kernel'

  def example_loss(params, row, key):
    x = scaled(row, vocabulary)
    output, _, activity = model.apply({'params': params}, x, True, rngs={'dropout': key})
    value = reconstruction_loss(loss, output, row, x)
    extra = 0.0 if on_kernel else weight * jnp.sum(jnp.abs(activity))
    return value + extra, {}

  def penalty(params):
    return weight * jnp.sum(jnp.abs(params['hidden_0']['kernel'])) if on_kernel else jnp.float32(0)

  def example_metrics(params, row):
    x = scaled(row, vocabulary)
    output, _, _ = model.apply({'params': params}, x)
    value = reconstruction_loss(loss, output, row, x)
    # A row counts if the position of its largest value is right: Keras's accuracy for this loss.
    match = jnp.argmax(reconstruction(loss, output, x)) == jnp.argmax(x)
    return {'loss': value, 'accuracy': match.astype(jnp.float32)}

  return example_loss, penalty, example_metrics


def make_encode(
  settings: ml_collections.ConfigDict, length: int, vocabulary: int
) -> Callable[[tuple[Any, ...], np.ndarray], np.ndarray]:
  """Makes `(params of C networks, rows [U, T]) -> features [U, S, C]`.

  Every row goes through every network; labels are not needed. Each network gives one channel: its
  output (S = T), or with `output='code'` its code (S = 200).
  """
  model = make_autoencoder(settings, length, vocabulary)
  return _encoder(model, settings.loss, settings.output == 'code', vocabulary)


@functools.cache
def _encoder(model: Autoencoder, loss: str, code: bool, vocabulary: int) -> Callable:
  """Compiles the encoder once for each network."""

  def encode_one(params: tuple[Any, ...], row: jax.Array) -> jax.Array:
    x = scaled(row, vocabulary)
    channels = []
    for network in params:
      output, codes, _ = model.apply({'params': network}, x)
      channels.append(codes if code else reconstruction(loss, output, x))
    return jnp.stack(channels, axis=1)

  return make_apply(encode_one)
