"""From messages to rows of token ids and back."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logjax.errors import LogjaxError
from logjax.examples.text import (
  MASK_TOKENS,
  PAD,
  SPECIAL_TOKENS,
  UNKNOWN,
  Masks,
  Vocabulary,
  cut_share,
  fit_vocabulary,
  masked_text,
  read_texts,
  text_ids,
)

UUID = '123e4567-e89b-12d3-a456-426614174000'


def tokens(message, **options):
  texts = read_texts(pl.Series([message]), Masks(**options))
  return texts.texts[0]


def masked(texts):
  return pl.DataFrame({'text': texts}).select(masked_text(pl.col('text')))['text'].to_list()


def fit(messages, rows=None, *, max_vocabulary=100, kept_numbers=0, **options):
  texts = read_texts(pl.Series(messages), Masks(**options))
  rows = np.arange(len(messages)) if rows is None else np.asarray(rows, np.int64)
  return fit_vocabulary(texts, rows, max_vocabulary=max_vocabulary, kept_numbers=kept_numbers)


@pytest.mark.parametrize(
  ('message', 'expected'),
  [
    # 1. UUIDs, before their parts could be anything else.
    (f'instance {UUID}.', 'instance <uuid>'),
    (f'[{UUID.upper()}]', '<uuid>'),
    # 2. Addresses, before their numbers are.
    ('peer 10.0.0.1', 'peer <ip>'),
    ('peer 10.0.0.1:8080 up', 'peer <ip> up'),
    ('net 10.0.0.0/24 up', 'net <ip> up'),
    ('from ::ffff:10.0.0.1 port 22', 'from <ip> port <num>'),
    ('version 1.2.3', 'version <num>'),
    # 3. Hexadecimal numbers and hardware addresses, before their digits make them identifiers.
    ('at 0xDEADbeef done', 'at <hex> done'),
    ('at 0X1f done', 'at <hex> done'),
    ('mac 00:1A:2b:3c:4d:5e up', 'mac <hex> up'),
    ('at 12:34:56 up', 'at <num> <num> <num> up'),
    ('0xg', '0xg'),
    # 4. Paths, before the numbers in them; a slash between words makes none.
    ('open /usr/lib64/x-1.2.so, ok', 'open <path> ok'),
    ('/var/log/', '<path>'),
    ('in "/a/b" or (/c)', 'in <path> or <path>'),
    ('x=/a/b /c/d', 'x <path> <path>'),
    ('and/or not', 'and or not'),
    ('read/write 3/4', 'read write <num> <num>'),
    ('a / b', 'a b'),
    # 5. Numbers with signs and decimals.
    ('t -5 +3.25 7%', 't <num> <num> <num>'),
    ('2017-05-16', '<num> <num> <num>'),
    ('blk_-1608999687919862906', 'blk_ <num>'),
    # 6. Identifiers have a letter and two digits.
    ('r23 an343 R02 1e5 sys_12 4a4', '<id> <id> <id> <id> <id> <id>'),
    ('ssh2 l3 m1_a 5gb', 'ssh2 l3 m1_a 5gb'),
    ('R02-M1-N0-C:J12-U11', '<id> m1 n0 c <id> <id>'),
  ],
)
def test_a_value_becomes_the_first_mask_that_fits(message, expected):
  assert tokens(message) == expected


@pytest.mark.parametrize(
  ('message', 'expected'),
  [
    ('peer 10.0.0.1:80', 'peer 10 0 0 1 80'),
    ('t -5 +3.25', 't 5 3 25'),
    ('at 0xdeadbeef', 'at 0xdeadbeef'),
    (f'{UUID} /a/b r23', '<uuid> <path> <id>'),
  ],
)
def test_kept_numbers_and_addresses_fall_into_numbers(message, expected):
  assert tokens(message, numbers='keep') == expected


@pytest.mark.parametrize(
  ('identifiers', 'expected'),
  [('mask', 'on <id> up'), ('keep', 'on r23 up'), ('drop', 'on up')],
)
def test_identifiers_are_masked_kept_or_dropped(identifiers, expected):
  assert tokens('on r23 up', identifiers=identifiers) == expected


def test_lower_case_is_a_choice_and_masks_do_not_depend_on_it():
  message = 'Peer ::FFFF:1.2.3.4 AT 0XFF'
  assert tokens(message) == 'peer <ip> at <hex>'
  assert tokens(message, lowercase=False) == 'Peer <ip> AT <hex>'


@pytest.mark.parametrize('message', ['', ' \t ', '!!! --- ***', '<>', '<*>'])
def test_a_message_without_a_word_has_an_empty_text(message):
  texts = read_texts(pl.Series([message, 'word']))
  assert texts.texts.to_list() == ['', 'word']
  assert Vocabulary(SPECIAL_TOKENS).encode(texts.texts, 2).tolist() == [[PAD, PAD], [UNKNOWN, PAD]]


def test_a_message_cannot_smuggle_in_special_tokens():
  assert tokens('<pad> <unk> </num>') == 'pad unk num'
  # A literal mask reads as the mask: nobody can tell them apart afterwards.
  assert tokens('<num> of <NUM>') == '<num> of <num>'
  assert fit(['<pad> <unk>']).tokens[:2] == SPECIAL_TOKENS


def test_words_of_all_scripts_stay_whole():
  assert tokens('naïve Ünïcode 漢字 हिन्दी e\u0301te\u0301') == (
    'naïve ünïcode 漢字 हिन्दी e\u0301te\u0301'
  )
  assert tokens('a\u00a0b\tc\nd \ufffd') == 'a b c d'
  assert tokens('٣ ٣٤') == '<num> <num>'


def test_a_very_long_message_is_one_text():
  texts = read_texts(pl.Series(['word 17 ' * 20_000]))
  assert texts.texts[0].count('<num>') == 20_000
  assert masked(['5 ' * 20_000]) == ['<num>']
  row = Vocabulary((*SPECIAL_TOKENS, 'word', '<num>')).encode(texts.texts, 3)
  assert row.tolist() == [[2, 3, 2]]


def test_equal_texts_are_one_whatever_the_number_of_lines():
  texts = read_texts(pl.Series([f'took {i} ms' for i in range(500)] + ['Took 1 ms', 'done']))
  assert texts.texts.to_list() == ['took <num> ms', 'done']
  assert texts.index.tolist() == [0] * 501 + [1]
  assert texts.group.tolist() == [0] * 501 + [1]


MESSAGES = st.lists(st.sampled_from(['a 1', 'a 2', 'a', 'b 1.5', 'B -1', '', '!', 'r23', '3 1']))


@given(MESSAGES, st.randoms(use_true_random=False), st.sampled_from(['mask', 'keep']))
def test_what_a_line_reads_does_not_depend_on_the_order_of_lines(messages, random, numbers):
  order = list(range(len(messages)))
  random.shuffle(order)
  shuffled = pl.Series([messages[i] for i in order], dtype=pl.String)
  here = read_texts(pl.Series(messages, dtype=pl.String), Masks(numbers=numbers))
  there = read_texts(shuffled, Masks(numbers=numbers))
  assert here.texts.gather(here.index[order]).equals(there.texts.gather(there.index))
  assert here.masked.gather(here.index[order]).equals(there.masked.gather(there.index))
  # Groups are numbered by appearance, so it is who shares one that must be equal.
  groups = here.group[order]
  assert np.array_equal(
    groups[:, None] == groups[None, :], there.group[:, None] == there.group[None, :]
  )
  assert here.texts.n_unique() == len(here.texts)


def test_lines_share_a_group_when_only_numbers_and_addresses_differ():
  texts = read_texts(
    pl.Series(['to 10.0.0.1 7', 'to 5', 'to x 5', 'to ssh2']), Masks(numbers='keep')
  )
  assert texts.group.tolist() == [0, 0, 1, 2]
  assert texts.masked.to_list() == ['to <num>', 'to <num>', 'to x <num>', 'to ssh2']


@pytest.mark.parametrize(
  ('text', 'expected'),
  [
    ('<num>', '<num>'),
    ('a <ip> 5 <num> b 7', 'a <num> b <num>'),
    ('<hex> <id> 1', '<hex> <id> <num>'),
    ('ssh2 l3 5 x', 'ssh2 l3 <num> x'),
    ('', ''),
  ],
)
def test_masked_text_has_one_number_for_a_run(text, expected):
  assert masked([text]) == [expected]


@pytest.mark.parametrize('numbers', ['mask', 'keep'])
@pytest.mark.parametrize('kept_numbers', [0, 1, 100])
def test_a_row_and_its_generated_twin_have_equal_masked_texts(numbers, kept_numbers):
  messages = ['peer 10.0.0.1:80 lost 7 of 9 on ssh2', 'at 7', '7', 'r23 /a/b -1.5 x', '!']
  texts = read_texts(pl.Series(messages), Masks(numbers=numbers))
  vocabulary = fit_vocabulary(
    texts, np.arange(len(messages)), max_vocabulary=100, kept_numbers=kept_numbers
  )
  assert masked(vocabulary.decode(vocabulary.encode(texts.texts, 20))) == texts.masked.to_list()


def test_a_vocabulary_is_ordered_by_frequency_then_alphabet():
  vocabulary = fit(['c b', 'b a', 'b', 'z'])
  assert vocabulary.tokens == (*SPECIAL_TOKENS, 'b', 'a', 'c', 'z')
  assert len(vocabulary) == 6


def test_a_vocabulary_sees_only_the_rows_that_it_may():
  messages = ['a', 'secret', 'a b', 'b secret', 'b']
  assert fit(messages, [0, 2, 4]).tokens == (*SPECIAL_TOKENS, 'a', 'b')
  other = ['a', 'b b b c', 'a b', '', 'b']
  assert fit(other, [0, 2, 4]) == fit(messages, [4, 0, 2])


def test_the_most_frequent_numbers_are_kept_and_the_rest_is_one_token():
  messages = ['x 1 2', 'x 1 3', 'x 4']
  assert fit(messages, numbers='keep', kept_numbers=1).tokens == (
    *SPECIAL_TOKENS, '<num>', 'x', '1',
  )  # fmt: skip
  assert fit(messages, numbers='keep', kept_numbers=0).tokens == (*SPECIAL_TOKENS, '<num>', 'x')
  every = fit(messages, numbers='keep', kept_numbers=9).tokens
  assert every == (*SPECIAL_TOKENS, 'x', '1', '2', '3', '4', '<num>')


def test_a_literal_mask_counts_with_the_numbers_that_are_left_out():
  messages = ['<num> <num>', '7', 'w w']
  assert fit(messages, numbers='keep').tokens == (*SPECIAL_TOKENS, '<num>', 'w')


@pytest.mark.parametrize(('size', 'expected'), [(4, ('b', 'a')), (3, ('b',)), (2, ())])
def test_a_vocabulary_is_cut_to_its_largest_size_special_tokens_included(size, expected):
  assert fit(['b a', 'b c', 'b'], max_vocabulary=size).tokens == (*SPECIAL_TOKENS, *expected)


@pytest.mark.parametrize(('messages', 'rows'), [(['', '!?'], [0, 1]), (['word'], [])])
def test_lines_without_a_word_are_an_error(messages, rows):
  with pytest.raises(LogjaxError, match='^no training line has a word: check .*data.pattern$'):
    fit(messages, rows)


def test_an_empty_corpus_has_no_texts_and_no_share_cut():
  texts = read_texts(pl.Series([], dtype=pl.String))
  assert len(texts.texts) == len(texts.index) == len(texts.group) == 0
  assert cut_share(texts, 40) == 0.0
  assert Vocabulary(SPECIAL_TOKENS).encode(texts.texts, 4).shape == (0, 4)
  assert Vocabulary(SPECIAL_TOKENS).decode(np.zeros((0, 4), np.int32)).to_list() == []


def test_unknown_numbers_and_unknown_words_are_told_apart():
  vocabulary = Vocabulary((*SPECIAL_TOKENS, '<num>', 'a', '7'))
  rows = vocabulary.encode(pl.Series(['a 7 8 b ssh2 <ip>']), 6)
  assert rows.tolist() == [[3, 4, 2, UNKNOWN, UNKNOWN, UNKNOWN]]
  assert vocabulary.decode(rows).to_list() == ['a 7 <num> <unk> <unk> <unk>']
  without = Vocabulary((*SPECIAL_TOKENS, 'a'))
  assert without.encode(pl.Series(['a 8']), 2).tolist() == [[2, UNKNOWN]]


def test_rows_are_padded_and_cut_at_the_end():
  vocabulary = Vocabulary((*SPECIAL_TOKENS, 'a', 'b', 'c'))
  rows = vocabulary.encode(pl.Series(['a b c', 'b', '', 'c b']), 2)
  assert rows.tolist() == [[2, 3], [3, PAD], [PAD, PAD], [4, 3]]
  assert rows.dtype == np.int32


def test_the_share_cut_is_of_lines_not_of_texts():
  texts = read_texts(pl.Series(['a b c', 'a b c', 'a b c', 'a b', '']))
  assert cut_share(texts, 2) == 0.6
  assert cut_share(texts, 3) == 0.0


def test_a_generated_row_ends_at_its_first_padding():
  vocabulary = Vocabulary((*SPECIAL_TOKENS, 'a', 'b'))
  rows = [[2, PAD, 3], [PAD, 2, 3], [PAD, PAD, PAD], [3, 2, 2]]
  assert vocabulary.decode(np.asarray(rows)).to_list() == ['a', '', '', 'b a a']


WORDS = (*MASK_TOKENS, 'a', 'é', '漢字', '17', 'ssh2', '<*>', '[')


@given(st.lists(st.lists(st.sampled_from((*WORDS, '<unk>')), max_size=6), max_size=8))
def test_rows_that_are_not_cut_read_back_as_they_were(sentences):
  vocabulary = Vocabulary((*SPECIAL_TOKENS, *WORDS))
  texts = pl.Series([' '.join(words) for words in sentences], dtype=pl.String)
  assert vocabulary.decode(vocabulary.encode(texts, 6)).to_list() == texts.to_list()


def test_a_text_is_found_where_it_first_stands():
  known = pl.Series(['a', 'b', 'a', ''])
  assert text_ids(['b', 'a', 'x', '', 'a'], known).tolist() == [1, 0, -1, 3, 0]
  assert text_ids(pl.Series([], dtype=pl.String), known).tolist() == []
