"""A tiny generator and discriminator for two sets, and what tests of their steps share."""

import functools

import jax
import numpy as np
import optax

from logjax.seqgan.models import Discriminator, Generator
from logjax.seqgan.state import Rewards, SeqGAN, SeqGANState, create_seqgan_state
from logjax.training.parallel import divide, divide_batch, parallel

SETS, BATCH, LENGTH, VOCABULARY = 2, 4, 4, 5
# The second set does not have token 3.
ALLOWED = np.zeros((SETS, VOCABULARY), np.float32)
ALLOWED[1, 3] = -np.inf
ROWS = np.array(
  [
    [[1, 2, 3, 0], [4, 4, 3, 1], [2, 0, 0, 0], [3, 3, 3, 3]],
    [[2, 2, 1, 4], [1, 0, 0, 0], [4, 1, 2, 0], [4, 4, 4, 4]],
  ],
  np.int32,
)


def make_model(
  generator_tx: optax.GradientTransformation,
  embedding: int = 3,
  filters: tuple[int, ...] = (2, 3, 2),
) -> SeqGAN:
  return SeqGAN(
    generator=Generator(VOCABULARY, 3, 6, init_std=0.5),
    discriminator=Discriminator(VOCABULARY, embedding, (1, 2, LENGTH), filters, dropout=0.25),
    generator_tx=generator_tx,
    discriminator_tx=optax.sgd(1.0),
    length=LENGTH,
    rewards=Rewards('discriminator', 1, 1, False, 'none'),
    discriminator_l2=0.2,
  )


# Plain descent with rate 1: a step's difference is the gradient itself.
MODEL = make_model(optax.sgd(1.0))


def create_state(model: SeqGAN = MODEL) -> SeqGANState:
  """Before training, but with discriminators that have an opinion."""
  state = jax.jit(functools.partial(create_seqgan_state, model))(ALLOWED, jax.random.key(0))
  params = jax.tree.map(lambda x: 2 * x, state.discriminator.params)
  return state.replace(discriminator=state.discriminator.replace(params=params))


def draw_keys(*shape: int, seed: int = 1) -> jax.Array:
  return jax.random.split(jax.random.key(seed), shape)


def run(step, devices: int, state: SeqGANState, batch, keys: jax.Array):
  """Takes a step with a batch and keys [K, B, ...] on some devices.

  A batch that is a pair has weights, a generator's has none.
  """
  program = parallel(step, devices, donate=False)
  if isinstance(batch, tuple):
    return program(state, *divide_batch(*batch, keys, devices))
  return program(state, *divide((batch, keys), devices, 1))


def difference(before, after):
  return jax.tree.map(lambda x, y: np.asarray(x) - np.asarray(y), before, after)


def norm(tree) -> float:
  """Euclidean norm of all numbers in a tree."""
  return np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(tree)))


def assert_close(ours, theirs, tolerance: float = 1e-5) -> None:
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, tolerance, tolerance), ours, theirs)
