"""From logs to rows: who sees which words, and where generated rows go."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from configs import default
from logjax.corpora.parsing import Logs
from logjax.errors import LogjaxError
from logjax.examples.lines import add_generated, masked_rows, prepare
from logjax.examples.splits import LEAKS
from logjax.examples.text import PAD, UNKNOWN
from logjax.settings import resolve

HONEST, PAPER = frozenset(), frozenset(LEAKS)
ALL_WORDS = frozenset({'vocabulary_from_all'})
SYNTHETIC = frozenset({'synthetic_in_test'})
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


def config_of(leaks=HONEST, **changes):
  """A resolved configuration; dots in names are written `__`."""
  config = default.get_config()
  config.leaks = ','.join(sorted(leaks)) or 'none'
  config.text.length = 6
  config.split.update(train=SHARES[0], valid=SHARES[1])
  config.update_from_flattened_dict({name.replace('__', '.'): v for name, v in changes.items()})
  return resolve(config)[0]


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


def prepare_with(leaks=HONEST, logs=None, **changes):
  return prepare(config_of(leaks, **changes), leaks, logs or make_logs())


def read(prepared, row: int) -> str:
  return prepared.vocabulary.decode(prepared.examples.inputs[[row]])[0]


def replaced(rows, message: str) -> list[str]:
  return [message if i in rows else text for i, text in enumerate(MESSAGES)]


def test_rows_are_the_lines_of_the_corpus_in_order():
  prepared = prepare_with()
  examples = prepared.examples
  assert examples.inputs.shape == (10, 6) and examples.inputs.dtype == np.int32
  np.testing.assert_array_equal(examples.abnormal, ABNORMAL)
  np.testing.assert_array_equal(examples.origin, np.arange(10))
  assert examples.origin.dtype == examples.group.dtype == np.int64
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
  assert prepared.ordered_by == 'time'


def test_lines_without_any_time_stay_in_the_order_of_the_file():
  prepared = prepare_with(logs=make_logs(time=[None] * 10))
  assert np.concatenate(prepared.split).tolist() == list(range(10))
  assert prepared.ordered_by == 'line'


def test_a_random_split_partitions_the_rows_by_the_seed():
  leaks = frozenset({'random_split', 'duplicates_across_split'})
  logs = make_logs(MESSAGES * 5, ABNORMAL * 5)
  splits = [prepare_with(leaks, logs, seed=seed).split for seed in (0, 0, 1)]
  for split in splits:
    assert list(map(len, split)) == [30, 10, 10]
    assert sorted(np.concatenate(split).tolist()) == list(range(50))
  assert splits[0].train.tolist() == splits[1].train.tolist() != splits[2].train.tolist()


def test_equal_masked_texts_are_one_group_and_others_are_not():
  prepared = prepare_with()
  group = prepared.examples.group
  same = np.array(prepared.texts.masked.gather(prepared.texts.index).to_list())
  np.testing.assert_array_equal(group[:, None] == group, same[:, None] == same)
  assert group[3] == group[5] == group[9] and group[1] == group[4] != group[0]
  assert prepared.masked.gather(group).to_list() == same.tolist()


def test_an_honest_vocabulary_has_the_words_of_the_training_rows_only():
  prepared = prepare_with()
  words = set(prepared.vocabulary.tokens)
  assert {'session', 'panic', 'link'} <= words
  assert not words & {'machine', 'check', 'cpu', 'disk', 'failure', 'node', 'guest'}
  assert read(prepared, 8) == '<unk> <unk> on <unk> <num>'
  assert read(prepared, 6) == 'session opened for user <unk>'
  assert prepared.examples.inputs[8, 0] == UNKNOWN


@pytest.mark.parametrize('leaks', [ALL_WORDS, PAPER - {'random_split'}])
def test_with_the_leak_the_vocabulary_has_the_words_of_all_rows(leaks):
  prepared = prepare_with(leaks, text__numbers='mask')
  assert {'machine', 'disk', 'guest'} <= set(prepared.vocabulary.tokens)
  assert [read(prepared, row) for row in (8, 6)] == [
    'machine check on cpu <num>',
    'session opened for user guest',
  ]


@pytest.mark.parametrize('tokens', ['words', 'punctuation', 'template'])
@pytest.mark.parametrize('numbers', ['mask', 'keep'])
def test_what_test_rows_say_changes_nothing_that_training_sees(tokens, numbers):
  changes = {'text__tokens': tokens, 'text__numbers': numbers}
  other = make_logs(replaced((8, 9), 'kernel link session closed at port 12'))
  before, after = prepare_with(**changes), prepare_with(logs=other, **changes)
  assert after.vocabulary == before.vocabulary
  for side in (before.split.train, before.split.valid):
    np.testing.assert_array_equal(after.examples.inputs[side], before.examples.inputs[side])
  assert not np.array_equal(after.examples.inputs, before.examples.inputs)
  leaking = [prepare_with(ALL_WORDS, logs, **changes).vocabulary for logs in (make_logs(), other)]
  assert leaking[0] != leaking[1]


def test_templates_are_those_of_the_training_rows_when_honest():
  """Two users make a template with a wildcard, but the second is in a validation row."""
  honest = prepare_with(text__tokens='template')
  assert read(honest, 0) == 'session opened for user root'
  assert read(honest, 6) == 'session opened for user <unk>'
  leaking = prepare_with(ALL_WORDS, text__tokens='template')
  assert read(leaking, 0) == read(leaking, 6) == 'session opened for user <*>'
  np.testing.assert_array_equal(leaking.examples.group, honest.examples.group)


def test_lines_longer_than_a_row_are_cut_and_counted():
  prepared = prepare_with(text__length=4)
  assert read(prepared, 0) == 'session opened for user'
  assert read(prepared, 1) == 'kernel panic at <hex>'
  cut = sum(len(text.split()) > 4 for text in MESSAGES)
  assert prepared.cut_share == cut / 10
  assert prepare_with().cut_share == 0


def test_logs_without_labels_are_one_line_that_says_what_would_help():
  with pytest.raises(LogjaxError, match='no labels') as raised:
    prepare_with(logs=make_logs(abnormal=[False] * 10, labelled=False))
  message = str(raised.value)
  assert 'data.pattern' in message and 'data.label_file' in message and '\n' not in message


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
  assert len(examples.inputs) == 13
  for ours, before in zip(examples, prepared.examples, strict=True):
    np.testing.assert_array_equal(ours[:10], before)
    assert ours.dtype == before.dtype
  np.testing.assert_array_equal(examples.inputs[10:], rows)
  assert examples.abnormal[10:].all() and np.all(examples.origin[10:] == -1)
  assert split.train.tolist() == [0, 1, 2, 3, 4, 5, 10, 11, 12]
  np.testing.assert_array_equal(split.valid, prepared.split.valid)
  np.testing.assert_array_equal(split.test, prepared.split.test)


@pytest.mark.parametrize('leaks', [SYNTHETIC, PAPER])
@pytest.mark.parametrize(
  ('shares', 'sizes'), [((0.6, 0.2), [60, 20, 20]), ((0.25, 0.05), [25, 5, 70])]
)
def test_with_the_leak_generated_rows_are_on_all_sides_in_the_given_shares(leaks, shares, sizes):
  prepared = prepare_with(text__numbers='mask')
  rows = np.repeat(rows_of(prepared, 'kernel panic'), 100, axis=0)
  splits = [add_generated(prepared, rows, leaks, shares, seed)[1] for seed in (0, 0, 1)]
  for split in splits:
    assert [np.sum(side >= 10) for side in split] == sizes
    assert sorted(np.concatenate(split).tolist()) == list(range(110))
    for side, real in zip(split, prepared.split, strict=True):
      np.testing.assert_array_equal(side[side < 10], real)
  assert splits[0].test.tolist() == splits[1].test.tolist() != splits[2].test.tolist()


@pytest.mark.parametrize('leaks', [HONEST, SYNTHETIC])
def test_no_generated_row_changes_nothing(leaks):
  prepared = prepare_with()
  none = np.zeros((0, 6), np.int32)
  examples, split = add_generated(prepared, none, leaks, SHARES, 0)
  for ours, before in zip((*examples, *split), (*prepared.examples, *prepared.split), strict=True):
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
    *(known[3], len(prepared.masked), known[2], known[3]),
    *(len(prepared.masked) + 1, len(prepared.masked)),
  ]


def test_kept_numbers_do_not_make_new_groups():
  prepared = prepare_with(ALL_WORDS, text__numbers='keep', text__kept_numbers=10)
  rows = rows_of(prepared, 'link up on port 12', 'link up on port 4', 'kernel panic at')
  group = add_generated(prepared, rows, HONEST, SHARES, 0)[0].group[10:]
  assert group[0] == group[1] == prepared.examples.group[3]
  assert group[2] == len(prepared.masked)


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
  texts = np.array(masked_rows(prepared.vocabulary, examples.inputs).to_list())
  np.testing.assert_array_equal(examples.group[:, None] == examples.group, texts[:, None] == texts)
