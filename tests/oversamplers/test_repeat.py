"""Oversampling that repeats real rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from logjax.oversamplers.repeat import random_rows

ROWS = np.arange(30, dtype=np.int32).reshape(10, 3)


@given(st.integers(1, 20), st.integers(0, 60), st.integers(0, 2**31))
@hypothesis_settings(max_examples=30, deadline=None)
def test_as_many_rows_as_wanted_all_of_them_given(rows, count, seed):
  given_rows = np.arange(2 * rows, dtype=np.int32).reshape(rows, 2) % 7
  drawn = random_rows(given_rows, count, seed)
  assert drawn.shape == (count, 2) and drawn.dtype == np.int32
  assert {tuple(row) for row in drawn} <= {tuple(row) for row in given_rows}


def test_the_seed_decides_the_draw():
  drawn = random_rows(ROWS, 100, seed=3)
  np.testing.assert_array_equal(random_rows(ROWS, 100, seed=3), drawn)
  assert not np.array_equal(random_rows(ROWS, 100, seed=4), drawn)


@pytest.mark.parametrize('seed', range(3))
def test_every_row_is_drawn_equally_often(seed):
  """10,000 draws of 10 rows: six standard deviations are 180."""
  counts = np.bincount(random_rows(ROWS, 10_000, seed)[:, 0] // 3, minlength=10)
  assert np.abs(counts - 1000).max() < 180


def test_equal_rows_count_as_often_as_they_are_given():
  rows = ROWS[[0] * 8 + [1, 2]]
  drawn = random_rows(rows, 10_000, seed=0)
  assert abs(np.mean(drawn[:, 0] == 0) - 0.8) < 6 * np.sqrt(0.8 * 0.2 / 10_000)
