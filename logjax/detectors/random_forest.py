"""A random forest on TF-IDF features of a line's words and pairs of words.

scikit-learn grows the trees. They are saved as plain arrays and scored with NumPy. So a saved
forest does not depend on the version of scikit-learn. U distinct lines, F terms, K trees.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import polars as pl

from logjax.evaluation.thresholds import choose_threshold
from logjax.examples.lines import Encoder, text_counts
from logjax.examples.terms import Terms, features, fit_labelled
from logjax.examples.types import Data, Examples, Reason
from logjax.files import load_arrays, read_json, save_arrays, write_json
from logjax.rules import Rule, at_least
from logjax.training.runtime import Runtime

KIND, NEEDS, SCORES = 'lines', 'labels', 'distinct'
TITLE = 'TF-IDF, random forest'
RULES: dict[str, Rule] = {'detector.random_forest.trees': at_least(1)}

_CELLS = 20_000_000  # numbers of a dense block of features: bounds the memory
_REASONS = 3


class Forest(NamedTuple):
  """All nodes of all trees, one tree after the other.

  Attributes:
    root: first node of each tree, int64 [K].
    left: node for features up to the threshold; -1 for a leaf, int64 [nodes].
    right: node for larger ones, int64 [nodes].
    feature: term of a node's decision; 0 for a leaf, int64 [nodes].
    threshold: of that feature, float64 [nodes].
    value: share of abnormal training weight in a node, float64 [nodes].
  """

  root: np.ndarray
  left: np.ndarray
  right: np.ndarray
  feature: np.ndarray
  threshold: np.ndarray
  value: np.ndarray


class Detector(NamedTuple):
  """A fitted forest: its terms, its trees and one threshold."""

  terms: Terms
  forest: Forest
  thresholds: tuple[float, ...]
  history: tuple[dict[str, float], ...] = ({},)


def fit(
  config: ml_collections.ConfigDict, data: Data, *, key: jax.Array, runtime: Runtime
) -> Detector:
  """Grows the trees on the distinct pairs of text and label, weighted by their rows.

  Both classes weigh the same. `config.seed` seeds the bootstrap and the choice of features.

  Raises:
    LogjaxError: as `fit_labelled` does.
  """
  del key, runtime
  # Not at the top: scoring with a saved detector needs no scikit-learn.
  from sklearn.ensemble import RandomForestClassifier

  examples, (train, valid, _) = data.examples, data.split
  known = fit_labelled(text_counts(examples, train), 'a random forest')
  of_class = known.abnormal.astype(int)
  weights = known.rows / np.bincount(of_class, known.rows)[of_class]
  model = RandomForestClassifier(config.detector.random_forest.trees, random_state=config.seed)
  # The trees do not depend on the sum of the weights; a mean of 1 avoids rounding of small ones.
  weights = weights * len(weights) / weights.sum()
  model.fit(known.features, known.abnormal, sample_weight=weights)
  detector = Detector(known.terms, _forest_of(model), ())
  lines, place = np.unique(examples.index[valid], return_inverse=True)
  scores = _probability(detector, examples.distinct.masked[lines])[place]
  threshold = choose_threshold(config.detector.threshold, examples.abnormal[valid], scores)
  return detector._replace(thresholds=(threshold,))


def _forest_of(model: Any) -> Forest:
  """Copies the trees of scikit-learn into arrays, one tree after the other."""
  sizes = [tree.tree_.node_count for tree in model.estimators_]
  root = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
  parts = []
  for begin, estimator in zip(root, model.estimators_, strict=True):
    tree = estimator.tree_
    leaf = tree.children_left < 0
    # Children are numbered within their tree: `begin` makes them places in the joined arrays.
    value = tree.value[:, 0, :]
    parts.append(
      (
        np.where(leaf, -1, tree.children_left + begin),
        np.where(leaf, -1, tree.children_right + begin),
        np.where(leaf, 0, tree.feature),
        np.where(leaf, 0.0, tree.threshold),
        value[:, 1] / value.sum(axis=1),
      )
    )
  return Forest(root, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def score(
  config: ml_collections.ConfigDict, detector: Detector, examples: Examples, *, key: jax.Array
) -> np.ndarray:
  """Returns the mean probability over the trees of each distinct line, float64 [1, U]."""
  del config, key
  return _probability(detector, examples.distinct.masked)[None]


def _probability(detector: Detector, masked: np.ndarray) -> np.ndarray:
  """Returns the probability of being abnormal of masked texts [U], float64 [U]."""
  table = features(detector.terms, pl.Series(masked, dtype=pl.String))
  widest = max(table.shape[1], len(detector.forest.root), 1)  # numbers for a line
  block = max(1, _CELLS // widest)
  scores = [np.empty(0)]
  for begin in range(0, table.shape[0], block):
    dense = table[begin : begin + block].toarray().astype(np.float32)  # as scikit-learn compares
    leaves = _leaves(detector.forest, dense)
    scores.append(detector.forest.value[leaves].mean(axis=1))
  return np.concatenate(scores)


def _leaves(forest: Forest, table: np.ndarray) -> np.ndarray:
  """Finds the leaf of every row [U, F] in every tree, int64 [U, K].

  All rows descend one level at a time; those at a leaf stay there.
  """
  node = np.repeat(forest.root[None], len(table), axis=0)
  row = np.arange(len(table))[:, None]
  while True:
    inner = forest.left[node] >= 0
    if not inner.any():
      return node
    small = table[row, forest.feature[node]] <= forest.threshold[node]
    below = np.where(small, forest.left[node], forest.right[node])
    node = np.where(inner, below, node)


def explain(
  config: ml_collections.ConfigDict,
  detector: Detector,
  encoder: Encoder,
  examples: Examples,
  index: np.ndarray,
) -> list[list[Reason]]:
  """Names the terms with the most raising decisions, for the distinct lines `index`.

  A decision raises the probability by the difference between a node's child and the node, over K.
  """
  del config, encoder
  texts = pl.Series(examples.distinct.masked[index], dtype=pl.String)
  table, forest = features(detector.terms, texts).toarray().astype(np.float32), detector.forest
  reasons = []
  for row in table:
    raised: dict[int, float] = {}
    for node in forest.root.tolist():
      while forest.left[node] >= 0:
        feature = int(forest.feature[node])
        small = row[feature] <= forest.threshold[node]
        child = int(forest.left[node] if small else forest.right[node])
        change = float(forest.value[child] - forest.value[node]) / len(forest.root)
        if row[feature] > 0:  # a reader cannot look at an absent word
          raised[feature] = raised.get(feature, 0.0) + change
        node = child
    top = sorted(raised.items(), key=lambda item: -item[1])[:_REASONS]
    reasons.append(
      [Reason('term', detector.terms.terms[f], (), value) for f, value in top if value > 0]
    )
  return reasons


def save(folder: Path, detector: Detector) -> None:
  """Writes the trees and the document frequencies as arrays, the rest as JSON."""
  folder.mkdir(parents=True, exist_ok=True)
  save_arrays(folder / 'forest.npz', idf=detector.terms.idf, **detector.forest._asdict())
  write_json(
    folder / 'fitted.json', {'terms': detector.terms.terms, 'thresholds': detector.thresholds}
  )


def restore(config: ml_collections.ConfigDict, folder: Path) -> Detector:
  """Reads a detector written by `save`."""
  del config
  arrays = load_arrays(folder / 'forest.npz', ('idf', *Forest._fields))
  about = read_json(folder / 'fitted.json', dict, f'delete {folder} and train again')
  forest = Forest(*(arrays[name] for name in Forest._fields))
  return Detector(Terms(tuple(about['terms']), arrays['idf']), forest, tuple(about['thresholds']))
