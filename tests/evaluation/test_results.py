"""From scores to results: which repetitions count, unseen texts, mistakes with their lines."""

import json
import math
import subprocess
from pathlib import Path

import numpy as np
import pytest

from logjax import experiment, results
from logjax.details import make_details
from logjax.detectors.autoencoder_gru import Detector
from logjax.examples.lines import add_generated
from logjax.results import Rows, git_commit, make_results

pytest_plugins = ['tiny_runs']


@pytest.fixture(scope='module', params=['bgl', 'bgl,paper'])
def run_and_rows(request, runs) -> tuple:
  """A finished run and its rows, nothing trained."""
  run = runs.open(runs.finished(request.param), request.param)
  return run, experiment.make_rows(run, *experiment.read(run))


@pytest.fixture
def run(run_and_rows):
  return run_and_rows[0]


@pytest.fixture
def rows(run_and_rows) -> Rows:
  return run_and_rows[1]


def detector(*thresholds: float, valid_loss: tuple[float, ...] = (2.0, 1.0)) -> Detector:
  """A detector that was never trained but has thresholds and measurements."""
  fitted = tuple(
    {'epoch': 3, 'loss': 0.5, 'accuracy': 0.9, 'valid_loss': loss, 'valid_accuracy': 0.8}
    for loss in valid_loss
  )
  nothing = np.zeros(0, np.float32)
  return Detector(({}, {}), nothing, nothing, (), thresholds, fitted)


def right_and_wrong(rows: Rows) -> np.ndarray:
  """Scores of a repetition that is always right and of one that is always wrong, [2, N]."""
  abnormal = rows.examples.abnormal[rows.split.test].astype(np.float32)
  return np.stack([abnormal, 1 - abnormal])


def numbers(run, rows: Rows, scores: np.ndarray, report: str = 'mean', **kwargs) -> dict:
  config = run.config.copy_and_resolve_references()
  config.detector.report = report
  return results.test_results(config, rows, detector(0.5, 0.5, **kwargs), scores)


def whole(run, rows: Rows) -> dict:
  scores = right_and_wrong(rows)
  return make_results(
    run.config, run.leaks, rows, detector(0.5, 0.5), scores, results.rival_scores(rows)
  )


def test_the_mean_and_the_deviation_are_those_of_the_repetitions(run, rows):
  found = numbers(run, rows, right_and_wrong(rows))
  assert [r['abnormal']['f1'] for r in found['repetitions']] == [1, 0]
  assert found['test']['accuracy'] == found['test']['auroc'] == 0.5
  assert found['test']['mcc'] == 0
  assert found['test_std']['accuracy'] == pytest.approx(math.sqrt(0.5))
  test = rows.split.test
  assert found['test']['rows'] == len(test)
  assert found['test']['abnormal_rows'] == rows.examples.abnormal[test].sum()
  assert found['test']['synthetic_rows'] == (rows.examples.origin[test] == -1).sum()
  assert found['repetitions'][0]['epochs'] == 4 and found['repetitions'][0]['train_loss'] == 0.5


@pytest.mark.parametrize(
  ('report', 'valid_loss', 'accuracy'),
  [('last', (1.0, 2.0), 0), ('best', (1.0, 2.0), 1), ('best', (2.0, 1.0), 0)],
)
def test_one_repetition_may_be_reported_alone(run, rows, report, valid_loss, accuracy):
  found = numbers(run, rows, right_and_wrong(rows), report, valid_loss=valid_loss)
  assert found['test']['accuracy'] == accuracy
  assert found['test_std']['accuracy'] is None  # of one number
  assert len(found['repetitions']) == 2


def test_each_repetition_has_its_own_threshold(run, rows):
  scores = np.full((2, len(rows.split.test)), 0.5)
  found = results.test_results(run.config, rows, detector(0.4, 0.6), scores)
  assert [r['abnormal']['recall'] for r in found['repetitions']] == [1, 0]
  assert [r['threshold'] for r in found['repetitions']] == [0.4, 0.6]


def test_undefined_metrics_are_null(run, rows):
  found = numbers(run, rows, np.zeros((2, len(rows.split.test))))
  assert found['test']['abnormal'] == {'precision': None, 'recall': 0, 'f1': 0}
  assert found['test']['mcc'] is None and found['test_std']['mcc'] is None
  assert '"precision": null' in json.dumps(found, allow_nan=False)


def test_only_texts_that_no_real_training_row_has_are_unseen(run, rows):
  texts = results._masked(rows, np.arange(len(rows.examples.inputs))).to_list()
  train = {texts[i] for i in rows.split.train if rows.examples.origin[i] >= 0}
  new = [i for i in rows.split.test if texts[i] not in train]
  unseen = [i for i in new if rows.examples.origin[i] >= 0]
  found = whole(run, rows)
  assert 0 < len(unseen) < len(rows.split.test)
  assert found['test_unseen']['rows'] == len(unseen)
  assert found['test_unseen']['abnormal_rows'] == sum(rows.examples.abnormal[unseen])
  assert found['seen_text_share'] == pytest.approx(1 - len(new) / len(rows.split.test))


