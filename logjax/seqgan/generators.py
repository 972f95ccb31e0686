"""The generators of a corpus: what `config.seqgan` describes, and sampling many rows from them.

K sets, T time, V vocabulary.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
import optax

from logjax.seqgan.models import Discriminator, Generator
from logjax.seqgan.sets import to_vocabulary
from logjax.seqgan.state import Rewards, SeqGAN
from logjax.seqgan.steps import make_sampler


class Generators(NamedTuple):
  """Trained generators.

  Attributes:
    params: leading axis K.
    tokens: the vocabulary's id of every local id, int32 [K, V].
    length: T of their sentences.
  """

  params: Any
  tokens: np.ndarray
  length: int


def make_model(settings: ml_collections.ConfigDict, vocabulary: int, length: int) -> SeqGAN:
  """Returns the models and optimisers that `config.seqgan` describes."""
  fitting = [
    (width, count)
    for width, count in zip(settings.filter_widths, settings.filters, strict=True)
    if width <= length
  ]
  widths, filters = zip(*fitting, strict=True)
  return SeqGAN(
    generator=Generator(
      vocabulary, settings.embedding, settings.hidden, settings.init_std, settings.cell
    ),
    discriminator=Discriminator(
      vocabulary, settings.discriminator_embedding, widths, filters, settings.discriminator_dropout
    ),
    generator_tx=optax.chain(
      optax.clip_by_global_norm(settings.clip_norm), optax.adam(settings.generator_learning_rate)
    ),
    discriminator_tx=optax.adam(settings.discriminator_learning_rate),
    length=length,
    rewards=Rewards(
      kind=settings.reward,
      rollouts=settings.rollouts,
      block=settings.rollout_block or _default_block(),
      share_equal_prefixes=settings.share_equal_prefixes,
      baseline=settings.baseline,
    ),
    discriminator_l2=settings.discriminator_l2,
  )


def _default_block() -> int:
  """Lanes a block: measured on a CPU, a guess for accelerators."""
  return 1_024 if jax.default_backend() == 'cpu' else 16_384


def make_generate(
  settings: ml_collections.ConfigDict,
  generators: Generators,
  *,
  length: int,
  temperature: float,
  block: int = 512,
) -> Callable[[jax.Array], np.ndarray]:
  """Makes `key -> rows of vocabulary ids, int32 [block * K, length]`, the sets taking turns."""
  model = make_model(settings, generators.tokens.shape[1], generators.length)
  allowed = np.where(generators.tokens >= 0, 0.0, -np.inf).astype(np.float32)
  sampler = jax.jit(make_sampler(model, temperature))
  shared = jax.device_put((generators.params, allowed))

  def generate(key: jax.Array) -> np.ndarray:
    keys = jax.random.split(key, (len(allowed), block))
    sentences = np.asarray(sampler(shared, keys))
    return to_vocabulary(generators.tokens, sentences, length)

  return generate
