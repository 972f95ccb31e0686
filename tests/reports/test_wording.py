"""The report's words: the verdict, and numbers that never look better than they are."""

import pytest

from logjax import detectors
from logjax.reports.verdicts import BASELINES, detector_of, strongest, verdict
from logjax.reports.wording import (
  count,
  duration,
  leaf,
  number,
  percent,
  readable,
  shown,
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


def test_every_baseline_has_its_words():
  assert set(detectors.BASELINES['lines']) <= set(BASELINES)


NO_INTERVALS = ' These differences have no intervals; those of a comparison (mode=compare) have.'


def test_the_verdict_names_every_baseline_by_both_metrics():
  assert verdict(RESULTS) == (
    'By abnormal F1 the detector (0.917 ± 0.011) is within one standard deviation of TF-IDF with '
    'logistic regression (0.921); more than one standard deviation above the text lookup (0.610) '
    'and the majority class (0.000). By AUPRC the detector (0.940 ± 0.006) is more than one '
    'standard deviation below the text lookup (0.950); more than one standard deviation above '
    'TF-IDF with logistic regression (0.930) and the majority class (0.090).' + NO_INTERVALS
  )


def test_without_repetitions_there_is_no_standard_deviation():
  words = verdict(RESULTS | {'test_std': metrics(None, None)})
  assert words.startswith(
    'By abnormal F1 the detector (0.917) is below TF-IDF with logistic regression (0.921); above '
    'the text lookup (0.610) and the majority class (0.000). By AUPRC the detector (0.940) is below'
  )
  same = verdict({'test': metrics(0.5, 0.5), 'baselines': {'lookup': metrics(0.5, 0.5)}})
  assert 'By abnormal F1 the detector (0.500) is equal to the text lookup (0.500).' in same


def test_no_sentence_calls_a_detector_better_without_an_interval():
  words = against(lookup=metrics(0.1, 0.1), majority=metrics(1, 1))
  for claim in ('beats', 'better', 'worse', 'wins'):
    assert claim not in words
  assert words.endswith(NO_INTERVALS)


def test_an_undefined_metric_is_not_compared():
  words = against(lookup=metrics(None, 0.5), majority=metrics(0, None), unseen=metrics(1, 0.5))
  assert 'the majority class (0.000); not comparable with the text lookup. By' in words
  assert 'not comparable with the majority class.' in words
  nothing = RESULTS | {'test': metrics(None, 0.5)}
  assert verdict(nothing).startswith(
    'By abnormal F1 the detector cannot be compared: it is undefined. By AUPRC the detector (0.500'
  )


def test_results_without_baselines_have_no_verdict():
  assert verdict({}) == against() == ''


def test_a_baseline_without_words_is_called_by_its_key():
  assert 'below oracle (1.000)' in against(oracle=metrics(1, 1))


def test_results_without_a_detector_are_of_the_autoencoders():
  assert detector_of({}).title == 'Autoencoders and GRU'
  assert detector_of({}).example == 'line'
  assert detector_of({'detector': {'title': 'deep log', 'kind': 'sequences'}}).title == 'Deep log'


@pytest.mark.parametrize(
  'name, words',
  [
    ('generator_mle', 'Generator MLE'),
    ('gru', 'GRU'),
    ('autoencoder_normal', 'Autoencoder normal'),
  ],
)
def test_names_of_the_program_become_words(name, words):
  assert readable(name) == words


def test_baselines_are_ordered_by_f1_then_auprc_and_the_undefined_is_last():
  order = {'a': (None, 1), 'b': (0.5, 0.1), 'c': (0.5, 0.2), 'd': (0, None), 'e': (0.9, 0)}
  baselines = {name: metrics(*numbers) for name, numbers in order.items()} | {'f': None}
  found = [baseline.title for baseline, _ in strongest({'baselines': baselines})]
  assert found == ['E', 'C', 'B', 'D', 'A']


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


def test_a_missing_metric_is_none_at_any_depth():
  metrics = {'abnormal': {'f1': 0.5}, 'normal': None}
  assert leaf(metrics, 'abnormal_f1') == 0.5
  for name in ('abnormal_recall', 'normal_f1', 'auroc', 'none_such'):
    assert leaf(metrics, name) is None


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
