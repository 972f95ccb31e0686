"""Splits: which rows train, validate and test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logjax.errors import LogjaxError
from logjax.examples import splits
from logjax.examples.types import Split


def error(call, *args, **options):
  with pytest.raises(LogjaxError) as raised:
    call(*args, **options)
  message = str(raised.value)
  assert '\n' not in message
  return message


def test_rows_are_in_order_of_time_and_equal_times_in_order_of_the_file():
  time = np.array([5, 1, 5, 1, 0])
  assert splits.order_rows(time, 5, shuffled=False, seed=0).tolist() == [4, 1, 3, 0, 2]


def test_rows_without_times_are_in_order_of_the_file():
  assert splits.order_rows(None, 4, shuffled=False, seed=3).tolist() == [0, 1, 2, 3]


def test_a_shuffled_order_has_every_row_and_depends_on_the_seed_alone():
  time = np.arange(200)[::-1]
  order = splits.order_rows(time, 200, shuffled=True, seed=1)
  assert sorted(order.tolist()) == list(range(200))
  assert np.array_equal(order, splits.order_rows(None, 200, shuffled=True, seed=1))
  assert not np.array_equal(order, splits.order_rows(time, 200, shuffled=True, seed=2))
  assert not np.array_equal(order, splits.order_rows(time, 200, shuffled=False, seed=1))


@pytest.mark.parametrize(
  ('rows', 'trains', 'sizes'),
  [
    (4_747_963, 0.05, [11_869, 225_529, 4_510_565]),  # BGL
    (3_300_000, 0.05, [8_250, 156_750, 3_135_000]),  # Thunderbird
    (155_508, 0.85, [6_608, 1_167, 147_733]),  # OpenStack
  ],
)
def test_the_papers_shares_give_the_papers_sizes(rows, trains, sizes):
  split = splits.cut(np.arange(rows), 0.05 * trains, 0.05 * (1 - trains))
  # The paper rounds the training rows of BGL and OpenStack down, and we to the nearest.
  assert np.abs([len(side) - size for side, size in zip(split, sizes, strict=True)]).max() <= 1


@given(
  st.integers(0, 300),
  st.floats(0.001, 0.998),
  st.floats(0.001, 0.998),
  st.integers(0, 5),
)
def test_a_cut_puts_every_row_on_one_side_in_order(rows, train, valid, seed):
  if train + valid >= 1:
    train, valid = train / 2, valid / 2
  order = np.random.default_rng(seed).permutation(rows)
  split = splits.cut(order, train, valid)
  assert np.array_equal(np.concatenate(split), order)
  assert abs(len(split.train) - rows * train) <= 0.5
  assert abs(len(split.train) + len(split.valid) - rows * (train + valid)) <= 0.5


@pytest.mark.parametrize(
  ('train', 'valid'), [(0.0, 0.2), (0.6, 0.0), (-0.1, 0.5), (0.8, 0.2), (1.5, 0.1)]
)
def test_shares_that_leave_a_side_empty_are_an_error(train, valid):
  assert error(splits.cut, np.arange(10), train, valid) == (
    f'split.train={train} and split.valid={valid} must be above 0 and leave rows to test'
  )


SPLIT = Split(np.arange(0, 30), np.arange(30, 60), np.arange(60, 100))


@pytest.mark.parametrize('repetition', [1, 2, 9])
def test_a_redraw_keeps_the_test_rows_and_the_sizes(repetition):
  drawn = splits.redraw(SPLIT, repetition, shuffled=True, seed=0)
  assert np.array_equal(drawn.test, SPLIT.test)
  assert (len(drawn.train), len(drawn.valid)) == (30, 30)
  assert sorted(np.concatenate([drawn.train, drawn.valid]).tolist()) == list(range(60))
  assert not np.array_equal(drawn.train, SPLIT.train)


def test_redraws_differ_by_repetition_and_by_seed():
  first, second = (splits.redraw(SPLIT, r, shuffled=True, seed=0).train for r in (1, 2))
  other = splits.redraw(SPLIT, 1, shuffled=True, seed=1).train
  assert not np.array_equal(first, second)
  assert not np.array_equal(first, other)
  assert np.array_equal(first, splits.redraw(SPLIT, 1, shuffled=True, seed=0).train)


def test_the_first_repetition_and_a_chronological_split_are_not_redrawn():
  assert splits.redraw(SPLIT, 0, shuffled=True, seed=0) is SPLIT
  assert splits.redraw(SPLIT, 5, shuffled=False, seed=0) is SPLIT


def labels(*abnormal):
  """Labels of the 100 rows of SPLIT, those of the given indices abnormal."""
  column = np.zeros(100, bool)
  column[list(abnormal)] = True
  return column


def test_a_split_with_both_classes_to_train_and_test_on_is_fine():
  splits.check(SPLIT, labels(3, 99), by='time')
  splits.check(SPLIT, ~labels(3, 99), by='random')


def test_a_side_without_an_abnormal_row_is_told_with_all_counts_and_what_would_help():
  assert error(splits.check, SPLIT, labels(1, 2, 40), by='time') == (
    'no abnormal row to test on: train 30 rows (2 abnormal), valid 30 rows (1 abnormal), '
    'test 40 rows (0 abnormal); --config.split.by=random mixes the sides (named among the leaks '
    'of the result; not with --mode=ladder), or move split.train and split.valid'
  )


@pytest.mark.parametrize(
  ('abnormal', 'by', 'begins', 'ends'),
  [
    (labels(40, 41), 'time', 'no abnormal row to train on and no abnormal row to test', 'valid'),
    (~labels(1, 2), 'time', 'no normal row to test on: ', 'split.valid'),
    (labels(1, 2), 'random', 'no abnormal row to test on: ', '; give more lines, or move split'),
    (labels(1, 2), 'text', 'no abnormal row to test on: ', '; --config.split.by=random lets a'),
    *(
      (labels(1), by, 'no abnormal row to test on: ', '; the log has one abnormal row, and train')
      for by in ('time', 'random', 'text')
    ),
    (~labels(1), 'time', 'no normal row to test on: ', '; the log has one normal row, and train'),
    (labels(), 'time', 'no abnormal row to train on and no', '; the log has one class only'),
    (~labels(), 'random', 'no normal row to train on and no', '; the log has one class only'),
  ],
)
def test_the_advice_fits_what_is_missing(abnormal, by, begins, ends):
  message = error(splits.check, SPLIT, abnormal, by=by)
  assert message.startswith(begins)
  assert ends in message
  if '; the log has one' in message:
    assert 'split.' not in message


def test_a_split_without_a_validation_row_is_an_error():
  abnormal = np.array([True, False, True, False])
  split = Split(np.array([0, 1]), np.arange(0), np.array([2, 3]))
  with pytest.raises(LogjaxError, match='^no row to validate on: train 2 rows'):
    splits.check(split, abnormal, by='time')


@given(st.lists(st.tuples(st.integers(0, 12), st.booleans()), max_size=60), st.integers(0, 3))
def test_cut_by_text_puts_every_row_on_one_side_and_no_text_on_two(rows, seed):
  group = np.array([text for text, _ in rows], np.int64)
  abnormal = np.array([label for _, label in rows], bool)
  order = np.random.default_rng(seed).permutation(len(rows))
  split = splits.cut_by_text(order, group, abnormal, 0.6, 0.2)
  assert sorted(np.concatenate(split).tolist()) == list(range(len(rows)))
  sides = [set(group[side].tolist()) for side in split]
  assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_cut_by_text_deals_each_class_out_near_its_shares():
  group = np.repeat(np.arange(100), 3)
  abnormal = group >= 90
  order = np.random.default_rng(0).permutation(300)
  split = splits.cut_by_text(order, group, abnormal, 0.6, 0.2)
  assert [int(abnormal[side].sum()) for side in split] == [18, 6, 6]
  assert [int((~abnormal[side]).sum()) for side in split] == [162, 54, 54]


def test_cut_by_text_gives_each_side_a_text_where_one_has_nearly_all_rows():
  group = np.array([0] * 90 + [1] * 5 + [2] * 5)
  split = splits.cut_by_text(np.arange(100), group, np.ones(100, bool), 0.6, 0.2)
  assert [np.unique(group[side]).tolist() for side in split] == [[0], [1], [2]]


def test_a_text_with_rows_of_both_classes_is_on_one_side():
  group, abnormal = np.array([0, 0, 1, 2, 3]), np.array([True, False, False, False, True])
  split = splits.cut_by_text(np.arange(5), group, abnormal, 0.4, 0.3)
  assert sum(0 in group[side] for side in split) == 1


@given(st.integers(1, 40), st.integers(0, 3))
def test_few_abnormal_rows_are_kept_in_train_and_valid_and_all_others_stay(most, seed):
  abnormal = labels(*range(0, 100, 3))
  split = splits.limit_abnormal(SPLIT, abnormal, most, seed)
  for before, after in zip(SPLIT[:2], split[:2], strict=True):
    assert abnormal[after].sum() == min(most, abnormal[before].sum())
    assert after[~abnormal[after]].tolist() == before[~abnormal[before]].tolist()
  assert split.test is SPLIT.test
  larger = splits.limit_abnormal(SPLIT, abnormal, most + 1, seed)
  assert all(set(a.tolist()) <= set(b.tolist()) for a, b in zip(split, larger, strict=True))


def test_without_a_limit_every_abnormal_row_stays():
  assert splits.limit_abnormal(SPLIT, labels(1, 2), 0, 0) is SPLIT


@pytest.mark.parametrize(
  ('needs', 'fine'), [('labels', False), ('normal', True), ('nothing', True)]
)
def test_a_detector_that_needs_no_abnormal_rows_trains_without_them(needs, fine):
  abnormal = labels(95)
  if fine:
    splits.check(SPLIT, abnormal, by='time', needs=needs)
  else:
    assert 'no abnormal row to train on' in error(
      splits.check, SPLIT, abnormal, by='time', needs=needs
    )


def test_permuted_labels_are_the_same_labels_on_other_rows():
  abnormal = labels(*range(30))
  permuted = splits.permute_labels(abnormal, 0)
  assert permuted.sum() == abnormal.sum() and (permuted != abnormal).any()
  np.testing.assert_array_equal(permuted, splits.permute_labels(abnormal, 0))
  assert (permuted != splits.permute_labels(abnormal, 1)).any()
