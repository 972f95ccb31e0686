"""Training until the validation rows say stop. N rows, S steps, B batch."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from logjax.training.divergence import (
  DivergenceError,
  all_finite,
  divergence_reported,
  mean_metrics,
)
from logjax.training.keys import numpy_generator
from logjax.training.parallel import choose_devices, divide_batch, replicate
from logjax.training.runtime import Runtime
from logjax.training.state import TrainState

_ADVICE = 'lower the learning_rate of this model, in a new workdir'


class Trained(NamedTuple):
  """Trained parameters (NumPy), and the metrics of the epoch that they come from."""

  params: Any
  epoch: int
  metrics: dict[str, float]


class LoopState(NamedTuple):
  """The state of early stopping.

  Attributes:
    state: of the model after the last epoch.
    best: the best epoch so far; None before the first.
    last: the last epoch; None before the first.
    epochs: number of epochs that are done.
    since: number of epochs after the best one.
    finished: whether training is over.
  """

  state: TrainState
  best: Trained | None = None
  last: Trained | None = None
  epochs: int = 0
  since: int = 0
  finished: bool = False

  def after(
    self, state: TrainState, now: Trained, settings: ml_collections.ConfigDict
  ) -> 'LoopState':
    """Returns the state after one more epoch."""
    better = self.best is None or now.metrics['valid_loss'] < self.best.metrics['valid_loss']
    since = 0 if better else self.since + 1
    finished = since >= settings.patience or self.epochs + 1 == settings.epochs
    # The first epoch is the best so far, whatever the patience.
    finished &= not better or self.epochs + 1 == settings.epochs
    best = now if better else self.best
    return LoopState(state, best, now, self.epochs + 1, since, finished)

  def to_json(self) -> dict[str, Any]:
    """Returns everything but the arrays."""
    trained = {'best': self.best, 'last': self.last}
    return {
      'epochs': self.epochs,
      'since': self.since,
      'finished': self.finished,
      **{name: {'epoch': t.epoch, 'metrics': t.metrics} for name, t in trained.items()},
    }


def epoch_shape(rows: int, rows_per_epoch: int, batch: int) -> tuple[int, int]:
  """Returns the steps S and the batch B of an epoch.

  An epoch has `rows_per_epoch` rows (0 = all), or all where there are fewer, in as few steps as
  batches of `batch` allow, of the same size to within a row.
  """
  rows = min(rows, rows_per_epoch) if rows_per_epoch else rows
  steps = max(1, -(-rows // batch))
  return steps, max(1, -(-rows // steps))


def draw_epoch(
  rows: int, shape: tuple[int, int], generator: np.random.Generator, copies: int = 1
) -> tuple[np.ndarray, np.ndarray]:
  """Draws the rows of an epoch, none oftener than `copies` times.

  Returns:
    Indices [S, B] and weights [S, B]. Where there are fewer copies of rows than places, the last
    places of the last steps have row 0 with weight 0.
  """
  steps, places = shape[0], shape[0] * shape[1]
  drawn = generator.permutation(rows * copies)[:places] % rows
  index = np.zeros(places, np.int64)
  index[: len(drawn)] = drawn
  weights = (np.arange(places) < len(drawn)).astype(np.float32)
  # One row for every step in turn, so that none is left without.
  return index.reshape(-1, steps).T, weights.reshape(-1, steps).T


def fit(
  state: TrainState,
  epoch_step: Callable,
  take: Callable[[np.ndarray], Any],
  rows: int,
  validate: Callable[[Any], dict[str, jax.Array]],
  settings: ml_collections.ConfigDict,
  *,
  key: jax.Array,
  runtime: Runtime,
  name: str,
  importance: np.ndarray | None = None,
  **tags: int,
) -> Trained:
  """Trains a model with early stopping.

  Args:
    state: before the first step.
    epoch_step: a step made with `make_train_step`, through `scan_steps` and `parallel`.
    take: from indices [S, B] to the examples of an epoch, a tree of arrays [S, B, ...].
    rows: number of examples.
    validate: `params -> {'loss', 'accuracy'}` on the validation rows.
    settings: with batch, epochs, rows_per_epoch, least_rows_per_epoch, patience,
      restore_best.
    key: consumed.
    runtime: of the run; `epoch_step` runs on its devices.
    name: of the stage in metrics.jsonl, with further `tags`.
    importance: how much each example weighs in the loss, [N]; None for all alike.

  Returns:
    The parameters of the best epoch (or the last, without restore_best).

  Raises:
    LogjaxError: when training diverges.
  """
  copies = max(1, -(-settings.least_rows_per_epoch // rows))
  shape = epoch_shape(copies * rows, settings.rows_per_epoch, settings.batch)
  draw = functools.partial(draw_epoch, rows, shape, copies=copies)
  order = numpy_generator(jax.random.fold_in(key, 0))
  phase = name + ''.join(f'_{value}' for value in tags.values())
  label = name.replace('_', ' ') + ''.join(f' {value + 1}' for value in tags.values())
  loop = _resume(runtime, state, phase, name, tags)
  devices = choose_devices(runtime.devices)
  state = replicate(loop.state, devices)
  for _ in range(loop.epochs):
    draw(order)  # again, so that the epochs to come draw the same rows as in a run never stopped
  epochs = loop.epochs if loop.finished else settings.epochs
  with runtime.progress.track(label, epochs, done=loop.epochs) as advance:
    for epoch in range(loop.epochs, epochs):
      index, weights = draw(order)
      if importance is not None:
        weights *= importance[index]
      keys = jax.random.split(jax.random.fold_in(key, epoch + 1), shape)
      batch, batch_keys = divide_batch(take(index), weights, keys, devices)
      state, metrics = epoch_step(state, batch, batch_keys)
      batch_of = functools.partial(_batch, take, index, weights, keys)
      with divergence_reported(runtime, phase, label, epoch, _ADVICE):
        now = _measured(state, metrics, validate, epoch, batch_of)
      steps = {'step': (epoch + 1) * shape[0], 'rows': int(np.count_nonzero(weights))}
      runtime.progress.measure(name, **tags, epoch=epoch, **steps, **now.metrics)
      loop = loop.after(state, now, settings)
      runtime.checkpoints.save((state, loop.best.params), loop.to_json(), last=loop.finished)
      advance(f'loss {now.metrics["loss"]:.4f} valid {now.metrics["valid_loss"]:.4f}')
      if loop.finished:
        break
  return loop.best if settings.restore_best else loop.last


def _resume(
  runtime: Runtime, state: TrainState, phase: str, name: str, tags: dict[str, int]
) -> LoopState:
  """Restores the newest checkpoint, or begins; drops later lines of metrics.jsonl."""
  found = runtime.checkpoints.restore(phase, (state, state.params))
  loop = LoopState(state)
  if found is not None:
    (state, params), saved = found
    best = Trained(params, saved['best']['epoch'], saved['best']['metrics'])
    last = Trained(state.params, saved['last']['epoch'], saved['last']['metrics'])
    loop = LoopState(state, best, last, saved['epochs'], saved['since'], saved['finished'])
  runtime.progress.forget(name, kept=loop.epochs, **tags)
  return loop


def _measured(
  state: TrainState,
  metrics: dict[str, jax.Array],
  validate: Callable,
  epoch: int,
  batch_of: Callable[[int], dict[str, Any]],
) -> Trained:
  """Returns the parameters after an epoch, with its metrics.

  Args:
    state: after the epoch.
    metrics: of its steps, [S].
    validate: as in `fit`.
    epoch: from 0.
    batch_of: from a step to its batch.

  Raises:
    DivergenceError: when something is not finite.
  """
  measured = {name: float(value) for name, value in mean_metrics(metrics, batch_of).items()}
  params = jax.tree.map(np.asarray, state.params)
  measured |= {f'valid_{name}': float(value) for name, value in validate(params).items()}
  wrong = ''
  if not np.isfinite(measured['valid_loss']):
    wrong = f'validation loss {measured["valid_loss"]:.6g}'
  elif not all_finite(params):
    wrong = 'parameters that are not finite'
  if wrong:  # only after the last step
    steps = {name: np.asarray(value) for name, value in metrics.items()}
    last = len(steps['loss']) - 1
    raise DivergenceError(wrong, last, batch_of(last), steps)
  return Trained(params, epoch, measured)


def _batch(
  take: Callable, index: np.ndarray, weights: np.ndarray, keys: jax.Array, step: int
) -> dict[str, Any]:
  """Returns the batch of a step: its examples [B, ...], their weights [B] and keys [B]."""
  examples = jax.tree.map(lambda x: x[0], take(index[step : step + 1]))
  return {'examples': examples, 'weights': weights[step], 'keys': keys[step]}
