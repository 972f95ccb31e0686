"""Quality of generated rows without a detector: new, varied, and like real held-out rows.

Shapes: G generated rows, n training rows, m held-out rows, N rows of any kind, D draws, T tokens a
row, padded with 0 at the end.
"""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold
from sklearn.preprocessing import normalize

from logjax.evaluation.diversity import self_bleu
from logjax.evaluation.formulas import rank, ranked_areas, ratio
from logjax.examples.text import PAD

# Self-BLEU rises with the number of rows that are compared: this many, or all of fewer.
_BLEU_ROWS = 1_000
_BLEU_ORDER = 4
_MOST_ROWS = 2_000  # of either kind in the two-sample test
_FEWEST_ROWS = 10
_FOLDS = 5
_DRAWS = 1_000  # resamples behind the interval


def quality(made: np.ndarray, train: np.ndarray, held_out: np.ndarray, seed: int) -> dict[str, Any]:
  """Measures generated rows.

  Args:
    made: generated rows, int [G, T].
    train: the real rows that they were made from, int [n, T].
    held_out: other real rows of their class, int [m, T].
    seed: of the choice of rows, the folds and the resamples.

  Returns:
    `distinct_share`: distinct rows as a share of all. `novel_share`: the share of rows that equal
    no training row. `self_bleu`: mean self-BLEU-4 of 1,000 rows drawn at random, None for fewer
    than two rows. `two_sample`: the result of that function. Without generated rows all but
    `two_sample` are None.
  """
  measured: dict[str, Any] = dict.fromkeys(('distinct_share', 'novel_share', 'self_bleu'))
  measured['two_sample'] = two_sample(made, held_out, seed)
  if not len(made):
    return measured
  ids = _row_ids(made, train)
  measured['distinct_share'] = len(np.unique(ids[: len(made)])) / len(made)
  measured['novel_share'] = float(np.mean(~np.isin(ids[: len(made)], ids[len(made) :])))
  lengths = _lengths(made)
  written, lengths = made[lengths > 0], lengths[lengths > 0]
  if len(written) > 1:
    some = np.random.default_rng(seed).permutation(len(written))[:_BLEU_ROWS]
    measured['self_bleu'] = float(self_bleu(written[some], _BLEU_ORDER, lengths[some]).mean())
  return measured


def two_sample(made: np.ndarray, held_out: np.ndarray, seed: int) -> dict[str, Any]:
  """Measures how well a classifier separates generated rows from real held-out rows.

  Lopez-Paz and Oquab, Revisiting Classifier Two-Sample Tests, 2017, with the area under the ROC
  curve in place of the accuracy: 0.5 for two samples of one distribution, 1 for a perfect
  separation. The classifier is a logistic regression on the counts of tokens and of pairs of
  neighbouring tokens. Both kinds have equally many rows, at most 2,000, in five folds of a
  cross-validation. Equal rows are in the same fold, so that memorised rows do not count. Only rows
  of the same fold are compared with each other.

  Held-out rows of a later time differ from the training rows, and so from copies of them: the
  reference is then the value of an oversampler that repeats rows, and not 0.5.

  Args:
    made: generated rows, int [G, T].
    held_out: real rows, int [m, T].
    seed: of all random choices.

  Returns:
    `auroc`; its `interval`, of 95 % by the bootstrap over distinct rows, for the given classifiers;
    `rows`, the number of either kind; `grouped`, False if too few rows are distinct to keep equal
    ones in one fold. With too few rows all but `rows` are None, and `why` says so.
  """
  count = min(len(made), len(held_out), _MOST_ROWS)
  if count < _FEWEST_ROWS:
    kind = 'generated' if len(made) == count else 'held-out'
    why = f'{count} {kind} rows are too few: {_FEWEST_ROWS} are needed'
    return {'auroc': None, 'interval': None, 'rows': count, 'grouped': None, 'why': why}
  generator = np.random.default_rng(seed)
  rows = np.concatenate(
    [kind[generator.permutation(len(kind))[:count]] for kind in (made, held_out)]
  )
  generated = np.arange(2 * count) < count
  group = _row_ids(rows)
  kinds = min(len(np.unique(group[generated == side])) for side in (False, True))
  grouped = kinds >= _FOLDS
  folding = StratifiedGroupKFold if grouped else StratifiedKFold
  folds = folding(_FOLDS, shuffle=True, random_state=seed)
  counts = normalize(_counts(rows))
  parts = []
  for fit, test in folds.split(rows, generated, group if grouped else None):
    classifier = LogisticRegression(C=1.0, class_weight='balanced', solver='liblinear')
    classifier.fit(counts[fit], generated[fit])
    parts.append((test, classifier.decision_function(counts[test])))
  once = np.ones((1, len(rows)), np.int64)
  auroc = _within_folds(parts, generated, np.concatenate([once, _resamples(group, generator)]))
  low, high = np.nanpercentile(auroc[1:], [2.5, 97.5])
  interval = [float(low), float(high)]
  return {'auroc': float(auroc[0]), 'interval': interval, 'rows': count, 'grouped': grouped}


def _lengths(rows: np.ndarray) -> np.ndarray:
  """Counts the tokens of each row before its first padding, [N]."""
  return np.logical_and.accumulate(rows != PAD, axis=1).sum(axis=1)


def _row_ids(*parts: np.ndarray) -> np.ndarray:
  """Numbers the rows of all parts so that equal rows have equal numbers."""
  return np.unique(np.concatenate(parts), axis=0, return_inverse=True)[1].reshape(-1)


def _counts(rows: np.ndarray) -> sparse.csr_array:
  """Counts tokens and pairs of neighbours in each row, the end of the row included."""
  ended = np.pad(rows, ((0, 0), (0, 1))).astype(np.int64)
  size = int(ended.max()) + 1
  first, second = ended[:, :-1], ended[:, 1:]
  row, place = np.nonzero(first != PAD)
  # A token is its own id; the pair (a, b) has the id size + a * size + b, above all tokens.
  token, pair = first[row, place], size + first[row, place] * size + second[row, place]
  known, column = np.unique(np.concatenate([token, pair]), return_inverse=True)
  places = (np.tile(row, 2).astype(np.int32), column.astype(np.int32))  # no int64 for scikit-learn
  shape = (len(rows), max(1, len(known)))
  ones = np.ones(len(column))
  return sparse.csr_array(sparse.coo_array((ones, places), shape=shape))


def _resamples(group: np.ndarray, generator: np.random.Generator) -> np.ndarray:
  """Draws distinct rows with replacement: weights of all rows, [D, N]."""
  groups = int(group.max()) + 1
  drawn = generator.multinomial(groups, np.full(groups, 1 / groups), size=_DRAWS)
  return drawn[:, group]


def _within_folds(
  parts: list[tuple[np.ndarray, np.ndarray]], generated: np.ndarray, weights: np.ndarray
) -> np.ndarray:
  """Computes the AUROC of generated against real rows, over pairs of rows of the same fold.

  Args:
    parts: rows and their scores, for every fold.
    generated: bool [N].
    weights: of the rows, int [D, N].

  Returns:
    float [D]; NaN for a draw without such a pair.
  """
  won, pairs = np.zeros((2, len(weights)))
  for rows, scores in parts:
    ranking = rank(generated[rows], scores)
    areas = ranked_areas(generated[rows], weights[:, rows], ranking)
    won, pairs = won + areas['won'], pairs + areas['pairs']
  return ratio(won, pairs)
