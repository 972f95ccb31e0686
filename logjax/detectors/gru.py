"""A GRU on the tokens of a line: an embedding, one recurrent layer, a softmax of two.

The paper's classifier without its autoencoders. N lines, U distinct lines, T tokens, R repetitions.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from logjax.evaluation.thresholds import choose_threshold
from logjax.examples.lines import Encoder
from logjax.examples.types import Data, Examples, Reason
from logjax.files import read_json, write_json
from logjax.models.classifier import (
  Classifier,
  ClassifierTrainer,
  FeatureRows,
  make_classifier,
  score_rows,
  summary_of,
  training_rules,
)
from logjax.rules import Rule, at_least
from logjax.training.checkpoint import restore_params, save_params
from logjax.training.runtime import Runtime

KIND, NEEDS, SCORES = 'lines', 'labels', 'distinct'
TITLE = 'GRU on tokens'
RULES: dict[str, Rule] = {
  'detector.gru.hidden': at_least(1),
  'detector.gru.embedding': at_least(1),
  **training_rules('detector.gru'),
}
_REASONS = 3


class Detector(NamedTuple):
  """A fitted detector.

  Attributes:
    classifiers: parameters of every repetition.
    vocabulary: V of the lines' tokens.
    thresholds: lowest abnormal score, of every repetition [R].
    history: loss and accuracy of each repetition's training, and its number of epochs.
  """

  classifiers: tuple[Any, ...]
  vocabulary: int
  thresholds: tuple[float, ...]
  history: tuple[dict[str, float], ...]


def fit(
  config: ml_collections.ConfigDict, data: Data, *, key: jax.Array, runtime: Runtime
) -> Detector:
  """Trains a classifier for every repetition, all on the same split."""
  settings, (examples, split) = config.detector, data[:2]
  model = _model(config, len(data.encoder.vocabulary))
  trainer = ClassifierTrainer(model, settings.gru, noise=None, runtime=runtime)
  train, valid = (_rows(examples, side) for side in (split.train, split.valid))
  classifiers, thresholds, history = [], [], []
  for r in range(settings.repetitions):
    trained = trainer.fit(
      train,
      valid,
      key=jax.random.fold_in(key, r),
      repetition=r,
      balanced=data.balanced,
    )
    scores = trainer.score(trained.params, valid)
    classifiers.append(trained.params)
    thresholds.append(choose_threshold(settings.threshold, valid.abnormal, scores))
    history.append(summary_of(trained))
  return Detector(tuple(classifiers), model.vocabulary, tuple(thresholds), tuple(history))


def score(
  config: ml_collections.ConfigDict, detector: Detector, examples: Examples, *, key: jax.Array
) -> np.ndarray:
  """Returns the probability of being abnormal of each distinct line, float32 [R, U]."""
  del key
  return _probability(config, detector, examples.distinct.tokens)


def _probability(
  config: ml_collections.ConfigDict, detector: Detector, tokens: np.ndarray
) -> np.ndarray:
  """Scores token rows [U, T] by every repetition [R, U]."""
  count = len(tokens)
  clean = np.zeros(count, bool)
  rows = FeatureRows(tokens, np.arange(count), clean, clean, np.arange(count))
  model = _model(config, detector.vocabulary)
  return np.stack([score_rows(model, params, rows) for params in detector.classifiers])


def explain(
  config: ml_collections.ConfigDict,
  detector: Detector,
  encoder: Encoder,
  examples: Examples,
  index: np.ndarray,
) -> list[list[Reason]]:
  """Names the tokens with the largest fall of the mean score, for the distinct lines `index`.

  The fall is that of the score of a line without the token.
  """
  reasons, tokens = [], examples.distinct.tokens[index]
  for text, row in zip(encoder.vocabulary.decode(tokens), tokens, strict=True):
    words = text.split()
    # The line itself, then the line without its i-th token, padded to the same length.
    variants = [row] + [np.append(np.delete(row, i), 0) for i in range(len(words))]
    scores = _probability(config, detector, np.stack(variants)).mean(axis=0)
    falls = scores[0] - scores[1:]
    top = [i for i in np.argsort(-falls, kind='stable')[:_REASONS] if falls[i] > 0]
    reasons.append([Reason('token', words[i], (), float(falls[i])) for i in top])
  return reasons


def _model(config: ml_collections.ConfigDict, vocabulary: int) -> Classifier:
  return make_classifier(config.detector.gru, vocabulary, config.detector.gru.embedding)


def _rows(examples: Examples, rows: np.ndarray) -> FeatureRows:
  clean = np.zeros(len(rows), bool)
  return FeatureRows(
    examples.distinct.tokens, examples.index[rows], examples.abnormal[rows], clean, rows
  )


def save(folder: Path, detector: Detector) -> None:
  """Saves parameters with Orbax and the rest as JSON."""
  folder.mkdir(parents=True, exist_ok=True)
  save_params(folder / 'classifiers', {str(r): p for r, p in enumerate(detector.classifiers)})
  about = {
    'vocabulary': detector.vocabulary,
    'thresholds': detector.thresholds,
    'history': detector.history,
  }
  write_json(folder / 'fitted.json', about)


def restore(config: ml_collections.ConfigDict, folder: Path) -> Detector:
  """Restores a detector written by `save`, on any number of devices."""
  about = read_json(folder / 'fitted.json', dict, f'delete {folder} and run --mode=train')
  model = _model(config, about['vocabulary'])
  row = np.zeros(config.text.length, np.int32)
  like = jax.eval_shape(lambda k: model.init(k, row)['params'], jax.random.key(0))
  repetitions = [str(r) for r in range(len(about['thresholds']))]
  saved = restore_params(folder / 'classifiers', dict.fromkeys(repetitions, like))
  return Detector(
    tuple(saved[r] for r in repetitions),
    about['vocabulary'],
    tuple(about['thresholds']),
    tuple(about['history']),
  )
