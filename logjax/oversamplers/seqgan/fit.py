"""SeqGAN's Algorithm 1 on the sets of a corpus: phases, epochs, and sampling many rows.

K sets, B batch, S steps, T time.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import optax

from logjax.errors import LogjaxError
from logjax.oversamplers.seqgan import train
from logjax.oversamplers.seqgan.models import Discriminator, Generator
from logjax.oversamplers.seqgan.sets import Sets, to_vocabulary
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

STAGES = ('generator_mle', 'discriminator_pretrain', 'adversarial')


class Generators(NamedTuple):
  """Trained generators.

  Attributes:
    params: leading axis K.
    tokens: the vocabulary's id of every local id, int32 [K, V].
    length: T of their sentences.
  """

  params: Any
  tokens: np.ndarray
  length: int


def make_model(settings: ml_collections.ConfigDict, vocabulary: int, length: int) -> train.SeqGAN:
  """Returns the models and optimisers that `config.seqgan` describes."""
  fitting = [
    (width, count)
    for width, count in zip(settings.filter_widths, settings.filters, strict=True)
    if width <= length
  ]
  widths, filters = zip(*fitting, strict=True)
  return train.SeqGAN(
    generator=Generator(
      vocabulary, settings.embedding, settings.hidden, settings.init_std, settings.cell
    ),
    discriminator=Discriminator(
      vocabulary, settings.discriminator_embedding, widths, filters, settings.discriminator_dropout
    ),
    generator_tx=optax.chain(
      optax.clip_by_global_norm(settings.clip_norm), optax.adam(settings.generator_learning_rate)
    ),
    discriminator_tx=optax.adam(settings.discriminator_learning_rate),
    length=length,
    rewards=train.Rewards(
      kind=settings.reward,
      rollouts=settings.rollouts,
      block=settings.rollout_block or _default_block(),
      share_equal_prefixes=settings.share_equal_prefixes,
      baseline=settings.baseline,
    ),
    discriminator_l2=settings.discriminator_l2,
  )


def _default_block() -> int:
  """Lanes whose logits stay in a CPU's cache, or enough of them to fill an accelerator."""
  return 1_024 if jax.default_backend() == 'cpu' else 16_384


def fit_generators(
  settings: ml_collections.ConfigDict,
  sets: Sets,
  *,
  adversarial: bool,
  key: jax.Array,
  devices: int,
  progress: Progress,
) -> Generators:
  """Trains a generator for every set.

  Args:
    settings: `config.seqgan`.
    sets: the rows.
    adversarial: whether the maximum-likelihood phase is followed by SeqGAN's two others.
    key: consumed.
    devices: most devices to use; 0 for all.
    progress: told of every epoch.
  """
  model = make_model(settings, sets.tokens.shape[1], sets.length)
  init_key, *keys = jax.random.split(key, 4)
  devices = choose_devices(settings.batch, devices)
  progress.forget(*STAGES)
  create = jax.jit(functools.partial(train.create, model))
  state = replicate(create(sets.allowed, init_key), devices)
  state = _maximum_likelihood(settings, model, state, sets, keys[0], devices, progress)
  if adversarial:
    update = _discriminator_round(settings, model, sets, devices)
    state = _pretrain_discriminator(settings, state, update, keys[1], progress)
    state = train.update_rollout_policy(state, 0.0)  # beta <- theta, line 2 of Algorithm 1
    state = _adversarial(settings, model, state, update, keys[2], devices, progress)
  return Generators(jax.tree.map(np.asarray, state.generator.params), sets.tokens, sets.length)


def _maximum_likelihood(
  settings: ml_collections.ConfigDict,
  model: train.SeqGAN,
  state: train.SeqGANState,
  sets: Sets,
  key: jax.Array,
  devices: int,
  progress: Progress,
) -> train.SeqGANState:
  """Line 1 of Algorithm 1."""
  step = parallel(scan_steps(train.make_mle_step(model)), devices)
  with progress.track('generator, maximum likelihood', settings.mle_epochs) as advance:
    for epoch in range(settings.mle_epochs):
      epoch_key = jax.random.fold_in(key, epoch)
      generator = numpy_generator(epoch_key)
      drawn = np.stack([_epoch_of(rows, settings.rows_per_epoch, generator) for rows in sets.rows])
      state, metrics = _run_epoch(step, state, drawn, settings.batch, epoch_key, devices)
      progress.measure(STAGES[0], epoch=epoch, **_finite(metrics, STAGES[0], epoch))
      advance(f'loss {metrics["loss"]:.4f}')
  return state


