"""TF-IDF features of texts: their words and pairs of neighbouring words.

U distinct texts, F terms. White space separates words, so a mask such as `<num>` is one word. The
features equal those of scikit-learn's `TfidfVectorizer(lowercase=False, token_pattern=r'\\S+',
ngram_range=(1, 2), sublinear_tf=True)`. There are two differences: they are computed on columns,
and they are saved as plain arrays, readable without scikit-learn.
"""

from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import sparse

from logjax.errors import LogjaxError

_BATCH = 50_000  # texts split into words at a time: bounds the memory


class Terms(NamedTuple):
  """The terms of a corpus.

  Attributes:
    terms: words, and pairs of words joined by a space, in alphabetical order, F of them.
    idf: inverse document frequency ln((1 + U) / (1 + texts with the term)) + 1, float64 [F].
  """

  terms: tuple[str, ...]
  idf: np.ndarray


class LabelledFeatures(NamedTuple):
  """The distinct pairs of text and label of the training rows, P of them.

  Attributes:
    terms: of the texts.
    features: TF-IDF of each pair's text, float64 [P, F].
    abnormal: the label of each pair, bool [P].
    rows: number of training rows of each pair, int64 [P].
  """

  terms: Terms
  features: sparse.csr_array
  abnormal: np.ndarray
  rows: np.ndarray


def fit_labelled(known: pl.DataFrame, method: str) -> LabelledFeatures:
  """Fits terms on the texts of training rows and pairs their features with the labels.

  Args:
    known: columns `text`, `normal` and `abnormal`, as of `lines.text_counts`.
    method: the classifier that needs them, for the error message.

  Raises:
    LogjaxError: the rows are of one class only, or have no word at all.
  """
  counts = known.select('normal', 'abnormal').to_numpy()
  if not counts.any(axis=0).all():
    kind = 'abnormal' if counts[:, 1].any() else 'normal'
    raise LogjaxError(
      f'{method} needs both classes, and all {counts.sum():,} training rows are {kind}: give a '
      'larger training share (config.split) or other files'
    )
  terms = fit_terms(known['text'])
  if not terms.terms:
    raise LogjaxError(
      f'none of the {counts.sum():,} training rows has a word: look at the masks (config.text)'
    )
  # The pairs with at least one row: column 0 counts normal rows, column 1 abnormal ones.
  text, label = np.nonzero(counts)
  table = features(terms, known['text'])[text]
  return LabelledFeatures(terms, table, label.astype(bool), counts[text, label])


def fit_terms(texts: pl.Series) -> Terms:
  """Collects the terms of distinct texts [U].

  Document frequencies count distinct texts, not rows. So the words of a message with a million
  rows do not become worthless.
  """
  counts = pl.concat([_terms_of(part) for part in _batches(texts)])
  frequency = counts.group_by('term').agg(pl.len().alias('texts')).sort('term')
  idf = np.log((1 + len(texts)) / (1 + frequency['texts'].to_numpy())) + 1
  return Terms(tuple(frequency['term'].to_list()), idf)


def features(terms: Terms, texts: pl.Series) -> sparse.csr_array:
  """Returns the TF-IDF features of texts [U], rows of length 1 (or 0), float64 [U, F].

  A term with n occurrences in a text counts 1 + ln n. Terms unknown to `fit_terms` are left out.
  """
  columns = pl.DataFrame({'term': list(terms.terms)}, schema={'term': pl.String})
  columns = columns.with_row_index('column')
  parts = [
    _features_of(_terms_of(part).join(columns, on='term'), terms, len(part))
    for part in _batches(texts)
  ]
  return sparse.vstack(parts, format='csr')


def _features_of(found: pl.DataFrame, terms: Terms, rows: int) -> sparse.csr_array:
  """Weighs and normalises the terms found in some texts."""
  found = found.sort('row', 'column')
  # scikit-learn's trees take 32-bit indices only.
  row, column = (found[name].to_numpy().astype(np.int32) for name in ('row', 'column'))
  values = (1 + np.log(found['count'].to_numpy())) * terms.idf[column]
  norm = np.sqrt(np.bincount(row, values**2, minlength=rows))
  values = values / norm[row]
  return sparse.csr_array((values, (row, column)), shape=(rows, len(terms.terms)))


def _terms_of(texts: pl.Series) -> pl.DataFrame:
  """Counts the terms of each text: columns row (the place of the text), term and count."""
  words = pl.DataFrame({'term': texts.str.extract_all(r'\S+')}).with_row_index('row')
  words = words.explode('term').filter(pl.col('term').is_not_null())
  # The next word of the same text; null after the last word, and null + text is null.
  after = pl.col('term').shift(-1).over('row')
  pairs = words.with_columns(term=pl.col('term') + ' ' + after).filter(pl.col('term').is_not_null())
  return pl.concat([words, pairs]).group_by('row', 'term').agg(pl.len().alias('count'))


def _batches(texts: pl.Series) -> list[pl.Series]:
  """Cuts texts into parts; of no texts there is one empty part."""
  return [texts.slice(begin, _BATCH) for begin in range(0, max(1, len(texts)), _BATCH)]
