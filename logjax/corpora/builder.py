"""The TFDS builder of the published corpora, one config each, without TensorFlow.

An example is a block of some thousand raw lines, because TFDS writes and reads about 5,000 examples
a second whatever their size. Lines are stored exactly as they were read and parsed later, so a
prepared corpus serves every labelling.

A `ShardBasedBuilder` keeps the order of the lines and needs memory for one shard. A
`GeneratorBasedBuilder` would collect a whole split in memory. Beyond 1,000 MiB (HDFS and
Thunderbird are larger) it continues in temporary files, and needs TensorFlow for them.

The builder reads a `manual_dir`; `download.py` downloads and says why TFDS does not.
"""

import contextlib
import functools
import io
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from logjax.corpora.catalog import CATALOG, LICENSE, RECORD
from logjax.corpora.download import find_logs, fingerprint
from logjax.corpora.reading import Block, read_blocks
from logjax.errors import LogjaxError

SPLIT = 'train'  # TFDS's name for the only split

_LINES_PER_EXAMPLE = 8_192
# A shard has about 64 MiB of text. TFDS keeps one in memory while it writes.
_EXAMPLES_PER_SHARD = 64

_Shard = Callable[[], Iterator[tuple[int, dict[str, Any]]]]


class LogCorpus(tfds.core.ShardBasedBuilder):
  """System logs of Loghub as blocks of raw lines."""

  name = 'logs'
  VERSION = tfds.core.Version('1.0.0')
  BUILDER_CONFIGS = [
    tfds.core.BuilderConfig(name=entry.name, description=entry.about) for entry in CATALOG.values()
  ]
  MANUAL_DOWNLOAD_INSTRUCTIONS = 'Put into manual_dir, for the config\n' + '\n'.join(
    f'{entry.name}: {" and ".join(entry.archive.members)} (plain or .gz), or {entry.archive.name} '
    f'from {entry.archive.url}'
    for entry in CATALOG.values()
  )

  def _info(self) -> tfds.core.DatasetInfo:
    return tfds.core.DatasetInfo(
      builder=self,
      description=CATALOG[self.builder_config.name].about,
      features=tfds.features.FeaturesDict(
        {
          'lines': tfds.features.Text(doc='Consecutive raw lines, a newline after each.'),
          'file': tfds.features.Text(doc='Name of the file of the lines.'),
          'first_line': tfds.features.Scalar(np.int64, doc='Number of the first line, from 1.'),
        }
      ),
      disable_shuffling=True,
      homepage=RECORD,
      license=LICENSE,
      citation=CATALOG[self.builder_config.name].citation,
    )

  def _shard_iterators_per_split(self, dl_manager) -> Mapping[str, Sequence[_Shard]]:
    """Cuts the corpus into shards. TFDS calls them in order; all read from one stream.

    TFDS wants their number first. So the files are read once before; this also finds damage.
    """
    archive = CATALOG[self.builder_config.name].archive
    files = find_logs(archive, Path(dl_manager.manual_dir), Path(dl_manager.download_dir))
    examples = sum(1 for _ in read_blocks(files, _LINES_PER_EXAMPLE))
    shard = functools.partial(itertools.islice, _examples(files), _EXAMPLES_PER_SHARD)
    shards = -(-examples // _EXAMPLES_PER_SHARD)  # rounded up
    return {SPLIT: [shard] * shards}


def _examples(files: Sequence[Path]) -> Iterator[tuple[int, dict[str, Any]]]:
  """Yields the examples of all files with their numbers as keys."""
  for key, block in enumerate(read_blocks(files, _LINES_PER_EXAMPLE)):
    yield (
      key,
      {
        'lines': ''.join(f'{line}\n' for line in block.lines),
        'file': Path(block.file).name,
        'first_line': block.first_line,
      },
    )


def prepared_blocks(corpus: str, files: Sequence[Path], data_dir: Path) -> Iterator[Block]:
  """Prepares a corpus with TFDS, unless it is prepared already, and reads it back.

  Args:
    corpus: a key of `CATALOG`.
    files: its log files, all in one folder, as found by `find_logs`.
    data_dir: TFDS's folder. Other or changed files are prepared beside the old ones.

  Yields:
    The blocks of the files in order, with the same lines as those of `read_blocks`.

  Raises:
    LogjaxError: if a file cannot be read to its end, or `data_dir` cannot be written.
  """
  make = functools.partial(
    LogCorpus, config=corpus, data_dir=data_dir / fingerprint(files), file_format='array_record'
  )
  builder = make()
  config = tfds.download.DownloadConfig(manual_dir=files[0].parent)
  try:
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints that it knows no sizes
      builder.download_and_prepare(download_dir=data_dir / 'unpacked', download_config=config)
  except OSError as error:
    builder = make()
    if not builder.is_prepared():  # else another process prepared the same corpus first
      raise LogjaxError(
        f'{data_dir}: cannot prepare {corpus} there ({error}): name another folder in data.data_dir'
      ) from error
  paths = {file.name: str(file) for file in files}
  for example in builder.as_data_source(split=SPLIT):
    lines = example['lines'].decode().split('\n')[:-1]
    yield Block(paths[example['file'].decode()], int(example['first_line']), lines)
