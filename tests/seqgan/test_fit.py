"""SeqGAN's Algorithm 1 on tiny sets: its order, its epochs, and what the generators learn."""

from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiling import compiled_fast
from measurements import reproducible

from configs import default
from logjax.seqgan import fit as fit_module
from logjax.seqgan.fit import STAGES, fit_generators
from logjax.seqgan.generators import Generators, make_generate, make_model
from logjax.seqgan.sets import make_sets
from logjax.seqgan.state import SeqGANState
from logjax.training.parallel import unshard
from logjax.training.progress import Progress
from logjax.training.runtime import quiet_runtime
from logjax.training.state import TrainState

# Four sentences in two sets that share no token but the end; 100 is in neither.
SENTENCES = np.array(
  [[11, 12, 13, 0, 0], [11, 14, 0, 0, 0], [21, 22, 22, 23, 0], [24, 0, 0, 0, 0]], np.int32
)
MEMBERS = [np.array([0, 1]), np.array([2, 3])]
SETS = make_sets(SENTENCES, MEMBERS)


def settings_of(**changes):
  settings = default.get_config().seqgan
  settings.update(
    embedding=6,
    hidden=8,
    generator_learning_rate=0.05,
    batch=8,
    rows_per_epoch=32,
    mle_epochs=2,
    discriminator_rounds=1,
    discriminator_epochs=2,
    rounds=1,
    g_steps=2,
    d_steps=1,
    rollouts=2,
    rollout_block=4,
    discriminator_embedding=5,
    filter_widths=(1, 2, 30),
    filters=(3, 4, 5),
  )
  settings.update(changes)
  return settings


def fit(settings, *, method, devices=0, workdir=None, sets=SETS, **hooks) -> Generators:
  return fit_generators(
    settings,
    sets,
    method=method,
    key=jax.random.key(0),
    runtime=quiet_runtime(devices)._replace(progress=Progress(workdir)),
    **hooks,
  )


@pytest.fixture(scope='module', autouse=True)
def fast_compilation():
  with compiled_fast():
    yield


class Recorder:
  """Stands in for models and devices: notes what every step is given, and computes nothing."""

  def __init__(self, monkeypatch):
    self.calls, self.opt_states, self.sampled = [], [], []
    for make in ('make_mle_step', 'make_discriminator_step', 'make_generator_step'):
      monkeypatch.setattr(fit_module, make, lambda model, *_, name=make: name)
    monkeypatch.setattr(fit_module, 'create_seqgan_state', self.create)
    monkeypatch.setattr(fit_module, 'update_rollout_policy', self.update_rollout_policy)
    monkeypatch.setattr(fit_module, 'scan_steps', lambda step: step)
    monkeypatch.setattr(fit_module, 'parallel', self.parallel)
    monkeypatch.setattr(fit_module, 'parallel_map', self.parallel_map)

  def create(self, model, allowed, key):
    model = TrainState(step=0, params={'weight': jnp.zeros((2, 1))}, opt_state=())
    rollout = {'weight': jnp.ones((2, 1))}
    return SeqGANState(generator=model, discriminator=model, rollout=rollout, allowed=allowed)

  def update_rollout_policy(self, state, rate):
    self.calls.append(('beta', rate))
    return state

  def parallel(self, name, devices):
    def step(state, batch, keys):
      """Joins the devices' shares again."""
      axis = 1 if name == 'make_generator_step' else 2
      self.opt_states.append((name, state.generator.opt_state))
      joined = batch if axis == 1 else jax.tree.map(np.asarray, unshard(batch, axis))
      self.calls.append((name, joined, np.asarray(jax.random.key_data(unshard(keys, axis)))))
      metrics = ('loss', 'accuracy', 'reward', 'entropy', 'tokens', 'gradient_norm')
      steps = () if axis == 1 else (keys.shape[1],)
      return state, dict.fromkeys(metrics, jnp.ones((*steps, 2)))

    return step

  def parallel_map(self, function, devices):
    def sample(shared, keys):
      self.sampled.append(shared[0])
      self.calls.append(('sample', np.asarray(jax.random.key_data(unshard(keys, 1)))))
      return jnp.full((*keys.shape, SETS.length), 9)  # no such token: marks generated rows

    return sample

  def of(self, name) -> list:
    return [call for call in self.calls if call[0] == name]


@pytest.fixture
def recorder(monkeypatch):
  return Recorder(monkeypatch)


