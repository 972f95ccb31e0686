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
from logjax import detectors, examples
from logjax.command_line import ConfigFile
from logjax.errors import LogjaxError
from logjax.examples.protocol import LEAKS, protocol_of
from logjax.examples.similarity import SIMILARITIES
from logjax.files import write_json
from logjax.oversamplers import table
from logjax.run import FORMAT, claim_workdir, config_digest, read_config, reopen_run
from logjax.settings import RULES, check, flatten, resolve, unflatten

CONFIGS = Path(default.__file__).parent
BENCHMARKS = {'benchmark', 'oracle'}  # they run no experiment on logs and have fields of their own
# The rules of all modules together; the same field has the same rule in all of them.
ALL_RULES = RULES | table.RULES
for _name in detectors.names():
  _module = detectors.load(_name)
  ALL_RULES |= examples.load(_module.KIND).RULES | _module.RULES
AUTO = {name: rule.auto for name, rule in ALL_RULES.items() if rule.auto is not None}
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
  config = resolve(config_of(protocol=protocol, data__corpus=corpus))
  assert config.split.train == pytest.approx(train)
  assert config.split.valid == pytest.approx(valid)
  assert config.oversampler.sets == sets


@pytest.mark.parametrize(
  ('protocol', 'leaks', 'split_by', 'numbers', 'threshold'),
  [
    ('honest', set(), 'time', 'mask', 'valid_f1'),
    ('paper', set(LEAKS), 'random', 'keep', 'half'),
  ],
)
def test_a_protocol_decides_what_is_left_open(protocol, leaks, split_by, numbers, threshold):
  config = resolve(config_of(protocol=protocol))
  assert set(protocol_of(config).leaks) == leaks
  assert config.split.by == split_by
  assert config.text.numbers == numbers
  assert config.detector.threshold == threshold


@pytest.mark.parametrize('name', AUTO)
def test_every_open_field_has_the_papers_reading_and_an_honest_one(name):
  literal, honest = AUTO[name]
  for protocol, expected in (('paper', literal), ('honest', honest)):
    resolved = flatten(resolve(config_of(protocol=protocol)).to_dict())
    assert resolved[name] == expected
    check(set_to(name, expected), ALL_RULES)
  assert flatten(default.get_config().to_dict())[name] in ('auto', None)


@pytest.mark.parametrize(
  ('protocol', 'corpus', 'labels'),
  [('paper', 'openstack', 'file'), ('honest', 'openstack', 'instance'), ('paper', 'bgl', 'auto')],
)
def test_openstack_is_labelled_by_file_in_the_paper_only(protocol, corpus, labels):
  config = resolve(config_of(protocol=protocol, data__corpus=corpus))
  assert config.data.labels == labels


@pytest.mark.parametrize('protocol', ['honest', 'paper'])
@pytest.mark.parametrize('schedule', sorted(default.SCHEDULES))
def test_nothing_but_the_count_of_rows_is_left_open(protocol, schedule):
  """The count depends on the corpus; 'auto' labels are the corpus' own."""
  config = default.get_config(schedule)
  config.protocol = protocol
  resolved = flatten(resolve(config).to_dict())
  none = {name for name, value in resolved.items() if value is None}
  assert none == {'oversampler.count', 'detector.tfidf_lr.c'}
  assert [name for name, value in resolved.items() if value == 'auto'] == ['data.labels']


@pytest.mark.parametrize('protocol', ['honest', 'paper'])
def test_what_is_set_stays_whatever_the_protocol(protocol):
  chosen = {'split.train': 0.3, 'split.valid': 0.1, 'oversampler.sets': 3, 'data.labels': 'column'}
  chosen |= {name: values[protocol == 'paper'] for name, values in AUTO.items()}
  config = config_of(protocol=protocol, data__corpus='openstack')
  config.update_from_flattened_dict(chosen)
  fields = flatten(resolve(config).to_dict())
  assert {name: fields[name] for name in chosen} == chosen


def test_a_random_split_is_named_among_the_leaks():
  config = resolve(config_of(split__by='random'))
  assert config.split.by == 'random'
  assert set(protocol_of(config).leaks) == {'random_split', 'duplicates_across_split'}
  config = resolve(config_of(leaks='random_split'))
  assert config.split.by == 'text' and protocol_of(config).leaks == ('random_split',)


def test_resolving_leaves_the_given_config_as_it_was_and_can_be_repeated():
  config = config_of(protocol='paper').lock()
  before = config.to_json()
  once = resolve(config)
  assert config.to_json() == before and config.is_locked
  assert resolve(once).to_dict() == once.to_dict()


def wrong_values(meaning: str) -> tuple:
  """Values that a rule of some meaning refuses."""
  if meaning.startswith('one of'):
    return ('nonsense',)
  if meaning.startswith('at least'):
    return (float(meaning.split()[-1]) - 1, -7)
  if meaning.startswith('whole numbers'):
    return ((), (0, 1), (-1,), (2.5,), ('a',))
  if meaning == f'from 0 to {2**32 - 1}':
    return (-1, 2**32)
  return {
    'above 0': (0, -1),
    'above 0 and at most 1': (0, 1.1),
    'from 0 to 1': (-0.1, 1.1),
    'True or False': (),
  }[meaning]


@pytest.mark.parametrize('name', ALL_RULES)
def test_a_value_that_its_rule_refuses_is_answered_with_the_field(name):
  config, rule = default.get_config(), ALL_RULES[name]
  value = flatten(config.to_dict())[name]
  for wrong in wrong_values(rule.meaning):
    if type(value) is int or name in ('oversampler.count', 'oversampler.sets'):
      wrong = int(wrong)
    message = message_of(check, set_to(name, wrong), ALL_RULES)
    assert message.startswith(f'--config.{name}=') and rule.meaning in message


