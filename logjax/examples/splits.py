"""Protocols: who may see what.

A protocol is a set of leaks. The paper's has all seven; the honest one has none. Each leak is a
switch of its own, so that they can be taken away one at a time.
"""

from typing import NamedTuple

import numpy as np

from logjax.errors import LogjaxError

_FEW = 1 << 20  # tag of the random numbers of keep_abnormal; redraw has those below
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
    split_by: 'time' takes random_split away, 'text' adds it without duplicates_across_split,
      'random' adds both, 'auto' leaves both.

  Raises:
    LogjaxError: for a name that is none of `PROTOCOLS` or `LEAKS`.
  """
  if protocol not in PROTOCOLS:
    raise LogjaxError(
      f'unknown protocol {protocol!r}: --config.protocol is one of {", ".join(PROTOCOLS)}'
    )
  if split_by not in ('auto', 'time', 'random', 'text'):
    raise LogjaxError(f'unknown split.by {split_by!r}: it is one of auto, time, random, text')
  chosen = PROTOCOLS[protocol]
  if leaks:
    names = [name.strip() for name in leaks.split(',')]
    chosen = frozenset() if names == ['none'] else frozenset(names)
  unknown = sorted(chosen - set(LEAKS))
  if unknown:
    raise LogjaxError(f'unknown leak {unknown[0]!r}: --config.leaks takes {", ".join(LEAKS)}')
  if split_by == 'random':
    chosen |= {'random_split', 'duplicates_across_split'}
  if split_by == 'text':
    chosen = chosen - {'duplicates_across_split'} | {'random_split'}
  if split_by == 'time':
    chosen -= {'random_split'}
  return chosen


def split_kind(leaks: frozenset[str]) -> str:
  """How rows are split: 'time', 'random', or 'text', where a text is on one side only.

  A log in order of time has its texts on both sides whatever one does, since that is how logs are;
  so without random_split duplicates_across_split decides nothing, and is only told.
  """
  if 'random_split' not in leaks:
    return 'time'
  return 'random' if 'duplicates_across_split' in leaks else 'text'


def knows_all(leaks: frozenset[str]) -> bool:
  """Whether the oversampler learns from all abnormal rows, those that test included."""
  return 'oversampler_sees_test' in leaks


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


def cut_by_text(
  order: np.ndarray, group: np.ndarray, abnormal: np.ndarray, train: float, valid: float
) -> Split:
  """Cuts rows so that no text is on two sides, as near to the shares as whole texts allow.

  Texts with abnormal rows and texts without are dealt out separately, each the one with most rows
  first, to the side that lacks most rows of its kind.

  Args:
    order: of the rows, [N]; decides between texts with equally many rows.
    group: id of the masked text of every row, from 0 on.
    abnormal: bool, of every row.
    train: share of the rows that train.
    valid: share that validate.

  Raises:
    LogjaxError: as `cut` does.
  """
  wanted = np.array([len(side) for side in cut(order, train, valid)]) / max(1, len(order))
  groups, first, counts = np.unique(group[order], return_index=True, return_counts=True)
  has_abnormal = np.bincount(group[order], abnormal[order])[groups] > 0
  side_of = np.zeros(group[order].max(initial=0) + 1, np.int64)
  for kind in (True, False):
    chosen = np.flatnonzero(has_abnormal == kind)
    lacking = wanted * counts[chosen].sum()
    for i in chosen[np.lexsort((first[chosen], -counts[chosen]))]:
      side = int(np.argmax(lacking))
      side_of[groups[i]] = side
      lacking[side] -= counts[i]
  side = side_of[group[order]]
  return Split(*(order[side == number] for number in range(3)))


def keep_abnormal(split: Split, abnormal: np.ndarray, most: int, seed: int) -> Split:
  """Leaves at most `most` abnormal rows to train and as many to validate; 0 leaves all.

  Which ones is drawn by the seed; the rows of a smaller number are among those of a larger one.
  Normal rows and those that test stay.
  """
  if not most:
    return split
  sides = []
  for number, side in enumerate(split[:2]):
    drawn = np.random.default_rng([seed, _FEW + number]).permutation(np.flatnonzero(abnormal[side]))
    stay = ~abnormal[side]
    stay[drawn[:most]] = True
    sides.append(side[stay])
  return Split(*sides, split.test)


def redraw(split: Split, repetition: int, *, shuffled: bool, seed: int) -> Split:
  """Draws train and validation anew from their union, for one of the paper's repetitions.

  Without `shuffled` the split is returned as it is, and repetitions differ by what else is random.
  """
  if not shuffled or repetition == 0:
    return split
  union = np.concatenate([split.train, split.valid])
  drawn = np.random.default_rng([seed, repetition]).permutation(union)
  return Split(drawn[: len(split.train)], drawn[len(split.train) :], split.test)


def check(split: Split, abnormal: np.ndarray, *, by: str) -> None:
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
  rows = {'normal': int((~abnormal).sum()), 'abnormal': int(abnormal.sum())}
  rarer = min(rows, key=rows.get)
  if rows[rarer] == 0:
    helps = 'the log has one class only: give a log with both, or check data.labels'
  elif rows[rarer] == 1:
    helps = f'the log has one {rarer} row, and train and test need one each: give a log with more'
  elif by == 'text':
    helps = (
      '--config.split.by=random lets a text be on both sides (named among the leaks of the '
      'result), or move split.train and split.valid'
    )
  elif by == 'random':
    helps = 'give more lines, or move split.train and split.valid'
  else:
    helps = (
      '--config.split.by=random mixes the sides (named among the leaks of the result; not with '
      '--mode=ladder), or move split.train and split.valid'
    )
  raise LogjaxError(f'no {" and no ".join(missing)}: {sides}; {helps}')
