"""From messages to rows of token ids and back.

Values in a message become masks, the rest becomes words, and masks and words become ids of a
vocabulary. All work is columnar and done once for every distinct message. L lines, U distinct token
texts, N rows, T tokens a row.

The masks are applied in this order, each to the result of those before it:

  1. <uuid>  8-4-4-4-12 hexadecimal digits
  2. <ip>    an IPv4 address with an optional port or prefix length (::ffff: in front included)
  3. <hex>   0x and hexadecimal digits; hardware addresses (six pairs with colons)
  4. <path>  a slash and a file name, any number of times, not in the middle of a word
  5. <num>   a number, with sign and decimals
  6. <id>    a word with a letter and two or more digits: the name of one machine or part

With `numbers='keep'` steps 2, 3 and 5 are left out. Addresses then fall into their numbers, as with
the tokenizer probably used in the paper, and the most frequent numbers become words.
"""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import polars as pl

from logjax.errors import LogjaxError

PAD = 0  # also the end of a sentence and the generator's start token
UNKNOWN = 1
SPECIAL_TOKENS = ('<pad>', '<unk>')
MASK_TOKENS = ('<uuid>', '<ip>', '<hex>', '<path>', '<num>', '<id>')

_UUID = r'\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b'
_IP = r'(?i:::ffff:)?\b\d{1,3}(?:\.\d{1,3}){3}\b(?:[:/]\d+\b)?'
_HEX = r'\b(?:0[xX][0-9a-fA-F]+|[0-9a-fA-F]{2}(?::[0-9a-fA-F]{2}){5})\b'
_PATH = r'(^|[^\w/<>])(?:/[\w.+~@-]+)+/?'
_NUMBER = r'[-+]?\b\d+(?:\.\d+)*\b'
_LETTER = r'[^\W\d]'
# Two digits and a letter or underscore, in any order.
_IDENTIFIER = rf'\b(?:{_LETTER}\w*\d\w*\d\w*|\d\w*{_LETTER}\w*\d\w*|\d\w*\d\w*{_LETTER}\w*)\b'
_MASK = '|'.join(MASK_TOKENS)
_WORD = r'[\p{L}\p{M}\p{N}_]+'
# Runs of numbers and addresses, masked or kept: all equal in the masked text. Only whole tokens
# match, so the 2 of ssh2 does not.
_VALUE_RUN = r'(?:(?:<num>|<ip>|\b\d+)(?: |$))+'


@dataclasses.dataclass(frozen=True)
class Texts:
  """The messages of a corpus as token texts (tokens joined by a space).

  Attributes:
    texts: distinct token texts, String [U].
    index: the token text of each line, int64 [L].
    masked: the masked text of each distinct token text, String [U].
    group: id of the masked text of each line, int64 [L]; equal texts, equal ids.
  """

  texts: pl.Series
  index: np.ndarray
  masked: pl.Series
  group: np.ndarray


class Masks(NamedTuple):
  """The rules from messages to token texts.

  Attributes:
    numbers: 'mask' or 'keep' (see the module's docstring).
    identifiers: 'mask', 'keep' or 'drop' words with two or more digits.
    lowercase: makes upper and lower case equal.
  """

  numbers: str = 'mask'
  identifiers: str = 'mask'
  lowercase: bool = True


DEFAULT_MASKS = Masks()


def read_texts(messages: pl.Series, masks: Masks = DEFAULT_MASKS) -> Texts:
  """Masks and tokenises messages [L], each distinct one once."""
  lines = pl.DataFrame({'message': messages.cast(pl.String)})
  distinct = lines.unique(maintain_order=True)
  texts = distinct.select('message', text=token_text(pl.col('message'), masks))
  table = texts.select('text').unique(maintain_order=True)
  table = table.with_columns(masked=masked_text(pl.col('text'))).with_row_index('index')
  groups = table.select('masked').unique(maintain_order=True).with_row_index('group')
  table = table.join(groups, on='masked', how='left', maintain_order='left')
  texts = texts.join(table.select('text', 'index', 'group'), on='text', how='left')
  found = lines.join(texts, on='message', how='left', maintain_order='left')
  return Texts(
    texts=table['text'],
    index=found['index'].to_numpy().astype(np.int64),
    masked=table['masked'],
    group=found['group'].to_numpy().astype(np.int64),
  )


def token_text(message: pl.Expr, masks: Masks) -> pl.Expr:
  """Returns the tokens of each message, joined by a space."""
  text = message.str.to_lowercase() if masks.lowercase else message
  text = text.str.replace_all(_UUID, ' <uuid> ')
  if masks.numbers == 'mask':
    text = text.str.replace_all(_IP, ' <ip> ').str.replace_all(_HEX, ' <hex> ')
  text = text.str.replace_all(_PATH, '$1 <path> ')
  if masks.numbers == 'mask':
    text = text.str.replace_all(_NUMBER, ' <num> ')
  if masks.identifiers != 'keep':
    text = text.str.replace_all(_IDENTIFIER, ' <id> ' if masks.identifiers == 'mask' else ' ')
  return text.str.extract_all(f'{_MASK}|{_WORD}').list.join(' ')


