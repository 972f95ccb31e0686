"""The grammars of the embedded corpora: how many kinds, and which words they share."""

import re

import pytest

from logjax.corpora.simulated import bgl, openstack, thunderbird


def words(text: str) -> set[str]:
  return set(re.findall('[a-z]+', text.lower()))


def template_words(grammar, template: str) -> set[str]:
  """Words that a template can show: its own and those of the choices in its slots."""
  found: set[str] = set()
  for literal, name in re.findall(r'([^{}]+)|\{(\w+)\}', template):
    slot = grammar.STICKY.get(name) or grammar.SLOTS.get(name)
    found |= words(literal)
    if isinstance(slot, str):
      found |= template_words(grammar, slot)
    elif isinstance(slot, tuple):
      found |= words(' '.join(slot))
  return found


def messages(kinds: dict[str, tuple]) -> list[str]:
  return [kind[-1] for era in kinds.values() for kind in era]


@pytest.mark.parametrize('grammar', [bgl, thunderbird])
def test_grammars_are_as_large_as_promised_and_words_are_shared(grammar):
  normal, abnormal = messages(grammar.NORMAL), messages(grammar.ABNORMAL)
  assert len(set(normal)) == len(normal) >= 60
  assert len(set(abnormal)) == len(abnormal) >= 40
  assert not set(normal) & set(abnormal)
  assert len(grammar.ABNORMAL['late']) >= len(abnormal) / 4
  common = set().union(*(template_words(grammar, message) for message in normal))
  for message in abnormal:
    assert template_words(grammar, message) <= common, message


def test_openstacks_faults_share_their_words_with_ordinary_kinds():
  ordinary = {kind[-1] for kind in (*openstack.SERVICES, *openstack.LIFE)}
  assert len(ordinary) >= 25
  common = set().union(*(template_words(openstack, message) for message in ordinary))
  for steps in openstack.FAULTS.values():
    assert {message for _, message in steps} - ordinary
    for _, message in steps:
      assert template_words(openstack, message) <= common, message


@pytest.mark.parametrize('grammar', [bgl, thunderbird])
def test_some_kinds_differ_from_the_other_class_in_word_order_only(grammar):
  def bags(kinds):
    return {tuple(sorted(re.findall(r'\w+|\{\w+\}', message))) for message in messages(kinds)}

  assert len(bags(grammar.NORMAL) & bags(grammar.ABNORMAL)) >= 2
