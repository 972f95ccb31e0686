"""Examples: token rows with their labels, and which of them train, validate and test.

N rows, T tokens a row, G generated rows.
"""

from typing import NamedTuple

import ml_collections
import numpy as np
import polars as pl

from logjax.corpora.parsing import Logs
from logjax.errors import LogjaxError
from logjax.examples import splits
from logjax.examples.keys import with_templates
from logjax.examples.splits import Split
from logjax.examples.text import (
  Texts,
  Vocabulary,
  cut_share,
  fit_vocabulary,
  masked_text,
  read_texts,
  text_ids,
)

_PERMUTED = 1 << 21  # tag of the random numbers that permute labels


class Examples(NamedTuple):
  """Rows of a corpus.

  Attributes:
    inputs: token ids, int32 [N, T].
    abnormal: bool [N].
    origin: the line of the corpus, by its place in `Logs.frame`; -1 for a generated row, int64 [N].
    group: id of the masked text; ids beyond the corpus' own are texts that it does not have,
      int64 [N].
  """

  inputs: np.ndarray
  abnormal: np.ndarray
  origin: np.ndarray
  group: np.ndarray


class Prepared(NamedTuple):
  """A corpus ready for a protocol.

  Attributes:
    examples: real rows, in the order of the corpus.
    split: which of them train, validate and test.
    texts: the token texts behind them.
    masked: the masked text of every group.
    vocabulary: fitted on the rows that the protocol allows.
    cut_share: share of lines that are longer than a row.
    time: of every row, microseconds [N]; None where a file has no times.
    ordered_by: what put the rows on their sides: 'time', 'line' (the order of the files, where a
      file has no times), 'random', or 'text' (at random, each masked text on one side).
  """

  examples: Examples
  split: Split
  texts: Texts
  masked: pl.Series
  vocabulary: Vocabulary
  cut_share: float
  time: np.ndarray | None
  ordered_by: str


def prepare(config: ml_collections.ConfigDict, leaks: frozenset[str], logs: Logs) -> Prepared:
  """Splits a corpus, fits its vocabulary and turns its lines into rows.

  Args:
    config: of the run, resolved.
    leaks: of the run.
    logs: the corpus.

  Raises:
    LogjaxError: when the lines have no labels, or a side of the split lacks a class.
  """
  if not logs.labelled:
    raise LogjaxError(
      'these lines have no labels, and a detector is trained on labels: give data.pattern a group '
      "'label', or data.label_file for HDFS"
    )
  abnormal = logs.frame['abnormal'].to_numpy()
  if config.data.permute_labels:
    abnormal = np.random.default_rng([config.seed, _PERMUTED]).permutation(abnormal)
  time, by = line_times(logs.frame), splits.split_kind(leaks)
  order = splits.order_rows(time, len(abnormal), shuffled=by != 'time', seed=config.seed)
  shares = (config.split.train, config.split.valid)
  if by != 'text':
    split = splits.cut(order, *shares)
    splits.check(split, abnormal, by=by)  # before what takes time

  texts = read_texts(
    logs.frame['message'],
    numbers=config.text.numbers,
    identifiers=config.text.identifiers,
    tokens='words' if config.text.tokens == 'template' else config.text.tokens,
    lowercase=config.text.lowercase,
  )
  if by == 'text':
    split = splits.cut_by_text(order, texts.group, abnormal, *shares)
    splits.check(split, abnormal, by=by)
  split = splits.keep_abnormal(split, abnormal, config.split.abnormal_train, config.seed)
  seen = order if 'vocabulary_from_all' in leaks else split.train
  if config.text.tokens == 'template':
    texts = with_templates(texts, seen)
  vocabulary = fit_vocabulary(
    texts, seen, max_vocabulary=config.text.max_vocabulary, kept_numbers=config.text.kept_numbers
  )
  inputs = vocabulary.encode(texts.texts, config.text.length)[texts.index]
  masked = pl.DataFrame({'group': texts.group, 'masked': texts.masked.gather(texts.index)})
  masked = masked.unique('group').sort('group')['masked']
  examples = Examples(inputs, abnormal, np.arange(len(abnormal)), texts.group)
  return Prepared(
    examples,
    split,
    texts,
    masked,
    vocabulary,
    cut_share(texts, config.text.length),
    time,
    'line' if by == 'time' and time is None else by,
  )


