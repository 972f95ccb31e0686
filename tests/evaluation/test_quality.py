"""What is measured of generated rows, on rows whose answers are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logjax.evaluation.quality import quality, two_sample


def random_rows(count: int, seed: int, tokens: int = 12, length: int = 8) -> np.ndarray:
  """Rows of a language: each token is followed by one of three."""
  generator = np.random.default_rng(seed)
  rows = np.zeros((count, length), np.int32)
  rows[:, 0] = generator.integers(1, tokens, count)
  for t in range(1, length):
    rows[:, t] = (2 * rows[:, t - 1] + generator.integers(0, 3, count)) % (tokens - 1) + 1
  return np.where(np.arange(length) < generator.integers(3, length + 1, (count, 1)), rows, 0)


def uniform_rows(count: int, seed: int) -> np.ndarray:
  drawn = np.random.default_rng(seed).integers(1, 12, (count, 8), dtype=np.int32)
  return np.where(random_rows(count, seed) > 0, drawn, 0)


@pytest.mark.parametrize('seed', range(3))
def test_real_rows_cannot_be_told_from_real_rows(seed):
  """The area's standard error for 600 rows of a kind is below 0.02."""
  measured = two_sample(random_rows(600, seed), random_rows(600, seed + 10), seed)
  assert abs(measured['auroc'] - 0.5) < 0.08
  low, high = measured['interval']
  assert low < measured['auroc'] < high and high - low < 0.12
  assert measured['rows'] == 600 and measured['grouped'] is True


def test_uniform_tokens_are_told_from_real_rows():
  measured = two_sample(uniform_rows(600, 0), random_rows(600, 1), 0)
  assert measured['auroc'] > 0.97 and measured['interval'][0] > 0.95


def test_a_generator_that_makes_one_row_is_told_from_real_rows():
  measured = two_sample(np.tile(random_rows(1, 0), (300, 1)), random_rows(300, 1), 0)
  assert measured['auroc'] > 0.95
  assert measured['grouped'] is False


def test_rows_known_by_heart_tell_nothing():
  """Texts without a common token, some made too often: only who saw a text knows which."""
  generator = np.random.default_rng(0)
  texts = np.arange(1, 61, dtype=np.int32).reshape(20, 3)
  made = texts[generator.choice(20, 400, p=np.repeat([0.08, 0.02], 10))]
  real = texts[generator.choice(20, 400, p=np.repeat([0.02, 0.08], 10))]
  measured = two_sample(made, real, 0)
  assert measured['grouped'] is True and measured['auroc'] == 0.5


def test_too_few_rows_are_named():
  made = random_rows(50, 0)
  assert two_sample(made, made[:9], 0) == {
    'auroc': None,
    'interval': None,
    'rows': 9,
    'grouped': None,
    'why': '9 held-out rows are too few: 10 are needed',
  }
  assert two_sample(made[:0], made, 0)['why'] == '0 generated rows are too few: 10 are needed'


def test_as_many_rows_of_one_kind_as_of_the_other_and_no_more_than_2000():
  assert two_sample(random_rows(40, 0), random_rows(2_500, 1), 0)['rows'] == 40
  assert two_sample(random_rows(2_100, 0), random_rows(2_100, 1), 0)['rows'] == 2_000


@given(st.integers(1, 8), st.integers(1, 8), st.integers(0, 4), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_few_distinct_rows_have_an_answer_too(made_texts, real_texts, shared, seed):
  generator = np.random.default_rng(seed)
  pool = np.arange(1, 41, dtype=np.int32).reshape(20, 2)
  made = pool[generator.integers(0, made_texts, 30)]
  real = pool[max(0, made_texts - shared) :][generator.integers(0, real_texts, 30)]
  measured = two_sample(made, real, seed)
  assert 0 <= measured['interval'][0] <= measured['interval'][1] <= 1
  assert 0 <= measured['auroc'] <= 1


def test_distinct_and_novel_shares_are_counted():
  train = np.array([[1, 2, 0], [3, 0, 0]])
  made = np.array([[1, 2, 0], [1, 2, 0], [1, 2, 3], [4, 0, 0]])
  measured = quality(made, train, train, 0)
  assert measured['distinct_share'] == 3 / 4
  assert measured['novel_share'] == 2 / 4
  assert measured['two_sample']['auroc'] is None


def test_self_bleu_is_one_of_equal_rows_and_leaves_empty_rows_out():
  made = np.array([[1, 2, 3, 0], [1, 2, 3, 0], [0, 0, 0, 0]])
  assert quality(made, made, made, 0)['self_bleu'] == pytest.approx(1)
  assert quality(made[1:], made, made, 0)['self_bleu'] is None  # nothing to compare with


def test_no_generated_row_has_no_quality():
  train = random_rows(20, 0)
  measured = quality(train[:0], train, train, 0)
  two = measured.pop('two_sample')
  assert set(measured.values()) == {None} and two['auroc'] is None
