"""Who is better, and how sure that is: methods compared over seeds and test rows.

Everything is measured on real test rows; where some were generated, entries have the metrics on
all test rows beside. Differences are paired: the same seeds, the same rows, the same resamples.

Shapes: N test rows, R repetitions, D draws.
"""

import math
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from logjax.detectors.baselines import THRESHOLD
from logjax.evaluation.intervals import over_seeds
from logjax.evaluation.leaderboard_words import BASELINES, markdown_table
from logjax.evaluation.resampling import METRICS, metrics_of_rows, resampled_metrics

_BOUNDS = dict.fromkeys(METRICS, (0.0, 1.0)) | {'mcc': (-1.0, 1.0)}
_CURVE = ('abnormal_f1', 'auprc')


class Cell(NamedTuple):
  """One run of a comparison.

  Attributes:
    protocol: its name.
    detector: its name.
    oversampler: its name.
    seed: of the run.
    abnormal_train: how many abnormal rows it was trained on, 0 for all.
    origin: int64 [N], the line of each test row, no two alike; -1 for generated rows.
    abnormal: bool [N].
    scores: [R, N], higher is more abnormal.
    thresholds: [R].
    rivals: name -> scores [N], abnormal from `baselines.THRESHOLD` on.
    seconds: it took.
    quality: of the generated rows, numbers by name; None without any.
  """

  protocol: str
  detector: str
  oversampler: str
  seed: int
  abnormal_train: int
  origin: np.ndarray
  abnormal: np.ndarray
  scores: np.ndarray
  thresholds: np.ndarray
  rivals: Mapping[str, np.ndarray]
  seconds: float
  quality: Mapping[str, Any] | None


class _Method(NamedTuple):
  """What is compared: a detector with an oversampler, or a rival, which has none."""

  kind: str
  detector: str
  oversampler: str | None


class _Scored(NamedTuple):
  """What one method with one seed says of its test rows; see `Cell`."""

  origin: np.ndarray
  abnormal: np.ndarray
  scores: np.ndarray
  thresholds: np.ndarray

  def among(self, rows: np.ndarray) -> '_Scored':
    """Those of some rows, given by their place, in that order."""
    return _Scored(self.origin[rows], self.abnormal[rows], self.scores[:, rows], self.thresholds)


class _Measured(NamedTuple):
  """A method's scores with what they are worth: metric -> value, and metric -> [D]."""

  scored: _Scored
  points: dict[str, float]
  draws: dict[str, np.ndarray]


_Key = tuple[_Method, int]  # and the seed
_Seeds = Mapping[int, _Measured]


def make_leaderboard(cells: Sequence[Cell], draws: int = 1000) -> dict[str, Any]:
  """Compares all cells of each protocol and number of abnormal training rows with each other.

  Args:
    cells: no two with the same protocol, detector, oversampler, seed and abnormal_train.
    draws: of the bootstrap, over test rows and over seeds at once.

  Returns:
    A dict ready for JSON. `tables` has a table for each protocol and abnormal_train, with its
    entries by falling abnormal F1; `curve` has, for each method of a protocol that was run with
    several numbers of abnormal training rows, a point for each.

  Raises:
    ValueError: for two cells that are the same.
  """
  names = [cell[:5] for cell in cells]
  if len(set(names)) < len(names):
    raise ValueError('two cells have the same protocol, detector, oversampler, seed and number')
  groups = defaultdict(list)
  for cell in cells:
    groups[cell.protocol, cell.abnormal_train].append(cell)
  tables = [_table(*key, group, draws) for key, group in groups.items()]
  return {'tables': tables, 'curve': _curve(tables)}


def markdown(leaderboard: Mapping[str, Any]) -> str:
  """The tables of a leaderboard in Markdown, each with its verdict in words.

  Args:
    leaderboard: of `make_leaderboard`.
  """
  return '\n\n'.join(markdown_table(table) for table in leaderboard['tables']) + '\n'


