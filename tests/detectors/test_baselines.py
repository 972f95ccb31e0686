"""The rivals: what each scores on rows small enough to do by hand, and that they are cheap."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from logjax.detectors import baselines
from logjax.detectors.baselines import (
  THRESHOLD,
  baseline_scores,
  majority_class,
  nearest_neighbour,
  text_lookup,
  tfidf_logistic_regression,
  unseen_text,
)
from logjax.errors import LogjaxError

TEXTS = ['disk ok', 'disk ok', 'disk ok', 'fan ok', 'fan failed', 'disk failed', 'disk failed']
ABNORMAL = np.array([0, 0, 0, 0, 1, 1, 1], bool)
# Six rows, of which 'b' is once normal and twice abnormal.
ROWS = ['a', 'a', 'b', 'b', 'b', 'c d']
LABELS = [False, False, False, True, True, True]
ALL = (
  majority_class,
  unseen_text,
  text_lookup,
  nearest_neighbour,
  tfidf_logistic_regression,
)
LINES = st.text('ab c', max_size=6)
CORPORA = st.lists(st.tuples(LINES, st.booleans()), min_size=1, max_size=12)


def jaccard(one: str, other: str) -> float:
  one, other = set(one.split()), set(other.split())
  return len(one & other) / len(one | other) if one | other else 1.0


@pytest.mark.parametrize(
  ('rival', 'known', 'scores'),
  [
    (majority_class, ROWS, [1 / 2, 1 / 2, 1 / 2]),
    (unseen_text, ROWS, [0, 0, 1]),
    (text_lookup, ROWS, [0, 2 / 3, 1]),
    (nearest_neighbour, ROWS, [0, 2 / 3, 1]),
  ],
)
def test_known_texts_are_scored_by_their_own_rows(rival, known, scores):
  assert rival(known, LABELS, ['a', 'b', 'c d']) == pytest.approx(scores)


@pytest.mark.parametrize(
  ('rival', 'scores'),
  [
    (majority_class, [1 / 2, 1 / 2, 1 / 2, 1 / 2]),
    (unseen_text, [1, 1, 1, 1]),
    (text_lookup, [1 / 2, 1 / 2, 1 / 2, 1 / 2]),
    # 'd c' has the words of 'c d'; 'c e' shares one of three with it; 'a b' is as near to 'a' as
    # to 'b', which more rows have; nothing is near 'e'.
    (nearest_neighbour, [1, 2 / 3, 0.5 + 1 / 2 * (2 / 3 - 0.5), 1 / 2]),
  ],
)
def test_unknown_texts_are_scored_as_documented(rival, scores):
  assert rival(ROWS, LABELS, ['d c', 'c e', 'a b', 'e']) == pytest.approx(scores)


def test_the_majority_is_what_scikit_learn_says():
  features = np.zeros((len(TEXTS), 1))
  dummy = DummyClassifier(strategy='prior').fit(features, ABNORMAL)
  expected = dummy.predict_proba(np.zeros((2, 1)))[:, 1]
  np.testing.assert_allclose(majority_class(TEXTS, ABNORMAL, ['x', 'disk ok']), expected)


def test_a_text_is_unseen_if_train_has_it_as_abnormal_only():
  assert unseen_text(TEXTS, ABNORMAL, ['fan ok', 'fan failed', 'cpu ok']).tolist() == [0, 1, 1]


def test_an_unknown_text_ranks_between_always_normal_and_always_abnormal_ones():
  normal, unknown, abnormal = text_lookup(TEXTS, ABNORMAL, ['disk ok', 'cpu ok', 'fan failed'])
  assert normal < unknown < abnormal
  assert unknown == pytest.approx(3 / 7)


def test_repeated_and_swapped_words_are_the_same_neighbour():
  train, labels = ['a b', 'b a a', 'c'], [True, False, False]
  assert nearest_neighbour(train, labels, ['b  a b', 'a b', 'c c']).tolist() == [0.5, 0.5, 0]


def test_a_text_without_words_is_near_to_its_like_only():
  test = ['', ' ', 'a']
  assert nearest_neighbour(['', 'a'], [True, False], test).tolist() == [1, 1, 0]
  assert nearest_neighbour(['b', 'a'], [True, False], test).tolist() == [0.5, 0.5, 0]
  assert nearest_neighbour(['', ''], [True, False], ['a']).tolist() == [0.5]


def test_words_that_look_like_special_tokens_or_numbers_are_words():
  train, labels = ['<unk> x y', '12 x z', '<pad> <num> x'], [True, False, True]
  test = ['<unk> 13', '12 13', '<pad> 13']
  assert nearest_neighbour(train, labels, test) == pytest.approx([0.625, 0.375, 0.625])


def test_beyond_the_limit_the_most_frequent_sets_are_compared(monkeypatch):
  monkeypatch.setattr(baselines, '_MOST_SETS', 1)
  train, labels = ['a x', 'a x', 'b x y'], [False, False, True]
  found = nearest_neighbour(train, labels, ['b y', 'b x', 'b x y'])
  # No neighbour is left to the first; the last is looked up, which has no limit.
  assert found == pytest.approx([0.5, 0.5 - 1 / 3 * 0.5, 1])


@settings(max_examples=60, deadline=None)
@given(CORPORA, st.lists(LINES, max_size=6))
def test_the_neighbour_is_the_one_that_a_comparison_with_every_row_finds(rows, test):
  train, labels = map(list, zip(*rows, strict=True))
  for text, score in zip(test, nearest_neighbour(train, labels, test), strict=True):
    near = [jaccard(text, known) for known in train]
    best = max(near)
    shares = {
      0.5 + best * (np.mean([y for t, y in rows if jaccard(t, known) == 1]) - 0.5)
      for known, similarity in zip(train, near, strict=True)
      if similarity == best
    }
    assert min(abs(score - share) for share in shares) < 1e-12


@settings(max_examples=60, deadline=None)
@given(CORPORA, st.lists(LINES, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_the_training_rows_changes_nothing(rows, test, random):
  shuffled = rows.copy()
  random.shuffle(shuffled)
  for rival in ALL[:-1]:
    scores, again = (
      rival([t for t, _ in part], [y for _, y in part], test) for part in (rows, shuffled)
    )
    assert scores.tolist() == again.tolist()
    assert scores.dtype == np.float64 and np.all((scores >= 0) & (scores <= 1))


def test_all_rivals_are_scored_in_the_order_of_the_rows_whatever_the_sequence():
  test = ['fan ok', 'disk failed', 'fan ok', 'cpu ok', '']
  scores = baseline_scores(pl.Series(TEXTS), pl.Series(ABNORMAL), pl.Series(test))
  assert list(scores) == ['majority', 'unseen', 'lookup', 'nearest', 'tfidf_lr']
  for rival, found in zip(ALL, scores.values(), strict=True):
    np.testing.assert_array_equal(found, rival(TEXTS, ABNORMAL.tolist(), test))
    assert found.shape == (5,)
  calls = {name: (found[:2] >= THRESHOLD).tolist() for name, found in scores.items()}
  assert calls.pop('majority') == [False, False]
  assert calls == dict.fromkeys(('unseen', 'lookup', 'nearest', 'tfidf_lr'), [False, True])


@pytest.mark.parametrize('rival', ALL)
def test_no_training_rows_are_refused(rival):
  with pytest.raises(LogjaxError, match='there is no training row'):
    rival([], [], ['x'])


@pytest.mark.parametrize('rival', ALL)
def test_no_test_rows_give_no_scores(rival):
  assert rival(TEXTS, ABNORMAL, []).shape == (0,)


@pytest.mark.parametrize('abnormal', [True, False])
def test_training_rows_of_one_class_say_what_they_can(abnormal):
  labels, test = np.full(7, abnormal), ['fan ok', 'fan', 'x']
  assert majority_class(TEXTS, labels, test).tolist() == [abnormal] * 3
  assert unseen_text(TEXTS, labels, test).tolist() == [abnormal, 1, 1]
  assert text_lookup(TEXTS, labels, test).tolist() == [abnormal] * 3
  assert nearest_neighbour(TEXTS, labels, test).tolist() == [abnormal, 0.25 + abnormal / 2, 0.5]


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


@pytest.mark.parametrize('abnormal, kind', [(True, 'abnormal'), (False, 'normal')])
def test_training_rows_of_one_class_are_refused_with_their_class(abnormal, kind):
  with pytest.raises(LogjaxError, match=f'all 7 training rows are {kind}'):
    tfidf_logistic_regression(TEXTS, np.full(7, abnormal), ['x'])


def test_training_rows_without_words_are_refused():
  with pytest.raises(LogjaxError, match='none of the 2 training rows has a word'):
    tfidf_logistic_regression(['', ' '], np.array([True, False]), ['x'])


@pytest.mark.parametrize('rival', ALL[2:])
def test_a_million_lines_of_few_texts_cost_as_little_as_the_few(rival):
  texts = pl.Series(TEXTS).sample(1_000_000, with_replacement=True, seed=0)
  abnormal = texts.str.contains('failed').to_numpy()
  scores = rival(texts, abnormal, texts)
  np.testing.assert_array_equal(scores > 0.5, abnormal)
