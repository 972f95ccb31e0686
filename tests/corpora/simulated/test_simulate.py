"""The embedded corpora: formats, shares, order, and that no single word gives the label away."""

import re
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from logjax.corpora.catalog import CATALOG
from logjax.corpora.simulated import bgl, openstack, rendering, simulate, thunderbird
from logjax.errors import LogjaxError

LINES = 33_000
ALERT_CORPORA = ('bgl', 'thunderbird')
GRAMMARS = {'bgl': bgl, 'thunderbird': thunderbird}
HEADERS = {
  'bgl': (
    r'(?<label>-|[A-Z0-9_]+) (?<epoch>\d{10}) \d{4}\.\d\d\.\d\d (?<node>NULL|R\d\d-M\d\S*) '
    r'\d{4}-\d\d-\d\d-\d\d\.\d\d\.\d\d\.\d{6} (?<again>\S+) RAS '
    r'(?:KERNEL|APP|LINKCARD|DISCOVERY|HARDWARE|MONITOR|MMCS) '
    r'(?<level>INFO|WARNING|ERROR|SEVERE|FATAL|FAILURE) '
  ),
  'thunderbird': (
    r'(?<label>-|[A-Z0-9_]+) (?<epoch>\d{10}) \d{4}\.\d\d\.\d\d (?<node>\S+) [A-Z][a-z]{2} \d{1,2} '
    r'\d\d:\d\d:\d\d (?:src@|local@|[^/@ ]+/)(?<again>\S+) '
  ),
  'openstack': (
    r'nova-(?:api|compute|scheduler)\.log\S+ (?<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}) \d+ '
    r'(?<level>INFO|WARNING|ERROR) nova\.\S+ '
    r'\[(?:-|req-[0-9a-f-]{36} (?:- -|[0-9a-f]{32} [0-9a-f]{32}) - - -)\] '
  ),
}


def read(corpus: str, paths: tuple[Path, ...]) -> pl.DataFrame:
  """Lines [N] with the groups of the header, the message, and whether each is abnormal."""
  frames = []
  for path in paths:
    lines = pl.Series('line', path.read_text('utf-8').split('\n')[:-1])
    pattern = f'^{HEADERS[corpus]}(?<message>[^ ].*)$'
    frame = lines.to_frame().with_columns(pl.col('line').str.extract_groups(pattern)).unnest('line')
    by_file = pl.lit('abnormal' in path.name)
    abnormal = by_file if corpus == 'openstack' else pl.col('label') != '-'
    frames.append(frame.with_columns(abnormal=abnormal))
  return pl.concat(frames)


@pytest.fixture(scope='module')
def paths(tmp_path_factory) -> dict[str, tuple[Path, ...]]:
  folder = tmp_path_factory.mktemp('simulated')
  return {corpus: simulate.simulate(corpus, LINES, 0, folder) for corpus in HEADERS}


@pytest.fixture(scope='module')
def frames(paths) -> dict[str, pl.DataFrame]:
  return {corpus: read(corpus, files) for corpus, files in paths.items()}


def messages(kinds: dict[str, tuple]) -> list[str]:
  return [kind[-1] for era in kinds.values() for kind in era]


def as_pattern(template: str) -> str:
  """A regular expression that fits the lines of a message template."""
  return '^' + re.sub(r'\\\{\w+\\\}', '.+?', re.escape(template)) + '$'


def best_word_f1(texts: pl.Series, abnormal: pl.Series) -> tuple[float, str]:
  """The best F1 for abnormal that one word reaches by its presence or by its absence."""
  rows, positives = len(texts), int(abnormal.sum())
  seen = pl.DataFrame({'row': range(rows), 'abnormal': abnormal, 'word': texts})
  seen = seen.with_columns(pl.col('word').str.to_lowercase().str.extract_all('[a-z]+'))
  counts = (
    seen.explode('word')
    .unique(['row', 'word'])
    .group_by('word')
    .agg(hits=pl.col('abnormal').sum().cast(pl.Int64), lines=pl.len().cast(pl.Int64))
    .with_columns(
      present=2 * pl.col('hits') / (pl.col('lines') + positives),
      absent=2 * (positives - pl.col('hits')) / (rows - pl.col('lines') + positives),
    )
    .with_columns(f1=pl.max_horizontal('present', 'absent'))
    .sort('f1', descending=True)
  )
  return counts['f1'][0], counts['word'][0]


def test_the_word_test_finds_a_word_that_gives_the_label_away():
  texts = pl.Series(['job lost', 'job lost', 'job done', 'job ran'])
  assert best_word_f1(texts, pl.Series([True, True, False, False])) == (1.0, 'lost')
  assert best_word_f1(pl.Series(['a b', 'a', 'a b']), pl.Series([False, True, False])) == (1, 'b')


