"""The comparison: its cells, what they share, how it goes on, and what it writes."""

import json
import shutil

import numpy as np
import pytest
import tiny
from compiling import compiled_fast

from logjax import experiment
from logjax.detectors import gru
from logjax.errors import LogjaxError
from logjax.reports.terminal import print_leaderboard
from logjax.studies import compare

pytest_plugins = ['tiny_runs']


def small_config(**fields):
  config = tiny.get_config('bgl')
  config.compare.update(
    {
      'oversamplers': ('none', 'random'),
      'detectors': ('autoencoder_gru', 'gru'),
      'plain_detectors': (),
      'seeds': (0, 1),
      'draws': 100,
    }
  )
  config.update_from_flattened_dict(
    {name.replace('__', '.'): value for name, value in fields.items()}
  )
  return config


@pytest.fixture(scope='module')
def compared(runs, tmp_path_factory):
  """A comparison's workdir and what it returned."""
  workdir = tmp_path_factory.mktemp('compare') / 'workdir'
  with compiled_fast():
    return workdir, compare.run(small_config(), workdir, runs.cache, 'the command')


def cell(workdir, name: str) -> dict:
  return np.load(workdir / 'cells' / name / 'scores.npz')


def test_the_cells_are_all_combinations_those_of_a_seed_together():
  keys = compare.cell_keys(small_config(compare__abnormal_train=(5, 0, 5)).compare)
  assert len(keys) == len(set(keys)) == 2 * 2 * 2 * 2
  assert [(key.abnormal_train, key.seed) for key in keys[::4]] == [(0, 0), (0, 1), (5, 0), (5, 1)]
  assert len({key.folder for key in keys}) == len(keys)


def test_a_plain_detector_is_run_without_oversampling_and_no_cell_twice():
  config = small_config(
    compare__detectors=('autoencoder_gru',), compare__plain_detectors=('gru', 'autoencoder_gru')
  )
  keys = compare.cell_keys(config.compare)
  assert len(keys) == len(set(keys)) == 2 * 3
  assert {key.oversampler for key in keys if key.detector == 'gru'} == {'none'}


@pytest.mark.parametrize(
  ('field', 'value', 'words'),
  [
    ('oversamplers', ('none', 'magic'), "oversamplers has 'magic', none of none, class_weights"),
    ('detectors', (), 'detectors is empty'),
    ('protocols', ('fair',), "protocols has 'fair', none of honest, paper"),
    ('seeds', (0, -1), 'whole numbers from 0'),
    ('seeds', (0, 2**32), 'whole numbers from 0'),
    ('seeds', (0.5, 1), 'whole numbers from 0'),
    ('seeds', ('a',), 'whole numbers from 0'),
    ('seeds', (True,), 'whole numbers from 0'),
    ('abnormal_train', (5.5,), 'whole numbers from 0'),
  ],
)
def test_what_cannot_be_compared_is_named(field, value, words):
  config = small_config()
  with config.ignore_type():
    config.compare[field] = value
  with pytest.raises(LogjaxError, match='^--config.compare') as raised:
    compare.cell_keys(config.compare)
  assert words in str(raised.value)


def test_names_may_stand_in_one_string_with_commas_and_nothing_is_run_twice():
  config = small_config(
    compare__oversamplers=('none, random',),
    compare__seeds=(0, 0),
    compare__protocols=('honest',) * 2,
  )
  assert compare.cell_keys(config.compare) == compare.cell_keys(
    small_config(compare__seeds=(0,)).compare
  )


def test_a_config_that_sets_what_is_compared_is_refused(runs, tmp_path):
  config = small_config(split__abnormal_train=3)
  with pytest.raises(LogjaxError, match='sets split.abnormal_train itself'):
    compare.run(config, tmp_path / 'workdir', runs.cache, '')
  assert not (tmp_path / 'workdir').exists()


def test_the_leaderboard_has_every_method_with_both_classes_and_every_baseline(compared):
  workdir, result = compared
  assert json.loads((workdir / 'leaderboard.json').read_text()) == result
  (table,) = result['tables']
  assert table['protocol'] == 'honest'
  methods = {(e['detector'], e['oversampler']) for e in table['entries'] if e['kind'] == 'detector'}
  assert methods == {(d, o) for d in ('autoencoder_gru', 'gru') for o in ('none', 'random')}
  assert sum(entry['kind'] == 'baseline' for entry in table['entries']) == 6
  for entry in table['entries']:
    assert entry['seeds'] == [0, 1]
    assert entry['metrics'].keys() >= {'abnormal_f1', 'normal_f1', 'auroc', 'auprc', 'mcc'}
  assert (workdir / 'leaderboard.html').exists()
  text = (workdir / 'leaderboard.md').read_text()
  assert text.count('\n| ') >= 9 and 'lookup' in text


