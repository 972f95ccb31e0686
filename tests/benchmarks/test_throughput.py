"""The throughput benchmark: its counts, its floor, its clock, and a tiny run of all of it."""

import io
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiling import compiled_fast

from configs import benchmark as benchmark_config
from logjax.benchmarks import floor, measuring, throughput
from logjax.benchmarks.calls import Case
from logjax.benchmarks.floor import Work, floor_seconds
from logjax.benchmarks.workload import (
  Workload,
  count_rollouts,
  count_tokens,
  create_state,
  synthetic,
)
from logjax.corpora.simulated.simulate import simulate
from logjax.errors import LogjaxError
from logjax.seqgan.critics import make_sentence_critic
from logjax.seqgan.fit import make_model
from logjax.seqgan.rollout import scan_prefixes
from logjax.seqgan.sampling import make_policy, next_token

FIELDS = {
  'name',
  'workload',
  'vocab',
  'discriminator',
  'devices',
  'share_equal_prefixes',
  'seconds',
  'best',
  'cpu_seconds',
  'tokens_per_second',
  'rows_per_second',
  'peak_memory_mb',
  'share_of_floor',
}
ROLLOUTS = 3
# Two sentences begin alike, two are equal, one is empty, and some end before their last token.
SENTENCES = np.array(
  [
    [1, 2, 3, 4, 1],
    [1, 2, 4, 0, 0],
    [1, 2, 4, 0, 0],
    [0, 0, 0, 0, 0],
    [3, 3, 3, 3, 3],
    [2, 0, 0, 0, 0],
  ]
)


@pytest.fixture(scope='module', autouse=True)
def compile_quickly():
  """These programs are tiny: most of their time is compilation."""
  with compiled_fast():
    yield


def tiny_config():
  config = benchmark_config.get_config()
  config.devices = 2
  config.seqgan.update(
    {
      'embedding': 4,
      'hidden': 4,
      'batch': 4,
      'rows_per_epoch': 8,
      'rollouts': ROLLOUTS,
      'rollout_block': 1,
      'discriminator_embedding': 4,
    }
  )
  config.discriminators.small.update({'filter_widths': (1, 2), 'filters': (3, 3)})
  config.benchmark.update(
    {
      'vocabularies': (6,),
      'length': 5,
      'discriminators': ('small',),
      'sentences': 6,
      'mle_rows': 9,
      'warm_up': 1,
      'blocks': 1,
      'mle_epochs': 1,
    }
  )
  return config


def model_and_state(workload: Workload, share: bool = False):
  seqgan = tiny_config().seqgan
  seqgan.update({'filter_widths': (1, 2), 'filters': (3, 3), 'share_equal_prefixes': share})
  model = make_model(seqgan, workload.vocabulary, workload.length)
  return model, create_state(model, workload, jax.random.key(0))


def only(*tokens: int) -> Workload:
  """Rows of five tokens, of which the generator writes some alone."""
  allowed = np.full((1, 5), -np.inf, np.float32)
  allowed[:, list(tokens)] = 0
  return Workload('real', SENTENCES.astype(np.int32), allowed)


def prefixes(share: bool) -> list[tuple[int, ...]]:
  """The prefixes of SENTENCES that have to be finished."""
  each = [
    tuple(row[:t]) for row in SENTENCES for t in range(1, len(row)) if 0 not in row[:t].tolist()
  ]
  return sorted(set(each)) if share else each


def counted(workload: Workload, share: bool):
  model, state = model_and_state(workload, share)
  keys = jax.random.split(jax.random.key(1), (1, len(SENTENCES)))
  return count_rollouts(model, state, jnp.asarray(SENTENCES)[None], keys)


def test_the_tokens_of_a_row_are_those_up_to_the_padding_that_ends_it():
  assert count_tokens(np.array([1, 2, 0, 0])) == 3
  assert count_tokens(np.array([0, 0, 0, 0])) == 1
  assert count_tokens(np.array([1, 2, 3, 4])) == 4
  assert count_tokens(SENTENCES) == 5 + 4 + 4 + 1 + 5 + 2


