"""The paper's sets: the abnormal rows, divided into K parts with one generator each.

Every set has a compact vocabulary of its own, with its own tokens only. This makes the softmax of
its generator cheap. All sets have the same length, the length of the longest row.

K sets, n rows, T tokens a row, V local tokens.
"""

from typing import NamedTuple

import numpy as np

from logjax.examples.text import PAD


class Sets(NamedTuple):
  """The rows of K sets in local token ids.

  Attributes:
    rows: one array int32 [n_k, T] per set.
    tokens: vocabulary id of every local id, int32 [K, V]; -1 beyond the tokens of a set.
    length: T, the length of the longest row of all sets.
  """

  rows: tuple[np.ndarray, ...]
  tokens: np.ndarray
  length: int

  @property
  def allowed(self) -> np.ndarray:
    """Values to add to the logits: 0 for the tokens of a set, -inf beyond them, float32 [K, V]."""
    return np.where(self.tokens >= 0, 0.0, -np.inf).astype(np.float32)


def split_into_sets(
  rows: np.ndarray, group: np.ndarray, sets: int, by: str, seed: int
) -> list[np.ndarray]:
  """Divides rows into sets of about equal size.

  Args:
    rows: [n, T].
    group: id of each row's masked text, [n].
    sets: number of sets; at most n are made.
    by: 'random'; 'time', in the order of the rows; 'text', with equal masked texts in one set.
    seed: of the random order.

  Returns:
    Row indices of each set; no set is empty.
  """
  sets = min(sets, len(rows))
  order = np.arange(len(rows))
  if by == 'random':
    order = np.random.default_rng(seed).permutation(len(rows))
  elif by == 'text':
    # Greedy: the most frequent text first, each into the smallest set so far. Texts with 5, 3 and 3
    # rows in two sets give sizes 5 and 6. Ties are broken by first appearance among these rows,
    # not by group id, because the ids depend on other rows too.
    _, first, text_of_row, counts = np.unique(
      group, return_index=True, return_inverse=True, return_counts=True
    )
    set_of_text, sizes = np.empty(len(counts), np.int64), np.zeros(sets, np.int64)
    for text in np.lexsort((first, -counts)):  # by falling count, then by first appearance
      set_of_text[text] = np.argmin(sizes)
      sizes[set_of_text[text]] += counts[text]
    set_of_row = set_of_text[text_of_row]
    return [part for k in range(sets) if len(part := np.flatnonzero(set_of_row == k))]
  return [part for part in np.array_split(order, sets) if len(part)]


def make_sets(rows: np.ndarray, members: list[np.ndarray]) -> Sets:
  """Gives each set a vocabulary of its own.

  Args:
    rows: vocabulary ids, int32 [n, T].
    members: row indices of each set.
  """
  # At least 2: a sentence needs a prefix.
  length = max(2, int((rows != PAD).sum(axis=1).max()))
  vocabularies, local = [], []
  for member in members:
    part = rows[member, :length]
    # A local id is the rank of a token in the sorted vocabulary. PAD is the smallest id and stays
    # 0. Tokens {0, 7, 9} turn the row [9, 7, 9, 0] into [2, 1, 2, 0].
    vocabulary = np.union1d([PAD], part)
    vocabularies.append(vocabulary)
    local.append(np.searchsorted(vocabulary, part).astype(np.int32))
  size = max(map(len, vocabularies))
  tokens = np.full((len(members), size), -1, np.int32)
  for k, vocabulary in enumerate(vocabularies):
    tokens[k, : len(vocabulary)] = vocabulary
  return Sets(tuple(local), tokens, length)


def to_vocabulary(tokens: np.ndarray, sentences: np.ndarray, length: int) -> np.ndarray:
  """Translates local ids back to vocabulary ids.

  Args:
    tokens: as in `Sets`, [K, V].
    sentences: local ids, [K, B, T].
    length: of the rows to return, at least T; the rest is padding.

  Returns:
    Vocabulary ids, int32 [B * K, length]. The sets take turns (row 0 of each set, then row 1 of
    each set, ...), so any number of first rows is a fair selection.
  """
  rows = np.take_along_axis(tokens[:, None, :], sentences, axis=2)
  rows = rows.swapaxes(0, 1).reshape(-1, sentences.shape[2])
  return np.pad(rows, ((0, 0), (0, length - rows.shape[1]))).astype(np.int32)
