"""Throughput of SeqGAN: how fast it samples, rewards and learns, and how fast it could be.

`run` yields one dictionary per measurement:

  name                  the call, a function of calls.py; its docstring defines the tokens
  workload              'synthetic': uniform tokens, no row ends before T; 'real': rows of a log
  vocab                 V
  discriminator         name of the discriminator; null for calls without one
  devices               number of devices
  share_equal_prefixes  whether equal prefixes shared their rollouts; null without rollouts
  seconds, best         median and least time of a call over the timed blocks
  cpu_seconds           median processor time of a call, all threads together
  tokens_per_second     useful tokens, only those needed by equation 4
  rows_per_second       sentences drawn, rewarded or learned
  peak_memory_mb        peak memory during the call in 10^6 bytes; null if unknown (measuring.py)
  share_of_floor        the time of the unavoidable work (floor.py) divided by `seconds`
"""

import dataclasses
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import jax
import ml_collections
import rich.console

from logjax.benchmarks import calls
from logjax.benchmarks.measuring import measure
from logjax.benchmarks.workload import Workload, create_state, real, synthetic
from logjax.corpora.catalog import CATALOG
from logjax.errors import LogjaxError
from logjax.oversamplers import table
from logjax.reports.table import Column, Table
from logjax.seqgan.generators import make_model
from logjax.seqgan.state import SeqGAN, SeqGANState
from logjax.settings import RULES, check_filters, check_gan
from logjax.settings import check as check_values
from logjax.training.parallel import choose_devices

CALLS = {
  'sample': calls.sample,
  'rollouts': calls.rollouts,
  'rewards': calls.rewards,
  'generator_step': calls.generator_step,
  'discriminator_step': calls.discriminator_step,
  'mle_epoch': calls.mle_epoch,
}
_WITH_ROLLOUTS = ('rollouts', 'rewards', 'generator_step')
_WITH_DISCRIMINATOR = ('rewards', 'generator_step', 'discriminator_step')


def run(config: ml_collections.ConfigDict) -> Iterator[dict[str, Any]]:
  """Makes the measurements of `configs/benchmark.py` one after the other.

  Yields:
    The fields above, ready for JSON.

  Raises:
    LogjaxError: for an invalid value of a field, and as in `workload.real`.
  """
  check(config)
  settings, batch = config.benchmark, config.seqgan.batch
  most = choose_devices(config.devices, dividing=math.gcd(batch, settings.sentences))
  key = jax.random.fold_in(jax.random.key(config.seed), 2)
  workloads = [
    synthetic(vocabulary, settings.length, settings.mle_rows, config.seed)
    for vocabulary in settings.vocabularies
  ]
  if settings.log:
    workloads.append(real(config, most))
  for workload in workloads:
    for labels, model, state in _combinations(config, workload):
      sizes = (batch, settings.sentences, settings.mle_rows)
      case = calls.Case(model, state, workload, *sizes, key)
      call = CALLS[labels['name']](case)
      for devices in sorted({1, most}):
        yield labels | {'devices': devices} | measure(case, call, devices, settings)


def check(config: ml_collections.ConfigDict) -> None:
  """Raises LogjaxError for the first field with an invalid value."""
  check_values(config, RULES | table.RULES)
  check_gan(config.seqgan)
  settings = config.benchmark
  choices = {'names': CALLS, 'discriminators': config.discriminators, 'log_format': CATALOG}
  for field, known in choices.items():
    values = (settings.log_format,) if field == 'log_format' else settings[field]
    unknown = [value for value in values if value not in known]
    if unknown:
      raise LogjaxError(f'--config.benchmark.{field}: {unknown[0]!r} is none of {", ".join(known)}')
    if not values:
      raise LogjaxError(f'--config.benchmark.{field} must name one at least')
  for name in settings.discriminators:
    sizes = config.discriminators[name]
    check_filters(sizes.filter_widths, sizes.filters, f'discriminators.{name}')
  least = {'length': 2, 'sentences': 1, 'warm_up': 1, 'blocks': 1, 'mle_epochs': 1}
  least['mle_rows'] = config.seqgan.batch
  for field, minimum in least.items():
    if settings[field] < minimum:
      raise LogjaxError(f'--config.benchmark.{field}={settings[field]} must be at least {minimum}')
  if any(not isinstance(size, int) or size < 2 for size in settings.vocabularies):
    raise LogjaxError('--config.benchmark.vocabularies must be whole numbers, each at least 2')
  if not settings.vocabularies and not settings.log:
    raise LogjaxError('nothing to measure: give --config.benchmark.vocabularies or a log')
  if settings.log and not Path(settings.log).is_file():
    raise LogjaxError(
      f'--config.benchmark.log={settings.log} is no file: name a log, or leave it out'
    )


def _combinations(
  config: ml_collections.ConfigDict, workload: Workload
) -> Iterator[tuple[dict[str, Any], SeqGAN, SeqGANState]]:
  """Yields the calls to measure on a workload: their labels, the models and the state."""
  settings = config.benchmark
  made = {name: _create(config, workload, name) for name in settings.discriminators}
  for name in settings.names:
    # A call without a discriminator ignores it, so the first one will do.
    judged, rolled_out = name in _WITH_DISCRIMINATOR, name in _WITH_ROLLOUTS
    # Uniform tokens have hardly any equal prefixes: measure sharing on real rows only.
    sharing = (False, True) if rolled_out and workload.name == 'real' else (False,)
    for discriminator in settings.discriminators if judged else settings.discriminators[:1]:
      for share in sharing:
        model, state = made[discriminator]
        rewards = dataclasses.replace(model.rewards, share_equal_prefixes=share)
        labels = {
          'name': name,
          'workload': workload.name,
          'vocab': workload.vocabulary,
          'discriminator': discriminator if judged else None,
          'share_equal_prefixes': share if rolled_out else None,
        }
        yield labels, dataclasses.replace(model, rewards=rewards), state


def _create(
  config: ml_collections.ConfigDict, workload: Workload, discriminator: str
) -> tuple[SeqGAN, SeqGANState]:
  """Makes the models and a state for a workload and one of the discriminators."""
  seqgan = config.seqgan.copy_and_resolve_references()
  seqgan.update(config.discriminators[discriminator])
  seqgan.reward = 'discriminator'
  model = make_model(seqgan, workload.vocabulary, workload.length)
  return model, create_state(model, workload, jax.random.key(config.seed))


def print_table(lines: Sequence[dict[str, Any]], file: IO[str] | None = None) -> None:
  """Prints measurements as a table with one column per field.

  Args:
    lines: from `run`.
    file: None for standard error; standard output is for the JSON lines.
  """
  heads = [
    Column(field.replace('_', ' '), align='left' if isinstance(value, str) else 'right')
    for field, value in lines[0].items()
  ]
  rows = [[_cell(value) for value in line.values()] for line in lines]
  # Wide enough for all columns: a terminal wraps what it cannot show, and rich would cut words.
  console = rich.console.Console(
    file=file or sys.stderr, width=200, highlight=False, markup=False, emoji=False
  )
  console.print(Table(jax.devices()[0].device_kind, heads, rows).terminal())


def _cell(value: Any) -> str:
  if value is None:
    return ''
  if isinstance(value, bool):
    return 'yes' if value else 'no'
  if isinstance(value, float):
    return f'{value:.3g}' if value < 100 else f'{value:,.0f}'
  return f'{value:,}' if isinstance(value, int) else value