def _table(protocol: str, abnormal_train: int, cells: list[Cell], draws: int) -> dict[str, Any]:
  """All methods that were run with one protocol and one number of abnormal training rows."""
  scored = _scored(cells)
  methods = _measure({key: value.among(_real(value)) for key, value in scored.items()}, draws)
  # Beside them on all test rows, where some are generated.
  everywhere = _measure({k: v for k, v in scored.items() if len(_real(v)) < len(v.origin)}, draws)
  rivals = [method for method in methods if method.kind == 'rival']
  strongest = max(rivals, key=lambda rival: _mean_f1(methods[rival]), default=None)
  entries = []
  for method, seeds in methods.items():
    others = {'rival': strongest}
    others |= {name: method._replace(oversampler=name) for name in BASELINES}
    differences = {
      name: _difference(seeds, methods[other], draws)
      for name, other in others.items()
      if method.kind == 'detector' and other in methods and other != method
    }
    entries.append(
      {
        **method._asdict(),
        'seeds': sorted(seeds),
        'metrics': _means(seeds),
        **({'metrics_all': _means(everywhere[method])} if method in everywhere else {}),
        **_versus(differences),
        **_of_cells([cell for cell in cells if cell[1:3] == method[1:]]),
      }
    )
  entries.sort(key=lambda entry: -(entry['metrics']['abnormal_f1']['mean'] or 0))
  sides = [one.scored.abnormal for seeds in methods.values() for one in seeds.values()]
  return {
    'protocol': protocol,
    'abnormal_train': abnormal_train,
    # Where seeds or oversamplers decide which rows test, the mean over them.
    'test_rows': round(np.mean([len(side) for side in sides])),
    'abnormal_rows': round(np.mean([side.sum() for side in sides])),
    'strongest_rival': strongest.detector if strongest else None,
    'entries': entries,
  }


def _scored(cells: Iterable[Cell]) -> dict[_Key, _Scored]:
  """The scores of every method with every seed.

  A rival does not depend on the oversampler, but where generated rows take the place of real ones
  in the test set its test rows do: those of the cell without oversampling are taken.
  """
  scored = {}
  for cell in sorted(cells, key=lambda cell: cell.oversampler != 'none'):
    rows = cell.origin, cell.abnormal
    method = _Method('detector', cell.detector, cell.oversampler)
    scored[method, cell.seed] = _Scored(*rows, np.atleast_2d(cell.scores), cell.thresholds)
    for name, scores in cell.rivals.items():
      of_rival = _Scored(*rows, np.atleast_2d(scores), np.array([THRESHOLD]))
      scored.setdefault((_Method('rival', name, None), cell.seed), of_rival)
  return scored


def _real(scored: _Scored) -> np.ndarray:
  """The places of the rows that were not generated, in the order of the log."""
  order = np.argsort(scored.origin, kind='stable')
  return order[scored.origin[order] >= 0]


def _measure(scored: Mapping[_Key, _Scored], draws: int) -> dict[_Method, dict[int, _Measured]]:
  """Measures methods, those with equal test rows on the same resamples; means over repetitions."""
  groups: dict[bytes, list[_Key]] = defaultdict(list)
  for key, value in scored.items():
    groups[value.origin.tobytes()].append(key)
  measured: dict[_Method, dict[int, _Measured]] = defaultdict(dict)
  for rows, keys in groups.items():
    scores = np.concatenate([scored[key].scores for key in keys])
    thresholds = np.concatenate([scored[key].thresholds for key in keys])
    abnormal = scored[keys[0]].abnormal
    points = metrics_of_rows(abnormal, scores, thresholds)
    # Other rows get other resamples, whatever their number.
    seed = zlib.crc32(rows)
    resampled = resampled_metrics(abnormal, scores, thresholds, draws=draws, seed=seed)
    ends = np.cumsum([len(scored[key].scores) for key in keys])
    for (method, of_seed), end in zip(keys, ends, strict=True):
      own = slice(end - len(scored[method, of_seed].scores), end)
      measured[method][of_seed] = _Measured(
        scored[method, of_seed],
        {name: values[own].mean() for name, values in points.items()},
        {name: values[own].mean(axis=0) for name, values in resampled.items()},
      )
  return dict(measured)


