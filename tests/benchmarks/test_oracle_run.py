"""Runs on a tiny oracle of their own: what they report, and that they survive being killed."""

import io
import json

import jax
import numpy as np
import pytest
from compiling import compiled_fast

from configs import oracle as oracle_config
from logjax.benchmarks.oracle import run as oracle_run
from logjax.benchmarks.oracle.plot import draw_curves, markdown_table
from logjax.errors import LogjaxError


def tiny(choices='', **changes):
  config = oracle_config.get_config(choices)
  config.devices = 1
  config.oracle.update(vocabulary=20, hidden=4, length=6, rows=32, every=2, group=8)
  config.seqgan.update(
    embedding=4,
    hidden=4,
    batch=8,
    rows_per_epoch=32,
    mle_epochs=3,
    discriminator_rounds=min(2, config.seqgan.discriminator_rounds),
    rounds=3,
    rollouts=2,
    rollout_block=8,
    discriminator_embedding=4,
    filter_widths=(1, 2, 20),
    filters=(4, 4, 4),
  )
  config.oracle.update(changes)
  return config


def run_keeping_params(config, workdir):
  """Returns the results of a run, and the parameters of the generator in the end."""
  train, kept = oracle_run.fit_generators, []

  def keep(*args, **kwargs):
    kept.append(train(*args, **kwargs).params)

  with pytest.MonkeyPatch.context() as patch, compiled_fast():
    patch.setattr(oracle_run, 'fit_generators', keep)
    return oracle_run.run(config, workdir), kept[0]


@pytest.fixture(scope='module')
def uninterrupted(tmp_path_factory):
  """The workdir, the results and the parameters of a run that was never stopped."""
  workdir = tmp_path_factory.mktemp('oracle') / 'run'
  return workdir, *run_keeping_params(tiny(), workdir)


@pytest.fixture
def finished(uninterrupted):
  """The workdir and the results of that run."""
  return uninterrupted[:2]


def lines_of(workdir, *, timeless=True) -> list[dict]:
  lines = [json.loads(line) for line in (workdir / 'curve.jsonl').read_text().splitlines()]
  return [{k: v for k, v in line.items() if not (timeless and k == 'seconds')} for line in lines]


def test_a_run_reports_every_measure_with_its_error(finished):
  workdir, results = finished
  assert results == json.loads((workdir / 'results.json').read_text())
  measures = {'oracle_nll', 'generator_nll', 'entropy'}
  measures |= {f'distinct_{n}' for n in (1, 2, 3, 4)} | {f'self_bleu_{n}' for n in (2, 3, 4)}
  fields = measures | {f'{name}_error' for name in measures} | {'stage', 'epoch', 'seconds'}
  lines = lines_of(workdir, timeless=False)
  assert all(line.keys() == fields for line in lines)
  assert [(line['stage'], line['epoch']) for line in lines] == [
    *(('generator_mle', epoch) for epoch in (0, 2, 3)),
    *(('adversarial', epoch) for epoch in (2, 3)),
  ]
  milestones = results['generators']
  assert list(milestones.values()) == [lines[0], lines[2], lines[4]]
  assert results['references'].keys() == {'oracle', 'shuffled', 'uniform'}
  assert results['epochs'] == results['scheduled']
  assert not results['out_of_time']


class Killed(Exception):
  pass


def kill_after(monkeypatch, calls: int):
  """Makes the next training end after so many epochs, as a killed process would."""
  train = oracle_run.fit_generators

  def cut_off(*args, watch, **kwargs):
    left = calls

    def watch_and_die(*position):
      nonlocal left
      watch(*position)
      left -= 1
      if left == 0:
        kwargs['runtime'].checkpoints.close()  # in time, as it would be in most processes
        raise Killed

    return train(*args, watch=watch_and_die, **kwargs)

  monkeypatch.setattr(oracle_run, 'fit_generators', cut_off)