def masked_text(text: pl.Expr) -> pl.Expr:
  """Returns token texts with every run of numbers and addresses, kept or masked, as one <num>.

  Real and generated token texts both go through it. So they can be compared for any `numbers`.
  """
  return text.str.replace_all(_VALUE_RUN, '<num> ').str.strip_chars_end()


@dataclasses.dataclass(frozen=True)
class Vocabulary:
  """Token strings by id; id 0 pads and ends a sentence, id 1 is any unknown word."""

  tokens: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.tokens)

  def encode(self, texts: pl.Series, length: int) -> np.ndarray:
    """Turns token texts [U] into ids, int32 [U, T], padded or cut at the end to `length`.

    An unknown number becomes <num> if the vocabulary has this token. Every other unknown word
    becomes <unk>.
    """
    ids = {token: i for i, token in enumerate(self.tokens)}
    frame = pl.DataFrame({'text': texts}).with_row_index('row')
    frame = frame.with_columns(token=pl.col('text').str.split(' ').list.head(length))
    frame = frame.drop('text').explode('token').filter(pl.col('token') != '')
    frame = frame.with_columns(position=pl.int_range(pl.len()).over('row'))
    known = pl.col('token').replace_strict(ids, default=None, return_dtype=pl.Int32)
    unknown = pl.when(pl.col('token').str.contains(r'^\d+$')).then(
      pl.lit(ids.get('<num>', UNKNOWN), dtype=pl.Int32)
    )
    frame = frame.with_columns(id=pl.coalesce(known, unknown, pl.lit(UNKNOWN, dtype=pl.Int32)))
    # One entry of the frame for every token: its row, its position and its id.
    rows = np.full((len(texts), length), PAD, np.int32)
    rows[frame['row'].to_numpy(), frame['position'].to_numpy()] = frame['id'].to_numpy()
    return rows

  def decode(self, rows: np.ndarray) -> pl.Series:
    """Turns ids [N, T] into token texts [N]; a row ends at its first padding."""
    rows = np.asarray(rows)
    # The running "and" is true up to the first padding of each row.
    place, position = np.nonzero(np.logical_and.accumulate(rows != PAD, axis=1))
    words = pl.Series(self.tokens).gather(rows[place, position])
    by_row = pl.DataFrame({'row': place, 'text': words}).group_by('row', maintain_order=True)
    joined = by_row.agg(pl.col('text').str.join(' '))
    every = pl.DataFrame({'row': np.arange(len(rows))})  # rows without a token too
    return every.join(joined, on='row', how='left', maintain_order='left')['text'].fill_null('')


def fit_vocabulary(
  texts: Texts, rows: np.ndarray, *, max_vocabulary: int, kept_numbers: int
) -> Vocabulary:
  """Fits a vocabulary on some lines: words by falling frequency, equals in alphabetical order.

  Args:
    texts: of the corpus.
    rows: int [N], the lines to learn from.
    max_vocabulary: largest number of tokens, special ones included.
    kept_numbers: largest number of distinct numbers with tokens; the others become <num>.

  Returns:
    The vocabulary. It has the token <num> if the lines have numbers.

  Raises:
    LogjaxError: the lines have no word at all.
  """
  lines = np.bincount(texts.index[rows], minlength=len(texts.texts))
  frame = pl.DataFrame({'token': texts.texts.str.split(' '), 'count': lines})
  frame = frame.filter(pl.col('count') > 0).explode('token').filter(pl.col('token') != '')
  counts = frame.group_by('token').agg(pl.col('count').sum())
  counts = counts.sort(['count', 'token'], descending=[True, False])
  if counts.is_empty():
    raise LogjaxError('no training line has a word: check data.corpus and data.pattern')
  is_number = pl.col('token').str.contains(r'^\d+$')
  numbers, words = counts.filter(is_number), counts.filter(~is_number)
  if len(numbers) > 0:
    # <num> counts the masked numbers and the numbers left out of the vocabulary.
    masked = words.filter(pl.col('token') == '<num>')['count'].sum()
    lost = masked + numbers['count'][kept_numbers:].sum()
    mask = pl.DataFrame({'token': ['<num>'], 'count': [lost]}, schema=counts.schema)
    counts = pl.concat([words.filter(pl.col('token') != '<num>'), numbers[:kept_numbers], mask])
    counts = counts.sort(['count', 'token'], descending=[True, False])
  known = [t for t in counts['token'].to_list() if t not in SPECIAL_TOKENS]
  return Vocabulary((*SPECIAL_TOKENS, *known[: max_vocabulary - len(SPECIAL_TOKENS)]))


def cut_share(texts: Texts, length: int) -> float:
  """Returns the fraction of lines with more than `length` tokens: those lose their ends."""
  too_long = texts.texts.str.split(' ').list.len().to_numpy() > length
  return float(too_long[texts.index].mean()) if len(texts.index) else 0.0


def text_ids(texts: Sequence[str] | pl.Series, known: pl.Series) -> np.ndarray:
  """Returns the first place of each text in `known` [U], -1 for an unknown text: int64 [N]."""
  table = pl.DataFrame({'text': known}).with_row_index('id').unique('text', keep='first')
  found = pl.DataFrame({'text': pl.Series(texts, dtype=pl.String)})
  found = found.join(table, on='text', how='left', maintain_order='left')
  return found['id'].cast(pl.Int64).fill_null(-1).to_numpy()
