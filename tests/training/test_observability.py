"""What a run tells of itself when training goes wrong: divergence, collapse, and lost time."""

import functools
import json
import re
import shutil
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from compiling import compiled_fast
from measurements import reproducible
from saving import saving_runtime

from logjax import experiment
from logjax.errors import LogjaxError
from logjax.examples.protocol import protocol_of
from logjax.oversamplers.reuse import reuse_stage
from logjax.run import Run, finished, stage
from logjax.seqgan.collapse import collapses
from logjax.seqgan.fit import PHASE, STAGES, fit_generators
from logjax.seqgan.generators import make_model
from logjax.seqgan.state import create_seqgan_state
from logjax.settings import resolve
from logjax.training.divergence import DivergenceError, all_finite, mean_metrics
from logjax.training.runtime import quiet_runtime
from logjax.training.state import create_state
from tests.seqgan.test_fit import SETS
from tests.seqgan.test_fit import settings_of as seqgan_settings
from tests.training.test_loop import X, Y, fit_line

pytest_plugins = ['tiny_runs']


def test_an_epoch_is_measured_by_the_means_of_its_steps():
  metrics = {'loss': np.array([[1.0, 3.0], [3.0, 5.0]]), 'entropy': np.array([2.0, 4.0])}
  means = mean_metrics(metrics, lambda step: pytest.fail('no step is looked at'))
  np.testing.assert_array_equal(means['loss'], [2, 4])
  assert means['entropy'] == 3


@pytest.mark.parametrize(('value', 'words'), [(np.nan, 'nan'), (np.inf, 'inf'), (-np.inf, '-inf')])
def test_the_first_step_that_is_not_finite_is_named_with_its_batch(value, words):
  loss = np.ones((5, 2))
  loss[3, 1], loss[4] = value, np.nan
  metrics = {'accuracy': np.full((5, 2), 0.5), 'loss': loss}
  with pytest.raises(DivergenceError) as raised:
    mean_metrics(metrics, lambda step: {'examples': np.full(3, step)}, before=10)
  diverged = raised.value
  assert (diverged.what, diverged.step) == (f'loss {words}', 13)
  np.testing.assert_array_equal(diverged.batch['examples'], [3, 3, 3])
  np.testing.assert_array_equal(diverged.measured['loss'], loss[:4])


def test_one_number_that_is_not_finite_is_seen_wherever_it_is():
  tree = {'kernel': jnp.ones((3, 4)), 'step': jnp.int32(2)}
  assert all_finite(tree)
  assert not all_finite(tree | {'bias': jnp.array([0.0, jnp.nan])})


def error_of_a_line(workdir: Path, rate: float) -> str:
  """Fits a line with a rate that is far too high; returns the error."""
  with pytest.raises(LogjaxError) as raised:
    fit_line(1, rate, epochs=40, runtime=saving_runtime(workdir), repetition=2)
  assert '\n' not in str(raised.value)
  return str(raised.value)


@pytest.fixture(scope='module')
def line(tmp_path_factory):
  """A fit that diverged within a few epochs: its workdir and error."""
  workdir = tmp_path_factory.mktemp('line')
  return workdir, error_of_a_line(workdir, 1.0)


def test_a_detector_that_diverges_stops_at_its_step_and_keeps_the_batch(line):
  workdir, message = line
  path = workdir / 'diverged' / 'line_2.npz'
  with np.load(path, allow_pickle=False) as saved:
    arrays = dict(saved)
  epoch, step = int(arrays['epoch']), int(arrays['step'])
  assert epoch > 0 and 0 < step < 7
  assert message.startswith('line 3: ')
  assert f' in step {step + 1} of epoch {epoch + 1} (its batch is in {path}): lower ' in message
  x, y = arrays['examples.0'], arrays['examples.1']
  for row, target in zip(x[arrays['weights'] > 0], y[arrays['weights'] > 0], strict=True):
    place = np.flatnonzero((X == row).all(axis=1))
    assert len(place) == 1 and Y[place[0]] == target
  jax.random.wrap_key_data(arrays['keys'])
  for name in ('loss', 'gradient_norm'):
    measured = arrays[f'measured.{name}']
    assert len(measured) == step + 1 and np.isfinite(measured[:-1]).all()
    assert measured[-2] > measured[0]  # the rate is too high: they grew
  # The epoch that diverged is not told of.
  assert [told['epoch'] for told in reproducible(workdir)] == list(range(epoch))


def test_the_last_good_checkpoint_is_kept_and_leads_to_the_same_step_again(line):
  workdir, message = line
  found = saving_runtime(workdir).checkpoints.restore('line_2', _state_and_params())
  (state, best), about = found
  path = workdir / 'diverged' / 'line_2.npz'
  before = dict(np.load(path))
  assert about['epochs'] == int(before['epoch'])
  assert np.isfinite(state.params['w']).all() and np.isfinite(best['w']).all()
  path.unlink()
  assert error_of_a_line(workdir, 1.0) == message
  with np.load(path) as again:
    assert set(again) == set(before)
    for name in again:
      np.testing.assert_array_equal(again[name], before[name])


