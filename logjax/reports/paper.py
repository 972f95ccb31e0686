"""The published tables of Farzad & Gulliver, as data, and when a run may stand beside them.

*Log Message Anomaly Detection with Oversampling*, International Journal of Artificial Intelligence
and Applications 11(4), 2020, Tables 1 (without oversampling) and 2 (with SeqGAN) and the row counts
of its sections 3.1 to 3.3. The paper's label 1, "positive", is `normal` here. Numbers are fractions
where the paper prints percent; it prints standard deviations as fractions already.
"""

from dataclasses import dataclass

_TOLERANCE = 0.01  # how far a corpus may be from the paper's size and still be called the same


@dataclass(frozen=True)
class ClassResult:
  """Precision, recall and F-measure of one class, equations 8 to 10."""

  precision: float
  recall: float
  f1: float


@dataclass(frozen=True)
class PaperRow:
  """One corpus of one table. The counts include generated rows where `oversampler` is seqgan."""

  oversampler: str  # 'none' (Table 1) or 'seqgan' (Table 2)
  train_accuracy: float
  train_accuracy_std: float
  valid_accuracy: float
  valid_accuracy_std: float
  train_loss: float
  train_loss_std: float
  accuracy: float  # equation 7, on the test rows
  normal: ClassResult
  abnormal: ClassResult
  normal_rows: int
  abnormal_rows: int
  train_rows: int
  valid_rows: int
  test_rows: int

  @property
  def rows(self) -> int:
    """All rows: training, validation and test together."""
    return self.train_rows + self.valid_rows + self.test_rows


# For each corpus the row of Table 1 and the row of Table 2.
TABLES: dict[str, tuple[PaperRow, PaperRow]] = {
  'bgl': (
    PaperRow(
      oversampler='none',
      train_accuracy=0.978,
      train_accuracy_std=0.02,
      valid_accuracy=0.986,
      valid_accuracy_std=0.01,
      train_loss=0.07,
      train_loss_std=0.01,
      accuracy=0.993,
      normal=ClassResult(0.993, 0.999, 0.996),
      abnormal=ClassResult(0.989, 0.916, 0.951),
      normal_rows=4_399_503,
      abnormal_rows=348_460,
      train_rows=11_869,
      valid_rows=225_529,
      test_rows=4_510_565,
    ),
    PaperRow(
      oversampler='seqgan',
      train_accuracy=0.983,
      train_accuracy_std=0.01,
      valid_accuracy=0.993,
      valid_accuracy_std=0.01,
      train_loss=0.05,
      train_loss_std=0.01,
      accuracy=0.996,
      normal=ClassResult(0.994, 0.998, 0.996),
      abnormal=ClassResult(0.998, 0.993, 0.996),
      normal_rows=4_399_503,
      abnormal_rows=4_137_516,
      train_rows=21_342,
      valid_rows=405_508,
      test_rows=8_110_169,
    ),
  ),
  'openstack': (
    PaperRow(
      oversampler='none',
      train_accuracy=0.984,
      train_accuracy_std=0.01,
      valid_accuracy=0.972,
      valid_accuracy_std=0.01,
      train_loss=0.05,
      train_loss_std=0.01,
      accuracy=0.983,
      normal=ClassResult(0.983, 0.998, 0.990),
      abnormal=ClassResult(0.979, 0.871, 0.922),
      normal_rows=137_074,
      abnormal_rows=18_434,
      train_rows=6_608,
      valid_rows=1_167,
      test_rows=147_733,
    ),
    PaperRow(
      oversampler='seqgan',
      train_accuracy=0.980,
      train_accuracy_std=0.01,
      valid_accuracy=0.987,
      valid_accuracy_std=0.01,
      train_loss=0.06,
      train_loss_std=0.01,
      accuracy=0.989,
      normal=ClassResult(0.982, 0.995, 0.988),
      abnormal=ClassResult(0.996, 0.984, 0.990),
      normal_rows=137_074,
      abnormal_rows=154_202,
      train_rows=12_378,
      valid_rows=2_185,
      test_rows=276_713,
    ),
  ),
  'thunderbird': (
    PaperRow(
      oversampler='none',
      train_accuracy=0.987,
      train_accuracy_std=0.01,
      valid_accuracy=0.988,
      valid_accuracy_std=0.01,
      train_loss=0.04,
      train_loss_std=0.02,
      accuracy=0.985,
      normal=ClassResult(0.991, 0.993, 0.992),
      abnormal=ClassResult(0.932, 0.906, 0.919),
      normal_rows=3_000_000,
      abnormal_rows=300_000,
      train_rows=8_250,
      valid_rows=156_750,
      test_rows=3_135_000,
    ),
    PaperRow(
      oversampler='seqgan',
      train_accuracy=0.991,
      train_accuracy_std=0.01,
      valid_accuracy=0.993,
      valid_accuracy_std=0.02,
      train_loss=0.04,
      train_loss_std=0.01,
      accuracy=0.996,
      normal=ClassResult(0.997, 0.995, 0.996),
      abnormal=ClassResult(0.995, 0.997, 0.996),
      normal_rows=3_000_000,
      abnormal_rows=3_000_000,
      train_rows=15_000,
      valid_rows=285_000,
      test_rows=5_700_000,
    ),
  ),
}


def paper_rows(
  corpus: str, lines: int, abnormal: int, origin: str = 'real'
) -> tuple[PaperRow, PaperRow] | None:
  """The paper's two rows for a corpus (none, seqgan), or None where they may not be compared.

  Args:
    corpus: the corpus' name.
    lines: how many lines were read.
    abnormal: how many of them are abnormal.
    origin: where the lines are from; anything but 'real' is not comparable.
  """
  return None if why_not_comparable(corpus, lines, abnormal, origin) else TABLES[corpus]


def why_not_comparable(corpus: str, lines: int, abnormal: int, origin: str = 'real') -> str:
  """One sentence why the paper's numbers do not stand beside a run's, '' where they may.

  They may when the corpus is one of the paper's three, real, and within 1 % of the paper's numbers
  of lines and of abnormal lines; the latter tells the two labellings of OpenStack apart.
  """
  if origin == 'simulated':
    return 'The paper’s numbers are not comparable: this run is on simulated lines.'
  if corpus not in TABLES:
    return f'The paper’s numbers are not comparable: it has none for the corpus {corpus}.'
  paper = TABLES[corpus][0]
  if abs(lines - paper.rows) > _TOLERANCE * paper.rows:
    return (
      f'The paper’s numbers are not comparable: it has {paper.rows:,} lines of this corpus, '
      f'this run {lines:,}.'
    )
  if abs(abnormal - paper.abnormal_rows) > _TOLERANCE * paper.abnormal_rows:
    return (
      f'The paper’s numbers are not comparable: {paper.abnormal_rows:,} of its lines are abnormal, '
      f'{abnormal:,} of this run’s, so the labels are not the same.'
    )
  return ''
