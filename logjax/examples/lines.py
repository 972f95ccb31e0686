"""The kind `lines`: every line of a log is an example, a row of tokens.

N lines, U distinct token texts, T tokens a row, V vocabulary, G generated rows.

  unencoded = read(config, logs)           masks and tokens, once for every distinct message
  encoder = fit(config, unencoded, seen)   vocabulary of the lines `seen`
  examples = encode(encoder, unencoded)
"""

from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
import numpy as np
import polars as pl

from logjax.corpora.parsing import Logs
from logjax.errors import LogjaxError
from logjax.examples import splits
from logjax.examples.protocol import Protocol
from logjax.examples.text import (
  Masks,
  Texts,
  Vocabulary,
  cut_share,
  fit_vocabulary,
  masked_text,
  read_texts,
  text_ids,
)
from logjax.examples.types import Examples, Split, Unencoded
from logjax.files import read_json, write_json
from logjax.rules import Rule, at_least, boolean, choice

KIND = 'lines'
RULES: dict[str, Rule] = {
  'text.length': at_least(2),  # a shorter row has no room for a token and its end
  'text.numbers': choice('mask', 'keep', auto=('keep', 'mask')),
  'text.kept_numbers': at_least(0),
  'text.identifiers': choice('mask', 'keep', 'drop'),
  'text.lowercase': boolean(),
  'text.max_vocabulary': at_least(3),  # two tokens are special
}
_FILE = 'encoder.json'


class Rows(NamedTuple):
  """The distinct examples of the kind `lines`.

  Attributes:
    tokens: ids of the vocabulary, padded or cut to T, int32 [U, T].
    masked: masked texts as Python strings, [U]; not cut, and with words outside the vocabulary.
  """

  tokens: np.ndarray
  masked: np.ndarray


class Encoder(NamedTuple):
  """The fitted state that turns a message into a row of tokens.

  Attributes:
    masks: the rules from messages to token texts.
    vocabulary: of the lines `seen`.
    length: T.
  """

  masks: Masks
  vocabulary: Vocabulary
  length: int


def read(config: ml_collections.ConfigDict, logs: Logs) -> Unencoded:
  """Masks and tokenises the messages of a log by `config.text`, each distinct one once."""
  texts, place = read_texts(logs.frame['message'], _masks(config)), np.arange(len(logs.frame))
  examples = Examples(
    distinct=None,
    index=texts.index.astype(np.int32),
    abnormal=logs.frame['abnormal'].to_numpy() if logs.labelled else None,
    first=place,
    last=place,
    group=texts.group,
    time=line_times(logs.frame),
  )
  return Unencoded(texts, examples)


def fit(config: ml_collections.ConfigDict, unencoded: Unencoded, seen: np.ndarray) -> Encoder:
  """Fits the vocabulary.

  Args:
    config: of the run, resolved.
    unencoded: of the log.
    seen: indices of the lines to learn from; the protocol decides.

  Raises:
    LogjaxError: these lines have no word at all.
  """
  settings = config.text
  vocabulary = fit_vocabulary(
    unencoded.content,
    seen,
    max_vocabulary=settings.max_vocabulary,
    kept_numbers=settings.kept_numbers,
  )
  return Encoder(_masks(config), vocabulary, settings.length)


def encode(encoder: Encoder, unencoded: Unencoded) -> Examples:
  """Turns the distinct texts of a log into rows of tokens."""
  texts: Texts = unencoded.content
  tokens = encoder.vocabulary.encode(texts.texts, encoder.length)
  return unencoded.examples._replace(distinct=Rows(tokens, texts.masked.to_numpy()))


def decode(encoder: Encoder, distinct: Rows) -> pl.Series:
  """Returns the token texts of distinct examples, String [U]; a row ends at its first padding."""
  return encoder.vocabulary.decode(distinct.tokens)


def save(folder: Path, encoder: Encoder) -> None:
  """Writes the encoder to `encoder.json` in a folder."""
  folder.mkdir(parents=True, exist_ok=True)
  about = {
    'kind': KIND,
    'masks': encoder.masks._asdict(),
    'length': encoder.length,
    'tokens': encoder.vocabulary.tokens,
  }
  write_json(folder / _FILE, about)


def restore(folder: Path) -> Encoder:
  """Reads an encoder written by `save`.

  Raises:
    LogjaxError: the file is missing, damaged, or of another kind.
  """
  path = folder / _FILE
  about = read_json(path, dict, 'run --mode=train in a new workdir')
  try:
    tokens = tuple(map(str, about['tokens']))
    return Encoder(Masks(**about['masks']), Vocabulary(tokens), int(about['length']))
  except (KeyError, TypeError, ValueError) as error:
    raise LogjaxError(f'{path} is damaged ({error}): run --mode=train in a new workdir') from error


def block(
  config: ml_collections.ConfigDict, encoder: Encoder, unencoded: Unencoded
) -> dict[str, Any]:
  """Returns the block `text` of results.json."""
  text = {
    'vocabulary': len(encoder.vocabulary),
    'length': encoder.length,
    'cut_share': cut_share(unencoded.content, encoder.length),
    'distinct': int(unencoded.examples.group.max(initial=-1)) + 1,
    'numbers': config.text.numbers,
  }
  return {'text': text}


def summary(blocks: dict[str, Any]) -> str:
  """Returns the printed text about the encoded lines."""
  text = blocks['text']
  return (
    f'{text["distinct"]:,} masked texts, {text["vocabulary"]:,} tokens; '
    f'{text["cut_share"]:.2%} of lines cut to {text["length"]} tokens'
  )


