"""SeqGAN's losses and steps: exact gradients, device counts, sets that do not mix, donation."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from logjax.seqgan import losses
from logjax.seqgan.models import Discriminator, Generator
from logjax.seqgan.rollout import rewards
from logjax.seqgan.sampling import (
  log_probabilities,
  make_policy,
  sample_sentence,
)
from logjax.seqgan.state import (
  Rewards,
  SeqGAN,
  SeqGANState,
  create_seqgan_state,
  update_rollout_policy,
)
from logjax.seqgan.steps import (
  make_action_values,
  make_critic,
  make_discriminator_step,
  make_generator_step,
  make_mle_step,
  make_sampler,
)
from logjax.training.parallel import (
  AXIS,
  divide,
  divide_batch,
  parallel,
  parallel_map,
  scan_steps,
  shard,
  unshard,
)
from logjax.training.state import create_state

DEVICES = (1, 2, 3, 4)  # three do not divide the batch
SETS, BATCH, LENGTH, VOCABULARY, ROLLOUTS = 2, 4, 4, 5, 2
STEPS = ('mle', 'discriminator', 'generator')
# The second set does not have token 3.
ALLOWED = np.zeros((SETS, VOCABULARY), np.float32)
ALLOWED[1, 3] = -np.inf
ROWS = np.array(
  [
    [[1, 2, 3, 0], [4, 4, 3, 1], [2, 0, 0, 0], [3, 3, 3, 3]],
    [[2, 2, 1, 4], [1, 0, 0, 0], [4, 1, 2, 0], [3, 3, 3, 3]],
  ],
  np.int32,
)
# The last row of each set is padding; the second set could not even contain it.
WEIGHTS = np.array([[1, 1, 1, 0]] * SETS, np.float32)
REAL = np.array([[1, 0, 1, 0], [0, 1, 1, 0]], np.int32)


@pytest.fixture(scope='module', autouse=True)
def compile_quickly():
  """These programs are tiny: most of their time is compilation."""
  jax.config.update('jax_disable_most_optimizations', True)
  yield
  jax.config.update('jax_disable_most_optimizations', False)


def make_model(
  generator_tx: optax.GradientTransformation, cell: str = 'gru', **rewards: str
) -> SeqGAN:
  given = {'kind': 'discriminator', 'baseline': 'none', 'share_equal_prefixes': False} | rewards
  return SeqGAN(
    generator=Generator(VOCABULARY, 3, 6, init_std=0.5, cell=cell),
    discriminator=Discriminator(VOCABULARY, 3, (1, 2, LENGTH), (2, 3, 2), dropout=0.25),
    generator_tx=generator_tx,
    discriminator_tx=optax.sgd(0.1),
    length=LENGTH,
    rewards=Rewards(rollouts=ROLLOUTS, block=4, **given),
    discriminator_l2=0.2,
  )


# Plain descent with rate 1: a step's difference is the gradient itself.
MODEL = make_model(optax.sgd(1.0))


create_untrained = jax.jit(functools.partial(create_seqgan_state, MODEL))


def draw_keys(*shape: int, seed: int = 1) -> jax.Array:
  return jax.random.split(jax.random.key(seed), shape)


def inputs_of(step: str) -> tuple:
  """A step's batch and keys, before they are divided among devices."""
  if step == 'generator':
    return None, draw_keys(SETS, BATCH, 2)
  examples = ROWS if step == 'mle' else (ROWS, REAL)
  return jax.tree.map(jnp.asarray, (examples, WEIGHTS)), draw_keys(SETS, BATCH)


@functools.cache
def program(step: str, devices: int):
  """One of STEPS, compiled once for a number of devices; it uses its state up."""
  made = {
    'mle': lambda: make_mle_step(MODEL),
    'discriminator': lambda: make_discriminator_step(MODEL),
    'generator': lambda: make_generator_step(MODEL, BATCH),
  }
  return parallel(made[step](), devices)


def divided(step: str, batch, keys: jax.Array, devices: int):
  """A step's batch and keys as it takes them."""
  if step == 'generator':
    return None, divide(keys, devices, 1)
  return divide_batch(batch[0], np.asarray(batch[1]), keys, devices)