@pytest.mark.parametrize('corpus', HEADERS)
def test_every_line_fits_the_published_format(corpus, frames):
  frame = frames[corpus]
  assert frame.height == LINES
  assert frame['message'].null_count() == 0
  assert frame.filter(pl.col('message').str.contains(r'[{}]')).is_empty()
  if corpus in ALERT_CORPORA:
    assert (frame['node'] == frame['again']).all()


@pytest.mark.parametrize('corpus', HEADERS)
def test_class_shares_are_the_papers_within_two_percent(corpus, frames):
  published = {'bgl': 348_460 / 4_747_963, 'thunderbird': 1 / 11, 'openstack': 18_434 / 155_508}
  assert CATALOG[corpus].abnormal_share == pytest.approx(published[corpus])
  assert frames[corpus]['abnormal'].mean() == pytest.approx(published[corpus], rel=0.02)


@pytest.mark.parametrize('corpus', HEADERS)
def test_time_never_falls_within_a_file(corpus, paths):
  for path in paths[corpus]:
    frame = read(corpus, (path,))
    times = frame['epoch'].cast(pl.Int64) if corpus in ALERT_CORPORA else frame['time']
    assert times.is_sorted()
    assert times.n_unique() > 100


@pytest.mark.parametrize('corpus', ALERT_CORPORA)
def test_the_shown_time_is_the_epoch_in_the_machines_time_zone(corpus, paths):
  grammar = GRAMMARS[corpus]
  dates = {
    'bgl': (
      r'\d (\d{4}-\d\d-\d\d-\d\d\.\d\d\.\d\d)|- \d{10} \S+ \S+ (\S{19})',
      '%Y-%m-%d-%H.%M.%S',
    ),
    'thunderbird': (r'\d{10} (\d{4})\S+ \S+ (\S+ \S+ \S+)', '%Y %b %d %H:%M:%S'),
  }
  pattern, time_format = dates[corpus]
  for line in paths[corpus][0].read_text().splitlines()[::3000]:
    shown = ' '.join(group for group in re.search(pattern, line).groups() if group)
    seconds = int(line.split(' ')[1]) + 3600 * grammar.UTC_OFFSET_HOURS
    assert time.strftime(time_format, time.gmtime(seconds)) == re.sub(r' (\d) ', r' 0\1 ', shown)


def test_openstacks_two_files_cover_the_same_hours(paths):
  spans = [read('openstack', (path,))['time'].str.to_datetime() for path in paths['openstack']]
  normal, abnormal = (times.max() - times.min() for times in spans)
  assert abnormal / normal == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize('corpus', HEADERS)
def test_equal_seeds_give_equal_bytes_and_others_do_not(corpus, paths, tmp_path):
  for seed, equal in ((0, True), (1, False)):
    again = simulate.simulate(corpus, LINES, seed, tmp_path / str(seed))
    for path, other in zip(paths[corpus], again, strict=True):
      assert path.name == other.name
      assert (path.read_bytes() == other.read_bytes()) is equal


def test_a_file_of_several_blocks_is_whole_and_in_order(tmp_path, monkeypatch):
  monkeypatch.setattr(rendering, '_BLOCK', 700)
  frame = read('bgl', simulate.simulate('bgl', 2000, 3, tmp_path))
  assert frame.height == 2000
  assert frame['message'].null_count() == 0
  assert frame['epoch'].cast(pl.Int64).is_sorted()
  assert frame['abnormal'].sum() == round(2000 * CATALOG['bgl'].abnormal_share)


@pytest.mark.parametrize('corpus', ALERT_CORPORA)
def test_most_messages_are_short_and_a_few_are_longer_than_forty_words(corpus, frames):
  length = frames[corpus]['message'].str.split(' ').list.len()
  assert ((length >= 3) & (length <= 25)).mean() > 0.95
  assert 0 < (length > 40).mean() < 0.03


@pytest.mark.parametrize('corpus', ALERT_CORPORA)
def test_kinds_of_an_era_occur_in_that_part_of_the_file_only(corpus, frames):
  grammar, frame = GRAMMARS[corpus], frames[corpus].with_row_index('rank')
  for kinds in (grammar.NORMAL, grammar.ABNORMAL):
    for era, first, last in (('early', 0, LINES / 2), ('late', LINES * 2 / 3, LINES)):
      for *_, message in kinds[era]:
        ranks = frame.filter(pl.col('message').str.contains(as_pattern(message)))['rank']
        assert ranks.is_empty() or (ranks.min() >= first and ranks.max() < last), message


@pytest.mark.parametrize('corpus', ALERT_CORPORA)
def test_almost_all_kinds_occur_and_their_frequencies_are_skewed(corpus, frames):
  frame = frames[corpus]
  for kinds, abnormal in ((GRAMMARS[corpus].NORMAL, False), (GRAMMARS[corpus].ABNORMAL, True)):
    texts = frame.filter(pl.col('abnormal') == abnormal)['message']
    counts = [texts.str.contains(as_pattern(message)).sum() for message in messages(kinds)]
    assert sum(counts) == len(texts)
    assert np.mean(np.array(counts) > 0) >= 0.9
    assert max(counts) > 5 * np.median(counts)


