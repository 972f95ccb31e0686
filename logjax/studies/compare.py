"""The comparison: oversamplers x detectors x protocols x seeds on one log, and a leaderboard.

A cell is one combination: a run in a workdir of its own. Finished cells are not run again. So the
same command resumes a comparison, and a larger comparison in the same workdir runs only new cells.
"""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import ml_collections

from logjax import detectors
from logjax.errors import LogjaxError
from logjax.files import write_json
from logjax.oversamplers.table import TABLE
from logjax.reports.leaderboard import markdown, write_leaderboard
from logjax.settings import flatten
from logjax.studies.leaderboard import Cell, make_leaderboard
from logjax.studies.subrun import SubRun, claim_study, common_blocks, run_once
from logjax.training import hosts
from logjax.training.progress import Progress
from logjax.training.stopping import Stopping


class CellKey(NamedTuple):
  """The identity of a cell."""

  protocol: str
  abnormal_train: int
  seed: int
  oversampler: str
  detector: str

  @property
  def folder(self) -> str:
    """The name of the cell's folder in the workdir."""
    few = f'{self.abnormal_train}_abnormal' if self.abnormal_train else 'all_abnormal'
    return f'{self.protocol}-{few}-{self.detector}-{self.oversampler}-seed_{self.seed}'


def cell_keys(compare: ml_collections.ConfigDict) -> list[CellKey]:
  """Lists the cells of `config.compare`, those of one seed together.

  Raises:
    LogjaxError: for an unknown name, a number out of range, or an empty field.
  """
  known = {
    'oversamplers': tuple(TABLE),
    'detectors': detectors.names(),
    'plain_detectors': detectors.names(),
    'protocols': ('honest', 'paper'),
  }
  chosen = {field: _names(compare, field, names) for field, names in known.items()}
  for field in ('seeds', 'abnormal_train'):
    if not all(type(value) is int and 0 <= value < 2**32 for value in compare[field]):
      raise LogjaxError(
        f'--config.compare.{field}={compare[field]} must be whole numbers from 0 to 4294967295'
      )
  for field in ('oversamplers', 'detectors', 'protocols', 'seeds'):
    if not compare[field]:
      raise LogjaxError(f'--config.compare.{field} is empty: there is nothing to compare')
  methods = [*itertools.product(chosen['oversamplers'], chosen['detectors'])]
  methods += [('none', name) for name in chosen['plain_detectors']]
  numbers = (0, *compare.abnormal_train)
  outer = itertools.product(chosen['protocols'], dict.fromkeys(numbers), compare.seeds)
  # dict.fromkeys removes repetitions and keeps the order.
  cells = dict.fromkeys(itertools.product(outer, methods))
  return [CellKey(*setting, *method) for setting, method in cells]


def _names(compare: ml_collections.ConfigDict, field: str, known: Sequence[str]) -> list[str]:
  """Reads the names in a field; one string may hold several, separated by commas."""
  names = [name.strip() for entry in compare[field] for name in str(entry).split(',')]
  for name in names:
    if name not in known:
      raise LogjaxError(f'--config.compare.{field} has {name!r}, none of {", ".join(known)}')
  return names


def run(
  config: ml_collections.ConfigDict,
  workdir: Path,
  cache: Path,
  command: str,
  *,
  stopping: Stopping | None = None,
) -> dict:
  """Runs every cell that is not in the workdir yet and returns the content of leaderboard.json.

  Args:
    config: as in configs/default.py; `config.compare` lists the cells.
    workdir: of the comparison.
    cache: the folder of simulated corpora.
    command: the command line, for leaderboard.json.
    stopping: of the process; None if no signal is answered.

  Raises:
    LogjaxError: the config sets a field that the comparison sets itself; or as
      `experiment.train`, after the name of the cell.
  """
  wanted = cell_keys(config.compare)
  if config.data.permute_labels or config.split.abnormal_train:
    raise LogjaxError(
      '--mode=compare sets split.abnormal_train itself, from config.compare.abnormal_train, and '
      'permutes no labels: leave both out'
    )
  subruns = {}
  with claim_study(config, workdir), Progress().track('comparison', len(wanted)) as advance:
    for key in wanted:
      folder = workdir / 'cells' / key.folder
      subruns[key] = run_once(_config_of(config, key), folder, cache, command, stopping=stopping)
      advance(key.folder)
  blocks = common_blocks([*subruns.values()], workdir)
  cells = [_cell(key, subrun) for key, subrun in subruns.items()]
  leaderboard = make_leaderboard(cells, config.compare.draws) | {
    'compare': flatten(config.compare.to_dict()),
    'command': command,
    **blocks,
  }
  if hosts.first():
    write_json(workdir / 'leaderboard.json', leaderboard)
    (workdir / 'leaderboard.md').write_text(markdown(leaderboard))
    write_leaderboard(workdir, leaderboard)
  return leaderboard


def _config_of(config: ml_collections.ConfigDict, key: CellKey) -> ml_collections.ConfigDict:
  """Returns the configuration of one cell."""
  cell = config.copy_and_resolve_references().unlock()
  if cell.data.simulated_seed is None:
    cell.data.simulated_seed = config.seed  # one log for all seeds
  cell.protocol, cell.seed = key.protocol, key.seed
  cell.split.abnormal_train = key.abnormal_train
  cell.oversampler.name = key.oversampler
  cell.detector.repetitions = config.compare.repetitions
  cell.detector.name = key.detector
  return cell


def _cell(key: CellKey, subrun: SubRun) -> Cell:
  """Collects the test scores of a cell and the numbers of its results.json."""
  scores, results = subrun.scores, subrun.results
  train = results['split']['train']
  return Cell(
    protocol=key.protocol,
    detector=key.detector,
    oversampler=key.oversampler,
    seed=key.seed,
    abnormal_train=key.abnormal_train,
    origin=scores.origin,
    abnormal=scores.abnormal,
    scores=scores.scores,
    thresholds=scores.thresholds,
    baselines=scores.baselines,
    baseline_thresholds=scores.baseline_thresholds,
    group=scores.group,
    leaks=tuple(results['leaks']),
    trained_abnormal=train['abnormal'] - train['synthetic'],
    seconds=sum(results['seconds'].values()),
    quality=results['oversampler'].get('quality'),
  )