@pytest.mark.parametrize('share', [False, True])
def test_rollouts_that_never_end_draw_all_that_a_prefix_lacks(share):
  tokens, sentences = counted(only(1, 2, 3, 4), share)
  assert tokens == ROLLOUTS * sum(5 - len(prefix) for prefix in prefixes(share))
  assert sentences == ROLLOUTS * len(prefixes(share))


@pytest.mark.parametrize('share', [False, True])
def test_rollouts_that_end_at_once_draw_one_token_each(share):
  tokens, sentences = counted(only(0), share)
  assert tokens == sentences == ROLLOUTS * len(prefixes(share))


def test_rollouts_that_end_somewhere_are_counted_as_a_loop_over_them_counts():
  model, state = model_and_state(only(0, 1, 2))
  policy = make_policy(
    model.generator, jax.tree.map(lambda x: x[0], state.rollout), state.allowed[0]
  )
  critic = make_sentence_critic(5, jnp.sum)
  step = jax.jit(lambda h, token, u: next_token(policy, h, token, u, jnp.bool_(False)))
  keep = jax.jit(lambda row: scan_prefixes(policy, critic, row))
  uniforms = jax.jit(
    lambda key, t, n: jax.random.uniform(jax.random.fold_in(jax.random.fold_in(key, t), n), (5,))
  )
  keys, drawn = jax.random.split(jax.random.key(1), len(SENTENCES)), []
  for row, key in zip(SENTENCES, keys, strict=True):
    kept = keep(jnp.asarray(row))
    for t in [t for t in range(1, 5) if 0 not in row[:t].tolist()]:
      for n in range(ROLLOUTS):
        h, token, count = kept.h[t - 1], kept.token[t - 1], 0
        for u in uniforms(key, t, n)[t:]:
          h, token = step(h, token, u)
          count += 1
          if token == 0:
            break
        drawn.append(count)
  assert len(set(drawn)) > 2
  assert counted(only(0, 1, 2), share=False) == (sum(drawn), len(drawn))


def test_calls_on_rows_without_ends_have_the_tokens_of_equation_4():
  workload = synthetic(6, 5, 9, seed=0)
  model, state = model_and_state(workload)
  case = Case(model, state, workload, 4, 6, 9, jax.random.key(2))
  made = {name: call(case) for name, call in throughput.CALLS.items()}
  finished, drawn = ROLLOUTS * 4 * 4, ROLLOUTS * 4 * 5 * 4 // 2
  assert {name: (call.rows, call.tokens) for name, call in made.items()} == {
    'sample': (6, 6 * 5),
    'rollouts': (4, drawn),
    'rewards': (4, drawn),
    'generator_step': (4, 4 * 5 + drawn),
    'discriminator_step': (4, 4 * 5),
    'mle_epoch': (8, 8 * 5),
  }
  assert {name: call.work for name, call in made.items()} == {
    'sample': Work(drawn=6 * 5),
    'rollouts': Work(drawn=drawn),
    'rewards': Work(drawn=drawn, scored=finished + 4),
    'generator_step': Work(drawn=20 + drawn, learned=20, scored=finished + 4),
    'discriminator_step': Work(taught=4),
    'mle_epoch': Work(learned=40),
  }


def test_a_synthetic_row_has_no_end():
  workload = synthetic(6, 5, 200, seed=0)
  assert set(np.unique(workload.rows)) == {1, 2, 3, 4, 5}
  assert np.isneginf(workload.allowed[0, 0]) and not workload.allowed[0, 1:].any()


