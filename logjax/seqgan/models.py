"""The generator and the discriminator, each for ONE sentence.

V vocabulary, T time (tokens a sentence), H hidden size, F filters of all widths together. Token 0
is the start token, the padding, and the end of a sentence.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from logjax.models.recurrent import GRUCell, LSTMCell

CELLS = {'gru': GRUCell, 'lstm': LSTMCell}

# Tables are made on every device, whatever its share of a batch: on a CPU they took less time than
# convolutions wherever a device had at least four places a row of the tables, and up to three times
# as long where it had fewer.
_LEAST_PLACES = 4


class Generator(nn.Module):
  """The policy G: a recurrent network that predicts the next token (equations 1 to 3).

  The input of a step depends on one token only, so W x + b is computed once for the whole
  vocabulary (`inputs`) and looked up afterwards.

  Attributes:
    cell: 'gru' (the paper), whose state h is one array [H], or 'lstm' (SeqGAN), with two.
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
    """One step: state h, projected [gates * H] -> h, logits of the next token [V]."""
    h = self.recurrent(h, projected)
    return h, self.head(h[1] if self.cell == 'lstm' else h)

  def __call__(self, h: Any, token: jax.Array) -> tuple[Any, jax.Array]:
    """One step: state h, token [] -> h, logits of the next token [V]."""
    return self.advance(h, self.inputs()[token])


class Discriminator(nn.Module):
  """D: the probability that a sentence is real, from convolutions of several widths.

  A convolution of one-hot tokens is a sum of rows of a table: `tables` has, for each lag l (how
  many tokens back), the product of every token's embedding with the filters' weights at that
  lag. `window` sums their rows for the window that ends at one token; the maximum over all windows,
  rectified, goes through a highway layer and a linear one. Sentences can thus be scored token by
  token, while they are sampled.

  Filters are kept in bands of similar width, since a sum over lags is fast where all rows are
  equally long: within a band the narrower filters are padded with zeros.

  Attributes:
    widths: of the convolutions, rising.
    filters: how many of each width.
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
    """Returns for each band, and each lag l below its widest filter, a table [V + 1, F_band].

    Row v has the responses to token v that many tokens before the end of a window: 0 for filters
    that do not reach so far. The last row stands for a place before the sentence: -inf for
    filters that do reach it.
    """
    return [
      [self._responses(band, lag) for lag in range(self.widths[band[-1]])]
      for band in bands(self.widths)
    ]

  def _responses(self, band: Sequence[int], lag: int) -> jax.Array:
    """The table of one lag, for the filters of a band."""
    embedding, parts = self.embed.embedding, []
    for i in band:
      width, count = self.widths[i], self.filters[i]
      if width > lag:
        responses = embedding @ self.kernels[i][width - 1 - lag]
        parts.append(jnp.pad(responses, ((0, 1), (0, 0)), constant_values=-jnp.inf))
      else:
        parts.append(jnp.zeros((self.vocabulary + 1, count)))
    return jnp.concatenate(parts, axis=1)

  def features(self, maxima: jax.Array) -> jax.Array:
    """From the windows' maxima [F] to the features of the sentence [F], before dropout."""
    features = nn.relu(maxima + self.bias)
    gate = nn.sigmoid(self.gate(features))
    return gate * nn.relu(self.highway(features)) + (1 - gate) * features

  def judge(self, features: jax.Array, training: bool = False) -> jax.Array:
    """From the features [F] to the logits of (generated, real) [2]."""
    return self.out(self.drop(features, deterministic=not training))

  def score(self, maxima: jax.Array, training: bool = False) -> jax.Array:
    """From the windows' maxima [F] to the logits of (generated, real) [2]."""
    return self.judge(self.features(maxima), training)

  def maxima(self, sentence: jax.Array) -> jax.Array:
    """The largest response of every filter, without bias, to a sentence int [T]: [F].

    The windows that have them are found without a gradient, and looked up again. What is learned
    thus goes back to F windows, and not through the responses to all T windows of every filter.
    """
    tables = self.tables()
    ends = strongest(lax.stop_gradient(tables), sentence)
    return look_up(tables, sentence, ends)

  def describe(self, sentence: jax.Array) -> jax.Array:
    """Features [F] of a whole sentence, by plain convolutions.

    Args:
      sentence: tokens, int [T], or a distribution over tokens at every position, [T, V]; one-hot
        distributions give what their tokens give.
    """
    if sentence.ndim == 1:
      embedded = self.embed(sentence)
    else:
      # An accelerator would round the embeddings of one-hot tokens, which a lookup does not.
      embedded = jnp.dot(sentence, self.embed.embedding, precision=lax.Precision.HIGHEST)
    maxima = [_convolve(embedded, kernel).max(axis=0) for kernel in self.kernels]
    return self.features(jnp.concatenate(maxima))

  def __call__(
    self, sentence: jax.Array, training: bool = False, by_tables: bool = False
  ) -> jax.Array:
    """Logits of (generated, real) [2] of a whole sentence, int [T], by tables or convolutions."""
    if by_tables:
      return self.score(self.maxima(sentence), training)
    return self.judge(self.describe(sentence), training)