def _pretrain_discriminator(
  settings: ml_collections.ConfigDict,
  state: train.SeqGANState,
  update: Callable,
  key: jax.Array,
  progress: Progress,
) -> train.SeqGANState:
  """Line 3 of Algorithm 1."""
  with progress.track('discriminator, pretraining', settings.discriminator_rounds) as advance:
    for epoch in range(settings.discriminator_rounds):
      state, metrics = update(state, jax.random.fold_in(key, epoch))
      progress.measure(STAGES[1], epoch=epoch, **_finite(metrics, STAGES[1], epoch))
      advance(f'loss {metrics["loss"]:.4f} accuracy {metrics["accuracy"]:.3f}')
  return state


def _adversarial(
  settings: ml_collections.ConfigDict,
  model: train.SeqGAN,
  state: train.SeqGANState,
  update: Callable,
  key: jax.Array,
  devices: int,
  progress: Progress,
) -> train.SeqGANState:
  """Lines 4 to 14 of Algorithm 1."""
  shape = (len(state.allowed), settings.batch, 2)
  # The published code gives this phase an Adam of its own: the small gradients of the phase before
  # would have left second moments that make the first policy-gradient steps far too large.
  fresh = jax.vmap(model.generator_tx.init)(state.generator.params)
  state = state.replace(generator=state.generator.replace(opt_state=fresh))
  state = replicate(state, devices)
  step = parallel(train.make_generator_step(model), devices)
  with progress.track('generator against discriminator', settings.rounds) as advance:
    for epoch in range(settings.rounds):
      round_key = jax.random.fold_in(key, epoch)
      for g in range(settings.g_steps):
        keys = jax.random.split(jax.random.fold_in(round_key, g), shape)
        state, metrics = step(state, jnp.zeros(devices), shard(keys, devices, axis=1))
      for d in range(settings.d_steps):
        state, judged = update(state, jax.random.fold_in(round_key, settings.g_steps + d))
      state = train.update_rollout_policy(state, settings.rollout_update)
      metrics = {name: float(np.mean(value)) for name, value in metrics.items()}
      metrics |= {f'discriminator_{name}': value for name, value in judged.items()}
      progress.measure(STAGES[2], epoch=epoch, **_finite(metrics, STAGES[2], epoch))
      advance(f'reward {metrics["reward"]:.4f} entropy {metrics["entropy"]:.3f}')
  return state


def _discriminator_round(
  settings: ml_collections.ConfigDict, model: train.SeqGAN, sets: Sets, devices: int
) -> Callable:
  """Makes `(state, key) -> (state, metrics)`: new generated rows, some epochs on them and real."""
  count = settings.rows_per_epoch
  step = parallel(scan_steps(train.make_discriminator_step(model)), devices)
  sampling_devices = choose_devices(count, devices)
  sampler = parallel_map(train.make_sampler(model), sampling_devices)

  def update(state: train.SeqGANState, key: jax.Array):
    sample_key, *epoch_keys = jax.random.split(key, 1 + settings.discriminator_epochs)
    keys = shard(jax.random.split(sample_key, (len(sets.rows), count)), sampling_devices, axis=1)
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


def _run_epoch(
  step: Callable, state: train.SeqGANState, rows: Any, batch: int, key: jax.Array, devices: int
) -> tuple[train.SeqGANState, dict[str, float]]:
  """Runs a step over all batches of rows [K, S * B, ...]; metrics are means over the sets too."""

  def batches(x: np.ndarray) -> jax.Array:
    steps = max(1, x.shape[1] // batch)
    x = x[:, : steps * batch].reshape(x.shape[0], steps, -1, *x.shape[2:])
    return jnp.asarray(np.moveaxis(x, 0, 1))

  examples = jax.tree.map(batches, rows)
  shape = jax.tree.leaves(examples)[0].shape[:3]
  keys = jax.random.split(jax.random.fold_in(key, 1), shape)
  sharded = shard((examples, jnp.ones(shape)), devices, axis=2)
  state, metrics = step(state, sharded, shard(keys, devices, axis=2))
  return state, {name: float(np.mean(value)) for name, value in metrics.items()}


def make_generate(
  settings: ml_collections.ConfigDict,
  generators: Generators,
  *,
  length: int,
  temperature: float,
  block: int = 512,
) -> Callable[[jax.Array], np.ndarray]:
  """Makes `key -> rows of vocabulary ids, int32 [block * K, length]`, the sets taking turns."""
  model = make_model(settings, generators.tokens.shape[1], generators.length)
  allowed = np.where(generators.tokens >= 0, 0.0, -np.inf).astype(np.float32)
  sampler = jax.jit(train.make_sampler(model, temperature))
  shared = jax.tree.map(jnp.asarray, (generators.params, allowed))

  def generate(key: jax.Array) -> np.ndarray:
    keys = jax.random.split(key, (len(allowed), block))
    sentences = np.asarray(sampler(shared, keys))
    return to_vocabulary(generators.tokens, sentences, length)

  return generate
