"""What makes a line abnormal: its own label column, a name that occurs in it, or its file."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import polars as pl

from logjax.corpora.reading import CONTROLS, file_name
from logjax.errors import LogjaxError

# The four instances of OpenStack with an injected fault, as published with the corpus.
OPENSTACK_ABNORMAL_INSTANCES = frozenset(
  {
    '544fd51c-4edc-4780-baae-ba1d80a0acfc',
    'ae651dff-c7ad-43d6-ac96-bbcd820ccca8',
    'a445709b-6ad0-40ec-8860-bec60b6ca0c2',
    '1643649d-2f42-4303-bfcd-7798baec19f9',
  }
)

# Names are found as whole words first and looked up then: a search for each of HDFS's 16,838
# abnormal blocks would be slow, and would find blk_38 in blk_386.
_NAME_PATTERNS = {
  'instance': '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}',
  'blocks': 'blk_-?[0-9]+',
}
_KINDS = ('column', 'instance', 'blocks', 'file')
_HEADER_LIMIT = 10_000  # bytes in which the first line of a label file must name its columns


@dataclass(frozen=True)
class LineLabels:
  """How lines become abnormal.

  The published labellings are

    LineLabels()                                             BGL, Thunderbird, own formats
    LineLabels('instance', OPENSTACK_ABNORMAL_INSTANCES)     OpenStack, by injected fault
    LineLabels('file', frozenset({'abnormal'}))              OpenStack, as in the paper
    LineLabels('blocks', read_abnormal_blocks(csv))           HDFS

  Attributes:
    kind: 'column' (the format's label is not its normal label; a format without a label leaves the
      lines unlabelled), 'instance' or 'blocks' (the line names one of `names`), or 'file' (the
      file's name, without its folders, contains one of `names`).
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
    """Whether a line is abnormal, as a Boolean expression.

    Args:
      file: where the lines are from.
      columns: those of the frame that the expression is meant for: `text` (whole lines), and
        `label` (null where normal) where the format has labels.
    """
    if self.kind == 'file':
      name = PurePath(file).name
      return pl.lit(any(part in name for part in self.names))
    if self.kind == 'column':
      return pl.col('label').is_not_null() if 'label' in columns else pl.lit(False)
    found = pl.col('text').str.extract_all(_NAME_PATTERNS[self.kind])
    return found.list.eval(pl.element().is_in(sorted(self.names))).list.any()


def read_abnormal_blocks(path: Path) -> frozenset[str]:
  """Reads the abnormal blocks from HDFS's `anomaly_label.csv` (columns BlockId and Label).

  Raises:
    LogjaxError: for a file that cannot be read, lacks a column, has a row without a block, or
      labels a block other than Normal or Anomaly.
  """
  name = file_name(path)
  try:
    _check_header(path)
    frame = pl.read_csv(path, columns=['BlockId', 'Label'], infer_schema=False, glob=False)
  except (OSError, pl.exceptions.PolarsError) as error:
    reason = str(error).partition('\n')[0]
    raise LogjaxError(
      f'{name}: cannot be read as a CSV file with the columns BlockId and Label ({_shown(reason)})'
    ) from error
  others = frame.filter(~pl.col('Label').is_in(['Normal', 'Anomaly']).fill_null(False))
  if others.height:
    raise LogjaxError(
      f'{name}: block {_shown(others["BlockId"][0])} is labelled {_shown(others["Label"][0])!r}: '
      'Label must be Normal or Anomaly'
    )
  if frame['BlockId'].null_count():
    row = frame['BlockId'].is_null().arg_max() + 1
    raise LogjaxError(f'{name}: row {row} names no block: BlockId must be filled in every row')
  return frozenset(frame.filter(pl.col('Label') == 'Anomaly')['BlockId'])


def _check_header(path: Path) -> None:
  """Looks at a first few bytes: all of a pipe, a device or a packed file might be endless."""
  if not path.is_file():
    raise OSError('it is not a file')
  with path.open('rb') as file:
    if b'BlockId' not in file.read(_HEADER_LIMIT).partition(b'\n')[0]:
      raise OSError('its first line does not name BlockId')


def _shown(text: str | None) -> str | None:
  """The begin of a text, control characters as escapes."""
  return text and text[:100].translate(str.maketrans(CONTROLS))