def line_times(frame: pl.DataFrame) -> np.ndarray | None:
  """Returns the time of every line, microseconds [N]; None if a file has no times at all.

  A line without a readable time takes the time of the line before it in its file. The first lines
  of a file take the time of the line after them. So such lines do not change the order of others.
  """
  time = pl.col('time').forward_fill().backward_fill().over('file')
  filled = frame.select(time)['time']
  return None if filled.null_count() else filled.to_numpy()


def masked_rows(vocabulary: Vocabulary, rows: np.ndarray) -> pl.Series:
  """Returns the masked texts of token rows [N, T], without the tokens beyond T."""
  distinct, inverse = np.unique(rows, axis=0, return_inverse=True)
  text = pl.DataFrame({'text': vocabulary.decode(distinct)})
  return text.select(masked_text(pl.col('text')))['text'].gather(inverse.reshape(-1))


def add_generated(
  encoder: Encoder,
  examples: Examples,
  split: Split,
  generated: tuple[np.ndarray, np.ndarray],
  protocol: Protocol,
  shares: tuple[float, float],
  seed: int,
) -> tuple[Examples, Split]:
  """Appends generated rows, all abnormal, to the real examples.

  They train. With the leak synthetic_in_test they are cut at random into all three sides. In a
  split by text they go to the side of their text.

  Args:
    encoder: fitted.
    examples: real ones.
    split: of the real ones.
    generated: distinct rows [U, T], and the distinct row of every generated one [G].
    protocol: of the run.
    shares: fractions of the rows for train and for validation.
    seed: of the random cut.

  Returns:
    All examples, generated ones last, and their split.
  """
  rows, index = generated
  real, count = examples.distinct, len(examples.index)
  masked = masked_rows(encoder.vocabulary, rows)
  group = _groups_of(encoder, examples, masked)[index]
  joined = Examples(
    distinct=Rows(
      np.concatenate([real.tokens, rows]), np.concatenate([real.masked, masked.to_numpy()])
    ),
    index=np.concatenate([examples.index, len(real.tokens) + index]).astype(np.int32),
    abnormal=np.concatenate([examples.abnormal, np.ones(len(index), bool)]),
    first=np.concatenate([examples.first, np.full(len(index), -1)]),
    last=np.concatenate([examples.last, np.full(len(index), -1)]),
    group=np.concatenate([examples.group, group]),
    time=None
    if examples.time is None
    else np.concatenate([examples.time, np.zeros(len(index), np.int64)]),
  )
  if protocol.synthetic_in_test and len(index):
    parts = _cut_generated(joined, split, count, protocol, shares, seed)
  else:
    parts = Split(count + np.arange(len(index)), np.arange(0), np.arange(0))
  sides = (np.concatenate(pair) for pair in zip(split, parts, strict=True))
  return joined, Split(*sides)


def _groups_of(encoder: Encoder, examples: Examples, masked: pl.Series) -> np.ndarray:
  """Returns the group of each generated masked text [U]; new texts get new numbers."""
  # Real rows are compared as the generator sees them: cut, and in the tokens of the vocabulary.
  known = masked_rows(encoder.vocabulary, examples.distinct.tokens)
  place = text_ids(masked, known)
  group_of = np.zeros(len(known), np.int64)
  group_of[examples.index] = examples.group
  group = np.where(place < 0, -1, group_of[place])
  new = masked.filter(pl.Series(group < 0)).unique(maintain_order=True)
  next_group = int(examples.group.max(initial=-1)) + 1
  return np.where(group < 0, next_group + text_ids(masked, new), group)


def _cut_generated(
  joined: Examples,
  split: Split,
  count: int,
  protocol: Protocol,
  shares: tuple[float, float],
  seed: int,
) -> Split:
  """Cuts the generated rows, numbered from `count` on, into three sides."""
  order = count + np.random.default_rng(seed).permutation(len(joined.group) - count)
  if protocol.split_by != 'text':
    return splits.cut(order, *shares)
  # The side of each text by its real rows; texts without real rows are cut by text afterwards.
  side_of = np.full(joined.group.max() + 1, -1)
  for number, side in enumerate(split):
    side_of[joined.group[side]] = number
  side = side_of[joined.group[order]]
  new = splits.cut_by_text(order[side < 0], joined.group, joined.abnormal, *shares)
  return Split(*(np.concatenate([order[side == n], part]) for n, part in enumerate(new)))


def _masks(config: ml_collections.ConfigDict) -> Masks:
  settings = config.text
  return Masks(settings.numbers, settings.identifiers, settings.lowercase)


def text_counts(examples: Examples, rows: np.ndarray) -> pl.DataFrame:
  """Counts the distinct masked texts of some examples by label.

  Args:
    examples: with labels.
    rows: indices of the examples [M].

  Returns:
    Columns `text`, `normal` and `abnormal` (numbers of rows), sorted by text.

  Raises:
    LogjaxError: there is no row.
  """
  if not len(rows):
    raise LogjaxError('there is no training row: give a larger training share (config.split)')
  size = len(examples.distinct.masked)
  abnormal = np.bincount(examples.index[rows], examples.abnormal[rows], minlength=size)
  total = np.bincount(examples.index[rows], minlength=size)
  frame = pl.DataFrame(
    {
      'text': pl.Series(examples.distinct.masked, dtype=pl.String),
      'normal': (total - abnormal).astype(np.int64),
      'abnormal': abnormal.astype(np.int64),
    }
  ).filter(pl.Series(total > 0))
  # Sorted: the order of a group_by differs from run to run and would change the last bits.
  return frame.group_by('text').agg(pl.col('normal', 'abnormal').sum()).sort('text')