def test_seeds_train_on_the_same_log_and_differ_in_what_was_trained(compared):
  one, other = (cell(compared[0], f'honest-all_abnormal-gru-none-seed_{s}') for s in (0, 1))
  np.testing.assert_array_equal(one['origin'], other['origin'])
  np.testing.assert_array_equal(one['baseline_lookup'], other['baseline_lookup'])
  assert (one['scores'] != other['scores']).any()


def test_detectors_are_given_the_same_generated_rows(compared):
  folders = [
    compared[0] / 'cells' / f'honest-all_abnormal-{name}-random-seed_1' / 'oversampler'
    for name in ('autoencoder_gru', 'gru')
  ]
  first, second = (np.load(folder / 'generated.npz') for folder in folders)
  for name in ('distinct', 'index'):
    np.testing.assert_array_equal(first[name], second[name])
    assert len(first[name])
  shared = list((compared[0] / 'cells' / 'shared').iterdir())
  assert len(shared) >= 4  # two oversamplers with two seeds; another test may add some
  for detector in ('autoencoder_gru', 'gru'):
    folder = compared[0] / 'cells' / f'honest-all_abnormal-{detector}-random-seed_1'
    assert (folder / 'generated.txt').read_text().count('\n') > 1


def test_what_is_finished_is_not_run_again_and_more_seeds_are_added(compared, runs, monkeypatch):
  workdir, result = compared
  done, train = [], experiment.train

  def counted(run, *args, **options):
    done.append(run.workdir.name)
    return train(run, *args, **options)

  monkeypatch.setattr(experiment, 'train', counted)
  again = compare.run(small_config(), workdir, runs.cache, 'the command')
  assert not done
  assert again['tables'] == result['tables']
  more = small_config(compare__seeds=(0, 1, 2), compare__oversamplers=('none',))
  with compiled_fast():
    compare.run(more, workdir, runs.cache, 'the command')
  assert done == [f'honest-all_abnormal-{name}-none-seed_2' for name in ('autoencoder_gru', 'gru')]


def test_a_cell_without_its_scores_is_tested_again_and_not_trained(compared, runs, monkeypatch):
  workdir, result = compared
  folder = workdir / 'cells' / 'honest-all_abnormal-gru-random-seed_0'
  (folder / 'scores.npz').unlink()
  monkeypatch.setattr(gru, 'fit', None)
  with compiled_fast():
    again = compare.run(small_config(), workdir, runs.cache, 'the command')
  assert (folder / 'scores.npz').exists()
  assert again['tables'][0]['entries'][0]['metrics'] == result['tables'][0]['entries'][0]['metrics']


def test_a_log_that_changed_between_two_calls_is_refused(compared, runs, tmp_path):
  workdir = tmp_path / 'workdir'
  shutil.copytree(compared[0], workdir)
  path = workdir / 'cells' / 'honest-all_abnormal-gru-none-seed_0' / 'results.json'
  results = json.loads(path.read_text())
  results['corpus']['sha256'] = '0' * 64
  path.write_text(json.dumps(results))
  with pytest.raises(LogjaxError, match='the log has changed'):
    compare.run(small_config(), workdir, runs.cache, '')


def test_the_terminal_shows_the_leaderboard(compared, capsys):
  print_leaderboard(compared[1], compared[0])
  shown = capsys.readouterr().out
  assert 'autoencoder_gru' in shown and 'leaderboard.html' in shown and 'SIMULATED' in shown


def test_few_abnormal_rows_are_a_curve(compared, runs):
  config = small_config(
    compare__abnormal_train=(4,), compare__detectors=('gru',), compare__seeds=(0,)
  )
  with compiled_fast():
    result = compare.run(config, compared[0], runs.cache, 'the command')
  assert [table['abnormal_train'] for table in result['tables']] == [0, 4]
  folder = compared[0] / 'cells' / 'honest-4_abnormal-gru-none-seed_0'
  split = json.loads((folder / 'results.json').read_text())['split']
  assert split['train']['abnormal'] == 4 and split['valid']['abnormal'] <= 4
  assert split['test']['abnormal'] > 4
  assert result['curve']


def test_an_error_names_its_cell(runs, tmp_path):
  config = small_config(data__path=str(tmp_path / 'missing.log'))
  with pytest.raises(LogjaxError, match='^honest-all_abnormal-autoencoder_gru-none-seed_0: '):
    compare.run(config, tmp_path / 'workdir', runs.cache, '')
