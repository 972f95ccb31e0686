"""The models and the training state of SeqGAN for K sets at once.

Every set has its own generator, discriminator and rollout policy. All parameters have a leading
axis K, and steps are vmapped over it. K sets, V vocabulary, N rollouts.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import struct

from logjax.seqgan.models import Discriminator, Generator
from logjax.training.state import TrainState, create_state


class SeqGANState(struct.PyTreeNode):
  """The part of SeqGAN that training changes; every leaf has the leading axis K.

  Attributes:
    generator: parameters theta and optimiser state of the generators.
    discriminator: the same of the discriminators.
    rollout: parameters beta of the rollout policies; same tree as `generator.params`.
    allowed: added to the logits, [K, V]: 0 for the tokens of a set, -inf for all others.
  """

  generator: TrainState
  discriminator: TrainState
  rollout: Any
  allowed: jax.Array


@dataclasses.dataclass(frozen=True)
class Rewards:
  """Options of the reward of a sampled token.

  `share_equal_prefixes` saves most of the rollouts when sentences repeat, at a price. The action
  value Q depends on the prefix alone, so the estimate stays unbiased. But all n equal prefixes then
  have the same estimation error, and errors that agree do not average out: their part of the
  gradient's variance grows n-fold. On toy models with known gradients the total variance was 1.1
  times as large without a baseline and 1.5 to 2.1 times with the baseline 'position'.

  Attributes:
    kind: 'discriminator' (equation 4), or a control: 'constant' (1 / 2) or 'random' in [0, 1).
    rollouts: N.
    block: lanes (rollouts of one prefix each) in memory together, per device.
    share_equal_prefixes: run the rollouts of equal prefixes of a batch only once.
    baseline: name of the baseline to subtract, see `losses.BASELINES`.
  """

  kind: str
  rollouts: int
  block: int
  share_equal_prefixes: bool
  baseline: str


@dataclasses.dataclass(frozen=True)
class SeqGAN:
  """The part of SeqGAN that training does not change: models, optimisers and options.

  Attributes:
    length: T, tokens a sentence.
    discriminator_l2: weight of the penalty on the discriminator's output layer.
  """

  generator: Generator
  discriminator: Discriminator
  generator_tx: optax.GradientTransformation
  discriminator_tx: optax.GradientTransformation
  length: int
  rewards: Rewards
  discriminator_l2: float


def create_seqgan_state(model: SeqGAN, allowed: jax.Array, key: jax.Array) -> SeqGANState:
  """Returns the state before training.

  Args:
    model: models and optimisers.
    allowed: [K, V], see `SeqGANState`.
    key: consumed; split into one key a set.
  """

  def one_set(key: jax.Array) -> tuple[TrainState, TrainState]:
    generator_key, discriminator_key = jax.random.split(key)
    # Flax needs an example of the inputs to infer shapes; their values do not matter.
    start, token = model.generator.start, jnp.int32(0)
    generator = model.generator.init(generator_key, start, token)['params']
    sentence = jnp.zeros(model.length, jnp.int32)
    discriminator = model.discriminator.init(discriminator_key, sentence)['params']
    return (
      create_state(generator, model.generator_tx),
      create_state(discriminator, model.discriminator_tx),
    )

  generator, discriminator = jax.vmap(one_set)(jax.random.split(key, len(allowed)))
  # A copy: a parallel step donates the state's buffers, so no buffer may occur in it twice.
  rollout = jax.tree.map(jnp.copy, generator.params)
  return SeqGANState(generator, discriminator, rollout, jnp.array(allowed))


def update_rollout_policy(state: SeqGANState, rate: float) -> SeqGANState:
  """Sets beta to rate * beta + (1 - rate) * theta; Algorithm 1 of the paper has rate 0."""
  return state.replace(rollout=_mix(state.rollout, state.generator.params, rate))


@jax.jit
def _mix(beta: Any, theta: Any, rate: float) -> Any:
  return jax.tree.map(lambda b, t: rate * b + (1 - rate) * t, beta, theta)
