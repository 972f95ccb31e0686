"""Who is better, and how sure that is: methods compared over seeds, test rows and texts.

Everything is measured on real test rows; where some were generated, entries have the metrics on
all test rows beside. Every mean has an interval over seeds and test rows, and one over seeds and
texts: lines of one text have one score, so that a burst of them says no more than one. A win or a
loss is what both intervals of a difference say.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from logjax.evaluation.intervals import over_rows_and_texts, standing
from logjax.evaluation.resampling import METRICS
from logjax.reports.leaderboard_words import BASELINES
from logjax.studies.leaderboard_cells import (
  Cell,
  Measured,
  Method,
  Rows,
  Seeds,
  check_cells,
  measure_all,
  measure_real,
)

__all__ = ['Cell', 'make_leaderboard']

_BOUNDS = dict.fromkeys(METRICS, (0.0, 1.0)) | {'mcc': (-1.0, 1.0)}
_CURVE = ('abnormal_f1', 'normal_f1', 'auprc')
_DECIDING = ('abnormal_f1', 'auprc')


def make_leaderboard(cells: Sequence[Cell], draws: int = 1000) -> dict[str, Any]:
  """Compares all cells of each protocol and number of abnormal training rows with each other.

  Args:
    cells: no two with the same protocol, detector, oversampler, seed and abnormal_train.
    draws: of each bootstrap, over test rows or texts and over seeds at once.

  Returns:
    A dict ready for JSON. `tables` has a table for each protocol and abnormal_train, with its
    entries by falling abnormal F1; `curve` has, for each method of a protocol that was trained on
    several numbers of abnormal rows, a point for each.

  Raises:
    ValueError: for two cells that are the same.
    LogjaxError: for cells of different logs.
  """
  check_cells(cells)
  groups = defaultdict(list)
  for cell in cells:
    groups[cell.protocol, cell.abnormal_train].append(cell)
  tables = [_table(*key, group, draws) for key, group in groups.items()]
  return {'tables': tables, 'curve': _curve(tables)}


def _table(protocol: str, abnormal_train: int, cells: list[Cell], draws: int) -> dict[str, Any]:
  """All methods that were run with one protocol and one number of abnormal training rows."""
  methods = measure_real(cells, draws)
  everywhere = measure_all(cells, draws)
  rivals = _rivals(methods)
  strongest = rivals[0] if rivals else None
  entries = []
  for method, seeds in methods.items():
    compared = _compared(method, methods, strongest, rivals) if method.kind == 'detector' else {}
    entries.append(
      {
        **method._asdict(),
        'seeds': sorted(seeds),
        'metrics': _means(seeds),
        **({'metrics_all': _means(everywhere[method])} if method in everywhere else {}),
        'versus': {},
        'wins': [],
        'losses': [],
        'rivals': {},
        **compared,
        **_of_cells([cell for cell in cells if cell.method == method]),
      }
    )
  entries.sort(key=_place)
  trained = np.mean([cell.trained_abnormal for cell in cells])
  return {
    'protocol': protocol,
    'leaks': sorted({leak for cell in cells for leak in cell.leaks}),
    'abnormal_train': abnormal_train,
    # Where seeds decide which rows train and test, means over them.
    'trained_abnormal': int(trained) if trained.is_integer() else float(trained),
    **_size([one.rows for seeds in methods.values() for one in seeds.values()]),
    'strongest_rival': strongest.detector if strongest else None,
    'entries': entries,
  }


def _rivals(methods: Mapping[Method, Seeds]) -> list[Method]:
  """What every detector is to beat, by falling abnormal F1: whatever needs no oversampling.

  These are the simple rivals, and a detector that was run without oversampling alone.
  """
  oversamplers = defaultdict(set)
  for method in methods:
    if method.kind == 'detector':
      oversamplers[method.detector].add(method.oversampler)
  plain = {name for name, used in oversamplers.items() if used == {'none'}}
  if len(oversamplers) == 1:  # nothing is its own rival
    plain = set()
  rivals = [method for method in methods if method.kind == 'rival' or method.detector in plain]
  return sorted(rivals, key=lambda rival: (-_mean_f1(methods[rival]), rival.detector))


def _compared(
  method: Method,
  methods: Mapping[Method, Seeds],
  strongest: Method | None,
  rivals: Sequence[Method],
) -> dict[str, Any]:
  """A detector's differences to others, and what they say by abnormal F1."""
  others = {name: method._replace(oversampler=name) for name in BASELINES} | {'rival': strongest}
  versus = {
    name: _difference(methods[method], methods[other], METRICS)
    for name, other in others.items()
    if other in methods and other != method
  }
  versus = {name: told for name, told in versus.items() if told}
  against = {
    rival.detector: _difference(methods[method], methods[rival], _DECIDING)
    for rival in rivals
    if rival != method
  }
  stands = {name: standing(told['abnormal_f1']) for name, told in versus.items()}
  return {
    'versus': versus,
    'wins': [name for name, told in stands.items() if told == 'better'],
    'losses': [name for name, told in stands.items() if told == 'worse'],
    'rivals': {name: told for name, told in against.items() if told},
  }


