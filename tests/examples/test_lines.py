"""From logs to rows: who sees which words, and where generated rows go."""

from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from configs import default
from logjax.corpora.parsing import Logs
from logjax.errors import LogjaxError
from logjax.examples import lines, splits
from logjax.examples.lines import masked_rows, text_counts
from logjax.examples.protocol import PROTOCOLS, Protocol, protocol_of
from logjax.examples.text import PAD, UNKNOWN
from logjax.examples.types import Examples, Split
from logjax.settings import resolve

HONEST, PAPER = PROTOCOLS['honest'], PROTOCOLS['paper']
ALL_WORDS = Protocol(vocabulary_from_all=True)
SYNTHETIC = Protocol(synthetic_in_test=True)
# Train, validation and test: lines 0 to 5, 6 and 7, 8 and 9. Abnormal: 1, 4, 7, 8.
MESSAGES = [
  'session opened for user root',
  'kernel panic at 0x1f',
  'session closed for user root',
  'link up on port 7',
  'kernel panic at 0x2a',
  'link up on port 12',
  'session opened for user guest',
  'disk failure on node 3',
  'machine check on cpu 4',
  'link up on port 9',
]
ABNORMAL = [False, True, False, False, True, False, False, True, True, False]
SHARES = (0.6, 0.2)


class Prepared(NamedTuple):
  """A log as examples, with what a test looks at."""

  encoder: lines.Encoder
  examples: Examples
  split: Split
  block: dict

  @property
  def inputs(self) -> np.ndarray:
    return self.examples.distinct.tokens[self.examples.index]

  @property
  def masked(self) -> np.ndarray:
    return self.examples.distinct.masked[self.examples.index]

  @property
  def vocabulary(self):
    return self.encoder.vocabulary


def config_of(protocol=HONEST, **changes):
  """A resolved configuration; dots in names are written `__`."""
  config = default.get_config()
  config.leaks = ','.join(protocol.leaks) or 'none'
  config.text.length = 6
  config.split.update(train=SHARES[0], valid=SHARES[1])
  config.update_from_flattened_dict({name.replace('__', '.'): v for name, v in changes.items()})
  return resolve(config)


def make_logs(messages=MESSAGES, abnormal=ABNORMAL, time=None, labelled=True) -> Logs:
  count = len(messages)
  frame = pl.DataFrame(
    {
      'message': messages,
      'abnormal': abnormal,
      'label': [None] * count,
      'time': range(count) if time is None else time,
      'node': [None] * count,
      'file': [0] * count,
      'line': range(1, count + 1),
    },
    schema_overrides={'time': pl.Int64},
  )
  empty = pl.DataFrame({'file': [], 'line': [], 'text': []})
  return Logs(frame, ('some.log',), count, 0, empty, {}, labelled)


def prepare_with(protocol=HONEST, logs=None, **changes) -> Prepared:
  config = config_of(protocol, **changes)
  protocol = protocol_of(config)
  unencoded = lines.read(config, logs or make_logs())
  split = splits.make_split(config, protocol, unencoded.examples, needs='labels')
  seen = np.arange(len(unencoded.examples.index)) if protocol.vocabulary_from_all else split.train
  encoder = lines.fit(config, unencoded, seen)
  block = lines.block(config, encoder, unencoded)['text']
  return Prepared(encoder, lines.encode(encoder, unencoded), split, block)


def add_generated(prepared: Prepared, rows: np.ndarray, protocol: Protocol, shares, seed: int):
  distinct, index = np.unique(rows, axis=0, return_inverse=True)
  generated = (distinct, index.reshape(-1))
  return lines.add_generated(
    prepared.encoder, prepared.examples, prepared.split, generated, protocol, shares, seed
  )


def read(prepared, row: int) -> str:
  return prepared.vocabulary.decode(prepared.inputs[[row]])[0]


def replaced(rows, message: str) -> list[str]:
  return [message if i in rows else text for i, text in enumerate(MESSAGES)]


