"""The cells of a comparison, and the metrics of every method on the same resamples.

Differences between methods are paired: they use the same seeds, rows and resamples, of rows and of
texts. The resamples of texts are drawn from the texts of all cells. If several seeds test on one
text, it is drawn for all of them at once.

Shapes: N test rows, R repetitions, D draws.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from logjax.errors import LogjaxError
from logjax.evaluation.bootstrap import resampled_metrics
from logjax.evaluation.formulas import metrics_of_rows
from logjax.evaluation.intervals import FEWEST_TEXTS, widening


class Method(NamedTuple):
  """A method: a detector with an oversampler (`kind` detector), or a baseline, without one."""

  kind: str
  detector: str
  oversampler: str | None


class Cell(NamedTuple):
  """One run of a comparison.

  Attributes:
    protocol: its name.
    detector: its name.
    oversampler: its name.
    seed: of the run.
    abnormal_train: the greatest number of abnormal training rows, 0 for all.
    origin: int64 [N], the line of each test row, all different; -1 for generated rows.
    abnormal: bool [N].
    scores: [R, N], higher is more abnormal.
    thresholds: [R].
    baselines: name -> scores [N].
    baseline_thresholds: name -> threshold of those scores.
    group: int64 [N], the id of each row's masked text, the same in all cells.
    leaks: of the run, names in `protocol.LEAKS`.
    trained_abnormal: the number of real abnormal training rows.
    seconds: the duration of the run.
    quality: of the generated rows, numbers by name; None without generated rows.
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
  baselines: Mapping[str, np.ndarray]
  baseline_thresholds: Mapping[str, float]
  group: np.ndarray
  leaks: tuple[str, ...]
  trained_abnormal: int
  seconds: float
  quality: Mapping[str, Any] | None

  @property
  def key(self) -> tuple[str, str, str, int, int]:
    """The identity of the cell, unique in a comparison."""
    return self.protocol, self.detector, self.oversampler, self.seed, self.abnormal_train

  @property
  def method(self) -> Method:
    """The method that the cell measures, next to its baselines."""
    return Method('detector', self.detector, self.oversampler)


class CellRows(NamedTuple):
  """The test rows of a cell; see `Cell`."""

  origin: np.ndarray
  abnormal: np.ndarray
  group: np.ndarray

  def among(self, places: np.ndarray) -> 'CellRows':
    """Selects the rows at some places, in that order."""
    return CellRows(*(column[places] for column in self))

  @property
  def real(self) -> np.ndarray:
    """The places of the real rows, in the order of the log."""
    order = np.argsort(self.origin, kind='stable')
    return order[self.origin[order] >= 0]

  @property
  def abnormal_texts(self) -> int:
    """The number of different texts of abnormal rows."""
    return len(np.unique(self.group[self.abnormal]))


class Measured(NamedTuple):
  """The metrics of a method with one seed.

  Attributes:
    rows: the test rows.
    points: metric -> value, the mean over repetitions.
    row_draws: metric -> [D], on resamples of the rows.
    text_draws: metric -> [D], on resamples of whole texts; NaN if too few texts are abnormal.
  """

  rows: CellRows
  points: dict[str, float]
  row_draws: dict[str, np.ndarray]
  text_draws: dict[str, np.ndarray]


class _Scored(NamedTuple):
  """The scores of one method with one seed; see `Cell`."""

  rows: CellRows
  scores: np.ndarray
  thresholds: np.ndarray

  def among(self, places: np.ndarray) -> '_Scored':
    """Selects the rows at some places, in that order."""
    return _Scored(self.rows.among(places), self.scores[:, places], self.thresholds)


Seeds = Mapping[int, Measured]
_Key = tuple[Method, int]  # and the seed


def check_cells(cells: Sequence[Cell]) -> None:
  """Refuses cells that cannot be compared.

  Raises:
    ValueError: two cells are the same.
    LogjaxError: cells with the same seed are of different logs: a line has two labels, or cells
      with the same protocol and number of abnormal training rows test on different rows or texts.
  """
  if len({cell.key for cell in cells}) < len(cells):
    raise ValueError('two cells have the same protocol, detector, oversampler, seed and number')
  tested: dict[tuple, CellRows] = {}
  labels: dict[int, np.ndarray] = {}  # seed -> labels of the log's lines, -1 if unknown so far
  for cell in cells:
    rows = CellRows(cell.origin, cell.abnormal, cell.group)
    rows = rows.among(rows.real)
    others = tested.setdefault((cell.protocol, cell.abnormal_train, cell.seed), rows)
    size = int(rows.origin.max(initial=0)) + 1
    # Lines are found by number: the array grows to the highest one so far.
    known = labels.get(cell.seed, np.zeros(0, np.int8))
    known = np.append(known, np.full(max(0, size - len(known)), -1, np.int8))
    before = known[rows.origin]
    same = all(np.array_equal(*columns) for columns in zip(rows, others, strict=True))
    if not same or np.any((before >= 0) & (before != rows.abnormal)):
      raise LogjaxError(
        f'these cells are of different logs: the test rows of {cell.detector} with '
        f'{cell.oversampler}, seed {cell.seed}, {cell.protocol} protocol, are not those of the '
        'others; compare in a new workdir'
      )
    known[rows.origin] = rows.abnormal
    labels[cell.seed] = known


