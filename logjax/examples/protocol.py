"""Protocols: the leaks of knowledge from the test rows into training.

A protocol is a set of leaks. Each leak has its own switch, so a ladder can remove one at a time.
The paper's protocol has all seven. The honest protocol has none and is the default.
"""

from typing import NamedTuple

import ml_collections

from logjax.errors import LogjaxError

# One sentence for each leak, in the order in which the ladder removes them.
LEAKS = {
  'synthetic_in_test': 'generated lines are in the validation and test sets',
  'oversampler_sees_test': 'the oversampler was trained on abnormal test lines too',
  'label_routed_encoder': 'the true label of a row, test rows included, picks the autoencoder that '
  'encodes it, and the autoencoders were trained on all rows',
  'vocabulary_from_all': 'the vocabulary was fitted on all lines, test lines included',
  'noise_on_test': 'noise was added to validation and test rows too',
  'duplicates_across_split': 'the same masked text may be in train and in test',
  'random_split': 'lines were shuffled before the split, so that train holds lines from after test',
}


class Protocol(NamedTuple):
  """The leaks of a run; see `LEAKS` for their meanings."""

  synthetic_in_test: bool = False
  oversampler_sees_test: bool = False
  label_routed_encoder: bool = False
  vocabulary_from_all: bool = False
  noise_on_test: bool = False
  duplicates_across_split: bool = False
  random_split: bool = False

  @property
  def leaks(self) -> tuple[str, ...]:
    """The names of the leaks, in the order of `LEAKS`."""
    return tuple(name for name, leaks in self._asdict().items() if leaks)

  @property
  def split_by(self) -> str:
    """The rule of the split: 'time', 'random', or 'text' (each masked text on one side only).

    A log in order of time repeats its texts on both sides. So without random_split the switch
    duplicates_across_split has no effect; it is only reported.
    """
    if not self.random_split:
      return 'time'
    return 'random' if self.duplicates_across_split else 'text'


PROTOCOLS = {'honest': Protocol(), 'paper': Protocol(*[True] * len(LEAKS))}
SPLITS = ('auto', 'time', 'random', 'text')


def protocol_of(config: ml_collections.ConfigDict) -> Protocol:
  """Returns the protocol of a configuration, resolved or not.

  Three fields decide:

    protocol   'honest' or 'paper'.
    leaks      replaces the protocol's leaks: names separated by commas, or 'none'; '' replaces
               nothing.
    split.by   'time' removes random_split; 'text' adds random_split and removes
               duplicates_across_split; 'random' adds both; 'auto' changes nothing.

  Raises:
    LogjaxError: for a name missing from `PROTOCOLS`, `LEAKS` or `SPLITS`.
  """
  if config.protocol not in PROTOCOLS:
    raise LogjaxError(
      f'unknown protocol {config.protocol!r}: --config.protocol is one of {", ".join(PROTOCOLS)}'
    )
  by = config.split.by
  if by not in SPLITS:
    raise LogjaxError(f'unknown split.by {by!r}: it is one of {", ".join(SPLITS)}')
  protocol = PROTOCOLS[config.protocol]
  if config.leaks:
    names = [name.strip() for name in config.leaks.split(',')]
    names = [] if names == ['none'] else names
    unknown = sorted(set(names) - set(LEAKS))
    if unknown:
      raise LogjaxError(f'unknown leak {unknown[0]!r}: --config.leaks takes {", ".join(LEAKS)}')
    protocol = Protocol(**dict.fromkeys(names, True))
  if by == 'random':
    return protocol._replace(random_split=True, duplicates_across_split=True)
  if by == 'text':
    return protocol._replace(random_split=True, duplicates_across_split=False)
  if by == 'time':
    return protocol._replace(random_split=False)
  return protocol
