"""The abnormal rows in sets, each with a vocabulary of its own."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logjax.seqgan.sets import make_sets, split_into_sets, to_vocabulary

ORDERS = ('random', 'time', 'text')
# Four sentences of a vocabulary with gaps; T = 6, of which four are used.
ROWS = np.array(
  [[5, 9, 5, 0, 0, 0], [9, 0, 0, 0, 0, 0], [2, 5, 7, 7, 0, 0], [1, 2, 0, 0, 0, 0]], np.int32
)


def split(rows: int, sets: int, by: str, group=None, seed=0) -> list[np.ndarray]:
  group = np.arange(rows) if group is None else np.asarray(group)
  return split_into_sets(np.zeros((rows, 2), np.int32), group, sets, by, seed)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40), st.integers(1, 9), st.integers(0, 99))
def test_every_row_is_in_exactly_one_set_and_no_set_is_empty(group, sets, seed):
  for by in ORDERS:
    members = split(len(group), sets, by, group, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate(members)), np.arange(len(group)))
    assert all(len(member) for member in members)
    possible = len(set(group)) if by == 'text' else len(group)
    assert len(members) == min(sets, possible)


@pytest.mark.parametrize('by', ['random', 'time'])
def test_sets_are_equal_but_for_one_row(by):
  assert sorted(len(member) for member in split(23, 7, by)) == [3, 3, 3, 3, 3, 4, 4]


def test_sets_by_time_are_stretches_of_the_given_order():
  members = split(10, 3, 'time')
  assert [member.tolist() for member in members] == [[0, 1, 2, 3], [4, 5, 6], [7, 8, 9]]


def test_random_sets_follow_the_seed():
  members = split(40, 4, 'random', seed=1)
  for again, first in zip(split(40, 4, 'random', seed=1), members, strict=True):
    np.testing.assert_array_equal(again, first)
  other = split(40, 4, 'random', seed=2)
  assert any(set(a) != set(b) for a, b in zip(members, other, strict=True))
  assert any(np.any(np.diff(np.sort(member)) > 1) for member in members)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), st.integers(1, 5))
def test_sets_by_text_keep_equal_texts_together_and_are_as_even_as_texts_allow(group, sets):
  members = split(len(group), sets, 'text', group)
  texts = [set(np.asarray(group)[member].tolist()) for member in members]
  assert sum(map(len, texts)) == len(set(group))
  sizes = sorted(map(len, members))
  largest_text = max(np.bincount(group))
  assert sizes[-1] - sizes[0] <= largest_text


def test_sets_by_text_put_the_largest_text_first_into_the_smallest_set():
  group = [0] * 5 + [1] * 3 + [2] * 2 + [3]
  assert sorted(len(member) for member in split(11, 2, 'text', group)) == [5, 6]


def test_fewer_rows_than_sets_make_a_set_a_row():
  for by in ORDERS:
    assert sorted(member.tolist() for member in split(3, 7, by)) == [[0], [1], [2]]


def test_local_vocabularies_are_compact_and_keep_padding_at_zero():
  sets = make_sets(ROWS, [np.array([0, 1]), np.array([2]), np.array([3])])
  assert sets.length == 4
  np.testing.assert_array_equal(sets.tokens, [[0, 5, 9, -1], [0, 2, 5, 7], [0, 1, 2, -1]])
  np.testing.assert_array_equal(sets.rows[0], [[1, 2, 1, 0], [2, 0, 0, 0]])
  np.testing.assert_array_equal(sets.rows[1], [[1, 2, 3, 3]])
  np.testing.assert_array_equal(sets.rows[2], [[1, 2, 0, 0]])
  assert all(rows.dtype == np.int32 for rows in (*sets.rows, sets.tokens))


def test_exactly_the_tokens_of_a_set_are_allowed():
  """Padding is one of them: it ends a sentence."""
  sets = make_sets(ROWS, [np.array([0, 1]), np.array([2, 3])])
  inf = np.inf
  np.testing.assert_array_equal(sets.allowed, [[0, 0, 0, -inf, -inf], [0, 0, 0, 0, 0]])
  assert sets.allowed.dtype == np.float32


def test_a_full_row_leaves_its_set_with_a_token_for_the_end():
  sets = make_sets(np.array([[3, 4]], np.int32), [np.array([0])])
  np.testing.assert_array_equal(sets.tokens, [[0, 3, 4]])
  np.testing.assert_array_equal(sets.rows[0], [[1, 2]])


def test_the_shortest_rows_still_have_room_for_an_end():
  sets = make_sets(np.array([[3, 0, 0], [0, 0, 0]], np.int32), [np.array([0, 1])])
  assert sets.length == 2
  np.testing.assert_array_equal(sets.rows[0], [[1, 0], [0, 0]])


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 4), st.integers(2, 7))
def test_local_rows_can_be_read_back(seed, rows, sets, length):
  rng = np.random.default_rng(seed)
  table = rng.integers(1, 30, (rows, length)).astype(np.int32)
  table[np.arange(length) >= rng.integers(0, length + 1, rows)[:, None]] = 0
  members = split_into_sets(table, np.arange(rows), sets, 'random', 0)
  made = make_sets(table, members)
  for k, member in enumerate(members):
    local = made.rows[k]
    assert np.all(made.allowed[k, local] == 0)
    read = to_vocabulary(made.tokens[k : k + 1], local[None], length)
    np.testing.assert_array_equal(read, table[member])
    assert read.dtype == np.int32


def test_the_sets_take_turns():
  """The first rows are from all sets, however few of them are used."""
  tokens = np.array([[0, 10, 11], [0, 20, 21]])
  sentences = np.array([[[1, 2], [2, 0]], [[2, 1], [1, 0]]])
  expected = [[10, 11, 0], [21, 20, 0], [11, 0, 0], [20, 0, 0]]
  np.testing.assert_array_equal(to_vocabulary(tokens, sentences, 3), expected)
