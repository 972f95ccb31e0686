"""The report's words: the verdict, and numbers that never look better than they are."""

import pytest

from logjax.evaluation.wording import count, duration, leaf, number, percent, shown, verdict

RESULTS = {
  'test': {'abnormal': {'f1': 0.91711}, 'auprc': 0.94012},
  'test_std': {'abnormal': {'f1': 0.0112}, 'auprc': 0.0061},
  'baselines': {'tfidf_lr': {'abnormal': {'f1': 0.92143}, 'auprc': 0.93001}},
}


def test_the_verdict_names_both_metrics_and_which_way_they_point():
  assert verdict(RESULTS) == (
    'The detector falls behind TF-IDF with logistic regression by abnormal F1 (0.917 against '
    '0.921, less than one standard deviation apart) and beats it by AUPRC (0.940 against 0.930).'
  )
  same = RESULTS['test'] | {'auprc': None}
  equal = RESULTS | {'baselines': {'tfidf_lr': same}}
  assert verdict(equal) == (
    'The detector equals TF-IDF with logistic regression by abnormal F1 (0.917 against 0.917) '
    'and cannot be compared with it by AUPRC, which is undefined.'
  )


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
