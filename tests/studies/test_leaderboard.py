"""The leaderboard: what is paired, what counts as a win, and what the words say of it."""

import json

import numpy as np
import pytest

from logjax.errors import LogjaxError
from logjax.evaluation.bootstrap import resampled_metrics
from logjax.evaluation.formulas import METRICS, metrics_of_rows
from logjax.reports.leaderboard import markdown
from logjax.studies.leaderboard import Cell, make_leaderboard

ROWS = 300
NOTHING = dict.fromkeys(('mean', 'low', 'high', 'low_texts', 'high_texts'))


def cell(oversampler='none', seed=0, noise=1.0, **changes) -> Cell:
  """A cell whose scores tell the classes apart the better, the less noise they have."""
  generator = np.random.default_rng(0)
  abnormal = generator.random(ROWS) < 0.2
  # The noise is the same for all oversamplers of one seed, so that pairing matters.
  drawn = np.random.default_rng([1, seed]).normal(size=(2, ROWS))
  fields = {
    'protocol': 'honest',
    'detector': 'autoencoder_gru',
    'oversampler': oversampler,
    'seed': seed,
    'abnormal_train': 0,
    'origin': np.arange(ROWS) * 7,
    'abnormal': abnormal,
    'scores': abnormal + noise * drawn,
    'thresholds': np.array([0.5, 0.6]),
    'baselines': {'lookup': np.where(abnormal, 0.5, 0.4), 'majority': np.zeros(ROWS)},
    'baseline_thresholds': {'lookup': 0.5, 'majority': 0.5},
    'group': np.arange(ROWS) + 50,
    'leaks': (),
    'trained_abnormal': 40,
    'seconds': 2.0 + seed,
    'quality': {'distinct': 0.5 + seed, 'name': 'x', 'bleu': {'2': 0.1}} if seed < 2 else None,
  }
  return Cell(**(fields | changes))


def entry_of(leaderboard, oversampler, detector='autoencoder_gru', table=0):
  (entry,) = (
    entry
    for entry in leaderboard['tables'][table]['entries']
    if (entry['detector'], entry['oversampler']) == (detector, oversampler)
  )
  return entry


@pytest.fixture(scope='module')
def leaderboard():
  cells = [cell('none', seed) for seed in range(3)]
  cells += [cell('random', seed) for seed in range(3)]
  cells += [cell('seqgan', seed, noise=0.5) for seed in range(3)]
  cells += [cell('smoten', seed, noise=2.0) for seed in range(3)]
  return make_leaderboard(cells, draws=200)


def test_one_seed_and_one_repetition_is_the_bootstrap_over_rows():
  one = cell(scores=cell().scores[:1], thresholds=np.array([0.5]))
  metrics = entry_of(make_leaderboard([one], draws=100), 'none')['metrics']
  points = metrics_of_rows(one.abnormal, one.scores, one.thresholds)
  for name in METRICS:
    assert metrics[name]['mean'] == pytest.approx(points[name][0])
    assert metrics[name]['low'] <= metrics[name]['mean'] <= metrics[name]['high']
  drawn = resampled_metrics(one.abnormal, one.scores, one.thresholds, draws=500, seed=0)['auroc']
  width = metrics['auroc']['high'] - metrics['auroc']['low']
  assert width == pytest.approx(np.ptp(np.quantile(drawn, [0.025, 0.975])), rel=0.3)


def test_the_mean_is_over_seeds_and_repetitions(leaderboard):
  values = []
  for seed in range(3):
    one = cell('seqgan', seed, noise=0.5)
    values.append(metrics_of_rows(one.abnormal, one.scores, one.thresholds)['auprc'].mean())
  assert entry_of(leaderboard, 'seqgan')['metrics']['auprc']['mean'] == pytest.approx(
    np.mean(values)
  )


def test_an_entry_equal_to_another_differs_by_exactly_nothing(leaderboard):
  difference = entry_of(leaderboard, 'random')['versus']['none']
  for name in METRICS:
    assert difference[name] == dict.fromkeys(NOTHING, 0)
  assert entry_of(leaderboard, 'random')['wins'] == []
  assert 'none' not in entry_of(leaderboard, 'random')['losses']


def test_a_difference_is_that_of_the_means_and_narrower_than_unpaired(leaderboard):
  ours, theirs = (entry_of(leaderboard, name)['metrics']['auroc'] for name in ('seqgan', 'none'))
  difference = entry_of(leaderboard, 'seqgan')['versus']['none']['auroc']
  assert difference['mean'] == pytest.approx(ours['mean'] - theirs['mean'])
  unpaired = np.hypot(ours['high'] - ours['low'], theirs['high'] - theirs['low'])
  assert difference['high'] - difference['low'] < unpaired


