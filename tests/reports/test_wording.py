"""The report's words: the verdict, and numbers that never look better than they are."""

import pytest

from logjax.detectors.baselines import baseline_scores
from logjax.reports.wording import (
  RIVALS,
  count,
  duration,
  leaf,
  number,
  percent,
  shown,
  strongest,
  verdict,
)


def metrics(f1: float | None, auprc: float | None) -> dict:
  return {'abnormal': {'f1': f1}, 'auprc': auprc}


RESULTS = {
  'test': metrics(0.91711, 0.94012),
  'test_std': metrics(0.0112, 0.0061),
  'baselines': {
    'majority': metrics(0, 0.09),
    'lookup': metrics(0.61, 0.95),
    'tfidf_lr': metrics(0.92143, 0.93001),
  },
}


def against(**baselines: dict) -> str:
  return verdict(RESULTS | {'baselines': baselines})


def test_every_rival_has_its_words():
  keys = set(baseline_scores(['a', 'b'], [True, False], []))
  assert keys == set(RIVALS)


def test_the_verdict_names_every_rival_by_both_metrics_and_the_strongest_first():
  assert verdict(RESULTS) == (
    'By abnormal F1 the detector (0.917) does not beat TF-IDF with logistic regression (0.921, '
    'less than one standard deviation apart); it beats the text lookup and the majority class. '
    'By AUPRC the detector (0.940) does not beat the text lookup (0.950); it beats TF-IDF with '
    'logistic regression and the majority class.'
  )


def test_a_detector_that_beats_all_is_told_with_the_number_of_the_best_rival():
  assert against(
    lookup=metrics(0.8, 0.85), majority=metrics(0, 0.09), unseen=metrics(0.4, 0.9)
  ) == (
    'By abnormal F1 the detector (0.917) beats the text lookup (0.800), flagging unseen text and '
    'the majority class. By AUPRC the detector (0.940) beats flagging unseen text (0.900), the '
    'text lookup and the majority class.'
  )


def test_a_victory_by_less_than_one_standard_deviation_is_told_as_one():
  told = against(lookup=metrics(0.91, 0.1), majority=metrics(0.90, 0.1), unseen=metrics(0.91, 0.1))
  remark = 'less than one standard deviation apart'
  assert f'beats the text lookup (0.910, {remark}), flagging unseen text (0.910, {remark})' in told
  assert 'and the majority class. By AUPRC' in told


def test_an_equal_rival_is_not_beaten():
  assert 'does not beat the text lookup (0.917). By' in against(lookup=RESULTS['test'])


def test_an_undefined_metric_is_not_compared():
  told = against(lookup=metrics(None, 0.5), majority=metrics(0, None), unseen=metrics(1, 0.5))
  assert 'it beats the majority class; it cannot be compared with the text lookup. By' in told
  assert told.endswith('cannot be compared with the majority class.')
  nothing = RESULTS | {'test': metrics(None, 0.5)}
  assert verdict(nothing).startswith(
    'By abnormal F1 the detector cannot be compared: it is undefined. By AUPRC the detector (0.500)'
  )


def test_results_without_rivals_say_so():
  assert verdict({}) == against() == 'No baseline was run beside the detector.'


def test_a_rival_that_nobody_knows_is_called_by_its_key():
  assert 'does not beat oracle (1.000)' in against(oracle=metrics(1, 1))


def test_rivals_are_ordered_by_f1_then_auprc_and_the_undefined_is_last():
  order = {'a': (None, 1), 'b': (0.5, 0.1), 'c': (0.5, 0.2), 'd': (0, None), 'e': (0.9, 0)}
  baselines = {name: metrics(*numbers) for name, numbers in order.items()} | {'f': None}
  found = [rival.title for rival, _ in strongest({'baselines': baselines})]
  assert found == ['e', 'c', 'b', 'd', 'a']


@pytest.mark.parametrize(
  'value, text',
  [
    (None, '–'),
    (0.5, '0.500'),
    (1, '1.000'),
    (0, '0.000'),
    (0.99996, '0.99996'),
    (0.00004, '0.00004'),
    (0.9994, '0.999'),
    (-0.25, '-0.250'),
  ],
)
def test_a_number_never_looks_better_than_it_is(value, text):
  assert number(value) == text


def test_a_share_never_looks_like_all_or_nothing_unless_it_is():
  space = '\N{NO-BREAK SPACE}'
  assert percent(0.93015) == f'93.0{space}%'
  assert percent(0.99996) == f'99.996{space}%'
  assert percent(0.0004) == f'0.04{space}%'
  assert percent(1.0) == f'100.0{space}%'


@pytest.mark.parametrize(
  'seconds, text',
  [(0.04, '0.0 s'), (9.96, '10.0 s'), (59.4, '59 s'), (59.6, '1 min 0 s'), (7800, '2 h 10 min')],
)
def test_durations_read_as_people_say_them(seconds, text):
  assert duration(seconds) == text


def test_a_number_that_nobody_measured_is_none_at_any_depth():
  metrics = {'abnormal': {'f1': 0.5}, 'normal': None}
  assert leaf(metrics, ('abnormal', 'f1')) == 0.5
  for keys in (('abnormal', 'recall'), ('normal', 'f1'), ('auroc',), ('none', 'such')):
    assert leaf(metrics, keys) is None


def test_a_number_of_rows_shows_a_digit_only_where_it_is_a_mean():
  assert (count(4_747_963), count(40.0), count(40.3), count(None)) == (
    '4,747,963',
    '40',
    '40.3',
    '–',
  )


def test_a_log_line_keeps_its_tabs_shows_its_control_characters_and_is_cut():
  assert shown('a\tb\x00c\x1b[0m') == 'a\tb\\x00c\\x1b[0m'
  assert shown('x' * 1_000_000) == 'x' * 400 + ' …'
  assert shown(None) == ''


def test_a_sum_that_rounding_keeps_from_1_is_shown_as_1():
  assert number(1 - 1e-13) == '1.000'
  assert number(1 - 1e-6) == '0.999999'