def test_the_floor_has_the_products_that_it_names_and_hardly_anything_else():
  # So large that the products outweigh all else.
  hidden, vocabulary, features, embedding, lanes = 64, 256, 64, 16, 100
  workload = synthetic(vocabulary, 5, 4, seed=0)
  seqgan = tiny_config().seqgan
  seqgan.update({'hidden': hidden, 'discriminator_embedding': embedding})
  seqgan.update({'filter_widths': (1, 2), 'filters': (32, 32)})
  model = make_model(seqgan, vocabulary, 5)
  state = create_state(model, workload, jax.random.key(0))
  generator = 2 * lanes * hidden * (3 * hidden + vocabulary)
  highway = 2 * lanes * 2 * features * features
  least = {
    'drawn': generator,
    'learned': 3 * generator,
    'scored': highway,
    'taught': 3 * highway,
  }

  def flops(unit) -> float:
    def run(state, carry):
      return unit(model, state, lanes)[0](carry)

    start = unit(model, state, lanes)[1]
    jax.config.update('jax_disable_most_optimizations', False)  # those are what could do it
    try:
      return jax.jit(run).lower(state, start).compile().cost_analysis()['flops']
    finally:
      jax.config.update('jax_disable_most_optimizations', True)

  units = dict(zip(Work._fields, floor.UNITS, strict=True))
  for kind, count in least.items():
    assert count <= flops(units[kind]) < 1.3 * count, kind


def test_no_work_takes_no_time_and_more_of_it_takes_more(monkeypatch):
  monkeypatch.setattr(floor, '_seconds_each', lambda unit, *_: 1 + floor.UNITS.index(unit))
  model, state = model_and_state(synthetic(6, 5, 4, seed=0))
  assert floor_seconds(model, state, Work(), 1) == 0
  assert floor_seconds(model, state, Work(drawn=10, scored=2), 1) == 10 * 1 + 2 * 3


class Clock:
  """Time that passes only in calls."""

  def __init__(self, *seconds: float):
    self.now, self.calls, self.seconds = 0.0, 0, seconds

  def perf_counter(self) -> float:
    return self.now

  def call(self) -> None:
    self.now += self.seconds[min(self.calls, len(self.seconds) - 1)]
    self.calls += 1


@pytest.mark.parametrize(
  ('seconds', 'blocks', 'calls'),
  [
    ((9.0, 0.5), 5, 2 + 5),  # the first call, which is slow, is not counted
    ((9.0, 0.04), 5, 2 + 5 * 3),  # a block has three calls that are short
    ((9.0, 8.0), 4, 2 + 4),  # none begins after 30 seconds
    ((9.0, 100.0), 3, 2 + 3),  # but three there are
  ],
)
def test_blocks_are_as_many_and_as_long_as_told(monkeypatch, seconds, blocks, calls):
  clock = Clock(*seconds)
  monkeypatch.setattr(measuring, 'time', clock)
  settings = benchmark_config.benchmark()
  found = measuring.time_blocks(clock.call, settings)
  assert found == pytest.approx([seconds[1]] * blocks)
  assert clock.calls == calls


def test_the_peak_of_memory_is_that_since_watching_began():
  peak = measuring.watch_memory(1)
  if peak() is None:
    pytest.skip('the peak of a process cannot be reset here')
  before = peak()
  np.ones(25 * 10**6).sum()  # 200 MB
  assert 190 < peak() - before < 300
  assert measuring.watch_memory(1)() < before + 100


@pytest.fixture(scope='module')
def lines(tmp_path_factory) -> list[dict]:
  """A run of everything on one and two devices, and one of some of it on a simulated log."""
  made = tiny_config()
  logged = tiny_config()
  logged.devices = 1
  logged.benchmark.vocabularies = ()
  logged.benchmark.names = ('rollouts', 'sample')
  logged.benchmark.log = str(simulate('bgl', 200, 0, tmp_path_factory.mktemp('log'))[0])
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(jax, 'clear_caches', lambda: None)
    patch.setattr(measuring, '_MIN_BLOCK_SECONDS', 0.0)
    patch.setattr(floor, '_MIN_SECONDS', 0.0)
    return [*throughput.run(made), *throughput.run(logged)]


def test_every_line_has_all_fields_and_is_json(lines):
  for line in lines:
    assert set(line) == FIELDS
    assert json.loads(json.dumps(line, allow_nan=False)) == line
    assert 0 < line['best'] <= line['seconds'] and line['cpu_seconds'] > 0
    assert line['tokens_per_second'] > 0 and line['rows_per_second'] > 0
    assert line['share_of_floor'] > 0
    assert line['peak_memory_mb'] is None or line['peak_memory_mb'] > 10


