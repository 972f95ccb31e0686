"""TFDS builders for the published corpora, one each, without TensorFlow.

An example is a block of some thousand raw lines, because TFDS writes and reads about 5,000
examples a second whatever their size. Lines are kept exactly as they were read; what they mean is
decided afterwards by `formats.py`, so that a prepared corpus serves every labelling.

The builders are `ShardBasedBuilder`s, which keep the order of the lines and need memory for one
shard. A `GeneratorBasedBuilder` collects a whole split in memory, and beyond 1,000 MiB (HDFS and
Thunderbird are larger) goes on in temporary files, for which it needs TensorFlow.

The builders read a `manual_dir` and download nothing: `download.py` says why.
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

from logjax.corpora.archives import ARCHIVES, LICENSE, RECORD, Archive, find_logs, fingerprint
from logjax.corpora.reading import Block, read_blocks
from logjax.errors import LogjaxError

VERSION = tfds.core.Version('1.0.0')
SPLIT = 'train'  # TFDS's name for a corpus that nobody has split yet

_LINES_PER_EXAMPLE = 8_192
# About 64 MiB of text: what a shard holds, and what TFDS keeps in memory while it writes one.
_EXAMPLES_PER_SHARD = 64

_LOGHUB = """@inproceedings{zhu2023loghub,
  title={Loghub: A Large Collection of System Log Datasets for AI-driven Log Analytics},
  author={Zhu, Jieming and He, Shilin and He, Pinjia and Liu, Jinyang and Lyu, Michael R.},
  booktitle={IEEE International Symposium on Software Reliability Engineering (ISSRE)},
  year={2023}
}"""
_SUPERCOMPUTERS = """@inproceedings{oliner2007supercomputers,
  title={What Supercomputers Say: A Study of Five System Logs},
  author={Oliner, Adam and Stearley, Jon},
  booktitle={IEEE/IFIP International Conference on Dependable Systems and Networks (DSN)},
  year={2007}
}"""
_DEEPLOG = """@inproceedings{du2017deeplog,
  title={{DeepLog}: Anomaly Detection and Diagnosis from System Logs through Deep Learning},
  author={Du, Min and Li, Feifei and Zheng, Guineng and Srikumar, Vivek},
  booktitle={ACM SIGSAC Conference on Computer and Communications Security (CCS)},
  year={2017}
}"""
_CONSOLE_LOGS = """@inproceedings{xu2009detecting,
  title={Detecting Large-Scale System Problems by Mining Console Logs},
  author={Xu, Wei and Huang, Ling and Fox, Armando and Patterson, David and Jordan, Michael I.},
  booktitle={ACM SIGOPS Symposium on Operating Systems Principles (SOSP)},
  year={2009}
}"""

_Shard = Callable[[], Iterator[tuple[int, dict[str, Any]]]]


def _instructions(archive: Archive) -> str:
  return (
    f'Put {" and ".join(archive.members)} (plain or .gz), or {archive.name} from {archive.url}, '
    'into manual_dir.'
  )


class Bgl(tfds.core.ShardBasedBuilder):
  """Blue Gene/L at Lawrence Livermore National Laboratory: 4,747,963 lines, 348,460 abnormal."""

  VERSION = VERSION
  MANUAL_DOWNLOAD_INSTRUCTIONS = _instructions(ARCHIVES['bgl'])

  def _info(self) -> tfds.core.DatasetInfo:
    return _dataset_info(self, _SUPERCOMPUTERS)

  def _shard_iterators_per_split(self, dl_manager) -> Mapping[str, Sequence[_Shard]]:
    return _shards(ARCHIVES['bgl'], dl_manager)


class Thunderbird(tfds.core.ShardBasedBuilder):
  """Thunderbird at Sandia National Laboratories: 211,212,192 lines."""

  VERSION = VERSION
  MANUAL_DOWNLOAD_INSTRUCTIONS = _instructions(ARCHIVES['thunderbird'])

  def _info(self) -> tfds.core.DatasetInfo:
    return _dataset_info(self, _SUPERCOMPUTERS)

  def _shard_iterators_per_split(self, dl_manager) -> Mapping[str, Sequence[_Shard]]:
    return _shards(ARCHIVES['thunderbird'], dl_manager)


class OpenStack(tfds.core.ShardBasedBuilder):
  """OpenStack in three files, one of them with faults injected into instances: 207,820 lines."""

  name = 'openstack'
  VERSION = VERSION
  MANUAL_DOWNLOAD_INSTRUCTIONS = _instructions(ARCHIVES['openstack'])

  def _info(self) -> tfds.core.DatasetInfo:
    return _dataset_info(self, _DEEPLOG)

  def _shard_iterators_per_split(self, dl_manager) -> Mapping[str, Sequence[_Shard]]:
    return _shards(ARCHIVES['openstack'], dl_manager)


class Hdfs(tfds.core.ShardBasedBuilder):
  """Hadoop's file system: 11,175,629 lines of 575,061 blocks, of which 16,838 are abnormal."""

  VERSION = VERSION
  MANUAL_DOWNLOAD_INSTRUCTIONS = _instructions(ARCHIVES['hdfs'])

  def _info(self) -> tfds.core.DatasetInfo:
    return _dataset_info(self, _CONSOLE_LOGS)

  def _shard_iterators_per_split(self, dl_manager) -> Mapping[str, Sequence[_Shard]]:
    return _shards(ARCHIVES['hdfs'], dl_manager)


