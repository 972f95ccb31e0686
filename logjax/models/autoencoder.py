"""The paper's two autoencoders: one learns the normal rows, one the abnormal ones.

T tokens a row, V vocabulary, U distinct rows, C channels.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax
from flax import linen as nn

from logjax.training.blocks import make_apply, make_validate
from logjax.training.loop import Trained, fit
from logjax.training.parallel import choose_devices, parallel, scan_steps
from logjax.training.runtime import Runtime
from logjax.training.state import create_state, make_train_step

_ACTIVATIONS = {'relu': nn.relu, 'tanh': nn.tanh, 'sigmoid': nn.sigmoid}


class Autoencoder(nn.Module):
  """Layers T-400-200-200-T for ONE row.

  Attributes:
    outputs: T, or T * V to predict the token at every position.
    layers: units of the hidden layers; the code is the second.
    dropout: share of each hidden layer that is dropped in training.
    activation: of the hidden layers.
  """

  outputs: int
  layers: tuple[int, ...]
  dropout: float
  activation: str

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
      hidden = _ACTIVATIONS[self.activation](nn.Dense(units, name=f'hidden_{i}')(hidden))
      layers.append(hidden)
      hidden = nn.Dropout(self.dropout)(hidden, deterministic=not training)
    return nn.Dense(self.outputs, name='output')(hidden), layers[min(1, len(layers) - 1)], layers[0]


def decode(model: Autoencoder, params: Any, code: jax.Array) -> jax.Array:
  """The network from its code [C] on: the last layer without activation [outputs], no dropout."""
  hidden = code
  for i, units in list(enumerate(model.layers))[2:]:
    layer = {'params': params[f'hidden_{i}']}
    hidden = _ACTIVATIONS[model.activation](nn.Dense(units).apply(layer, hidden))
  return nn.Dense(model.outputs).apply({'params': params['output']}, hidden)


def drop_rate(probability: float, means: str) -> float:
  """Returns the share that is dropped; `means` is 'drop' or 'keep' (A8)."""
  return probability if means == 'drop' else 1 - probability


def scaled(row: jax.Array, vocabulary: int, scale: str) -> jax.Array:
  """Token ids [T] as the autoencoder's input: divided by V ('unit') or as they are ('ids')."""
  return row / vocabulary if scale == 'unit' else row.astype(jnp.float32)


def reconstruction_loss(loss: str, output: jax.Array, row: jax.Array, x: jax.Array) -> jax.Array:
  """The loss of one row (A6).

  Args:
    loss: 'softmax', 'keras', 'tokens', 'mse' or 'bce', as `config.detector.autoencoder.loss`.
    output: the last layer, [T] or [T * V].
    row: token ids [T].
    x: the scaled row [T].
  """
  if loss == 'softmax':
    return -jnp.sum(x / jnp.maximum(jnp.sum(x), 1e-9) * nn.log_softmax(output))
  if loss == 'keras':
    return -jnp.sum(x * nn.log_softmax(output))
  if loss == 'tokens':
    logits = output.reshape(len(row), -1)
    return optax.softmax_cross_entropy_with_integer_labels(logits, row).mean()
  if loss == 'mse':
    return jnp.mean((output - x) ** 2)
  return optax.sigmoid_binary_cross_entropy(output, x).mean()


def reconstruction(loss: str, output: jax.Array, x: jax.Array) -> jax.Array:
  """The network's output [T] on the scale on which `loss` compares it with the input."""
  if loss in ('softmax', 'keras'):
    return nn.softmax(output)
  if loss == 'tokens':
    probabilities = nn.softmax(output.reshape(len(x), -1), axis=1)
    return probabilities @ jnp.arange(probabilities.shape[1]) / probabilities.shape[1]
  return output if loss == 'mse' else nn.sigmoid(output)


def make_autoencoder(
  settings: ml_collections.ConfigDict, length: int, vocabulary: int
) -> Autoencoder:
  """Returns the network that `config.detector.autoencoder` describes."""
  return Autoencoder(
    outputs=length * (vocabulary if settings.loss == 'tokens' else 1),
    layers=settings.layers,
    dropout=drop_rate(settings.dropout, settings.dropout_means),
    activation=settings.activation,
  )


