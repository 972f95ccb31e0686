"""The comparison: oversamplers x detectors x protocols x seeds on one log, and a leaderboard.

Each combination, a cell, is a run in a workdir of its own. Those that are finished are not run
again, so that the same command goes on where it was stopped, and a larger comparison in the same
workdir does only what is new.
"""

import itertools
import time
from pathlib import Path
from typing import NamedTuple

import ml_collections

from logjax.corpora.splits import LEAKS
from logjax.errors import LogjaxError
from logjax.evaluation.leaderboard import Cell, make_leaderboard, markdown
from logjax.evaluation.leaderboard_report import write_leaderboard
from logjax.part import Part, do_part
from logjax.results import git_commit
from logjax.settings import CHOICES, claim_workdir, resolve, write_json
from logjax.training.progress import Progress

DETECTORS = ('autoencoder_gru', 'gru')


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
    'oversamplers': CHOICES['oversampler.name'],
    'detectors': DETECTORS,
    'rival_detectors': DETECTORS,
    'protocols': ('honest', 'paper'),
  }
  for field in ('oversamplers', 'detectors', 'protocols', 'seeds'):
    if not compare[field]:
      raise LogjaxError(f'--config.compare.{field} is empty: there is nothing to compare')
  for field, names in known.items():
    for name in compare[field]:
      if name not in names:
        raise LogjaxError(f'--config.compare.{field} has {name!r}, none of {", ".join(names)}')
  if min(*compare.abnormal_train, 0, 0) < 0 or min(compare.seeds) < 0:
    raise LogjaxError('--config.compare.seeds and .abnormal_train must be at least 0')
  numbers = dict.fromkeys((0, *compare.abnormal_train))
  methods = [*itertools.product(compare.oversamplers, compare.detectors)]
  methods += [('none', name) for name in compare.rival_detectors]
  outer = itertools.product(compare.protocols, numbers, compare.seeds)
  return [Key(*key, *method) for key in outer for method in dict.fromkeys(methods)]


def run(config: ml_collections.ConfigDict, workdir: Path, cache: Path, command: str) -> dict:
  """Runs every cell that the workdir does not have yet and returns what is in leaderboard.json.

  Args:
    config: as in configs/default.py; `config.compare` says which cells.
    workdir: of the comparison.
    cache: where simulated corpora are kept.
    command: that started it.

  Raises:
    LogjaxError: for a config that decides itself what is compared, and as a run does.
  """
  wanted = keys(config.compare)
  if config.data.permute_labels or config.split.abnormal_train:
    raise LogjaxError(
      '--mode=compare sets split.abnormal_train itself, from config.compare.abnormal_train, and '
      'permutes no labels: leave both out'
    )
  claim_workdir(resolve(config)[0], workdir)
  progress, begin = Progress(), time.monotonic()
  cells, results = [], {}
  with progress.track('comparison', len(wanted)) as advance:
    for key in wanted:
      folder = workdir / 'cells' / key.folder
      part, _ = do_part(_config_of(config, key), folder, cache, command)
      cells.append(_cell(key, part))
      results = results or part.results
      advance(key.folder)
  leaderboard = make_leaderboard(cells, config.compare.draws) | {
    'seeds': list(config.compare.seeds),
    'seconds': round(time.monotonic() - begin, 1),
    'command': command,
    'git_commit': git_commit(),
    **{name: results[name] for name in ('origin', 'corpus', 'device', 'versions')},
  }
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
  if key.detector == 'gru':
    cell.detector.features = 'none'
    if key.protocol == 'paper':  # there is no autoencoder that a label could pick
      cell.leaks = ','.join(name for name in LEAKS if name != 'label_routed_encoder')
  return cell


def _cell(key: Key, part: Part) -> Cell:
  scores = part.scores
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
    rivals=scores.rivals,
    seconds=sum(part.results['seconds'].values()),
    quality=part.results['oversampler'].get('quality'),
  )
