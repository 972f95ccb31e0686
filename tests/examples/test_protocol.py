"""Protocols: leaks by name, and what splits the rows."""

import pytest
from ml_collections import ConfigDict

from logjax.errors import LogjaxError
from logjax.examples.protocol import LEAKS, PROTOCOLS, Protocol, protocol_of

SEVEN = {
  'synthetic_in_test',
  'oversampler_sees_test',
  'label_routed_encoder',
  'vocabulary_from_all',
  'noise_on_test',
  'duplicates_across_split',
  'random_split',
}


def error(call, *args, **options):
  with pytest.raises(LogjaxError) as raised:
    call(*args, **options)
  message = str(raised.value)
  assert '\n' not in message
  return message


def config_of(protocol: str, leaks: str, split_by: str) -> ConfigDict:
  return ConfigDict({'protocol': protocol, 'leaks': leaks, 'split': {'by': split_by}})


def test_the_paper_has_all_seven_leaks_and_the_honest_protocol_none():
  assert set(LEAKS) == SEVEN
  assert all(LEAKS.values())
  assert set(PROTOCOLS['paper'].leaks) == SEVEN and PROTOCOLS['honest'].leaks == ()
  assert tuple(LEAKS) == Protocol._fields


@pytest.mark.parametrize(
  ('protocol', 'leaks', 'split_by', 'expected'),
  [
    ('honest', '', 'auto', set()),
    ('honest', '', 'time', set()),
    ('honest', '', 'random', {'random_split', 'duplicates_across_split'}),
    ('honest', '', 'text', {'random_split'}),
    ('paper', '', 'auto', SEVEN),
    ('paper', '', 'random', SEVEN),
    ('paper', '', 'time', SEVEN - {'random_split'}),
    ('paper', '', 'text', SEVEN - {'duplicates_across_split'}),
    ('paper', 'none', 'auto', set()),
    ('paper', 'none', 'random', {'random_split', 'duplicates_across_split'}),
    ('paper', ' noise_on_test , random_split ', 'auto', {'noise_on_test', 'random_split'}),
    ('honest', 'noise_on_test,random_split', 'time', {'noise_on_test'}),
    ('honest', 'noise_on_test', 'text', {'noise_on_test', 'random_split'}),
    ('honest', ','.join(sorted(SEVEN)), 'auto', SEVEN),
  ],
)
def test_leaks_are_the_protocols_or_the_named_ones_and_split_by_decides_its_own(
  protocol, leaks, split_by, expected
):
  assert set(protocol_of(config_of(protocol, leaks, split_by)).leaks) == expected


@pytest.mark.parametrize(
  ('arguments', 'expected'),
  [
    (('fair', '', 'auto'), "unknown protocol 'fair': --config.protocol is one of honest, paper"),
    (('paper', '', 'line'), "unknown split.by 'line': it is one of auto, time, random, text"),
    (
      ('paper', 'noise', 'auto'),
      f"unknown leak 'noise': --config.leaks takes {', '.join(LEAKS)}",
    ),
    (('honest', 'none,noise_on_test', 'auto'), "unknown leak 'none': "),
    (('honest', ',', 'auto'), "unknown leak '': "),
  ],
)
def test_an_unknown_name_is_answered_with_the_known_ones(arguments, expected):
  assert error(protocol_of, config_of(*arguments)).startswith(expected)


@pytest.mark.parametrize(
  ('leaks', 'by'),
  [
    ('none', 'time'),
    ('duplicates_across_split', 'time'),
    ('random_split', 'text'),
    ('random_split,duplicates_across_split', 'random'),
  ],
)
def test_the_leaks_say_what_splits_the_rows_and_resolving_changes_nothing(leaks, by):
  protocol = protocol_of(config_of('honest', leaks, 'auto'))
  assert protocol.split_by == by
  assert protocol_of(config_of('honest', leaks, by)) == protocol


def test_a_misspelt_leak_is_an_error_in_code_too():
  with pytest.raises(AttributeError):
    _ = Protocol().noise_on_tests
  with pytest.raises(TypeError):
    Protocol(noise_on_tests=True)
