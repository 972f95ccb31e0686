"""Detects collapse: discriminators without useful rewards, and generators with little variety.

K sets.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

# None of 26 runs on logs (real and simulated, with and without leaks and permuted labels) passed
# one of these limits. The run on the published oracle (docs/oracle.md) passed the first.

# Mean reward of generated rows in the second half of the rounds. On the oracle the generator
# improved at rewards of 0.43 to 0.19 (rounds 1 to 11) and got worse at 0.03 to 0.005 (rounds 23 to
# 51, discriminator accuracy 0.99). On logs rewards were 0.38 to 0.55 and the accuracy 0.49 to 0.68.
# No run had rewards near 1; the upper limit mirrors the lower one.
_LOST, _FOOLED = 0.05, 0.95
# Entropy of the last round divided by that of the first, and the least entropy of the first, in
# nats a token. In runs that started above 0.01 nats, entropy never fell below 43 % of its initial
# value (oracle: 98 %). Below 0.01 the real rows of nearly every set were a single text.
_ENTROPY_LEFT, _ENTROPY_TO_LOSE = 0.1, 0.01
# Distinct generated rows divided by distinct real rows. A generator that learned the real rows by
# heart has a ratio of 1. Ten times as many rows as real ones must have been drawn, to give rare
# rows a chance. On logs it was 36 times (1,043 generated, 29 real) and 43 times (216 and 5).
_DISTINCT_LEFT, _DRAWS = 0.5, 10


def collapses(
  name: str, rounds: Sequence[Mapping[str, Any]], summary: Mapping[str, Any], rows: np.ndarray
) -> list[str]:
  """Returns a warning, one line of text, for each kind of collapse.

  Args:
    name: method, for the text.
    rounds: lines of the adversarial phase in metrics.jsonl, with `sets`; empty for 'mle'.
    summary: counts of the drawn rows, with `generated` and `distinct_share`.
    rows: the training rows, [n, T].
  """
  rewards, entropy = _by_round_and_set(rounds, 'reward'), _by_round_and_set(rounds, 'entropy')
  warnings = _reward_warnings(name, rewards) if len(rewards) else []
  warnings += _entropy_warnings(name, entropy) if len(entropy) else []
  generated, real = summary['generated'], len(np.unique(rows, axis=0))
  distinct = round((summary['distinct_share'] or 0) * generated)
  if generated >= _DRAWS * len(rows) and distinct < _DISTINCT_LEFT * real:
    warnings.append(
      f'{name}: the generators repeat themselves: of {generated:,} rows {distinct:,} are distinct, '
      f'of the real ones {real:,}; raise seqgan.mle_epochs or seqgan.hidden, or lower '
      'seqgan.generator_learning_rate, in a new workdir'
    )
  return warnings


def _by_round_and_set(rounds: Sequence[Mapping[str, Any]], measure: str) -> np.ndarray:
  """Returns one measure of every round and set, [rounds, K]; [0, 0] if it was not measured."""
  values = [line['sets'][measure] for line in rounds if measure in line.get('sets', {})]
  return np.array(values, float).reshape(len(values), -1 if values else 0)


def _reward_warnings(name: str, rewards: np.ndarray) -> list[str]:
  """Warns of discriminators with about the same reward for all generated rows.

  Args:
    name: method.
    rewards: mean reward of each round and set, [rounds, K].
  """
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


def _entropy_warnings(name: str, entropy: np.ndarray) -> list[str]:
  """Warns of generators that lost nearly all randomness.

  Args:
    name: method.
    entropy: nats a token of each round and set, [rounds, K].
  """
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