def _means(seeds: Seeds) -> dict[str, dict[str, float | None]]:
  """Metric -> mean with its intervals."""
  ordered = [seeds[seed] for seed in sorted(seeds)]
  return {
    name: over_rows_and_texts(
      np.array([one.points[name] for one in ordered]),
      np.stack([one.row_draws[name] for one in ordered]),
      np.stack([one.text_draws[name] for one in ordered]),
      bounds=_BOUNDS[name],
    )
    for name in METRICS
  }


def _difference(
  ours: Seeds, theirs: Seeds, metrics: Iterable[str]
) -> dict[str, dict[str, float | None]]:
  """Metric -> mean of ours minus theirs with its intervals, {} where no seed is in both."""
  pairs: list[tuple[Measured, Measured]] = [
    (ours[seed], theirs[seed]) for seed in sorted(ours.keys() & theirs.keys())
  ]
  if not pairs:
    return {}
  return {
    name: over_rows_and_texts(
      np.array([one.points[name] - other.points[name] for one, other in pairs]),
      np.stack([one.row_draws[name] - other.row_draws[name] for one, other in pairs]),
      np.stack([one.text_draws[name] - other.text_draws[name] for one, other in pairs]),
    )
    for name in metrics
  }


def _mean_f1(seeds: Seeds) -> float:
  """A method's abnormal F1; -1 where undefined."""
  mean = np.mean([one.points['abnormal_f1'] for one in seeds.values()])
  return -1.0 if np.isnan(mean) else float(mean)


def _place(entry: Mapping[str, Any]) -> tuple[float, str, str]:
  """What entries are ordered by: falling abnormal F1, then their names."""
  f1 = entry['metrics']['abnormal_f1']['mean']
  return (-f1 if f1 is not None else 1.0, entry['detector'], entry['oversampler'] or '')


def _size(sides: Sequence[Rows]) -> dict[str, int]:
  """How many rows and texts test, and how many of them are abnormal, means over test sets."""
  measures = {
    'test_rows': lambda rows: len(rows.origin),
    'test_texts': lambda rows: len(np.unique(rows.group)),
    'abnormal_rows': lambda rows: rows.abnormal.sum(),
    'abnormal_texts': lambda rows: rows.abnormal_texts,
  }
  sides = list({id(side): side for side in sides}.values())  # methods share theirs
  return {name: round(np.mean([size(side) for side in sides])) for name, size in measures.items()}


def _of_cells(cells: Sequence[Cell]) -> dict[str, Any]:
  """What an entry says of its cells: leaks, mean seconds and quality; a rival has none."""
  quality = [cell.quality for cell in cells if cell.quality]
  return {
    'leaks': sorted({leak for cell in cells for leak in cell.leaks}) if cells else None,
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
  """What each method gives by how many abnormal rows trained, all of them last.

  A number that is not below all there are is no point of its own.
  """
  everything = {
    table['protocol']: table['trained_abnormal'] for table in tables if not table['abnormal_train']
  }
  points = defaultdict(list)
  for table in sorted(tables, key=lambda table: table['abnormal_train'] or math.inf):
    if table['abnormal_train'] and table['trained_abnormal'] == everything.get(table['protocol']):
      continue
    for entry in table['entries']:
      key = table['protocol'], entry['kind'], entry['detector'], entry['oversampler']
      points[key].append(
        {
          'abnormal_train': table['abnormal_train'],
          'trained_abnormal': table['trained_abnormal'],
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
