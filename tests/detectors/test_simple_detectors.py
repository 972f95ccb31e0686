"""The simple detectors: scores by hand, fits equal to scikit-learn's, saved without pickle."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from configs import default
from logjax import detectors
from logjax.detectors import nearest
from logjax.errors import LogjaxError
from logjax.evaluation.thresholds import best_f1_threshold
from logjax.examples.lines import Rows
from logjax.examples.terms import features, fit_terms
from logjax.examples.types import Data, Examples, Split
from logjax.settings import resolve
from logjax.training.runtime import quiet_runtime

TEXTS = ['disk ok', 'disk ok', 'disk ok', 'fan ok', 'fan failed', 'disk failed', 'disk failed']
ABNORMAL = np.array([0, 0, 0, 0, 1, 1, 1], bool)
# Six rows, of which 'b' is once normal and twice abnormal.
ROWS = ['a', 'a', 'b', 'b', 'b', 'c d']
LABELS = [False, False, False, True, True, True]
NAMES = detectors.BASELINES['lines']
LINES = st.text('ab c', max_size=6)
CORPORA = st.lists(st.tuples(LINES, st.booleans()), min_size=1, max_size=12)


def config_of(name: str, **changes):
  config = default.get_config()
  config.detector.name = name
  config.detector.random_forest.trees = 5
  config.update_from_flattened_dict({key.replace('__', '.'): v for key, v in changes.items()})
  return resolve(config)


def examples_of(texts, abnormal=None) -> Examples:
  """Lines with these masked texts; their tokens do not matter here."""
  distinct, index = np.unique(np.array(list(texts), object), return_inverse=True)
  place, count = np.arange(len(index)), len(distinct)
  rows = Rows(np.zeros((count, 2), np.int32), distinct)
  labels = None if abnormal is None else np.array(list(abnormal), bool)
  return Examples(rows, index.astype(np.int32), labels, place, place, index, None)


def fit(name: str, train, abnormal, valid=(), valid_abnormal=(), **changes):
  examples = examples_of([*train, *valid], [*abnormal, *valid_abnormal])
  place = np.arange(len(examples.index))
  split = Split(place[: len(train)], place[len(train) :], place[:0])
  module, config = detectors.load(name), config_of(name, **changes)
  runtime = quiet_runtime(1)
  return module.fit(config, Data(examples, split, None), key=None, runtime=runtime)


def score(name: str, detector, test) -> np.ndarray:
  examples = examples_of(test)
  scores = detectors.load(name).score(None, detector, examples, key=None)
  assert scores.shape == (1, len(examples.distinct.masked))
  return scores[0][examples.index]


def scores_of(name: str, train, abnormal, test, **changes) -> np.ndarray:
  return score(name, fit(name, train, abnormal, **changes), test)


def jaccard(one: str, other: str) -> float:
  one, other = set(one.split()), set(other.split())
  return len(one & other) / len(one | other) if one | other else 1.0


@pytest.mark.parametrize(
  ('name', 'scores'),
  [
    ('majority', [1 / 2, 1 / 2, 1 / 2]),
    ('unseen', [0, 0, 1]),
    ('lookup', [0, 2 / 3, 1]),
    ('nearest', [0, 2 / 3, 1]),
  ],
)
def test_known_texts_are_scored_by_their_own_rows(name, scores):
  assert scores_of(name, ROWS, LABELS, ['a', 'b', 'c d']) == pytest.approx(scores)


@pytest.mark.parametrize(
  ('name', 'scores'),
  [
    ('majority', [1 / 2, 1 / 2, 1 / 2, 1 / 2]),
    ('unseen', [1, 1, 1, 1]),
    ('lookup', [1 / 2, 1 / 2, 1 / 2, 1 / 2]),
    # 'd c' has the words of 'c d'; 'c e' shares one of three with it; 'a b' is as near to 'a' as
    # to 'b', which more rows have; nothing is near 'e'.
    ('nearest', [1, 2 / 3, 0.5 + 1 / 2 * (2 / 3 - 0.5), 1 / 2]),
  ],
)
def test_unknown_texts_are_scored_as_documented(name, scores):
  assert scores_of(name, ROWS, LABELS, ['d c', 'c e', 'a b', 'e']) == pytest.approx(scores)


def test_the_majority_is_that_of_scikit_learn():
  dummy = DummyClassifier(strategy='prior').fit(np.zeros((len(TEXTS), 1)), ABNORMAL)
  expected = dummy.predict_proba(np.zeros((2, 1)))[:, 1]
  np.testing.assert_allclose(scores_of('majority', TEXTS, ABNORMAL, ['x', 'disk ok']), expected)


def test_a_text_is_unseen_if_train_has_it_as_abnormal_only():
  test = ['fan ok', 'fan failed', 'cpu ok']
  assert scores_of('unseen', TEXTS, ABNORMAL, test).tolist() == [0, 1, 1]


def test_an_unknown_text_ranks_between_always_normal_and_always_abnormal_ones():
  test = ['disk ok', 'cpu ok', 'fan failed']
  normal, unknown, abnormal = scores_of('lookup', TEXTS, ABNORMAL, test)
  assert normal < unknown < abnormal
  assert unknown == pytest.approx(3 / 7)


def test_repeated_and_swapped_words_are_the_same_neighbour():
  train, labels = ['a b', 'b a a', 'c'], [True, False, False]
  assert scores_of('nearest', train, labels, ['b  a b', 'a b', 'c c']).tolist() == [0.5, 0.5, 0]


def test_a_text_without_words_is_near_to_its_like_only():
  test = ['', ' ', 'a']
  assert scores_of('nearest', ['', 'a'], [True, False], test).tolist() == [1, 1, 0]
  assert scores_of('nearest', ['b', 'a'], [True, False], test).tolist() == [0.5, 0.5, 0]
  assert scores_of('nearest', ['', ''], [True, False], ['a']).tolist() == [0.5]


def test_words_that_look_like_special_tokens_or_numbers_are_words():
  train, labels = ['<unk> x y', '12 x z', '<pad> <num> x'], [True, False, True]
  test = ['<unk> 13', '12 13', '<pad> 13']
  assert scores_of('nearest', train, labels, test) == pytest.approx([0.625, 0.375, 0.625])


def test_beyond_the_limit_the_most_frequent_sets_are_compared(monkeypatch):
  monkeypatch.setattr(nearest, '_MOST_SETS', 1)
  train, labels = ['a x', 'a x', 'b x y'], [False, False, True]
  found = scores_of('nearest', train, labels, ['b y', 'b x', 'b x y'])
  # No neighbour is left to the first; the last is looked up, which has no limit.
  assert found == pytest.approx([0.5, 0.5 - 1 / 3 * 0.5, 1])


@settings(max_examples=60, deadline=None)
@given(CORPORA, st.lists(LINES, min_size=1, max_size=6))
def test_the_neighbour_is_the_one_that_a_comparison_with_every_row_finds(rows, test):
  train, labels = map(list, zip(*rows, strict=True))
  for text, found in zip(test, scores_of('nearest', train, labels, test), strict=True):
    near = [jaccard(text, known) for known in train]
    best = max(near)
    shares = {
      0.5 + best * (np.mean([y for t, y in rows if jaccard(t, known) == 1]) - 0.5)
      for known, similarity in zip(train, near, strict=True)
      if similarity == best
    }
    assert min(abs(found - share) for share in shares) < 1e-12


@settings(max_examples=30, deadline=None)
@given(CORPORA, st.lists(LINES, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_the_training_rows_changes_nothing(rows, test, random):
  shuffled = rows.copy()
  random.shuffle(shuffled)
  for name in ('majority', 'unseen', 'lookup', 'nearest'):
    scores, again = (
      scores_of(name, [t for t, _ in part], [y for _, y in part], test) for part in (rows, shuffled)
    )
    assert scores.tolist() == again.tolist()
    assert scores.dtype == np.float64 and np.all((scores >= 0) & (scores <= 1))


@pytest.mark.parametrize('name', ['tfidf_lr', 'random_forest'])
def test_the_order_of_the_training_rows_changes_no_bit_of_a_fit(name):
  order = np.random.default_rng(0).permutation(len(TEXTS))
  test = ['fan ok', 'disk failed']
  shuffled = scores_of(name, np.array(TEXTS)[order], ABNORMAL[order], test)
  np.testing.assert_array_equal(shuffled, scores_of(name, TEXTS, ABNORMAL, test))


@pytest.mark.parametrize('name', NAMES)
def test_no_training_row_is_refused(name):
  with pytest.raises(LogjaxError, match='there is no training row'):
    fit(name, [], [])


@pytest.mark.parametrize('abnormal', [True, False])
def test_training_rows_of_one_class_say_what_they_can(abnormal):
  labels, test = np.full(7, abnormal), ['fan ok', 'fan', 'x']
  assert scores_of('majority', TEXTS, labels, test).tolist() == [abnormal] * 3
  assert scores_of('unseen', TEXTS, labels, test).tolist() == [abnormal, 1, 1]
  assert scores_of('lookup', TEXTS, labels, test).tolist() == [abnormal] * 3
  assert scores_of('nearest', TEXTS, labels, test).tolist() == [abnormal, 0.25 + abnormal / 2, 0.5]


@pytest.mark.parametrize('name', ['tfidf_lr', 'random_forest'])
@pytest.mark.parametrize('abnormal', [True, False])
def test_a_fit_on_one_class_is_refused(name, abnormal):
  with pytest.raises(LogjaxError, match='all 7 training rows are'):
    fit(name, TEXTS, np.full(7, abnormal))


@pytest.mark.parametrize('name', ['tfidf_lr', 'random_forest'])
def test_training_rows_without_words_are_refused(name):
  with pytest.raises(LogjaxError, match='none of the 2 training rows has a word'):
    fit(name, ['', ' '], [True, False])


@pytest.mark.parametrize('name', ['tfidf_lr', 'random_forest'])
def test_an_abnormal_word_raises_the_score(name):
  scores = scores_of(name, TEXTS, ABNORMAL, ['fan failed', 'fan ok', 'cpu failed'])
  assert scores[0] > scores[1] and scores[2] > scores[1]


def test_the_order_of_two_words_counts_because_pairs_are_features():
  train = ['link up then down'] * 5 + ['link down then up'] * 5
  scores = scores_of('tfidf_lr', train, np.repeat([True, False], 5), train[::5])
  assert scores[0] > 0.5 > scores[1]


def test_a_mask_is_one_word():
  """Were `<num>` split into `num` or dropped, the two texts would be equal."""
  train = ['error <num>', 'error num'] * 5
  scores = scores_of('tfidf_lr', train, np.tile([True, False], 5), train[:2])
  assert scores[0] > 0.5 > scores[1]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text('ab <>7', max_size=8), min_size=1, max_size=8, unique=True))
def test_features_are_those_of_scikit_learn(texts):
  options = {'lowercase': False, 'token_pattern': r'\S+', 'ngram_range': (1, 2)}
  found = fit_terms(pl.Series(texts, dtype=pl.String))
  if not found.terms:
    assert not any(text.split() for text in texts)
    return
  vectorizer = TfidfVectorizer(**options, sublinear_tf=True)
  expected = vectorizer.fit_transform(texts).toarray()
  assert list(vectorizer.get_feature_names_out()) == list(found.terms)
  both = features(found, pl.Series([*texts, 'zz b'], dtype=pl.String)).toarray()
  np.testing.assert_allclose(both[:-1], expected, atol=1e-12)
  np.testing.assert_allclose(both[-1:], vectorizer.transform(['zz b']).toarray(), atol=1e-12)


def test_distinct_pairs_weighted_by_counts_equal_the_fit_on_all_rows():
  test = ['disk ok', 'fan failed', 'disk failed ok']
  # idf is over distinct texts, as documented; everything else is fitted on the rows themselves.
  vectorizer = TfidfVectorizer(
    lowercase=False, token_pattern=r'\S+', ngram_range=(1, 2), sublinear_tf=True
  ).fit(sorted(set(TEXTS)))
  model = LogisticRegression(class_weight='balanced', max_iter=10_000)
  model.fit(vectorizer.transform(TEXTS), ABNORMAL)
  expected = model.predict_proba(vectorizer.transform(test))[:, 1]
  scores = scores_of('tfidf_lr', TEXTS, ABNORMAL, test)
  np.testing.assert_allclose(scores, expected, atol=1e-3)


def test_the_penalty_and_the_threshold_are_chosen_on_validation_rows():
  rng = np.random.default_rng(0)
  words = np.array(['ok', 'up', 'down', 'failed', 'lost'])
  texts = [' '.join(rng.choice(words, 3)) for _ in range(40)]
  labels = [('failed' in text) != (rng.random() < 0.1) for text in texts]
  valid, truth = texts[20:], labels[20:]
  detector = fit('tfidf_lr', texts[:20], labels[:20], valid, truth)
  assert detector.c in (0.01, 0.1, 1, 10, 100, 1000)
  expected = best_f1_threshold(np.array(truth), score('tfidf_lr', detector, valid))
  assert detector.thresholds == (expected,)
  given_c = fit('tfidf_lr', texts[:20], labels[:20], valid, truth, detector__tfidf_lr__c=3.0)
  assert given_c.c == 3.0
  half = fit('tfidf_lr', texts[:20], labels[:20], valid, truth, detector__threshold='half')
  assert half.thresholds == (0.5,)


def test_a_saved_forest_scores_as_scikit_learn_does():
  rng = np.random.default_rng(1)
  words = np.array(['ok', 'up', 'down', 'failed', 'lost', 'cpu'])
  texts = sorted({' '.join(rng.choice(words, 4)) for _ in range(60)})
  labels = np.array(['failed' in text for text in texts])
  detector = fit('random_forest', texts, labels)
  x = features(detector.terms, pl.Series(texts))
  weights = np.where(labels, 1 / labels.sum(), 1 / (~labels).sum())
  model = RandomForestClassifier(5, random_state=0)
  model.fit(x, labels, sample_weight=weights * len(labels) / weights.sum())
  expected = model.predict_proba(x)[:, 1]
  np.testing.assert_allclose(score('random_forest', detector, texts), expected, atol=1e-6)


@pytest.mark.parametrize('name', NAMES)
def test_a_restored_detector_has_the_same_scores_and_reasons(name, tmp_path):
  module, config = detectors.load(name), config_of(name)
  detector = fit(name, TEXTS, ABNORMAL, TEXTS, ABNORMAL)
  module.save(tmp_path, detector)
  assert {path.suffix for path in tmp_path.iterdir()} <= {'.json', '.npz'}
  restored = module.restore(config, tmp_path)
  test = ['fan ok', 'disk failed', 'fan ok', 'cpu lost', '']
  np.testing.assert_array_equal(score(name, restored, test), score(name, detector, test))
  assert restored.thresholds == detector.thresholds
  examples = examples_of(test)
  index = np.arange(len(examples.distinct.masked))
  reasons = [module.explain(config, one, None, examples, index) for one in (detector, restored)]
  assert reasons[0] == reasons[1] and len(reasons[0]) == len(index)


@pytest.mark.parametrize(
  ('name', 'kind', 'observed'),
  [
    ('tfidf_lr', 'term', {'failed', 'disk failed'}),
    ('random_forest', 'term', {'failed', 'disk failed'}),
    ('nearest', 'neighbour', {'disk failed'}),
    ('lookup', 'known_text', {'disk failed'}),
    ('unseen', 'unseen_text', {'disk failed'}),
  ],
)
def test_the_reasons_of_an_alarm_name_what_is_abnormal_about_it(name, kind, observed):
  detector = fit(name, TEXTS, ABNORMAL)
  examples = examples_of(['disk failed'])
  (reasons,) = detectors.load(name).explain(None, detector, None, examples, np.array([0]))
  assert {reason.kind for reason in reasons} == {kind}
  assert {reason.observed for reason in reasons} & observed


SCRIPT = """
import json, sys
sys.modules['sklearn'] = None  # importing it would fail
from pathlib import Path
from logjax import detectors
import numpy as np
from logjax.examples.lines import Rows
from logjax.examples.types import Examples
texts = np.array(['disk failed', 'fan ok'], object)
examples = Examples(Rows(np.zeros((2, 2), np.int32), texts), *[None] * 6)
scores = {}
for name in detectors.BASELINES['lines']:
  module = detectors.load(name)
  detector = module.restore(None, Path(sys.argv[1]) / name)
  scores[name] = module.score(None, detector, examples, key=None)[0].tolist()
print(json.dumps(scores))
"""


def test_saved_detectors_are_scored_without_scikit_learn(tmp_path):
  fitted = {name: fit(name, TEXTS, ABNORMAL) for name in NAMES}
  for name, detector in fitted.items():
    detectors.load(name).save(tmp_path / name, detector)
  root = Path(__file__).parents[2]
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT, str(tmp_path)],
    env=os.environ | {'PYTHONPATH': str(root)},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  for name, scores in json.loads(done.stdout).items():
    assert scores == score(name, fitted[name], ['disk failed', 'fan ok']).tolist()


@pytest.mark.parametrize('name', ['lookup', 'nearest', 'tfidf_lr'])
def test_a_million_lines_of_few_texts_are_fitted_as_the_few(name):
  texts = pl.Series(TEXTS).sample(1_000_000, with_replacement=True, seed=0)
  abnormal = texts.str.contains('failed').to_numpy()
  scores = scores_of(name, texts, abnormal, TEXTS)
  np.testing.assert_array_equal(scores > 0.5, ['failed' in text for text in TEXTS])
