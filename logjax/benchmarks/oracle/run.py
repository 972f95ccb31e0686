"""SeqGAN's synthetic benchmark: a generator learns from an oracle's rows and is judged by it.

The workdir has the files of `oracle/recorder.py`, from which an interrupted run resumes, and at the
end results.json.
"""

import functools
from pathlib import Path
from typing import IO, Any

import jax
import ml_collections
import numpy as np
import rich.console

from logjax.benchmarks.oracle.judge import DISTINCT, OracleMetrics
from logjax.benchmarks.oracle.model import (
  SequenceModel,
  allowed_tokens,
  draw_oracle,
  load_oracle,
  sample_rows,
)
from logjax.benchmarks.oracle.recorder import ADVERSARIAL, MLE, OutOfTime, Recorder
from logjax.errors import LogjaxError
from logjax.files import read_json, write_json
from logjax.oversamplers import table
from logjax.reports.table import Column, Table
from logjax.run import REMOVE, claim_workdir, config_digest, lock
from logjax.seqgan.fit import fit_generators
from logjax.seqgan.generators import make_model
from logjax.seqgan.sets import Sets
from logjax.seqgan.state import create_seqgan_state
from logjax.settings import RULES, check_gan
from logjax.settings import check as check_values
from logjax.training.checkpoint import Checkpoints
from logjax.training.progress import Progress
from logjax.training.runtime import Runtime
from logjax.training.stopping import Stopping

# A killed run loses no more than this, and the epoch that it was in.
_MINUTES_BETWEEN_CHECKPOINTS = 2.0


def run(
  config: ml_collections.ConfigDict, workdir: Path, *, stopping: Stopping | None = None
) -> dict[str, Any]:
  """Runs the benchmark, or resumes it where an earlier call stopped.

  Args:
    config: as in `configs/oracle.py`.
    workdir: of the run.
    stopping: of the process; None where no signal is answered.

  Returns:
    The content of results.json: `oracle` (origin, vocabulary, length, rows), `cell`, `reward`,
    `parameters` (how many), `references` (measures of the oracle's own rows, of their tokens in
    random order, of uniform tokens), `generators` (lines of curve.jsonl: untrained, after maximum
    likelihood, after adversarial training or None), `epochs` and `scheduled` by stage, `seconds`
    (of training by stage, of evaluation), `out_of_time`.

  Raises:
    LogjaxError: for a wrong field, an unreadable oracle, or a workdir of another config or process.
  """
  _check(config)
  keys = jax.random.split(jax.random.key(config.seed), 7)
  oracle = _open_oracle(config.oracle, keys[0])
  path = workdir / 'results.json'
  with lock(workdir):
    claim_workdir(config, workdir)
    if not path.exists():
      runtime = _runtime(config, workdir, stopping or Stopping())
      write_json(path, _train(config, workdir, oracle, keys, runtime))
      runtime.checkpoints.delete()
  return read_json(path, dict, REMOVE)


def _runtime(config: ml_collections.ConfigDict, workdir: Path, stopping: Stopping) -> Runtime:
  checkpoints = Checkpoints(
    workdir / 'unfinished',
    stopping=stopping,
    minutes=_MINUTES_BETWEEN_CHECKPOINTS,
    owner=config_digest(config),
  )
  return Runtime(config.devices, Progress(workdir), checkpoints, stopping)


def _train(
  config: ml_collections.ConfigDict,
  workdir: Path,
  oracle: SequenceModel,
  keys: jax.Array,
  runtime: Runtime,
) -> dict[str, Any]:
  """Trains the generator as far as the time allows and returns the results."""
  length, count = config.oracle.length, config.oracle.rows
  rows, held_out = (sample_rows(oracle, length, count, key) for key in keys[1:3])
  judge = OracleMetrics(oracle, held_out, config.oracle.group)
  references = _references(judge, rows, keys[3])
  runtime.progress.say(
    'oracle NLL: '
    + ', '.join(f'{name} {measures["oracle_nll"]:.3f}' for name, measures in references.items())
  )
  model = make_model(config.seqgan, oracle.model.vocabulary, length)
  recorder = Recorder(config, workdir, judge, model.generator, keys[4], runtime)
  sets = _one_set(oracle, rows)
  state = jax.jit(functools.partial(create_seqgan_state, model))(sets.allowed, keys[5])
  parameters = {
    'generator': _size(state.generator.params),
    'discriminator': _size(state.discriminator.params),
  }
  out_of_time = False
  try:
    fit_generators(
      config.seqgan,
      sets,
      method='seqgan',
      key=keys[6],
      runtime=runtime,
      watch=recorder.watch,
      start=recorder.start(state),
    )
  except OutOfTime:
    out_of_time = True
  return {
    'oracle': {
      'origin': 'file' if config.oracle.path else 'drawn',
      'vocabulary': oracle.model.vocabulary,
      'length': length,
      'rows': count,
    },
    'cell': config.seqgan.cell,
    'reward': config.seqgan.reward,
    'parameters': parameters,
    'references': references,
    'generators': _milestones(recorder.curve),
    'epochs': recorder.done,
    'scheduled': recorder.scheduled,
    'seconds': {name: round(seconds, 1) for name, seconds in recorder.seconds.items()},
    'out_of_time': out_of_time,
  }


