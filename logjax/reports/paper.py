"""The published tables of Farzad & Gulliver in `paper.csv`, and the runs they can stand beside.

*Log Message Anomaly Detection with Oversampling*, International Journal of Artificial Intelligence
and Applications 11(4), 2020, Tables 1 (without oversampling) and 2 (with SeqGAN) and the row counts
of its sections 3.1 to 3.3. The paper's label 1, "positive", is `normal` here. Numbers are fractions
where the paper prints percent; it prints standard deviations as fractions already.
"""

import csv
from dataclasses import dataclass, fields
from pathlib import Path

_TOLERANCE = 0.01  # relative difference in size at which a corpus still counts as the paper's


@dataclass(frozen=True)
class ClassResult:
  """Precision, recall and F-measure of one class, equations 8 to 10."""

  precision: float
  recall: float
  f1: float


@dataclass(frozen=True)
class PaperRow:
  """One corpus of one table. The counts include generated rows if `oversampler` is seqgan."""

  corpus: str
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


def _read(path: Path) -> dict[str, tuple[PaperRow, PaperRow]]:
  """Reads the CSV: a line for each corpus and oversampler, a corpus without oversampling first."""
  tables: dict[str, tuple[PaperRow, ...]] = {}
  with path.open(newline='') as file:
    for line in csv.DictReader(file):
      values = []
      for field in fields(PaperRow):
        if field.type is ClassResult:
          names = (f'{field.name}_{part.name}' for part in fields(ClassResult))
          values.append(ClassResult(*(float(line[name]) for name in names)))
        else:
          values.append(field.type(line[field.name]))
      row = PaperRow(*values)
      tables[row.corpus] = (*tables.get(row.corpus, ()), row)
  return tables


# Corpus -> its row of Table 1 and its row of Table 2.
TABLES = _read(Path(__file__).with_name('paper.csv'))


def why_not_comparable(corpus: str, lines: int, abnormal: int, origin: str = 'real') -> str:
  """Returns one sentence why the paper's numbers are not comparable with a run, '' if they are.

  They are if the corpus is one of the paper's three, real, and within 1 % of the paper's numbers of
  lines and of abnormal lines. The latter separates the two labellings of OpenStack.
  """
  not_comparable = 'The paper’s numbers are not comparable: '
  if origin == 'simulated':
    return not_comparable + 'this run is on simulated lines.'
  if corpus not in TABLES:
    return not_comparable + f'it has none for the corpus {corpus}.'
  paper = TABLES[corpus][0]
  if abs(lines - paper.rows) > _TOLERANCE * paper.rows:
    return not_comparable + f'it has {paper.rows:,} lines of this corpus, this run {lines:,}.'
  if abs(abnormal - paper.abnormal_rows) > _TOLERANCE * paper.abnormal_rows:
    return (
      f'{not_comparable}{paper.abnormal_rows:,} of its lines are abnormal, {abnormal:,} of this '
      'run’s, so the labels are not the same.'
    )
  return ''
