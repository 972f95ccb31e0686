"""Training until the validation rows say stop. N rows, S steps, B batch."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from logjax.training.divergence import Diverged, means_of_steps, stopped
from logjax.training.keys import numpy_generator
from logjax.training.parallel import choose_devices, divide_batch, replicate
from logjax.training.runtime import Runtime
from logjax.training.state import TrainState

_CURE = 'lower the learning_rate of this model, in a new workdir'
# A validation loss of so many times what the first step lost, or 1, is that of a model that
# diverged, though finite: guessing loses less. So ends Adam with an absurd learning rate.
_ABSURD = 1_000


class Trained(NamedTuple):
  """What training left: parameters (NumPy) and the measurements of the epoch they come from."""

  params: Any
  epoch: int
  metrics: dict[str, float]


class Reached(NamedTuple):
  """How far training has come.

  Attributes:
    state: after the last epoch.
    best: the best epoch so far, None before the first.
    last: the last epoch, None before the first.
    epochs: how many are done.
    since: how many of them came after the best.
    finished: whether there are no more to come.
    first: training loss of the very first step, None before it.
  """

  state: TrainState
  best: Trained | None = None
  last: Trained | None = None
  epochs: int = 0
  since: int = 0
  finished: bool = False
  first: float | None = None

  def after(
    self, state: TrainState, now: Trained, settings: ml_collections.ConfigDict
  ) -> 'Reached':
    """Returns how far it has come after one more epoch."""
    better = self.best is None or now.metrics['valid_loss'] < self.best.metrics['valid_loss']
    since = 0 if better else self.since + 1
    finished = since >= settings.patience or self.epochs + 1 == settings.epochs
    # The first epoch is the best so far, whatever the patience.
    finished &= not better or self.epochs + 1 == settings.epochs
    best = now if better else self.best
    return Reached(state, best, now, self.epochs + 1, since, finished, self.first)

  def most(self, settings: ml_collections.ConfigDict) -> float:
    """Returns the largest validation loss of an epoch that has not diverged.

    A good epoch that is there to fall back on is no worse for a later one.
    """
    safe = settings.restore_best and self.best is not None
    return np.inf if safe else _ABSURD * max(self.first, 1.0)

  def about(self) -> dict[str, Any]:
    """What there is to know besides the arrays, for JSON."""
    trained = {'best': self.best, 'last': self.last}
    return {
      'epochs': self.epochs,
      'since': self.since,
      'finished': self.finished,
      'first': self.first,
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
  reached = _go_on(runtime, state, phase, name, tags)
  devices = choose_devices(runtime.devices)
  state = replicate(reached.state, devices)
  for _ in range(reached.epochs):
    draw(order)  # as before, so that what follows is drawn as if not stopped
  epochs = reached.epochs if reached.finished else settings.epochs
  with runtime.progress.track(label, epochs, done=reached.epochs) as advance:
    for epoch in range(reached.epochs, epochs):
      index, weights = draw(order)
      if importance is not None:
        weights *= importance[index]
      keys = jax.random.split(jax.random.fold_in(key, epoch + 1), shape)
      given = functools.partial(_batch, take, index, weights, keys)
      batch, batch_keys = divide_batch(take(index), weights, keys, devices)
      state, metrics = epoch_step(state, batch, batch_keys)
      if reached.first is None:
        reached = reached._replace(first=float(metrics['loss'][0]))
      try:
        now = _measured(state, metrics, validate, epoch, given, reached.most(settings))
      except Diverged as diverged:
        raise stopped(diverged, runtime, phase, label, epoch, _CURE) from None
      steps = {'step': (epoch + 1) * shape[0], 'rows': int(np.count_nonzero(weights))}
      runtime.progress.measure(name, **tags, epoch=epoch, **steps, **now.metrics)
      reached = reached.after(state, now, settings)
      saved = (state, reached.best.params)
      runtime.checkpoints.save(saved, reached.about(), last=reached.finished)
      advance(f'loss {now.metrics["loss"]:.4f} valid {now.metrics["valid_loss"]:.4f}')
      if reached.finished:
        break
  return reached.best if settings.restore_best else reached.last


def _go_on(
  runtime: Runtime, state: TrainState, phase: str, name: str, tags: dict[str, int]
) -> Reached:
  """What an earlier call reached, or the beginning; later lines of metrics.jsonl are dropped."""
  found = runtime.checkpoints.restore(phase, (state, state.params))
  reached = Reached(state)
  if found is not None:
    (state, params), about = found
    best = Trained(params, about['best']['epoch'], about['best']['metrics'])
    last = Trained(state.params, about['last']['epoch'], about['last']['metrics'])
    done = (about.get(name) for name in ('epochs', 'since', 'finished', 'first'))
    reached = Reached(state, best, last, *done)
  runtime.progress.forget(name, kept=reached.epochs, **tags)
  return reached


def _measured(
  state: TrainState,
  metrics: dict[str, jax.Array],
  validate: Callable,
  epoch: int,
  given: Callable[[int], dict[str, Any]],
  most: float,
) -> Trained:
  """The parameters after an epoch with what was measured; raises Diverged where it did.

  Args:
    state: after the epoch.
    metrics: of its steps, [S].
    validate: as in `fit`.
    epoch: from 0.
    given: the batch of a step.
    most: that the validation loss may be.
  """
  means = means_of_steps(metrics, given)
  params = jax.tree.map(np.asarray, state.params)
  measured = {name: float(value) for name, value in means.items()}
  measured |= {f'valid_{name}': float(value) for name, value in validate(params).items()}
  wrong = ''
  if not np.isfinite(measured['valid_loss']) or measured['valid_loss'] > most:
    wrong = f'validation loss {measured["valid_loss"]:.6g}'
  elif not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(params)):
    wrong = 'parameters that are not finite'
  if wrong:
    steps = {name: np.asarray(value) for name, value in metrics.items()}
    absurd = steps['loss'] > most
    # The first step that found what the one before it had done, else the last.
    step = int(absurd.argmax()) if absurd.any() else len(absurd) - 1
    steps = {name: value[: step + 1] for name, value in steps.items()}
    raise Diverged(wrong, step, given(step), steps)
  return Trained(params, epoch, measured)


def _batch(
  take: Callable, index: np.ndarray, weights: np.ndarray, keys: jax.Array, step: int
) -> dict[str, Any]:
  """What a step of an epoch was given: its examples [B, ...], their weights [B] and keys [B]."""
  examples = jax.tree.map(lambda x: x[0], take(index[step : step + 1]))
  return {'examples': examples, 'weights': weights[step], 'keys': keys[step]}