def test_wins_and_losses_are_named_only_where_the_interval_excludes_zero(leaderboard):
  assert set(entry_of(leaderboard, 'seqgan')['wins']) == {'none', 'random'}
  assert set(entry_of(leaderboard, 'smoten')['losses']) == {'none', 'random', 'baseline'}
  for table in leaderboard['tables']:
    for entry in table['entries']:
      for other, told in entry['versus'].items():
        f1 = told['abnormal_f1']
        assert (other in entry['wins']) == (min(f1['low'], f1['low_texts']) > 0)
        assert (other in entry['losses']) == (max(f1['high'], f1['high_texts']) < 0)


def shared_luck(trial, oversampler, seed) -> Cell:
  """Methods equal in law: how well each does on a text is luck, which all rows of it share."""
  texts, repeats = 100, 40
  text_is_abnormal = np.arange(texts) < 20
  luck = np.random.default_rng([trial, len(oversampler)]).normal(size=texts)
  of_seed = np.random.default_rng([trial, len(oversampler), seed]).normal(size=texts)
  group = np.repeat(np.arange(texts), repeats)
  scores = 1.2 * text_is_abnormal + 0.8 * luck + 0.3 * of_seed
  return cell(
    oversampler,
    seed,
    origin=np.arange(texts * repeats),
    abnormal=text_is_abnormal[group],
    scores=scores[group][None],
    thresholds=np.array([0.9]),
    baselines={},
    baseline_thresholds={},
    group=group,
  )


@pytest.mark.parametrize('seeds', [1, 5])
def test_methods_equal_in_law_are_seldom_told_apart_however_often_a_text_repeats(seeds):
  told, by_rows = 0, 0
  for trial in range(30):
    cells = [shared_luck(trial, name, seed) for name in ('none', 'seqgan') for seed in range(seeds)]
    entry = entry_of(make_leaderboard(cells, draws=100), 'seqgan')
    told += bool(entry['wins'] or entry['losses'])
    f1 = entry['versus']['none']['abnormal_f1']
    by_rows += f1['low'] > 0 or f1['high'] < 0
  assert told <= 3
  assert by_rows >= 9  # rows alone call luck a difference


def test_seeds_that_test_on_other_rows_of_the_same_texts_draw_the_same_texts():
  def on(rows, seed, group):
    one = shared_luck(0, 'none', seed)
    return one._replace(
      origin=one.origin[rows],
      abnormal=one.abnormal[rows],
      scores=shared_luck(0, 'none', 0).scores[:, rows],
      group=group[rows],
    )

  def width(cells):
    auroc = entry_of(make_leaderboard(cells, draws=400), 'none')['metrics']['auroc']
    return auroc['high_texts'] - auroc['low_texts']

  texts = shared_luck(0, 'none', 0).group
  # Scores are equal for all seeds: eight of them on the same texts know no more than one, but for
  # Student's quantile; on texts of their own they do.
  halves = [slice(seed % 2, None, 2) for seed in range(8)]
  one = width([on(halves[0], 0, texts)])
  same = width([on(half, seed, texts) for seed, half in enumerate(halves)])
  apart = width([on(half, seed, texts + 1000 * seed) for seed, half in enumerate(halves)])
  assert same == pytest.approx(one, rel=0.15)
  assert apart < 0.7 * one


def test_with_too_few_abnormal_texts_nothing_is_won_and_the_words_say_why():
  abnormal = cell().abnormal
  few = np.where(abnormal, np.cumsum(abnormal) % 5, 10 + np.arange(ROWS))
  board = make_leaderboard([cell('none', group=few), cell('seqgan', noise=0.2, group=few)], 50)
  entry = entry_of(board, 'seqgan')
  difference = entry['versus']['none']['abnormal_f1']
  assert difference['low'] > 0
  assert difference['low_texts'] is None
  assert entry['wins'] == entry['losses'] == []
  text = markdown(board)
  assert 'no oversampling by abnormal F1: undecided, too few different abnormal texts, with' in text
  assert 'There are too few different abnormal texts for an interval over texts: 6 are' in text
  assert '[–]' in text
  one_more = np.where(abnormal, np.cumsum(abnormal) % 6, 10 + np.arange(ROWS))
  cells = [cell('none', group=one_more), cell('seqgan', noise=0.2, group=one_more)]
  assert entry_of(make_leaderboard(cells, 50), 'seqgan')['wins'] == ['none']


def test_entries_stand_by_falling_f1_and_the_strongest_baseline_is_named(leaderboard):
  (table,) = leaderboard['tables']
  f1 = [entry['metrics']['abnormal_f1']['mean'] for entry in table['entries']]
  assert f1 == sorted(f1, reverse=True)
  assert (table['strongest_baseline'], f1[0]) == ('lookup', 1.0)
  baseline = entry_of(leaderboard, None, 'lookup')
  assert (baseline['kind'], baseline['versus'], baseline['seconds']) == ('baseline', {}, None)
  assert (table['test_texts'], table['abnormal_texts']) == (ROWS, table['abnormal_rows'])


