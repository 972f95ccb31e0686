"""The types that pass between the stages of a run. N examples, U distinct ones, T time.

Logs repeat themselves: a million lines have some thousand different texts. So examples are
dictionary-encoded, and every function of the content alone is computed once for each distinct
example.
"""

from typing import Any, NamedTuple

import numpy as np


class Examples(NamedTuple):
  """Examples of one kind, real ones in the order of the log, then generated ones.

  Attributes:
    distinct: a tree of arrays [U, ...]; its type belongs to the kind (`lines.Rows` for lines).
    index: the distinct example of each example, int32 [N].
    abnormal: bool [N]; None without labels.
    first: the first line of each, by its place in `Logs.frame`; -1 for a generated one, int64 [N].
    last: the last line of each; equal to `first` if an example is one line, int64 [N].
    group: id of the masked text, int64 [N]; examples of one group count as equal.
    time: microseconds since 1970 [N]; None if a file has no times. 0 for a generated one.
  """

  distinct: Any
  index: np.ndarray
  abnormal: np.ndarray | None
  first: np.ndarray
  last: np.ndarray
  group: np.ndarray
  time: np.ndarray | None

  @property
  def generated(self) -> np.ndarray:
    """Marks the generated examples, bool [N]."""
    return self.first < 0


class Unencoded(NamedTuple):
  """The examples of a log before an encoder is fitted.

  Attributes:
    content: the input of the kind's encoder, such as token texts.
    examples: all columns except `distinct`: it is None.
  """

  content: Any
  examples: Examples


class Split(NamedTuple):
  """Indices of the examples on each side, int64 arrays."""

  train: np.ndarray
  valid: np.ndarray
  test: np.ndarray


class Data(NamedTuple):
  """The input of a detector's fit; the protocol decides about looking at test examples.

  Attributes:
    examples: real and generated ones.
    split: of the examples.
    encoder: of the kind, fitted.
    balanced: both classes weigh the same in the loss.
  """

  examples: Examples
  split: Split
  encoder: Any
  balanced: bool = False


class Reason(NamedTuple):
  """One reason why a detector calls an example abnormal.

  Attributes:
    kind: of reason, such as 'term', 'token', 'unseen_text' or 'neighbour'.
    observed: the part of the example in question.
    expected: normal alternatives; may be empty.
    weight: contribution to the score, larger is more abnormal; each detector has its own unit.
  """

  kind: str
  observed: str
  expected: tuple[str, ...] = ()
  weight: float | None = None
