"""Weak scaling: as much work for each device, however many there are.

Were devices free of each other, a call would take as long on D of them as on one; the efficiency is
the time on one device divided by that on D. What grows is what the program divides among devices:

  rollouts  the N rollouts of every prefix, for the same batch of sentences
  gru_step  the rows of a step of the paper's classifier

Devices that are simulated share the cores of one machine: D of them have D times the work and no
more cores, so that the efficiency must fall, and says nothing of D real devices. What can be seen
is the overhead: how much more processor time the same work takes when it is divided.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from logjax.benchmarks import calls
from logjax.benchmarks.floor import Work
from logjax.benchmarks.measuring import time_call
from logjax.benchmarks.workload import Workload, create_state, synthetic
from logjax.detectors.autoencoder_gru import NAMES
from logjax.errors import LogjaxError
from logjax.models.classifier import GRUTrainer
from logjax.seqgan.generators import make_model
from logjax.training.runtime import quiet_runtime


def run(config: ml_collections.ConfigDict) -> Iterator[dict[str, Any]]:
  """Measures both on every number of devices of `config.benchmark.weak_scaling`.

  Args:
    config: of the benchmark, checked but for that field.

  Yields:
    The fields of throughput.py, ready for JSON, and besides them

      tokens      useful ones in one call; of 'gru_step' the steps that its GRU makes
      efficiency  `seconds` on one device divided by `seconds`
      overhead    `cpu_seconds` divided by D times those on one device, less 1; null where devices
                  are real
      cores       that the simulated devices share; null where devices are real

  Raises:
    LogjaxError: when there are not so many devices, or they do not divide the batch.
  """
  _check(config)
  for vocabulary in config.benchmark.vocabularies:
    rows = synthetic(vocabulary, config.benchmark.length, config.seqgan.batch, config.seed)
    about = {'name': 'rollouts', 'vocab': vocabulary, 'share_equal_prefixes': False}
    yield from _each(config, about, lambda devices, rows=rows: rollouts(config, rows, devices))
  about = {'name': 'gru_step', 'vocab': None, 'share_equal_prefixes': None}
  yield from _each(config, about, lambda devices: gru_step(config, devices))


def _check(config: ml_collections.ConfigDict) -> None:
  counts = config.benchmark.weak_scaling
  if counts[0] != 1 or any(a >= b for a, b in zip(counts, counts[1:], strict=False)):
    raise LogjaxError(f'--config.benchmark.weak_scaling={counts} must begin with 1 and rise')
  if counts[-1] > jax.local_device_count():
    raise LogjaxError(
      f'--config.benchmark.weak_scaling={counts} and there are {jax.local_device_count()} devices: '
      f'on a CPU set JAX_NUM_CPU_DEVICES={counts[-1]}'
    )
  if any(config.seqgan.batch % count for count in counts):
    raise LogjaxError(
      f'--config.seqgan.batch={config.seqgan.batch} must be a multiple of every number in '
      'benchmark.weak_scaling'
    )


def _each(
  config: ml_collections.ConfigDict,
  about: dict[str, Any],
  grown: Callable[[int], tuple[Any, calls.Call]],
) -> Iterator[dict[str, Any]]:
  """Yields the line of every number of devices, given what makes the state and the call for it."""
  alone: dict[str, float] = {}
  for devices in config.benchmark.weak_scaling:
    state, call = grown(devices)
    measured = time_call(state, call, devices, config.benchmark)
    alone = alone or measured
    fixed = {'workload': 'synthetic', 'discriminator': None, 'devices': devices}
    simulated = jax.default_backend() == 'cpu'
    work = measured['cpu_seconds'] / (devices * alone['cpu_seconds'])
    scaling = {
      'share_of_floor': None,
      'tokens': call.tokens,
      'efficiency': round(alone['seconds'] / measured['seconds'], 3),
      'overhead': round(work - 1, 3) if simulated else None,
      'cores': _cores() if simulated else None,
    }
    yield about | fixed | measured | scaling


def rollouts(
  config: ml_collections.ConfigDict, workload: Workload, devices: int
) -> tuple[Any, calls.Call]:
  """The rollouts of a batch, `seqgan.rollouts` of each prefix for every device.

  Returns:
    The state and the call.
  """
  seqgan = config.seqgan.copy_and_resolve_references()
  # Uniform tokens have hardly any equal prefixes.
  seqgan.update(rollouts=seqgan.rollouts * devices, share_equal_prefixes=False)
  model = make_model(seqgan, workload.vocabulary, workload.length)
  state = create_state(model, workload, jax.random.key(config.seed))
  sizes = calls.Sizes(seqgan.batch, 0, 0)
  key = jax.random.fold_in(jax.random.key(config.seed), 2)
  return state, calls.rollouts(model, state, workload, sizes, key)


def gru_step(config: ml_collections.ConfigDict, devices: int) -> tuple[Any, calls.Call]:
  """A training step of the classifier, `detector.gru.batch` rows for every device.

  A row has the two features of every token that the autoencoders would give it, drawn at random.

  Returns:
    The state and the call.
  """
  init_key, noise_key, step_key = jax.random.split(jax.random.key(config.seed), 3)
  settings = config.detector.gru
  trainer = GRUTrainer(settings, noise_std=0.0, noise_key=noise_key, runtime=quiet_runtime(devices))
  rows, shape = settings.batch * devices, (config.benchmark.length, len(NAMES))
  draw = np.random.default_rng(config.seed)
  examples = (
    jnp.asarray(draw.normal(size=(rows, *shape)), jnp.float32),
    jnp.asarray(draw.integers(0, 2, rows), bool),
    jnp.zeros(rows, bool),  # without noise
    jnp.arange(rows, dtype=jnp.int32),
  )
  batch = (examples, jnp.ones(rows))
  steps = rows * (shape[0] if settings.layout == 'steps' else 1)
  keys = jax.random.split(step_key, rows)
  return trainer.create(shape, init_key), calls.Call(
    trainer.step, batch, keys, axis=0, rows=rows, tokens=steps, work=Work()
  )


def _cores() -> int:
  """How many cores this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
