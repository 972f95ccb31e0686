"""What the oracle's benchmark says of rows and of generators.

The oracle's loss alone can be deceived: rows that are all alike, if the oracle likes them, have a
low one. It is therefore never without measures of variety and the generator's own loss on rows of
the oracle that it was not trained on. N rows, T time.
"""

from typing import NamedTuple

import jax
import numpy as np

from logjax.benchmarks.oracle import Writer, sample_rows, token_losses
from logjax.evaluation.diversity import distinct, over_groups, self_bleu

DISTINCT = (1, 2, 3, 4)
SELF_BLEU = (2, 3, 4)


class Judge(NamedTuple):
  """The oracle, and how generators are judged by it.

  Attributes:
    oracle: knows how probable rows are.
    held_out: rows of the oracle that nobody is trained on, int32 [N, T].
    group: rows that are compared with each other for distinct-n and self-BLEU.
  """

  oracle: Writer
  held_out: np.ndarray
  group: int

  def rows(self, rows: np.ndarray) -> dict[str, float]:
    """Judges rows [N, T].

    Returns:
      `oracle_nll`, nats a token; `distinct_1` to `_4`; `self_bleu_2` to `_4`; and for each its
      standard error, `<name>_error`.
    """
    measures = _mean_loss('oracle_nll', token_losses(self.oracle, rows))
    for n in DISTINCT:
      value, error = over_groups(lambda group, n=n: distinct(group, n), rows, self.group)
      measures |= {f'distinct_{n}': value, f'distinct_{n}_error': error}
    for n in SELF_BLEU:
      value, error = over_groups(lambda group, n=n: self_bleu(group, n).mean(), rows, self.group)
      measures |= {f'self_bleu_{n}': value, f'self_bleu_{n}_error': error}
    return measures

  def generator(self, generator: Writer, key: jax.Array) -> dict[str, float]:
    """Judges a generator by as many new rows as are held out.

    Returns:
      As `rows`, and in nats a token `generator_nll`, its loss on the held-out rows, and `entropy`,
      its loss on its own.
    """
    rows = sample_rows(generator, self.held_out.shape[1], len(self.held_out), key)
    return {
      **self.rows(rows),
      **_mean_loss('generator_nll', token_losses(generator, self.held_out)),
      **_mean_loss('entropy', token_losses(generator, rows)),
    }


def _mean_loss(name: str, losses: np.ndarray) -> dict[str, float]:
  """The mean of losses [N, T] and its standard error; rows are independent, their tokens not."""
  rows = losses.mean(axis=1)
  return {name: float(rows.mean()), f'{name}_error': float(rows.std(ddof=1) / len(rows) ** 0.5)}
