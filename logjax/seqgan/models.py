"""The generator and the discriminator, each for ONE sentence.

Token 0 is the start token, the padding, and the end of a sentence.

V vocabulary, T time (tokens of a sentence), H hidden size, E embedding size, F filters of all
widths together.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from logjax.models.recurrent import GRUCell, LSTMCell
from logjax.seqgan.tables import group_widths, responses_at, strongest_windows

CELLS = {'gru': GRUCell, 'lstm': LSTMCell}


class Generator(nn.Module):
  """The policy G: a recurrent network for the next token (equations 1 to 3).

  The input of a step depends on one token only. So W x + b is computed once for the whole
  vocabulary (`inputs`) and looked up afterwards.

  Attributes:
    vocabulary: V.
    embedding: E.
    hidden: H.
    init_std: standard deviation of all initial parameters.
    cell: 'gru' (the paper) with state h [H], or 'lstm' (SeqGAN) with two arrays (c, h), [H] each.
  """

  vocabulary: int
  embedding: int
  hidden: int
  init_std: float = 0.1
  cell: str = 'gru'

  def setup(self):
    normal = nn.initializers.normal(self.init_std)
    self.embed = nn.Embed(self.vocabulary, self.embedding, embedding_init=normal)
    self.recurrent = CELLS[self.cell](
      self.hidden, kernel_init=normal, recurrent_init=normal, bias_init=normal
    )
    self.head = nn.Dense(self.vocabulary, kernel_init=normal, bias_init=normal)

  @property
  def start(self) -> Any:
    """The state before the first token."""
    zeros = jnp.zeros(self.hidden)
    return (zeros, zeros) if self.cell == 'lstm' else zeros

  def inputs(self) -> jax.Array:
    """Returns the projected input of every token, [V, gates * H]."""
    return self.recurrent.project(self.embed.embedding)

  def advance(self, h: Any, projected: jax.Array) -> tuple[Any, jax.Array]:
    """Takes one step: state h, projected [gates * H] -> h, logits of the next token [V]."""
    h = self.recurrent(h, projected)
    return h, self.head(h[1] if self.cell == 'lstm' else h)

  def __call__(self, h: Any, token: jax.Array) -> tuple[Any, jax.Array]:
    """Takes one step: state h, token [] -> h, logits of the next token [V]."""
    return self.advance(h, self.inputs()[token])


class Discriminator(nn.Module):
  """D: the probability of a real sentence, from convolutions of several widths.

  The largest response of every filter, rectified, goes through a highway layer and a linear layer.
  Responses are computed in one of two ways with the same result:

  - by convolution over the embedded tokens (`convolve`);
  - by token tables (`tables`), so that a sentence can be scored while it is sampled.

  Attributes:
    vocabulary: V.
    embedding: E.
    widths: of the convolutions, rising.
    filters: number of filters of each width; F is their sum.
    dropout: rate before the last layer.
  """

  vocabulary: int
  embedding: int
  widths: Sequence[int]
  filters: Sequence[int]
  dropout: float

  def setup(self):
    size = sum(self.filters)
    narrow = nn.initializers.truncated_normal(0.1)
    tenth = nn.initializers.constant(0.1)
    self.embed = nn.Embed(self.vocabulary, self.embedding, embedding_init=_uniform_around_zero)
    self.kernels = [
      self.param(f'kernel_{width}', narrow, (width, self.embedding, count))
      for width, count in zip(self.widths, self.filters, strict=True)
    ]
    self.bias = self.param('bias', tenth, (size,))
    self.highway = nn.Dense(size)
    self.gate = nn.Dense(size)
    self.drop = nn.Dropout(self.dropout)
    self.out = nn.Dense(2, kernel_init=narrow, bias_init=tenth)

  def tables(self) -> list[list[jax.Array]]:
    """Returns the token tables (tables.py) [V + 1, F_band]: a list per band, one table per lag.

    Row v of the table of lag l has the responses to token v, l tokens before the end of a window.
    It is 0 for filters narrower than l + 1. Row V stands for a position before the sentence. There
    filters of width l + 1 or more have -inf, so an incomplete window is never the largest.
    """
    return [
      [self._responses(band, lag) for lag in range(self.widths[band[-1]])]
      for band in group_widths(self.widths)
    ]

  def _responses(self, band: Sequence[int], lag: int) -> jax.Array:
    """Returns the table of one lag for the filters of a band, [V + 1, F_band]."""
    embedding, parts = self.embed.embedding, []
    for i in band:
      width, count = self.widths[i], self.filters[i]
      if width > lag:
        # A kernel's first row belongs to the first token of a window, lag 0 to its last token.
        responses = embedding @ self.kernels[i][width - 1 - lag]
        parts.append(jnp.pad(responses, ((0, 1), (0, 0)), constant_values=-jnp.inf))  # adds row V
      else:
        parts.append(jnp.zeros((self.vocabulary + 1, count)))
    return jnp.concatenate(parts, axis=1)

  def features(self, maxima: jax.Array) -> jax.Array:
    """Computes the features of a sentence [F], before dropout, from its filter maxima [F]."""
    # The bias is added after the maximum: it is the same for all windows of a filter.
    features = nn.relu(maxima + self.bias)
    gate = nn.sigmoid(self.gate(features))
    return gate * nn.relu(self.highway(features)) + (1 - gate) * features

  def classify(self, features: jax.Array, training: bool = False) -> jax.Array:
    """Computes the logits of (generated, real) [2] from features [F]."""
    return self.out(self.drop(features, deterministic=not training))

  def classify_maxima(self, maxima: jax.Array, training: bool = False) -> jax.Array:
    """Computes the logits of (generated, real) [2] from filter maxima [F]."""
    return self.classify(self.features(maxima), training)

  def maxima(self, sentence: jax.Array) -> jax.Array:
    """Computes the largest response of every filter [F], without bias, to a sentence int [T].

    The largest windows are found without a gradient and then looked up again. So the gradient
    flows through F windows, not through all T windows of every filter.
    """
    tables = self.tables()
    ends = strongest_windows(lax.stop_gradient(tables), sentence)
    return responses_at(tables, sentence, ends)

  def convolve(self, sentence: jax.Array) -> jax.Array:
    """Computes the features [F] of a whole sentence by plain convolutions.

    Args:
      sentence: tokens, int [T], or a distribution over tokens at every position, [T, V]. One-hot
        distributions give the same features as their tokens.
    """
    if sentence.ndim == 1:
      embedded = self.embed(sentence)
    else:
      # Full precision: an accelerator would round the product, but not the lookup above.
      embedded = jnp.dot(sentence, self.embed.embedding, precision=lax.Precision.HIGHEST)
    maxima = [_convolve(embedded, kernel).max(axis=0) for kernel in self.kernels]
    return self.features(jnp.concatenate(maxima))

  def __call__(
    self, sentence: jax.Array, training: bool = False, by_tables: bool = False
  ) -> jax.Array:
    """Computes the logits of (generated, real) [2] of a sentence int [T].

    Args:
      sentence: tokens.
      training: use dropout.
      by_tables: use token tables, not convolutions; see `tables.tables_are_faster`.
    """
    if by_tables:
      return self.classify_maxima(self.maxima(sentence), training)
    return self.classify(self.convolve(sentence), training)


def _convolve(embedded: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolves embedded tokens [T, E] with a kernel [width, E, F]: [T - width + 1, F]."""
  width = kernel.shape[0]
  # windows[i] has the i-th token of every window: all windows side by side, for one product.
  windows = [embedded[i : len(embedded) - width + 1 + i] for i in range(width)]
  return jnp.concatenate(windows, axis=1) @ kernel.reshape(-1, kernel.shape[2])


def _uniform_around_zero(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
  return jax.random.uniform(key, shape, dtype, -1.0, 1.0)
