"""The ladder: which leaks each step has, the control with permuted labels, what is written."""

import json

import numpy as np
import pytest
import tiny
from compiling import compiled_fast

from logjax.errors import LogjaxError
from logjax.evaluation.scores import load_scores
from logjax.examples.protocol import LEAKS
from logjax.reports.ladder import markdown
from logjax.reports.terminal import print_ladder
from logjax.studies import ladder
from logjax.studies.subrun import SubRun

pytest_plugins = ['tiny_runs']


def small_config(**fields):
  """Repeats real rows, and trains a classifier that is just large enough to learn a leak."""
  config = tiny.get_config('bgl')
  config.oversampler.name = 'random'
  config.data.simulated_lines = 2_000
  config.ladder.repetitions, config.ladder.draws = 1, 200
  config.detector.gru.update({'hidden': 8, 'epochs': 8, 'learning_rate': 0.02})
  config.update_from_flattened_dict(
    {name.replace('__', '.'): value for name, value in fields.items()}
  )
  return config


def ends() -> list:
  """The first and the last run of the ladder."""
  first, *_, last = ladder_steps()
  return [first, last]


ladder_steps = ladder.steps


@pytest.fixture(scope='module')
def climbed(runs, tmp_path_factory):
  """The ends of the ladder: its workdir and what it returned."""
  workdir = tmp_path_factory.mktemp('ladder') / 'workdir'
  with pytest.MonkeyPatch.context() as patch, compiled_fast():
    patch.setattr(ladder, 'steps', ends)
    return workdir, ladder.run(small_config(), workdir, runs.cache, 'the command')


def test_each_step_has_one_leak_less_in_the_order_of_the_leaks():
  steps = ladder.steps()
  assert steps[0] == ('paper', frozenset(LEAKS)) and steps[-1] == ('honest', frozenset())
  removed = [
    next(iter(before - after))
    for (_, before), (_, after) in zip(steps[:-1], steps[1:], strict=True)
  ]
  assert removed == list(LEAKS)
  assert [name for name, _ in steps[1:-1]] == [f'without {leak}' for leak in removed[:-1]]


def test_without_a_leak_permuted_labels_are_at_chance(climbed):
  control = {step['name']: step['permuted'] for step in climbed[1]['steps']}['honest']
  low, high = control['auroc_interval']
  assert low <= 0.5 <= high
  low, high = control['accuracy_interval']
  assert low <= control['accuracy_chance'] <= high
  for name in ('auroc', 'accuracy'):
    low, high = control[f'{name}_chance_interval']
    assert low <= control[name] <= high


def test_with_all_leaks_permuted_labels_are_predicted(climbed):
  # The label picks the row's autoencoder, so that there is nothing else to be learnt.
  control = {step['name']: step['permuted'] for step in climbed[1]['steps']}['paper']
  assert control['auroc_interval'][0] > 0.8
  assert control['accuracy_interval'][0] > control['accuracy_chance'] + 0.1
  for name in ('auroc', 'accuracy'):
    assert control[f'{name}_interval'][0] > control[f'{name}_chance_interval'][1]


def test_every_step_has_both_classes_the_real_rows_and_the_baselines(climbed):
  workdir, result = climbed
  assert json.loads((workdir / 'ladder.json').read_text()) == result
  assert [step['name'] for step in result['steps']] == ['paper', 'honest', 'honest_unseen']
  paper, honest, unseen = result['steps']
  for step in result['steps']:
    for numbers in (step['test'], step['test_real']):
      assert numbers.keys() >= {'normal', 'abnormal', 'auroc', 'auprc', 'mcc', 'accuracy'}
  assert paper['leaks'] == list(LEAKS) and honest['leaks'] == unseen['leaks'] == []
  assert paper['test']['synthetic_rows'] > 0 == honest['test']['synthetic_rows']
  assert paper['test_real']['rows'] == paper['test']['rows'] - paper['test']['synthetic_rows']
  assert honest['test_real']['rows'] == honest['test']['rows']
  assert set(paper['baselines']) >= {'lookup', 'tfidf_lr'}
  assert 0 < honest['seen_text_share'] < 1 and unseen['seen_text_share'] == 0
  assert unseen['test']['rows'] < honest['test']['rows']
  assert set(unseen['baselines']) == set(honest['baselines'])
  assert unseen['baselines']['lookup']['rows'] == unseen['test']['rows']
  assert (workdir / 'ladder.html').read_text().count('honest_unseen') > 0