def measure_real(cells: Iterable[Cell], draws: int) -> dict[Method, dict[int, Measured]]:
  """Measures every method on real test rows, by seed.

  Args:
    cells: of one protocol and number of abnormal training rows.
    draws: of each bootstrap.
  """
  return _measure({key: one.among(one.rows.real) for key, one in _scored(cells).items()}, draws)


def measure_all(cells: Iterable[Cell], draws: int) -> dict[Method, dict[int, Measured]]:
  """Measures methods on all test rows, by seed; only those with generated rows in their test."""
  mixed = {key: one for key, one in _scored(cells).items() if np.any(one.rows.origin < 0)}
  return _measure(mixed, draws)


def _scored(cells: Iterable[Cell]) -> dict[_Key, _Scored]:
  """Collects the scores of every method with every seed.

  A baseline does not depend on the oversampler, but the generated rows in its test set do: the cell
  without oversampling is preferred.
  """
  scored = {}
  for cell in sorted(cells, key=lambda cell: (cell.oversampler != 'none', cell.key)):
    rows = CellRows(cell.origin, cell.abnormal, cell.group)
    scored[cell.method, cell.seed] = _Scored(rows, np.atleast_2d(cell.scores), cell.thresholds)
    for name, scores in cell.baselines.items():
      baseline = _Scored(rows, np.atleast_2d(scores), np.array([cell.baseline_thresholds[name]]))
      scored.setdefault((Method('baseline', name, None), cell.seed), baseline)
  return scored


def _measure(scored: Mapping[_Key, _Scored], draws: int) -> dict[Method, dict[int, Measured]]:
  """Measures methods, those with equal test rows together; values are means over repetitions."""
  together: dict[bytes, list[_Key]] = defaultdict(list)
  for key, value in scored.items():
    together[b''.join(np.ascontiguousarray(column).tobytes() for column in value.rows)].append(key)
  sets = [scored[keys[0]].rows for keys in together.values()]
  texts = np.unique(np.concatenate([rows.group for rows in sets])) if sets else np.zeros(0)
  measured: dict[Method, dict[int, Measured]] = defaultdict(dict)
  for rows, keys in zip(sets, together.values(), strict=True):
    scores = np.concatenate([scored[key].scores for key in keys])
    thresholds = np.concatenate([scored[key].thresholds for key in keys])
    points = metrics_of_rows(rows.abnormal, scores, thresholds)
    # The rows themselves are the seed of their resamples; texts have the same resamples everywhere.
    seed = zlib.crc32(np.ascontiguousarray(rows.origin).tobytes())
    of_rows = resampled_metrics(rows.abnormal, scores, thresholds, draws=draws, seed=seed)
    of_texts = _text_draws(rows, scores, thresholds, texts, points, draws)
    # The repetitions of all methods were concatenated: each method owns a slice of the M rows.
    ends = np.cumsum([len(scored[key].scores) for key in keys])
    for (method, of_seed), end in zip(keys, ends, strict=True):
      of_method = slice(end - len(scored[method, of_seed].scores), end)
      measured[method][of_seed] = Measured(
        rows,
        {name: values[of_method].mean() for name, values in points.items()},
        {name: values[of_method].mean(axis=0) for name, values in of_rows.items()},
        {name: values[of_method].mean(axis=0) for name, values in of_texts.items()},
      )
  return dict(measured)


def _text_draws(
  rows: CellRows,
  scores: np.ndarray,
  thresholds: np.ndarray,
  texts: np.ndarray,
  points: Mapping[str, np.ndarray],
  draws: int,
) -> dict[str, np.ndarray]:
  """Computes every metric of every method on resamples of `texts`, [M, D].

  Draws are widened about the metrics of all rows, `points` [M], for the number of abnormal texts:
  mostly there are fewer of them than of normal ones. With too few, all draws are NaN.
  """
  if rows.abnormal_texts < FEWEST_TEXTS:
    return {name: np.full((len(scores), draws), np.nan) for name in points}
  drawn = resampled_metrics(
    rows.abnormal,
    scores,
    thresholds,
    draws=draws,
    seed=0,
    group=np.searchsorted(texts, rows.group),
    groups=len(texts),
  )
  factor = widening(rows.abnormal_texts)
  return {
    name: value[:, None] + factor * (drawn[name] - value[:, None]) for name, value in points.items()
  }