def run(step: str, devices: int, state: SeqGANState, batch=None, keys=None):
  """Returns `(state, metrics)` and leaves the given state alone."""
  given = inputs_of(step)
  batch = given[0] if batch is None else batch
  keys = given[1] if keys is None else keys
  return program(step, devices)(jax.tree.map(jnp.copy, state), *divided(step, batch, keys, devices))


def assert_close(ours, theirs, tolerance: float = 1e-5) -> None:
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, tolerance, tolerance), ours, theirs)


def norm(tree) -> float:
  """Euclidean norm of all numbers in a tree."""
  return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree)))


def difference(a, b):
  return jax.tree.map(lambda x, y: np.asarray(x) - np.asarray(y), a, b)


def one_set(tree, k: int):
  return jax.tree.map(lambda x: x[k], tree)


@pytest.fixture(scope='module')
def state() -> SeqGANState:
  """Before training, but with a rollout policy that is not the generator's, as in mid-round."""
  state = create_untrained(ALLOWED, jax.random.key(0))
  return state.replace(rollout=jax.tree.map(lambda x: 0.5 * x + 0.1, state.rollout))


@pytest.fixture(scope='module')
def outcomes(state):
  """What every step makes of the state on 1, 2 and 4 devices."""
  return {(step, devices): run(step, devices, state) for step in STEPS for devices in DEVICES}


def test_sets_begin_with_different_parameters_and_beta_equal_to_theta():
  state = create_untrained(ALLOWED, jax.random.key(0))
  assert_close(state.rollout, state.generator.params, 0)
  for params in (state.generator.params, state.discriminator.params):
    kernels = [leaf for leaf in jax.tree.leaves(params) if leaf.ndim > 2]
    assert kernels and all(np.abs(leaf[0] - leaf[1]).max() > 0.01 for leaf in kernels)


def test_losses_by_hand():
  logs, values = jnp.log(jnp.array([0.5, 0.25, 1.0])), jnp.array([0.2, 0.4, 9.0])
  np.testing.assert_allclose(losses.maximum_likelihood(logs), np.log(2), rtol=1e-6)
  np.testing.assert_allclose(losses.policy_gradient(logs, values), np.log(2), rtol=1e-6)
  logits = jnp.log(jnp.array([1.0, 3.0]))  # Real with probability 3/4.
  np.testing.assert_allclose(losses.discriminator(logits, jnp.int32(1)), -np.log(3 / 4), rtol=1e-6)
  np.testing.assert_allclose(losses.discriminator(logits, jnp.int32(0)), -np.log(1 / 4), rtol=1e-6)
  out = {'kernel': jnp.array([[1.0, 2.0]]), 'bias': jnp.array([0.0, 3.0])}
  np.testing.assert_allclose(losses.output_penalty(out, 0.2), 1.4, rtol=1e-6)


def test_the_policy_gradient_is_the_gradient_of_the_expected_reward():
  """Enumerates all sentences of V = 3, T = 3; Q is the exact mean of D after each prefix."""
  model = Generator(3, 2, 4, init_std=1.0)
  rng = np.random.default_rng(0)
  shapes = jax.eval_shape(model.init, jax.random.key(0), model.start, jnp.int32(0))['params']
  params = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), shapes)
  sentences = np.array(
    [
      s
      for s in itertools.product(range(3), repeat=3)
      if all(b == 0 for a, b in itertools.pairwise(s) if a == 0)
    ]
  )
  judged = rng.random(len(sentences)).astype(np.float32)  # D of every sentence.

  def logs_of(params):
    policy = make_policy(model, params, jnp.zeros(3))
    return jax.vmap(lambda s: log_probabilities(policy, s))(sentences)

  probabilities = np.exp(jax.jit(logs_of)(params).sum(axis=1))
  np.testing.assert_allclose(probabilities.sum(), 1, rtol=1e-5)
  same_prefix = np.stack(
    [(sentences[:, None, :t] == sentences[None, :, :t]).all(axis=2) for t in (1, 2, 3)], axis=2
  )
  weighted = same_prefix * probabilities[None, :, None]
  q = np.sum(weighted * judged[None, :, None], axis=1) / weighted.sum(axis=1)  # [15, T]
  np.testing.assert_allclose(q[:, 2], judged, rtol=1e-5)

  def surrogate(params):
    values = jax.vmap(losses.policy_gradient)(logs_of(params), q)
    return jnp.sum(probabilities * values)

  def minus_expected_reward(params):
    return -jnp.sum(jnp.exp(logs_of(params).sum(axis=1)) * judged)

  ours, exact = jax.jit(lambda p: (jax.grad(surrogate)(p), jax.grad(minus_expected_reward)(p)))(
    params
  )
  assert norm(exact) > 0.01
  assert_close(ours, exact)