BUILDERS = {'bgl': Bgl, 'thunderbird': Thunderbird, 'openstack': OpenStack, 'hdfs': Hdfs}


def _dataset_info(builder: tfds.core.DatasetBuilder, citation: str) -> tfds.core.DatasetInfo:
  return tfds.core.DatasetInfo(
    builder=builder,
    description=type(builder).__doc__,
    features=tfds.features.FeaturesDict(
      {
        'lines': tfds.features.Text(doc='Consecutive raw lines, a newline after each.'),
        'file': tfds.features.Text(doc='Name of the file that they are from.'),
        'first_line': tfds.features.Scalar(np.int64, doc='Number of the first one, from 1.'),
      }
    ),
    disable_shuffling=True,
    homepage=RECORD,
    license=LICENSE,
    citation=f'{_LOGHUB}\n{citation}',
  )


def _shards(archive: Archive, dl_manager) -> Mapping[str, Sequence[_Shard]]:
  """Cuts the corpus into shards: TFDS calls them one after the other, all read from one stream.

  How many there are must be known beforehand, hence a first reading, which also finds out whether
  the files can be read to their ends.
  """
  files = find_logs(archive, Path(dl_manager.manual_dir), Path(dl_manager.download_dir))
  examples = sum(1 for _ in read_blocks(files, _LINES_PER_EXAMPLE))
  stream = _examples(files)
  shard = functools.partial(itertools.islice, stream, _EXAMPLES_PER_SHARD)
  return {SPLIT: [shard] * -(-examples // _EXAMPLES_PER_SHARD)}


def _examples(files: Sequence[Path]) -> Iterator[tuple[int, dict[str, Any]]]:
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
  """Prepares a corpus with TFDS, unless that was done before, and reads it back.

  Args:
    corpus: a key of `BUILDERS`.
    files: its log files, of one folder, as `find_logs` finds them there.
    data_dir: TFDS's folder. Other or changed files are prepared afresh beside the old ones.

  Returns:
    The blocks of the files in order, equal to what `read_blocks` makes of them line by line.

  Raises:
    LogjaxError: when a file cannot be read to its end, or `data_dir` cannot be written.
  """
  make = functools.partial(
    BUILDERS[corpus], data_dir=data_dir / fingerprint(files), file_format='array_record'
  )
  builder = make()
  config = tfds.download.DownloadConfig(manual_dir=files[0].parent)
  try:
    with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints that it knows no sizes
      builder.download_and_prepare(download_dir=data_dir / 'unpacked', download_config=config)
  except OSError as error:
    builder = make()
    if not builder.is_prepared():  # else another process was quicker, and the corpus is the same
      raise LogjaxError(
        f'{data_dir}: cannot prepare {corpus} there ({error}): name another folder in data.data_dir'
      ) from error
  paths = {file.name: str(file) for file in files}
  for example in builder.as_data_source(split=SPLIT):
    lines = example['lines'].decode().split('\n')[:-1]
    yield Block(paths[example['file'].decode()], int(example['first_line']), lines)