def test_everything_is_measured_on_one_and_on_all_devices(lines):
  told = ('name', 'discriminator', 'share_equal_prefixes', 'devices')
  found = [
    tuple(line[field] for field in told) for line in lines if line['workload'] == 'synthetic'
  ]
  assert found == [
    (name, discriminator, share, devices)
    for name, discriminator, share in (
      ('sample', None, None),
      ('rollouts', None, False),
      ('rewards', 'small', False),
      ('generator_step', 'small', False),
      ('discriminator_step', 'small', None),
      ('mle_epoch', None, None),
    )
    for devices in (1, 2)
  ]


def test_rows_of_a_log_are_measured_with_and_without_sharing(lines):
  real = [line for line in lines if line['workload'] == 'real']
  assert [(line['name'], line['share_equal_prefixes']) for line in real] == [
    ('rollouts', False),
    ('rollouts', True),
    ('sample', None),
  ]


def test_the_table_has_every_line_in_full(lines):
  file = io.StringIO()
  throughput.print_table(lines, file)
  rows = [row for row in file.getvalue().splitlines() if row.startswith('│')]
  assert len(rows) == len(lines)
  for row, line in zip(rows, lines, strict=True):
    cells = [cell.strip() for cell in row.strip('│').split('│')]
    assert cells[:2] == [line['name'], line['workload']]
    assert cells[9] == f'{line["tokens_per_second"]:,}'
  assert '…' not in file.getvalue()


@pytest.mark.parametrize(
  ('field', 'value', 'part'),
  [
    ('benchmark.names', ('sample', 'rolouts'), "'rolouts' is none of sample, rollouts"),
    ('benchmark.discriminators', ('huge',), "'huge' is none of seqgan, small"),
    ('benchmark.discriminators', (), 'must name one'),
    ('benchmark.log_format', 'syslog', "'syslog' is none of bgl"),
    ('benchmark.log', 'no.log', 'no.log is no file'),
    ('benchmark.vocabularies', (1,), 'at least 2'),
    ('benchmark.mle_rows', 3, 'benchmark.mle_rows=3 must be at least 4'),
    ('benchmark.blocks', 0, 'benchmark.blocks=0 must be at least 1'),
    ('seqgan.rollouts', 0, 'seqgan.rollouts=0 must be at least 1'),
    ('seqgan.cell', 'rnn', "'rnn' must be one of gru, lstm"),
    ('seqgan.hidden', 0, 'seqgan.hidden=0 must be at least 1'),
    ('seed', -1, 'seed=-1 must be from 0'),
    ('seqgan.rows_per_epoch', 7, 'must be a multiple of seqgan.batch'),
    ('discriminators.small.filters', (3,), 'must have equal lengths'),
    ('discriminators.small.filter_widths', (2, 1), 'discriminators.small.filter_widths=(2, 1)'),
    ('benchmark.names', (), 'must name one'),
    ('benchmark.vocabularies', (), 'nothing to measure'),
  ],
)
def test_a_wrong_setting_is_told_in_one_line(field, value, part):
  config = tiny_config()
  config.update_from_flattened_dict({field: value})
  with pytest.raises(LogjaxError) as error:
    next(throughput.run(config))
  assert part in str(error.value) and '\n' not in str(error.value)


def test_a_log_without_abnormal_lines_is_told_in_one_line(tmp_path):
  config = tiny_config()
  log = simulate('bgl', 200, 0, tmp_path)[0]
  normal = [line for line in log.read_text().splitlines(True) if line.startswith('- ')]
  (tmp_path / 'normal.log').write_text(''.join(normal))
  config.benchmark.vocabularies = ()
  config.benchmark.log = str(tmp_path / 'normal.log')
  with pytest.raises(LogjaxError, match='normal.log has no line labelled abnormal'):
    next(throughput.run(config))
