"""From scores to results: means over repetitions, unseen texts, mistakes with their lines."""

import json
import math
import subprocess
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from logjax import experiment
from logjax.detectors import BASELINES
from logjax.evaluation import results
from logjax.evaluation.details import line_details
from logjax.evaluation.results import git_commit, real_rows, seen_groups
from logjax.examples.types import Data
from logjax.oversamplers import generated
from logjax.oversamplers.oversample import Oversampled
from logjax.run import Run

pytest_plugins = ['tiny_runs']


class Rows(NamedTuple):
  """The rows of a finished run."""

  run: Run
  encoded: experiment.Encoded
  oversampled: Oversampled
  data: Data

  @property
  def abnormal(self) -> np.ndarray:
    """Labels of the test rows."""
    return self.data.examples.abnormal[self.data.split.test]

  @property
  def generated(self) -> np.ndarray:
    """Marks the generated test rows."""
    return self.data.examples.generated[self.data.split.test]

  @property
  def texts(self) -> np.ndarray:
    """Masked texts of all rows."""
    return self.data.examples.distinct.masked[self.data.examples.index]


class Detector(NamedTuple):
  """A detector that was never trained but has thresholds and measurements."""

  thresholds: tuple[float, ...]
  history: tuple[dict, ...] = ({'train_loss': 0.5, 'epochs': 4},) * 2


@pytest.fixture(scope='module', params=['bgl', 'bgl,paper'])
def rows(request, runs) -> Rows:
  """Nothing is trained."""
  run = runs.open(runs.finished(request.param), request.param)
  encoded = experiment.encode(run, experiment.read(run))
  oversampled = experiment.oversample(run, encoded)
  return Rows(run, encoded, oversampled, experiment.add_generated(run, encoded, oversampled))


def right_and_wrong(rows: Rows) -> np.ndarray:
  """Scores of a repetition that is always right and of one that is always wrong, [2, N]."""
  abnormal = rows.abnormal.astype(np.float32)
  return np.stack([abnormal, 1 - abnormal])


def numbers(rows: Rows, scores: np.ndarray, thresholds=(0.5, 0.5), data=None) -> dict:
  history = ({'train_loss': 0.5, 'epochs': 4},) * len(scores)
  return results.test_results(data or rows.data, scores, thresholds[: len(scores)], history, 0.1)


def test_the_mean_and_the_deviation_are_those_of_the_repetitions(rows):
  found = numbers(rows, right_and_wrong(rows))
  assert [r['abnormal']['f1'] for r in found['repetitions']] == [1, 0]
  assert found['test']['accuracy'] == found['test']['auroc'] == 0.5
  assert found['test']['mcc'] == pytest.approx(0, abs=1e-12)
  assert found['test_std']['accuracy'] == pytest.approx(math.sqrt(0.5))
  assert found['test']['rows'] == len(rows.abnormal)
  assert found['test']['abnormal_rows'] == rows.abnormal.sum()
  assert found['test']['synthetic_rows'] == rows.generated.sum()
  assert found['repetitions'][0]['epochs'] == 4 and found['repetitions'][0]['train_loss'] == 0.5


def test_one_repetition_has_no_deviation(rows):
  found = numbers(rows, right_and_wrong(rows)[:1])
  assert found['test']['accuracy'] == 1 and found['test_std']['accuracy'] is None


def test_each_repetition_has_its_own_threshold(rows):
  found = numbers(rows, np.full((2, len(rows.abnormal)), 0.5), (0.4, 0.6))
  assert [r['abnormal']['recall'] for r in found['repetitions']] == [1, 0]
  assert [r['threshold'] for r in found['repetitions']] == [0.4, 0.6]


def test_undefined_metrics_are_null(rows):
  found = numbers(rows, np.zeros((2, len(rows.abnormal))))
  assert found['test']['abnormal'] == {'precision': None, 'recall': 0, 'f1': 0}
  assert found['test']['mcc'] is None and found['test_std']['mcc'] is None
  assert '"precision": null' in json.dumps(found, allow_nan=False)


