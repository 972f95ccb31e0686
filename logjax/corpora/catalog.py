"""The catalog of known corpora: one entry each.

A new corpus is one entry in `CATALOG`. A corpus with a simulated version also has a grammar, a
module in `simulated/`. `settings.py` reads the catalog before anything slow is imported, so this
module imports neither Polars nor TFDS.
"""

from types import ModuleType
from typing import NamedTuple

from logjax.corpora.simulated import bgl, openstack, thunderbird

RECORD = 'https://zenodo.org/records/8196385'  # Loghub, the home of all archives below
LICENSE = 'CC BY 4.0'

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


class LogFormat(NamedTuple):
  """The layout of a log's lines: one regular expression with named groups.

  Attributes:
    name: of the format in configs and messages.
    pattern: must match a line from its first to its last character. The group `message` is
      required. The groups `label`, `time` and `node` are optional. Polars runs the pattern with an
      engine without backtracking, so its time grows linearly with the length of the line.
    time_format: 'epoch' for seconds since 1970, a chrono format (almost that of strptime), or ''
      for lines without a time.
    normal_label: value of the group `label` in a normal line.
    example: one line in this format, printed beside lines that do not fit; '' prints the pattern.
  """

  name: str
  pattern: str
  time_format: str = ''
  normal_label: str = '-'
  example: str = ''

  @property
  def whole_line(self) -> str:
    """The pattern, anchored at both ends of the line."""
    return f'^(?:{self.pattern})$'


class Archive(NamedTuple):
  """A published archive.

  Attributes:
    name: its file name.
    url: its address.
    md5: its MD5 sum, hexadecimal.
    members: names of the log files in it, in reading order.
    sha256: its SHA-256 sum, '' if unpublished.
    size: its bytes, 0 if unpublished.
    label_file: name of the file with the labels in it, '' if the lines carry the labels.
  """

  name: str
  url: str
  md5: str
  members: tuple[str, ...]
  sha256: str = ''
  size: int = 0
  label_file: str = ''


class Paper(NamedTuple):
  """The treatment of a corpus by Farzad and Gulliver (IJAIA 11(4), 2020).

  The defaults also serve corpora outside of the paper.

  Attributes:
    table: key of its results in `reports/paper.py`, '' if the paper has none.
    train: training share of the 5 % of rows outside the test set; the rest validates.
    sets: number of sets of abnormal rows, with one generator each.
    labels: `data.labels` of the paper's protocol, '' for the labels of the catalog entry.
  """

  table: str = ''
  train: float = 0.05
  sets: int = 7
  labels: str = ''


class Entry(NamedTuple):
  """Everything known of one corpus.

  Attributes:
    format: the layout of its lines; `format.name` is the name of the corpus.
    about: one sentence on the system and the numbers of lines.
    citation: BibTeX of its origin.
    archive: its published files.
    labels: the meaning of `data.labels='auto'`; `labels.py` lists the kinds.
    abnormal_instances: ids of the abnormal instances, for labels by 'instance'.
    grammar: module with its simulated messages, None if it cannot be simulated.
    abnormal_share: share of abnormal lines in the simulated corpus.
    paper: its treatment in the paper.
  """

  format: LogFormat
  about: str
  citation: str
  archive: Archive
  labels: str = 'column'
  abnormal_instances: frozenset[str] = frozenset()
  grammar: ModuleType | None = None
  abnormal_share: float = 0.0
  paper: Paper = Paper()

  @property
  def name(self) -> str:
    """The name of the corpus."""
    return self.format.name


# In the patterns the date columns are spelled out, so that no line fits two formats. The message
# may be empty: some lines end after their level.
_BGL = Entry(
  format=LogFormat(
    name='bgl',
    pattern=(
      r'(?<label>\S+) +(?<time>[0-9]+) +[0-9]{4}\.[0-9]{2}\.[0-9]{2} +(?<node>\S+) '
      r'+[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9.]+ +\S+ +\S+ +\S+ +\S+ ?(?<message>.*)'
    ),
    time_format='epoch',
    example=(
      '- 1117838570 2005.06.03 R02-M1-N0-C:J12-U11 2005-06-03-15.42.50.363779 '
      'R02-M1-N0-C:J12-U11 RAS KERNEL INFO instruction cache parity error corrected'
    ),
  ),
  about='Blue Gene/L at Lawrence Livermore National Laboratory: 4,747,963 lines, 348,460 abnormal.',
  citation=f'{_LOGHUB}\n{_SUPERCOMPUTERS}',
  archive=Archive(
    name='BGL.zip',
    url=f'{RECORD}/files/BGL.zip',
    md5='4452953c470f2d95fcb32d5f6e733f7a',
    members=('BGL.log',),
    sha256='d67fd82a711aea0157a9b83175892c6ee60e384a2ddf5bc51f39118453816da8',
    size=57_489_019,
  ),
  grammar=bgl,
  abnormal_share=348_460 / 4_747_963,
  paper=Paper(table='bgl'),
)

