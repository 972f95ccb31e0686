"""The pages of the ladder and the leaderboard: complete, escaped, and what may be missing."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from logjax.examples.protocol import LEAKS
from logjax.reports import comparison_plots
from logjax.reports.ladder import write_ladder
from logjax.reports.leaderboard import write_leaderboard
from logjax.studies.leaderboard import Cell, make_leaderboard

SCRIPT = '<script>alert("log")</script>'
_VOID = frozenset({'meta', 'link', 'br'})


class Balanced(HTMLParser):
  """Fails where an element is closed that is not the innermost open one."""

  def __init__(self):
    super().__init__()
    self.open = []

  def handle_starttag(self, tag, attrs):
    if tag not in _VOID:
      self.open.append(tag)

  def handle_endtag(self, tag):
    assert self.open.pop() == tag


def read(path) -> str:
  """The page, found well-formed, self-contained and with ids of its own."""
  page = path.read_text(encoding='utf-8')
  parser = Balanced()
  parser.feed(page)
  assert parser.open == []
  assert '<script' not in page
  assert not re.search(r'(src|href)="(?!#)', page.replace('xlink:href', 'href'))
  ids = re.findall(r'\bid="([^"]+)"', page)
  assert len(ids) == len(set(ids))
  return page


def metrics(f1=0.8, rows=1000, synthetic_rows=0):
  side = {'precision': 0.91234, 'recall': 0.71, 'f1': f1}
  return {
    'rows': rows,
    'abnormal_rows': 100,
    'synthetic_rows': synthetic_rows,
    'normal': side,
    'abnormal': side,
    'accuracy': 0.9,
    'auroc': 0.95,
    'auprc': 0.85,
    'mcc': 0.7,
  }


def ladder_steps():
  control = {'auroc': 0.61, 'auroc_interval': [0.58, 0.64], 'accuracy': 0.81}
  control |= {'accuracy_interval': [0.8, 0.82], 'accuracy_chance': 0.793}
  control |= {'auroc_chance_interval': [0.48, 0.52], 'accuracy_chance_interval': [0.79, 0.796]}
  left, steps = list(LEAKS), []
  for name in ('paper', *(f'without {leak}' for leak in list(LEAKS)[:-1]), 'honest'):
    step = {'name': name, 'leaks': list(left), 'permuted': control, 'seen_text_share': 0.987}
    step |= {'test': metrics(synthetic_rows=400 * (name == 'paper')), 'test_real': metrics(0.1234)}
    steps.append(step)
    left = left[1:]
  undefined = dict.fromkeys(control)
  last = {'name': 'honest_unseen', 'leaks': [], 'permuted': undefined, 'seen_text_share': None}
  return [*steps, last | {'test': None, 'test_real': None, 'why_undefined': 'no new text'}]


def test_the_ladder_has_every_step_and_says_what_it_takes_away(tmp_path):
  page = read(write_ladder(tmp_path, {'steps': ladder_steps(), 'corpus': {'name': 'bgl'}}))
  for step in ladder_steps():
    assert page.count(f'{step["name"]}<') >= 2
  for words in LEAKS.values():
    assert page.count(words) == 1
  assert 'chance [0.790, 0.796]' in page and 'chance [0.480, 0.520]' in page
  assert '[0.580, 0.640]' in page
  assert 'no new text' in page
  assert 'cannot see leaks that act through known texts' in page


def test_the_intervals_of_the_control_are_drawn_as_long_as_they_are():
  figure = str(comparison_plots.ladder(ladder_steps(), 'a ladder'))
  lines = re.findall(
    r'M ([\d.]+) [\d.]+ \nL ([\d.]+) [\d.]+ \n".*opacity: 0.35.*width: (\d)"', figure
  )
  lengths = {(width, round(float(high) - float(low), 3)) for low, high, width in lines}
  assert len(lines) == 2 * len(LEAKS) + 2 and len(lengths) == 2
  assert 'linecap: square' not in ''.join(re.findall('.*opacity: 0.35.*', figure))
  chance, own = (dict(lengths)[width] for width in '93')
  assert chance / own == pytest.approx((0.52 - 0.48) / (0.64 - 0.58), rel=1e-3)


def test_the_order_of_time_lets_equal_texts_back(tmp_path):
  page = read(write_ladder(tmp_path, {'steps': ladder_steps()}))
  words = 'train holds lines from after test (in order of time equal texts are on both sides again)'
  assert page.count(words) == 1


def test_real_rows_stand_beside_all_only_where_some_are_generated(tmp_path):
  page = read(write_ladder(tmp_path, {'steps': ladder_steps()}))
  assert page.count('real rows only') == 1
  assert page.count('>0.123</td>') == 2  # F1 of both classes


@pytest.mark.parametrize('part', ['test', 'permuted', 'seen_text_share'])
def test_a_step_may_lack_anything(tmp_path, part):
  steps = ladder_steps()
  for step in steps:
    step[part] = None
  page = read(write_ladder(tmp_path, {'steps': steps}))
  assert all(step['name'] in page for step in steps)


def leaderboard(name='seqgan'):
  generator = np.random.default_rng(0)
  abnormal = generator.random(80) < 0.3
  cells = [
    Cell(
      protocol='honest',
      detector='gru',
      oversampler=oversampler,
      seed=seed,
      abnormal_train=few,
      origin=np.append(np.arange(78), [-1, -1]),
      abnormal=abnormal,
      scores=abnormal + generator.normal(size=(1, 80)),
      thresholds=np.array([0.5]),
      baselines={'lookup': np.zeros(80)},
      baseline_thresholds={'lookup': 0.5},
      group=np.arange(80) // 2,
      leaks=('random_split',),
      trained_abnormal=few or 24,
      seconds=75,
      quality={
        'distinct_share': 0.5,
        'novel_share': 0.25,
        'self_bleu': 0.875,
        'two_sample': {'auroc': 0.7654, 'rows': 10},
      }
      if oversampler == name
      else None,
    )
    for few in (5, 0)
    for seed in (0, 1)
    for oversampler in ('none', 'random', name)
  ]
  return make_leaderboard(cells, 20)


def test_the_leaderboard_has_tables_with_both_classes_and_a_curve_per_oversampler(tmp_path):
  page = read(write_leaderboard(tmp_path, leaderboard() | {'origin': 'simulated'}))
  assert 'honest protocol with leaks (random_split), 5 abnormal training rows' in page
  assert 'honest protocol with leaks (random_split), all 24 abnormal training rows' in page
  assert page.count('a text counts once however often it repeats') == 3
  for value in ('0.500', '0.250', '0.875', '0.765'):
    assert page.count(f'>{value}</td>') == 2
  assert 'compare with the value of the oversampler random' in page
  assert 'no correction for multiple comparisons: about 1 in 20' in page
  assert page.count('>MCC<') == 4
  assert '>24 (all)<' in page
  assert page.count('>Abnormal<') == page.count('>Normal<') == 4  # real rows, all rows
  assert 'Text lookup' in page
  assert '1 min 15 s' in page
  assert 'Simulated data.' in page
  assert page.count('aria-label="F1 by abnormal training rows') == 2
  assert 'gru against no oversampling by abnormal F1' in page


def test_names_and_commands_are_escaped(tmp_path):
  page = read(write_leaderboard(tmp_path, leaderboard(SCRIPT) | {'command': SCRIPT}))
  assert '&lt;script&gt;' in page
  ladder = {'steps': [dict(ladder_steps()[0], name=SCRIPT)], 'corpus': {'name': SCRIPT}}
  assert '&lt;script&gt;' in read(write_ladder(tmp_path, ladder | {'command': SCRIPT}))