def test_rows_are_the_lines_of_the_corpus_in_order():
  prepared = prepare_with()
  examples = prepared.examples
  assert prepared.inputs.shape == (10, 6) and prepared.inputs.dtype == np.int32
  assert len(examples.distinct.tokens) == 7  # lines 1 and 4, and lines 3, 5 and 9, are equal
  np.testing.assert_array_equal(examples.abnormal, ABNORMAL)
  np.testing.assert_array_equal(examples.first, np.arange(10))
  np.testing.assert_array_equal(examples.last, examples.first)
  assert examples.first.dtype == examples.group.dtype == np.int64 and not examples.generated.any()
  assert read(prepared, 0) == 'session opened for user root'
  assert read(prepared, 3) == read(prepared, 5) == 'link up on port <num>'


def test_the_split_partitions_the_rows_in_the_given_shares():
  split = prepare_with().split
  assert [side.tolist() for side in split] == [[0, 1, 2, 3, 4, 5], [6, 7], [8, 9]]


def test_an_honest_split_follows_the_time_and_not_the_file():
  order = [3, 0, 9, 5, 1, 7, 2, 8, 4, 6]
  time = np.argsort(order)
  split = prepare_with(logs=make_logs(time=time)).split
  assert [side.tolist() for side in split] == [order[:6], order[6:8], order[8:]]


def test_a_line_without_a_time_has_that_of_the_line_before_it():
  time = [None, 14, None, 3, 2, 11, 10, 9, 8, 7]
  prepared = prepare_with(logs=make_logs(time=time))
  assert np.concatenate(prepared.split).tolist() == [4, 3, 9, 8, 7, 6, 5, 0, 1, 2]


def test_lines_without_any_time_stay_in_the_order_of_the_file():
  prepared = prepare_with(logs=make_logs(time=[None] * 10))
  assert np.concatenate(prepared.split).tolist() == list(range(10))
  assert prepared.examples.time is None


def test_a_random_split_partitions_the_rows_by_the_seed():
  protocol = Protocol(random_split=True, duplicates_across_split=True)
  logs = make_logs(MESSAGES * 5, ABNORMAL * 5)
  drawn = [prepare_with(protocol, logs, seed=seed).split for seed in (0, 0, 1)]
  for split in drawn:
    assert list(map(len, split)) == [30, 10, 10]
    assert sorted(np.concatenate(split).tolist()) == list(range(50))
  assert drawn[0].train.tolist() == drawn[1].train.tolist() != drawn[2].train.tolist()


def test_equal_masked_texts_are_one_group_and_others_are_not():
  prepared = prepare_with()
  group = prepared.examples.group
  same = prepared.masked
  np.testing.assert_array_equal(group[:, None] == group, same[:, None] == same)
  assert group[3] == group[5] == group[9] and group[1] == group[4] != group[0]


def test_an_honest_vocabulary_has_the_words_of_the_training_rows_only():
  prepared = prepare_with()
  words = set(prepared.vocabulary.tokens)
  assert {'session', 'panic', 'link'} <= words
  assert not words & {'machine', 'check', 'cpu', 'disk', 'failure', 'node', 'guest'}
  assert read(prepared, 8) == '<unk> <unk> on <unk> <num>'
  assert read(prepared, 6) == 'session opened for user <unk>'
  assert prepared.inputs[8, 0] == UNKNOWN


@pytest.mark.parametrize('protocol', [ALL_WORDS, PAPER._replace(random_split=False)])
def test_with_the_leak_the_vocabulary_has_the_words_of_all_rows(protocol):
  prepared = prepare_with(protocol, text__numbers='mask')
  assert {'machine', 'disk', 'guest'} <= set(prepared.vocabulary.tokens)
  assert [read(prepared, row) for row in (8, 6)] == [
    'machine check on cpu <num>',
    'session opened for user guest',
  ]


@pytest.mark.parametrize('numbers', ['mask', 'keep'])
def test_what_test_rows_say_changes_nothing_that_training_sees(numbers):
  changes = {'text__numbers': numbers}
  other = make_logs(replaced((8, 9), 'kernel link session closed at port 12'))
  before, after = prepare_with(**changes), prepare_with(logs=other, **changes)
  assert after.vocabulary == before.vocabulary
  for side in (before.split.train, before.split.valid):
    np.testing.assert_array_equal(after.inputs[side], before.inputs[side])
  assert not np.array_equal(after.inputs, before.inputs)
  leaking = [prepare_with(ALL_WORDS, logs, **changes).vocabulary for logs in (make_logs(), other)]
  assert leaking[0] != leaking[1]