def _check(config: ml_collections.ConfigDict) -> None:
  """Raises LogjaxError for the first field with a value that it cannot have."""
  check_values(config, RULES | table.RULES)
  check_gan(config.seqgan)
  oracle = config.oracle
  for name, least in (
    ('vocabulary', 2),
    ('hidden', 1),
    ('length', max(DISTINCT)),
    ('every', 1),
    ('group', 2),
    ('rows', 2 * oracle.group),
    ('minutes', 0),
  ):
    if oracle[name] < least:
      raise LogjaxError(f'--config.oracle.{name}={oracle[name]} must be at least {least}')


def _open_oracle(settings: ml_collections.ConfigDict, key: jax.Array) -> SequenceModel:
  """Reads the published oracle, or draws one."""
  if settings.path:
    return load_oracle(Path(settings.path))
  return draw_oracle(settings.vocabulary, settings.hidden, key)


def _one_set(oracle: SequenceModel, rows: np.ndarray) -> Sets:
  """The rows as the only set, whose vocabulary has all tokens but 0."""
  vocabulary = oracle.model.vocabulary
  tokens = np.where(allowed_tokens(vocabulary) == 0, np.arange(vocabulary, dtype=np.int32), -1)
  return Sets((rows,), tokens[None], rows.shape[1])


def _references(
  judge: OracleMetrics, rows: np.ndarray, key: jax.Array
) -> dict[str, dict[str, float]]:
  """Measures of rows that need no generator; `rows` [N, T] are the oracle's own."""
  for_order, for_tokens = jax.random.split(key)
  shuffled = jax.random.permutation(for_order, rows.reshape(-1)).reshape(rows.shape)
  uniform = jax.random.randint(for_tokens, rows.shape, 1, judge.oracle.model.vocabulary)
  kinds = {'oracle': rows, 'shuffled': shuffled, 'uniform': uniform}
  return {name: judge.rows(np.asarray(kind)) for name, kind in kinds.items()}


def _size(params: Any) -> int:
  """Returns the number of parameters of one of the K sets."""
  return sum(leaf[0].size for leaf in jax.tree.leaves(params))


def _milestones(curve: list[dict[str, Any]]) -> dict[str, dict[str, Any] | None]:
  """The untrained generator, and the last one of each stage; never the best one of several."""
  last = {point['stage']: point for point in curve}
  return {
    'untrained': curve[0],
    'maximum_likelihood': last[MLE] if last[MLE]['epoch'] else None,
    'adversarial': last.get(ADVERSARIAL),
  }


def print_results(results: dict[str, Any], file: IO[str] | None = None) -> None:
  """Prints what `run` returned as a table, on standard output or to `file`."""
  console = rich.console.Console(file=file, highlight=False, soft_wrap=True, markup=False)
  oracle = results['oracle']
  title = (
    f'oracle {"from a file" if oracle["origin"] == "file" else "drawn here"}, vocabulary '
    f'{oracle["vocabulary"]:,}, {oracle["length"]} tokens; {results["cell"].upper()}, '
    f'{results["reward"]} reward'
  )
  measures = {
    'oracle_nll': 'oracle NLL',
    'generator_nll': 'generator NLL',
    'distinct_2': 'distinct-2',
    'self_bleu_2': 'self-BLEU-2',
  }
  rows = []
  for name, point in (results['references'] | results['generators']).items():
    if point is not None:
      cells = [
        f'{point[measure]:.3f}±{point[measure + "_error"]:.3f}' if measure in point else ''
        for measure in measures
      ]
      rows.append([name.replace('_', ' '), *cells])
  columns = [Column('rows of', align='left'), *map(Column, measures.values())]
  console.print(Table(title, columns, rows).terminal(narrow=True))  # fits 80 columns
  for stage, seconds in results['seconds'].items():
    if stage in results['epochs']:
      done, scheduled = results['epochs'][stage], results['scheduled'][stage]
      console.print(f'{stage}: {done} of {scheduled} epochs in {seconds / 60:.1f} minutes')
  if results['out_of_time']:
    console.print('ended by --config.oracle.minutes before the schedule was complete')
