"""What a line of each known corpus looks like, and how a user describes those of another log.

A format is one regular expression with named groups, run on whole columns of lines. A line fits
when all of it matches.
"""

from dataclasses import dataclass
from functools import cached_property

from logjax.corpora.fields import check_fields, named_groups


@dataclass(frozen=True)
class LogFormat:
  """How the lines of a log are built.

  Attributes:
    name: what the format is called in configs and messages.
    pattern: a regular expression that a line must match from its first to its last character. The
      group `message` is required; `label`, `time` and `node` are optional. Polars' engine runs it,
      which never backtracks: `(a+)+$` takes no longer than in proportion to the line.
    time_format: 'epoch' for seconds since 1970, a format of chrono (almost that of strptime), or ''
      when there is no time.
    normal_label: the value of the group `label` that marks a normal line.
    example: one line in this format, shown beside lines that do not fit; '' shows the pattern.
  """

  name: str
  pattern: str
  time_format: str = ''
  normal_label: str = '-'
  example: str = ''

  @cached_property
  def whole_line(self) -> str:
    """The pattern, tied to both ends of the line so that no text is lost outside of it."""
    return f'^(?:{self.pattern})$'

  @cached_property
  def groups(self) -> tuple[str, ...]:
    """The named groups of the pattern."""
    return named_groups(self.whole_line)


# A line that ends after its level is kept, with an empty message. The date columns are spelled out,
# so that a file of one format does not pass for another.
_BGL = LogFormat(
  name='bgl',
  pattern=(
    r'(?<label>\S+) +(?<time>[0-9]+) +[0-9]{4}\.[0-9]{2}\.[0-9]{2} +(?<node>\S+) '
    r'+[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9.]+ +\S+ +\S+ +\S+ +\S+ ?(?<message>.*)'
  ),
  time_format='epoch',
  example=(
    '- 1117838570 2005.06.03 R02-M1-N0-C:J12-U11 2005-06-03-15.42.50.363779 R02-M1-N0-C:J12-U11 '
    'RAS KERNEL INFO instruction cache parity error corrected'
  ),
)

# The column after the time is node/node or user@node. The process stays in the message: not every
# line has one, not every process has a [pid] or a colon, and it says what the rest is about.
_THUNDERBIRD = LogFormat(
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
)

# The request in brackets is kept out: it names the request and its user, never what happened.
_OPENSTACK = LogFormat(
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
)

_HDFS = LogFormat(
  name='hdfs',
  pattern=r'(?<time>[0-9]{6} [0-9]{6}) +[0-9]+ +[A-Z]+ +\S+: ?(?<message>.*)',
  time_format='%y%m%d %H%M%S',
  example=(
    '081109 203615 148 INFO dfs.DataNode$PacketResponder: PacketResponder 1 for block '
    'blk_38865049064139660 terminating'
  ),
)

FORMATS = {log_format.name: log_format for log_format in (_BGL, _THUNDERBIRD, _OPENSTACK, _HDFS)}


def own_format(pattern: str, time_format: str = '', normal_label: str = '-') -> LogFormat:
  """The format of a user's own log, checked; Python's `.%f` is read as chrono's `%.f`.

  Raises:
    LogjaxError: for a pattern or a time format that cannot be used, as `named_groups` and
      `check_fields` say.
  """
  log_format = LogFormat('own', pattern, time_format.replace('.%f', '%.f'), normal_label)
  check_fields(log_format.groups, log_format.time_format)
  return log_format