def test_a_text_that_only_generated_rows_have_stays_unseen_and_is_counted_apart(run, rows):
  def with_generated(made: np.ndarray) -> Rows:
    shares = (run.config.split.train, run.config.split.valid)
    joined = add_generated(rows.prepared, made, run.leaks - {'synthetic_in_test'}, shares, 0)
    return Rows(rows.corpus, rows.prepared, rows.oversampled._replace(rows=made), *joined)

  real = rows.prepared.examples
  nothing = with_generated(real.inputs[:0])
  unseen = nothing.split.test[~results.seen_texts(nothing)]
  _, first, repeats = np.unique(real.group[unseen], return_index=True, return_counts=True)
  guessed = unseen[first[:2]]  # the generator writes two of their texts
  found = whole(run, with_generated(real.inputs[guessed]))
  assert found['test_unseen']['rows'] == len(unseen) > repeats[:2].sum()
  assert found['unseen_text_generated_share'] == repeats[:2].sum() / len(unseen)
  assert whole(run, nothing)['unseen_text_generated_share'] == 0
  everything = nothing._replace(split=nothing.split._replace(train=np.arange(len(real.inputs))))
  assert whole(run, everything)['unseen_text_generated_share'] is None


def test_real_test_rows_have_numbers_of_their_own(run, rows):
  real = rows.examples.origin[rows.split.test] >= 0
  scores = right_and_wrong(rows)
  scores[0, ~real] = 1 - scores[0, ~real]  # wrong about every generated row
  found = numbers(run, rows, scores, report='best', valid_loss=(1.0, 2.0))
  assert found['test_real']['rows'] == real.sum()
  assert found['test_real']['accuracy'] == 1
  assert found['test']['accuracy'] == pytest.approx(real.mean())


def test_precision_is_told_at_the_natural_share_where_generated_rows_test(run, rows):
  found = numbers(run, rows, right_and_wrong(rows), report='last')  # wrong about every row
  if run.config.protocol == 'honest':
    assert found['natural_precision'] is None
  else:
    assert found['natural_precision'] == {'normal': 0, 'abnormal': 0}
    right = numbers(run, rows, right_and_wrong(rows), report='best', valid_loss=(1.0, 2.0))
    assert right['natural_precision'] == {'normal': 1, 'abnormal': 1}
    # The mean of both, and not what the mean of their recalls would give: the natural share.
    mean = numbers(run, rows, right_and_wrong(rows))
    assert mean['natural_precision'] == {'normal': 0.5, 'abnormal': 0.5}


def test_generated_rows_are_measured_against_rows_that_the_oversampler_never_saw(
  run, rows, monkeypatch
):
  seen = []

  def measure(*arguments):
    seen.extend(arguments)
    return {'self_bleu': 0.5}

  monkeypatch.setattr(results, 'quality', measure)
  assert whole(run, rows)['oversampler']['quality'] == {'self_bleu': 0.5}
  made, train, held_out, _ = seen
  examples, split = rows.prepared.examples, rows.prepared.split
  assert made is rows.oversampled.rows
  assert len(train) + len(held_out) == examples.abnormal.sum()
  if run.config.protocol == 'honest':
    assert len(train) == examples.abnormal[split.train].sum()
  else:
    assert len(held_out) == 0


def test_without_unseen_texts_their_metrics_are_null(run, rows):
  everything = rows._replace(split=rows.split._replace(train=np.arange(len(rows.examples.inputs))))
  unseen = numbers(run, everything, right_and_wrong(rows))['test_unseen']
  assert unseen['rows'] == 0
  assert unseen['accuracy'] is unseen['auroc'] is unseen['abnormal']['f1'] is None


def test_rivals_are_trained_on_real_rows_and_tested_on_the_same_rows(run, rows, monkeypatch):
  seen = []

  def rivals(train, abnormal, test):
    seen.extend((train, abnormal, test))
    return {'never': np.zeros(len(test)), 'always': np.full(len(test), 0.5)}

  monkeypatch.setattr(results, 'baseline_scores', rivals)
  found = whole(run, rows)
  train, abnormal, test = seen
  sides = rows.split.train, rows.split.test
  real = sum(rows.examples.origin[sides[0]] >= 0)
  assert len(train) == len(abnormal) == real < len(sides[0])
  assert len(test) == len(sides[1]) == found['baselines']['never']['rows']
  assert all(train) and all(test)
  recalls = [metrics['abnormal']['recall'] for metrics in found['baselines'].values()]
  assert recalls == [0, 1]  # a score at the threshold is an alarm


def test_each_rival_has_the_numbers_that_the_detector_has(run, rows):
  found = whole(run, rows)
  assert list(found['baselines']) == ['majority', 'unseen', 'lookup', 'nearest', 'tfidf_lr']
  for metrics in found['baselines'].values():
    assert metrics.keys() == found['test'].keys() - {'synthetic_rows'}
  majority = found['baselines']['majority']
  assert (majority['auroc'], majority['abnormal']['f1']) == (0.5, 0)
  assert majority['auprc'] == pytest.approx(majority['abnormal_rows'] / majority['rows'])