@pytest.mark.parametrize('step', STEPS)
@pytest.mark.parametrize('devices', [2, 4])
def test_several_devices_give_what_one_gives(outcomes, step, devices):
  assert_close(outcomes[step, devices], outcomes[step, 1])


@pytest.mark.parametrize('step', STEPS)
@pytest.mark.parametrize('devices', DEVICES)
def test_all_devices_end_with_the_same_state_and_metrics(outcomes, step, devices):
  for leaf in jax.tree.leaves(outcomes[step, devices]):
    shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
    assert len(shards) == devices
    assert all(np.array_equal(shard, shards[0]) for shard in shards)


@pytest.mark.parametrize('step', STEPS)
def test_a_step_trains_its_own_model_only(state, outcomes, step):
  after, _ = outcomes[step, 4]
  trained = 'discriminator' if step == 'discriminator' else 'generator'
  np.testing.assert_array_equal(getattr(after, trained).step, [1, 1])
  for k in range(SETS):
    before, now = (one_set(getattr(s, trained).params, k) for s in (state, after))
    assert norm(difference(now, before)) > 1e-3
  for other in {'generator', 'discriminator', 'rollout', 'allowed'} - {trained}:
    assert_close(getattr(after, other), getattr(state, other), 0)


@pytest.mark.parametrize('step', STEPS)
def test_a_set_trained_alone_ends_like_the_set_among_others(state, outcomes, step):
  batch, keys = inputs_of(step)
  alone, metrics = run(step, 1, *(jax.tree.map(lambda x: x[1:], t) for t in (state, batch, keys)))
  together, all_metrics = outcomes[step, 1]
  assert_close(one_set(alone, 0), one_set(together, 1))
  assert_close(one_set(metrics, 0), one_set(all_metrics, 1))


@pytest.mark.parametrize('step', ['mle', 'discriminator'])
@pytest.mark.parametrize('devices', [1, 4])
def test_what_stands_in_padded_rows_changes_nothing(state, outcomes, step, devices):
  rows = ROWS.copy()
  rows[:, 3] = [[4, 0, 4, 4], [0, 2, 1, 1]]
  real = np.where(WEIGHTS > 0, REAL, 1)
  examples = jnp.asarray(rows) if step == 'mle' else (jnp.asarray(rows), jnp.asarray(real))
  assert_close(run(step, devices, state, (examples, jnp.asarray(WEIGHTS))), outcomes[step, devices])


def mean_likelihood_loss(params, allowed, rows):
  policy = make_policy(MODEL.generator, params, allowed)
  logs = jax.vmap(lambda s: log_probabilities(policy, s))(rows)
  return jnp.mean(jax.vmap(losses.maximum_likelihood)(logs))


def test_the_likelihood_step_follows_the_plain_gradient(state, outcomes):
  plain = jax.jit(jax.vmap(jax.value_and_grad(mean_likelihood_loss)))
  loss, gradients = plain(state.generator.params, ALLOWED, ROWS[:, :3])
  after, metrics = outcomes['mle', 4]
  np.testing.assert_allclose(metrics['loss'], loss, rtol=1e-5)
  moved = difference(state.generator.params, after.generator.params)
  assert_close(moved, gradients)


def plain_generator_gradients(state: SeqGANState, keys: jax.Array):
  """Samples, rewards, and the gradient of equation 5, for one set and all of its batch at once."""
  policy = make_policy(MODEL.generator, state.generator.params, state.allowed)
  beta = make_policy(MODEL.generator, state.rollout, state.allowed)
  critic = make_critic(MODEL, state.discriminator.params)
  sentences = jax.vmap(lambda key: sample_sentence(policy, key, LENGTH))(keys[:, 0])
  values = rewards(beta, critic, sentences, keys[:, 1], rollouts=ROLLOUTS, block=4, share=False)

  def loss(params):
    policy = make_policy(MODEL.generator, params, state.allowed)
    logs = jax.vmap(lambda s: log_probabilities(policy, s))(sentences)
    return -jnp.sum(logs * values), logs

  gradients, logs = jax.grad(loss, has_aux=True)(state.generator.params)
  return gradients, (sentences, values, logs)


