"""Which generated rows are too similar, and which real row is nearest."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logjax.errors import LogjaxError
from logjax.examples import similarity as module
from logjax.examples.similarity import SIMILARITIES, nearest, remove_similar
from logjax.examples.text import PAD


def rows(*lists, length=4):
  padded = [list(ids) + [PAD] * (length - len(ids)) for ids in lists]
  return np.asarray(padded, np.int32).reshape(len(lists), length)


def no_mask(found):
  raise AssertionError('only masked similarity needs masked texts')


def remove(generated, train, name, jaccard=0.9, masked=no_mask):
  kept = remove_similar(generated, train, similarity=name, jaccard=jaccard, masked=masked)
  counts = (kept.equal_to_train, kept.equal_to_each_other, kept.empty)
  assert kept.keep.sum() + sum(counts) == len(generated)
  return kept.keep.tolist(), counts


TRAIN = rows([2, 3], [4, 5, 6])
GENERATED = rows([3, 2], [7], [4, 5, 6], [], [7], [7, 7], [3, 2], [4, 5, 6])


def test_none_removes_only_empty_rows():
  keep, counts = remove(GENERATED, TRAIN, 'none')
  assert keep == [True, True, True, False, True, True, True, True]
  assert counts == (0, 0, 1)


def test_exact_removes_equal_rows_and_keeps_the_first():
  keep, counts = remove(GENERATED, TRAIN, 'exact')
  assert keep == [True, True, False, False, False, True, False, False]
  assert counts == (2, 2, 1)


def test_masked_removes_rows_with_equal_masked_texts():
  # Tokens 2 and 3 are one number; 4 and above are words.
  def masked(found):
    return pl.Series([' '.join(str(max(i, 3)) for i in row if i != PAD) for row in found])

  generated = rows([3, 2], [3], [2], [4, 2, 6], [4, 5, 6], [], [4, 3, 6])
  keep, counts = remove(generated, TRAIN, 'masked', masked=masked)
  assert keep == [False, True, False, True, False, False, False]
  assert counts == (2, 2, 1)


def test_jaccard_compares_token_sets_without_order_repetition_or_padding():
  keep, counts = remove(GENERATED, TRAIN, 'jaccard', jaccard=1.0)
  assert keep == [False, True, False, False, False, False, False, False]
  assert counts == (4, 2, 1)


def test_jaccard_removes_from_its_threshold_on():
  train, generated = rows([2, 3, 4, 5]), rows([2, 3, 4], [2, 3, 9], [2, 3, 4, 9])
  # Similarities to the training row: 3/4, 2/5, 3/5; of the last to the others: 3/4 and 3/4.
  assert remove(generated, train, 'jaccard', jaccard=0.75) == ([False, True, False], (1, 1, 0))
  assert remove(generated, train, 'jaccard', jaccard=0.76) == ([True, True, True], (0, 0, 0))
  assert remove(generated, train, 'jaccard', jaccard=0.6) == ([False, True, False], (2, 0, 0))
  assert remove(generated, train, 'jaccard', jaccard=0.4) == ([False, False, False], (3, 0, 0))


def test_a_removed_row_removes_no_other():
  # Each is near the one before it only: the second goes, so the third stays.
  chain = rows([2, 3, 4, 5], [3, 4, 5, 6], [4, 5, 6, 7])
  assert remove(chain, rows(), 'jaccard', jaccard=0.6)[0] == [True, False, True]


@pytest.mark.parametrize('name', SIMILARITIES)
def test_nothing_generated_and_nothing_to_compare_with_are_fine(name):
  def masked(found):
    return pl.Series([str(row) for row in found.tolist()], dtype=pl.String)

  assert remove(rows(), TRAIN, name, masked=masked) == ([], (0, 0, 0))
  assert remove(rows([2], []), rows(), name, masked=masked) == ([True, False], (0, 0, 1))
  assert remove(rows([], []), TRAIN, name, masked=masked) == ([False, False], (0, 0, 2))
  assert remove(rows([2]), rows([]), name, masked=masked) == ([True], (0, 0, 0))


def test_an_unknown_similarity_is_answered_with_the_known_ones():
  with pytest.raises(LogjaxError) as raised:
    remove(GENERATED, TRAIN, 'cosine')
  assert str(raised.value) == (
    "unknown oversampler.similarity 'cosine': it is one of none, exact, masked, jaccard"
  )


@pytest.mark.parametrize('threshold', [0.0, -1.0, 1.1, float('nan')])
def test_a_threshold_out_of_range_is_an_error(threshold):
  with pytest.raises(LogjaxError, match='must be above 0 and at most 1'):
    remove(GENERATED, TRAIN, 'jaccard', jaccard=threshold)


def jaccard(a, b):
  a, b = set(a.tolist()) - {PAD}, set(b.tolist()) - {PAD}
  return len(a & b) / len(a | b) if a | b else 0.0


def kept_by_definition(generated, train, threshold):
  keep = []
  for i, row in enumerate(generated):
    others = [*train, *(generated[j] for j in range(i) if keep[j])]
    keep.append(row.any() and all(jaccard(row, other) < threshold for other in others))
  return keep


def some_rows(most):
  token_lists = st.lists(st.lists(st.integers(1, 7), max_size=4), max_size=most)
  return token_lists.map(lambda lists: rows(*lists))


@given(some_rows(20), some_rows(5), st.sampled_from([0.2, 0.25, 1 / 3, 0.5, 0.6, 0.75, 1.0]))
def test_jaccard_keeps_what_its_definition_keeps(generated, train, threshold):
  keep, _ = remove(generated, train, 'jaccard', jaccard=threshold)
  assert keep == kept_by_definition(generated, train, threshold)


@pytest.mark.parametrize('threshold', [0.3, 0.5, 0.7])
def test_blocks_do_not_change_the_result(monkeypatch, threshold):
  rng = np.random.default_rng(0)
  train, generated = np.split(rng.integers(0, 12, (220, 6)).astype(np.int32), [20])
  whole = remove(generated, train, 'jaccard', jaccard=threshold), nearest(generated, train)
  monkeypatch.setattr(module, '_BLOCK', 7)
  monkeypatch.setattr(module, '_PAIRS', 50)
  parts = remove(generated, train, 'jaccard', jaccard=threshold), nearest(generated, train)
  assert whole[0] == parts[0]
  assert whole[0][0] == kept_by_definition(generated, train, threshold)
  for one, other in zip(whole[1], parts[1], strict=True):
    assert np.array_equal(one, other)


def test_the_nearest_row_is_the_first_of_the_nearest():
  real = rows([9], [2, 3], [3, 2], [4, 5, 6], [])
  index, similarity = nearest(rows([2, 3, 4], [6, 5], [7], [], [9, 9]), real)
  assert index.tolist() == [1, 3, 0, 0, 0]
  assert similarity.tolist() == [2 / 3, 2 / 3, 0.0, 0.0, 1.0]


@given(some_rows(8), some_rows(8).filter(len))
def test_the_nearest_row_is_that_of_the_definition(generated, real):
  index, similarity = nearest(generated, real)
  for row, found, value in zip(generated, index, similarity, strict=True):
    every = [jaccard(row, other) for other in real]
    assert value == max(every)
    assert found == every.index(max(every))