def line_times(frame: pl.DataFrame) -> np.ndarray | None:
  """Returns the time of every line, microseconds [L]; None where a file has no times at all.

  A line whose own time cannot be read has that of the line before it in its file (the first ones
  that of the line after them), so that a few such lines do not undo the order of all.
  """
  time = pl.col('time').forward_fill().backward_fill().over('file')
  filled = frame.select(time)['time']
  return None if filled.null_count() else filled.to_numpy()


def masked_rows(vocabulary: Vocabulary, rows: np.ndarray) -> pl.Series:
  """Returns the masked text of token rows [N, T]; what was cut from a row is not in it."""
  distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
  text = pl.DataFrame({'text': vocabulary.decode(distinct)})
  return text.select(masked_text(pl.col('text')))['text'].gather(inverse.reshape(-1))


def add_generated(
  prepared: Prepared,
  rows: np.ndarray,
  leaks: frozenset[str],
  split_shares: tuple[float, float],
  seed: int,
) -> tuple[Examples, Split]:
  """Adds generated rows [G, T], all abnormal, to the examples.

  They train. With the leak synthetic_in_test they are cut at random, and validate and test too;
  where each masked text is on one side, they go where their text is.

  Returns:
    The examples, generated ones last, and their split.
  """
  examples, split, count = prepared.examples, prepared.split, len(prepared.examples.inputs)
  texts = masked_rows(prepared.vocabulary, rows)
  # Compared as the generator sees real rows: cut, and in the tokens of the vocabulary.
  real = prepared.vocabulary.encode(prepared.texts.texts, rows.shape[1])
  place = text_ids(texts, masked_rows(prepared.vocabulary, real))
  group_of = np.zeros(len(real), np.int64)
  group_of[prepared.texts.index] = examples.group
  group = np.where(place < 0, -1, group_of[place])
  new = texts.filter(pl.Series(group < 0)).unique(maintain_order=True)
  group = np.where(group < 0, len(prepared.masked) + text_ids(texts, new), group)
  joined = Examples(
    np.concatenate([examples.inputs, rows]),
    np.concatenate([examples.abnormal, np.ones(len(rows), bool)]),
    np.concatenate([examples.origin, np.full(len(rows), -1)]),
    np.concatenate([examples.group, group]),
  )
  if 'synthetic_in_test' in leaks and len(rows):
    parts = _cut_generated(joined, split, count, leaks, split_shares, seed)
  else:
    parts = Split(count + np.arange(len(rows)), np.arange(0), np.arange(0))
  sides = (np.concatenate(pair) for pair in zip(split, parts, strict=True))
  return joined, Split(*sides)


def _cut_generated(
  joined: Examples,
  split: Split,
  count: int,
  leaks: frozenset[str],
  shares: tuple[float, float],
  seed: int,
) -> Split:
  """Cuts the rows behind the first `count`, which are generated."""
  order = count + np.random.default_rng(seed).permutation(len(joined.group) - count)
  if splits.split_kind(leaks) != 'text':
    return splits.cut(order, *shares)
  side_of = np.full(joined.group.max() + 1, -1)
  for number, side in enumerate(split):
    side_of[joined.group[side]] = number
  side = side_of[joined.group[order]]
  new = splits.cut_by_text(order[side < 0], joined.group, joined.abnormal, *shares)
  return Split(*(np.concatenate([order[side == n], part]) for n, part in enumerate(new)))
