"""How varied generated rows are: distinct n-grams and self-BLEU.

Both depend on how many rows are compared, so both are taken over groups of one size; groups share
no row, hence the standard error over them is honest about the choice of rows. Rows have T tokens
each, none of them padding, unless their lengths are given. N rows, T time, V vocabulary.
"""

from collections.abc import Callable

import numpy as np

# What replaces a count of no matches: method 1 of Chen and Cherry, A Systematic Comparison of
# Smoothing Techniques for Sentence-Level BLEU, 2014, with the customary 0.1.
_SMOOTHING = 0.1


def distinct(rows: np.ndarray, order: int) -> float:
  """Returns distinct-n: the share of n-grams that are left when each is counted once.

  Li et al., A Diversity-Promoting Objective Function for Neural Conversation Models, 2016.

  Args:
    rows: int [N, T].
    order: n, at most T.
  """
  grams = _ngrams(rows, order)
  return len(np.unique(grams)) / grams.size


def self_bleu(rows: np.ndarray, order: int, lengths: np.ndarray | None = None) -> np.ndarray:
  """Returns self-BLEU-n of every row: its BLEU with all other rows as references, [N].

  The geometric mean of the precisions of 1-grams to n-grams, those that a row is long enough for,
  times the brevity penalty (Papineni et al., BLEU, 2002) against the other row that is nearest in
  length; of two, the shorter. High where rows are alike. Zhu et al., Texygen, 2018.

  Args:
    rows: int [N, T].
    order: n, at most T.
    lengths: tokens of each row, at least 1, before its padding, [N]; None where all have T.
  """
  lengths = np.full(len(rows), rows.shape[1]) if lengths is None else np.asarray(lengths)
  logs, orders = np.zeros(len(rows)), np.zeros(len(rows))
  for n in range(1, order + 1):
    possible = lengths - n + 1
    long = possible > 0
    found = np.maximum(_matches(rows, n, possible), _SMOOTHING)
    logs[long] += np.log(found[long] / possible[long])
    orders += long
  return np.exp(logs / orders + np.minimum(0, 1 - _nearest_length(lengths) / lengths))


def over_groups(
  measure: Callable[[np.ndarray], float], rows: np.ndarray, size: int
) -> tuple[float, float]:
  """Returns the mean of a measure over groups of rows, and its standard error.

  Args:
    measure: `rows [size, T] -> value`.
    rows: [N, T], N at least twice `size`; those of a last group that is not full are left out.
    size: rows a group.
  """
  count = len(rows) // size
  values = [measure(group) for group in rows[: count * size].reshape(count, size, -1)]
  return float(np.mean(values)), float(np.std(values, ddof=1) / count**0.5)


def _ngrams(rows: np.ndarray, order: int) -> np.ndarray:
  """Ids of the n-grams, equal where they are, [N, T - n + 1]."""
  rows = np.asarray(rows, np.int64)
  grams = rows
  for n in range(1, order):
    # Ids are made small again each time, so that no product overflows, whatever n and V are.
    pairs = grams[:, :-1] * (rows.max() + 1) + rows[:, n:]
    grams = np.unique(pairs, return_inverse=True)[1].reshape(pairs.shape)
  return grams


def _nearest_length(lengths: np.ndarray) -> np.ndarray:
  """The length of the other row that is nearest in length to each, the shorter of two, [N]."""
  values, place, counts = np.unique(lengths, return_inverse=True, return_counts=True)
  if len(values) == 1:
    return lengths
  below = np.append(-np.inf, values[:-1])
  above = np.append(values[1:], np.inf)
  other = np.where(values - below <= above - values, below, above)
  return np.where(counts > 1, values, other)[place]


def _matches(rows: np.ndarray, order: int, possible: np.ndarray) -> np.ndarray:
  """How many of the first `possible` [N] n-grams of each row other rows have, [N].

  One that is repeated in a row counts as often as it is in the other row that has most of it.
  """
  grams = _ngrams(rows, order)
  place = np.nonzero(np.arange(grams.shape[1]) < possible[:, None])
  if not len(place[0]):
    return np.zeros(len(rows))
  known, gram = np.unique(grams[place], return_inverse=True)
  size = len(known)
  pairs, counts = np.unique(place[0] * size + gram, return_counts=True)
  row, gram = np.divmod(pairs, size)
  # For each n-gram the row with most of it, and how many the next one has.
  falling = np.lexsort((-counts, gram))
  first = np.searchsorted(gram[falling], np.arange(size))
  holder, most = row[falling][first], counts[falling][first]
  ends = np.append(first[1:], len(falling))
  second = np.where(first + 1 < ends, counts[falling][np.minimum(first + 1, len(row) - 1)], 0)
  others = np.where(row == holder[gram], second[gram], most[gram])
  return np.bincount(row, np.minimum(counts, others), minlength=len(rows))