# The column after the time is node/node or user@node. The process stays in the message: it says
# what the rest is about, and not every line has one, with a [pid] and a colon.
_THUNDERBIRD = Entry(
  format=LogFormat(
    name='thunderbird',
    pattern=(
      r'(?<label>\S+) +(?<time>[0-9]+) +[0-9]{4}\.[0-9]{2}\.[0-9]{2} +(?<node>\S+) '
      r'+[A-Z][a-z]{2} +[0-9]{1,2} +[0-9]{2}:[0-9]{2}:[0-9]{2} +[^\s/@]+[/@]\S+ ?(?<message>.*)'
    ),
    time_format='epoch',
    example=(
      '- 1131566461 2005.11.09 dn228 Nov 9 12:01:01 dn228/dn228 crond(pam_unix)[2915]: '
      'session closed for user root'
    ),
  ),
  about='Thunderbird at Sandia National Laboratories: 211,212,192 lines.',
  citation=f'{_LOGHUB}\n{_SUPERCOMPUTERS}',
  archive=Archive(
    name='Thunderbird.tar.gz',
    url=f'{RECORD}/files/Thunderbird.tar.gz',
    md5='0891b048df2919dc78c99c4428686b44',
    members=('Thunderbird.log',),
  ),
  grammar=thunderbird,
  abnormal_share=300_000 / 3_300_000,
  paper=Paper(table='thunderbird'),
)

# The pattern leaves out the request in brackets: it identifies a request and its user, and does
# not describe an event. The paper labels OpenStack by file, so `abnormal_share` is the share of
# openstack_abnormal.log.
_OPENSTACK = Entry(
  format=LogFormat(
    name='openstack',
    pattern=(
      r'(?:\S+ +)?(?<time>[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?) '
      r'+[0-9]+ +[A-Z]+ +\S+ ?(?:\[(?:-|req-[^\]]*)\] ?)?(?<message>.*)'
    ),
    time_format='%Y-%m-%d %H:%M:%S%.f',
    example=(
      'nova-compute.log.1.2017-05-16_13:55:31 2017-05-16 00:00:04.500 2931 INFO '
      'nova.compute.manager [req-3ea4052c-895d-4b64-9e2d-04d64c4d94ab - - - - -] '
      '[instance: b9000564-fe1a-409b-b8cc-1e88b294cd1d] VM Started (Lifecycle Event)'
    ),
  ),
  about=(
    'OpenStack in three files, one of them with faults injected into instances: 207,820 lines.'
  ),
  citation=f'{_LOGHUB}\n{_DEEPLOG}',
  archive=Archive(
    name='OpenStack.tar.gz',
    url=f'{RECORD}/files/OpenStack.tar.gz',
    md5='66bd42c07837a094d9b0ea2d036b5713',
    members=('openstack_normal1.log', 'openstack_normal2.log', 'openstack_abnormal.log'),
  ),
  labels='instance',
  # The instances with an injected fault, as published with the corpus.
  abnormal_instances=frozenset(
    {
      '544fd51c-4edc-4780-baae-ba1d80a0acfc',
      'ae651dff-c7ad-43d6-ac96-bbcd820ccca8',
      'a445709b-6ad0-40ec-8860-bec60b6ca0c2',
      '1643649d-2f42-4303-bfcd-7798baec19f9',
    }
  ),
  grammar=openstack,
  abnormal_share=18_434 / 155_508,
  paper=Paper(table='openstack', train=0.85, sets=2, labels='file'),
)

_HDFS = Entry(
  format=LogFormat(
    name='hdfs',
    pattern=r'(?<time>[0-9]{6} [0-9]{6}) +[0-9]+ +[A-Z]+ +\S+: ?(?<message>.*)',
    time_format='%y%m%d %H%M%S',
    example=(
      '081109 203615 148 INFO dfs.DataNode$PacketResponder: PacketResponder 1 for block '
      'blk_38865049064139660 terminating'
    ),
  ),
  about='The Hadoop file system: 11,175,629 lines of 575,061 blocks, 16,838 of them abnormal.',
  citation=f'{_LOGHUB}\n{_CONSOLE_LOGS}',
  archive=Archive(
    name='HDFS_v1.zip',
    url=f'{RECORD}/files/HDFS_v1.zip',
    md5='76a24b4d9a6164d543fb275f89773260',
    members=('HDFS.log',),
    label_file='anomaly_label.csv',
  ),
  labels='blocks',
)

CATALOG = {entry.name: entry for entry in (_BGL, _THUNDERBIRD, _OPENSTACK, _HDFS)}
