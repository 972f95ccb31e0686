"""What a report shows of single lines: `details.json`. R repetitions, N test rows."""

from typing import Any

import numpy as np

from logjax.detectors.autoencoder_gru import Detector
from logjax.evaluation.metrics import precision_recall_points
from logjax.examples.similarity import nearest
from logjax.results import Rows

_MISTAKES = 20
_GENERATED = 20


def make_details(rows: Rows, detector: Detector, scores: np.ndarray) -> dict[str, Any]:
  """What the report shows of single lines: generated ones, mistakes, the precision-recall curve.

  Args:
    rows: of the run.
    detector: for its thresholds.
    scores: [R, N].
  """
  abnormal, score = rows.examples.abnormal[rows.split.test], scores.mean(axis=0)
  # Each repetition has its own threshold, so they vote; a tie raises the alarm.
  called = (scores >= np.array(detector.thresholds)[:, None]).mean(axis=0) >= 0.5
  return {
    'generated': _generated(rows),
    'mistakes': _mistakes(rows, abnormal, score, called),
    'precision_recall': precision_recall_points(abnormal, score),
  }


def _where(rows: Rows, origin: int) -> str:
  logs = rows.corpus.logs
  file, line = logs.frame['file'][int(origin)], logs.frame['line'][int(origin)]
  return f'{logs.files[file]}:{line}'


def _generated(rows: Rows) -> list[dict[str, Any]]:
  """The most frequent generated rows and as many others, beside their nearest real rows."""
  made = rows.oversampled.rows
  if not len(made):
    return []
  distinct, counts = np.unique(made, axis=0, return_counts=True)
  order = np.lexsort((np.arange(len(distinct)), -counts))
  half = _GENERATED // 2
  rest = np.linspace(half, len(order) - 1, min(half, max(0, len(order) - half))).astype(int)
  chosen = order[np.unique(np.concatenate([np.arange(min(half, len(order))), rest]))]
  examples = rows.examples
  real = np.flatnonzero(examples.abnormal & (examples.origin >= 0))
  real = real[np.unique(examples.inputs[real], axis=0, return_index=True)[1]]
  index, similarity = nearest(distinct[chosen], examples.inputs[real])
  texts = rows.prepared.vocabulary.decode(distinct[chosen])
  nearest_texts = rows.prepared.vocabulary.decode(examples.inputs[real[index]])
  return [
    {
      'text': texts[i],
      'count': int(counts[chosen[i]]),
      'nearest': nearest_texts[i],
      'nearest_where': _where(rows, examples.origin[real[index[i]]]),
      'similarity': float(similarity[i]),
    }
    for i in range(len(chosen))
  ]


def _mistakes(
  rows: Rows, abnormal: np.ndarray, score: np.ndarray, called: np.ndarray
) -> list[dict[str, Any]]:
  """Of the rows called wrongly, the abnormal with the lowest scores, the normal with the highest.

  Real rows only, and each masked text once.
  """
  test, mistakes = rows.split.test, []
  real = rows.examples.origin[test] >= 0
  for truth in (True, False):
    wrong = np.flatnonzero((abnormal == truth) & (called != truth) & real)
    wrong = wrong[np.argsort(score[wrong] if truth else -score[wrong], kind='stable')]
    _, first = np.unique(rows.examples.group[test[wrong]], return_index=True)
    for i in wrong[np.sort(first)][:_MISTAKES]:
      origin = rows.examples.origin[test[i]]
      mistakes.append(
        {
          'where': _where(rows, origin),
          'text': rows.corpus.logs.frame['message'][int(origin)],
          'abnormal': truth,
          'score': float(score[i]),
        }
      )
  return mistakes
