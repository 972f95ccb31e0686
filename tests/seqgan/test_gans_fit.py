"""Whole trainings by MaliGAN and TextGAN on sets of two sentences."""

import json

import jax
import numpy as np
import pytest
from compiling import compiled_fast

from configs import default
from logjax.seqgan.fit import METHODS, STAGES, fit_generators
from logjax.seqgan.generators import make_generate
from logjax.seqgan.sets import make_sets
from logjax.training.runtime import quiet_runtime

SENTENCES = np.array([[11, 12, 13], [14, 11, 0], [21, 22, 22], [24, 23, 0]], np.int32)
MEMBERS = [np.array([0, 1]), np.array([2, 3])]
SETS = make_sets(SENTENCES, MEMBERS)


def settings_of(**changes):
  settings = default.get_config().seqgan
  settings.update(
    embedding=6,
    hidden=8,
    generator_learning_rate=0.02,
    batch=32,
    rows_per_epoch=32,
    mle_epochs=1,
    discriminator_rounds=10,
    discriminator_epochs=1,
    discriminator_learning_rate=5e-3,
    rounds=60,
    g_steps=2,
    d_steps=1,
    discriminator_embedding=8,
    filter_widths=(1, 2, 3),
    filters=(8, 8, 8),
  )
  settings.update(changes)
  return settings


@pytest.fixture(scope='module', autouse=True)
def fast_compilation():
  with compiled_fast():
    yield


def fit(method: str, settings, workdir=None, devices=1, **hooks):
  return fit_generators(
    settings,
    SETS,
    method=method,
    key=jax.random.key(0),
    runtime=quiet_runtime(devices, workdir),
    **hooks,
  )


def share_of_real_rows(settings, generators) -> np.ndarray:
  """How many of the rows that a set's generator writes are sentences of that set."""
  rows = make_generate(settings, generators, length=3, temperature=1.0)(jax.random.key(1))
  return np.array(
    [
      np.mean([(rows[k :: len(MEMBERS)] == s).all(axis=1) for s in SENTENCES[member]]) * 2
      for k, member in enumerate(MEMBERS)
    ]
  )


@pytest.mark.parametrize('method', ['maligan', 'textgan'])
def test_the_generators_learn_from_their_discriminators(method, tmp_path):
  """Nearly untrained after one step of maximum likelihood, they come to write their two rows."""
  settings = settings_of()
  before = share_of_real_rows(settings, fit('mle', settings))
  after = share_of_real_rows(settings, fit(method, settings, tmp_path))
  assert np.all(before < 0.1) and np.all(after > 0.3), (before, after)
  lines = [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]
  assert {line['stage'] for line in lines} == set(STAGES)
  known = {'entropy', 'tokens', 'gradient_norm', 'discriminator_loss', 'discriminator_accuracy'}
  own = {'maligan': {'reward', 'effective'}, 'textgan': {'mmd', 'discriminator_mmd'}}
  assert known | own[method] < lines[-1].keys()


@pytest.mark.parametrize('method', ['maligan', 'textgan'])
def test_training_goes_on_from_a_watched_state_as_if_it_had_not_stopped(method):
  settings, states = settings_of(discriminator_rounds=1, rounds=2, g_steps=1), {}

  def watch(stage, epoch, state):
    states[stage, epoch] = jax.tree.map(np.array, state)

  whole = fit(method, settings, watch=watch, devices=2)
  start = (STAGES[2], 0, states[STAGES[2], 0])
  again = fit(method, settings, start=start, devices=2)
  jax.tree.map(np.testing.assert_array_equal, again.params, whole.params)


def test_an_unknown_method_is_refused():
  with pytest.raises(ValueError, match=', '.join(METHODS)):
    fit('gan', settings_of())