def _state_and_params():
  state = create_state({'w': jnp.zeros(3)}, optax.sgd(1.0))
  return state, state.params


def test_without_a_workdir_the_step_is_named_all_the_same(monkeypatch, tmp_path):
  monkeypatch.chdir(tmp_path)
  with pytest.raises(LogjaxError, match=r'loss nan in step 1 of epoch 1: lower'):
    fit_line(1, start=jnp.nan)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ('field', 'phase', 'good'),
  [
    ('generator_learning_rate', STAGES[0], None),
    ('discriminator_learning_rate', STAGES[1], (STAGES[0], 1)),
  ],
)
def test_seqgan_that_diverges_stops_at_its_step_and_keeps_what_was_good(
  tmp_path, field, phase, good
):
  settings, runtime = seqgan_settings(**{field: 1e30}), saving_runtime(tmp_path)
  with compiled_fast(), pytest.raises(LogjaxError) as raised:
    fit_generators(
      settings,
      SETS,
      method='seqgan',
      key=jax.random.key(0),
      runtime=runtime,
    )
  path = tmp_path / 'diverged' / f'{phase}.npz'
  with np.load(path, allow_pickle=False) as saved:
    arrays = dict(saved)
  step = int(arrays['step'])
  message = str(raised.value)
  assert message.startswith(f'{phase}: ') and f'seqgan.{field}' in message
  assert f' in step {step + 1} of epoch 1 (its batch is in {path})' in message
  assert 0 < step and len(arrays['measured.loss']) == step + 1
  assert np.isfinite(arrays['measured.loss'][0]).all()
  rows = arrays['examples' if good is None else 'examples.0']
  assert rows.shape == (2, settings.batch, SETS.length)
  create = functools.partial(
    create_seqgan_state, make_model(settings, SETS.tokens.shape[1], SETS.length)
  )
  like = jax.eval_shape(create, SETS.allowed, jax.random.key(0))
  found = saving_runtime(tmp_path).checkpoints.restore(PHASE, like)
  assert (None if found is None else (found[1]['stage'], found[1]['epoch'])) == good
  if found is not None:
    assert all_finite(found[0].discriminator) and all_finite(found[0].generator)
  assert runtime.checkpoints._manager is None and (tmp_path / 'unfinished' / PHASE).is_dir()


def rounds_of(rewards: list, entropies: list) -> list[dict]:
  """Adversarial rounds of two sets, the second of which is always well."""
  return [
    {'sets': {'reward': [reward, 0.45], 'entropy': [entropy, 0.4]}}
    for reward, entropy in zip(rewards, entropies, strict=True)
  ]


WELL = {'generated': 1000, 'distinct_share': 0.5}
REAL = np.arange(100).reshape(50, 2)


def test_what_was_measured_on_logs_is_no_collapse():
  rounds = rounds_of([0.53, 0.48, 0.48], [0.1009, 0.0399, 0.0435])
  assert collapses('seqgan', rounds, WELL, REAL) == []
  nearly_one_text = rounds_of([0.507, 0.502, 0.499], [0.0047, 0.0, 0.0])
  assert (
    collapses('seqgan', nearly_one_text, {'generated': 156714, 'distinct_share': 3e-5}, REAL[:4])
    == []
  )
  assert collapses('mle', [], WELL, REAL) == []
  assert collapses('textgan', [{'sets': {'entropy': [0.3]}, 'epoch': 0}], WELL, REAL) == []
  assert collapses('seqgan', [{'epoch': 0, 'reward': 0.0}], WELL, REAL) == []  # an older line


def test_only_rows_that_were_drawn_often_enough_can_lack_a_real_one():
  often, seldom = ({'generated': count, 'distinct_share': 20 / count} for count in (500, 499))
  assert len(collapses('mle', [], often, REAL)) == 1  # 20 of 50
  assert collapses('mle', [], seldom, REAL) == []
  assert collapses('mle', [], often | {'distinct_share': 25 / 500}, REAL) == []


@pytest.mark.parametrize(
  ('rounds', 'summary', 'words'),
  [
    # The published oracle: the discriminator won.
    (
      rounds_of([0.43, 0.19, 0.03, 0.005], [5.86, 5.7, 5.65, 5.74]),
      WELL,
      'won in 1 of 2 sets: the mean reward in the second half of the rounds is 0.017',
    ),
    (rounds_of([0.6, 0.97, 0.99], [0.3, 0.3, 0.3]), WELL, 'lost in 1 of 2 sets'),
    (
      rounds_of([0.5, 0.5, 0.5], [0.5, 0.1, 0.001]),
      WELL,
      'collapsed in 1 of 2 sets: its entropy fell from 0.500 to 0.001 nats a token',
    ),
    ([], {'generated': 10_000, 'distinct_share': 0.0002}, 'of 10,000 rows 2 are distinct'),
  ],
)
def test_collapse_is_said_in_words_with_what_to_try(rounds, summary, words):
  (warning,) = collapses('seqgan', rounds, summary, REAL)
  assert warning.startswith('seqgan: ') and words in warning and '\n' not in warning
  assert 'seqgan.' in warning.partition(words)[2]


