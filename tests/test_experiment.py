"""Whole runs, stage after stage, on corpora of some hundred simulated lines."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
from compiling import compiled_fast
from measurements import reproducible

from logjax import detectors, experiment
from logjax.detectors import autoencoder_gru
from logjax.errors import LogjaxError
from logjax.examples import lines as lines_kind
from logjax.examples.protocol import LEAKS
from logjax.examples.types import Data
from logjax.oversamplers.generated import oversampler_rows
from logjax.run import open_run, reopen_run
from logjax.settings import resolve

pytest_plugins = ['tiny_runs']

RUNS = ['thunderbird', 'bgl', 'openstack', 'bgl,paper']
TEST_NUMBERS = ('test', 'test_std', 'test_unseen', 'repetitions')
NUMBER = int | float | None
CLASS = {'precision': NUMBER, 'recall': NUMBER, 'f1': NUMBER}
METRICS = {'accuracy': NUMBER, 'normal': CLASS, 'abnormal': CLASS} | {
  name: NUMBER for name in ('auroc', 'auprc', 'mcc')
}
RESULTS = {
  'origin': str,
  'protocol': str,
  'leaks': list,
  'seed': int,
  'corpus': {'name': str, 'path': list, 'lines': int, 'rejected': int, 'abnormal': int},
  'oversampler': {'name': str, 'requested': int, 'generated': int, 'kept': int},
  'test': {'rows': int, 'abnormal_rows': int, 'synthetic_rows': int, **METRICS},
  'baselines': {'tfidf_lr': METRICS},
  'warnings': list,
  'seen_text_share': float,
  'unseen_text_generated_share': float | None,
  'seconds': dict.fromkeys(('read', 'oversampler', 'detector', 'test'), float),
  'versions': dict.fromkeys(('jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy'), str),
  'device': str,
  'git_commit': str | None,
}
STAGES = {
  'generator_mle',
  'discriminator_pretrain',
  'adversarial',
  'autoencoder_normal',
  'autoencoder_abnormal',
  'gru',
}


def load(path: Path) -> dict:
  return json.loads(path.read_text(), parse_constant=pytest.fail)  # NaN is no JSON


def wrong_types(value, expected, name: str = '') -> list[str]:
  """Names what `value` lacks of the keys and types expected, or has of another type."""
  if not isinstance(expected, dict):
    return [] if isinstance(value, expected) and not isinstance(value, bool) else [name]
  if not isinstance(value, dict):
    return [name]
  return [
    wrong
    for key, inner in expected.items()
    for wrong in (wrong_types(value[key], inner, f'{name}.{key}') if key in value else [key])
  ]


def encoded_of(run) -> experiment.Encoded:
  return experiment.encode(run, experiment.read(run))


def files(folder: Path) -> dict[str, int]:
  """Every file under a folder with the time of its last change."""
  return {str(path): path.stat().st_mtime_ns for path in folder.rglob('*') if path.is_file()}


def but_for_time(results: dict) -> dict:
  """Results without what a commit between two runs changes, and without their durations."""
  return {k: v for k, v in results.items() if k not in ('seconds', 'git_commit')}


@pytest.mark.parametrize('choice', RUNS)
def test_a_whole_run_leaves_every_result(runs, choice):
  workdir = runs.finished(choice)
  results = load(workdir / 'results.json')
  assert wrong_types(results, RESULTS) == []
  corpus, _, protocol = choice.partition(',')
  assert (results['origin'], results['seed']) == ('simulated', 0)
  assert results['protocol'] == (protocol or 'honest')
  assert results['leaks'] == (sorted(LEAKS) if protocol else [])
  assert (results['corpus']['name'], results['corpus']['lines']) == (corpus, 600)
  assert 0 < results['corpus']['abnormal'] < 300 and results['corpus']['rejected'] == 0
  assert bool(results['test']['synthetic_rows']) == bool(protocol)
  assert len(results['repetitions']) == 2
  stages = [json.loads(line)['stage'] for line in (workdir / 'metrics.jsonl').open()]
  adversarial = {'discriminator_pretrain', 'adversarial'}
  assert set(stages) == STAGES - (adversarial if corpus == 'openstack' else set())
  assert stages.count('gru') == 4  # two repetitions of two epochs
  assert load(workdir / 'config.json')['data.corpus'] == corpus
  report = (workdir / 'report.html').read_text()
  assert report.startswith('<!doctype html>') and 'simulated' in report.lower()


@pytest.mark.parametrize('choice', RUNS)
def test_generated_lines_are_counted_and_made_of_words_of_the_vocabulary(runs, choice):
  workdir = runs.finished(choice)
  header, *lines = (workdir / 'generated.txt').read_text().splitlines()
  assert header == 'count\ttext'
  counts, texts = zip(*(line.split('\t') for line in lines), strict=True)
  counts = [int(count) for count in counts]
  summary = load(workdir / 'results.json')['oversampler']
  assert sum(counts) == summary['kept'] + summary['repeated'] == summary['requested']
  assert counts == sorted(counts, reverse=True) and len(set(texts)) == len(texts)
  tokens = lines_kind.restore(workdir / 'encoder').vocabulary.tokens
  words = {word for text in texts for word in text.split(' ')}
  assert words <= set(tokens) - {'<pad>'}


def test_the_same_command_again_repeats_no_stage(runs, capsys):
  workdir = runs.folder / 'again'
  shutil.copytree(runs.finished('bgl'), workdir)
  first = load(workdir / 'results.json')
  before = files(workdir)
  capsys.readouterr()
  again = runs.train(workdir)
  after = files(workdir)
  assert but_for_time(again) == but_for_time(first)
  assert again['seconds'].keys() == first['seconds'].keys()
  for stage in ('oversampler', 'detector'):  # they tell what they took when they ran
    assert again['seconds'][stage] == first['seconds'][stage]
  changed = {Path(path).name for path in after if after[path] != before.get(path)}
  assert changed == {'results.json', 'details.json', 'report.html', 'seconds.json'}
  assert after.keys() == before.keys()
  assert 'gru' not in capsys.readouterr().err


def test_a_run_killed_between_stages_goes_on_to_the_same_bits(runs, monkeypatch):
  workdir = runs.folder / 'killed'

  def ctrl_c(*args, **kwargs):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(autoencoder_gru, 'fit', ctrl_c)
    with pytest.raises(KeyboardInterrupt):
      runs.train(workdir)
  assert not (workdir / 'results.json').exists()
  with pytest.raises(LogjaxError, match='holds no finished training') as raised:
    experiment.evaluate(runs.open(workdir))
  assert '\n' not in str(raised.value)
  took = load(workdir / 'seconds.json')['oversampler']
  oversampler = files(workdir / 'oversampler')

  resumed = runs.train(workdir)
  assert files(workdir / 'oversampler') == oversampler
  assert resumed['seconds']['oversampler'] == took
  whole = runs.finished('bgl')
  assert but_for_time(resumed) == but_for_time(load(whole / 'results.json'))
  for name in ('generated.txt', 'details.json', 'detector/fitted.json'):
    assert (workdir / name).read_bytes() == (whole / name).read_bytes(), name
  assert reproducible(workdir) == reproducible(whole)


def test_a_run_killed_within_a_stage_trains_and_writes_each_epoch_once(runs, monkeypatch, capsys):
  workdir = runs.folder / 'cut'
  fields = {'oversampler__name': 'random'}

  def ctrl_c(*args, **kwargs):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr(autoencoder_gru, 'save', ctrl_c)
    run = runs.open(workdir, **fields)
    with compiled_fast(), pytest.raises(KeyboardInterrupt):
      experiment.train(run, 'the command')
  run.runtime.checkpoints.close()  # what the end of a process does: the last checkpoint is written
  before = (workdir / 'metrics.jsonl').read_bytes()
  assert 'gru 2: 2/2' in capsys.readouterr().err
  runs.train(workdir, **fields)
  assert (workdir / 'metrics.jsonl').read_bytes() == before
  printed = capsys.readouterr().err
  assert '600 lines' in printed
  assert 'gru' not in printed and 'autoencoder' not in printed


@pytest.mark.parametrize('choice', ['bgl', 'bgl,paper'])
def test_evaluation_gives_the_very_numbers_of_the_training_run(runs, choice):
  workdir = runs.finished(choice)
  before = files(workdir)
  with compiled_fast():
    numbers = experiment.evaluate(reopen_run(workdir, runs.cache))
  results = load(workdir / 'results.json')
  for name in (*TEST_NUMBERS, 'origin', 'protocol', 'leaks', 'detector'):
    assert numbers[name] == results[name], name
  assert files(workdir) == before


def test_another_config_is_refused_with_the_fields_that_differ(runs):
  workdir = runs.finished('bgl')
  with pytest.raises(LogjaxError) as raised:
    runs.open(workdir, seed=1, text__length=13)
  message = str(raised.value)
  assert 'seed is 0 there and 1 here' in message
  assert 'text.length is 12 there and 13 here' in message
  assert '\n' not in message


def test_a_log_that_changed_since_the_run_began_is_refused(runs, tmp_path):
  log = tmp_path / 'mine.log'
  workdir = tmp_path / 'workdir'
  simulated = load(runs.finished('bgl') / 'results.json')['corpus']['path'][0]
  log.write_bytes(Path(simulated).read_bytes())
  for _ in range(2):
    encoded_of(runs.open(workdir, data__path=str(log)))
  log.write_bytes(Path(simulated).read_bytes() * 2)
  with pytest.raises(LogjaxError, match='the log has changed since the run in .* began'):
    encoded_of(runs.open(workdir, data__path=str(log)))


def test_a_workdir_whose_log_could_not_be_read_takes_the_corrected_config(runs, tmp_path):
  workdir = tmp_path / 'workdir'
  with pytest.raises(LogjaxError, match='matches no file'):
    experiment.read(runs.open(workdir, data__path=str(tmp_path / 'missing.log')))
  encoded_of(runs.open(workdir))
  with pytest.raises(LogjaxError, match='holds a run with another config'):
    runs.open(workdir, data__path=str(tmp_path / 'missing.log'))


def test_generated_lines_are_as_many_as_asked_for_and_the_same_each_time(runs):
  workdir = runs.finished('bgl')
  before = files(workdir)
  first, again, more = (
    experiment.generate(reopen_run(workdir, runs.cache), count).to_list() for count in (7, 7, 600)
  )
  assert len(first) == 7 and all(first)
  assert again == first
  assert len(more) == 600
  assert files(workdir) == before


def test_a_random_oversampler_generates_real_lines_and_none_has_nothing_to_restore(runs, tmp_path):
  drawn = experiment.generate(runs.open(tmp_path / 'random', oversampler__name='random'), 7)
  encoded = encoded_of(runs.open(tmp_path / 'random', oversampler__name='random'))
  examples = encoded.examples
  tokens = examples.distinct.tokens[examples.index[examples.abnormal]]
  real = encoded.encoder.vocabulary.decode(tokens)
  assert len(drawn) == 7 and set(drawn) <= set(real)
  with pytest.raises(LogjaxError, match='has no generators to sample from') as raised:
    experiment.generate(runs.open(tmp_path / 'none', oversampler__name='none'), 7)
  assert '\n' not in str(raised.value)


@pytest.mark.parametrize('leaks', ['none', 'oversampler_sees_test', 'random_split'])
def test_the_oversampler_learns_from_the_oldest_first_whatever_the_order_of_files(
  runs, tmp_path, leaks
):
  simulated = load(runs.finished('bgl') / 'results.json')['corpus']['path'][0]
  lines = Path(simulated).read_text().splitlines(keepends=True)
  (tmp_path / 'newer.log').write_text(''.join(lines[300:]))
  (tmp_path / 'older.log').write_text(''.join(reversed(lines[:300])))
  paths = f'{tmp_path}/newer.log,{tmp_path}/older.log'
  run = runs.open(tmp_path / 'workdir', data__path=paths, leaks=leaks)
  encoded = encoded_of(run)
  rows = oversampler_rows(encoded.examples, encoded.split, run.protocol)
  assert encoded.examples.abnormal[rows].all() and len(np.unique(rows)) == len(rows)
  times = encoded.corpus.logs.frame['time'].gather(rows)
  assert times.is_sorted() and not np.array_equal(rows, np.sort(rows))


def test_without_times_the_oversampler_learns_in_the_order_of_the_lines(runs, tmp_path):
  lines = ['bad one', 'good', 'bad two', 'good', 'bad three', 'good'] * 5
  (tmp_path / 'mine.log').write_text('\n'.join(lines))
  pattern = '(?<label>bad|good)(?<message>.*)'
  fields = {'data__corpus': 'own', 'data__pattern': pattern, 'data__normal_label': 'good'}
  run = runs.open(tmp_path / 'workdir', data__path=f'{tmp_path}/mine.log', **fields)
  encoded = encoded_of(run)
  rows = oversampler_rows(encoded.examples, encoded.split, run.protocol)
  assert rows.tolist() == list(range(0, 18, 2))


def test_lines_without_a_time_that_can_be_read_are_told(runs, tmp_path, capsys):
  lines = [
    f'{"bad" if i % 3 else "good"} {"?" if i in (4, 9) else 1000 + i} text' for i in range(30)
  ]
  (tmp_path / 'mine.log').write_text('\n'.join(lines))
  pattern = '(?<label>bad|good) (?<time>[^ ]+) (?<message>.*)'
  fields = {'data__corpus': 'own', 'data__pattern': pattern, 'data__time_format': 'epoch'}
  fields |= {'data__normal_label': 'good', 'data__path': f'{tmp_path}/mine.log'}
  corpus = experiment.read(runs.open(tmp_path / 'workdir', **fields))
  message = '2 lines have no time that can be read: they take the time of the line before'
  assert message in capsys.readouterr().err
  assert corpus.logs.notes['untimed'] == 2


def test_only_a_workdir_with_a_run_is_evaluated(runs, tmp_path):
  config = runs.open(tmp_path / 'run').config
  with pytest.raises(LogjaxError, match='holds no run: use --mode=train'):
    open_run(config, tmp_path / 'none', runs.cache, new=False)
  with pytest.raises(LogjaxError, match='holds no run: use --mode=train'):
    reopen_run(tmp_path / 'none', runs.cache)
  assert not (tmp_path / 'none').exists()


def test_the_devices_change_neither_the_generated_rows_nor_the_scores_much(runs):
  one = runs.finished('openstack')
  expected = load(one / 'results.json')
  for devices in (2, 4):
    workdir = runs.folder / f'devices{devices}'
    found = runs.train(workdir, 'openstack', devices=devices)
    assert (workdir / 'generated.txt').read_bytes() == (one / 'generated.txt').read_bytes()
    assert found['test']['auprc'] == pytest.approx(expected['test']['auprc'], abs=0.01)
    losses, expected_losses = (
      [repetition['valid_loss'] for repetition in results['repetitions']]
      for results in (found, expected)
    )
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-4)


def one_line(runs, tmp_path, lines: list[str], **fields) -> str:
  """The error of a run on some BGL lines."""
  (tmp_path / 'mine.log').write_text(''.join(f'{line}\n' for line in lines))
  fields = {'data__path': str(tmp_path / 'mine.log'), **fields}
  with pytest.raises(LogjaxError) as raised:
    runs.train(tmp_path / 'workdir', **fields)
  assert '\n' not in str(raised.value)
  return str(raised.value)


def bgl_lines(abnormal: list[bool]) -> list[str]:
  head = '{} {} 2005.06.03 R02-M1 2005-06-03-15.42.50.363779 R02-M1 RAS KERNEL INFO word {}'
  return [
    head.format('KERNDTLB' if a else '-', 1117838570 + i, 'bad' if a else 'good')
    for i, a in enumerate(abnormal)
  ]


def test_a_log_of_one_class_is_refused(runs, tmp_path):
  assert one_line(runs, tmp_path, bgl_lines([False] * 10)) == (
    'no abnormal row to train on and no abnormal row to test on: train 6 rows (0 abnormal), '
    'valid 2 rows (0 abnormal), test 2 rows (0 abnormal); the log has one class only: give a log '
    'with both, or check data.labels'
  )


def test_a_side_without_abnormal_rows_is_refused_and_a_random_split_helps(runs, tmp_path):
  lines = bgl_lines([True] * 20 + [False] * 30)
  assert one_line(runs, tmp_path, lines) == (
    'no abnormal row to test on: train 30 rows (20 abnormal), valid 10 rows (0 abnormal), '
    'test 10 rows (0 abnormal); --config.split.by=random mixes the sides (named among the leaks '
    'of the result; not with --mode=ladder), or move split.train and split.valid'
  )
  # The refused command left the workdir free for this one.
  run = runs.open(tmp_path / 'workdir', data__path=str(tmp_path / 'mine.log'), split__by='random')
  encoded = encoded_of(run)
  assert set(run.protocol.leaks) == {'random_split', 'duplicates_across_split'}
  assert run.config.protocol == 'honest' and encoded.corpus.origin == 'file'
  assert all(0 < encoded.examples.abnormal[side].mean() < 1 for side in encoded.split)


def test_a_log_without_labels_is_refused(runs, tmp_path):
  message = one_line(
    runs, tmp_path, ['one', 'two'], data__corpus='own', data__pattern='(?<message>.*)'
  )
  assert message.startswith('these lines have no labels')


TOY = '''
"""A detector of a few lines: the share of words that normal training lines never had."""
from typing import NamedTuple
import numpy as np
from logjax.files import read_json, write_json
KIND, NEEDS, SCORES, TITLE, RULES = 'lines', 'normal', 'distinct', 'new words', {}
class Detector(NamedTuple):
  known: list[str]
  thresholds: tuple[float, ...] = (0.5,)
  history: tuple[dict, ...] = ({},)
def fit(config, data, *, key, runtime):
  train, examples = data.split.train, data.examples
  normal = examples.index[train[~examples.abnormal[train]]]
  return Detector(sorted({w for text in examples.distinct.masked[normal] for w in text.split()}))
def score(config, detector, examples, *, key):
  known, texts = detector.known, examples.distinct.masked
  new = [np.mean([w not in known for w in text.split()] or [1]) for text in texts]
  return np.array(new)[None]
def explain(config, detector, encoder, examples, index):
  return [[] for _ in index]
def save(folder, detector):
  folder.mkdir(parents=True, exist_ok=True)
  write_json(folder / 'fitted.json', {'known': detector.known})
def restore(config, folder):
  return Detector(read_json(folder / 'fitted.json', dict, 'train again')['known'])
'''


def test_a_detector_is_added_by_its_file_alone(runs, tmp_path, monkeypatch):
  (tmp_path / 'plugins').mkdir()
  (tmp_path / 'plugins' / 'new_words.py').write_text(TOY)
  monkeypatch.setattr(detectors, '__path__', [*detectors.__path__, str(tmp_path / 'plugins')])
  assert 'new_words' in detectors.names()
  workdir = tmp_path / 'run'
  fields = {'detector__name': 'new_words', 'oversampler__name': 'none'}
  results = runs.train(workdir, **fields)
  assert results['detector'] == {
    'name': 'new_words',
    'title': 'new words',
    'kind': 'lines',
    'needs': 'normal',
  }
  assert results['test']['auroc'] > 0.5
  evaluated = experiment.evaluate(reopen_run(workdir, runs.cache))
  assert evaluated['test'] == results['test']
  assert (workdir / 'report.html').exists()


@pytest.mark.parametrize('name', ['gru', 'tfidf_lr', 'random_forest', 'nearest', 'unseen'])
def test_every_detector_is_trained_evaluated_and_reported(runs, tmp_path, name):
  workdir = tmp_path / 'run'
  fields = {'detector__name': name, 'oversampler__name': 'random'}
  with compiled_fast():
    results = runs.train(workdir, **fields)
    evaluated = experiment.evaluate(reopen_run(workdir, runs.cache))
  assert evaluated['test'] == results['test'] and (workdir / 'report.html').exists()
  if name == 'unseen':  # rows made of abnormal ones change nothing that it learns
    assert results['test']['auroc'] == results['baselines'][name]['auroc']


def test_baselines_that_need_labels_are_left_out_without_abnormal_training_rows(tmp_path, capsys):
  run = open_run(resolve(tiny.get_config()), tmp_path / 'run', tmp_path / 'cache')
  encoded = encoded_of(run)
  abnormal = encoded.examples.abnormal.copy()
  abnormal[encoded.split.train] = False
  data = Data(encoded.examples._replace(abnormal=abnormal), encoded.split, encoded.encoder, False)
  scored = experiment.baseline_scores(run, data)
  assert scored.keys() == {'majority', 'unseen', 'lookup', 'nearest'} & scored.keys()
  assert 'unseen' in scored and 'tfidf_lr' not in scored
  assert 'baseline tfidf_lr: left out' in capsys.readouterr().err


def test_an_encoder_saved_before_the_log_was_noted_is_fitted_again(tmp_path):
  config = resolve(tiny.get_config())
  encoded_of(open_run(config, tmp_path / 'run', tmp_path / 'cache'))
  path = tmp_path / 'run' / 'encoder' / 'encoder.json'
  whole = path.read_text()
  path.write_text(whole.replace('"<pad>"', '"<PAD>"'))  # as if of another log
  (tmp_path / 'run' / 'corpus.json').unlink()
  encoded_of(open_run(config, tmp_path / 'run', tmp_path / 'cache'))
  assert path.read_text() == whole