def test_the_text_of_a_real_row_is_its_groups_and_of_a_generated_one_its_own(rows):
  index = np.arange(len(rows.examples.inputs))[::-1]
  texts = results._masked(rows, index)
  real = rows.examples.origin[index] >= 0
  groups = rows.examples.group[index[real]]
  assert texts.filter(real).to_list() == rows.prepared.masked.gather(groups).to_list()
  own = results.masked_rows(rows.prepared.vocabulary, rows.examples.inputs[index[~real]])
  assert texts.filter(~real).to_list() == own.to_list()
  assert 0 < real.sum() < len(real)


def test_mistakes_are_real_lines_and_named_by_file_and_line(rows):
  scores = right_and_wrong(rows)[1:]
  mistakes = make_details(rows, detector(0.5), scores)['mistakes']
  assert {m['abnormal'] for m in mistakes} == {True, False}
  for mistake in mistakes:
    file, _, number = mistake['where'].rpartition(':')
    line = Path(file).read_text().splitlines()[int(number) - 1]
    assert line.endswith(mistake['text'])
    assert line.startswith('- ') != mistake['abnormal']
    assert mistake['score'] == (0 if mistake['abnormal'] else 1)
  assert len({m['where'] for m in mistakes}) == len(mistakes)


def test_a_mistake_is_what_most_repetitions_call_wrong_by_their_own_thresholds(rows):
  abnormal = rows.examples.abnormal[rows.split.test].astype(np.float32)
  low = 0.01 + 0.01 * abnormal
  assert make_details(rows, detector(0.015, 0.015), np.stack([low, low]))['mistakes'] == []
  missed = make_details(rows, detector(0.5, 0.5), np.stack([low, low]))['mistakes']
  assert missed and all(m['abnormal'] for m in missed)
  # One of two raises the alarm: that is enough.
  found = make_details(rows, detector(0.015, 0.5), np.stack([low, low]))['mistakes']
  assert found == []


def test_generated_lines_stand_beside_their_nearest_real_ones(rows):
  shown = make_details(rows, detector(0.5), right_and_wrong(rows)[:1])['generated']
  made = rows.prepared.vocabulary.decode(rows.oversampled.rows).to_list()
  assert 0 < len(shown) <= 20
  for entry in shown:
    assert entry['count'] == made.count(entry['text'])
    ours, theirs = set(entry['text'].split(' ')), set(entry['nearest'].split(' '))
    assert entry['similarity'] == pytest.approx(len(ours & theirs) / len(ours | theirs))
    file, _, number = entry['nearest_where'].rpartition(':')
    assert not Path(file).read_text().splitlines()[int(number) - 1].startswith('- ')


def test_without_generated_rows_none_are_shown(rows):
  none = rows.oversampled._replace(rows=rows.oversampled.rows[:0])
  scores = right_and_wrong(rows)[:1]
  assert make_details(rows._replace(oversampled=none), detector(0.5), scores)['generated'] == []


def test_the_devices_are_those_that_the_config_let_the_run_use(run, rows):
  for devices, used in ((0, 4), (1, 1), (3, 3), (9, 4)):  # the tests have four
    config = run.config.copy_and_resolve_references()
    config.devices = devices
    assert whole(run._replace(config=config), rows)['device'].startswith(f'{used} x ')


def git(folder: Path, *args: str) -> None:
  identity = ('-c', 'user.name=a', '-c', 'user.email=a@example.org')
  subprocess.run(['git', '-C', folder, *identity, *args], check=True, capture_output=True)


def installed(folder: Path, monkeypatch) -> Path:
  """Puts the module into a folder that holds the package."""
  source = folder / 'logjax' / 'results.py'
  source.parent.mkdir(parents=True)
  source.write_text('one')
  monkeypatch.setattr(results, '__file__', str(source))
  return source


def test_the_commit_is_named_and_marked_when_files_differ_from_it(tmp_path, monkeypatch):
  source = installed(tmp_path, monkeypatch)
  monkeypatch.setenv('GIT_CEILING_DIRECTORIES', str(tmp_path.parent))
  assert git_commit() is None
  git(tmp_path, 'init')
  assert git_commit() is None  # no commit yet
  git(tmp_path, 'add', '.')
  git(tmp_path, 'commit', '-m', 'one')
  commit = git_commit()
  assert len(commit) == 12 and int(commit, 16) >= 0
  source.write_text('two')
  assert git_commit() == f'{commit}+changes'
  monkeypatch.setenv('PATH', '')
  assert git_commit() is None


@pytest.mark.parametrize('inside', ['.venv/lib/site-packages', 'vendor', '.'])
def test_the_commit_of_another_repository_is_not_taken_for_ours(tmp_path, monkeypatch, inside):
  git(tmp_path, 'init')
  (tmp_path / 'file').write_text('one')
  git(tmp_path, 'add', 'file')
  git(tmp_path, 'commit', '-m', 'one')
  installed(tmp_path / inside, monkeypatch)
  assert git_commit() is None
  if inside == 'vendor':  # nor when the other repository keeps a copy
    git(tmp_path, 'add', '.')
    git(tmp_path, 'commit', '-m', 'two')
    assert git_commit() is None