# After epoch 1 of 3 of maximum likelihood (no checkpoint yet), in the middle of the discriminator's
# pretraining, at its end, and after the second adversarial round.
@pytest.mark.parametrize('calls', [1, 4, 5, 7])
def test_a_run_that_was_killed_ends_as_one_that_was_not(
  uninterrupted, tmp_path, monkeypatch, calls
):
  with monkeypatch.context() as patch, compiled_fast():
    kill_after(patch, calls)
    with pytest.raises(Killed):
      oracle_run.run(tiny(), tmp_path)
  # A line after the last checkpoint, and half a line.
  with (tmp_path / 'curve.jsonl').open('a') as file:
    file.write('{"stage": "adversarial", "epoch": 99}\n{"stage": "adv')
  results, params = run_keeping_params(tiny(), tmp_path)
  workdir, expected, expected_params = uninterrupted
  jax.tree.map(np.testing.assert_array_equal, params, expected_params)
  assert lines_of(tmp_path) == lines_of(workdir)
  assert results['epochs'] == expected['epochs']
  assert results['references'] == expected['references']


def test_a_finished_run_is_not_run_again(finished, monkeypatch):
  workdir, results = finished
  monkeypatch.setattr(oracle_run, 'fit_generators', None)
  assert oracle_run.run(tiny(), workdir) == results


def test_a_run_out_of_time_ends_after_an_epoch_and_says_so(tmp_path):
  with compiled_fast():
    results = oracle_run.run(tiny(minutes=1e-9), tmp_path)
  assert results['out_of_time']
  assert results['epochs'] == {
    'generator_mle': 3,
    'discriminator_pretrain': 1,
    'adversarial': 0,
  }
  assert 'ended by --config.oracle.minutes' in printed(results)


def test_the_constant_control_trains_no_discriminator(tmp_path):
  with compiled_fast():
    results = oracle_run.run(tiny('constant,gru'), tmp_path)
  assert (results['reward'], results['cell']) == ('constant', 'gru')
  assert results['epochs']['discriminator_pretrain'] == 0
  assert results['epochs']['adversarial'] == 3


def printed(results) -> str:
  file = io.StringIO()
  oracle_run.print_results(results, file)
  return file.getvalue()


def test_the_terminal_shows_measures_and_epochs(finished):
  text = printed(finished[1])
  for part in ('maximum likelihood', 'adversarial', 'self-BLEU-2', 'adversarial: 3 of 3 epochs'):
    assert part in text


def test_curves_become_a_picture_and_a_table(finished, tmp_path):
  curves = {'LSTM': lines_of(finished[0])}
  draw_curves(curves, tmp_path / 'curves.png')
  assert (tmp_path / 'curves.png').read_bytes().startswith(b'\x89PNG')
  lines = markdown_table(curves, 100).splitlines()
  assert len(lines) == 2 + 3  # untrained, and the last of both stages
  assert lines[-1].startswith('| LSTM | adversarial | 3 |')


@pytest.mark.parametrize(
  ('field', 'value'),
  [('length', 3), ('group', 1), ('rows', 15), ('every', 0), ('minutes', -1.0), ('vocabulary', 1)],
)
def test_a_field_out_of_range_is_named(tmp_path, field, value):
  with pytest.raises(LogjaxError, match=f'--config.oracle.{field}='):
    oracle_run.run(tiny(**{field: value}), tmp_path)
  assert not list(tmp_path.iterdir())


def test_the_published_schedule_and_sizes():
  published, lighter = oracle_config.get_config('published'), oracle_config.get_config()
  for config in (published, lighter):
    assert (config.seqgan.mle_epochs, config.seqgan.rounds) == (120, 200)
    assert sum(config.seqgan.filters) == 1_720
  assert (published.seqgan.discriminator_rounds, published.seqgan.d_steps) == (50, 5)
  assert published.oracle.minutes == 0
  with pytest.raises(ValueError, match='unknown choice'):
    oracle_config.get_config('gru,fast')