@functools.cache
def plain_generator_program():
  return jax.jit(jax.vmap(plain_generator_gradients))


def assert_follows_plain_gradient(state, outcome):
  gradients, (sentences, values, logs) = plain_generator_program()(state, inputs_of('generator')[1])
  after, metrics = outcome
  moved = difference(state.generator.params, after.generator.params)
  assert_close(moved, gradients)
  inside = np.cumsum(sentences == 0, axis=2) - (sentences == 0) == 0
  tokens = inside.sum(axis=(1, 2))
  expected = {
    'reward': np.where(inside, values, 0).sum(axis=(1, 2)) / tokens,
    'entropy': -logs.sum(axis=(1, 2)) / tokens,
    'tokens': tokens / BATCH,
    'gradient_norm': np.array([norm(one_set(gradients, k)) for k in range(SETS)]),
  }
  assert_close(metrics, expected)
  return values


def test_the_generator_step_follows_the_plain_policy_gradient(state, outcomes):
  values = assert_follows_plain_gradient(state, outcomes['generator', 4])
  assert values.std() > 1e-3


def test_a_discriminator_without_opinion_gives_a_constant_reward(state):
  """D = 3/4 everywhere: the gradient is 3/4 of that of the sentences' log-likelihood."""
  params = dict(state.discriminator.params)
  out = params['out']
  constant = jnp.tile(jnp.log(jnp.array([1.0, 3.0])), (SETS, 1))
  params['out'] = {'kernel': jnp.zeros_like(out['kernel']), 'bias': constant}
  state = state.replace(discriminator=state.discriminator.replace(params=params))
  outcome = run('generator', 4, state)
  values = assert_follows_plain_gradient(state, outcome)
  np.testing.assert_allclose(values, 0.75, rtol=1e-5)
  np.testing.assert_allclose(outcome[1]['reward'], 0.75, rtol=1e-5)


@functools.cache
def sampler(devices: int):
  return parallel_map(make_sampler(MODEL), devices)


def sample(state: SeqGANState, devices: int, keys: jax.Array) -> np.ndarray:
  drawn = sampler(devices)((state.generator.params, state.allowed), shard(keys, devices, 1))
  return np.asarray(unshard(drawn, 1))


def test_any_number_of_devices_samples_the_same_sentences(state):
  keys = draw_keys(SETS, 500)
  drawn = sample(state, 1, keys)
  assert drawn.shape == (SETS, 500, LENGTH)
  for devices in (2, 4):
    np.testing.assert_array_equal(sample(state, devices, keys), drawn)


def test_a_token_that_a_set_does_not_have_is_never_sampled(state):
  drawn = sample(state, 1, draw_keys(SETS, 500))
  assert 3 in drawn[0] and 3 not in drawn[1]


@pytest.mark.parametrize('step', ['mle', 'generator'])
def test_a_token_that_a_set_does_not_have_is_not_trained(state, outcomes, step):
  """It has no probability, so its row of the head has no gradient."""
  after, _ = outcomes[step, 1]
  moved = after.generator.params['head']['bias'] - state.generator.params['head']['bias']
  assert moved[1, 3] == 0 and np.all(np.delete(moved[1], 3) != 0) and moved[0, 3] != 0


def test_beta_becomes_theta_at_rate_0_and_a_mixture_at_others(state):
  theta, beta = state.generator.params, state.rollout
  assert_close(update_rollout_policy(state, 0.0).rollout, theta, 0)
  mixed = jax.tree.map(lambda b, t: 0.8 * b + 0.2 * t, beta, theta)
  assert_close(update_rollout_policy(state, 0.8).rollout, mixed, 1e-6)


def test_beta_is_no_alias_of_a_donated_generator(state):
  """Two rounds of Algorithm 1, each step using up the state before it."""
  _, keys = inputs_of('generator')
  step = program('generator', 4)
  current = update_rollout_policy(jax.tree.map(jnp.copy, state), 0.0)
  for _ in range(2):
    theta = jax.tree.map(np.array, current.generator.params)
    used = current
    current, _ = step(current, None, shard(keys, 4, 1))
    assert_close(current.rollout, theta, 0)
    assert norm(difference(current.generator.params, theta)) > 1e-3
    current = update_rollout_policy(current, 0.0)
  assert all(leaf.is_deleted() for leaf in jax.tree.leaves(used.rollout))


