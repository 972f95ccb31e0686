"""Scores a line by the training text with the most similar set of words (1-NN).

Let s be the Jaccard similarity of the two sets of words, and p the share of abnormal lines among
the training lines with the nearest set. The score is 0.5 + s (p - 0.5): the neighbour decides the
side of 0.5, and the similarity decides the distance from 0.5. Of equally near sets the one with
most training lines is taken, then the first in the alphabet. Without a common word with any
training text, the score is 0.5.

U distinct lines, K known word sets. Known sets are looked up. Every other set is compared with all
known ones: 10,000 new sets and 30,000 known ones take 6 seconds on one core.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
import polars as pl

from logjax.evaluation.thresholds import choose_threshold
from logjax.examples.lines import Encoder, text_counts
from logjax.examples.similarity import nearest
from logjax.examples.text import SPECIAL_TOKENS, Vocabulary
from logjax.examples.types import Data, Examples, Reason
from logjax.files import load_arrays, read_json, save_arrays, write_json
from logjax.rules import Rule
from logjax.training.runtime import Runtime

KIND, NEEDS, SCORES = 'lines', 'labels', 'distinct'
TITLE = 'nearest neighbour'
RULES: dict[str, Rule] = {}

_MOST_SETS = 50_000  # known sets to compare with, the most frequent ones
_MOST_WORDS = 1_000  # words of a set to compare, first in the alphabet: bounds the memory


class Detector(NamedTuple):
  """The word sets of the training lines, those of most lines first.

  Attributes:
    words: the words of each set in alphabetical order, joined by a space, String [K].
    share: fraction of abnormal lines among the lines with each set, float64 [K].
    thresholds: one.
    history: empty; nothing is trained in epochs.
  """

  words: pl.Series
  share: np.ndarray
  thresholds: tuple[float, ...]
  history: tuple[dict[str, float], ...] = ({},)


def fit(
  config: ml_collections.ConfigDict, data: Data, *, key: jax.Array, runtime: Runtime
) -> Detector:
  """Counts the training lines of every word set; chooses the threshold on validation lines."""
  del key, runtime
  examples, (train, valid, _) = data.examples, data.split
  known = text_counts(examples, train)
  known = known.group_by(words=_word_set()).agg(pl.col('normal', 'abnormal').sum())
  rows = pl.col('normal') + pl.col('abnormal')
  known = known.sort([rows, 'words'], descending=[True, False])
  share = known.select(pl.col('abnormal') / rows).to_series().to_numpy()
  detector = Detector(known['words'], share, ())
  lines, place = np.unique(examples.index[valid], return_inverse=True)
  scores = _scores(detector, examples.distinct.masked[lines])['score'].to_numpy()[place]
  threshold = choose_threshold(config.detector.threshold, examples.abnormal[valid], scores)
  return detector._replace(thresholds=(threshold,))


def score(
  config: ml_collections.ConfigDict, detector: Detector, examples: Examples, *, key: jax.Array
) -> np.ndarray:
  """Returns the score of each distinct line, from 0 to 1, float64 [1, U]."""
  del config, key
  return _scores(detector, examples.distinct.masked)['score'].to_numpy()[None]


def explain(
  config: ml_collections.ConfigDict,
  detector: Detector,
  encoder: Encoder,
  examples: Examples,
  index: np.ndarray,
) -> list[list[Reason]]:
  """Names the words missing from the nearest training text, and this text, for lines `index`."""
  del config, encoder
  reasons = []
  found = _scores(detector, examples.distinct.masked[index])
  for words, neighbour, value in found.select('words', 'neighbour', 'score').iter_rows():
    new = [word for word in words.split() if word not in set(neighbour.split())]
    reasons.append([Reason('neighbour', ' '.join(new) or words, (neighbour,), value)])
  return reasons


def _scores(detector: Detector, texts: np.ndarray) -> pl.DataFrame:
  """Finds the nearest known set of each text [U]: columns words, neighbour and score."""
  known = pl.DataFrame({'words': detector.words, 'share': detector.share}).with_columns(
    neighbour=pl.col('words'), similarity=pl.lit(1.0)
  )
  wanted = pl.DataFrame({'text': pl.Series(texts, dtype=pl.String)}).select(words=_word_set())
  new = wanted.unique().join(known, on='words', how='anti').sort('words')
  index, similarity = _nearest_sets(new['words'], known['words'][:_MOST_SETS])
  new = new.with_columns(
    share=known['share'].gather(index),
    neighbour=known['words'].gather(index),
    similarity=pl.Series(similarity, dtype=pl.Float64),
  )
  found = wanted.join(pl.concat([known, new]), on='words', how='left', maintain_order='left')
  return found.with_columns(score=0.5 + pl.col('similarity') * (pl.col('share') - 0.5))


def _word_set() -> pl.Expr:
  """Returns the distinct words of a text in alphabetical order, joined by a space."""
  return pl.col('text').str.extract_all(r'\S+').list.unique().list.sort().list.join(' ')


def _nearest_sets(new: pl.Series, known: pl.Series) -> tuple[np.ndarray, np.ndarray]:
  """Returns the place of the nearest known set of each new one, and their similarity, each [D]."""
  both = pl.concat([new, known])
  words = both.str.split(' ').explode().unique().sort()
  vocabulary = Vocabulary((*SPECIAL_TOKENS, *words))
  length = min(_MOST_WORDS, int(both.str.count_matches(' ').max()) + 1)
  return nearest(vocabulary.encode(new, length), vocabulary.encode(known, length))


def save(folder: Path, detector: Detector) -> None:
  """Writes the word sets as JSON and their shares as an array."""
  folder.mkdir(parents=True, exist_ok=True)
  save_arrays(folder / 'share.npz', share=detector.share)
  about = {'words': detector.words.to_list(), 'thresholds': detector.thresholds}
  write_json(folder / 'fitted.json', about)


def restore(config: ml_collections.ConfigDict, folder: Path) -> Detector:
  """Reads a detector written by `save`."""
  del config
  about = read_json(folder / 'fitted.json', dict, f'delete {folder} and train again')
  share = load_arrays(folder / 'share.npz', ('share',))['share']
  return Detector(
    pl.Series('words', about['words'], dtype=pl.String), share, tuple(about['thresholds'])
  )