def test_lines_longer_than_a_row_are_cut_and_counted():
  prepared = prepare_with(text__length=4)
  assert read(prepared, 0) == 'session opened for user'
  assert read(prepared, 1) == 'kernel panic at <hex>'
  cut = sum(len(text.split()) > 4 for text in MESSAGES)
  assert prepared.block['cut_share'] == cut / 10
  assert prepare_with().block['cut_share'] == 0


def test_lines_without_labels_are_encoded_all_the_same():
  prepared = prepare_with()
  unlabelled = make_logs(abnormal=[False] * 10, labelled=False)
  examples = lines.encode(prepared.encoder, lines.read(config_of(), unlabelled))
  assert examples.abnormal is None
  np.testing.assert_array_equal(examples.index, prepared.examples.index)
  np.testing.assert_array_equal(examples.distinct.tokens, prepared.examples.distinct.tokens)


def test_a_restored_encoder_gives_other_logs_the_same_tokens(tmp_path):
  prepared = prepare_with(text__numbers='keep', text__lowercase=False)
  lines.save(tmp_path, prepared.encoder)
  restored = lines.restore(tmp_path)
  assert restored == prepared.encoder
  other = make_logs(['Link up on port 7', 'a new word'], [False, True])
  config = config_of(text__numbers='keep', text__lowercase=False)
  ours, theirs = (
    lines.encode(encoder, lines.read(config, other)) for encoder in (restored, prepared.encoder)
  )
  np.testing.assert_array_equal(ours.distinct.tokens, theirs.distinct.tokens)
  assert (ours.distinct.tokens[1] == UNKNOWN).sum() == 3


def test_a_damaged_encoder_is_one_line(tmp_path):
  (tmp_path / 'encoder.json').write_text('{"tokens": ["<pad>"]}')
  with pytest.raises(LogjaxError, match='encoder.json is damaged'):
    lines.restore(tmp_path)


def test_texts_are_counted_by_label():
  prepared = prepare_with()
  counts = text_counts(prepared.examples, np.arange(10))
  assert counts['text'].is_sorted() and counts.select('normal', 'abnormal').sum().row(0) == (6, 4)
  assert counts.filter(text='link up on port <num>').row(0)[1:] == (3, 0)
  assert len(text_counts(prepared.examples, np.array([1, 4]))) == 1
  with pytest.raises(LogjaxError, match='no training row'):
    text_counts(prepared.examples, np.arange(0))


def test_a_side_without_abnormal_rows_is_one_line_with_the_counts():
  abnormal = [True, True, *[False] * 8]
  with pytest.raises(LogjaxError, match='no abnormal row to test on') as raised:
    prepare_with(logs=make_logs(abnormal=abnormal))
  assert 'split.by=random' in str(raised.value) and '\n' not in str(raised.value)


def rows_of(prepared, *texts: str) -> np.ndarray:
  ids = {token: i for i, token in enumerate(prepared.vocabulary.tokens)}
  rows = np.full((len(texts), 6), PAD, np.int32)
  for row, text in zip(rows, texts, strict=True):
    tokens = [ids[token] for token in text.split()]
    row[: len(tokens)] = tokens
  return rows


def test_masked_rows_join_numbers_whether_masked_or_kept():
  prepared = prepare_with(ALL_WORDS, text__numbers='keep', text__kept_numbers=10)
  rows = rows_of(prepared, 'link up on port 7', 'link up on port 12 9', '7 panic')
  assert masked_rows(prepared.vocabulary, rows).to_list() == [
    *['link up on port <num>'] * 2,
    '<num> panic',
  ]
  assert masked_rows(prepared.vocabulary, rows[:0]).to_list() == []


def test_honest_generated_rows_are_abnormal_and_only_train():
  prepared = prepare_with()
  rows = rows_of(prepared, 'kernel panic at port', 'link up', 'kernel panic at port')
  examples, split = add_generated(prepared, rows, HONEST, SHARES, 0)
  assert len(examples.index) == 13
  for ours, before in zip(examples[1:], prepared.examples[1:], strict=True):
    np.testing.assert_array_equal(ours[:10], before)
    assert ours.dtype == before.dtype
  np.testing.assert_array_equal(examples.distinct.tokens[examples.index[10:]], rows)
  assert examples.abnormal[10:].all() and np.all(examples.first[10:] == -1)
  assert examples.distinct.masked[examples.index[11]] == 'link up'
  assert examples.generated.tolist() == [False] * 10 + [True] * 3
  assert split.train.tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 12]
  np.testing.assert_array_equal(split.valid, prepared.split.valid)
  np.testing.assert_array_equal(split.test, prepared.split.test)