def test_only_texts_that_no_real_training_row_has_are_unseen(rows):
  examples, split = rows.data.examples, rows.data.split
  train = {rows.texts[i] for i in split.train if not examples.generated[i]}
  new = [i for i in split.test if rows.texts[i] not in train]
  unseen = [i for i in new if not examples.generated[i]]
  found = numbers(rows, right_and_wrong(rows))['test_unseen']
  assert 0 < len(unseen) < len(split.test)
  assert found['rows'] == len(unseen)
  assert found['abnormal_rows'] == sum(examples.abnormal[unseen])
  assert seen_groups(rows.data).mean() == pytest.approx(1 - len(new) / len(split.test))


def test_a_text_that_only_generated_rows_have_stays_unseen_and_is_counted_apart(rows):
  real = rows.encoded.examples
  tokens = real.distinct.tokens[real.index]

  def with_generated(made: np.ndarray) -> Data:
    distinct, index = np.unique(made, axis=0, return_inverse=True)
    oversampled = Oversampled(distinct, index.reshape(-1), {})
    protocol = rows.run.protocol._replace(synthetic_in_test=False)
    return experiment.add_generated(rows.run._replace(protocol=protocol), rows.encoded, oversampled)

  nothing = with_generated(tokens[:0])
  unseen = nothing.split.test[~seen_groups(nothing)]
  _, first, repeats = np.unique(real.group[unseen], return_index=True, return_counts=True)
  guessed = unseen[first[:2]]  # the generator writes two of their texts
  found = with_generated(tokens[guessed])
  assert (~seen_groups(found)).sum() == len(unseen) > repeats[:2].sum()
  assert results.generated_share(found) == repeats[:2].sum() / len(unseen)
  assert results.generated_share(nothing) == 0
  everything = nothing.split._replace(train=np.arange(len(real.index)))
  assert results.generated_share(nothing._replace(split=everything)) is None


def test_real_test_rows_have_numbers_of_their_own(rows):
  scores = right_and_wrong(rows)[:1]
  scores[0, rows.generated] = 1 - scores[0, rows.generated]  # wrong about every generated row
  found = numbers(rows, scores)
  assert found['test_real']['rows'] == (~rows.generated).sum()
  assert found['test_real']['accuracy'] == 1
  assert found['test']['accuracy'] == pytest.approx(1 - rows.generated.mean())


def test_precision_is_reported_at_the_natural_share_where_generated_rows_test(rows):
  right, wrong = right_and_wrong(rows)
  if rows.run.config.protocol == 'honest':
    assert numbers(rows, wrong[None])['natural_precision'] is None
  else:
    assert numbers(rows, wrong[None])['natural_precision'] == {'normal': 0, 'abnormal': 0}
    assert numbers(rows, right[None])['natural_precision'] == {'normal': 1, 'abnormal': 1}
    # The mean of both, and not what the mean of their recalls would give: the natural share.
    mean = numbers(rows, np.stack([right, wrong]))
    assert mean['natural_precision'] == {'normal': 0.5, 'abnormal': 0.5}


def test_generated_rows_are_measured_against_rows_that_the_oversampler_never_saw(rows, monkeypatch):
  seen = []

  def measure(*arguments):
    seen.extend(arguments)
    return {'self_bleu': 0.5}

  monkeypatch.setattr(generated, 'quality', measure)
  run, encoded = rows.run, rows.encoded
  block = generated.oversampler_block(
    run.config, run.protocol, encoded.examples, encoded.split, rows.oversampled
  )
  assert block['quality'] == {'self_bleu': 0.5}
  made, train, held_out, _ = seen
  examples, split = rows.encoded.examples, rows.encoded.split
  assert len(made) == len(rows.oversampled.index)
  assert len(train) + len(held_out) == examples.abnormal.sum()
  if rows.run.config.protocol == 'honest':
    assert len(train) == examples.abnormal[split.train].sum()
  else:
    assert len(held_out) == 0


def test_without_unseen_texts_their_metrics_are_null(rows):
  everything = rows.data.split._replace(train=np.arange(len(rows.data.examples.index)))
  data = rows.data._replace(split=everything)
  unseen = numbers(rows, right_and_wrong(rows), data=data)['test_unseen']
  assert unseen['rows'] == 0
  assert unseen['accuracy'] is unseen['auroc'] is unseen['abnormal']['f1'] is None


