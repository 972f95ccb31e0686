"""From few abnormal rows to many: what is drawn, removed, repeated, and counted."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import polars as pl
import pytest
from compiling import compiled_fast
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from configs import default
from logjax.errors import LogjaxError
from logjax.oversamplers import gan, smoten
from logjax.oversamplers.oversample import draw_rows, fit_oversampler, oversample
from logjax.oversamplers.table import TABLE
from logjax.settings import resolve
from logjax.training.runtime import quiet_runtime

# Ids from 90 on are numbers, which the masked text does not tell apart.
TRAIN = np.array([[1, 2, 90], [1, 3, 0], [4, 0, 0], [4, 0, 0]], np.int32)
EMPTY, A, B, C = [0, 0, 0], [1, 3, 0], [5, 6, 0], [5, 7, 0]


def masked(rows: np.ndarray) -> pl.Series:
  return pl.Series(
    [' '.join(map(str, np.minimum(row, 90).tolist())) for row in rows], dtype=pl.String
  )


def drawn_by(config, rows, count, fitted=None, key=None) -> tuple[np.ndarray, dict]:
  """The rows and the summary of `draw_rows`."""
  made = draw_rows(config, rows, count, fitted, masked, key=key)
  assert len(np.unique(made.distinct, axis=0)) == len(made.distinct)
  return made.distinct[made.index], made.summary


def config_of(**changes):
  config = default.get_config()
  config.oversampler.update(changes)
  return config


def oversample_stream(stream, count, *, block=2, config=None, **changes):
  """Oversamples with a generator that makes the rows of a stream, so many at a time.

  Returns:
    What was made, and the rows that the generator had made for it.
  """
  stream = np.array(stream, np.int32).reshape(-1, 3)
  made = []

  def make_generate(config, rows, count, fitted):
    assert fitted == 'generators' and rows.shape[1] == 3

    def generate(key):
      start = len(made) * block
      made.append(stream[np.arange(start, start + block) % len(stream)])
      return made[-1]

    return generate

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(gan, 'make_generate', make_generate)
    config = config or config_of(name='seqgan', **changes)
    oversampled = drawn_by(config, TRAIN, count, 'generators', jax.random.key(0))
  return oversampled, np.concatenate([stream[:0], *made])


@pytest.mark.parametrize('name', ['none', 'class_weights'])
def test_what_makes_no_rows_makes_nothing(name):
  rows, summary = drawn_by(config_of(name=name), TRAIN, 50)
  assert rows.shape == (0, 3) and rows.dtype == np.int32
  assert (summary['name'], summary['requested'], summary['generated']) == (name, 0, 0)
  assert summary['distinct_share'] is None and summary['novel_text_share'] is None


@pytest.mark.parametrize('name', ['random', 'smote', 'smoten', 'mle', 'seqgan'])
@pytest.mark.parametrize('count', [0, -3])
def test_classes_that_balance_already_get_nothing(name, count):
  rows, summary = drawn_by(config_of(name=name), TRAIN, count)
  assert rows.shape == (0, 3)
  assert (summary['name'], summary['requested'], summary['kept']) == (name, 0, 0)


def test_random_repeats_training_rows_and_says_so():
  config = config_of(name='random')
  rows, summary = drawn_by(config, TRAIN, 500)
  assert rows.shape == (500, 3)
  assert {tuple(row) for row in rows} == {tuple(row) for row in TRAIN}
  assert (summary['requested'], summary['generated']) == (500, 500)
  assert (summary['kept'], summary['repeated'], summary['removed']) == (0, 500, {})
  assert summary['distinct_share'] == 3 / 500 and summary['novel_text_share'] == 0
  np.testing.assert_array_equal(drawn_by(config, TRAIN, 500)[0], rows)
  config.seed = 1
  assert not np.array_equal(drawn_by(config, TRAIN, 500)[0], rows)


def test_distinct_and_new_rows_are_kept_as_they_come():
  (rows, summary), drawn = oversample_stream([B, C, [6, 0, 0]], 3, block=3)
  assert rows.tolist() == [B, C, [6, 0, 0]] and rows.dtype == np.int32
  assert len(drawn) == 3
  assert (summary['generated'], summary['kept'], summary['repeated']) == (3, 3, 0)
  assert summary['removed'] == {'equal_to_train': 0, 'equal_to_each_other': 0, 'empty': 0}
  assert summary['distinct_share'] == 1 and summary['novel_text_share'] == 1


def test_more_are_drawn_for_those_removed_and_each_removal_is_counted():
  """Of three too few stay; of six A equals a training row, B comes twice, one is empty."""
  (rows, summary), drawn = oversample_stream([A, B, B, C, EMPTY, [6, 0, 0]], 3, block=3)
  assert rows.tolist() == [B, C, [6, 0, 0]]
  assert (summary['requested'], summary['generated']) == (3, 6)
  assert (summary['kept'], summary['repeated']) == (3, 0)
  assert summary['removed'] == {'equal_to_train': 1, 'equal_to_each_other': 1, 'empty': 1}
  assert summary['distinct_share'] == 4 / 5  # the empty row is no text
  assert summary['novel_text_share'] == 4 / 5


def test_a_shortage_is_filled_with_removed_rows_in_their_order():
  (rows, summary), _ = oversample_stream([A, B, B, EMPTY], 4)
  assert rows.tolist() == [B, A, B, A]
  assert (summary['generated'], summary['kept'], summary['repeated']) == (8, 1, 3)
  assert summary['removed'] == {'equal_to_train': 2, 'equal_to_each_other': 3, 'empty': 2}


def test_too_few_removed_rows_are_repeated_again_and_again():
  (rows, summary), _ = oversample_stream([EMPTY, A, EMPTY, B, *[EMPTY] * 6], 5, max_draws=2.0)
  assert rows.tolist() == [B, A, A, A, A]
  assert (summary['generated'], summary['kept'], summary['repeated']) == (10, 1, 4)


def test_a_shortage_can_stay_short():
  (rows, summary), _ = oversample_stream([A, B, B, EMPTY], 4, on_shortage='short')
  assert rows.tolist() == [B]
  assert (summary['requested'], summary['kept'], summary['repeated']) == (4, 1, 0)


@pytest.mark.parametrize('on_shortage', ['repeat', 'short'])
def test_a_generator_of_empty_rows_is_an_error(on_shortage):
  with pytest.raises(LogjaxError, match='^all 8 generated rows are empty: the generators learned'):
    oversample_stream([EMPTY], 4, on_shortage=on_shortage)


@pytest.mark.parametrize(('max_draws', 'most'), [(1.0, 10), (2.0, 20), (3.5, 35), (0.1, 10)])
def test_the_search_for_distinct_rows_ends(max_draws, most):
  (_, summary), drawn = oversample_stream([B], 10, block=4, max_draws=max_draws)
  assert summary['generated'] == most
  assert most <= len(drawn) < most + 2 * 4  # two rounds of whole blocks


@pytest.mark.parametrize(
  ('changes', 'kept'),
  [
    ({'similarity': 'none'}, [0, 1, 2, 3, 4]),
    ({'similarity': 'exact'}, [1, 3, 4]),
    # [5, 91, 0] and [5, 92, 0] differ by a number only, [1, 2, 93] and a training row too.
    ({'similarity': 'masked'}, [1]),
    # Two of three tokens in common are a Jaccard similarity of 1 / 2.
    ({'similarity': 'jaccard', 'jaccard': 0.5}, [1, 3]),
    ({'similarity': 'jaccard', 'jaccard': 1.0}, [1, 3, 4]),
  ],
)
def test_similarity_decides_which_rows_go(changes, kept):
  stream = [[1, 3, 0], [5, 91, 0], [5, 91, 0], [5, 92, 0], [1, 2, 93]]
  (rows, summary), _ = oversample_stream(
    stream, 5, block=5, max_draws=1.0, on_shortage='short', **changes
  )
  assert rows.tolist() == [stream[i] for i in kept]
  assert summary['kept'] + sum(summary['removed'].values()) == 5


ROW = st.lists(st.sampled_from([0, 1, 3, 4, 5, 91]), min_size=3, max_size=3).map(
  lambda row: sorted(row, key=lambda token: token == 0)
)


@given(
  st.lists(ROW, min_size=1, max_size=30),
  st.integers(1, 12),
  st.integers(1, 5),
  st.sampled_from(['none', 'exact', 'masked', 'jaccard']),
  st.sampled_from(['repeat', 'short']),
  st.floats(1, 4),
)
@hypothesis_settings(max_examples=60, deadline=None)
def test_all_counts_add_up(stream, count, block, similarity, on_shortage, max_draws):
  stream = [B, *stream]  # a generator of empty rows alone is an error
  (rows, summary), drawn = oversample_stream(
    stream,
    count,
    block=block,
    similarity=similarity,
    on_shortage=on_shortage,
    max_draws=max_draws,
  )
  kept, repeated = rows[: summary['kept']], rows[summary['kept'] :]
  assert len(repeated) == summary['repeated']
  assert summary['requested'] == count
  assert count <= summary['generated'] <= max(count, max_draws * count)
  assert summary['kept'] + sum(summary['removed'].values()) <= summary['generated']
  if summary['kept'] < count:
    assert summary['kept'] + sum(summary['removed'].values()) == summary['generated']
  if similarity != 'none':
    assert len({tuple(row) for row in kept}) == len(kept)
    assert not {tuple(row) for row in kept} & {tuple(row) for row in TRAIN}
  assert {tuple(row) for row in rows} <= {tuple(row) for row in drawn}
  assert np.all((rows != 0).any(axis=1))
  full = on_shortage == 'repeat' and np.any(drawn[: summary['generated']])
  assert len(rows) == (count if full else summary['kept'])


def test_an_oversampler_without_training_has_nothing_to_fit():
  for name in ('none', 'class_weights', 'random'):
    assert fit_oversampler(config_of(name=name), TRAIN, None, key=None, runtime=None) is None


@pytest.mark.parametrize('name', ['random', 'smote', 'smoten', 'mle', 'seqgan'])
def test_whatever_makes_rows_needs_a_row_to_learn_from(name):
  with pytest.raises(LogjaxError, match='no abnormal row'):
    fit_oversampler(config_of(name=name), TRAIN[:0], np.zeros(0), key=None, runtime=None)


def test_smoten_needs_a_row_with_a_token():
  with pytest.raises(LogjaxError, match='no abnormal row with a token'):
    fit_oversampler(config_of(name='smoten'), 0 * TRAIN, None, key=None, runtime=None)


def test_votes_that_equal_training_rows_are_removed_and_repeated():
  """With one neighbour every vote is a tie, which leaves a row as it is."""
  config = config_of(name='smoten', neighbours=1)
  points, key = smoten.points_of(TRAIN, 0), jax.random.key(0)
  rows, summary = drawn_by(config, TRAIN, 20, points, key)
  assert (summary['generated'], summary['kept'], summary['repeated']) == (40, 0, 20)
  assert summary['removed'] == {'equal_to_train': 40, 'equal_to_each_other': 0, 'empty': 0}
  assert {tuple(row) for row in rows} <= {tuple(row) for row in TRAIN} and len(rows) == 20
  config.oversampler.on_shortage = 'short'
  assert len(drawn_by(config, TRAIN, 20, points, key)[0]) == 0


def test_new_votes_are_kept_once_and_then_repeated():
  rows = np.array([[1, 2, 8], [1, 7, 3], [6, 2, 3]], np.int32)
  config = config_of(name='smoten', neighbours=2)
  made, summary = drawn_by(config, rows, 4, rows, jax.random.key(0))
  assert made.tolist() == [[1, 2, 3]] * 4
  assert (summary['kept'], summary['repeated'], summary['novel_text_share']) == (1, 3, 1)


SMALL = {'detector.autoencoder.layers': (8, 4, 8), 'detector.autoencoder.epochs': 2, 'devices': 1}


# The other generators go through the same call in test_imblearn_api.py: they compile for long.
@pytest.mark.parametrize('name', ['none', 'class_weights', 'random', 'smote', 'smoten', 'mle'])
def test_one_call_makes_as_many_rows_as_wanted(name):
  config = resolve(tiny_config())
  config.update_from_flattened_dict({**SMALL, 'oversampler.name': name})
  with compiled_fast():
    made = oversample(config, ROWS, 7, jax.random.key(0))
    again = oversample(config, ROWS, 7, jax.random.key(0))
  assert made.shape == (0 if name in ('none', 'class_weights') else 7, 5)
  assert made.dtype == np.int32 and set(made.ravel()) <= set(range(10))
  np.testing.assert_array_equal(again, made)


def test_the_key_and_not_the_configured_seed_decides_the_rows():
  config = resolve(config_of(name='random'))
  wide = np.arange(1, 301, dtype=np.int32).reshape(100, 3)
  first = oversample(config, wide, 50, jax.random.key(0))
  assert not np.array_equal(oversample(config, wide, 50, jax.random.key(1)), first)
  config.seed = 5
  np.testing.assert_array_equal(oversample(config, wide, 50, jax.random.key(0)), first)


@pytest.mark.parametrize('name', ['random', 'smote', 'smoten'])
def test_of_one_distinct_row_all_are_that_row(name):
  config = resolve(config_of(name=name))
  config.update_from_flattened_dict(SMALL | {'detector.autoencoder.epochs': 40})
  with compiled_fast():
    made = oversample(config, TRAIN[[0, 0, 0]], 5, jax.random.key(0))
  assert made.tolist() == [[1, 2, 90]] * 5


def test_similarity_without_a_vocabulary_looks_at_ids():
  rows = np.array([[1, 2, 8], [1, 7, 3], [6, 2, 3]], np.int32)
  config = resolve(config_of(name='smoten', similarity='masked', on_shortage='short'))
  assert oversample(config, rows, 4, jax.random.key(0)).tolist() == [[1, 2, 3]]


# A tiny generator, by dotted name; with the rows below it has the shapes of test_seqgan_fit.py, so
# that both are compiled once.
TINY = {
  'oversampler.name': 'mle',
  'oversampler.sets': 2,
  'oversampler.sets_by': 'text',
  'seqgan.embedding': 6,
  'seqgan.hidden': 8,
  'seqgan.generator_learning_rate': 0.05,
  'seqgan.batch': 8,
  'seqgan.rows_per_epoch': 32,
  'seqgan.mle_epochs': 8,
  'seqgan.discriminator_embedding': 5,
  'seqgan.filter_widths': (1, 2, 30),
  'seqgan.filters': (3, 4, 5),
}
ROWS = np.array(
  [[1, 2, 3, 4, 0], [1, 2, 3, 0, 0], [1, 4, 3, 0, 0], [6, 7, 0, 0, 0], [7, 8, 7, 9, 0]], np.int32
)
GROUP = np.array([0, 0, 0, 1, 1])


def tiny_config():
  config = default.get_config()
  config.update_from_flattened_dict(TINY)
  return config


@pytest.fixture(scope='module')
def fitted(tmp_path_factory):
  """Trained generators and the folder where they are saved."""
  folder = tmp_path_factory.mktemp('oversampler')
  with compiled_fast():
    generators = fit_oversampler(
      tiny_config(), ROWS, GROUP, key=jax.random.key(0), runtime=quiet_runtime(1)
    )
  gan.save(folder, generators)
  return generators, folder


def generate_tiny(generators, config=None):
  return drawn_by(config or tiny_config(), ROWS, 300, generators, jax.random.key(1))


def test_trained_generators_make_rows_of_their_sets(fitted):
  """Sets by text: tokens 1 to 4 and 6 to 9 never meet. Rows keep the length of the given ones."""
  rows, summary = generate_tiny(fitted[0])
  assert rows.shape == (300, 5) and rows.dtype == np.int32
  assert len(rows) == summary['kept'] + summary['repeated'] == 300
  first, second = np.isin(rows, [0, 1, 2, 3, 4]), np.isin(rows, [0, 6, 7, 8, 9])
  assert np.all(first.all(axis=1) | second.all(axis=1))
  assert 100 < np.sum(first.all(axis=1)) < 200  # the sets take turns
  kept = rows[: summary['kept']]
  assert not {tuple(row) for row in kept} & {tuple(row) for row in ROWS}


def test_restored_generators_make_the_same_rows(fitted):
  generators, folder = fitted
  rows, summary = generate_tiny(generators)
  restored = gan.restore(tiny_config(), folder)
  again, other = generate_tiny(restored)
  np.testing.assert_array_equal(again, rows)
  assert other == summary
  assert restored.length == generators.length
  np.testing.assert_array_equal(restored.tokens, generators.tokens)


ROOT = Path(__file__).parents[2]
PYTHONPATH = os.pathsep.join([str(ROOT), str(ROOT / 'tests')])
SCRIPT = """
import json, sys
import jax
from pathlib import Path
from tests.oversamplers.test_oversample import gan, generate_tiny, tiny_config
generators = gan.restore(tiny_config(), Path(sys.argv[1]))
print(json.dumps([jax.local_device_count(), generate_tiny(generators)[0].tolist()]))
"""


def test_one_device_generates_what_four_trained(fitted):
  generators, folder = fitted
  environment = {
    **os.environ,
    'XLA_FLAGS': '--xla_force_host_platform_device_count=1',
    'PYTHONPATH': PYTHONPATH,
  }
  done = subprocess.run(
    [sys.executable, '-c', SCRIPT, str(folder)],
    env=environment,
    capture_output=True,
    text=True,
    check=True,
  )
  devices, rows = json.loads(done.stdout)
  assert devices == 1
  np.testing.assert_array_equal(rows, generate_tiny(generators)[0])


def test_the_temperature_is_that_of_the_config(fitted):
  config = tiny_config()
  config.oversampler.update(temperature=1e-3, similarity='none')
  assert len(np.unique(generate_tiny(fitted[0], config)[0], axis=0)) == 2


def test_missing_or_other_generators_are_one_line(fitted, tmp_path):
  _, folder = fitted
  with pytest.raises(LogjaxError, match='no trained generators') as raised:
    gan.restore(tiny_config(), tmp_path)
  assert str(tmp_path) in str(raised.value) and '\n' not in str(raised.value)
  other = tiny_config()
  other.seqgan.hidden = 9
  with pytest.raises(LogjaxError, match='checkpoint') as raised:
    gan.restore(other, folder)
  assert '\n' not in str(raised.value)


def test_every_oversampler_of_the_table_has_its_module():
  for row in TABLE.values():
    if row.module:
      module = importlib.import_module(f'logjax.oversamplers.{row.module}')
      assert callable(module.fit) and callable(module.make_generate) and module.EMPTY_ADVICE