def test_every_rule_is_of_a_field_and_allows_its_default():
  for schedule in default.SCHEDULES:
    config = default.get_config(schedule)
    assert ALL_RULES.keys() <= flatten(config.to_dict()).keys()
    check(config, ALL_RULES)


def test_every_field_has_a_rule_but_free_text_and_plain_switches():
  fields = flatten(default.get_config().to_dict())
  free = {'protocol', 'leaks', 'split.by', 'split.train', 'split.valid', 'detector.name'}
  free |= {name for name in fields if name.startswith(('data.', 'compare.'))}
  assert fields.keys() - ALL_RULES.keys() <= free


@pytest.mark.parametrize(
  ('detector', 'field'), [('tfidf_lr', 'gru.hidden'), ('unseen', 'autoencoder.batch')]
)
def test_the_rules_of_detectors_that_are_not_used_do_not_apply(detector, field):
  config = config_of(detector__name=detector)
  config.update_from_flattened_dict({f'detector.{field}': 0})
  resolve(config)


@pytest.mark.parametrize(
  ('oversampler', 'field', 'value'),
  [
    ('none', 'random_forest.trees', 0),
    ('none', 'tfidf_lr.c', -1.0),
    ('smote', 'autoencoder.batch', 0),
  ],
)
def test_the_rules_of_baselines_and_of_smotes_autoencoder_apply(oversampler, field, value):
  config = config_of(detector__name='unseen', oversampler__name=oversampler)
  config.update_from_flattened_dict({f'detector.{field}': value})
  assert f'detector.{field}' in message_of(resolve, config)


def test_an_unknown_detector_is_answered_with_all_of_them():
  message = message_of(resolve, config_of(detector__name='nonsense'))
  assert "unknown detector 'nonsense'" in message
  assert all(name in message for name in ('autoencoder_gru', 'gru', 'tfidf_lr', 'unseen'))


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
    ({'protocol': 'fair'}, ['protocol', 'fair']),
    ({'leaks': 'label_routed'}, ['leaks', 'label_routed']),
    ({'split__by': 'hash'}, ['split.by', 'hash']),
  ],
)
def test_fields_that_do_not_fit_each_other_or_the_protocols_are_named(changes, names):
  message = message_of(resolve, config_of(**changes))
  assert all(name in message for name in names)


def test_the_choices_of_similarity_are_those_of_the_code():
  assert all(map(table.RULES['oversampler.similarity'].holds, SIMILARITIES))


def test_the_same_config_claims_a_workdir_twice(tmp_path):
  workdir = tmp_path / 'deep' / 'run'
  config = resolve(config_of())
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
  write_json(tmp_path / 'config.json', {'format': FORMAT} | fields)
  message = message_of(claim_workdir, config_of(), tmp_path)
  assert message.count('there and') == 5 and ' and 2 more' in message


@pytest.mark.parametrize('name', ['file', 'file/below', 'x' * 300])
def test_a_workdir_that_cannot_be_written_is_named(tmp_path, name):
  (tmp_path / 'file').write_text('')
  message = message_of(claim_workdir, config_of(), tmp_path / name)
  assert f'--workdir={tmp_path / name}' in message


@pytest.mark.parametrize(
  'content', [b'', b'{"seed": 0', b'[]', b'\xff\xfe', b'null', b'{"format": "2"}']
)
def test_a_damaged_config_file_is_named(tmp_path, content):
  (tmp_path / 'config.json').write_bytes(content)
  for call in (lambda: read_config(tmp_path), lambda: claim_workdir(config_of(), tmp_path)):
    assert str(tmp_path / 'config.json') in message_of(call)


@pytest.mark.parametrize(
  ('content', 'age'), [('{"seed": 0}', 'older'), ('{"format": 99}', 'newer')]
)
def test_a_workdir_of_another_version_is_refused(tmp_path, content, age):
  (tmp_path / 'config.json').write_text(content)
  for call in (lambda: read_config(tmp_path), lambda: claim_workdir(config_of(), tmp_path)):
    assert f'{age} version' in message_of(call)


def test_a_workdir_of_the_oracle_is_not_opened_as_a_run(tmp_path):
  (tmp_path / 'config.json').write_text('{"format": 2, "seed": 0}')
  assert 'configs/oracle.py' in message_of(reopen_run, tmp_path, tmp_path / 'cache')


@pytest.mark.parametrize(
  ('source', 'parts'),
  [
    ('import nonsense_module', ['ModuleNotFoundError', 'nonsense_module', 'line 1']),
    ('def get_config():\n  return 1 / 0', ['ZeroDivisionError', 'line 2']),
    ('def get_config():\n  return 1', ['AttributeError']),
  ],
)
def test_a_config_file_that_raises_is_one_line(tmp_path, source, parts):
  (tmp_path / 'mine.py').write_text(source)
  with pytest.raises(ValueError) as raised:
    ConfigFile().parse(str(tmp_path / 'mine.py'))
  message = str(raised.value)
  assert '\n' not in message and all(part in message for part in parts)


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
@hypothesis_settings(max_examples=50, deadline=None)
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


def test_a_configuration_from_its_flat_fields_is_the_same():
  config = resolve(config_of(protocol='paper'))
  flat = json.loads(json.dumps(flatten(config.to_dict())))
  assert unflatten(flat).to_dict() == config.to_dict()
