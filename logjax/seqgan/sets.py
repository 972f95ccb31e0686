"""The paper's sets: the abnormal rows in K parts, a generator each.

Every set has its own compact vocabulary (its own tokens only), which makes its softmax cheap, and
all sets share one length, that of the longest row. K sets, n rows, T tokens a row, V local tokens.
"""

from typing import NamedTuple

import numpy as np

from logjax.examples.text import PAD


class Sets(NamedTuple):
  """Rows of K sets in local token ids.

  Attributes:
    rows: one int32 [n_k, T] a set.
    tokens: the vocabulary's id of every local id, int32 [K, V]; -1 where a set has fewer.
    length: T, the longest row of all sets.
  """

  rows: tuple[np.ndarray, ...]
  tokens: np.ndarray
  length: int

  @property
  def allowed(self) -> np.ndarray:
    """What is added to the logits: 0 for tokens of a set, -inf for the rest, float32 [K, V]."""
    return np.where(self.tokens >= 0, 0.0, -np.inf).astype(np.float32)


def split_into_sets(
  rows: np.ndarray, group: np.ndarray, sets: int, by: str, seed: int
) -> list[np.ndarray]:
  """Divides rows into sets.

  Args:
    rows: [n, T].
    group: id of each row's masked text, [n].
    sets: how many; fewer where there are fewer rows.
    by: 'random'; 'time': the rows' own order; 'text': equal masked texts stay together.
    seed: of the random order.

  Returns:
    Indices of the rows of each set, no set empty.
  """
  sets = min(sets, len(rows))
  order = np.arange(len(rows))
  if by == 'random':
    order = np.random.default_rng(seed).permutation(len(rows))
  elif by == 'text':
    # Largest text first into the smallest set: sets as equal as whole texts allow. Ties go by
    # first appearance among these rows, since the ids of groups depend on rows that are not here.
    _, first, inverse, counts = np.unique(
      group, return_index=True, return_inverse=True, return_counts=True
    )
    chosen, sizes = np.empty(len(counts), np.int64), np.zeros(sets, np.int64)
    for text in np.lexsort((first, -counts)):
      chosen[text] = np.argmin(sizes)
      sizes[chosen[text]] += counts[text]
    member = chosen[inverse]
    return [part for k in range(sets) if len(part := np.flatnonzero(member == k))]
  return [part for part in np.array_split(order, sets) if len(part)]


def make_sets(rows: np.ndarray, members: list[np.ndarray]) -> Sets:
  """Gives each set its own vocabulary.

  Args:
    rows: vocabulary ids, int32 [n, T].
    members: indices of the rows of each set.
  """
  length = max(2, int((rows != PAD).sum(axis=1).max()))
  vocabularies, local = [], []
  for member in members:
    part = rows[member, :length]
    vocabulary = np.union1d([PAD], part)  # sorted, so that PAD stays 0
    vocabularies.append(vocabulary)
    local.append(np.searchsorted(vocabulary, part).astype(np.int32))
  size = max(map(len, vocabularies))
  tokens = np.full((len(members), size), -1, np.int32)
  for k, vocabulary in enumerate(vocabularies):
    tokens[k, : len(vocabulary)] = vocabulary
  return Sets(tuple(local), tokens, length)


def to_vocabulary(tokens: np.ndarray, sentences: np.ndarray, length: int) -> np.ndarray:
  """Turns local ids [K, B, T] into rows of vocabulary ids, int32 [B * K, length].

  The sets take turns, so that the first rows, however many, are from all of them.
  """
  rows = np.take_along_axis(tokens[:, None, :], sentences, axis=2)
  rows = rows.swapaxes(0, 1).reshape(-1, sentences.shape[2])
  return np.pad(rows, ((0, 0), (0, length - rows.shape[1]))).astype(np.int32)
