"""Gives every line the same score: the share of abnormal training lines.

The floor of every comparison. Every line gets the majority class of the training lines, as by
scikit-learn's `DummyClassifier(strategy='prior')`. U distinct lines.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import ml_collections
import numpy as np

from logjax.errors import LogjaxError
from logjax.evaluation.thresholds import THRESHOLD
from logjax.examples.lines import Encoder
from logjax.examples.types import Data, Examples, Reason
from logjax.files import read_json, write_json
from logjax.rules import Rule
from logjax.training.runtime import Runtime

KIND, NEEDS, SCORES = 'lines', 'labels', 'distinct'
TITLE = 'majority class'
RULES: dict[str, Rule] = {}


class Detector(NamedTuple):
  """The share of abnormal training lines."""

  share: float
  thresholds: tuple[float, ...] = (THRESHOLD,)
  history: tuple[dict[str, float], ...] = ({},)


def fit(
  config: ml_collections.ConfigDict, data: Data, *, key: jax.Array, runtime: Runtime
) -> Detector:
  """Measures the share of abnormal training lines.

  Raises:
    LogjaxError: there is no training line.
  """
  del config, key, runtime
  if not len(data.split.train):
    raise LogjaxError('there is no training row: give a larger training share (config.split)')
  return Detector(float(data.examples.abnormal[data.split.train].mean()))


def score(
  config: ml_collections.ConfigDict, detector: Detector, examples: Examples, *, key: jax.Array
) -> np.ndarray:
  """Returns the same score for every distinct line, float64 [1, U]."""
  del config, key
  return np.full((1, len(examples.distinct.masked)), detector.share)


def explain(
  config: ml_collections.ConfigDict,
  detector: Detector,
  encoder: Encoder,
  examples: Examples,
  index: np.ndarray,
) -> list[list[Reason]]:
  """Returns no reasons: the content of a line decides nothing."""
  del config, detector, encoder, examples
  return [[] for _ in index]


def save(folder: Path, detector: Detector) -> None:
  """Writes the share as JSON."""
  folder.mkdir(parents=True, exist_ok=True)
  write_json(folder / 'fitted.json', {'share': detector.share})


def restore(config: ml_collections.ConfigDict, folder: Path) -> Detector:
  """Reads a detector written by `save`."""
  del config
  about = read_json(folder / 'fitted.json', dict, f'delete {folder} and train again')
  return Detector(about['share'])