def test_baselines_are_trained_and_validated_on_real_rows_alone(rows):
  split, examples = rows.data.split, rows.data.examples
  without = results.without_generated(rows.data)
  assert without.split.test is split.test
  for before, after in zip(split[:2], without.split[:2], strict=True):
    assert not examples.generated[after].any()
    assert len(after) == (~examples.generated[before]).sum()
  assert len(real_rows(examples, split.train)) < len(split.train)


def test_each_baseline_has_the_numbers_that_the_detector_has(rows):
  saved = json.loads((rows.run.workdir / 'results.json').read_text())
  assert tuple(saved['baselines']) == BASELINES['lines']
  for metrics in saved['baselines'].values():
    assert metrics.keys() == saved['test'].keys() - {'synthetic_rows'}
    assert metrics['rows'] == saved['test']['rows']
  majority = saved['baselines']['majority']
  assert majority['auroc'] == 0.5
  assert majority['auprc'] == pytest.approx(majority['abnormal_rows'] / majority['rows'])


def mistakes_of(rows: Rows, scores: np.ndarray, *thresholds: float) -> list[dict]:
  return line_details(rows.encoded.corpus.logs, rows.data, scores, thresholds)['mistakes']


def test_mistakes_are_real_lines_and_named_by_file_and_line(rows):
  mistakes = mistakes_of(rows, right_and_wrong(rows)[1:], 0.5)
  assert {m['abnormal'] for m in mistakes} == {True, False}
  for mistake in mistakes:
    file, _, number = mistake['where'].rpartition(':')
    line = Path(file).read_text().splitlines()[int(number) - 1]
    assert line.endswith(mistake['text'])
    assert line.startswith('- ') != mistake['abnormal']
    assert mistake['score'] == (0 if mistake['abnormal'] else 1)
  assert len({m['where'] for m in mistakes}) == len(mistakes)


def test_a_mistake_is_a_row_that_most_repetitions_call_wrong_by_their_own_thresholds(rows):
  low = 0.01 + 0.01 * rows.abnormal.astype(np.float32)
  both = np.stack([low, low])
  assert mistakes_of(rows, both, 0.015, 0.015) == []
  missed = mistakes_of(rows, both, 0.5, 0.5)
  assert missed and all(m['abnormal'] for m in missed)
  # One of two raises the alarm: that is enough.
  assert mistakes_of(rows, both, 0.015, 0.5) == []


def generated_of(rows: Rows, oversampled: Oversampled) -> list[dict]:
  fitted = experiment.Fitted(None, Detector((0.5,)))
  scores = right_and_wrong(rows)[:1]
  details = experiment.details_of(rows.encoded, rows.data, oversampled, scores, fitted)
  return details['generated']


def test_generated_lines_stand_beside_their_nearest_real_ones(rows):
  shown = generated_of(rows, rows.oversampled)
  decoded = rows.encoded.encoder.vocabulary.decode(rows.oversampled.distinct)
  made = decoded.gather(rows.oversampled.index).to_list()
  assert 0 < len(shown) <= 20
  for entry in shown:
    assert entry['count'] == made.count(entry['text'])
    ours, theirs = set(entry['text'].split(' ')), set(entry['nearest'].split(' '))
    assert entry['similarity'] == pytest.approx(len(ours & theirs) / len(ours | theirs))
    file, _, number = entry['nearest_where'].rpartition(':')
    assert not Path(file).read_text().splitlines()[int(number) - 1].startswith('- ')


def test_without_generated_rows_none_are_shown(rows):
  distinct, index, summary = rows.oversampled
  assert generated_of(rows, Oversampled(distinct[:0], index[:0], summary)) == []


def test_the_devices_are_those_that_the_config_let_the_run_use():
  for devices, used in ((0, 4), (1, 1), (3, 3), (9, 4)):  # the tests have four
    assert results.environment(devices)['device'].startswith(f'{used} x ')


def git(folder: Path, *args: str) -> None:
  identity = ('-c', 'user.name=a', '-c', 'user.email=a@example.org')
  subprocess.run(['git', '-C', folder, *identity, *args], check=True, capture_output=True)


def installed(folder: Path, monkeypatch) -> Path:
  """Puts the module into a folder that holds the package."""
  source = folder / 'logjax' / 'evaluation' / 'results.py'
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
