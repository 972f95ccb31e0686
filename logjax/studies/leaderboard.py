"""The leaderboard: methods compared over seeds, test rows and texts.

Metrics are of the real test rows. If some test rows were generated, entries also have the metrics
of all test rows. Every mean has an interval over seeds and test rows, and one over seeds and texts.
All lines of one text have one score, so a burst of them is no more evidence than one line. A win or
a loss needs both intervals of a difference to exclude zero.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from logjax.evaluation.formulas import METRICS
from logjax.evaluation.intervals import over_rows_and_texts, standing
from logjax.reports.leaderboard_words import REFERENCE_OVERSAMPLERS
from logjax.studies.leaderboard_cells import (
  Cell,
  CellRows,
  Measured,
  Method,
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
    entries by falling abnormal F1. `curve` has the methods that were trained on several numbers of
    abnormal rows, with a point for each number.

  Raises:
    ValueError: two cells are the same.
    LogjaxError: cells are of different logs.
  """
  check_cells(cells)
  groups = defaultdict(list)
  for cell in cells:
    groups[cell.protocol, cell.abnormal_train].append(cell)
  tables = [_table(*key, group, draws) for key, group in groups.items()]
  return {'tables': tables, 'curve': _curve(tables)}


def _table(protocol: str, abnormal_train: int, cells: list[Cell], draws: int) -> dict[str, Any]:
  """Compares the methods of one protocol and one number of abnormal training rows."""
  methods = measure_real(cells, draws)
  everywhere = measure_all(cells, draws)
  baselines = _baselines(methods)
  strongest = baselines[0] if baselines else None
  entries = []
  for method, seeds in methods.items():
    compared = _compared(method, methods, strongest, baselines) if method.kind == 'detector' else {}
    entries.append(
      {
        **method._asdict(),
        'seeds': sorted(seeds),
        'metrics': _means(seeds),
        **({'metrics_all': _means(everywhere[method])} if method in everywhere else {}),
        'versus': {},
        'wins': [],
        'losses': [],
        'baselines': {},
        **compared,
        **_of_cells([cell for cell in cells if cell.method == method]),
      }
    )
  entries.sort(key=_rank)
  trained = np.mean([cell.trained_abnormal for cell in cells])
  return {
    'protocol': protocol,
    'leaks': sorted({leak for cell in cells for leak in cell.leaks}),
    'abnormal_train': abnormal_train,
    # A mean over seeds if the seed decides about the training rows.
    'trained_abnormal': int(trained) if trained.is_integer() else float(trained),
    **_sizes([one.rows for seeds in methods.values() for one in seeds.values()]),
    'strongest_baseline': strongest.detector if strongest else None,
    'entries': entries,
  }


def _baselines(methods: Mapping[Method, Seeds]) -> list[Method]:
  """Returns the methods without oversampling, by falling abnormal F1.

  They are the baselines of the runs, and the detectors of cells without oversampling only.
  """
  oversamplers = defaultdict(set)
  for method in methods:
    if method.kind == 'detector':
      oversamplers[method.detector].add(method.oversampler)
  plain = {name for name, used in oversamplers.items() if used == {'none'}}
  if len(oversamplers) == 1:  # a detector is not its own baseline
    plain = set()
  found = [method for method in methods if method.kind == 'baseline' or method.detector in plain]
  return sorted(found, key=lambda method: (-_mean_f1(methods[method]), method.detector))


def _compared(
  method: Method,
  methods: Mapping[Method, Seeds],
  strongest: Method | None,
  baselines: Sequence[Method],
) -> dict[str, Any]:
  """Computes a detector's differences to other methods, and its wins and losses by abnormal F1."""
  others = {name: method._replace(oversampler=name) for name in REFERENCE_OVERSAMPLERS}
  versus = {
    name: _difference(methods[method], methods[other], METRICS)
    for name, other in (others | {'baseline': strongest}).items()
    if other in methods and other != method
  }
  versus = {name: difference for name, difference in versus.items() if difference}
  against = {
    baseline.detector: _difference(methods[method], methods[baseline], _DECIDING)
    for baseline in baselines
    if baseline != method
  }
  verdicts = {name: standing(difference['abnormal_f1']) for name, difference in versus.items()}
  return {
    'versus': versus,
    'wins': [name for name, verdict in verdicts.items() if verdict == 'better'],
    'losses': [name for name, verdict in verdicts.items() if verdict == 'worse'],
    'baselines': {name: difference for name, difference in against.items() if difference},
  }


def _means(seeds: Seeds) -> dict[str, dict[str, float | None]]:
  """Returns metric -> mean with its intervals."""
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
  """Returns metric -> mean of ours minus theirs with its intervals; {} without a common seed."""
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
  """Returns a method's abnormal F1; -1 if undefined."""
  mean = np.mean([one.points['abnormal_f1'] for one in seeds.values()])
  return -1.0 if np.isnan(mean) else float(mean)


def _rank(entry: Mapping[str, Any]) -> tuple[float, str, str]:
  """Returns the sort key of an entry: falling abnormal F1, then names."""
  f1 = entry['metrics']['abnormal_f1']['mean']
  return (-f1 if f1 is not None else 1.0, entry['detector'], entry['oversampler'] or '')


def _sizes(sides: Sequence[CellRows]) -> dict[str, int]:
  """Counts test rows, texts and abnormal ones of both; means over test sets."""
  measures = {
    'test_rows': lambda rows: len(rows.origin),
    'test_texts': lambda rows: len(np.unique(rows.group)),
    'abnormal_rows': lambda rows: rows.abnormal.sum(),
    'abnormal_texts': lambda rows: rows.abnormal_texts,
  }
  sides = list({id(side): side for side in sides}.values())  # methods share their rows
  return {name: round(np.mean([size(side) for side in sides])) for name, size in measures.items()}


def _of_cells(cells: Sequence[Cell]) -> dict[str, Any]:
  """Returns leaks, mean seconds and mean quality of an entry's cells; a baseline has no cells."""
  quality = [cell.quality for cell in cells if cell.quality]
  return {
    'leaks': sorted({leak for cell in cells for leak in cell.leaks}) if cells else None,
    'seconds': math.fsum(cell.seconds for cell in cells) / len(cells) if cells else None,
    'quality': _mean_numbers(quality) if quality else None,
  }


def _mean_numbers(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
  """Returns the means of the numbers that all dicts have; other values are left out."""
  means = {}
  for key in values[0]:
    column = [value.get(key) for value in values]
    if all(isinstance(value, Mapping) for value in column):
      means[key] = _mean_numbers(column)
    elif all(isinstance(value, int | float) and math.isfinite(value) for value in column):
      means[key] = math.fsum(column) / len(column)
  return means


def _curve(tables: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
  """Returns the metrics of each method by the number of abnormal training rows, all rows last.

  A number as large as that of all rows adds no point: it is the same training set.
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
            name: {metric: difference[metric] for metric in _CURVE}
            for name, difference in entry['versus'].items()
          },
        }
      )
  names = ('protocol', 'kind', 'detector', 'oversampler')
  return [
    dict(zip(names, key, strict=True)) | {'points': of_method}
    for key, of_method in points.items()
    if len(of_method) > 1
  ]