@pytest.mark.parametrize('protocol', [SYNTHETIC, PAPER])
@pytest.mark.parametrize(
  ('shares', 'sizes'), [((0.6, 0.2), [60, 20, 20]), ((0.25, 0.05), [25, 5, 70])]
)
def test_with_the_leak_generated_rows_are_on_all_sides_in_the_given_shares(protocol, shares, sizes):
  prepared = prepare_with(text__numbers='mask')
  rows = np.repeat(rows_of(prepared, 'kernel panic'), 100, axis=0)
  drawn = [add_generated(prepared, rows, protocol, shares, seed)[1] for seed in (0, 0, 1)]
  for split in drawn:
    assert [np.sum(side >= 10) for side in split] == sizes
    assert sorted(np.concatenate(split).tolist()) == list(range(110))
    for side, real in zip(split, prepared.split, strict=True):
      np.testing.assert_array_equal(side[side < 10], real)
  assert drawn[0].test.tolist() == drawn[1].test.tolist() != drawn[2].test.tolist()


@pytest.mark.parametrize('protocol', [HONEST, SYNTHETIC])
def test_no_generated_row_changes_nothing(protocol):
  prepared = prepare_with()
  none = np.zeros((0, 6), np.int32)
  examples, split = add_generated(prepared, none, protocol, SHARES, 0)
  known = (*prepared.examples.distinct, *prepared.examples[1:], *prepared.split)
  for ours, before in zip((*examples.distinct, *examples[1:], *split), known, strict=True):
    np.testing.assert_array_equal(ours, before)
    assert ours.dtype == before.dtype


def test_generated_rows_have_the_groups_of_real_rows_with_equal_masked_texts():
  """New texts get ids beyond the corpus' own, one each."""
  prepared = prepare_with()
  rows = rows_of(
    prepared,
    'link up on port <num>',
    'kernel panic',
    'session closed for user root',
    'link up on port <num> <num>',
    'panic kernel',
    'kernel panic',
  )
  group = add_generated(prepared, rows, HONEST, SHARES, 0)[0].group[10:]
  known = prepared.examples.group
  assert group.tolist() == [
    *(known[3], prepared.block['distinct'], known[2], known[3]),
    *(prepared.block['distinct'] + 1, prepared.block['distinct']),
  ]


def test_kept_numbers_do_not_make_new_groups():
  prepared = prepare_with(ALL_WORDS, text__numbers='keep', text__kept_numbers=10)
  rows = rows_of(prepared, 'link up on port 12', 'link up on port 4', 'kernel panic at')
  group = add_generated(prepared, rows, HONEST, SHARES, 0)[0].group[10:]
  assert group[0] == group[1] == prepared.examples.group[3]
  assert group[2] == prepared.block['distinct']


WORDS = st.lists(st.sampled_from(['up', 'down', 'link', '7', '8']), min_size=1, max_size=4)


@given(
  st.lists(WORDS.map(' '.join), min_size=10, max_size=20),
  st.lists(WORDS.map(' '.join), max_size=8),
)
@hypothesis_settings(max_examples=25, deadline=None)
def test_a_generated_row_has_a_real_rows_group_if_and_only_if_their_masked_texts_are_equal(
  real, generated
):
  logs = make_logs(real, [i % 2 == 0 for i in range(len(real))])
  prepared = prepare_with(ALL_WORDS, logs, text__numbers='keep', text__kept_numbers=10)
  known = set(prepared.vocabulary.tokens)
  rows = rows_of(prepared, *(text for text in generated if set(text.split()) <= known))
  examples, _ = add_generated(prepared, rows, HONEST, SHARES, 0)
  rows = examples.distinct.tokens[examples.index]
  texts = np.array(masked_rows(prepared.vocabulary, rows).to_list())
  np.testing.assert_array_equal(examples.group[:, None] == examples.group, texts[:, None] == texts)