def test_a_detector_without_any_oversampler_is_a_baseline_of_the_others():
  cells = [cell('none'), cell('seqgan', noise=0.9), cell('none', detector='gru', noise=0.3)]
  cells = [one._replace(baselines={'majority': np.zeros(ROWS)}) for one in cells]
  board = make_leaderboard(cells, 100)
  assert board['tables'][0]['strongest_baseline'] == 'gru'
  entry = entry_of(board, 'seqgan')
  assert 'baseline' in entry['losses']
  assert set(entry['baselines']) == {'gru', 'majority'}
  plain = entry_of(board, 'none', 'gru')
  assert 'baseline' not in plain['versus']
  assert set(plain['baselines']) == {'majority'}
  text = markdown(board)
  assert 'the strongest baseline, gru without oversampling, by abnormal F1: worse with' in text
  assert (
    '- By abnormal F1, autoencoder_gru with seqgan, its best on these rows, is better than the '
    'majority class (+' in text
  )
  assert '; is worse than gru without oversampling (-' in text
  assert '- By abnormal F1, gru with none is better than the majority class (+' in text


def test_a_detector_with_oversamplers_is_no_baseline():
  cells = [cell(name, detector=one) for name in ('none', 'random') for one in ('gru', 'other')]
  board = make_leaderboard(cells, 20)
  assert set(entry_of(board, 'none', 'gru')['baselines']) == {'lookup', 'majority'}


def test_leaks_are_named_and_so_are_entries_without_them():
  cells = [
    cell('none', leaks=('random_split', 'label_routed_encoder')),
    cell('none', detector='gru', leaks=('random_split',)),
  ]
  board = make_leaderboard(cells, 20)
  table = board['tables'][0]
  assert table['leaks'] == ['label_routed_encoder', 'random_split']
  text = markdown(board)
  assert '### honest protocol with leaks (label_routed_encoder, random_split), all 40' in text
  assert '- Though the protocol is called honest it leaks (label_routed_encoder: the true' in text
  assert '- Without label_routed_encoder: gru with none.' in text
  assert entry_of(board, None, 'lookup')['leaks'] is None
  assert 'leak' not in markdown(make_leaderboard([cell()], 20))


def test_seconds_and_quality_are_means_over_seeds(leaderboard):
  entry = entry_of(leaderboard, 'seqgan')
  assert entry['seconds'] == 3
  assert entry['quality'] == {'distinct': 1.0, 'bleu': {'2': pytest.approx(0.1)}}


def test_the_order_of_rows_and_of_cells_changes_nothing():
  cells = [cell('none'), cell('seqgan', noise=0.5)]
  turned = cells[1]._replace(
    origin=cells[1].origin[::-1],
    group=cells[1].group[::-1],
    abnormal=cells[1].abnormal[::-1],
    scores=cells[1].scores[:, ::-1],
    baselines={name: scores[::-1] for name, scores in cells[1].baselines.items()},
  )
  assert make_leaderboard(cells, 50) == make_leaderboard([turned, cells[0]], 50)


def with_generated(one: Cell, rows: slice) -> Cell:
  """A cell that tests on some of its real rows, and on generated ones that are easy."""
  return one._replace(
    origin=np.append(one.origin[rows], [-1] * 50),
    abnormal=np.append(one.abnormal[rows], [True] * 50),
    group=np.append(one.group[rows], np.arange(50) + 1000),
    scores=np.append(one.scores[:, rows], np.full((2, 50), 9.0), axis=1),
    baselines={
      name: np.append(scores[rows], np.ones(50)) for name, scores in one.baselines.items()
    },
  )


def test_generated_test_rows_count_only_in_the_metrics_on_all_rows():
  plain = entry_of(make_leaderboard([cell('seqgan')], 50), 'seqgan')
  mixed = make_leaderboard([with_generated(cell('seqgan'), slice(None))], 50)
  entry = entry_of(mixed, 'seqgan')
  assert entry['metrics'] == plain['metrics']
  assert 'metrics_all' not in plain
  assert (
    entry['metrics_all']['abnormal_recall']['mean'] > plain['metrics']['abnormal_recall']['mean']
  )
  assert mixed['tables'][0]['test_rows'] == ROWS


def test_methods_without_a_common_seed_are_not_compared():
  board = make_leaderboard([cell('none'), cell('seqgan', seed=1)], 20)
  assert 'none' not in entry_of(board, 'seqgan')['versus']


