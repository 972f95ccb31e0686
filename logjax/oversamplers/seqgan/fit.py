"""SeqGAN's Algorithm 1 on the sets of a corpus: phases and epochs.

MaliGAN and TextGAN go through the same phases with steps of their own.

K sets, B batch, S steps, T time.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from logjax.errors import LogjaxError
from logjax.oversamplers.seqgan import train
from logjax.oversamplers.seqgan.generators import Generators, make_model
from logjax.oversamplers.seqgan.maligan import make_maligan_step
from logjax.oversamplers.seqgan.sets import Sets
from logjax.oversamplers.seqgan.textgan import make_textgan_steps
from logjax.training.keys import numpy_generator
from logjax.training.parallel import (
  choose_devices,
  parallel,
  parallel_map,
  replicate,
  scan_steps,
  shard,
  unshard,
)
from logjax.training.progress import Progress

METHODS = ('mle', 'seqgan', 'maligan', 'textgan')
STAGES = ('generator_mle', 'discriminator_pretrain', 'adversarial')


class Phase(NamedTuple):
  """A phase of Algorithm 1.

  Attributes:
    stage: its name in metrics.jsonl.
    title: its name for people.
    epochs: how many it has.
    begin: from the state that the phase before left to the one that this begins with.
    run: `(state, key) -> (state, metrics)`, one epoch.
    note: which metrics to show, as a format string.
  """

  stage: str
  title: str
  epochs: int
  begin: Callable
  run: Callable
  note: str


def fit_generators(
  settings: ml_collections.ConfigDict,
  sets: Sets,
  *,
  method: str,
  key: jax.Array,
  devices: int,
  progress: Progress,
  watch: Callable[[str, int, train.SeqGANState], None] | None = None,
  start: tuple[str, int, train.SeqGANState] | None = None,
) -> Generators:
  """Trains a generator for every set.

  Args:
    settings: `config.seqgan`.
    sets: the rows.
    method: one of METHODS: 'mle' has the phase of maximum likelihood only, the others all three.
    key: consumed.
    devices: most devices to use; 0 for all.
    progress: told of every epoch.
    watch: called after every epoch with its stage, its number from 0, and the state, which the
      next epoch will use up: what is to be kept must be copied.
    start: what `watch` was called with; training goes on from there as if it had never stopped.

  Raises:
    LogjaxError: when a phase diverges.
  """
  if method not in METHODS:
    raise ValueError(f'{method!r} is none of {", ".join(METHODS)}')
  model = make_model(settings, sets.tokens.shape[1], sets.length)
  init_key, *keys = jax.random.split(key, 4)
  devices = choose_devices(settings.batch, devices)
  phases = _phases(settings, model, sets, devices, method)[: 1 if method == 'mle' else 3]
  if start is None:
    done, last = -1, -1
    state = jax.jit(functools.partial(train.create, model))(sets.allowed, init_key)
  else:
    stage, last, state = start
    done = [phase.stage for phase in phases].index(stage)
  progress.forget(*STAGES[max(done, 0) :], kept=last + 1)
  state = replicate(state, devices)
  for number, (phase, phase_key) in enumerate(zip(phases, keys, strict=False)):
    if number < done:
      continue
    first = last + 1 if number == done else 0
    if first == 0:
      state = replicate(phase.begin(state), devices)
    with progress.track(phase.title, phase.epochs - first) as advance:
      for epoch in range(first, phase.epochs):
        state, metrics = phase.run(state, jax.random.fold_in(phase_key, epoch))
        progress.measure(phase.stage, epoch=epoch, **_finite(metrics, phase.stage, epoch))
        if watch is not None:
          watch(phase.stage, epoch, state)
        advance(phase.note.format(**metrics))
  return Generators(jax.tree.map(np.asarray, state.generator.params), sets.tokens, sets.length)


def _adversarial_steps(
  settings: ml_collections.ConfigDict, model: train.SeqGAN, method: str
) -> tuple[Callable, Callable]:
  """Returns the steps of the generators and of the discriminators."""
  if method == 'textgan':
    return make_textgan_steps(model, settings.textgan_temperature, settings.textgan_mmd_weight)
  make_generator_step = make_maligan_step if method == 'maligan' else train.make_generator_step
  return make_generator_step(model), train.make_discriminator_step(model)


def _phases(
  settings: ml_collections.ConfigDict, model: train.SeqGAN, sets: Sets, devices: int, method: str
) -> tuple[Phase, Phase, Phase]:
  """Lines 1, 3 and 4 to 14 of Algorithm 1."""
  mle_step = parallel(scan_steps(train.make_mle_step(model)), devices)
  generator_step, discriminator_step = _adversarial_steps(settings, model, method)
  generator_step = parallel(generator_step, devices)
  judge = _discriminator_round(settings, discriminator_step, model, sets, devices)

  def mle_epoch(state: train.SeqGANState, key: jax.Array):
    generator = numpy_generator(key)
    drawn = np.stack([_epoch_of(rows, settings.rows_per_epoch, generator) for rows in sets.rows])
    return _run_epoch(mle_step, state, drawn, settings.batch, key, devices)

  def begin_adversarial(state: train.SeqGANState) -> train.SeqGANState:
    # The published code gives this phase an Adam of its own: the small gradients of the phase
    # before would have left second moments that make the first policy-gradient steps far too large.
    fresh = jax.vmap(model.generator_tx.init)(state.generator.params)
    state = state.replace(generator=state.generator.replace(opt_state=fresh))
    return train.update_rollout_policy(state, 0.0)  # beta <- theta, line 2

  def adversarial_round(state: train.SeqGANState, key: jax.Array):
    shape = (len(state.allowed), settings.batch, 2)
    for g in range(settings.g_steps):
      step_key = jax.random.fold_in(key, g)
      batch = jnp.zeros(devices)  # the generators make their own
      if method == 'textgan':
        batch = shard(_real_batch(sets, settings.batch, step_key), devices, axis=1)
      keys = jax.random.split(step_key, shape)
      state, metrics = generator_step(state, batch, shard(keys, devices, axis=1))
    judged = {}
    for d in range(settings.d_steps):
      state, judged = judge(state, jax.random.fold_in(key, settings.g_steps + d))
    state = train.update_rollout_policy(state, settings.rollout_update)
    metrics = {name: float(np.mean(value)) for name, value in metrics.items()}
    return state, metrics | {f'discriminator_{name}': value for name, value in judged.items()}

  def as_it_is(state: train.SeqGANState) -> train.SeqGANState:
    return state

  shown = 'mmd {mmd:.4f}' if method == 'textgan' else 'reward {reward:.4f}'
  titles = ('generator, maximum likelihood', 'discriminator, pretraining')
  return (
    Phase(STAGES[0], titles[0], settings.mle_epochs, as_it_is, mle_epoch, 'loss {loss:.4f}'),
    Phase(
      STAGES[1],
      titles[1],
      settings.discriminator_rounds,
      as_it_is,
      judge,
      'loss {loss:.4f} accuracy {accuracy:.3f}',
    ),
    Phase(
      STAGES[2],
      'generator against discriminator',
      settings.rounds,
      begin_adversarial,
      adversarial_round,
      f'{shown} entropy {{entropy:.3f}}',
    ),
  )


def _discriminator_round(
  settings: ml_collections.ConfigDict,
  one_step: Callable,
  model: train.SeqGAN,
  sets: Sets,
  devices: int,
) -> Callable:
  """Makes `(state, key) -> (state, metrics)`: new generated rows, some epochs on them and real."""
  count = settings.rows_per_epoch
  step = parallel(scan_steps(one_step), devices)
  sampler = parallel_map(train.make_sampler(model), devices)

  def update(state: train.SeqGANState, key: jax.Array):
    sample_key, *epoch_keys = jax.random.split(key, 1 + settings.discriminator_epochs)
    keys = shard(jax.random.split(sample_key, (len(sets.rows), count)), devices, axis=1)
    drawn = sampler((state.generator.params, state.allowed), keys)
    generated = np.asarray(unshard(drawn, axis=1))
    for epoch_key in epoch_keys:
      generator = numpy_generator(epoch_key)
      mixed, real = [], []
      for rows, fakes in zip(sets.rows, generated, strict=True):
        order = generator.permutation(2 * count)
        mixed.append(np.concatenate([_epoch_of(rows, count, generator), fakes])[order])
        real.append(order < count)
      batch = (np.stack(mixed), np.stack(real))
      state, metrics = _run_epoch(step, state, batch, settings.batch, epoch_key, devices)
    return state, metrics

  return update


def _finite(metrics: dict[str, float], stage: str, epoch: int) -> dict[str, float]:
  """Returns the metrics, or ends a phase that diverged with one line."""
  broken = [f'{name} {value}' for name, value in metrics.items() if not np.isfinite(value)]
  if broken:
    raise LogjaxError(
      f'{stage}: {broken[0]} in epoch {epoch + 1}: lower seqgan.generator_learning_rate or '
      'seqgan.discriminator_learning_rate, in a new workdir'
    )
  return metrics


def _epoch_of(rows: np.ndarray, count: int, generator: np.random.Generator) -> np.ndarray:
  """Shuffles rows [n, T] and takes `count` of them, in several passes where there are fewer."""
  passes = -(-count // len(rows))
  order = np.concatenate([generator.permutation(len(rows)) for _ in range(passes)])
  return rows[order[:count]]


def _real_batch(sets: Sets, batch: int, key: jax.Array) -> jax.Array:
  """Real rows for one step of the generators, [K, B, T]."""
  generator = numpy_generator(key)
  return jnp.asarray(np.stack([_epoch_of(rows, batch, generator) for rows in sets.rows]))


def _run_epoch(
  step: Callable, state: train.SeqGANState, rows: Any, batch: int, key: jax.Array, devices: int
) -> tuple[train.SeqGANState, dict[str, float]]:
  """Runs a step over all batches of rows [K, S * B, ...]; metrics are means over the sets too."""

  def batches(x: np.ndarray) -> jax.Array:
    x = x.reshape(x.shape[0], -1, batch, *x.shape[2:])
    return jnp.asarray(np.moveaxis(x, 0, 1))

  examples = jax.tree.map(batches, rows)
  shape = jax.tree.leaves(examples)[0].shape[:3]
  keys = jax.random.split(jax.random.fold_in(key, 1), shape)
  sharded = shard((examples, jnp.ones(shape)), devices, axis=2)
  state, metrics = step(state, sharded, shard(keys, devices, axis=2))
  return state, {name: float(np.mean(value)) for name, value in metrics.items()}
