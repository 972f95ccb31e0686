"""Settings of a run: choices, what depends on the protocol, the claim of a workdir, the configs."""

import ast
import importlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from ml_collections import ConfigDict

from configs import default
from logjax.errors import LogjaxError
from logjax.examples.similarity import SIMILARITIES
from logjax.examples.splits import LEAKS
from logjax.files import write_json
from logjax.run import claim_workdir, config_digest, read_config
from logjax.settings import (
  ABOVE_ZERO,
  AUTO,
  CHOICES,
  NOT_NEGATIVE,
  POSITIVE,
  SHARES,
  SIZES,
  check_values,
  flatten,
  resolve,
)

CONFIGS = Path(default.__file__).parent
BENCHMARKS = {'benchmark', 'oracle'}  # they run no experiment on logs and have fields of their own
NAMES = sorted({path.stem for path in CONFIGS.glob('*.py')} - BENCHMARKS)


def config_of(**changes) -> ConfigDict:
  """The default configuration with some fields changed: dots in their names are written `__`."""
  config = default.get_config()
  config.update_from_flattened_dict({name.replace('__', '.'): v for name, v in changes.items()})
  return config


def set_to(name: str, value: object) -> ConfigDict:
  return config_of(**{name.replace('.', '__'): value})


def message_of(call, *args) -> str:
  with pytest.raises(LogjaxError) as raised:
    call(*args)
  message = str(raised.value)
  assert '\n' not in message
  return message


@pytest.mark.parametrize(
  ('protocol', 'corpus', 'train', 'valid', 'sets'),
  [
    ('honest', 'bgl', 0.6, 0.2, 7),
    ('honest', 'thunderbird', 0.6, 0.2, 7),
    ('honest', 'openstack', 0.6, 0.2, 2),
    ('paper', 'bgl', 0.0025, 0.0475, 7),
    ('paper', 'thunderbird', 0.0025, 0.0475, 7),
    ('paper', 'openstack', 0.0425, 0.0075, 2),
    ('paper', 'own', 0.0025, 0.0475, 7),
  ],
)
def test_shares_and_sets_are_the_papers_for_its_protocol_and_corpora(
  protocol, corpus, train, valid, sets
):
  config, _ = resolve(config_of(protocol=protocol, data__corpus=corpus))
  assert config.split.train == pytest.approx(train)
  assert config.split.valid == pytest.approx(valid)
  assert config.oversampler.sets == sets


@pytest.mark.parametrize(
  ('protocol', 'leaks', 'split_by', 'numbers', 'features', 'threshold'),
  [
    ('honest', set(), 'time', 'mask', 'both', 'valid_f1'),
    ('paper', set(LEAKS), 'random', 'keep', 'own_class', 'half'),
  ],
)
def test_a_protocol_decides_what_is_left_open(
  protocol, leaks, split_by, numbers, features, threshold
):
  config, found = resolve(config_of(protocol=protocol))
  assert found == leaks
  assert config.split.by == split_by
  assert config.text.numbers == numbers
  assert config.detector.features == features
  assert config.detector.threshold == threshold


@pytest.mark.parametrize('name', AUTO)
def test_every_open_field_has_the_papers_reading_and_an_honest_one(name):
  literal, honest = AUTO[name]
  for protocol, expected in (('paper', literal), ('honest', honest)):
    resolved = flatten(resolve(config_of(protocol=protocol))[0].to_dict())
    assert resolved[name] == expected
    check_values(set_to(name, expected))
  assert flatten(default.get_config().to_dict())[name] in ('auto', None)


@pytest.mark.parametrize(
  ('protocol', 'corpus', 'labels'),
  [('paper', 'openstack', 'file'), ('honest', 'openstack', 'instance'), ('paper', 'bgl', 'auto')],
)
def test_openstack_is_labelled_by_file_in_the_paper_only(protocol, corpus, labels):
  config, _ = resolve(config_of(protocol=protocol, data__corpus=corpus))
  assert config.data.labels == labels


@pytest.mark.parametrize('protocol', ['honest', 'paper'])
@pytest.mark.parametrize('schedule', sorted(default.SCHEDULES))
def test_nothing_but_the_count_of_rows_is_left_open(protocol, schedule):
  """The count depends on the corpus; 'auto' labels are the corpus' own."""
  config = default.get_config(schedule)
  config.protocol = protocol
  resolved = flatten(resolve(config)[0].to_dict())
  assert [name for name, value in resolved.items() if value is None] == ['oversampler.count']
  assert [name for name, value in resolved.items() if value == 'auto'] == ['data.labels']


