"""Distinct-n and self-BLEU against what a textbook does, n-gram by n-gram."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from logjax.evaluation.diversity import distinct, over_groups, self_bleu


def grams(row, n: int) -> list[tuple]:
  return [tuple(row[i : i + n]) for i in range(len(row) - n + 1)]


def textbook_bleu(row, others, order: int) -> float:
  """BLEU of a sentence, smoothed by method 1 of Chen and Cherry."""
  logs, order = [], min(order, len(row))
  for n in range(1, order + 1):
    counts = Counter(grams(row, n))
    clipped = sum(
      min(count, max(Counter(grams(other, n))[gram] for other in others))
      for gram, count in counts.items()
    )
    logs.append(math.log((clipped or 0.1) / sum(counts.values())))
  nearest = min((len(other) for other in others), key=lambda m: (abs(m - len(row)), m))
  return math.exp(sum(logs) / order) * math.exp(min(0, 1 - nearest / len(row)))


rows_of_few_tokens = hnp.arrays(
  np.int32,
  st.tuples(st.integers(2, 7), st.integers(4, 9)),
  elements=st.one_of(st.integers(0, 3), st.just(2_000_000_000)),
)


@settings(max_examples=60, deadline=None)
@given(rows_of_few_tokens, st.integers(1, 4))
def test_self_bleu_is_the_textbooks(rows, order):
  values = rows.tolist()
  expected = [
    textbook_bleu(row, values[:i] + values[i + 1 :], order) for i, row in enumerate(values)
  ]
  np.testing.assert_allclose(self_bleu(rows, order), expected, rtol=1e-12)


@settings(max_examples=60, deadline=None)
@given(rows_of_few_tokens, st.integers(1, 4), st.data())
def test_self_bleu_of_padded_rows_is_the_textbooks(rows, order, data):
  size, time = rows.shape
  lengths = data.draw(hnp.arrays(np.int64, size, elements=st.integers(1, time)))
  values = [row[:length] for row, length in zip(rows.tolist(), lengths, strict=True)]
  expected = [
    textbook_bleu(row, values[:i] + values[i + 1 :], order) for i, row in enumerate(values)
  ]
  padded = np.where(np.arange(time) < lengths[:, None], rows, 0)
  np.testing.assert_allclose(self_bleu(padded, order, lengths), expected, rtol=1e-12)


def test_a_short_row_pays_for_its_brevity():
  """All of its n-grams are the others', which are twice as long."""
  rows, lengths = np.array([[1, 2, 0, 0], [1, 2, 3, 4], [1, 2, 3, 4]]), np.array([2, 4, 4])
  np.testing.assert_allclose(self_bleu(rows, 4, lengths), [math.exp(1 - 4 / 2), 1, 1])


@settings(max_examples=60, deadline=None)
@given(rows_of_few_tokens, st.integers(1, 4))
def test_distinct_is_the_share_of_different_n_grams(rows, order):
  every = [gram for row in rows.tolist() for gram in grams(row, order)]
  assert distinct(rows, order) == len(set(every)) / len(every)


def test_equal_rows_have_a_self_bleu_of_one():
  rows = np.tile([3, 1, 4, 1, 5], (4, 1))
  np.testing.assert_allclose(self_bleu(rows, 4), 1)
  assert distinct(rows, 5) == 1 / 4


def test_rows_without_a_common_token_have_the_smoothed_minimum():
  rows = np.arange(12).reshape(3, 4)
  np.testing.assert_allclose(self_bleu(rows, 2), np.sqrt(0.1 / 4 * 0.1 / 3))
  assert distinct(rows, 1) == 1


def test_groups_give_a_mean_and_its_standard_error_and_leave_the_rest_out():
  rows = np.array([[1], [1], [5], [7], [100]])
  mean, error = over_groups(np.mean, rows, 2)
  assert mean == 3.5  # groups of 1 and 6
  assert error == pytest.approx(np.std([1, 6], ddof=1) / math.sqrt(2))
