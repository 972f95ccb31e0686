"""The cells of a comparison, and what every method in them is worth on the same resamples.

Differences between methods are paired: the same seeds, the same rows, the same resamples, of rows
and of texts. Texts are drawn from those that any cell tests on, so that a text that several seeds
test on is drawn for all of them at once.

Shapes: N test rows, R repetitions, D draws.
"""

import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from logjax.errors import LogjaxError
from logjax.evaluation.intervals import FEWEST_TEXTS, widening
from logjax.evaluation.metrics import THRESHOLD
from logjax.evaluation.resampling import metrics_of_rows, resampled_metrics


class Method(NamedTuple):
  """What is compared: a detector with an oversampler, or a rival, which has none."""

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
    abnormal_train: how many abnormal rows it was to be trained on at most, 0 for all.
    origin: int64 [N], the line of each test row, no two alike; -1 for generated rows.
    abnormal: bool [N].
    scores: [R, N], higher is more abnormal.
    thresholds: [R].
    rivals: name -> scores [N], abnormal from `metrics.THRESHOLD` on.
    group: int64 [N], the id of each row's masked text, the same in all cells.
    leaks: of the run, names in `splits.LEAKS`.
    trained_abnormal: how many real abnormal rows it was trained on.
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
  group: np.ndarray
  leaks: tuple[str, ...]
  trained_abnormal: int
  seconds: float
  quality: Mapping[str, Any] | None

  @property
  def key(self) -> tuple[str, str, str, int, int]:
    """Which cell it is: no two of a comparison have the same."""
    return self.protocol, self.detector, self.oversampler, self.seed, self.abnormal_train

  @property
  def method(self) -> Method:
    """What it measures, beside its rivals."""
    return Method('detector', self.detector, self.oversampler)


class Rows(NamedTuple):
  """Test rows; see `Cell`."""

  origin: np.ndarray
  abnormal: np.ndarray
  group: np.ndarray

  def among(self, places: np.ndarray) -> 'Rows':
    """Those at some places, in that order."""
    return Rows(*(column[places] for column in self))

  @property
  def real(self) -> np.ndarray:
    """The places of the rows that were not generated, in the order of the log."""
    order = np.argsort(self.origin, kind='stable')
    return order[self.origin[order] >= 0]

  @property
  def abnormal_texts(self) -> int:
    """How many different texts the abnormal rows have."""
    return len(np.unique(self.group[self.abnormal]))


class Measured(NamedTuple):
  """What a method with one seed is worth.

  Attributes:
    rows: that it was tested on.
    points: metric -> value, the mean over repetitions.
    row_draws: metric -> [D], the same on resamples of the rows.
    text_draws: metric -> [D], on resamples of whole texts; NaN where too few are abnormal.
  """

  rows: Rows
  points: dict[str, float]
  row_draws: dict[str, np.ndarray]
  text_draws: dict[str, np.ndarray]


class _Scored(NamedTuple):
  """What one method with one seed says of its test rows; see `Cell`."""

  rows: Rows
  scores: np.ndarray
  thresholds: np.ndarray

  def among(self, places: np.ndarray) -> '_Scored':
    """What it says of the rows at some places, in that order."""
    return _Scored(self.rows.among(places), self.scores[:, places], self.thresholds)


Seeds = Mapping[int, Measured]
_Key = tuple[Method, int]  # and the seed


def check_cells(cells: Sequence[Cell]) -> None:
  """Refuses cells that cannot be compared.

  Raises:
    ValueError: for two cells that are the same.
    LogjaxError: for cells with the same seed whose real test rows differ where they must not: a
      line with two labels, or, with the same protocol and number, other rows or other texts.
  """
  if len({cell.key for cell in cells}) < len(cells):
    raise ValueError('two cells have the same protocol, detector, oversampler, seed and number')
  tested: dict[tuple, Rows] = {}
  labels: dict[int, np.ndarray] = {}  # of the lines of each seed's log, -1 where not seen yet
  for cell in cells:
    rows = Rows(cell.origin, cell.abnormal, cell.group)
    rows = rows.among(rows.real)
    others = tested.setdefault((cell.protocol, cell.abnormal_train, cell.seed), rows)
    size = int(rows.origin.max(initial=0)) + 1
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
  """What every method is worth on real test rows, by seed.

  Args:
    cells: of one protocol and number of abnormal training rows.
    draws: of each bootstrap.
  """
  return _measure({key: one.among(one.rows.real) for key, one in _scored(cells).items()}, draws)


def measure_all(cells: Iterable[Cell], draws: int) -> dict[Method, dict[int, Measured]]:
  """As `measure_real` on all test rows, of the methods that were tested on generated ones too."""
  mixed = {key: one for key, one in _scored(cells).items() if np.any(one.rows.origin < 0)}
  return _measure(mixed, draws)


def _scored(cells: Iterable[Cell]) -> dict[_Key, _Scored]:
  """The scores of every method with every seed.

  A rival does not depend on the oversampler, but the generated rows that it is tested on do: those
  of the cell without oversampling are taken where there is one.
  """
  scored = {}
  for cell in sorted(cells, key=lambda cell: (cell.oversampler != 'none', cell.key)):
    rows = Rows(cell.origin, cell.abnormal, cell.group)
    scored[cell.method, cell.seed] = _Scored(rows, np.atleast_2d(cell.scores), cell.thresholds)
    for name, scores in cell.rivals.items():
      of_rival = _Scored(rows, np.atleast_2d(scores), np.array([THRESHOLD]))
      scored.setdefault((Method('rival', name, None), cell.seed), of_rival)
  return scored


def _measure(scored: Mapping[_Key, _Scored], draws: int) -> dict[Method, dict[int, Measured]]:
  """Measures methods, those with equal test rows together; means over repetitions."""
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
    # Other rows get other resamples, whatever their number; texts the same ones everywhere.
    seed = zlib.crc32(np.ascontiguousarray(rows.origin).tobytes())
    of_rows = resampled_metrics(rows.abnormal, scores, thresholds, draws=draws, seed=seed)
    of_texts = _text_draws(rows, scores, thresholds, texts, points, draws)
    ends = np.cumsum([len(scored[key].scores) for key in keys])
    for (method, of_seed), end in zip(keys, ends, strict=True):
      own = slice(end - len(scored[method, of_seed].scores), end)
      measured[method][of_seed] = Measured(
        rows,
        {name: values[own].mean() for name, values in points.items()},
        {name: values[own].mean(axis=0) for name, values in of_rows.items()},
        {name: values[own].mean(axis=0) for name, values in of_texts.items()},
      )
  return dict(measured)


def _text_draws(
  rows: Rows,
  scores: np.ndarray,
  thresholds: np.ndarray,
  texts: np.ndarray,
  points: Mapping[str, np.ndarray],
  draws: int,
) -> dict[str, np.ndarray]:
  """Every metric of every method on resamples of `texts`, [M, D]; NaN with few abnormal ones.

  They are widened about the metrics of all rows, `points` [M], by what the abnormal texts, mostly
  the fewer ones, tell of how texts differ.
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