@pytest.mark.parametrize('protocol', ['honest', 'paper'])
def test_what_is_set_stays_whatever_the_protocol(protocol):
  chosen = {'split.train': 0.3, 'split.valid': 0.1, 'oversampler.sets': 3, 'data.labels': 'column'}
  chosen |= {name: values[protocol == 'paper'] for name, values in AUTO.items()}
  config = config_of(protocol=protocol, data__corpus='openstack')
  config.update_from_flattened_dict(chosen)
  fields = flatten(resolve(config)[0].to_dict())
  assert {name: fields[name] for name in chosen} == chosen


def test_the_leak_and_not_the_protocol_picks_the_features():
  routed, _ = resolve(config_of(leaks='label_routed_encoder'))
  assert (routed.detector.features, routed.detector.threshold) == ('own_class', 'valid_f1')
  free, leaks = resolve(config_of(protocol='paper', leaks='none'))
  assert (free.detector.features, free.split.by, leaks) == ('both', 'time', frozenset())


def test_a_random_split_is_named_among_the_leaks():
  config, leaks = resolve(config_of(split__by='random'))
  assert (config.split.by, leaks) == ('random', {'random_split', 'duplicates_across_split'})
  config, leaks = resolve(config_of(leaks='random_split'))
  assert (config.split.by, leaks) == ('text', {'random_split'})


@pytest.mark.parametrize(
  'changes',
  [
    {'detector__features': 'own_class'},
    {'detector__features': 'both', 'protocol': 'paper'},
    {'detector__features': 'none', 'leaks': 'label_routed_encoder'},
  ],
)
def test_routed_features_and_their_leak_go_together(changes):
  message = message_of(resolve, config_of(**changes))
  assert 'detector.features' in message and 'label_routed_encoder' in message


def test_resolving_leaves_the_given_config_as_it_was_and_can_be_repeated():
  config = config_of(protocol='paper').lock()
  before = config.to_json()
  once, leaks = resolve(config)
  assert config.to_json() == before and config.is_locked
  twice, again = resolve(once)
  assert twice.to_dict() == once.to_dict() and again == leaks


@pytest.mark.parametrize('name', CHOICES)
def test_a_wrong_choice_is_refused_by_name_and_every_right_one_is_taken(name):
  message = message_of(resolve, set_to(name, 'nonsense'))
  assert f'--config.{name}=' in message and 'nonsense' in message
  for choice in CHOICES[name]:
    assert choice in message
    check_values(set_to(name, choice))


@pytest.mark.parametrize(
  ('names', 'wrong', 'right'),
  [
    (POSITIVE, (0, -1), 128),
    (NOT_NEGATIVE, (-1,), 0),
    (SHARES, (-0.1, 1.1), 0.5),
    (ABOVE_ZERO, (0, -1), 1),
    (('seed',), (-1, 2**32), 2**32 - 1),
    (('text.length',), (1, 0), 2),
    (('oversampler.sets', 'oversampler.count'), (0, -1), 1),
    (('detector.autoencoder.l1',), (-1.0, -1e-9, float('nan')), 0.0),
  ],
)
def test_a_number_out_of_range_is_refused_by_name(names, wrong, right):
  fields = flatten(default.get_config().to_dict())
  for name in names:
    kind = type(right) if fields[name] is None else type(fields[name])
    for value in wrong:
      assert f'--config.{name}=' in message_of(resolve, set_to(name, kind(value)))
    check_values(set_to(name, kind(right)))


@pytest.mark.parametrize('name', SIZES)
def test_sizes_that_are_no_sizes_are_refused_by_name(name):
  sizes = flatten(default.get_config().to_dict())[name]
  for wrong in ((), (*sizes[1:], 0), (-1, *sizes[1:]), (*sizes[1:], 2.5), (*sizes[1:], 'a')):
    assert f'--config.{name}=' in message_of(resolve, set_to(name, wrong))


