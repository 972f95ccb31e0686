"""The simple rivals that every result is printed beside.

Shapes: N rows of the test set, M rows of the training set.
"""

from collections.abc import Sequence

import numpy as np
import polars as pl
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from logjax.errors import LogjaxError

_BATCH = 100_000  # texts scored at once: bounds the memory of the feature matrix


def tfidf_logistic_regression(
  train_texts: pl.Series | Sequence[str],
  train_abnormal: np.ndarray | pl.Series,
  test_texts: pl.Series | Sequence[str],
) -> np.ndarray:
  """Scores rows by logistic regression on TF-IDF features of their words and pairs of words.

  Logs repeat themselves, so it works on distinct texts: the regression is fitted on the distinct
  pairs of text and label, each weighing as many rows as it stands for, and a test text is scored
  once however often it occurs. The fit equals the one on all rows but for one choice: a word's
  document frequency (idf) is counted over distinct texts, not over rows, so that one message
  repeated a million times does not make its words worthless.

  Words are what white space separates (a mask such as `<num>` stays one word), term frequencies
  are damped (1 + log tf), and the classes weigh the same. Equal input gives equal scores.

  Args:
    train_texts: [M] masked texts.
    train_abnormal: bool [M].
    test_texts: [N] masked texts.

  Returns:
    P(abnormal) of every test row, float64 [N].

  Raises:
    LogjaxError: training rows of one class only, or without a single word.
  """
  pairs = _weighted_pairs(_texts(train_texts), pl.Series(train_abnormal, dtype=pl.Boolean))
  vectorizer = _fit_vectorizer(pairs)
  model = LogisticRegression(class_weight='balanced', max_iter=10_000)
  model.fit(
    vectorizer.transform(pairs['text']),
    pairs['abnormal'].to_numpy(),
    sample_weight=pairs['len'].to_numpy().astype(np.float64),
  )
  rows = pl.DataFrame({'text': _texts(test_texts)})
  distinct = rows.unique(maintain_order=True)
  scores = [
    model.predict_proba(vectorizer.transform(batch['text']))[:, 1]
    for batch in distinct.iter_slices(_BATCH)
  ]
  scored = distinct.with_columns(score=np.concatenate([np.empty(0), *scores]))
  return rows.join(scored, on='text', how='left', maintain_order='left')['score'].to_numpy()


def _weighted_pairs(texts: pl.Series, abnormal: pl.Series) -> pl.DataFrame:
  """The distinct pairs of text and abnormal of both classes, and how many rows (len) each has."""
  # Sorted, because the order of a group_by varies from run to run and would change the last bits.
  pairs = (
    pl.DataFrame({'text': texts, 'abnormal': abnormal})
    .group_by('text', 'abnormal')
    .len()
    .sort('text', 'abnormal')
  )
  if pairs['abnormal'].n_unique() < 2:
    kind = 'empty' if pairs.is_empty() else 'abnormal' if pairs['abnormal'][0] else 'normal'
    raise LogjaxError(
      f'TF-IDF with logistic regression needs both classes, and all {len(texts):,} training '
      f'rows are {kind}: give a larger training share (config.split) or other files'
    )
  return pairs


def _fit_vectorizer(pairs: pl.DataFrame) -> TfidfVectorizer:
  """Counts document frequencies over the distinct texts of the pairs."""
  vectorizer = TfidfVectorizer(
    lowercase=False, token_pattern=r'\S+', ngram_range=(1, 2), sublinear_tf=True
  )
  try:
    return vectorizer.fit(pairs['text'].unique(maintain_order=True))
  except ValueError as error:
    rows = pairs['len'].sum()
    raise LogjaxError(
      f'none of the {rows:,} training rows has a word: look at the masks (config.text)'
    ) from error


def _texts(texts: pl.Series | Sequence[str]) -> pl.Series:
  return texts if isinstance(texts, pl.Series) else pl.Series(texts, dtype=pl.String)
