"""The simple rivals that every result is printed beside; none of them needs an oversampler.

Each is a function from training texts, their labels and test texts to a score of every test row,
which is called abnormal from `THRESHOLD` on. Logs repeat themselves, so each works on distinct
texts, however often they occur, and equal texts get equal scores. Nothing here is random, and the
order of the training rows changes nothing.

Shapes: M rows of the training set, N rows of the test set, D distinct texts.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from logjax.errors import LogjaxError
from logjax.evaluation.metrics import THRESHOLD
from logjax.examples.similarity import nearest
from logjax.examples.text import SPECIAL_TOKENS, Vocabulary

_BATCH = 100_000  # texts scored at once: bounds the memory of the feature matrix
_MOST_SETS = 50_000  # word sets of train that others are compared with: bounds the time
_MOST_WORDS = 1_000  # words of a set that are compared: bounds the memory

Strings = pl.Series | Sequence[str]
Bools = pl.Series | Sequence[bool] | np.ndarray


def baseline_scores(train: Strings, abnormal: Bools, test: Strings) -> dict[str, np.ndarray]:
  """Scores the test rows by every rival.

  Args:
    train: masked texts [M].
    abnormal: their labels, bool [M].
    test: masked texts [N].

  Returns:
    Scores, float64 [N], under the name that the rival has in results.json.

  Raises:
    LogjaxError: as `tfidf_logistic_regression` does.
  """
  return {
    'majority': majority_class(train, abnormal, test),
    'unseen': unseen_text(train, abnormal, test),
    'lookup': text_lookup(train, abnormal, test),
    'nearest': nearest_neighbour(train, abnormal, test),
    'tfidf_lr': tfidf_logistic_regression(train, abnormal, test),
  }


def majority_class(train: Strings, abnormal: Bools, test: Strings) -> np.ndarray:
  """Gives every row the same score: the share of abnormal training rows.

  So every row is called what most training rows are (abnormal, where both classes are equally
  large), as by scikit-learn's `DummyClassifier(strategy='prior')`.

  Args and Returns: as in `text_lookup`.

  Raises:
    LogjaxError: no training row.
  """
  return np.full(len(test), _overall_share(_known_texts(train, abnormal)))


def unseen_text(train: Strings, abnormal: Bools, test: Strings) -> np.ndarray:
  """Flags every text that no normal training row has: 1, and 0 for the others.

  It is a list of what is known to be normal, and looks at no abnormal training row.

  Args and Returns: as in `text_lookup`.

  Raises:
    LogjaxError: no training row.
  """
  normal = _known_texts(train, abnormal).filter(pl.col('normal') > 0)['text']
  return (~_texts(test).is_in(normal.implode())).cast(pl.Float64).to_numpy()


def text_lookup(train: Strings, abnormal: Bools, test: Strings) -> np.ndarray:
  """Looks up which share of the training rows with the same text is abnormal.

  A text that train does not have gets the share among all training rows: the best guess that does
  not look at the text, and between texts that are always normal and those that are never.

  Args:
    train: masked texts [M].
    abnormal: their labels, bool [M].
    test: masked texts [N].

  Returns:
    The share, float64 [N].

  Raises:
    LogjaxError: no training row.
  """
  known = _known_texts(train, abnormal)
  shares = known.select('text', score=_share())
  return _scores(test, shares).fill_null(_overall_share(known)).to_numpy()


def nearest_neighbour(train: Strings, abnormal: Bools, test: Strings) -> np.ndarray:
  """Scores a row by the training text that it shares most of its words with (1-NN).

  Near are texts whose sets of words have a large Jaccard similarity s. With p the share of abnormal
  rows among those that have the nearest set, the score is 0.5 + s (p - 0.5): the neighbour decides
  on which side of 0.5 it is, the distance how far from it. Of equally near sets the one that most
  training rows have counts, then the first in the alphabet. A text that shares no word with any
  training text gets 0.5, and a tie raises the alarm.

  Sets that train has are looked up. Each other set is compared with every set of train, so the time
  grows with the product of their numbers and the memory with their sum: on one core 10,000 new
  sets and 30,000 of train take 6 seconds. Train stands with the 50,000 sets that most of its rows
  have, and a set with its first 1,000 words in the alphabet.

  Args and Returns: as in `text_lookup`, with scores from 0 to 1.

  Raises:
    LogjaxError: no training row.
  """
  known = _known_texts(train, abnormal)
  known = known.group_by(words=_word_set()).agg(pl.col('normal', 'abnormal').sum())
  rows = pl.col('normal') + pl.col('abnormal')
  known = known.sort([rows, 'words'], descending=[True, False])
  known = known.select('words', share=_share(), similarity=pl.lit(1.0))

  texts = pl.DataFrame({'text': _texts(test).unique()}).with_columns(words=_word_set())
  new = texts.select('words').unique().join(known, on='words', how='anti').sort('words')
  index, similarity = _nearest_sets(new['words'], known['words'][:_MOST_SETS])
  new = new.with_columns(share=known['share'].gather(index), similarity=similarity)

  found = texts.join(pl.concat([known, new]), on='words')
  score = THRESHOLD + pl.col('similarity') * (pl.col('share') - THRESHOLD)
  return _scores(test, found.select('text', score=score)).to_numpy()


def tfidf_logistic_regression(train: Strings, abnormal: Bools, test: Strings) -> np.ndarray:
  """Scores rows by logistic regression on TF-IDF features of their words and pairs of words.

  The regression is fitted on the distinct pairs of text and label, each weighing as many rows as
  it stands for. The fit equals the one on all rows but for one choice: a word's document frequency
  (idf) is counted over distinct texts, not over rows, so that one message repeated a million times
  does not make its words worthless.

  Words are what white space separates (a mask such as `<num>` stays one word), term frequencies
  are damped (1 + log tf), and the classes weigh the same.

  Args:
    train: masked texts [M].
    abnormal: their labels, bool [M].
    test: masked texts [N].

  Returns:
    P(abnormal) of every test row, float64 [N].

  Raises:
    LogjaxError: training rows of one class only, or without a single word.
  """
  known = _known_texts(train, abnormal)
  counts = known.select('normal', 'abnormal').to_numpy()
  if not counts.any(axis=0).all():
    kind = 'abnormal' if counts[:, 1].any() else 'normal'
    raise LogjaxError(
      f'TF-IDF with logistic regression needs both classes, and all {counts.sum():,} training '
      f'rows are {kind}: give a larger training share (config.split) or other files'
    )
  vectorizer = TfidfVectorizer(
    lowercase=False, token_pattern=r'\S+', ngram_range=(1, 2), sublinear_tf=True
  )
  try:
    features = vectorizer.fit_transform(known['text'])
  except ValueError as error:
    raise LogjaxError(
      f'none of the {counts.sum():,} training rows has a word: look at the masks (config.text)'
    ) from error
  text, label = np.nonzero(counts)
  weights = counts[text, label].astype(np.float64)
  model = LogisticRegression(class_weight='balanced', max_iter=10_000)
  model.fit(features[text], label.astype(bool), sample_weight=weights)

  texts = pl.DataFrame({'text': _texts(test).unique()})
  scores = [
    model.predict_proba(vectorizer.transform(batch['text']))[:, 1]
    for batch in texts.iter_slices(_BATCH)
  ]
  score = np.concatenate([np.empty(0), *scores])
  return _scores(test, texts.with_columns(score=score)).to_numpy()


def _known_texts(train: Strings, abnormal: Bools) -> pl.DataFrame:
  """The distinct training texts [D] and how many normal and abnormal rows each has."""
  rows = pl.DataFrame({'text': _texts(train), 'abnormal': pl.Series(abnormal, dtype=pl.Boolean)})
  if rows.is_empty():
    raise LogjaxError('there is no training row: give a larger training share (config.split)')
  is_abnormal = pl.col('abnormal')
  counts = {'normal': (~is_abnormal).sum(), 'abnormal': is_abnormal.sum()}
  # Sorted, because the order of a group_by varies from run to run and would change the last bits.
  return rows.group_by('text').agg(**counts).sort('text')


def _share() -> pl.Expr:
  """The share of abnormal rows, from their counts."""
  return pl.col('abnormal') / (pl.col('normal') + pl.col('abnormal'))


def _overall_share(known: pl.DataFrame) -> float:
  return known.select('normal', 'abnormal').sum().select(_share()).item()


def _scores(test: Strings, scored: pl.DataFrame) -> pl.Series:
  """The score of every row [N], null where its text is not among the scored ones."""
  rows = pl.DataFrame({'text': _texts(test)})
  return rows.join(scored, on='text', how='left', maintain_order='left')['score']


def _word_set() -> pl.Expr:
  """The distinct words of a text in alphabetical order, joined by a space."""
  return pl.col('text').str.extract_all(r'\S+').list.unique().list.sort().list.join(' ')


def _nearest_sets(new: pl.Series, known: pl.Series) -> tuple[np.ndarray, np.ndarray]:
  """For every new word set the place of the nearest known one, and their similarity, each [D]."""
  words = pl.concat([new, known]).str.split(' ').explode().unique().sort()
  vocabulary = Vocabulary((*SPECIAL_TOKENS, *words))
  length = min(_MOST_WORDS, int(pl.concat([new, known]).str.count_matches(' ').max()) + 1)
  return nearest(vocabulary.encode(new, length), vocabulary.encode(known, length))


def _texts(texts: Strings) -> pl.Series:
  return texts if isinstance(texts, pl.Series) else pl.Series(texts, dtype=pl.String)