@pytest.mark.parametrize(
  ('changes', 'names'),
  [
    ({'seqgan__filter_widths': (3, 1, 2, 4)}, ['seqgan.filter_widths', 'must rise']),
    ({'seqgan__filter_widths': (2, 2, 3, 4)}, ['seqgan.filter_widths', 'must rise']),
    ({'seqgan__baseline': 'mean'}, ['seqgan.baseline', 'position']),
    ({'seqgan__rows_per_epoch': 100}, ['seqgan.rows_per_epoch', 'seqgan.batch']),
    ({'seqgan__filters': (64,)}, ['seqgan.filter_widths', 'seqgan.filters']),
    ({'seqgan__filter_widths': (3, 4), 'seqgan__filters': (8, 8)}, ['seqgan.filter_widths']),
    ({'seqgan__filter_widths': (), 'seqgan__filters': ()}, ['seqgan.filter_widths']),
    (
      {'detector__autoencoder__loss': 'bce', 'detector__autoencoder__scale': 'ids'},
      ['detector.autoencoder.loss', 'detector.autoencoder.scale'],
    ),
    ({'protocol': 'fair'}, ['protocol', 'fair']),
    ({'leaks': 'label_routed'}, ['leaks', 'label_routed']),
    ({'split__by': 'hash'}, ['split.by', 'hash']),
  ],
)
def test_fields_that_do_not_fit_each_other_or_the_protocols_are_named(changes, names):
  message = message_of(resolve, config_of(**changes))
  assert all(name in message for name in names)


def test_every_checked_field_is_one_of_the_defaults_and_its_default_is_allowed():
  for schedule in default.SCHEDULES:
    config = default.get_config(schedule)
    fields = flatten(config.to_dict())
    numbers = {*POSITIVE, *NOT_NEGATIVE, *SHARES, *ABOVE_ZERO, *SIZES}
    assert {*CHOICES, *AUTO, *numbers} <= set(fields)
    check_values(config)
    for name, choices in CHOICES.items():
      assert fields[name] in choices


def test_every_size_and_learning_rate_is_checked():
  fields = flatten(default.get_config().to_dict())
  rates = {name for name in fields if name.endswith('learning_rate')}
  sizes = {name for name in fields if name.rsplit('.', 1)[-1].endswith(('hidden', 'embedding'))}
  assert len(rates) == len(sizes) == 4
  assert rates <= set(ABOVE_ZERO) and sizes <= set(POSITIVE)


def test_a_field_of_a_few_words_has_its_choices_checked():
  """Those without are free text, or checked where their meaning is."""
  words = {k for k, v in flatten(default.get_config().to_dict()).items() if isinstance(v, str)}
  elsewhere = {'protocol', 'leaks', 'split.by'} | {k for k in words if k.startswith('data.')}
  assert words == set(CHOICES) | elsewhere


def test_the_choices_of_similarity_are_those_of_the_code():
  assert CHOICES['oversampler.similarity'] == SIMILARITIES


def test_the_same_config_claims_a_workdir_twice(tmp_path):
  workdir = tmp_path / 'deep' / 'run'
  config, _ = resolve(config_of())
  claim_workdir(config, workdir)
  written = (workdir / 'config.json').read_bytes()
  claim_workdir(config, workdir)
  assert (workdir / 'config.json').read_bytes() == written
  decisive = {k: v for k, v in flatten(config.to_dict()).items() if not k.startswith('checkpoint.')}
  assert read_config(workdir) == decisive
  assert [path.name for path in workdir.iterdir()] == ['config.json']


def test_another_config_is_refused_with_the_fields_that_differ(tmp_path):
  claim_workdir(config_of(), tmp_path)
  message = message_of(claim_workdir, config_of(seed=3, detector__gru__hidden=7), tmp_path)
  assert str(tmp_path) in message
  assert 'detector.gru.hidden is 100 there and 7 here' in message
  assert 'seed is 0 there and 3 here' in message
  assert 'more' not in message and '--workdir' in message


def test_how_often_a_run_is_kept_may_change(tmp_path):
  claim_workdir(config_of(checkpoint__minutes=5.0), tmp_path)
  claim_workdir(config_of(checkpoint__minutes=0.5, checkpoint__epochs=3), tmp_path)
  digests = {config_digest(config_of(checkpoint__epochs=n)) for n in (0, 3)}
  assert len(digests) == 1 and config_digest(config_of(seed=1)) not in digests


def test_of_many_fields_that_differ_five_are_named_and_the_others_counted(tmp_path):
  """A field that only one side has differs too."""
  claim_workdir(config_of(), tmp_path)
  fields = read_config(tmp_path)
  for name in list(fields)[:7]:
    del fields[name]
  write_json(tmp_path / 'config.json', fields)
  message = message_of(claim_workdir, config_of(), tmp_path)
  assert message.count('there and') == 5 and ' and 2 more' in message


