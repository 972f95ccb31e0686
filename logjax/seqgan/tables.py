"""Token tables: the discriminator's convolutions as sums of table rows, token by token.

A convolution over embeddings of single tokens is a sum of table rows. The table of lag l has, for
each token, its embedding times the filters' weights l tokens before the end of a window. The
response to a window is the sum of one row of each table. Example: a filter of width 2 responds to
the window (a, b) with table_1[a] + table_0[b].

A sum over lags is fast if all rows are equally long. So filters are grouped in bands of similar
width, and the narrower filters of a band are padded with zeros.

All tables are made by `Discriminator.tables`: a list per band, with one table [V + 1, F_band] per
lag. Row V stands for a position before the sentence.

B batch, T time (tokens of a sentence), V vocabulary, F filters of all widths together, W widest
filter.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

# Token tables are made on every device, however small its part of the batch. On a CPU they were
# faster than convolutions with at least four positions of a sentence per row of a table, and up to
# three times as slow with fewer.
_MIN_POSITIONS_PER_ROW = 4


def group_widths(widths: Sequence[int]) -> list[list[int]]:
  """Groups rising widths into bands; the widest of a band is at most twice the narrowest.

  Returns:
    The indices of each band: widths (1, 2, 3, 4, 8) give [[0, 1], [2, 3], [4]].
  """
  groups: list[list[int]] = []
  for i, width in enumerate(widths):
    if groups and width <= 2 * widths[groups[-1][0]]:
      groups[-1].append(i)
    else:
      groups.append([i])
  return groups


def window_responses(
  tables: Sequence[Sequence[jax.Array]], recent: jax.Array
) -> tuple[jax.Array, ...]:
  """Computes the responses of all filters to the windows with the newest token as their end.

  Args:
    tables: from `Discriminator.tables`; each [V + 1, F_band], W of them in the widest band.
    recent: the last W tokens, newest first, int [W]; V for positions before the sentence.

  Returns:
    For each band responses without bias [F_band]; -inf for windows longer than the tokens so far.
  """
  # A gather of a whole row for each lag: four times as fast on a CPU as rows of unequal length.
  # A band with fewer than W tables ignores the oldest tokens.
  return tuple(
    sum(table[token] for table, token in zip(band, recent, strict=False)) for band in tables
  )


def tables_are_faster(vocabulary: int, positions: int) -> bool:
  """Returns whether token tables are faster than convolutions.

  Args:
    vocabulary: V.
    positions: B * T of a batch on one device.
  """
  return _MIN_POSITIONS_PER_ROW * vocabulary <= positions


def strongest_windows(tables: Sequence[Sequence[jax.Array]], sentence: jax.Array) -> jax.Array:
  """Finds the window with the largest response of each filter; the first of equal ones.

  Args:
    tables: from `Discriminator.tables`.
    sentence: tokens, int [T].

  Returns:
    The last position of this window, int [F].

  Raises:
    ValueError: for a sentence shorter than the widest filter, because it has no full window.
  """
  before_sentence, widest = tables[0][0].shape[0] - 1, max(len(band) for band in tables)
  length = len(sentence)
  if length < widest:
    raise ValueError(f'a sentence of {length} tokens has no window of {widest}')
  # recent[t] has the W tokens up to t, newest first. For the sentence [a, b, c] and W = 2, with V
  # for positions before the sentence: padded is [V, a, b, c], recent is [[a, V], [b, a], [c, b]].
  padded = jnp.concatenate([jnp.full(widest - 1, before_sentence), sentence])
  recent = jnp.stack([padded[widest - 1 - lag :][:length] for lag in range(widest)], axis=1)

  def step(best, inputs):
    end, tokens = inputs
    maxima, ends = best
    responses = jnp.concatenate(window_responses(tables, tokens))
    # NaN must win, as it does in jnp.max, or a diverged model would go unnoticed.
    better = (responses > maxima) | jnp.isnan(responses)
    return (jnp.where(better, responses, maxima), jnp.where(better, end, ends)), None

  size = sum(band[0].shape[1] for band in tables)
  start = jnp.full(size, -jnp.inf), jnp.zeros(size, jnp.int32)
  # Token by token: about three times as fast on a CPU as an argmax over all windows' responses.
  return lax.scan(step, start, (jnp.arange(length), recent))[0][1]


def responses_at(
  tables: Sequence[Sequence[jax.Array]], sentence: jax.Array, ends: jax.Array
) -> jax.Array:
  """Computes the response of each filter to one window of a sentence.

  Args:
    tables: from `Discriminator.tables`.
    sentence: tokens, int [T].
    ends: last position of the window of each filter, [F].

  Returns:
    Responses without bias, [F].
  """
  responses, first = [], 0
  for band in tables:
    size = band[0].shape[1]
    end = ends[first : first + size]  # this band's part of the F filters
    # A lag beyond the start of the sentence is clipped to position 0. Any token will do there: the
    # window is complete, so the filter is narrower and its table rows are zeros at this lag.
    tokens = [sentence[jnp.maximum(end - lag, 0)] for lag in range(len(band))]
    responses.append(sum(t[token, jnp.arange(size)] for t, token in zip(band, tokens, strict=True)))
    first += size
  return jnp.concatenate(responses)