@pytest.mark.parametrize(
  'changes',
  [
    {'abnormal': ~cell().abnormal},
    {'abnormal': ~cell().abnormal, 'protocol': 'paper'},
    {'origin': np.arange(ROWS) * 7 + 1},
    {'group': np.zeros(ROWS, np.int64)},
  ],
)
def test_cells_of_different_logs_are_refused(changes):
  with pytest.raises(LogjaxError, match='these cells are of different logs'):
    make_leaderboard([cell('none'), cell('random', **changes)], 20)


def test_seeds_and_protocols_may_test_on_other_rows():
  other = {'origin': np.arange(ROWS) * 7 + 1, 'group': np.arange(ROWS)}
  board = make_leaderboard([cell(), cell(seed=1, **other), cell(protocol='paper', **other)], 5)
  assert {table['protocol'] for table in board['tables']} == {'honest', 'paper'}


def test_undefined_metrics_are_none_and_the_json_is_plain():
  silent = cell('none', thresholds=np.array([99.0, 99.0]))
  board = make_leaderboard([silent, cell('seqgan', noise=0.5)], 20)
  assert entry_of(board, 'none')['metrics']['abnormal_precision'] == NOTHING
  assert json.loads(json.dumps(board, allow_nan=False)) == board
  assert '| – | 0.000 [' in markdown(board)


def test_the_curve_has_a_point_for_each_number_of_rows_and_all_of_them_last():
  cells = [
    cell(name, noise=1 / (1 + (few or 50)), abnormal_train=few, trained_abnormal=min(few or 30, 30))
    for few in (0, 500, 20, 5)
    for name in ('none', 'seqgan')
  ]
  board = make_leaderboard(cells, 20)
  assert len(board['tables']) == 4
  titles = markdown(board)
  assert '### honest protocol, at most 500 abnormal training rows (30 available)' in titles
  assert '### honest protocol, 20 abnormal training rows\n' in titles
  assert '### honest protocol, all 30 abnormal training rows\n' in titles
  assert titles.count('At most as many abnormal rows validate as train.') == 3
  (curve,) = (curve for curve in board['curve'] if curve['oversampler'] == 'seqgan')
  assert [point['abnormal_train'] for point in curve['points']] == [5, 20, 0]
  assert [point['trained_abnormal'] for point in curve['points']] == [5, 20, 30]
  assert curve['points'][0]['versus']['none']['abnormal_f1']['mean'] == 0
  assert set(curve['points'][0]['metrics']) == {'abnormal_f1', 'normal_f1', 'auprc'}


def test_with_one_number_of_rows_there_is_no_curve(leaderboard):
  assert leaderboard['curve'] == []


def test_equal_cells_are_a_defect():
  with pytest.raises(ValueError, match='two cells'):
    make_leaderboard([cell(), cell()], 5)


def test_markdown_has_both_classes_and_says_who_is_better(leaderboard):
  text = markdown(leaderboard)
  board, generated = text.split('Generated rows on their own:')
  head, rule, *rows = (line for line in board.splitlines() if line.startswith('|'))
  assert {line.count(' | ') for line in (head, rule, *rows)} == {14}
  for name in ('abnormal precision', 'abnormal F1', 'normal F1', 'F1 less the strongest baseline'):
    assert f' {name} |' in head
  assert '| seqgan | – | – | – | – |' in generated
  assert 'compare with the value of the oversampler random' in generated
  assert 'There is no correction for multiple comparisons: about 1 in 20' in text
  (row,) = (row for row in rows if 'seqgan' in row)
  assert row.count('better') == 2
  assert row.endswith('| 3.0 s |')
  assert 'Text lookup | needs none | 1.000 [1.000, 1.000] [1.000, 1.000] | 1.000 [' in rows[0]
  verdict = '\n'.join(line for line in text.splitlines() if line.startswith('- '))
  assert 'autoencoder_gru against no oversampling by abnormal F1: better with seqgan (+' in verdict
  assert 'not told apart with random (+0.000)' in verdict
  assert 'worse with smoten (-' in verdict
  assert 'the strongest baseline, the text lookup, by abnormal F1: worse with' in verdict


def test_a_name_cannot_break_the_markdown_table():
  text = markdown(make_leaderboard([cell('a|b')], 5))
  assert '| a\\|b |' in text


def test_a_table_without_anything_to_compare_says_so():
  assert '- There is nothing to compare with.' in markdown(
    make_leaderboard([cell('none', baselines={})], 5)
  )


def test_a_difference_that_is_undefined_is_neither_better_nor_worse():
  normal = {'abnormal': np.zeros(ROWS, bool), 'thresholds': np.array([99.0, 99.0]), 'baselines': {}}
  board = make_leaderboard([cell('none', **normal), cell('seqgan', **normal)], 5)
  entry = entry_of(board, 'seqgan')
  assert (entry['wins'], entry['losses']) == ([], [])
  assert entry['versus']['none']['abnormal_f1'] == NOTHING
  assert '- autoencoder_gru against no oversampling by abnormal F1: undefined.' in markdown(board)