@pytest.mark.parametrize('name', ['file', 'file/below', 'x' * 300])
def test_a_workdir_that_cannot_be_written_is_named(tmp_path, name):
  (tmp_path / 'file').write_text('')
  message = message_of(claim_workdir, config_of(), tmp_path / name)
  assert f'--workdir={tmp_path / name}' in message


@pytest.mark.parametrize('content', [b'', b'{"seed": 0', b'[]', b'\xff\xfe', b'null'])
def test_a_damaged_config_file_is_named(tmp_path, content):
  (tmp_path / 'config.json').write_bytes(content)
  for call in (lambda: read_config(tmp_path), lambda: claim_workdir(config_of(), tmp_path)):
    assert str(tmp_path / 'config.json') in message_of(call)


def test_a_workdir_without_a_run_says_how_to_make_one(tmp_path):
  message = message_of(read_config, tmp_path / 'nothing')
  assert str(tmp_path / 'nothing') in message and '--mode=train' in message


def test_a_json_file_appears_whole_or_not_at_all(tmp_path):
  path = tmp_path / 'x.json'
  write_json(path, {'a': 1})
  for bad in (object(), float('nan'), float('inf')):
    with pytest.raises((TypeError, ValueError)):
      write_json(path, {'b': bad})
  assert json.loads(path.read_text()) == {'a': 1}
  assert [p.name for p in tmp_path.iterdir()] == ['x.json']


@given(
  st.recursive(
    st.integers() | st.text() | st.none() | st.tuples(st.integers(), st.integers()),
    lambda values: st.dictionaries(st.text('abc', min_size=1), values, min_size=1, max_size=3),
  )
)
@hypothesis_settings(max_examples=50)
def test_flattening_keeps_every_leaf_under_its_dotted_name(tree):
  flat = flatten({'root': tree})
  for name, value in flat.items():
    leaf = {'root': tree}
    for part in name.split('.'):
      leaf = leaf[part]
    assert value == (list(leaf) if isinstance(leaf, tuple) else leaf)
  assert json.loads(json.dumps(flat)) == flat

  def leaves(node) -> int:
    return sum(map(leaves, node.values())) if isinstance(node, dict) else 1

  assert len(flat) == leaves(tree)


@pytest.mark.parametrize('schedule', ['', 'quick', 'full'])
@pytest.mark.parametrize('name', NAMES)
def test_every_config_loads_with_every_schedule_and_has_the_fields_of_the_default(name, schedule):
  config = importlib.import_module(f'configs.{name}').get_config(schedule)
  expected = default.get_config(schedule)
  fields, usual = flatten(config.to_dict()), flatten(expected.to_dict())
  assert fields.keys() == usual.keys()
  assert name in ('default', fields['data.corpus'])
  resolve(config)


def test_an_unknown_schedule_is_refused_with_the_known_ones():
  with pytest.raises(ValueError, match="unknown schedule 'slow'.*full.*quick"):
    default.get_config('slow')


def test_the_full_schedule_is_the_published_one():
  """The settings of SeqGAN's published code, and the hidden size and batch of the paper."""
  seqgan = default.get_config('full').seqgan
  assert (seqgan.mle_epochs, seqgan.discriminator_rounds, seqgan.discriminator_epochs) == (
    120,
    50,
    3,
  )
  assert (seqgan.rounds, seqgan.g_steps, seqgan.d_steps, seqgan.rollouts) == (200, 1, 5, 16)
  assert (seqgan.hidden, seqgan.batch, sum(seqgan.filters)) == (30, 128, 1720)


def test_every_field_has_a_comment_above_it():
  """A field is an assignment to an attribute in a function that describes a part of the config."""
  source = Path(default.__file__).read_text()
  lines = source.splitlines()
  parts = [
    node
    for node in ast.parse(source).body
    if isinstance(node, ast.FunctionDef) and not node.name.startswith('_')
  ]
  names = {part.name for part in parts}
  fields = []
  for statement in (s for part in parts for s in part.body if isinstance(s, ast.Assign)):
    target, value = statement.targets[0], statement.value
    is_part = isinstance(value, ast.Call) and getattr(value.func, 'id', None) in names
    if isinstance(target, ast.Attribute) and not is_part:
      fields.append(target.attr)
      assert lines[statement.lineno - 2].strip().startswith('#'), f'{target.attr} has no comment'
  everywhere = {name.rsplit('.', 1)[-1] for name in flatten(default.get_config().to_dict())}
  assert set(fields) == everywhere
