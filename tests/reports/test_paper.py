"""The audit of the paper's tables: what its own numbers say about how they were measured.

The numbers are those of Farzad & Gulliver (2020) as `reports.paper` has them: rates are printed
to 0.1 %, so each may be off by 0.0005. Where the numbers contradict the paper's text, a test says
so by name.
"""

import pytest

from logjax.evaluation.metrics import natural_precision
from logjax.reports.paper import TABLES, PaperRow, why_not_comparable

ROUNDING = 0.0005  # half of the last digit that is printed
ALL = [
  pytest.param(corpus, row, id=f'{corpus}-{row.oversampler}')
  for corpus, rows in TABLES.items()
  for row in rows
]
CORPORA = pytest.mark.parametrize('corpus', TABLES)
# Lines of the public corpora: all of BGL; openstack_normal2 and openstack_abnormal of OpenStack.
PUBLIC_LINES = {'bgl': 4_747_963, 'openstack': 137_074 + 18_434}


def accuracies(row: PaperRow, normal: int, abnormal: int) -> tuple[float, float]:
  """The least and the greatest accuracy that the printed recalls allow with such classes."""
  ends = []
  for sign in (-1, 1):
    right = (row.normal.recall + sign * ROUNDING) * normal
    right += (row.abnormal.recall + sign * ROUNDING) * abnormal
    ends.append(right / (normal + abnormal))
  return ends[0], ends[1]


def may_be(printed: float, low: float, high: float) -> bool:
  """Whether a printed rate may be the rounding of one between two ends."""
  return low - ROUNDING <= printed <= high + ROUNDING


def synthetic(corpus: str) -> int:
  """How many abnormal rows SeqGAN made."""
  without, with_seqgan = TABLES[corpus]
  return with_seqgan.abnormal_rows - without.abnormal_rows


@pytest.mark.parametrize('corpus, row', ALL)
def test_train_validation_and_test_rows_add_up_to_both_classes(corpus, row):
  assert row.train_rows + row.valid_rows + row.test_rows == row.normal_rows + row.abnormal_rows


@pytest.mark.parametrize('corpus, row', ALL)
def test_every_f_measure_follows_from_its_precision_and_recall(corpus, row):
  for side in (row.normal, row.abnormal):
    ends = [
      2 / (1 / (side.precision + sign * ROUNDING) + 1 / (side.recall + sign * ROUNDING))
      for sign in (-1, 1)
    ]
    assert may_be(side.f1, *ends)


@pytest.mark.parametrize('corpus, row', ALL)
def test_train_and_validation_are_five_percent_as_the_text_says(corpus, row):
  assert (row.train_rows + row.valid_rows) / row.rows == pytest.approx(0.05, abs=1e-4)


@pytest.mark.parametrize(
  'corpus, share', [('bgl', 0.05), ('thunderbird', 0.05), ('openstack', 0.85)]
)
def test_openstack_trained_on_85_percent_of_them_where_the_text_says_5_for_all(corpus, share):
  for row in TABLES[corpus]:
    assert row.train_rows / (row.train_rows + row.valid_rows) == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize(
  'corpus, share', [('bgl', 0.0025), ('thunderbird', 0.0025), ('openstack', 0.0425)]
)
def test_less_than_one_percent_trained_holds_for_bgl_and_thunderbird_and_not_for_openstack(
  corpus, share
):
  for row in TABLES[corpus]:
    assert row.train_rows / row.rows == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize('corpus', PUBLIC_LINES)
def test_removing_duplicates_removed_nothing_for_the_rows_are_all_lines(corpus):
  assert TABLES[corpus][0].rows == PUBLIC_LINES[corpus]


@CORPORA
def test_oversampling_removed_no_real_row_either(corpus):
  without, with_seqgan = TABLES[corpus]
  assert with_seqgan.normal_rows == without.normal_rows
  assert with_seqgan.rows - without.rows == synthetic(corpus)


@pytest.mark.parametrize(
  'corpus, share', [('bgl', 0.0734), ('openstack', 0.1185), ('thunderbird', 0.0909)]
)
def test_about_five_percent_negative_rows_is_false_of_all_three_logs(corpus, share):
  row = TABLES[corpus][0]
  assert row.abnormal_rows / row.rows == pytest.approx(share, abs=5e-5)
  assert share > 0.07


@pytest.mark.parametrize(
  'corpus, rows, share',
  [
    ('bgl', 3_789_056, 0.916),
    ('openstack', 135_768, 0.880),
    ('thunderbird', 2_700_000, 0.900),
  ],
)
def test_about_nine_of_ten_abnormal_rows_are_generated(corpus, rows, share):
  assert synthetic(corpus) == rows
  assert rows / TABLES[corpus][1].abnormal_rows == pytest.approx(share, abs=ROUNDING)


