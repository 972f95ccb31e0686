"""Looks up the share of abnormal training lines with the same masked text.

A list of known texts: as a baseline it measures memory alone. U distinct lines.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from logjax.evaluation.thresholds import choose_threshold
from logjax.examples.lines import Encoder, text_counts
from logjax.examples.types import Data, Examples, Reason
from logjax.files import read_json, write_json
from logjax.rules import Rule
from logjax.training.runtime import Runtime

KIND, NEEDS, SCORES = 'lines', 'labels', 'distinct'
TITLE = 'known texts'
RULES: dict[str, Rule] = {}


class Detector(NamedTuple):
  """The share of abnormal lines of each known text, and of all training lines."""

  shares: dict[str, float]
  overall: float
  thresholds: tuple[float, ...]
  history: tuple[dict[str, float], ...] = ({},)


def fit(
  config: ml_collections.ConfigDict, data: Data, *, key: jax.Array, runtime: Runtime
) -> Detector:
  """Counts the training lines of every text by label; chooses the threshold on validation lines."""
  del key, runtime
  examples, (train, valid, _) = data.examples, data.split
  known = text_counts(examples, train)
  counts = known.select('normal', 'abnormal').to_numpy()
  shares = dict(zip(known['text'], (counts[:, 1] / counts.sum(axis=1)).tolist(), strict=True))
  detector = Detector(shares, float(counts[:, 1].sum() / counts.sum()), ())
  lines, place = np.unique(examples.index[valid], return_inverse=True)
  scores = _shares(detector, examples.distinct.masked[lines])[place]
  threshold = choose_threshold(config.detector.threshold, examples.abnormal[valid], scores)
  return detector._replace(thresholds=(threshold,))


def score(
  config: ml_collections.ConfigDict, detector: Detector, examples: Examples, *, key: jax.Array
) -> np.ndarray:
  """Returns the share of each distinct line's text, float64 [1, U].

  A new text gets the share among all training lines: the best guess without looking at the text.
  So it ranks above texts with normal lines only, and below texts with abnormal lines only.
  """
  del config, key
  return _shares(detector, examples.distinct.masked)[None]


def _shares(detector: Detector, masked: np.ndarray) -> np.ndarray:
  return np.array([detector.shares.get(text, detector.overall) for text in masked], np.float64)


def explain(
  config: ml_collections.ConfigDict,
  detector: Detector,
  encoder: Encoder,
  examples: Examples,
  index: np.ndarray,
) -> list[list[Reason]]:
  """Gives the text and its share of abnormal training lines, for the distinct lines `index`."""
  del config, encoder
  texts = examples.distinct.masked[index]
  return [
    [Reason('known_text', text, (), detector.shares[text])] if text in detector.shares else []
    for text in texts
  ]


def save(folder: Path, detector: Detector) -> None:
  """Writes the shares as JSON."""
  folder.mkdir(parents=True, exist_ok=True)
  about = {
    'shares': detector.shares,
    'overall': detector.overall,
    'thresholds': detector.thresholds,
  }
  write_json(folder / 'fitted.json', about)


def restore(config: ml_collections.ConfigDict, folder: Path) -> Detector:
  """Reads a detector written by `save`."""
  del config
  about = read_json(folder / 'fitted.json', dict, f'delete {folder} and train again')
  return Detector(about['shares'], about['overall'], tuple(about['thresholds']))
