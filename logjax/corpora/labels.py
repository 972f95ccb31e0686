"""Labels of lines: by a column of the line, by a name in it, or by its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import polars as pl

from logjax.corpora.reading import file_name, visible
from logjax.errors import LogjaxError

# Part of the name of a file with abnormal lines, for labels by 'file'.
ABNORMAL_FILES = frozenset({'abnormal'})
# Names of the label file of HDFS beside its log: as unpacked here, and as in its archive.
BLOCK_LABEL_FILES = ('anomaly_label.csv', 'preprocessed/anomaly_label.csv')

# All ids are extracted as whole words and then looked up. One search for each of the 16,838
# abnormal blocks of HDFS would be slow, and would find blk_38 in blk_386.
_ID_PATTERNS = {
  'instance': '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}',
  'blocks': 'blk_-?[0-9]+',
}
_KINDS = ('column', 'instance', 'blocks', 'file')
_SHOWN_LIMIT = 100  # characters of a label file shown in an error


@dataclass(frozen=True)
class LineLabels:
  """A rule for abnormal lines.

  The published labels are

    LineLabels()                                             BGL, Thunderbird, own formats
    LineLabels('instance', entry.abnormal_instances)         OpenStack, by injected fault
    LineLabels('file', ABNORMAL_FILES)                       OpenStack, as in the paper
    LineLabels('blocks', read_abnormal_blocks(csv))          HDFS

  Attributes:
    kind: 'column' (abnormal is a label other than the format's normal one; lines of a format
      without a label stay unlabelled), 'instance' or 'blocks' (abnormal is a line with one of
      `names`), or 'file' (abnormal is a file with one of `names` in its own name).
    names: instance ids, block ids or parts of file names; unused by 'column'.

  Raises:
    LogjaxError: for an unknown kind, and for a kind that needs names and got none.
  """

  kind: str = 'column'
  names: frozenset[str] = frozenset()

  def __post_init__(self):
    if self.kind not in _KINDS:
      raise LogjaxError(f'labels by {self.kind!r} are unknown: choose one of {", ".join(_KINDS)}')
    if self.kind != 'column' and not self.names:
      raise LogjaxError(f'labels by {self.kind!r} need the names of what is abnormal, and got none')

  def abnormal(self, file: str, columns: Sequence[str]) -> pl.Expr:
    """Returns a Boolean expression, true for abnormal lines.

    Args:
      file: path of the file of the lines.
      columns: names of the frame's columns, among them `text` (whole lines) and, if the format has
        labels, `label` (null in normal lines).
    """
    if self.kind == 'file':
      name = PurePath(file).name
      return pl.lit(any(part in name for part in self.names))
    if self.kind == 'column':
      return pl.col('label').is_not_null() if 'label' in columns else pl.lit(False)
    found = pl.col('text').str.extract_all(_ID_PATTERNS[self.kind])
    return found.list.eval(pl.element().is_in(sorted(self.names))).list.any()


def read_abnormal_blocks(path: Path) -> frozenset[str]:
  """Reads the abnormal blocks from HDFS's `anomaly_label.csv` (columns BlockId and Label).

  Raises:
    LogjaxError: for a file that cannot be read or lacks a column, for a row without a block, and
      for a label other than Normal and Anomaly.
  """
  name = file_name(path)
  try:
    if not path.is_file():  # a pipe might never end
      raise OSError('it is not a file')
    frame = pl.read_csv(path, columns=['BlockId', 'Label'], infer_schema=False, glob=False)
  except (OSError, pl.exceptions.PolarsError) as error:
    reason = _shown(str(error).partition('\n')[0])
    raise LogjaxError(
      f'{name}: cannot be read as a CSV file with the columns BlockId and Label ({reason})'
    ) from error
  others = frame.filter(~pl.col('Label').is_in(['Normal', 'Anomaly']).fill_null(False))
  if others.height:
    block, label = (_shown(text or '') for text in others.select('BlockId', 'Label').row(0))
    raise LogjaxError(
      f'{name}: block {block} is labelled {label!r}: Label must be Normal or Anomaly'
    )
  if frame['BlockId'].null_count():
    row = frame['BlockId'].is_null().arg_max() + 1
    raise LogjaxError(f'{name}: row {row} names no block: BlockId must be filled in every row')
  return frozenset(frame.filter(pl.col('Label') == 'Anomaly')['BlockId'])


def _shown(text: str) -> str:
  return visible(text[:_SHOWN_LIMIT])
