"""Splits of the rows into train, validation and test. N rows."""

import ml_collections
import numpy as np

from logjax.errors import LogjaxError
from logjax.examples.protocol import Protocol
from logjax.examples.types import Examples, Split

# Second part of a NumPy seed [seed, tag]: it keeps the random numbers of different uses apart.
# `redraw` has the tags below these, one for each repetition.
_FEW = 1 << 20  # of limit_abnormal
_PERMUTED = 1 << 21  # of permute_labels


def make_split(
  config: ml_collections.ConfigDict,
  protocol: Protocol,
  examples: Examples,
  *,
  needs: str,
) -> Split:
  """Splits the rows of a corpus by the protocol and `config.split`.

  Args:
    config: of the run, resolved.
    protocol: of the run.
    examples: real ones, with labels; their content is not used.
    needs: the labels needed for training, as in `check`.

  Raises:
    LogjaxError: a side lacks rows or a class.
  """
  by, abnormal = protocol.split_by, examples.abnormal
  order = order_rows(examples.time, len(abnormal), shuffled=by != 'time', seed=config.seed)
  shares = (config.split.train, config.split.valid)
  split = (
    cut_by_text(order, examples.group, abnormal, *shares) if by == 'text' else cut(order, *shares)
  )
  check(split, abnormal, by=by, needs=needs)
  return limit_abnormal(split, abnormal, config.split.abnormal_train, config.seed)


def permute_labels(abnormal: np.ndarray, seed: int) -> np.ndarray:
  """Gives the labels [N] to other rows at random: a control with nothing to learn."""
  return np.random.default_rng([seed, _PERMUTED]).permutation(abnormal)


def order_rows(time: np.ndarray | None, rows: int, *, shuffled: bool, seed: int) -> np.ndarray:
  """Returns the order of the rows for the cut into train, validation and test, int64 [N].

  Args:
    time: microseconds [N]; None, for the order of the file, if a row's time is unknown.
    rows: N.
    shuffled: random order instead.
    seed: of the random order.
  """
  if shuffled:
    return np.random.default_rng(seed).permutation(rows)
  if time is None:
    return np.arange(rows)
  return np.argsort(time, kind='stable')


def cut(order: np.ndarray, train: float, valid: float) -> Split:
  """Cuts ordered rows [N]: the fraction `train` first, then the fraction `valid`; the rest test.

  Raises:
    LogjaxError: the fractions are not above 0 with a sum below 1.
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
  """Cuts rows so that no text is on two sides, as near to the fractions as whole texts allow.

  Texts with abnormal rows are dealt out first, then texts without. Within each kind the text with
  most rows comes first. A text goes to the side with most missing rows of its kind.

  Args:
    order: of the rows, [N]; decides between texts with equally many rows.
    group: id of the masked text of every row, from 0 on.
    abnormal: bool, of every row.
    train: fraction of the rows for training.
    valid: fraction for validation.

  Raises:
    LogjaxError: as `cut` does.
  """
  # The fractions after rounding to whole rows.
  wanted = np.array([len(side) for side in cut(order, train, valid)]) / max(1, len(order))
  groups, first, counts = np.unique(group[order], return_index=True, return_counts=True)
  has_abnormal = np.bincount(group[order], abnormal[order])[groups] > 0
  side_of = np.zeros(group[order].max(initial=0) + 1, np.int64)
  for kind in (True, False):
    chosen = np.flatnonzero(has_abnormal == kind)
    lacking = wanted * counts[chosen].sum()  # rows still missing on each side
    # lexsort sorts by its last key first: most rows, then earliest in `order`.
    for i in chosen[np.lexsort((first[chosen], -counts[chosen]))]:
      side = int(np.argmax(lacking))
      side_of[groups[i]] = side
      lacking[side] -= counts[i]
  side = side_of[group[order]]
  return Split(*(order[side == number] for number in range(3)))


def limit_abnormal(split: Split, abnormal: np.ndarray, most: int, seed: int) -> Split:
  """Leaves at most `most` abnormal rows to train and as many to validate; 0 leaves all.

  The rows are drawn at random. The draw for a smaller `most` is a subset of the draw for a larger
  one. Normal rows and the test rows stay.
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
  """Draws train and validation again from their union, for one of the paper's repetitions.

  Without `shuffled` the split is returned unchanged, and repetitions differ by initial parameters,
  order and dropout alone.
  """
  if not shuffled or repetition == 0:
    return split
  union = np.concatenate([split.train, split.valid])
  drawn = np.random.default_rng([seed, repetition]).permutation(union)
  return Split(drawn[: len(split.train)], drawn[len(split.train) :], split.test)


def check(split: Split, abnormal: np.ndarray, *, by: str, needs: str = 'labels') -> None:
  """Checks that each side has the rows and classes it needs.

  The validation side needs a row, the test side both classes: else nothing can be measured.

  Args:
    split: of the rows.
    abnormal: bool [N].
    by: the rule of the split, for the advice.
    needs: 'labels' if training needs both classes, 'normal' if it needs normal rows, 'nothing' if
      any rows will do.

  Raises:
    LogjaxError: one line with the counts of every side and advice.
  """
  counts = {name: (len(side), int(abnormal[side].sum())) for name, side in split._asdict().items()}
  missing = [
    f'{word} row to {"train on" if name == "train" else "test on"}'
    for name in ('train', 'test')
    for word, number in (
      ('abnormal', counts[name][1]),
      ('normal', counts[name][0] - counts[name][1]),
    )
    if number == 0 and (name == 'test' or word in _needed(needs))
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


def _needed(needs: str) -> tuple[str, ...]:
  """Returns the classes needed on the training side."""
  return {'labels': ('abnormal', 'normal'), 'normal': ('normal',), 'nothing': ()}[needs]