def test_the_adversarial_phase_begins_with_a_fresh_optimiser(recorder, tmp_path):
  fit(settings_of(), method='seqgan', workdir=tmp_path)
  before = [state for name, state in recorder.opt_states if name == 'make_mle_step']
  first = next(state for name, state in recorder.opt_states if name == 'make_generator_step')
  assert before[-1] == ()  # what the phase before left, here nothing
  assert jax.tree.leaves(first) and all(not np.any(leaf) for leaf in jax.tree.leaves(first))


def test_the_steps_follow_algorithm_1(recorder, tmp_path):
  settings = settings_of(discriminator_rounds=2, rounds=2, d_steps=2, rollout_update=0.25)
  fit(settings, method='seqgan', workdir=tmp_path)
  mle, judge, play = 'make_mle_step', 'make_discriminator_step', 'make_generator_step'
  pretrained = ['sample', judge, judge]  # newly sampled rows, then two epochs on them
  adversarial = [play, play, *pretrained, *pretrained, ('beta', 0.25)]
  expected = [mle, mle, *pretrained, *pretrained, ('beta', 0.0), *adversarial, *adversarial]
  assert [call if call[0] == 'beta' else call[0] for call in recorder.calls] == expected
  assert [(line['stage'], line['epoch']) for line in reproducible(tmp_path)] == [
    *((STAGES[0], 0), (STAGES[0], 1), (STAGES[1], 0), (STAGES[1], 1)),
    *((STAGES[2], 0), (STAGES[2], 1)),
  ]


def test_maximum_likelihood_alone_takes_no_other_step(recorder):
  fit(settings_of(), method='mle')
  assert {call[0] for call in recorder.calls} == {'make_mle_step'}


def test_no_step_uses_a_key_twice(recorder):
  fit(settings_of(rounds=2, d_steps=2), method='seqgan')
  keys = [call[-1].reshape(-1, 2) for call in recorder.calls if call[0] != 'beta']
  assert len(np.unique(np.concatenate(keys), axis=0)) == sum(map(len, keys))


