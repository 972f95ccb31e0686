"""The comparison: oversamplers x detectors x protocols x seeds on one log, and a leaderboard.

Each combination, a cell, is a run in a workdir of its own. Those that are finished are not run
again, so that the same command goes on where it was stopped, and a larger comparison in the same
workdir does only what is new.
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
from logjax.studies.subrun import Part, about_parts, claimed, do_part
from logjax.training import hosts
from logjax.training.progress import Progress
from logjax.training.stopping import Stopping


class Key(NamedTuple):
  """Which cell."""

  protocol: str
  abnormal_train: int
  seed: int
  oversampler: str
  detector: str

  @property
  def folder(self) -> str:
    """Its name in the workdir."""
    few = f'{self.abnormal_train}_abnormal' if self.abnormal_train else 'all_abnormal'
    return f'{self.protocol}-{few}-{self.detector}-{self.oversampler}-seed_{self.seed}'


def keys(compare: ml_collections.ConfigDict) -> list[Key]:
  """The cells that `config.compare` asks for, those of one seed together.

  Raises:
    LogjaxError: for a name that nothing has, or fewer than one of anything.
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
  return [Key(*key, *method) for key, method in dict.fromkeys(itertools.product(outer, methods))]


def _names(compare: ml_collections.ConfigDict, field: str, known: Sequence[str]) -> list[str]:
  """The names in a field; on the command line they may stand in one string with commas."""
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
  """Runs every cell that the workdir does not have yet and returns what is in leaderboard.json.

  Args:
    config: as in configs/default.py; `config.compare` says which cells.
    workdir: of the comparison.
    cache: where simulated corpora are kept.
    command: that started it.
    stopping: of the process; None where no signal is answered.

  Raises:
    LogjaxError: for a config that decides itself what is compared, and as a run does.
  """
  wanted = keys(config.compare)
  if config.data.permute_labels or config.split.abnormal_train:
    raise LogjaxError(
      '--mode=compare sets split.abnormal_train itself, from config.compare.abnormal_train, and '
      'permutes no labels: leave both out'
    )
  parts = {}
  with claimed(config, workdir), Progress().track('comparison', len(wanted)) as advance:
    for key in wanted:
      folder = workdir / 'cells' / key.folder
      parts[key] = do_part(_config_of(config, key), folder, cache, command, stopping=stopping)
      advance(key.folder)
  about = about_parts([*parts.values()], workdir)
  cells = [_cell(key, part) for key, part in parts.items()]
  leaderboard = make_leaderboard(cells, config.compare.draws) | {
    'compare': flatten(config.compare.to_dict()),
    'command': command,
    **about,
  }
  if hosts.first():
    write_json(workdir / 'leaderboard.json', leaderboard)
    (workdir / 'leaderboard.md').write_text(markdown(leaderboard))
    write_leaderboard(workdir, leaderboard)
  return leaderboard


def _config_of(config: ml_collections.ConfigDict, key: Key) -> ml_collections.ConfigDict:
  cell = config.copy_and_resolve_references().unlock()
  if cell.data.simulated_seed is None:
    cell.data.simulated_seed = config.seed  # one log for all seeds
  cell.protocol, cell.seed = key.protocol, key.seed
  cell.split.abnormal_train = key.abnormal_train
  cell.oversampler.name = key.oversampler
  cell.detector.repetitions = config.compare.repetitions
  cell.detector.name = key.detector
  return cell


def _cell(key: Key, part: Part) -> Cell:
  scores, train = part.scores, part.results['split']['train']
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
    leaks=tuple(part.results['leaks']),
    trained_abnormal=train['abnormal'] - train['synthetic'],
    seconds=sum(part.results['seconds'].values()),
    quality=part.results['oversampler'].get('quality'),
  )
