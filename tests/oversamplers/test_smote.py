"""SMOTE between the codes of rows and between their tokens."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from imblearn.over_sampling import SMOTEN

from configs import default
from logjax.models.autoencoder import Autoencoder, decode
from logjax.oversamplers.smote import (
  distinct_rows,
  fit_codes,
  smote_rows,
  until_padding,
)
from logjax.oversamplers.smoten import smoten_rows
from logjax.settings import resolve
from logjax.training.runtime import quiet_runtime


def as_set(rows: np.ndarray) -> set[tuple]:
  return {tuple(row) for row in rows.tolist()}


def test_a_row_ends_at_its_first_padding():
  rows = np.array([[1, 0, 2, 3], [0, 1, 1, 1], [4, 5, 6, 7]])
  assert until_padding(rows).tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [4, 5, 6, 7]]


def test_points_are_the_distinct_rows_with_a_token():
  rows = np.array([[3, 1], [0, 0], [2, 0], [3, 1]])
  assert distinct_rows(rows, seed=0).tolist() == [[2, 0], [3, 1]]


def test_of_very_many_rows_5000_are_drawn():
  rows = np.arange(1, 12_001).reshape(6_000, 2)
  drawn = distinct_rows(rows, seed=0)
  assert len(drawn) == len(as_set(drawn)) == 5_000 and as_set(drawn) < as_set(rows)
  assert as_set(distinct_rows(rows, seed=1)) != as_set(drawn)


def test_a_vote_takes_the_token_of_most_at_each_position():
  """Every row votes with all others."""
  rows = np.array([[1, 2, 3, 9], [1, 2, 8, 4], [1, 7, 3, 4]], np.int32)
  made = smoten_rows(rows, 50, neighbours=2, seed=0)
  assert made.shape == (50, 4) and made.dtype == np.int32
  assert as_set(made) == {(1, 2, 3, 4)}


def test_more_voters_than_a_byte_counts_are_counted():
  """All 201 rows vote; at the first position 198 of them agree."""
  rows = np.array([[5 if i > 2 else 6 + i, 10 + i] for i in range(201)], np.int32)
  assert set(smoten_rows(rows, 500, neighbours=200, seed=0)[:, 0]) == {5}


def test_of_a_tie_a_row_keeps_its_own_token_and_never_gets_padding_for_it():
  rows = np.array([[5, 6, 0], [7, 8, 9]], np.int32)
  assert as_set(smoten_rows(rows, 50, neighbours=5, seed=0)) == {(5, 6, 0), (7, 8, 9)}


def test_only_the_nearest_rows_vote():
  near = [[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 6, 4]]
  far = [[11, 12, 13, 14], [11, 12, 13, 15], [11, 12, 16, 14]]
  made = smoten_rows(np.array(near + far, np.int32), 200, neighbours=2, seed=0)
  assert as_set(made) == {(1, 2, 3, 4), (11, 12, 13, 14)}


@given(
  hnp.arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 5)), elements=st.integers(0, 4)),
  st.integers(1, 6),
)
@settings(max_examples=40, deadline=None)
def test_each_token_of_a_vote_stood_at_its_position(rows, neighbours):
  points = distinct_rows(until_padding(rows), 0)
  if not len(points):
    return
  made = smoten_rows(points, 20, neighbours=neighbours, seed=0)
  assert made.shape == (20, rows.shape[1])
  for column, own in zip(made.T, points.T, strict=True):
    assert set(column) <= {*own, 0}
  assert np.array_equal(until_padding(made), made)


def test_where_labels_tell_every_token_apart_votes_are_imbalanced_learns():
  """Two tokens a position, and each position's two as far apart as any other's: then the value
  difference metric is the number of differing positions. Odd votes of two tokens have no tie."""
  half = np.random.default_rng(2).integers(1, 3, (4, 201))
  rows = np.concatenate([half, 3 - half])  # each token of a position is in half of the rows
  distance = (rows[:, None] != rows[None]).sum(axis=2)
  assert all(len(set(row)) == len(rows) for row in distance.tolist())  # no two are equally near
  x = np.concatenate([rows, np.ones((9, 201), int)])
  y = np.repeat(['abnormal', 'normal'], [8, 9])
  wanted = {'abnormal': 80}
  theirs, _ = SMOTEN(k_neighbors=4, sampling_strategy=wanted, random_state=0).fit_resample(x, y)
  ours = smoten_rows(rows.astype(np.int32), 80, neighbours=4, seed=0)
  assert len(as_set(ours)) == 8
  assert as_set(ours) == as_set(theirs[len(x) :])


ROWS = np.array(
  [[40, 7, 9, 0, 0], [40, 7, 90, 3, 0], [55, 8, 9, 0, 0], [55, 8, 90, 3, 0]], np.int32
)


@pytest.fixture(scope='module')
def codes():
  config = resolve(default.get_config())
  config.devices = 1
  config.detector.autoencoder.update(layers=(64, 16, 64), learning_rate=5e-3, epochs=40)
  return fit_codes(config, ROWS, key=jax.random.key(0), runtime=quiet_runtime(1))


@pytest.mark.parametrize('layers', [(6,), (6, 4), (6, 4, 5), (6, 4, 5, 7)])
def test_a_code_is_decoded_by_the_rest_of_the_network(layers):
  model = Autoencoder(outputs=10, layers=layers, dropout=0.5)
  row = np.linspace(0, 1, 5)
  params = model.init(jax.random.key(0), row)['params']
  output, code, _ = model.apply({'params': params}, row)
  np.testing.assert_allclose(decode(model, params, code), output, rtol=1e-6)


def test_codes_are_read_as_the_rows_that_they_are_of(codes):
  assert codes.points.shape == (4, 16)
  single = codes._replace(points=codes.points[2:3])
  made = smote_rows(single, 3, length=5, neighbours=5, seed=0)
  np.testing.assert_array_equal(made, ROWS[[2, 2, 2]])


def test_between_codes_lie_rows_of_the_same_tokens(codes):
  made = smote_rows(codes, 300, length=5, neighbours=5, seed=0)
  assert made.shape == (300, 5) and made.dtype == np.int32
  assert set(made.ravel()) <= set(ROWS.ravel())
  assert as_set(ROWS) <= as_set(made)  # the ends of the lines between them
  assert np.array_equal(until_padding(made), made)
  np.testing.assert_array_equal(smote_rows(codes, 300, length=5, neighbours=5, seed=0), made)