@pytest.mark.parametrize('corpus, row', ALL)
def test_the_accuracy_is_that_of_both_recalls_at_the_class_counts_of_its_table(corpus, row):
  assert may_be(row.accuracy, *accuracies(row, row.normal_rows, row.abnormal_rows))


@pytest.mark.parametrize('corpus', ['bgl', 'openstack'])
def test_the_accuracy_with_seqgan_is_not_that_of_real_rows_so_generated_ones_were_tested(corpus):
  without, with_seqgan = TABLES[corpus]
  real = accuracies(with_seqgan, without.normal_rows, without.abnormal_rows)
  assert not may_be(with_seqgan.accuracy, *real)


def test_thunderbirds_recalls_are_too_alike_for_its_accuracy_to_tell_what_was_tested():
  without, with_seqgan = TABLES['thunderbird']
  real = accuracies(with_seqgan, without.normal_rows, without.abnormal_rows)
  assert may_be(with_seqgan.accuracy, *real)


@CORPORA
def test_the_precision_of_abnormal_with_seqgan_is_that_at_generated_shares(corpus):
  row = TABLES[corpus][1]
  share = row.abnormal_rows / row.rows
  ends = []
  for sign in (-1, 1):
    recalls = {
      'abnormal': {'recall': min(1, row.abnormal.recall + sign * ROUNDING)},
      'normal': {'recall': min(1, row.normal.recall + sign * ROUNDING)},
    }
    ends.append(natural_precision(recalls, share)['abnormal'])
  assert may_be(row.abnormal.precision, *ends)


@pytest.mark.parametrize(
  'corpus, natural', [('bgl', 0.975), ('openstack', 0.964), ('thunderbird', 0.952)]
)
def test_at_the_logs_own_share_the_precision_of_abnormal_is_points_lower(corpus, natural):
  without, with_seqgan = TABLES[corpus]
  recalls = {
    'abnormal': {'recall': with_seqgan.abnormal.recall},
    'normal': {'recall': with_seqgan.normal.recall},
  }
  precision = natural_precision(recalls, without.abnormal_rows / without.rows)['abnormal']
  assert precision == pytest.approx(natural, abs=0.001)
  assert precision < with_seqgan.abnormal.precision - 0.02


@pytest.mark.parametrize('corpus', ['bgl', 'openstack'])
def test_at_the_logs_own_share_seqgan_lowers_the_precision_of_abnormal(corpus):
  without, with_seqgan = TABLES[corpus]
  recalls = {
    'abnormal': {'recall': with_seqgan.abnormal.recall},
    'normal': {'recall': with_seqgan.normal.recall},
  }
  precision = natural_precision(recalls, without.abnormal_rows / without.rows)['abnormal']
  assert precision < without.abnormal.precision


@pytest.mark.parametrize(
  'corpus, recall, gained',
  [('bgl', 0.917, False), ('openstack', 0.866, False), ('thunderbird', 0.970, True)],
)
def test_the_gain_in_recall_may_be_generated_rows_alone_on_bgl_and_openstack(
  corpus, recall, gained
):
  """The recall on real rows, were every abnormal row that is missed a real one."""
  without, with_seqgan = TABLES[corpus]
  missed = (1 - with_seqgan.abnormal.recall) * with_seqgan.abnormal_rows
  worst = 1 - missed / without.abnormal_rows
  assert worst == pytest.approx(recall, abs=0.001)
  # The rounding of the recall moves this bound by half a point.
  half = ROUNDING * with_seqgan.abnormal_rows / without.abnormal_rows
  assert (worst - half > without.abnormal.recall + ROUNDING) == gained


def test_the_paper_is_compared_only_with_its_own_corpus_at_its_own_size():
  assert why_not_comparable('bgl', 4_747_963, 348_460) == ''
  assert why_not_comparable('bgl', 4_747_963 - 40_000, 348_460) == ''
  assert why_not_comparable('bgl', 100_000, 7_000)
  assert why_not_comparable('hdfs', 4_747_963, 348_460)
  assert why_not_comparable('bgl', 4_747_963, 348_460, origin='simulated')


def test_the_reason_why_the_paper_is_not_comparable_names_the_numbers():
  assert why_not_comparable('bgl', 4_747_963, 348_460) == ''
  assert 'it has 4,747,963 lines' in why_not_comparable('bgl', 100_000, 7_000)
  assert '18,434 of its lines are abnormal' in why_not_comparable('openstack', 155_508, 1_000)
  assert 'simulated' in why_not_comparable('bgl', 4_747_963, 348_460, 'simulated')
  assert 'hdfs' in why_not_comparable('hdfs', 1, 1)
