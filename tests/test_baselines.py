"""TF-IDF with logistic regression: what it learns, what it weighs, and that it is cheap."""

import numpy as np
import polars as pl
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from logjax.detectors.baselines import tfidf_logistic_regression
from logjax.errors import LogjaxError

TEXTS = ['disk ok', 'disk ok', 'disk ok', 'fan ok', 'fan failed', 'disk failed', 'disk failed']
ABNORMAL = np.array([0, 0, 0, 0, 1, 1, 1], bool)


def test_an_abnormal_word_raises_the_score():
  scores = tfidf_logistic_regression(TEXTS, ABNORMAL, ['fan failed', 'fan ok', 'cpu failed'])
  assert scores[0] > 0.5 > scores[1]
  assert scores[2] > 0.5


def test_the_order_of_two_words_counts_because_pairs_are_features():
  train = ['link up then down'] * 5 + ['link down then up'] * 5
  scores = tfidf_logistic_regression(train, np.repeat([True, False], 5), train[::5])
  assert scores[0] > 0.5 > scores[1]


def test_a_mask_is_one_word():
  """Were `<num>` split into `num` or dropped, the two texts would be equal."""
  train = ['error <num>', 'error num'] * 5
  scores = tfidf_logistic_regression(train, np.tile([True, False], 5), train[:2])
  assert scores[0] > 0.5 > scores[1]


def test_distinct_pairs_weighted_by_counts_equal_the_fit_on_all_rows():
  test = ['disk ok', 'fan failed', 'disk failed ok']
  # idf is over distinct texts, as documented; everything else is fitted on the rows themselves.
  vectorizer = TfidfVectorizer(
    lowercase=False, token_pattern=r'\S+', ngram_range=(1, 2), sublinear_tf=True
  ).fit(sorted(set(TEXTS)))
  model = LogisticRegression(class_weight='balanced', max_iter=10_000)
  model.fit(vectorizer.transform(TEXTS), ABNORMAL)
  expected = model.predict_proba(vectorizer.transform(test))[:, 1]
  scores = tfidf_logistic_regression(TEXTS, ABNORMAL, test)
  np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_a_text_with_both_labels_is_scored_by_its_majority():
  train = ['link lost'] * 9 + ['link lost'] + ['link up'] * 20
  abnormal = np.array([True] * 9 + [False] + [False] * 20)
  assert tfidf_logistic_regression(train, abnormal, ['link lost'])[0] > 0.5


def test_scores_come_in_the_order_of_the_rows_and_equal_texts_score_equally():
  test = ['fan ok', 'disk failed', 'fan ok', 'unknown words only', 'disk failed', '']
  scores = tfidf_logistic_regression(TEXTS, ABNORMAL, test)
  assert scores.shape == (6,)
  assert scores[0] == scores[2] < 0.5 < scores[1] == scores[4]
  assert np.all((scores >= 0) & (scores <= 1))


def test_neither_the_order_of_the_training_rows_nor_the_kind_of_sequence_changes_a_bit():
  order = np.random.default_rng(0).permutation(len(TEXTS))
  shuffled = tfidf_logistic_regression(
    pl.Series(TEXTS)[order.tolist()], ABNORMAL[order], pl.Series(['fan ok', 'disk failed'])
  )
  given = tfidf_logistic_regression(TEXTS, ABNORMAL, ['fan ok', 'disk failed'])
  np.testing.assert_array_equal(shuffled, given)


def test_no_test_rows_give_no_scores():
  assert tfidf_logistic_regression(TEXTS, ABNORMAL, []).shape == (0,)


@pytest.mark.parametrize('abnormal, kind', [(True, 'abnormal'), (False, 'normal')])
def test_training_rows_of_one_class_are_refused_with_their_class(abnormal, kind):
  with pytest.raises(LogjaxError, match=f'all 7 training rows are {kind}'):
    tfidf_logistic_regression(TEXTS, np.full(7, abnormal), ['x'])


def test_training_rows_without_words_are_refused():
  with pytest.raises(LogjaxError, match='none of the 2 training rows has a word'):
    tfidf_logistic_regression(['', ' '], np.array([True, False]), ['x'])


def test_a_million_lines_of_few_texts_cost_as_little_as_the_few():
  texts = pl.Series(TEXTS).sample(1_000_000, with_replacement=True, seed=0)
  abnormal = texts.str.contains('failed').to_numpy()
  scores = tfidf_logistic_regression(texts, abnormal, texts)
  np.testing.assert_array_equal(scores > 0.5, abnormal)