@pytest.mark.parametrize(('batch', 'rows_per_epoch'), [(8, 32), (8, 8), (4, 64)])
def test_an_epoch_has_the_wanted_rows_of_every_set_equally_often(recorder, batch, rows_per_epoch):
  """Two sentences a set are fewer than a batch: they come again and again, in a new order."""
  fit(settings_of(batch=batch, rows_per_epoch=rows_per_epoch), method='mle')
  epochs = [call[1] for call in recorder.of('make_mle_step')]
  for sentences, weights in epochs:
    assert sentences.shape == (rows_per_epoch // batch, 2, batch, SETS.length)
    assert weights.shape == sentences.shape[:3] and np.all(weights == 1)
    for k, rows in enumerate(SETS.rows):
      seen = Counter(map(tuple, sentences[:, k].reshape(-1, SETS.length).tolist()))
      assert seen == {tuple(row): rows_per_epoch // 2 for row in rows.tolist()}
  assert not np.array_equal(epochs[0][0], epochs[1][0])


def test_rows_that_do_not_divide_an_epoch_differ_by_one_time_at_most(recorder):
  sets = make_sets(np.arange(1, 7, dtype=np.int32).reshape(3, 2), [np.arange(3)])
  fit(settings_of(rows_per_epoch=8), method='mle', sets=sets)
  for call in recorder.of('make_mle_step'):
    counts = Counter(map(tuple, call[1][0].reshape(-1, 2).tolist()))
    assert sorted(counts.values()) == [2, 3, 3]


def test_the_discriminator_sees_as_many_generated_rows_as_real_ones_mixed(recorder):
  fit(settings_of(), method='seqgan')
  for _, ((sentences, real), weights), _ in recorder.of('make_discriminator_step'):
    assert sentences.shape == (8, 2, 8, SETS.length)
    assert real.shape == weights.shape == (8, 2, 8) and np.all(weights == 1)
    np.testing.assert_array_equal(real, sentences[..., 0] != 9)
    assert np.all(real.sum(axis=(0, 2)) == 32)
    assert 0 < real[0].sum() < real[0].size  # also within a batch, on this seed
    for k, rows in enumerate(SETS.rows):
      shown = sentences[:, k][real[:, k]]
      assert {tuple(row) for row in shown.tolist()} == {tuple(row) for row in rows.tolist()}


def test_the_discriminator_sees_sentences_of_the_generator_not_of_the_rollout_policy(recorder):
  fit(settings_of(discriminator_rounds=2, rounds=2, d_steps=2), method='seqgan')
  assert len(recorder.sampled) == 2 + 2 * 2
  for params in recorder.sampled:
    np.testing.assert_array_equal(params['weight'], np.zeros((2, 1)))


def test_the_generators_gradient_is_clipped_and_the_discriminators_is_not():
  """The first gradient has a norm of 1/2, the second one of 5; Adam compares them."""
  small, large = {'w': jnp.array([0.3, 0.4])}, {'w': jnp.array([4.0, -3.0])}
  model = make_model(settings_of(clip_norm=1.0), vocabulary=7, length=4)
  for tx, rate, second in (
    (model.generator_tx, 0.05, {'w': large['w'] / 5}),
    (model.discriminator_tx, settings_of().discriminator_learning_rate, large),
  ):
    adam = optax.adam(rate)
    state, expected_state = tx.init(small), adam.init(small)
    for given, expected in ((small, small), (large, second)):
      update, state = tx.update(given, state)
      expected_update, expected_state = adam.update(expected, expected_state)
      np.testing.assert_allclose(update['w'], expected_update['w'], rtol=1e-6)


def test_filters_wider_than_a_row_are_left_out():
  model = make_model(settings_of(), vocabulary=7, length=4)
  assert model.discriminator.widths == (1, 2) and model.discriminator.filters == (3, 4)


@pytest.fixture(scope='module')
def learnt(tmp_path_factory):
  """Generators of the four sentences by maximum likelihood, and where they were measured."""
  workdir = tmp_path_factory.mktemp('mle')
  Progress(workdir).measure(STAGES[2], epoch=0)
  Progress(workdir).measure('gru', epoch=0)
  return fit(settings_of(mle_epochs=25), method='mle', workdir=workdir), workdir


def test_generators_learn_the_sentences_of_their_own_set(learnt):
  generators, _ = learnt
  rows = make_generate(settings_of(), generators, length=5, temperature=1.0)(jax.random.key(1))
  assert rows.shape == (1024, 5) and rows.dtype == np.int32
  for k, member in enumerate(MEMBERS):
    own = rows[k::2]
    assert set(np.unique(own)) <= set(np.unique(SENTENCES[member]))
    counts = [np.sum(np.all(own == sentence, axis=1)) for sentence in SENTENCES[member]]
    assert sum(counts) > 0.95 * 512
    # Equally frequent, however long they are: within four standard deviations.
    assert abs(counts[0] / sum(counts) - 0.5) < 4 * 0.5 / np.sqrt(512)


def test_the_loss_falls_to_the_entropy_of_the_sentences(learnt):
  """log 2 a sentence, over T."""
  losses = [line['loss'] for line in reproducible(learnt[1]) if line['stage'] == STAGES[0]]
  entropy = np.log(2) / SETS.length
  assert len(losses) == 25
  assert losses[0] > 2 * entropy and abs(losses[-1] - entropy) < 0.05


def test_training_forgets_its_own_earlier_measurements_and_no_others(learnt):
  stages = Counter(line['stage'] for line in reproducible(learnt[1]))
  assert stages == {STAGES[0]: 25, 'gru': 1}


def test_the_key_decides_what_is_generated(learnt):
  generate = make_generate(settings_of(), learnt[0], length=5, temperature=1.0, block=16)
  first = generate(jax.random.key(0))
  assert first.shape == (32, 5)
  np.testing.assert_array_equal(generate(jax.random.key(0)), first)
  assert not np.array_equal(generate(jax.random.key(1)), first)


def test_a_low_temperature_repeats_itself_and_a_high_one_babbles(learnt):
  def distinct(temperature):
    generate = make_generate(settings_of(), learnt[0], length=7, temperature=temperature)
    rows = generate(jax.random.key(0))
    assert rows.shape == (1024, 7) and not rows[:, SETS.length :].any()
    return len(np.unique(rows, axis=0))

  assert distinct(1e-6) == 2  # the most likely sentence of each set
  assert distinct(1e3) > 50


# One epoch of a phase compiles its program once.
ONE_EACH = settings_of(mle_epochs=1, discriminator_epochs=1, g_steps=1)


@pytest.fixture(scope='module')
def played(tmp_path_factory):
  """All of Algorithm 1, on four devices, again on four, on one, and on three.

  Three divide neither the batch of 8 nor the 32 rows that are sampled.
  """
  runs = []
  for devices in (4, 4, 1, 3):
    workdir = tmp_path_factory.mktemp('seqgan')
    generators = fit(ONE_EACH, method='seqgan', devices=devices, workdir=workdir)
    runs.append((generators, reproducible(workdir)))
  return runs


def test_algorithm_1_measures_its_three_stages(played):
  metrics = {line['stage']: line for line in played[0][1]}
  assert tuple(metrics) == STAGES
  assert {'loss'} < set(metrics[STAGES[0]])
  assert {'loss', 'accuracy'} < set(metrics[STAGES[1]])
  adversarial = metrics[STAGES[2]]
  assert 0 < adversarial['reward'] < 1 and adversarial['entropy'] > 0
  assert 1 <= adversarial['tokens'] <= SETS.length and adversarial['gradient_norm'] > 0
  assert 0 <= adversarial['discriminator_accuracy'] <= 1
  for line in played[0][1]:
    for name, of_sets in line['sets'].items():
      assert np.all(np.isfinite(of_sets)) and len(of_sets) == 2
      assert line[name] == pytest.approx(np.mean(of_sets))


def test_steps_and_rows_are_those_that_were_taken(played):
  """Two sets of 32 rows an epoch in batches of 8, and as many generated ones for discriminators."""
  lines = played[0][1]
  counts = {line['stage']: (line['step'], line['rows']) for line in lines}
  assert counts == {STAGES[0]: (4, 64), STAGES[1]: (8, 128), STAGES[2]: (1, 16 + 128)}
  for line in lines:
    assert line['gradient_norm'] > 0 and np.isfinite(line['gradient_norm'])
  assert lines[-1]['discriminator_gradient_norm'] > 0


def test_the_same_devices_give_the_same_bits(played):
  (first, measured), (again, measured_again), *_ = played
  jax.tree.map(np.testing.assert_array_equal, again.params, first.params)
  assert measured == measured_again


@pytest.mark.parametrize('other', [2, 3])
def test_one_device_and_three_learn_what_four_learn(played, other):
  (four, measured), (generators, lines) = played[0], played[other]
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4),
    generators.params,
    four.params,
  )
  for a, b in zip(lines, measured, strict=True):
    assert a.keys() == b.keys() and a['stage'] == b['stage']
    numbers = a.keys() - {'stage', 'sets'}
    assert [a[n] for n in numbers] == pytest.approx([b[n] for n in numbers], rel=1e-3, abs=1e-4)


