"""Measures of variety in generated rows: distinct n-grams and self-BLEU.

Both depend on the number of rows in a comparison, so both are means over groups of one size. Groups
share no row; the standard error over groups therefore covers the choice of rows.

Rows have T tokens each and no padding, unless their lengths are given.

N rows, T time, V vocabulary, G distinct n-grams.
"""

from collections.abc import Callable

import numpy as np

# Replaces a count of 0 matches, so that its logarithm is finite: method 1 of Chen and Cherry,
# A Systematic Comparison of Smoothing Techniques for Sentence-Level BLEU, 2014, with their 0.1.
_SMOOTHING = 0.1


def distinct(rows: np.ndarray, order: int) -> float:
  """Computes distinct-n: the number of distinct n-grams divided by the number of n-grams.

  Li et al., A Diversity-Promoting Objective Function for Neural Conversation Models, 2016.

  Args:
    rows: int [N, T].
    order: n, at most T.
  """
  grams = _ngrams(rows, order)
  return len(np.unique(grams)) / grams.size


def self_bleu(rows: np.ndarray, order: int, lengths: np.ndarray | None = None) -> np.ndarray:
  """Computes self-BLEU-n: the BLEU of every row with all other rows as references.

  BLEU is the geometric mean of the precisions of 1-grams to n-grams times the brevity penalty
  (Papineni et al., BLEU, 2002). A row shorter than n has fewer precisions. The penalty compares
  with the other row nearest in length, the shorter one of two. High values mean similar rows
  (Zhu et al., Texygen, 2018).

  Args:
    rows: int [N, T].
    order: n, at most T.
    lengths: tokens of each row before its padding, at least 1, [N]; None if all have T.

  Returns:
    float64 [N].
  """
  lengths = np.full(len(rows), rows.shape[1]) if lengths is None else np.asarray(lengths)
  logs, orders = np.zeros(len(rows)), np.zeros(len(rows))
  for n in range(1, order + 1):
    possible = lengths - n + 1  # n-grams of each row; 0 or less for a short row
    long = possible > 0
    found = np.maximum(_matches(rows, n, possible), _SMOOTHING)
    logs[long] += np.log(found[long] / possible[long])
    orders += long
  return np.exp(logs / orders + np.minimum(0, 1 - _nearest_length(lengths) / lengths))


def over_groups(
  measure: Callable[[np.ndarray], float], rows: np.ndarray, size: int
) -> tuple[float, float]:
  """Computes the mean of a measure over groups of rows, and its standard error.

  Args:
    measure: `rows [size, T] -> value`.
    rows: [N, T], N at least twice `size`; the rows of an incomplete last group are left out.
    size: rows a group.
  """
  count = len(rows) // size
  values = [measure(group) for group in rows[: count * size].reshape(count, size, -1)]
  return float(np.mean(values)), float(np.std(values, ddof=1) / count**0.5)


def _ngrams(rows: np.ndarray, order: int) -> np.ndarray:
  """Numbers the n-grams of rows [N, T]: equal n-grams have equal ids, int [N, T - n + 1]."""
  rows = np.asarray(rows, np.int64)
  grams = rows
  for n in range(1, order):
    # An (n+1)-gram is an n-gram and the next token: one number in base V, as in 37 = 3 * 10 + 7.
    pairs = grams[:, :-1] * (rows.max() + 1) + rows[:, n:]
    # Renumbered from 0 after each step, so the product cannot overflow for any n and V.
    grams = np.unique(pairs, return_inverse=True)[1].reshape(pairs.shape)
  return grams


def _nearest_length(lengths: np.ndarray) -> np.ndarray:
  """Finds for each row the length of the nearest other row, the shorter one of two, [N]."""
  # Distinct lengths in rising order, so the nearest other length is a neighbour in `values`.
  values, place, counts = np.unique(lengths, return_inverse=True, return_counts=True)
  if len(values) == 1:
    return lengths
  below = np.append(-np.inf, values[:-1])
  above = np.append(values[1:], np.inf)
  other = np.where(values - below <= above - values, below, above)
  # A length of several rows is its own nearest.
  return np.where(counts > 1, values, other)[place]


def _matches(rows: np.ndarray, order: int, possible: np.ndarray) -> np.ndarray:
  """Counts the n-grams of each row with a match in another row.

  A repeated n-gram matches at most as often as the other row with the most copies has it (BLEU's
  clipped counts).

  Args:
    rows: int [N, T].
    order: n.
    possible: n-grams of each row before its padding, [N]; later ones are ignored.

  Returns:
    [N].
  """
  grams = _ngrams(rows, order)
  place = np.nonzero(
    np.arange(grams.shape[1]) < possible[:, None]
  )  # (rows, columns) of all n-grams
  if not len(place[0]):
    return np.zeros(len(rows))
  # Count each n-gram in each row. A pair (row, gram) is one number: row * size + gram.
  known, gram = np.unique(grams[place], return_inverse=True)
  size = len(known)  # G
  pairs, counts = np.unique(place[0] * size + gram, return_counts=True)
  row, gram = np.divmod(pairs, size)  # now parallel to `counts`
  # The best match of a row is the largest count in any OTHER row. For that, two numbers per n-gram
  # suffice: the largest count, with its row, and the second largest. The holder of the largest
  # count gets the second largest, all other rows get the largest.
  #
  # Example: an n-gram has counts 3, 1, 2 in rows 0, 1, 2. Sorted: 3, 2, 1. Row 0 may match 2 of
  # its 3, row 1 its 1 of up to 3, row 2 its 2 of up to 3.
  falling = np.lexsort((-counts, gram))  # by n-gram, then by falling count
  first = np.searchsorted(gram[falling], np.arange(size))  # start of each n-gram in `falling`
  holder, most = row[falling][first], counts[falling][first]
  # The second largest follows the first, unless the next n-gram (or the array's end) does.
  ends = np.append(first[1:], len(falling))
  second = np.where(first + 1 < ends, counts[falling][np.minimum(first + 1, len(row) - 1)], 0)
  others = np.where(row == holder[gram], second[gram], most[gram])
  return np.bincount(row, np.minimum(counts, others), minlength=len(rows))