def _means(seeds: _Seeds) -> dict[str, dict[str, float | None]]:
  """Metric -> mean, low and high over seeds and test rows."""
  ordered = [seeds[seed] for seed in sorted(seeds)]
  return {
    name: over_seeds(
      np.array([one.points[name] for one in ordered]),
      np.stack([one.draws[name] for one in ordered]),
      bounds=_BOUNDS[name],
    )
    for name in METRICS
  }


def _difference(ours: _Seeds, theirs: _Seeds, draws: int) -> dict[str, dict[str, float | None]]:
  """Metric -> mean, low and high of ours minus theirs, {} where no seed and row is in both."""
  pairs = []
  for seed in sorted(ours.keys() & theirs.keys()):
    pair = ours[seed], theirs[seed]
    if not np.array_equal(pair[0].scored.origin, pair[1].scored.origin):
      pair = _on_common_rows(*pair, draws)
    if len(pair[0].scored.origin):
      pairs.append(pair)
  if not pairs:
    return {}
  return {
    name: over_seeds(
      np.array([one.points[name] - other.points[name] for one, other in pairs]),
      np.stack([one.draws[name] - other.draws[name] for one, other in pairs]),
    )
    for name in METRICS
  }


def _versus(differences: Mapping[str, dict[str, Any]]) -> dict[str, Any]:
  """Differences to others, and from which of them the interval of abnormal F1 excludes zero."""
  versus = {name: told for name, told in differences.items() if told}
  f1 = {name: told['abnormal_f1'] for name, told in versus.items()}
  decided = {name: told for name, told in f1.items() if told['low'] is not None}
  return {
    'versus': versus,
    'wins': [name for name, told in decided.items() if told['low'] > 0],
    'losses': [name for name, told in decided.items() if told['high'] < 0],
  }


def _on_common_rows(one: _Measured, other: _Measured, draws: int) -> tuple[_Measured, _Measured]:
  """Both on the real rows that are in the test sets of both."""
  origins = one.scored.origin, other.scored.origin
  _, *places = np.intersect1d(*origins, assume_unique=True, return_indices=True)
  names = _Method('detector', 'one', None), _Method('detector', 'other', None)
  scored = [m.scored.among(rows) for m, rows in zip((one, other), places, strict=True)]
  measured = _measure({(name, 0): value for name, value in zip(names, scored, strict=True)}, draws)
  return measured[names[0]][0], measured[names[1]][0]


def _mean_f1(seeds: _Seeds) -> float:
  """A method's abnormal F1; -1 where undefined."""
  mean = np.mean([one.points['abnormal_f1'] for one in seeds.values()])
  return -1.0 if np.isnan(mean) else float(mean)


def _of_cells(cells: Sequence[Cell]) -> dict[str, Any]:
  """What an entry says of its cells: mean seconds and quality; a rival has none."""
  quality = [cell.quality for cell in cells if cell.quality]
  return {
    'seconds': math.fsum(cell.seconds for cell in cells) / len(cells) if cells else None,
    'quality': _mean_numbers(quality) if quality else None,
  }


def _mean_numbers(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """The mean of every number that all have; what is no number is left out."""
  means = {}
  for key in values[0]:
    column = [value.get(key) for value in values]
    if all(isinstance(value, Mapping) for value in column):
      means[key] = _mean_numbers(column)
    elif all(isinstance(value, int | float) and math.isfinite(value) for value in column):
      means[key] = math.fsum(column) / len(column)
  return means


def _curve(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """What each method gives by the number of abnormal training rows, all of them last."""
  points = defaultdict(list)
  for table in sorted(tables, key=lambda table: table['abnormal_train'] or math.inf):
    for entry in table['entries']:
      key = table['protocol'], entry['kind'], entry['detector'], entry['oversampler']
      points[key].append(
        {
          'abnormal_train': table['abnormal_train'],
          'metrics': {name: entry['metrics'][name] for name in _CURVE},
          'versus': {
            name: {metric: told[metric] for metric in _CURVE}
            for name, told in entry['versus'].items()
          },
        }
      )
  names = ('protocol', 'kind', 'detector', 'oversampler')
  return [
    dict(zip(names, key, strict=True)) | {'points': of_method}
    for key, of_method in points.items()
    if len(of_method) > 1
  ]
