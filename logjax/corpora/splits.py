"""Protocols: who may see what.

A protocol is a set of leaks. The paper's has all seven; the honest one has none. Each leak is a
switch of its own, so that they can be taken away one at a time.
"""

from typing import NamedTuple

import numpy as np

from logjax.errors import LogjaxError

LEAKS = {
  'synthetic_in_test': 'generated lines are in the validation and test sets',
  'oversampler_sees_test': 'the oversampler was trained on abnormal test lines too',
  'label_routed_encoder': 'the true label of a row, test rows included, picks the autoencoder that '
  'encodes it, and the autoencoders were trained on all rows',
  'vocabulary_from_all': 'the vocabulary was fitted on all lines, test lines included',
  'noise_on_test': 'noise was added to validation and test rows too',
  'duplicates_across_split': 'the same masked text may be in train and in test',
  'random_split': 'lines were shuffled before the split, so that train holds lines from after test',
}
PROTOCOLS = {'honest': frozenset(), 'paper': frozenset(LEAKS)}


class Split(NamedTuple):
  """Indices of the rows on each side, int64 arrays."""

  train: np.ndarray
  valid: np.ndarray
  test: np.ndarray


def leaks_of(protocol: str, leaks: str, split_by: str) -> frozenset[str]:
  """Returns the leaks of a run.

  Args:
    protocol: 'honest' or 'paper'.
    leaks: names separated by commas, which replace the protocol's; '' for the protocol's own,
      'none' for none.
    split_by: 'random' adds random_split, 'time' takes it away, 'auto' leaves it.

  Raises:
    LogjaxError: for a name that is none of `PROTOCOLS` or `LEAKS`.
  """
  if protocol not in PROTOCOLS:
    raise LogjaxError(
      f'unknown protocol {protocol!r}: --config.protocol is one of {", ".join(PROTOCOLS)}'
    )
  if split_by not in ('auto', 'time', 'random'):
    raise LogjaxError(f'unknown split.by {split_by!r}: it is one of auto, time, random')
  chosen = PROTOCOLS[protocol]
  if leaks:
    names = [name.strip() for name in leaks.split(',')]
    chosen = frozenset() if names == ['none'] else frozenset(names)
  unknown = sorted(chosen - set(LEAKS))
  if unknown:
    raise LogjaxError(f'unknown leak {unknown[0]!r}: --config.leaks takes {", ".join(LEAKS)}')
  if split_by == 'random':
    chosen |= {'random_split'}
  if split_by == 'time':
    chosen -= {'random_split'}
  return chosen


def order_rows(time: np.ndarray | None, rows: int, *, shuffled: bool, seed: int) -> np.ndarray:
  """Returns the order in which rows are cut into train, validation and test, int64 [N].

  Args:
    time: microseconds [N], or None where a row's time is unknown: then the order of the file.
    rows: N.
    shuffled: random order instead.
    seed: of that order.
  """
  if shuffled:
    return np.random.default_rng(seed).permutation(rows)
  if time is None:
    return np.arange(rows)
  return np.argsort(time, kind='stable')


def cut(order: np.ndarray, train: float, valid: float) -> Split:
  """Cuts ordered rows [N] into the first `train`, the next `valid`, and the rest, which test.

  Raises:
    LogjaxError: when the shares are not above 0 with a sum below 1.
  """
  if not (train > 0 and valid > 0 and train + valid < 1):
    raise LogjaxError(
      f'split.train={train} and split.valid={valid} must be above 0 and leave rows to test'
    )
  first, second = round(len(order) * train), round(len(order) * (train + valid))
  return Split(order[:first], order[first:second], order[second:])


def redraw(split: Split, repetition: int, *, shuffled: bool, seed: int) -> Split:
  """Draws train and validation anew from their union, for one of the paper's repetitions.

  Without `shuffled` the split is returned as it is, and repetitions differ by what else is random.
  """
  if not shuffled or repetition == 0:
    return split
  union = np.concatenate([split.train, split.valid])
  drawn = np.random.default_rng([seed, repetition]).permutation(union)
  return Split(drawn[: len(split.train)], drawn[len(split.train) :], split.test)


def check(split: Split, abnormal: np.ndarray, *, shuffled: bool) -> None:
  """Checks that both classes are on the training and on the test side, and some row validates.

  Raises:
    LogjaxError: one line with the counts of every side and what would help.
  """
  counts = {name: (len(side), int(abnormal[side].sum())) for name, side in split._asdict().items()}
  missing = [
    f'{word} row to {"train on" if name == "train" else "test on"}'
    for name in ('train', 'test')
    for word, number in (
      ('abnormal', counts[name][1]),
      ('normal', counts[name][0] - counts[name][1]),
    )
    if number == 0
  ]
  if counts['valid'][0] == 0:
    missing.append('row to validate on')
  if not missing:
    return
  sides = ', '.join(f'{name} {n:,} rows ({a:,} abnormal)' for name, (n, a) in counts.items())
  if abnormal.sum() in (0, len(abnormal)):
    helps = 'the log has one class only: give a log with both, or check data.labels'
  elif shuffled:
    helps = 'give more lines, or move split.train and split.valid'
  else:
    helps = (
      '--config.split.by=random mixes the sides (named among the leaks of the result), '
      'or move split.train and split.valid'
    )
  raise LogjaxError(f'no {" and no ".join(missing)}: {sides}; {helps}')