@pytest.mark.parametrize('corpus', ALERT_CORPORA)
def test_abnormal_lines_come_in_bursts_of_one_node(corpus, frames):
  frame = frames[corpus].filter('abnormal').with_columns(pl.col('epoch').cast(pl.Int64))
  same = (frame['node'] == frame['node'].shift()) & (frame['label'] == frame['label'].shift())
  assert same.mean() > 0.5
  assert frame['epoch'].diff().filter(same).median() <= 2


@pytest.mark.parametrize('corpus', ALERT_CORPORA)
@pytest.mark.parametrize('lines', [200, 1000, LINES])
def test_each_side_of_a_chronological_split_has_abnormal_lines(corpus, lines, tmp_path):
  for seed in range(5 if lines < LINES else 1):
    abnormal = read(corpus, simulate.simulate(corpus, lines, seed, tmp_path))['abnormal']
    for begin, end in ((0, 0.6), (0.6, 0.8), (0.8, 1)):
      assert abnormal[int(begin * lines) : int(end * lines)].any()


def test_each_side_of_openstacks_chronological_split_has_a_fault(frames):
  frame = frames['openstack'].sort('time', maintain_order=True)
  injected = frame['message'].str.contains_any(list(openstack.FAULTS))
  assert 0.005 < injected.mean() < 0.02
  for begin, end in ((0, 0.6), (0.6, 0.8), (0.8, 1)):
    part = slice(int(begin * LINES), int(end * LINES))
    assert injected[part].any()
    assert frame['abnormal'][part].any()


def test_only_the_injected_instances_have_the_differing_kinds(frames):
  texts = frames['openstack']['message']
  injected = texts.str.contains_any(list(openstack.FAULTS))
  ordinary = {message for _, message in (*openstack.SERVICES, *openstack.LIFE)}
  steps = {message for fault in openstack.FAULTS.values() for _, message in fault}
  assert not (injected & ~frames['openstack']['abnormal']).any()
  for message in steps - ordinary:
    found = texts.str.contains(as_pattern(message))
    assert found.any()
    assert not (found & ~injected).any()


@pytest.mark.parametrize('corpus', HEADERS)
def test_no_single_word_gives_the_label_away(corpus, frames):
  frame = frames[corpus]
  texts = frame['message'] if corpus == 'thunderbird' else frame['level'] + ' ' + frame['message']
  f1, word = best_word_f1(texts, frame['abnormal'])
  assert f1 < 0.6, word
  if corpus == 'openstack':
    # The instance's id is the label itself, so it is left out.
    injected = texts.str.contains_any(list(openstack.FAULTS))
    f1, word = best_word_f1(texts.str.replace_all('[0-9a-f-]{36}', ''), injected)
    assert f1 < 0.6, word


@pytest.mark.parametrize('corpus', HEADERS)
@pytest.mark.parametrize('lines', [50, 200])
def test_a_tiny_corpus_has_both_classes(corpus, lines, tmp_path):
  frame = read(corpus, simulate.simulate(corpus, lines, 1, tmp_path))
  assert frame.height == lines
  assert frame['message'].null_count() == 0
  assert 0 < frame['abnormal'].sum() < lines / 4
  if corpus == 'openstack':
    for instance in openstack.FAULTS:
      assert frame['message'].str.contains(instance).any()


@pytest.mark.parametrize(
  ('corpus', 'lines', 'seed', 'message'),
  [
    ('bgl', 49, 0, '49 simulated lines are too few'),
    ('spirit', 1000, 0, "there is no simulated 'spirit'"),
    ('bgl', 1000, -1, 'seed -1 is negative'),
  ],
)
def test_a_request_that_cannot_be_met_is_one_line(corpus, lines, seed, message, tmp_path):
  with pytest.raises(LogjaxError, match=message) as caught:
    simulate.simulate(corpus, lines, seed, tmp_path)
  assert '\n' not in str(caught.value)
  assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
  (tmp_path / 'taken').write_text('')
  with pytest.raises(LogjaxError, match='taken/logs: cannot write the simulated corpus'):
    simulate.simulate('bgl', 100, 0, tmp_path / 'taken' / 'logs')


def test_an_interrupted_run_leaves_the_old_files_and_no_half_one(tmp_path, monkeypatch):
  before = {path: path.read_bytes() for path in simulate.simulate('openstack', 200, 0, tmp_path)}
  render = simulate.render

  def stop_in_the_second_file(rng, plan, grammar):
    yield from render(rng, plan, grammar)
    if plan.time.size < 100:
      raise KeyboardInterrupt

  monkeypatch.setattr(simulate, 'render', stop_in_the_second_file)
  with pytest.raises(KeyboardInterrupt):
    simulate.simulate('openstack', 200, 1, tmp_path)
  assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
