"""Diversity of generated rows: distinct n-grams and self-BLEU.

Both depend on the number of rows that are compared, so `over_groups` measures groups of one size.
Groups share no row, so that the standard error over groups covers the choice of rows. Rows have T
tokens and no padding, unless their lengths are given. N rows, T time, V vocabulary.
"""

from collections.abc import Callable

import numpy as np

# Replaces a count of no matches: method 1 of Chen and Cherry, A Systematic Comparison of
# Smoothing Techniques for Sentence-Level BLEU, 2014, with the customary 0.1.
_SMOOTHING = 0.1


def distinct(rows: np.ndarray, order: int) -> float:
  """Returns distinct-n: the number of different n-grams as a share of all n-grams.

  Li et al., A Diversity-Promoting Objective Function for Neural Conversation Models, 2016.

  Args:
    rows: int [N, T].
    order: n, at most T.
  """
  grams = _ngrams(rows, order)
  return len(np.unique(grams)) / grams.size


def self_bleu(rows: np.ndarray, order: int, lengths: np.ndarray | None = None) -> np.ndarray:
  """Returns self-BLEU-n of every row: its BLEU with all other rows as references, [N].

  BLEU is the geometric mean of the precisions of 1-grams to n-grams, as far as the row is long
  enough, times the brevity penalty (Papineni et al., BLEU, 2002). The penalty compares with the
  other row that is nearest in length, the shorter of two. Self-BLEU is high if rows are alike (Zhu
  et al., Texygen, 2018).

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
    rows: [N, T], N at least twice `size`; the rows after the last full group are left out.
    size: rows a group.
  """
  count = len(rows) // size
  values = [measure(group) for group in rows[: count * size].reshape(count, size, -1)]
  return float(np.mean(values)), float(np.std(values, ddof=1) / count**0.5)


def _ngrams(rows: np.ndarray, order: int) -> np.ndarray:
  """Numbers the n-grams so that equal ones have equal numbers, [N, T - n + 1]."""
  rows = np.asarray(rows, np.int64)
  grams = rows
  for n in range(1, order):
    # (n-gram so far, next token) as one integer; numbering them anew keeps the products small.
    pairs = grams[:, :-1] * (rows.max() + 1) + rows[:, n:]
    grams = np.unique(pairs, return_inverse=True)[1].reshape(pairs.shape)
  return grams


def _nearest_length(lengths: np.ndarray) -> np.ndarray:
  """Returns for each row the nearest length of another row, the shorter of two, [N]."""
  values, place, counts = np.unique(lengths, return_inverse=True, return_counts=True)
  if len(values) == 1:
    return lengths
  below = np.append(-np.inf, values[:-1])
  above = np.append(values[1:], np.inf)
  other = np.where(values - below <= above - values, below, above)
  # A length that several rows have is its own nearest length.
  return np.where(counts > 1, values, other)[place]


def _matches(rows: np.ndarray, order: int, possible: np.ndarray) -> np.ndarray:
  """Counts the n-grams of each row that other rows have too, [N].

  An n-gram that a row repeats counts at most as often as the one other row has it that has most.

  Args:
    rows: int [N, T].
    order: n.
    possible: [N], the number of n-grams of each row before its padding.
  """
  grams = _ngrams(rows, order)
  place = np.nonzero(np.arange(grams.shape[1]) < possible[:, None])
  if not len(place[0]):
    return np.zeros(len(rows))
  known, gram = np.unique(grams[place], return_inverse=True)
  size = len(known)
  # (row, n-gram) as one integer: `counts` is how often the row has the n-gram.
  pairs, counts = np.unique(place[0] * size + gram, return_counts=True)
  row, gram = np.divmod(pairs, size)
  # Sorted by n-gram, then by falling count: first[g] is the row with most of n-gram g, and the
  # place after it, if it is still of n-gram g, the row with the second most.
  falling = np.lexsort((-counts, gram))
  first = np.searchsorted(gram[falling], np.arange(size))
  holder, most = row[falling][first], counts[falling][first]
  ends = np.append(first[1:], len(falling))
  second = np.where(first + 1 < ends, counts[falling][np.minimum(first + 1, len(row) - 1)], 0)
  # The greatest count among other rows: the holder itself has to look at the second.
  others = np.where(row == holder[gram], second[gram], most[gram])
  return np.bincount(row, np.minimum(counts, others), minlength=len(rows))