def test_a_generator_that_repeats_itself_is_told_once_and_in_the_results(runs, tmp_path, capsys):
  """Sampled at a temperature near 0, the generator writes one row."""
  fields = {'oversampler__name': 'mle', 'oversampler__temperature': 1e-6}
  fields |= {'oversampler__count': 3000, 'oversampler__sets': 1, 'data__simulated_lines': 3000}
  run = runs.open(tmp_path, **fields)
  encoded = experiment.encode(run, experiment.read(run))
  with compiled_fast():
    oversampled = experiment.oversample(run, encoded)
    experiment.oversample(run, encoded)
  (warning,) = oversampled.summary['warnings']
  assert re.search(r'the generators repeat themselves: of 6,000 rows \d are distinct', warning)
  assert capsys.readouterr().err.count(warning) == 1


def run_of(workdir: Path, shared: Path | None = None) -> Run:
  workdir.mkdir(exist_ok=True)
  config = resolve(tiny.get_config())
  return Run(config, protocol_of(config), workdir, None, {}, quiet_runtime(1, workdir), shared)


def test_a_stage_that_is_copied_brings_its_learning_curve(tmp_path):
  """Lines of an own attempt that was killed make room for them."""
  one, other = (run_of(tmp_path / name, tmp_path / 'shared') for name in ('one', 'other'))
  for run, epochs in ((one, 3), (other, 1)):

    def make(folder: Path, run=run, epochs=epochs) -> None:
      folder.mkdir(parents=True)
      for epoch in range(epochs):
        run.runtime.progress.measure('adversarial', epoch=epoch, reward=0.5)
      (folder / 'summary.json').write_text('{}')

    run.runtime.progress.measure('read', lines=3)
    if run is other:
      run.runtime.progress.measure('adversarial', epoch=0, reward=0.9)
    reuse_stage(run, run.workdir / 'oversampler', [np.arange(3)], ('seed',), make, ('adversarial',))
  assert reproducible(other.workdir) == reproducible(one.workdir)
  assert len(reproducible(other.workdir)) == 4


def test_a_damaged_file_of_a_shared_stage_is_made_again_by_what_the_message_says(tmp_path):
  made = []

  def make(folder: Path) -> None:
    made.append(folder)
    folder.mkdir(parents=True)
    (folder / 'summary.json').write_text('{}')

  def share(name: str) -> None:
    run = run_of(tmp_path / name, tmp_path / 'shared')
    reuse_stage(run, run.workdir / 'oversampler', [np.arange(3)], ('seed',), make, ('adversarial',))

  share('one')
  [kept_stage] = (tmp_path / 'shared').iterdir()
  for name in ('metrics.json', 'seconds.json'):
    (kept_stage / name).write_text('{"half')
    with pytest.raises(LogjaxError) as raised:
      share('other')
    assert f'{kept_stage / name} is damaged (' in str(raised.value)
    folder = re.search('delete the folder (.*) and run the same command', str(raised.value))[1]
    shutil.rmtree(folder)
    share('other')
  assert len(made) == 3 and (tmp_path / 'other' / 'oversampler' / 'summary.json').exists()


def test_a_stage_takes_the_seconds_of_all_calls_that_worked_at_it(tmp_path, monkeypatch):
  clock = [0.0]
  monkeypatch.setattr(time, 'monotonic', lambda: clock[0])

  def wait(seconds: float) -> None:
    clock[0] += seconds

  run = run_of(tmp_path / 'run')

  def work(folder: Path, killed: bool) -> None:
    wait(100.0)
    run.runtime.progress.measure('gru', epoch=0)
    if killed:
      raise KeyboardInterrupt
    folder.mkdir()
    (folder / 'fitted.json').write_text('{}')

  def seconds() -> float:
    return json.loads((run.workdir / 'seconds.json').read_text())['detector']

  for calls in (1, 2):
    with pytest.raises(KeyboardInterrupt):
      stage(run, 'detector', lambda folder: work(folder, True), lambda *_: None)
    assert seconds() == 100 * calls
  stage(run, 'detector', lambda folder: work(folder, False), lambda *_: None)
  took = seconds()
  assert took == 300 and finished(run, 'detector') == {}
  stage(run, 'detector', pytest.fail, lambda *_: wait(500.0))
  assert seconds() == took  # restoring is no part of making
