"""Logistic regression on TF-IDF features of a line's words and pairs of words.

Usually the strongest baseline on lines. U distinct lines, F terms.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
import polars as pl
from scipy import sparse, special

from logjax.evaluation.thresholds import choose_threshold
from logjax.examples.lines import Encoder, text_counts
from logjax.examples.terms import Terms, features, fit_labelled
from logjax.examples.types import Data, Examples, Reason
from logjax.files import load_arrays, read_json, save_arrays, write_json
from logjax.rules import Rule, above
from logjax.training.runtime import Runtime

KIND, NEEDS, SCORES = 'lines', 'labels', 'distinct'
TITLE = 'TF-IDF, logistic regression'
RULES: dict[str, Rule] = {'detector.tfidf_lr.c': above(0, optional=True)}

_GRID = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
_DEFAULT_C = 1.0  # scikit-learn's
_REASONS = 3


class Detector(NamedTuple):
  """A fitted regression.

  Attributes:
    terms: of the training lines.
    coefficients: weight of each term, float64 [F].
    intercept: of the logit.
    c: inverse strength of the L2 penalty.
    thresholds: one.
    history: empty; nothing is trained in epochs.
  """

  terms: Terms
  coefficients: np.ndarray
  intercept: float
  c: float
  thresholds: tuple[float, ...]
  history: tuple[dict[str, float], ...] = ({},)


def fit(
  config: ml_collections.ConfigDict, data: Data, *, key: jax.Array, runtime: Runtime
) -> Detector:
  """Fits the regression; the penalty is chosen by average precision on the validation lines.

  The fit is on the distinct pairs of text and label, weighted by their numbers of rows: it equals a
  fit on all rows. Both classes weigh the same.

  Args:
    config: of the run, resolved.
    data: examples and their split.
    key: not used; nothing here is random.
    runtime: not used.

  Raises:
    LogjaxError: as `fit_labelled` does.
  """
  del key, runtime
  # Not at the top: scoring with a saved detector needs no scikit-learn.
  from sklearn.linear_model import LogisticRegression
  from sklearn.metrics import average_precision_score

  examples, (train, valid, _) = data.examples, data.split
  known = fit_labelled(text_counts(examples, train), 'TF-IDF with logistic regression')
  valid_abnormal = examples.abnormal[valid]
  both = valid_abnormal.any() and not valid_abnormal.all()
  grid = [config.detector.tfidf_lr.c] if config.detector.tfidf_lr.c else list(_GRID)
  grid = grid if both or len(grid) == 1 else [_DEFAULT_C]
  lines, place = np.unique(examples.index[valid], return_inverse=True)
  table = _features(known.terms, examples.distinct.masked[lines])
  best, best_precision = None, -1.0
  for c in grid:
    model = LogisticRegression(C=c, class_weight='balanced', max_iter=10_000)
    model.fit(known.features, known.abnormal, sample_weight=known.rows.astype(np.float64))
    detector = Detector(known.terms, model.coef_[0], float(model.intercept_[0]), c, ())
    precision = 0.0
    if both:
      scores = _probability(detector, table)[place]
      precision = average_precision_score(valid_abnormal, scores)
    # C rises along the grid, so of equally good penalties the strongest is chosen.
    if precision > best_precision:
      best, best_precision = detector, precision
  scores = _probability(best, table)[place]
  threshold = choose_threshold(config.detector.threshold, valid_abnormal, scores)
  return best._replace(thresholds=(threshold,))


def score(
  config: ml_collections.ConfigDict, detector: Detector, examples: Examples, *, key: jax.Array
) -> np.ndarray:
  """Returns the probability of being abnormal of each distinct line, float64 [1, U]."""
  del config, key
  return _probability(detector, _features(detector.terms, examples.distinct.masked))[None]


def _features(terms: Terms, masked: np.ndarray) -> sparse.csr_array:
  """Returns the TF-IDF features of masked texts [U], [U, F]."""
  return features(terms, pl.Series(masked, dtype=pl.String))


def _probability(detector: Detector, table: sparse.csr_array) -> np.ndarray:
  """Returns the probability of being abnormal from features [U, F], float64 [U]."""
  return special.expit(table @ detector.coefficients + detector.intercept)


def explain(
  config: ml_collections.ConfigDict,
  detector: Detector,
  encoder: Encoder,
  examples: Examples,
  index: np.ndarray,
) -> list[list[Reason]]:
  """Names the terms with the largest part in the logit, for the distinct lines `index`."""
  del config, encoder
  table = _features(detector.terms, examples.distinct.masked[index])
  weighted = table.multiply(detector.coefficients).tocsr()
  reasons = []
  for row in range(len(index)):
    begin, end = weighted.indptr[row : row + 2]  # the entries of this row of the sparse matrix
    columns, values = weighted.indices[begin:end], weighted.data[begin:end]
    order = np.argsort(-values, kind='stable')[:_REASONS]
    found = [
      Reason('term', detector.terms.terms[columns[i]], (), float(values[i]))
      for i in order
      if values[i] > 0
    ]
    reasons.append(found)
  return reasons


def save(folder: Path, detector: Detector) -> None:
  """Writes the coefficients as arrays, the terms and the threshold as JSON."""
  folder.mkdir(parents=True, exist_ok=True)
  save_arrays(
    folder / 'coefficients.npz', idf=detector.terms.idf, coefficients=detector.coefficients
  )
  about = {
    'terms': detector.terms.terms,
    'intercept': detector.intercept,
    'c': detector.c,
    'thresholds': detector.thresholds,
  }
  write_json(folder / 'fitted.json', about)


def restore(config: ml_collections.ConfigDict, folder: Path) -> Detector:
  """Reads a detector written by `save`."""
  del config
  arrays = load_arrays(folder / 'coefficients.npz', ('idf', 'coefficients'))
  about = read_json(folder / 'fitted.json', dict, f'delete {folder} and train again')
  return Detector(
    Terms(tuple(about['terms']), arrays['idf']),
    arrays['coefficients'],
    about['intercept'],
    about['c'],
    tuple(about['thresholds']),
  )