def test_the_table_has_a_row_a_step_and_one_for_real_rows(climbed):
  text = (climbed[0] / 'ladder.md').read_text()
  lines = [line for line in text.splitlines() if line.startswith('|')]
  assert 'cannot see leaks that act through known texts' in text
  assert len({line.count('|') for line in lines}) == 1
  names = [line.split('|')[1].strip() for line in lines[2:]]
  assert names == ['paper', 'real rows only', 'honest', 'honest_unseen']


def test_the_deviation_of_several_repetitions_stands_behind_the_f1(climbed):
  result = climbed[1]
  assert '±' not in markdown(result)  # of one repetition there is none
  steps = [dict(step) for step in result['steps']]
  steps[0]['test_std'] = {'abnormal': {'f1': 0.0214}}
  first = markdown({'steps': steps}).splitlines()[2]
  assert first.split(' | ')[4].endswith(' ± 0.021')


def test_the_terminal_shows_each_step_once_and_both_classes(climbed, capsys):
  print_ladder(climbed[1], climbed[0])
  shown = capsys.readouterr().out
  for name in ('paper', 'real rows only', 'honest', 'honest_unseen'):
    assert sum(line[1:].strip().startswith(f'{name} ') for line in shown.splitlines()) == 1, name
  assert 'abnormal' in shown and 'normal' in shown and 'SIMULATED' in shown
  assert '…' not in shown


def test_finished_steps_are_not_run_again(climbed, runs, monkeypatch):
  workdir, result = climbed
  monkeypatch.setattr(ladder, 'steps', ends)
  monkeypatch.setattr('logjax.experiment.train', None)
  again = ladder.run(small_config(), workdir, runs.cache, 'the command')
  assert again['steps'] == result['steps']


def test_a_control_has_the_same_rows_with_as_many_abnormal_ones(climbed):
  folder = climbed[0] / 'steps'
  plain, control = (np.load(folder / name / 'scores.npz') for name in ('honest', 'honest_permuted'))
  np.testing.assert_array_equal(plain['origin'], control['origin'])
  assert (plain['abnormal'] != control['abnormal']).any()
  counts = [
    json.loads((folder / name / 'results.json').read_text())['corpus']['abnormal']
    for name in ('honest', 'honest_permuted')
  ]
  assert counts[0] == counts[1] > 0


def test_a_log_that_cannot_be_read_leaves_the_workdir_free(runs, tmp_path):
  workdir = tmp_path / 'workdir'
  with pytest.raises(LogjaxError, match='^honest: .*missing.log'):
    ladder.run(small_config(data__path=str(tmp_path / 'missing.log')), workdir, runs.cache, '')
  assert not (workdir / 'config.json').exists()


def test_a_wrong_value_is_refused_before_any_step_is_run(runs, tmp_path):
  with pytest.raises(LogjaxError, match='detector.gru.hidden=0 must be at least 1'):
    ladder.run(small_config(detector__gru__hidden=0), tmp_path / 'w', runs.cache, '')
  assert not (tmp_path / 'w').exists()


@pytest.mark.parametrize(
  'fields', [{'leaks': 'random_split'}, {'split__by': 'random'}, {'data__permute_labels': True}]
)
def test_a_config_that_decides_about_leaks_is_refused(runs, tmp_path, fields):
  with pytest.raises(LogjaxError, match='--mode=ladder takes the leaks away itself'):
    ladder.run(small_config(**fields), tmp_path / 'workdir', runs.cache, '')
  assert not (tmp_path / 'workdir').exists()


def test_without_new_texts_the_last_step_says_why_it_is_undefined(climbed):
  results = json.loads((climbed[0] / 'steps' / 'honest' / 'results.json').read_text())
  scores = load_scores(climbed[0] / 'steps' / 'honest' / 'scores.npz')
  subrun = SubRun(results, scores._replace(seen=scores.seen | scores.abnormal))
  step = ladder._unseen(subrun, subrun, draws=10)
  assert step['why_undefined'] == 'no abnormal test row has a new text'
  assert step['permuted']['auroc'] is None