def _convolve(embedded: jax.Array, kernel: jax.Array) -> jax.Array:
  """All windows of embedded tokens [T, E] with a kernel [width, E, F]: [T - width + 1, F]."""
  width = kernel.shape[0]
  windows = [embedded[i : len(embedded) - width + 1 + i] for i in range(width)]
  return jnp.concatenate(windows, axis=1) @ kernel.reshape(-1, kernel.shape[2])


def _uniform_around_zero(key: jax.Array, shape: tuple[int, ...], dtype=jnp.float32) -> jax.Array:
  return jax.random.uniform(key, shape, dtype, -1.0, 1.0)


def bands(widths: Sequence[int]) -> list[list[int]]:
  """Groups the indices of rising widths: the widest of a band is at most twice the narrowest."""
  groups: list[list[int]] = []
  for i, width in enumerate(widths):
    if groups and width <= 2 * widths[groups[-1][0]]:
      groups[-1].append(i)
    else:
      groups.append([i])
  return groups


def window(tables: Sequence[Sequence[jax.Array]], recent: jax.Array) -> tuple[jax.Array, ...]:
  """Responses of all filters to the windows that end at the newest token.

  Args:
    tables: as `Discriminator.tables`; each [V + 1, F_band], W of them in the widest band.
    recent: the last W tokens, newest first, int [W]; V where the sentence had not begun.

  Returns:
    For each band responses without bias [F_band]; -inf for a window that would begin before the
    sentence.
  """
  # A gather of a whole row for each lag: four times as fast on a CPU as rows of unequal length.
  return tuple(
    sum(table[token] for table, token in zip(band, recent, strict=False)) for band in tables
  )


def tables_pay(vocabulary: int, places: int) -> bool:
  """Whether tables of V tokens are worth it for sentences with so many places together."""
  return _LEAST_PLACES * vocabulary <= places


def strongest(tables: Sequence[Sequence[jax.Array]], sentence: jax.Array) -> jax.Array:
  """Where the window ends that each filter responds to most, the first of equal ones: int [F].

  Args:
    tables: as `Discriminator.tables`.
    sentence: tokens, int [T].

  Raises:
    ValueError: for a sentence shorter than the widest filter, which has no window in it.
  """
  none, widest = tables[0][0].shape[0] - 1, max(len(band) for band in tables)
  length = len(sentence)
  if length < widest:
    raise ValueError(f'a sentence of {length} tokens has no window of {widest}')
  padded = jnp.concatenate([jnp.full(widest - 1, none), sentence])
  recent = jnp.stack([padded[widest - 1 - lag :][:length] for lag in range(widest)], axis=1)

  def step(best, at):
    end, tokens = at
    maxima, ends = best
    responses = jnp.concatenate(window(tables, tokens))
    better = (responses > maxima) | jnp.isnan(responses)  # that must be seen, as in a maximum
    return (jnp.where(better, responses, maxima), jnp.where(better, end, ends)), None

  size = sum(band[0].shape[1] for band in tables)
  none_yet = jnp.full(size, -jnp.inf), jnp.zeros(size, jnp.int32)
  # Token by token: about three times as fast on a CPU as an argmax over all windows' responses.
  return lax.scan(step, none_yet, (jnp.arange(length), recent))[0][1]


def look_up(
  tables: Sequence[Sequence[jax.Array]], sentence: jax.Array, ends: jax.Array
) -> jax.Array:
  """Responses [F] to windows of a sentence int [T], one for each filter, that end at `ends` [F]."""
  responses, first = [], 0
  for band in tables:
    size = band[0].shape[1]
    end = ends[first : first + size]
    # Only filters that do not reach so far, whose rows are zeros, have places before the sentence.
    tokens = [sentence[jnp.maximum(end - lag, 0)] for lag in range(len(band))]
    responses.append(sum(t[token, jnp.arange(size)] for t, token in zip(band, tokens, strict=True)))
    first += size
  return jnp.concatenate(responses)