def test_playing_against_the_discriminator_changes_the_generators(played):
  """Each set has its own, and all of its parameters learn."""
  pretrained = fit(ONE_EACH, method='mle', devices=4).params
  for leaf, before in zip(
    jax.tree.leaves(played[0][0].params), jax.tree.leaves(pretrained), strict=True
  ):
    assert len(leaf) == 2 and not np.allclose(leaf[0], leaf[1])
    assert all(np.abs(leaf[k] - before[k]).max() > 1e-5 for k in (0, 1))


@pytest.fixture(scope='module')
def watched(tmp_path_factory):
  """A run of two rounds and the states that its watcher copied: {(stage, epoch): state}."""
  workdir, states = tmp_path_factory.mktemp('watched'), {}

  def watch(stage, epoch, state):
    states[stage, epoch] = jax.tree.map(np.array, state)

  settings = settings_of(mle_epochs=2, discriminator_epochs=1, g_steps=1, rounds=2)
  generators = fit(settings, method='seqgan', devices=2, workdir=workdir, watch=watch)
  return settings, generators, workdir, states


def test_every_epoch_is_watched(watched):
  assert list(watched[3]) == [
    (STAGES[0], 0),
    (STAGES[0], 1),
    (STAGES[1], 0),
    (STAGES[2], 0),
    (STAGES[2], 1),
  ]


@pytest.mark.parametrize('stop', [(STAGES[0], 0), (STAGES[1], 0), (STAGES[2], 0)])
def test_training_goes_on_from_a_watched_state_as_if_it_had_not_stopped(watched, stop, capsys):
  settings, generators, workdir, states = watched
  measured = reproducible(workdir)
  start = (*stop, states[stop])
  capsys.readouterr()
  again = fit(settings, method='seqgan', devices=2, workdir=workdir, start=start)
  assert 'generator against discriminator: 2/2 in ' in capsys.readouterr().err
  jax.tree.map(np.testing.assert_array_equal, again.params, generators.params)
  assert reproducible(workdir) == measured
