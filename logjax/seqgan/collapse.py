"""Collapse in words: discriminators that teach nothing, generators that repeat themselves. K sets.

The bounds lie beyond what was measured in 26 runs on logs, real and simulated, with and without
leaks and permuted labels, and within what was measured on the published oracle (docs/oracle.md).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# Mean reward of what a generator writes, over the second half of the rounds. On the oracle the
# generator got better while it was 0.43 to 0.19 (rounds 1 to 11), and worse when it was 0.03 to
# 0.005 (rounds 23 to 51; the discriminator's accuracy was 0.99 by then). On logs it was 0.38 to
# 0.55 and the accuracy 0.49 to 0.68. No run had rewards near 1: there the same distance is taken.
_LOST, _FOOLED = 0.05, 0.95
# Entropy of the last round beside that of the first, in nats a token. Of the runs that had any to
# lose, above 0.01 at first, none was left with less than 0.43 of it; on the oracle it was 0.98.
# Below 0.01 the real rows of nearly every set were one text.
_ENTROPY_LEFT, _ENTROPY_TO_LOSE = 0.1, 0.01
# Distinct generated rows beside distinct real ones, of which a generator that learned them by heart
# writes all. Ten times as many rows must have been drawn as there are real ones, so that a rare one
# had its occasion. On logs the generated ones were 36 times as many (1,043 beside 29) and 43 (216
# beside 5).
_DISTINCT_LEFT, _DRAWS = 0.5, 10


def collapses(
  name: str, rounds: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], rows: np.ndarray
) -> list[str]:
  """Says of the generators and their discriminators whether they collapsed, a line each.

  Args:
    name: of the method.
    rounds: what metrics.jsonl has of the adversarial phase, with `sets`; none for 'mle'.
    summary: of what was drawn, with `generated` and `distinct_share`.
    rows: that there were to learn from, [n, T].
  """
  rewards, entropy = _of_sets(rounds, 'reward'), _of_sets(rounds, 'entropy')
  warnings = _of_rewards(name, rewards) if len(rewards) else []
  warnings += _of_entropy(name, entropy) if len(entropy) else []
  generated, real = summary['generated'], len(np.unique(rows, axis=0))
  distinct = round((summary['distinct_share'] or 0) * generated)
  if generated >= _DRAWS * len(rows) and distinct < _DISTINCT_LEFT * real:
    warnings.append(
      f'{name}: the generators repeat themselves: of {generated:,} rows {distinct:,} are distinct, '
      f'of the real ones {real:,}; raise seqgan.mle_epochs or seqgan.hidden, or lower '
      'seqgan.generator_learning_rate, in a new workdir'
    )
  return warnings


def _of_sets(rounds: Sequence[Mapping[str, Any]], measure: str) -> np.ndarray:
  """What was measured in every round of every set, [rounds, K]; no round where nothing was."""
  values = [line['sets'][measure] for line in rounds if measure in line.get('sets', {})]
  return np.array(values, float).reshape(len(values), -1 if values else 0)


def _of_rewards(name: str, rewards: np.ndarray) -> list[str]:
  """Of discriminators that give all rows of their generator the same reward, [rounds, K]."""
  late = rewards[len(rewards) // 2 :].mean(axis=0)
  lost, fooled = late[late < _LOST], late[late > _FOOLED]
  warnings = []
  if len(lost):
    warnings.append(
      f'{name}: the discriminator has won in {len(lost)} of {len(late)} sets: the mean reward in '
      f'the second half of the rounds is {lost.mean():.3f}, and rewards that are all near 0 teach '
      'nothing; lower seqgan.d_steps, seqgan.discriminator_epochs or '
      'seqgan.discriminator_learning_rate, in a new workdir'
    )
  if len(fooled):
    warnings.append(
      f'{name}: the discriminator has lost in {len(fooled)} of {len(late)} sets: the mean reward '
      f'in the second half of the rounds is {fooled.mean():.3f}, and rewards that are all near 1 '
      'teach nothing; raise seqgan.discriminator_rounds or seqgan.d_steps, in a new workdir'
    )
  return warnings


def _of_entropy(name: str, entropy: np.ndarray) -> list[str]:
  """Of generators that became sure of every token, [rounds, K]."""
  first, last = entropy[0], entropy[-1]
  fell = (first > _ENTROPY_TO_LOSE) & (last < _ENTROPY_LEFT * first)
  if not fell.any():
    return []
  return [
    f'{name}: the generator has collapsed in {fell.sum()} of {len(fell)} sets: its entropy fell '
    f'from {first[fell].mean():.3f} to {last[fell].mean():.3f} nats a token in the adversarial '
    'phase; lower seqgan.generator_learning_rate or seqgan.rounds, in a new workdir, or take '
    'oversampler.name=mle'
  ]
