"""Single lines for a report: `details.json`. R repetitions, N test rows."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import polars as pl

from logjax.corpora.parsing import Logs
from logjax.evaluation.metrics import precision_recall_points
from logjax.examples.similarity import nearest
from logjax.examples.types import Data, Examples

_MISTAKES = 20
_GENERATED = 20


def line_details(
  logs: Logs, data: Data, scores: np.ndarray, thresholds: Sequence[float]
) -> dict[str, Any]:
  """Returns the mistakes and the precision-recall curve.

  Args:
    logs: the lines behind the examples.
    data: all rows and their split.
    scores: of the test rows [R, N].
    thresholds: of the repetitions [R].
  """
  abnormal, score = data.examples.abnormal[data.split.test], scores.mean(axis=0)
  # Each repetition has its own threshold, so they vote; a tie raises the alarm.
  called = (scores >= np.array(thresholds)[:, None]).mean(axis=0) >= 0.5
  return {
    'mistakes': _mistakes(logs, data, abnormal, score, called),
    'precision_recall': precision_recall_points(abnormal, score),
  }


def where(logs: Logs, place: int) -> str:
  """Returns `file:line` of a line, by its place in `logs.frame`."""
  file, line = logs.frame['file'][int(place)], logs.frame['line'][int(place)]
  return f'{logs.files[file]}:{line}'


def generated_details(
  logs: Logs,
  examples: Examples,
  distinct: np.ndarray,
  counts: np.ndarray,
  decode: Callable[[np.ndarray], pl.Series],
) -> list[dict[str, Any]]:
  """Returns the most frequent generated rows and as many others, beside their nearest real rows.

  Args:
    logs: the lines behind the real examples.
    examples: real ones, of the kind `lines`.
    distinct: distinct generated rows, int32 [U, T].
    counts: number of generated rows of each [U].
    decode: from token rows to their texts.
  """
  if not len(distinct):
    return []
  # By falling count, equals in their order. One half of the list is the most frequent rows, the
  # other half is spread evenly over the rest.
  order = np.lexsort((np.arange(len(distinct)), -counts))
  half = _GENERATED // 2
  rest = np.linspace(half, len(order) - 1, min(half, max(0, len(order) - half))).astype(int)
  chosen = order[np.unique(np.concatenate([np.arange(min(half, len(order))), rest]))]
  # The first abnormal line of every distinct row. Rows that are equal in tokens may differ in
  # masked text, so the rows are made distinct by tokens once more.
  used, first = np.unique(examples.index[examples.abnormal], return_index=True)
  lines = examples.first[examples.abnormal][first]
  tokens, place = np.unique(examples.distinct.tokens[used], axis=0, return_index=True)
  index, similarity = nearest(distinct[chosen], tokens)
  near, texts, nearest_texts = place[index], decode(distinct[chosen]), decode(tokens[index])
  return [
    {
      'text': texts[i],
      'count': int(counts[row]),
      'nearest': nearest_texts[i],
      'nearest_where': where(logs, lines[near[i]]),
      'similarity': float(similarity[i]),
    }
    for i, row in enumerate(chosen)
  ]


def _mistakes(
  logs: Logs, data: Data, abnormal: np.ndarray, score: np.ndarray, called: np.ndarray
) -> list[dict[str, Any]]:
  """Lists the missed abnormal rows with the lowest scores and the false alarms with the highest.

  Real rows only, and each masked text once.
  """
  test, mistakes = data.split.test, []
  real = ~data.examples.generated[test]
  for truth in (True, False):
    wrong = np.flatnonzero((abnormal == truth) & (called != truth) & real)
    wrong = wrong[np.argsort(score[wrong] if truth else -score[wrong], kind='stable')]
    _, first = np.unique(data.examples.group[test[wrong]], return_index=True)
    for i in wrong[np.sort(first)][:_MISTAKES]:
      place = data.examples.first[test[i]]
      mistakes.append(
        {
          'where': where(logs, place),
          'text': logs.frame['message'][int(place)],
          'abnormal': truth,
          'score': float(score[i]),
        }
      )
  return mistakes