def test_the_discriminator_learns_which_rows_are_real(state):
  """Real sentences are of 1 and 2, others of 3 and 4; its score is the probability of real."""
  rng = np.random.default_rng(0)
  real = np.tile(np.arange(BATCH) % 2, (SETS, 1))
  rows = rng.integers(1, 3, size=(300, SETS, BATCH, LENGTH)) + 2 * (1 - real)[:, :, None]
  # New dropout in every step: with always the same, rows are known by what they lack.
  for row, keys in zip(rows, draw_keys(300, SETS, BATCH), strict=True):
    state, _ = run('discriminator', 1, state, ((row, real), np.ones_like(WEIGHTS)), keys)
  for k in range(SETS):
    variables = {'params': one_set(state.discriminator.params, k)}
    logits = [
      MODEL.discriminator.apply(variables, np.array(s)) for s in ([1, 2, 2, 1], [4, 3, 3, 4])
    ]
    real, generated = jax.nn.softmax(np.array(logits))[:, 1]
    assert real > 0.6 > 0.4 > generated


def test_maximum_likelihood_learns_a_corpus_of_three_sentences(state):
  """To the entropy of a choice among three, log 3 over T = 4; the short are drawn as often."""
  corpora = np.array(
    [
      [[1, 2, 3, 4], [2, 0, 0, 0], [4, 1, 3, 0]],
      [[4, 4, 4, 4], [1, 4, 2, 1], [4, 0, 0, 0]],
    ],
    np.int32,
  )
  steps, tx = 200, optax.adam(0.05)
  untrained = jax.vmap(lambda params: create_state(params, tx))(state.generator.params)
  epoch = parallel(scan_steps(make_mle_step(make_model(tx))), 1, donate=False)
  batches = np.tile(corpora, (steps, 1, 1, 1)), np.ones((steps, SETS, 3), np.float32)
  learned, metrics = epoch(
    state.replace(generator=untrained), shard(batches, 1, 2), shard(draw_keys(steps, SETS, 3), 1, 2)
  )
  assert np.all(metrics['loss'] > np.log(3) / 4)
  loss = jax.jit(jax.vmap(mean_likelihood_loss))(learned.generator.params, ALLOWED, corpora)
  assert np.all(loss > np.log(3) / 4 - 1e-5) and np.all(loss < np.log(3) / 4 + 0.02)
  drawn = sample(learned, 1, draw_keys(SETS, 500))
  for k in range(SETS):
    hits = (drawn[k][:, None] == corpora[k][None]).all(axis=2).mean(axis=0)
    # Four standard errors. Were each sentence's mean learned, the shortest would be 1/2 of them.
    assert hits.sum() > 0.95 and np.all(np.abs(hits - 1 / 3) < 4 * np.sqrt(2 / 9 / 500))


def one_step(model: SeqGAN, state: SeqGANState, devices: int):
  step = parallel(make_generator_step(model, BATCH), devices, donate=False)
  return step(state, *divided('generator', *inputs_of('generator'), devices))


def sampled_by(state: SeqGANState) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """A generator step's sentences, rewards, and which of their tokens count, [K, B, T] each."""
  _, (sentences, values, _) = plain_generator_program()(state, inputs_of('generator')[1])
  return sentences, values, np.cumsum(sentences == 0, axis=2) - (sentences == 0) == 0


def gradient_for(state: SeqGANState, sentences, values):
  """Gradient of equation 5 for given rewards, each set on its own."""

  def loss(params, allowed, sentences, values):
    policy = make_policy(MODEL.generator, params, allowed)
    logs = jax.vmap(lambda s: log_probabilities(policy, s))(sentences)
    return -jnp.sum(logs * values)

  gradient = jax.jit(jax.vmap(jax.grad(loss)))
  return gradient(state.generator.params, state.allowed, sentences, values)


def test_a_constant_reward_is_one_half_of_the_likelihood_gradient(state):
  sentences, _, _ = sampled_by(state)
  expected = gradient_for(state, sentences, np.full(sentences.shape, 0.5, np.float32))
  after, metrics = one_step(make_model(optax.sgd(1.0), kind='constant'), state, 2)
  assert_close(difference(state.generator.params, after.generator.params), expected)
  np.testing.assert_allclose(metrics['reward'], 0.5, rtol=1e-6)