def fit_autoencoder(
  settings: ml_collections.ConfigDict,
  rows: np.ndarray,
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
    rows: token ids [N, T].
    valid: rows that decide when to stop, [M, T].
    vocabulary: V.
    key: consumed.
    runtime: of the run.
    name: of the stage in metrics.jsonl.
  """
  model = make_autoencoder(settings, rows.shape[1], vocabulary)
  tx = optax.adam(settings.learning_rate)
  example_loss, penalty, example_metrics = make_losses(settings, model, vocabulary)
  init_key, fit_key = jax.random.split(key)
  create = jax.jit(lambda key, row: create_state(model.init(key, row)['params'], tx))
  step = make_train_step(example_loss, tx, penalty)
  distinct, counts = np.unique(valid, axis=0, return_counts=True)
  return fit(
    create(init_key, np.zeros(rows.shape[1], np.float32)),
    parallel(scan_steps(step), choose_devices(runtime.devices)),
    lambda index: rows[index],
    len(rows),
    make_validate(example_metrics)(distinct, counts),
    settings,
    key=fit_key,
    runtime=runtime,
    name=name,
  )


def make_losses(
  settings: ml_collections.ConfigDict, model: Autoencoder, vocabulary: int
) -> tuple[Callable, Callable, Callable]:
  """Makes the loss of ONE row, the penalty of the parameters, and what validation measures.

  Returns:
    `(params, row, key) -> (loss, {})` with dropout, `params -> penalty`, and
    `(params, row) -> {'loss', 'accuracy'}` without dropout.
  """
  loss, scale = settings.loss, settings.scale
  weight, on_kernel = settings.l1, settings.l1_on == 'kernel'

  def example_loss(params, row, key):
    x = scaled(row, vocabulary, scale)
    output, _, activity = model.apply({'params': params}, x, True, rngs={'dropout': key})
    value = reconstruction_loss(loss, output, row, x)
    extra = 0.0 if on_kernel else weight * jnp.sum(jnp.abs(activity))
    return value + extra, {}

  def penalty(params):
    return weight * jnp.sum(jnp.abs(params['hidden_0']['kernel'])) if on_kernel else jnp.float32(0)

  def example_metrics(params, row):
    x = scaled(row, vocabulary, scale)
    output, _, _ = model.apply({'params': params}, x)
    value = reconstruction_loss(loss, output, row, x)
    # How well the network tells which position is largest: Keras's accuracy of this loss.
    match = jnp.argmax(reconstruction(loss, output, x)) == jnp.argmax(x)
    return {'loss': value, 'accuracy': match.astype(jnp.float32)}

  return example_loss, penalty, example_metrics


def make_encode(
  settings: ml_collections.ConfigDict, features: str, length: int, vocabulary: int
) -> Callable[[tuple[Any, Any], np.ndarray], np.ndarray]:
  """Makes `((normal params, abnormal params), rows [U, T]) -> features [U, S, C]`.

  Every row goes through both autoencoders; no label is asked for. With 'none' the features are
  the scaled token ids, [U, T, 1]. With 'errors' they are the squared differences of input and
  reconstruction at each position, [U, T, 2]. Else they are the outputs of the two networks,
  normal first, [U, T, 2], or their codes, [U, 200, 2].
  """
  model = make_autoencoder(settings, length, vocabulary)
  loss, scale, code = settings.loss, settings.scale, settings.output == 'code'

  def encode_one(params: tuple[Any, Any], row: jax.Array) -> jax.Array:
    x = scaled(row, vocabulary, scale)
    if features == 'none':
      return x[:, None]
    target = x / jnp.maximum(jnp.sum(x), 1e-9) if loss in ('softmax', 'keras') else x
    target = row / vocabulary if loss == 'tokens' else target
    channels = []
    for network in params:
      output, codes, _ = model.apply({'params': network}, x)
      rebuilt = reconstruction(loss, output, x)
      if features == 'errors':
        channels.append((rebuilt - target) ** 2)
      else:
        channels.append(codes if code else rebuilt)
    return jnp.stack(channels, axis=1)

  return make_apply(encode_one)
