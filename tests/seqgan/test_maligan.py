"""MaliGAN's weights and step: by hand, enumerated, and the same on any number of devices."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import compiled_fast
from small_gan import (
  ALLOWED,
  BATCH,
  LENGTH,
  MODEL,
  SETS,
  VOCABULARY,
  assert_close,
  create_state,
  difference,
  draw_keys,
  norm,
  run,
)

from logjax.seqgan.maligan import importance, make_maligan_step
from logjax.seqgan.sampling import log_probabilities, make_policy
from logjax.seqgan.steps import make_sampler

# Every sentence of four tokens, of which there are five: a token may follow an end in none.
SENTENCES = np.array(
  [
    s
    for s in itertools.product(range(VOCABULARY), repeat=LENGTH)
    if all(b == 0 for a, b in itertools.pairwise(s) if a == 0)
  ],
  np.int32,
)


@pytest.fixture(scope='module', autouse=True)
def fast_compilation():
  with compiled_fast():
    yield


@pytest.fixture(scope='module')
def state():
  return create_state()


def likelihoods(params, allowed, sentences):
  policy = make_policy(MODEL.generator, params, allowed)
  return jax.vmap(lambda s: log_probabilities(policy, s).sum())(sentences)


@jax.jit
def weighted_gradient(params, allowed, sentences, weights):
  """Gradient of what is minimised: minus the weighted sum of log p."""
  return jax.grad(lambda p: -jnp.sum(weights * likelihoods(p, allowed, sentences)))(params)


@jax.jit
def judge(params, sentences):
  """Logits of (generated, real), [B, 2]."""
  return jax.vmap(lambda s: MODEL.discriminator.apply({'params': params}, s))(sentences)


def of_set(tree, k: int):
  return jax.tree.map(lambda x: x[k], tree)


def test_importance_by_hand():
  """r = 1, 3, 4 of 8, each less one third."""
  expected = np.array([1 / 8, 3 / 8, 4 / 8]) - 1 / 3
  np.testing.assert_allclose(importance(jnp.log(jnp.array([1.0, 3.0, 4.0]))), expected, 1e-5)


@pytest.mark.parametrize('shift', [-1e4, 1e4])
def test_importance_does_not_overflow(shift):
  """D so sure that r is 0 or infinite in single precision; rounding of the log-odds remains."""
  odds = jnp.array([0.0, 1.0, 2.0])
  np.testing.assert_allclose(importance(odds + shift), importance(odds), atol=1e-3)


def test_a_discriminator_without_opinion_gives_no_gradient():
  np.testing.assert_allclose(importance(jnp.full(7, 0.3)), 0, atol=1e-7)


def test_the_best_discriminator_gives_the_gradient_of_maximum_likelihood(state):
  """r = data / p, so that weights r over all sentences, each as often as p says, are the data."""
  params, allowed = of_set(state.generator.params, 0), ALLOWED[0]
  data = np.random.default_rng(0).dirichlet(np.ones(len(SENTENCES))).astype(np.float32)
  logs = likelihoods(params, allowed, SENTENCES)
  np.testing.assert_allclose(np.exp(logs).sum(), 1, rtol=1e-5)
  best = data / (data + np.exp(logs))  # D
  log_odds = np.log(best) - np.log1p(-best)
  weights = importance(log_odds + logs) + 1 / len(SENTENCES)
  ours = weighted_gradient(params, allowed, SENTENCES, weights)
  exact = weighted_gradient(params, allowed, SENTENCES, data)
  assert norm(exact) > 0.1
  assert_close(ours, exact, 1e-4)


def by_hand(state, keys):
  """The gradient of the step's own sentences, and its metrics, a set at a time."""
  sentences = make_sampler(MODEL)((state.generator.params, state.allowed), keys[:, :, 0])
  gradients, metrics = [], []
  for k in range(SETS):
    logits = np.asarray(judge(of_set(state.discriminator.params, k), sentences[k]), np.float64)
    real = 1 / (1 + np.exp(logits[:, 0] - logits[:, 1]))
    ratio = real / (1 - real)
    weights = ratio / ratio.sum()
    params = of_set(state.generator.params, k)
    gradients.append(
      weighted_gradient(params, ALLOWED[k], sentences[k], weights - 1 / len(weights))
    )
    tokens = sum(min(np.sum(s != 0) + 1, LENGTH) for s in np.asarray(sentences[k]))
    metrics.append(
      {
        'reward': real.mean(),
        'effective': 1 / np.sum(weights**2),
        'entropy': -likelihoods(params, ALLOWED[k], sentences[k]).sum() / tokens,
        'tokens': tokens / len(weights),
        'gradient_norm': norm(gradients[k]),
      }
    )
  return jax.tree.map(lambda *x: np.stack(x), *gradients), jax.tree.map(
    lambda *x: np.stack(x), *metrics
  )


@pytest.mark.parametrize('devices', [1, 2, 3, 4])
def test_the_step_follows_the_gradient_by_hand_on_any_number_of_devices(state, devices):
  """Weights are normalised over the sentences of all devices."""
  keys = draw_keys(SETS, BATCH, 2)
  gradients, expected = by_hand(state, keys)
  after, metrics = run(
    make_maligan_step(MODEL, BATCH), devices, state, np.zeros((SETS, BATCH)), keys
  )
  assert norm(gradients) > 1e-2
  assert_close(difference(state.generator.params, after.generator.params), gradients)
  assert_close(metrics, expected)
  assert_close(after.discriminator, state.discriminator, 0)
  for leaf in jax.tree.leaves((after, metrics)):
    shards = [np.asarray(shard.data) for shard in leaf.addressable_shards]
    assert len(shards) == devices and all(np.array_equal(shards[0], x) for x in shards)


def test_many_sentences_give_the_enumerated_gradient(state):
  """The baseline takes nothing away in expectation: q = p * r, normalised, remains."""
  sharp = dict(state.discriminator.params)
  sharp['out'] = jax.tree.map(lambda x: 10 * x, sharp['out'])
  state = state.replace(discriminator=state.discriminator.replace(params=sharp))
  after, _ = run(
    make_maligan_step(MODEL, 20_000), 1, state, np.zeros((SETS, 20_000)), draw_keys(SETS, 20_000, 2)
  )
  ours = difference(state.generator.params, after.generator.params)
  for k in range(SETS):
    params, allowed = of_set(state.generator.params, k), ALLOWED[k]
    having = SENTENCES[np.all(allowed[SENTENCES] == 0, axis=1)]
    logits = judge(of_set(state.discriminator.params, k), having)
    weights = np.exp(likelihoods(params, allowed, having) + logits[:, 1] - logits[:, 0])
    exact = weighted_gradient(params, allowed, having, weights / weights.sum())
    assert norm(exact) > 0.1
    assert norm(difference(of_set(ours, k), exact)) < 0.1 * norm(exact)
