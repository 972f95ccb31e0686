"""Throughput of SeqGAN: how fast it samples, rewards and learns, and how fast it could.

`run` yields one dictionary for each measurement:

  name                  what was called, a function of calls.py, which says what its tokens are
  workload              'synthetic': uniform tokens, no row ends before T; 'real': rows of a log
  vocab                 V
  discriminator         its name, or null where the call has none
  devices               how many the call was divided among
  share_equal_prefixes  whether equal prefixes shared their rollouts; null where there are none
  seconds, best         median and least time of a call over the timed blocks
  cpu_seconds           median of the time that processor cores worked in a call, of all threads
  tokens_per_second     useful ones: those that equation 4 needs and no others
  rows_per_second       sentences drawn, rewarded or learned
  peak_memory_mb        most memory (10^6 bytes) while it was called; null where that is unknown
  share_of_floor        the time of what cannot be avoided (floor.py) divided by `seconds`

On a CPU memory is that of the whole process. Of an accelerator only the highest use since the
process began is known, so there it is told for a call that used more than all calls before it.
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
import rich.table

from logjax.benchmarks import calls
from logjax.benchmarks.measuring import measure
from logjax.benchmarks.workload import Workload, create_state, real, synthetic
from logjax.corpora.formats import FORMATS
from logjax.errors import LogjaxError
from logjax.seqgan.generators import make_model
from logjax.seqgan.train import SeqGAN, SeqGANState
from logjax.settings import check_filters, check_values, flatten
from logjax.training.parallel import choose_devices

CALLS = {
  'sample': calls.sample,
  'rollouts': calls.rollouts,
  'rewards': calls.rewards,
  'generator_step': calls.generator_step,
  'discriminator_step': calls.discriminator_step,
  'mle_epoch': calls.mle_epoch,
}
_LEAST = {
  'benchmark.length': 2,
  'benchmark.sentences': 1,
  'benchmark.warm_up': 1,
  'benchmark.blocks': 1,
  'benchmark.mle_epochs': 1,
}
_WITH_ROLLOUTS = ('rollouts', 'rewards', 'generator_step')
_WITH_DISCRIMINATOR = ('rewards', 'generator_step', 'discriminator_step')


def run(config: ml_collections.ConfigDict) -> Iterator[dict[str, Any]]:
  """Makes the measurements that `configs/benchmark.py` describes, one after the other.

  Yields:
    The fields above, ready for JSON.

  Raises:
    LogjaxError: for a value that a field cannot have, and as `workload.real` does.
  """
  check(config)
  settings = config.benchmark
  sizes = calls.Sizes(config.seqgan.batch, settings.sentences, settings.mle_rows)
  most = choose_devices(config.devices, dividing=math.gcd(sizes.batch, sizes.sentences))
  key = jax.random.fold_in(jax.random.key(config.seed), 2)
  for workload in _workloads(config, most):
    for about, model, state in _cases(config, workload):
      call = CALLS[about['name']](model, state, workload, sizes, key)
      for devices in sorted({1, most}):
        measured = measure(model, state, call, devices, settings)
        yield about | {'devices': devices} | measured


def check(config: ml_collections.ConfigDict) -> None:
  """Raises LogjaxError for the first field with a value that it cannot have."""
  check_values(config)
  settings = config.benchmark
  for field, values, choices in (
    ('benchmark.names', settings.names, CALLS),
    ('benchmark.discriminators', settings.discriminators, config.discriminators),
    ('benchmark.log_format', (settings.log_format,), FORMATS),
  ):
    for value in values:
      if value not in choices:
        raise LogjaxError(f'--config.{field}: {value!r} is none of {", ".join(choices)}')
    if not values:
      raise LogjaxError(f'--config.{field} must name one at least')
  for name in settings.discriminators:
    sizes = config.discriminators[name]
    check_filters(sizes.filter_widths, sizes.filters, f'discriminators.{name}')
  fields = flatten(config.to_dict())
  for field, least in _LEAST.items():
    if fields[field] < least:
      raise LogjaxError(f'--config.{field}={fields[field]} must be at least {least}')
  if any(not isinstance(size, int) or size < 2 for size in settings.vocabularies):
    raise LogjaxError('--config.benchmark.vocabularies must be whole numbers, each at least 2')
  if not settings.vocabularies and not settings.log:
    raise LogjaxError('nothing to measure: give --config.benchmark.vocabularies or a log')
  if settings.mle_rows < config.seqgan.batch:
    raise LogjaxError('--config.benchmark.mle_rows must be at least seqgan.batch')
  if settings.log and not Path(settings.log).is_file():
    raise LogjaxError(
      f'--config.benchmark.log={settings.log} is no file: name a log, or leave it out'
    )


def _workloads(config: ml_collections.ConfigDict, devices: int) -> Iterator[Workload]:
  settings = config.benchmark
  for vocabulary in settings.vocabularies:
    yield synthetic(vocabulary, settings.length, settings.mle_rows, config.seed)
  if settings.log:
    yield real(config, devices)


def _cases(
  config: ml_collections.ConfigDict, workload: Workload
) -> Iterator[tuple[dict[str, Any], SeqGAN, SeqGANState]]:
  """Yields the calls to measure: what is told of each, and the model and the state to call with."""
  settings = config.benchmark
  made = {name: _create(config, workload, name) for name in settings.discriminators}
  for name in settings.names:
    # A call without a discriminator leaves the one in its state alone, so any will do.
    judged, rolled_out = name in _WITH_DISCRIMINATOR, name in _WITH_ROLLOUTS
    # Uniform tokens have hardly any equal prefixes.
    sharing = (False, True) if rolled_out and workload.name == 'real' else (False,)
    for discriminator in settings.discriminators if judged else settings.discriminators[:1]:
      for share in sharing:
        model, state = made[discriminator]
        rewards = dataclasses.replace(model.rewards, share_equal_prefixes=share)
        about = {
          'name': name,
          'workload': workload.name,
          'vocab': workload.vocabulary,
          'discriminator': discriminator if judged else None,
          'share_equal_prefixes': share if rolled_out else None,
        }
        yield about, dataclasses.replace(model, rewards=rewards), state


def _create(
  config: ml_collections.ConfigDict, workload: Workload, discriminator: str
) -> tuple[SeqGAN, SeqGANState]:
  """Returns the models and a state for a workload and one of the discriminators."""
  seqgan = config.seqgan.copy_and_resolve_references()
  seqgan.update(config.discriminators[discriminator])
  seqgan.reward = 'discriminator'
  model = make_model(seqgan, workload.vocabulary, workload.length)
  return model, create_state(model, workload, jax.random.key(config.seed))


def print_table(lines: Sequence[dict[str, Any]], file: IO[str] | None = None) -> None:
  """Prints measurements as a table.

  Args:
    lines: of `run`.
    file: where to; None for standard error, since the lines themselves are for standard output.
  """
  table = rich.table.Table(title=jax.devices()[0].device_kind, title_justify='left')
  for column in _COLUMNS:
    table.add_column(column, justify='left' if column in _WORDS else 'right')
  for line in lines:
    table.add_row(*(_cell(line[field]) for field in _COLUMNS.values()))
  # Wide enough for all columns: a terminal wraps what it cannot show, and rich would cut words.
  console = rich.console.Console(
    file=file or sys.stderr, width=200, highlight=False, markup=False, emoji=False
  )
  console.print(table)


_COLUMNS = {
  'name': 'name',
  'workload': 'workload',
  'V': 'vocab',
  'discriminator': 'discriminator',
  'shared': 'share_equal_prefixes',
  'devices': 'devices',
  'seconds': 'seconds',
  'best': 'best',
  'CPU s': 'cpu_seconds',
  'tokens/s': 'tokens_per_second',
  'rows/s': 'rows_per_second',
  'MB': 'peak_memory_mb',
  'of floor': 'share_of_floor',
}
_WORDS = ('name', 'workload', 'discriminator', 'shared')


def _cell(value: Any) -> str:
  if value is None:
    return ''
  if isinstance(value, bool):
    return 'yes' if value else 'no'
  if isinstance(value, float):
    return f'{value:.3g}' if value < 100 else f'{value:,.0f}'
  return f'{value:,}' if isinstance(value, int) else value