def test_random_rewards_are_uniform_and_the_same_on_any_number_of_devices(state):
  model = make_model(optax.sgd(1.0), kind='random')
  outcomes = [one_step(model, state, devices) for devices in (1, 4)]
  assert_close(*outcomes)
  values = jax.pmap(make_action_values(model), axis_name=AXIS, devices=jax.devices()[:1])(
    None, np.zeros((1, SETS, 400, LENGTH), np.int32), draw_keys(1, SETS, 400)
  )
  assert values.shape == (1, SETS, 400, LENGTH)
  assert 0 <= values.min() < 0.01 and 0.99 < values.max() < 1
  np.testing.assert_allclose(values.mean(axis=(0, 1, 2)), 0.5, atol=0.06)


@pytest.mark.parametrize('baseline', ['batch', 'position'])
def test_baselines_are_means_over_the_whole_batch_on_any_number_of_devices(state, baseline):
  sentences, values, inside = sampled_by(state)
  axes = (1, 2) if baseline == 'batch' else 1
  total = np.where(inside, values, 0).sum(axis=axes, keepdims=True)
  means = total / np.maximum(inside.sum(axis=axes, keepdims=True), 1)
  expected = gradient_for(state, sentences, values - means)
  model = make_model(optax.sgd(1.0), baseline=baseline)
  for devices in (1, 4):
    after, metrics = one_step(model, state, devices)
    assert_close(difference(state.generator.params, after.generator.params), expected, 1e-4)
    # What is reported is the reward itself.
    expected_reward = np.where(inside, values, 0).sum((1, 2)) / inside.sum((1, 2))
    np.testing.assert_allclose(metrics['reward'], expected_reward, rtol=1e-5)


@pytest.mark.parametrize('baseline', ['none', 'batch', 'position'])
def test_baselines_by_hand(baseline):
  values = np.array([[1.0, 2.0, 9.0], [3.0, 6.0, 2.0]])
  inside = np.array([[True, True, False], [True, True, True]])
  means = {'none': 0.0, 'batch': 14 / 5, 'position': np.array([2.0, 4.0, 2.0])}[baseline]
  np.testing.assert_allclose(
    losses.BASELINES[baseline](values, inside)[inside], (values - means)[inside], rtol=1e-6
  )


def test_shared_prefixes_are_the_same_on_any_number_of_devices(state):
  """Equal prefixes are found across devices, though each samples its own sentences."""
  model = make_model(optax.sgd(1.0), share_equal_prefixes=True)
  outcomes = [one_step(model, state, devices) for devices in DEVICES]
  for other in outcomes[1:]:
    assert_close(other, outcomes[0])
  own = one_step(MODEL, state, 1)
  assert abs(own[1]['reward'] - outcomes[0][1]['reward']).max() > 1e-6


def test_an_lstm_generator_takes_all_steps_on_any_number_of_devices():
  model = make_model(optax.sgd(0.1), cell='lstm')
  state = jax.jit(functools.partial(create_seqgan_state, model))(ALLOWED, jax.random.key(0))
  for step in ('mle', 'generator'):
    made = make_mle_step(model) if step == 'mle' else make_generator_step(model, BATCH)
    one, two = (
      parallel(made, devices, donate=False)(state, *divided(step, *inputs_of(step), devices))
      for devices in (1, 2)
    )
    assert_close(one, two)
    assert norm(difference(one[0].generator.params, state.generator.params)) > 1e-3


@pytest.mark.parametrize('devices', [3, 4])
def test_a_batch_may_be_smaller_than_the_number_of_devices(state, devices):
  keys = draw_keys(SETS, 2, 2)
  one, several = (
    parallel(make_generator_step(MODEL, 2), n, donate=False)(state, None, divide(keys, n, 1))
    for n in (1, devices)
  )
  assert_close(several, one)


def test_no_random_key_is_used_twice(state):
  pair = shard(draw_keys(SETS, BATCH, 2), 2, 1)
  single = shard(draw_keys(SETS, BATCH), 2, 1)
  with jax.debug_key_reuse(True):
    parallel_map(make_sampler(MODEL), 2)((state.generator.params, state.allowed), single)
    parallel(make_generator_step(MODEL, BATCH), 2, donate=False)(state, None, pair)
