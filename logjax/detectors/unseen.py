"""Calls a line abnormal when no normal training line has its masked text.

Needs normal lines only. U distinct lines.
"""

from pathlib import Path
from typing import NamedTuple

import jax
import ml_collections
import numpy as np
import polars as pl

from logjax.examples.lines import Encoder, text_counts
from logjax.examples.types import Data, Examples, Reason
from logjax.files import read_json, write_json
from logjax.rules import Rule
from logjax.training.runtime import Runtime

KIND, NEEDS, SCORES = 'lines', 'normal', 'distinct'
TITLE = 'unseen text'
RULES: dict[str, Rule] = {}

_THRESHOLD = 0.5  # a score is 0 or 1


class Detector(NamedTuple):
  """The masked texts of the normal training lines."""

  known: frozenset[str]
  thresholds: tuple[float, ...] = (_THRESHOLD,)
  history: tuple[dict[str, float], ...] = ({},)


def fit(
  config: ml_collections.ConfigDict, data: Data, *, key: jax.Array, runtime: Runtime
) -> Detector:
  """Collects the masked texts of the normal training lines."""
  del config, key, runtime
  known = text_counts(data.examples, data.split.train).filter(pl.col('normal') > 0)
  return Detector(frozenset(known['text']))


def score(
  config: ml_collections.ConfigDict, detector: Detector, examples: Examples, *, key: jax.Array
) -> np.ndarray:
  """Returns 1 for each distinct line with a new text and 0 for the others, float64 [1, U]."""
  del config, key
  new = [text not in detector.known for text in examples.distinct.masked]
  return np.array(new, np.float64)[None]


def explain(
  config: ml_collections.ConfigDict,
  detector: Detector,
  encoder: Encoder,
  examples: Examples,
  index: np.ndarray,
) -> list[list[Reason]]:
  """Names the text if it is new, for the distinct lines `index`."""
  del config, encoder
  texts = examples.distinct.masked[index]
  return [[] if text in detector.known else [Reason('unseen_text', text)] for text in texts]


def save(folder: Path, detector: Detector) -> None:
  """Writes the texts as JSON."""
  folder.mkdir(parents=True, exist_ok=True)
  write_json(folder / 'fitted.json', {'known': sorted(detector.known)})


def restore(config: ml_collections.ConfigDict, folder: Path) -> Detector:
  """Reads a detector written by `save`."""
  del config
  about = read_json(folder / 'fitted.json', dict, f'delete {folder} and train again')
  return Detector(frozenset(about['known']))
