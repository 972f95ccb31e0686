"""TextGAN's discrepancy, its soft tokens, and its steps."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from compiling import compiled_fast
from small_gan import (
  ALLOWED,
  BATCH,
  LENGTH,
  MODEL,
  ROWS,
  SETS,
  VOCABULARY,
  assert_close,
  create_state,
  difference,
  draw_keys,
  make_model,
  norm,
  run,
)

from logjax.seqgan.sampling import (
  is_inside,
  log_probabilities,
  make_policy,
)
from logjax.seqgan.steps import make_discriminator_step
from logjax.seqgan.textgan import (
  BANDWIDTHS,
  draw_soft,
  make_textgan_steps,
  mean_difference_weights,
  mean_squared_distance,
  squared_mmd,
)
from logjax.training.parallel import parallel, shard

REAL = np.array([[1, 0, 1, 0], [0, 1, 1, 0]], np.int32)
# The last row of each set is padding.
WEIGHTS = np.array([[1, 1, 1, 0]] * SETS, np.float32)


@pytest.fixture(scope='module', autouse=True)
def fast_compilation():
  with compiled_fast():
    yield


@pytest.fixture(scope='module')
def state():
  return create_state()


def of_set(tree, k: int):
  return jax.tree.map(lambda x: x[k], tree)


def describe(params, sentence):
  return MODEL.discriminator.apply(
    {'params': params}, sentence, method=MODEL.discriminator.convolve
  )


def test_one_hot_tokens_have_the_features_of_their_tokens(state):
  params = of_set(state.discriminator.params, 0)
  for sentence in ROWS[0]:
    features = describe(params, sentence)
    np.testing.assert_array_equal(describe(params, np.eye(VOCABULARY)[sentence]), features)
    logits = MODEL.discriminator.apply({'params': params}, sentence)
    judged = MODEL.discriminator.apply(
      {'params': params}, features, method=MODEL.discriminator.classify
    )
    np.testing.assert_allclose(judged, logits, rtol=1e-5, atol=1e-6)


def test_signs_by_hand():
  real, weights = jnp.array([True, False, True, False]), jnp.array([1.0, 1.0, 1.0, 0.0])
  np.testing.assert_allclose(mean_difference_weights(real, weights), [0.5, -1, 0.5, 0])
  for one_kind in (jnp.ones(3), jnp.zeros(3)):
    np.testing.assert_array_equal(mean_difference_weights(one_kind, jnp.ones(3)), 0)


def kernel(squared: float) -> float:
  return np.mean([np.exp(-squared / bandwidth) for bandwidth in BANDWIDTHS])


def test_the_discrepancy_by_hand():
  """Real at 0 and 2, generated at 1: kxx = (2 + 2k(4)) / 4, kyy = 1, kxy = k(1)."""
  features, signs = jnp.array([[0.0], [2.0], [1.0]]), jnp.array([0.5, 0.5, -1.0])
  expected = (2 + 2 * kernel(4)) / 4 + 1 - 2 * kernel(1)
  np.testing.assert_allclose(squared_mmd(features, signs, jnp.float32(1)), expected, rtol=1e-5)
  # With weights 1/2, 1/2 and 1: 2 * (4 / 4 + 1 / 2 + 1 / 2) / 4.
  scale = mean_squared_distance(features, signs)
  np.testing.assert_allclose(scale, 1, rtol=1e-6)


def test_equal_sets_of_features_do_not_differ():
  features = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
  both = np.concatenate([features, features[::-1]])
  signs = np.repeat([1 / 6, -1 / 6], 6).astype(np.float32)
  assert abs(squared_mmd(both, signs, jnp.float32(1))) < 1e-6
  assert squared_mmd(both + (signs < 0)[:, None], signs, jnp.float32(1)) > 0.1


def test_nothing_is_gained_by_scaling_features_with_their_own_scale():
  """Neither the value nor the gradient in that direction; frozen, the scale would reward it."""
  features = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
  signs = np.repeat([1 / 3, -1 / 3], 3).astype(np.float32)

  def own(factor):
    return squared_mmd(factor * features, signs, mean_squared_distance(factor * features, signs))

  def frozen(factor):
    return squared_mmd(factor * features, signs, mean_squared_distance(features, signs))

  np.testing.assert_allclose(own(7.0), own(1.0), rtol=1e-4)
  assert abs(jax.grad(own)(1.0)) < 1e-4 < 1e-2 < jax.grad(frozen)(1.0)


def test_with_a_frozen_scale_distant_features_attract_each_other():
  """One real and one generated point: with the scale that follows, distance would not matter."""
  signs = jnp.array([1.0, -1.0])

  def apart(distance, scale_at):
    at = lambda x: jnp.array([[0.0], [1.0]]) * x  # noqa: E731
    return squared_mmd(at(distance), signs, mean_squared_distance(at(scale_at), signs))

  assert jax.grad(apart)(100.0, 100.0) * 100 > 0.1
  np.testing.assert_allclose(jax.grad(lambda d: apart(d, d))(100.0) * 100, 0, atol=1e-4)


def policy_of(params, k: int = 0):
  return make_policy(MODEL.generator, params, ALLOWED[k])


def draw_many(policy, keys, temperature=1.0):
  return jax.jit(jax.vmap(lambda key: draw_soft(policy, key, LENGTH, temperature)))(keys)


def test_soft_tokens_are_whole_sentences_of_the_generator(state):
  policy = policy_of(of_set(state.generator.params, 1), 1)
  tokens, logs, inside = draw_many(policy, draw_keys(2000), temperature=0.7)
  sentences = np.argmax(tokens, axis=2)
  np.testing.assert_array_equal(tokens, np.eye(VOCABULARY)[sentences])
  np.testing.assert_array_equal(inside, jax.vmap(is_inside)(sentences))
  assert not sentences[~np.asarray(inside)].any()
  expected = jax.vmap(lambda s: log_probabilities(policy, s))(sentences)
  np.testing.assert_allclose(logs, expected, rtol=1e-5, atol=1e-6)
  # First tokens are as frequent as they should be, within five standard errors.
  first = np.array([[v, 0, 0, 0] for v in range(VOCABULARY)])
  wanted = np.exp(jax.vmap(lambda s: log_probabilities(policy, s))(first)[:, 0])
  counted = np.bincount(sentences[:, 0], minlength=VOCABULARY) / 2000
  assert wanted[3] == counted[3] == 0
  assert np.all(np.abs(counted - wanted) <= 5 * np.sqrt(wanted * (1 - wanted) / 2000))


def relaxed(params, at, sentence, noise, temperature):
  """The sentence, with softmax(params) - softmax(at) added to its tokens; itself at `at`.

  Written as a loop up to the end, with the same noise [T, V].
  """
  policy, policy_at = policy_of(params), policy_of(at)
  ended = np.eye(VOCABULARY)[0]
  h, h_at, token, token_at, alive, out = policy.start, policy_at.start, ended, ended, 1.0, []
  for drawn, gumbel in zip(sentence, noise, strict=True):
    h, logits = policy.advance(h, token @ policy.inputs)
    h_at, logits_at = policy_at.advance(h_at, token_at @ policy_at.inputs)
    token_at = np.eye(VOCABULARY)[drawn]
    soft, soft_at = (jax.nn.softmax((x + gumbel) / temperature) for x in (logits, logits_at))
    token = token_at + soft - soft_at
    out.append(alive * token + (1 - alive) * ended)
    alive = alive * (1 - token[0])
    if drawn == 0:
      break
  return jnp.stack(out + [ended] * (LENGTH - len(out)))


@pytest.mark.parametrize('temperature', [0.5, 1.0])
def test_the_derivative_of_soft_tokens_by_finite_differences(state, temperature):
  """Of a function that is not linear, for one sentence that ends early and one that does not."""
  at = of_set(state.generator.params, 0)
  rng = np.random.default_rng(0)
  weights = rng.normal(size=(LENGTH, VOCABULARY)).astype(np.float32)
  directions = [
    jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32), at) for _ in range(3)
  ]

  def value(tokens):
    return jnp.sum(jnp.tanh(jnp.cumsum(weights * tokens, axis=0)))

  @jax.jit
  def gradient(key):
    drawn = lambda p: draw_soft(policy_of(p), key, LENGTH, temperature)[0]  # noqa: E731
    return jax.grad(lambda p: value(drawn(p)))(at)

  keys = draw_keys(20)
  sentences = np.argmax(draw_many(policy_of(at), keys)[0], axis=2).tolist()
  early = next(i for i, s in enumerate(sentences) if s[0] != 0 and s[1] == 0)
  late = next(i for i, s in enumerate(sentences) if s[-1] != 0)
  for i in (early, late):
    each = jax.random.split(keys[i], LENGTH)
    noise = jax.vmap(lambda key: jax.random.gumbel(key, (VOCABULARY,)))(each)
    shifted = functools.partial(relaxed, at=at, sentence=sentences[i], noise=noise)
    along = jax.jit(lambda p, shifted=shifted: value(shifted(p, temperature=temperature)))
    for direction in directions:
      ends = [
        along(jax.tree.map(lambda x, d, e=e: x + e * d, at, direction)) for e in (-1e-2, 1e-2)
      ]
      ours = sum(
        np.sum(g * d)
        for g, d in zip(jax.tree.leaves(gradient(keys[i])), jax.tree.leaves(direction), strict=True)
      )
      np.testing.assert_allclose(ours, (ends[1] - ends[0]) / 2e-2, rtol=2e-2, atol=2e-3)


def inputs_of(step: str):
  if step == 'generator':
    return ROWS, draw_keys(SETS, BATCH, 2)
  return ((ROWS, REAL), WEIGHTS), draw_keys(SETS, BATCH)


STEPS = dict(
  zip(('generator', 'discriminator'), make_textgan_steps(MODEL, 1.0, 2.0, BATCH), strict=True)
)


@pytest.fixture(scope='module')
def outcomes(state):
  return {
    (name, devices): run(step, devices, state, *inputs_of(name))
    for (name, step), devices in itertools.product(STEPS.items(), (1, 2, 3, 4))
  }


@pytest.mark.parametrize('name', STEPS)
@pytest.mark.parametrize('devices', [2, 3, 4])
def test_several_devices_give_what_one_gives(state, outcomes, name, devices):
  assert_close(outcomes[name, devices], outcomes[name, 1])
  for leaf in jax.tree.leaves(outcomes[name, devices]):
    shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
    assert len(shards) == devices and all(np.array_equal(shards[0], x) for x in shards)
  trained, other = (name, 'generator' if name == 'discriminator' else 'discriminator')
  after = outcomes[name, devices][0]
  moved = difference(getattr(state, trained).params, getattr(after, trained).params)
  assert norm(moved) > 1e-3
  assert_close(getattr(after, other), getattr(state, other), 0)


def test_without_the_discrepancy_the_discriminator_step_is_seqgans(state):
  ours = run(make_textgan_steps(MODEL, 1.0, 0.0, BATCH)[1], 2, state, *inputs_of('discriminator'))
  theirs = run(make_discriminator_step(MODEL), 2, state, *inputs_of('discriminator'))
  assert_close(ours[0], theirs[0])
  assert_close({name: ours[1][name] for name in theirs[1]}, theirs[1])


def test_the_discriminator_raises_the_discrepancy(state, outcomes):
  """By the gradient of lambda_m times it, on top of the step without it."""

  def mmd(params, k):
    features = jax.vmap(lambda s: describe(params, s))(ROWS[k])
    signs = mean_difference_weights(REAL[k], WEIGHTS[k])
    return squared_mmd(features, signs, mean_squared_distance(features, signs))

  plain, _ = run(make_discriminator_step(MODEL), 1, state, *inputs_of('discriminator'))
  after, metrics = outcomes['discriminator', 4]
  extra = difference(after.discriminator.params, plain.discriminator.params)
  for k in range(SETS):
    value, gradient = jax.value_and_grad(mmd)(of_set(state.discriminator.params, k), k)
    assert norm(gradient) > 1e-3
    assert_close(of_set(extra, k), jax.tree.map(lambda g: 2 * g, gradient), 1e-4)
    np.testing.assert_allclose(metrics['mmd'][k], value, rtol=1e-4)


def test_the_generator_step_lowers_the_discrepancy():
  """To a discriminator that stays as it is, of the rows that the generator writes when used."""
  model = make_model(optax.adam(0.01), embedding=8, filters=(16, 16, 16))
  state = create_state(model)
  real = np.tile(ROWS[:, :2], (1, 16, 1))
  step = parallel(make_textgan_steps(model, 1.0, 0.0, 32)[0], 1, donate=False)
  measured = []
  for keys in draw_keys(250, SETS, 32, 2):
    state, metrics = step(state, shard(real, 1, 1), shard(keys, 1, 1))
    measured.append(metrics['mmd'])
  before, after = np.mean(measured[:5], axis=0), np.mean(measured[-10:], axis=0)
  assert np.all(after < 0.7 * before)
