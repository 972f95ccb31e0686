"""The measures of the oracle's benchmark, for rows and for generators.

The oracle's loss alone is misleading: a few probable rows, repeated, have a low loss. So it is
always reported with measures of variety, and with the generator's own loss on held-out rows of the
oracle.

N rows, T time.
"""

from typing import NamedTuple

import jax
import numpy as np

from logjax.benchmarks.oracle.model import SequenceModel, sample_rows, token_losses
from logjax.evaluation.diversity import distinct, over_groups, self_bleu

DISTINCT = (1, 2, 3, 4)
SELF_BLEU = (2, 3, 4)


class OracleMetrics(NamedTuple):
  """Measures rows and generators with the help of an oracle.

  Attributes:
    oracle: knows the probability of every row.
    held_out: rows of the oracle, not used for training, int32 [N, T].
    group: number of rows in one comparison for distinct-n and self-BLEU.
  """

  oracle: SequenceModel
  held_out: np.ndarray
  group: int

  def rows(self, rows: np.ndarray) -> dict[str, float]:
    """Measures rows [N, T].

    Returns:
      `oracle_nll`, nats a token; `distinct_1` to `_4`; `self_bleu_2` to `_4`; and the standard
      error of each, `<name>_error`.
    """
    measures = _mean_loss('oracle_nll', token_losses(self.oracle, rows))
    for n in DISTINCT:
      value, error = over_groups(lambda group, n=n: distinct(group, n), rows, self.group)
      measures |= {f'distinct_{n}': value, f'distinct_{n}_error': error}
    for n in SELF_BLEU:
      value, error = over_groups(lambda group, n=n: self_bleu(group, n).mean(), rows, self.group)
      measures |= {f'self_bleu_{n}': value, f'self_bleu_{n}_error': error}
    return measures

  def generator(self, generator: SequenceModel, key: jax.Array) -> dict[str, float]:
    """Measures a generator and N new rows of it.

    Returns:
      As `rows`; also in nats a token `generator_nll`, its loss on the held-out rows, and `entropy`,
      its loss on its own rows.
    """
    rows = sample_rows(generator, self.held_out.shape[1], len(self.held_out), key)
    return {
      **self.rows(rows),
      **_mean_loss('generator_nll', token_losses(generator, self.held_out)),
      **_mean_loss('entropy', token_losses(generator, rows)),
    }


def _mean_loss(name: str, losses: np.ndarray) -> dict[str, float]:
  """Returns the mean of losses [N, T] and its standard error."""
  # The error is over rows: rows are independent, the tokens of a row are not.
  rows = losses.mean(axis=1)
  return {name: float(rows.mean()), f'{name}_error': float(rows.std(ddof=1) / len(rows) ** 0.5)}
