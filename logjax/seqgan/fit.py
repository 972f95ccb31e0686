"""SeqGAN's Algorithm 1 on the sets of a corpus: phases and epochs.

MaliGAN and TextGAN go through the same phases with steps of their own.

K sets, B batch, S steps, T time.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from logjax.seqgan.epochs import epoch_of, real_batch, run_epoch
from logjax.seqgan.generators import Generators, make_model
from logjax.seqgan.maligan import make_maligan_step
from logjax.seqgan.sets import Sets
from logjax.seqgan.state import SeqGAN, SeqGANState, create_seqgan_state, update_rollout_policy
from logjax.seqgan.steps import (
  make_discriminator_step,
  make_generator_step,
  make_mle_step,
  make_sampler,
)
from logjax.seqgan.textgan import make_textgan_steps
from logjax.training import divergence
from logjax.training.keys import numpy_generator
from logjax.training.parallel import (
  choose_devices,
  divide,
  parallel,
  parallel_map,
  replicate,
  scan_steps,
  unshard,
)
from logjax.training.runtime import Runtime

METHODS = ('mle', 'seqgan', 'maligan', 'textgan')
STAGES = ('generator_mle', 'discriminator_pretrain', 'adversarial')
PHASE = 'generators'  # of the checkpoints
_ADVICE = (
  'lower seqgan.generator_learning_rate or seqgan.discriminator_learning_rate, in a new workdir'
)


class Phase(NamedTuple):
  """A phase of Algorithm 1.

  Attributes:
    stage: its name in metrics.jsonl.
    title: its name for people.
    epochs: how many it has.
    begin: from the last state of the phase before to the first one of this.
    run: `(state, key) -> (state, metrics [K])`, one epoch; raises DivergenceError.
    note: the metrics to show, as a format string.
    steps: of an epoch; those of the generators, if both models take some.
    rows: of an epoch, of all sets and models.
  """

  stage: str
  title: str
  epochs: int
  begin: Callable
  run: Callable
  note: str
  steps: int
  rows: int


def fit_generators(
  settings: ml_collections.ConfigDict,
  sets: Sets,
  *,
  method: str,
  key: jax.Array,
  runtime: Runtime,
  watch: Callable[[str, int, SeqGANState], None] | None = None,
  start: tuple[str, int, SeqGANState] | None = None,
) -> Generators:
  """Trains a generator for every set.

  Args:
    settings: `config.seqgan`.
    sets: the rows.
    method: one of METHODS: 'mle' has the phase of maximum likelihood only, the others all three.
    key: consumed.
    runtime: of the run.
    watch: called after every epoch with its stage, its number from 0, and the state, whose arrays
      the next epoch reuses.
    start: the arguments of the call of `watch` after which training resumes; None for none. With
      neither, training resumes at the newest checkpoint and saves one when it is due.

  Raises:
    LogjaxError: when a phase diverges.
  """
  if method not in METHODS:
    raise ValueError(f'{method!r} is none of {", ".join(METHODS)}')
  model = make_model(settings, sets.tokens.shape[1], sets.length)
  create = functools.partial(create_seqgan_state, model)
  if start is None and watch is None:
    start, watch = _checkpointed(runtime, jax.eval_shape(create, sets.allowed, key))
  init_key, *keys = jax.random.split(key, 4)
  devices = choose_devices(runtime.devices)
  phases = _phases(settings, model, sets, devices, method)[: 1 if method == 'mle' else 3]
  if start is None:
    done, last = -1, -1
    state = jax.jit(create)(sets.allowed, init_key)
  else:
    stage, last, state = start
    done = [phase.stage for phase in phases].index(stage)
  runtime.progress.forget(*STAGES[max(done, 0) :], kept=last + 1)
  state = replicate(state, devices)
  for number, (phase, phase_key) in enumerate(zip(phases, keys, strict=False)):
    if number < done:
      continue
    first = last + 1 if number == done else 0
    if first == 0:
      state = replicate(phase.begin(state), devices)
    with runtime.progress.track(phase.title, phase.epochs, done=first) as advance:
      for epoch in range(first, phase.epochs):
        with divergence.divergence_reported(runtime, phase.stage, phase.stage, epoch, _ADVICE):
          state, metrics = _checked(phase, state, jax.random.fold_in(phase_key, epoch))
        means = {name: float(np.mean(value)) for name, value in metrics.items()}
        count = {'step': (epoch + 1) * phase.steps, 'rows': phase.rows}
        each = {name: np.asarray(value).tolist() for name, value in metrics.items()}
        runtime.progress.measure(phase.stage, epoch=epoch, **count, **means, sets=each)
        if watch is not None:
          watch(phase.stage, epoch, state)
        advance(phase.note.format(**means))
  return Generators(jax.tree.map(np.asarray, state.generator.params), sets.tokens, sets.length)


def _checkpointed(runtime: Runtime, like: SeqGANState) -> tuple[tuple | None, Callable]:
  """Returns `start` from the newest checkpoint, and a `watch` that saves them."""
  found = runtime.checkpoints.restore(PHASE, like)
  start = found and (found[1]['stage'], found[1]['epoch'], found[0])

  def watch(stage: str, epoch: int, state: SeqGANState) -> None:
    runtime.checkpoints.save(state, {'stage': stage, 'epoch': epoch})

  return start, watch


def _checked(
  phase: Phase, state: SeqGANState, key: jax.Array
) -> tuple[SeqGANState, dict[str, np.ndarray]]:
  """Runs an epoch; raises DivergenceError also where its last step left bad parameters."""
  state, metrics = phase.run(state, key)
  if not divergence.all_finite((state.generator.params, state.discriminator.params)):
    raise divergence.DivergenceError('parameters that are not finite', phase.steps - 1, None, {})
  return state, metrics


def _phases(
  settings: ml_collections.ConfigDict, model: SeqGAN, sets: Sets, devices: int, method: str
) -> tuple[Phase, Phase, Phase]:
  """Lines 1, 3 and 4 to 14 of Algorithm 1."""
  generator_step, discriminator_step = _adversarial_steps(settings, model, method)
  generator_step = parallel(generator_step, devices)
  judge = _discriminator_round(settings, discriminator_step, model, sets, devices)
  judged_rows = 2 * settings.rows_per_epoch * settings.discriminator_epochs  # of a set, in a round
  judged_steps = settings.discriminator_epochs * (2 * settings.rows_per_epoch // settings.batch)
  played = settings.g_steps * settings.batch + settings.d_steps * judged_rows
  shown = 'mmd {mmd:.4f}' if method == 'textgan' else 'reward {reward:.4f}'

  def as_it_is(state: SeqGANState) -> SeqGANState:
    return state

  return (
    Phase(
      STAGES[0],
      'generator, maximum likelihood',
      settings.mle_epochs,
      as_it_is,
      _mle_epoch(settings, model, sets, devices),
      'loss {loss:.4f}',
      settings.rows_per_epoch // settings.batch,
      len(sets.rows) * settings.rows_per_epoch,
    ),
    Phase(
      STAGES[1],
      'discriminator, pretraining',
      settings.discriminator_rounds,
      as_it_is,
      judge,
      'loss {loss:.4f} accuracy {accuracy:.3f}',
      judged_steps,
      len(sets.rows) * judged_rows,
    ),
    Phase(
      STAGES[2],
      'generator against discriminator',
      settings.rounds,
      functools.partial(_begin_adversarial, model),
      _adversarial_round(settings, generator_step, judge, judged_steps, sets, devices, method),
      f'{shown} entropy {{entropy:.3f}}',
      settings.g_steps,
      len(sets.rows) * played,
    ),
  )


def _adversarial_steps(
  settings: ml_collections.ConfigDict, model: SeqGAN, method: str
) -> tuple[Callable, Callable]:
  """Returns the steps of the generators and of the discriminators."""
  if method == 'textgan':
    temperature, weight = settings.textgan_temperature, settings.textgan_mmd_weight
    return make_textgan_steps(model, temperature, weight, settings.batch)
  make_step = make_maligan_step if method == 'maligan' else make_generator_step
  return make_step(model, settings.batch), make_discriminator_step(model)


def _mle_epoch(
  settings: ml_collections.ConfigDict, model: SeqGAN, sets: Sets, devices: int
) -> Callable:
  """Makes `(state, key) -> (state, metrics [K])`: the rows of every set, once."""
  step = parallel(scan_steps(make_mle_step(model)), devices)

  def epoch(state: SeqGANState, key: jax.Array):
    generator = numpy_generator(key)
    drawn = np.stack([epoch_of(rows, settings.rows_per_epoch, generator) for rows in sets.rows])
    return run_epoch(step, state, drawn, settings.batch, key, devices)

  return epoch


def _begin_adversarial(model: SeqGAN, state: SeqGANState) -> SeqGANState:
  # The published code gives this phase an Adam of its own: the small gradients of the phase
  # before would have left second moments that make the first policy-gradient steps far too large.
  fresh = jax.jit(jax.vmap(model.generator_tx.init))(state.generator.params)
  state = state.replace(generator=state.generator.replace(opt_state=fresh))
  return update_rollout_policy(state, 0.0)  # beta <- theta, line 2


def _adversarial_round(
  settings: ml_collections.ConfigDict,
  generator_step: Callable,
  judge: Callable,
  judged_steps: int,
  sets: Sets,
  devices: int,
  method: str,
) -> Callable:
  """Makes `(state, key) -> (state, metrics [K])`: lines 5 to 13 of Algorithm 1.

  A call of `judge` takes `judged_steps` steps.
  """
  shape = (len(sets.rows), settings.batch, 2)

  def play(state: SeqGANState, key: jax.Array):
    given, steps = [], []
    for g in range(settings.g_steps):
      step_key, rows_key = jax.random.split(jax.random.fold_in(key, g))
      given.append({'keys': jax.random.split(step_key, shape)})
      if method == 'textgan':  # the other generators need no real rows
        given[g]['examples'] = real_batch(sets, settings.batch, rows_key)
      batch = divide((given[g].get('examples'), given[g]['keys']), devices, axis=1)
      state, metrics = generator_step(state, *batch)
      steps.append(metrics)
    metrics = divergence.mean_metrics(
      {name: np.stack([step[name] for step in steps]) for name in metrics}, given.__getitem__
    )
    for d in range(settings.d_steps):
      step_key = jax.random.fold_in(key, settings.g_steps + d)
      state, judged = judge(state, step_key, d * judged_steps, 'discriminator_')
      metrics |= judged
    return update_rollout_policy(state, settings.rollout_update), metrics

  return play


def _discriminator_round(
  settings: ml_collections.ConfigDict,
  one_step: Callable,
  model: SeqGAN,
  sets: Sets,
  devices: int,
) -> Callable:
  """Makes `(state, key) -> (state, metrics [K])`: new generated rows, epochs on them and real ones.

  It also takes the number of steps before it, and a prefix for the names of the metrics. These are
  those of the last epoch.
  """
  count = settings.rows_per_epoch
  step = parallel(scan_steps(one_step), devices)
  sampler = parallel_map(make_sampler(model), devices)

  def update(state: SeqGANState, key: jax.Array, before: int = 0, prefix: str = ''):
    sample_key, *epoch_keys = jax.random.split(key, 1 + settings.discriminator_epochs)
    keys = jax.random.split(sample_key, (len(sets.rows), count))
    drawn = sampler((state.generator.params, state.allowed), divide(keys, devices, axis=1))
    generated = unshard(np.asarray(drawn), axis=1)[:, :count]
    for epoch_key in epoch_keys:
      generator = numpy_generator(epoch_key)
      mixed, real = [], []
      for rows, fakes in zip(sets.rows, generated, strict=True):
        order = generator.permutation(2 * count)
        mixed.append(np.concatenate([epoch_of(rows, count, generator), fakes])[order])
        real.append(order < count)
      batch = (np.stack(mixed), np.stack(real))
      state, metrics = run_epoch(
        step, state, batch, settings.batch, epoch_key, devices, before=before, prefix=prefix
      )
      before += 2 * count // settings.batch
    return state, metrics

  return update
