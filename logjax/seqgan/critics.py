"""Critics: score a sentence while it is read token by token.

T time, V vocabulary, F filters, W widest filter.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from logjax.examples.text import PAD
from logjax.seqgan.tables import window_responses


class Critic(NamedTuple):
  """Reads a sentence token by token and scores it. Its memory is any PyTree.

  Attributes:
    start: the memory before the first token.
    read: `(memory, token []) -> memory`.
    settled: `memory -> bool []`; true if further padding cannot change the score.
    score: `memory -> score []`, for a whole sentence.
  """

  start: Any
  read: Callable
  settled: Callable
  score: Callable


def make_window_critic(tables: list[list[jax.Array]], score: Callable) -> Critic:
  """Makes a critic with a running maximum for every filter of a discriminator.

  Its memory is the last W tokens and the maxima [F]. The windows inside a prefix are computed
  once for all its rollouts.

  Args:
    tables: from `Discriminator.tables`.
    score: `maxima [F] -> []`.
  """
  before_sentence = tables[0][0].shape[0] - 1  # V, the last row of a table
  widest = max(len(band) for band in tables)
  maxima = tuple(jnp.full(band[0].shape[1], -jnp.inf) for band in tables)

  def read(memory, token: jax.Array):
    recent, maxima = memory
    recent = jnp.concatenate([token[None], recent[:-1]])  # newest first
    return recent, tuple(map(jnp.maximum, maxima, window_responses(tables, recent)))

  return Critic(
    start=(jnp.full(widest, before_sentence), maxima),
    read=read,
    # Once all W recent tokens are padding, every further window is the same one.
    settled=lambda memory: jnp.all(memory[0] == PAD),
    score=lambda memory: score(jnp.concatenate(memory[1])),
  )


def make_sentence_critic(length: int, score: Callable) -> Critic:
  """Makes a critic of whole sentences, with all tokens as its memory.

  Args:
    length: T.
    score: `sentence int32 [T] -> []`.
  """

  def read(memory, token: jax.Array):
    position, tokens = memory
    return position + 1, tokens.at[position].set(token)

  return Critic(
    start=(jnp.int32(0), jnp.full(length, PAD, jnp.int32)),
    read=read,
    # The array starts as padding, so only padding before `position` was read and ends a sentence.
    settled=lambda memory: jnp.any((memory[1] == PAD) & (jnp.arange(length) < memory[0])),
    score=lambda memory: score(memory[1]),
  )
