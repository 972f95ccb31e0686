"""Stages that runs share: made once, copied whole, and only where everything decisive is equal."""

import json

import numpy as np
import pytest
import tiny

from logjax.examples.protocol import protocol_of
from logjax.oversamplers.reuse import reuse_stage
from logjax.run import Run
from logjax.settings import resolve
from logjax.training.runtime import quiet_runtime


@pytest.fixture
def folders(tmp_path):
  """A folder for shared results, and one for each run."""
  return tmp_path / 'shared', [tmp_path / name / 'oversampler' for name in ('one', 'other')]


def run_of(shared, **fields) -> Run:
  config = resolve(tiny.get_config('bgl'))
  config.update_from_flattened_dict({k.replace('__', '.'): v for k, v in fields.items()})
  protocol = protocol_of(config)
  # Its workdir is set by share().
  return Run(config, protocol, None, None, {}, quiet_runtime(1), shared)


def share(run: Run, folder, made: list, array=(1, 2)) -> str:
  """Shares a stage that writes how often it was made, and returns what is in its folder."""

  def make(target) -> None:
    target.mkdir(parents=True)
    made.append(target)
    (target / 'summary.json').write_text(str(len(made)))

  folder.parent.mkdir(exist_ok=True)
  reuse_stage(
    run._replace(workdir=folder.parent), folder, [np.array(array)], ('seqgan', 'seed'), make
  )
  assert not list(folder.parent.glob('*.part'))
  return (folder / 'summary.json').read_text()


def test_what_depends_on_nothing_else_is_made_once(folders):
  shared, (one, other) = folders
  made = []
  assert share(run_of(shared), one, made) == '1'
  assert share(run_of(shared, detector__gru__hidden=7), other, made) == '1'
  assert len(made) == 1


@pytest.mark.parametrize(
  ('fields', 'array'), [({'seed': 1}, (1, 2)), ({'seqgan__hidden': 5}, (1, 2)), ({}, (1, 3))]
)
def test_what_depends_on_something_else_is_made_again(folders, fields, array):
  shared, (one, other) = folders
  made = []
  share(run_of(shared), one, made)
  assert share(run_of(shared, **fields), other, made, array) == '2'


def test_what_was_left_half_is_made_again(folders):
  shared, (one, other) = folders
  made = []
  share(run_of(shared), one, made)
  (kept,) = shared.iterdir()
  kept.rename(kept.with_suffix('.part'))
  other.mkdir(parents=True)
  (other / 'generated.npy').write_text('half')
  assert share(run_of(shared), other, made) == '2'
  assert {path.name for path in other.iterdir()} == {'seconds.json', 'summary.json'}


def test_a_copy_is_said_to_have_taken_as_long_as_making_it(folders):
  shared, (one, other) = folders
  share(run_of(shared), one, [])
  (kept,) = shared.iterdir()
  (kept / 'seconds.json').write_text('12.5')
  share(run_of(shared), other, [])
  assert json.loads((other.parent / 'seconds.json').read_text()) == {'oversampler': 12.5}


def test_a_run_of_its_own_shares_nothing(folders):
  shared, (one, _) = folders
  made = []
  assert share(run_of(None), one, made) == '1'
  assert made == [one] and not shared.exists()
