"""The embedded corpora: log files in the published formats, from grammars of our own.

A file is planned as bursts (one kind, one node, lines within seconds) that overlap in time, then
every burst is given a kind that its place in the file allows. N is lines, M bursts; no step loops
over lines.
"""

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl

from logjax.corpora.simulated import bgl, openstack, thunderbird
from logjax.corpora.simulated.rendering import Plan, fill, render
from logjax.errors import LogjaxError

# Abnormal lines over all lines in the paper. Its OpenStack labels are by file: this is the share
# of openstack_abnormal.log.
ABNORMAL_SHARE = {
  'bgl': 348_460 / 4_747_963,
  'thunderbird': 300_000 / 3_300_000,
  'openstack': 18_434 / 155_508,
}
MIN_LINES = 50
# Raised when a change gives other bytes, so that files of an older version are not taken for these.
VERSION = 1

_GRAMMARS = {'bgl': bgl, 'thunderbird': thunderbird, 'openstack': openstack}
# Of the bursts that lie within an era, how many take a kind of it. Normal lines change too, so that
# what is new is not abnormal for that alone.
_ERA_SHARE_NORMAL, _ERA_SHARE_ABNORMAL = 0.15, 0.45
_INSTANCE_SHARE = 0.45  # of OpenStack's lines that tell an instance's life
_INJECTED_SHARE = 0.08  # of openstack_abnormal.log's lines that name an instance with a fault
_POOL = 1024  # values of a sticky slot that bursts choose from
_SECOND = 1_000_000  # microseconds


def simulate(corpus: str, lines: int, seed: int, folder: Path) -> tuple[Path, ...]:
  """Writes a corpus of `lines` lines into `folder` and returns its files, the normal one first.

  'bgl' is BGL.log, 'thunderbird' is Thunderbird.log, 'openstack' is openstack_normal.log and
  openstack_abnormal.log, which cover the same hours. The class shares are those of
  `ABNORMAL_SHARE`. Equal arguments give equal bytes. A killed call leaves no half-written file.

  Raises:
    LogjaxError: the corpus is unknown, there are fewer than `MIN_LINES` lines, the seed is
      negative, or the folder cannot be written.
  """
  if corpus not in _GRAMMARS:
    raise LogjaxError(f'no embedded corpus {corpus!r}: choose one of {", ".join(_GRAMMARS)}')
  if lines < MIN_LINES:
    raise LogjaxError(
      f'{lines} simulated lines are too few for both classes: ask for {MIN_LINES} or more'
    )
  if seed < 0:
    raise LogjaxError(f'seed {seed} is negative: choose 0 or more')
  rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, *corpus.encode()))))
  plans = _plan(rng, corpus, lines, round(lines * ABNORMAL_SHARE[corpus]))
  paths = tuple(folder / name for name in plans)
  try:
    with _complete_or_absent(paths) as partial_paths:
      for path, plan in zip(partial_paths, plans.values(), strict=True):
        with path.open('wb') as file:
          for block in render(rng, plan, _GRAMMARS[corpus]):
            block.to_frame().write_csv(file, include_header=False, quote_style='never')
  except OSError as error:
    reason = error.strerror or error
    raise LogjaxError(
      f'{folder}: cannot write the simulated corpus ({reason}): choose another folder'
    ) from error
  return paths


def _plan(rng: np.random.Generator, corpus: str, lines: int, abnormal: int) -> dict[str, Plan]:
  """The plan of each file of the corpus by its name."""
  if corpus != 'openstack':
    grammar = _GRAMMARS[corpus]
    return {grammar.FILE: _plan_alerts(rng, grammar, lines, abnormal)}
  normal_file, abnormal_file = openstack.FILES
  return {
    normal_file: _plan_instances(rng, lines - abnormal, lines, injected=False),
    abnormal_file: _plan_instances(rng, abnormal, lines, injected=True),
  }


@contextlib.contextmanager
def _complete_or_absent(paths: Sequence[Path]) -> Iterator[list[Path]]:
  """Gives names to write under; they become `paths` at the end, and vanish on an error."""
  own = secrets.token_hex(8)  # hosts that share the folder can have processes of one number
  partial_paths = [path.with_name(f'.{path.name}.{own}.partial') for path in paths]
  for path in paths:
    path.parent.mkdir(parents=True, exist_ok=True)
  try:
    yield partial_paths
    for partial_path, path in zip(partial_paths, paths, strict=True):
      partial_path.replace(path)
  finally:
    for partial_path in partial_paths:
      partial_path.unlink(missing_ok=True)


def _plan_alerts(rng: np.random.Generator, grammar: ModuleType, lines: int, abnormal: int) -> Plan:
  """Plans BGL or Thunderbird: short bursts of normal lines, long ones of abnormal lines."""
  span = int(lines * grammar.SECONDS_PER_LINE * _SECOND)
  normal_length = _short_bursts(rng, lines - abnormal)
  # No burst has more than a twentieth of the alerts, and the bursts are spread evenly over the
  # file, so that each side of a chronological split has some.
  longest = max(1, abnormal // 20)
  drawn = 1 + rng.lognormal(1.9, 1.0, abnormal).astype(np.int64)
  alert_length = _cut(drawn.clip(max=longest), abnormal)
  length = np.concatenate([normal_length, alert_length])
  is_alert = np.arange(length.size) >= normal_length.size
  begin = np.concatenate([rng.random(normal_length.size), _spread(rng, alert_length.size)])
  pace = rng.lognormal(np.log(0.15 * _SECOND), 1.0, length.size)
  burst, _, time = _lay_out(rng, length, begin * span, pace)

  templates, groups = _alert_kinds(grammar)
  early, late = _eras(burst)
  kind = np.empty(length.size, np.int32)
  for abnormal_class, members, share in (
    (False, ~is_alert, _ERA_SHARE_NORMAL),
    (True, is_alert, _ERA_SHARE_ABNORMAL),
  ):
    own = rng.random(length.size) < share
    kind[members] = _choose_kinds(
      rng, groups[abnormal_class], (own & early)[members], (own & late)[members]
    )
  return Plan(
    time=grammar.START + time,
    kind=kind[burst],
    sticky=_stick(rng, grammar, burst, length.size),
    templates=templates,
  )


def _alert_kinds(grammar: ModuleType) -> tuple[list[str], dict[bool, dict[str, np.ndarray]]]:
  """Line templates of all kinds, and the kinds of each class (abnormal or not) and era."""
  templates: list[str] = []
  groups: dict[bool, dict[str, np.ndarray]] = {False: {}, True: {}}
  for era, kinds in grammar.NORMAL.items():
    groups[False][era] = len(templates) + np.arange(len(kinds))
    templates += [_line(grammar, source, message, '-') for source, message in kinds]
  for era, kinds in grammar.ABNORMAL.items():
    groups[True][era] = len(templates) + np.arange(len(kinds))
    templates += [_line(grammar, source, message, label) for label, source, message in kinds]
  return templates, groups


def _plan_instances(
  rng: np.random.Generator, lines: int, corpus_lines: int, *, injected: bool
) -> Plan:
  """Plans an OpenStack file: lives of instances, requests of the services between them, faults.

  With `injected`, the four published instances live in the file and take the steps of their fault
  again and again; nothing else in the file is abnormal but the frequencies of the services' kinds.
  """
  span = int(corpus_lines * openstack.SECONDS_PER_LINE * _SECOND)
  faults = openstack.FAULTS if injected else {}
  fault_lines = max(len(faults), round(_INJECTED_SHARE * lines)) if faults else 0
  fault_length = np.full(len(faults), fault_lines // max(1, len(faults)))
  fault_length[: fault_lines - fault_length.sum()] += 1
  steps = len(openstack.LIFE)
  life_lines = round(_INSTANCE_SHARE * (lines - fault_lines))
  life_length = _cut(np.full(life_lines // steps + 1, steps), life_lines)
  service_lines = lines - fault_lines - life_lines
  service_length = _short_bursts(rng, service_lines)

  length = np.concatenate([fault_length, life_length, service_length])
  lives = fault_length.size + life_length.size
  # The faults begin where each side of a chronological 60/20/20 split has one or two of them.
  begin = np.concatenate(
    [
      openstack.FAULT_BEGINS[: len(faults)],
      _spread(rng, life_length.size),
      _spread(rng, service_length.size),
    ]
  )
  pace = np.full(length.size, 0.3 * _SECOND)
  pace[:lives] = np.minimum(1.5 * _SECOND, 0.05 * span / length[:lives])
  burst, step, time = _lay_out(rng, length, begin * span, pace)

  templates = [_line(openstack, source, message) for source, message in openstack.LIFE]
  kind_of_burst = np.zeros(length.size, np.int32)
  service_kinds = openstack.SERVICES[::-1] if injected else openstack.SERVICES
  kind_of_burst[lives:] = len(templates) + _zipf_choice(
    rng, len(service_kinds), length.size - lives
  )
  templates += [_line(openstack, source, message) for source, message in service_kinds]
  kind = np.where(burst < lives, step % steps, kind_of_burst[burst])
  for index, fault in enumerate(faults.values()):
    members = burst == index
    kind[members] = len(templates) + step[members] % len(fault)
    templates += [_line(openstack, source, message) for source, message in fault]

  sticky = _stick(rng, openstack, burst, length.size)
  instances = fill(rng, openstack.INSTANCE, lives, {}, openstack.SLOTS).to_list()
  instances[: len(faults)] = faults
  sticky['instance'] = (pl.Series(instances), np.minimum(burst, lives - 1))
  return Plan(openstack.START + time, kind, sticky, templates)


def _line(grammar: ModuleType, source: str, message: str, label: str = '') -> str:
  return f'{grammar.HEADS[source]} {message}'.replace('{label}', label)


def _short_bursts(rng: np.random.Generator, lines: int) -> np.ndarray:
  """Lengths of bursts that hold `lines` lines: one line mostly, and at times many."""
  return _cut(rng.zipf(2.5, lines).clip(max=min(60, 1 + lines // 100)), lines)


def _cut(length: np.ndarray, lines: int) -> np.ndarray:
  """The first of the bursts, as many as hold `lines` lines; the last one is shortened to fit."""
  ends = np.cumsum(length)
  bursts = int(np.searchsorted(ends, lines)) + 1 if lines else 0
  length = length[:bursts].copy()
  if bursts:
    length[-1] -= ends[bursts - 1] - lines
  return length


def _spread(rng: np.random.Generator, bursts: int) -> np.ndarray:
  """Beginnings of bursts as shares of the file, one in each of equally long stretches of it."""
  return (rng.permutation(bursts) + rng.random(bursts)) / max(1, bursts)


def _lay_out(
  rng: np.random.Generator, length: np.ndarray, begin: np.ndarray, pace: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Lines of bursts [M] in order of time.

  Args: lengths in lines, beginnings and mean pauses between two lines in microseconds, [M] each.
  Returns: for each line [N] its burst, its place within the burst, and its time.
  """
  burst = np.repeat(np.arange(length.size), length)
  first = np.repeat(np.cumsum(length) - length, length)
  step = np.arange(burst.size) - first
  pause = np.cumsum(rng.standard_exponential(burst.size) * pace[burst])
  time = (begin[burst] + pause - pause[first]).astype(np.int64)
  order = np.argsort(time, kind='stable')
  return burst[order], step[order], time[order]


def _eras(burst: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Which bursts [M] lie in the first half of the lines, and which in the last third."""
  _, first = np.unique(burst, return_index=True)
  _, from_end = np.unique(burst[::-1], return_index=True)
  last = burst.size - 1 - from_end
  return last < burst.size / 2, first >= burst.size * 2 / 3


def _choose_kinds(
  rng: np.random.Generator, groups: dict[str, np.ndarray], early: np.ndarray, late: np.ndarray
) -> np.ndarray:
  """A kind for each burst [M]: of an era where told, else of those that occur always."""
  kind = groups['always'][_zipf_choice(rng, groups['always'].size, early.size)]
  for era, members in (('early', early), ('late', late)):
    choice = _zipf_choice(rng, groups[era].size, int(members.sum()))
    kind[members] = groups[era][choice]
  return kind


def _zipf_choice(rng: np.random.Generator, kinds: int, size: int) -> np.ndarray:
  """Indices [size] below `kinds` with Zipf-Mandelbrot weights 1 / (rank + 3)."""
  weights = 1 / (np.arange(kinds) + 3)
  return rng.choice(kinds, size, p=weights / weights.sum())


def _stick(
  rng: np.random.Generator, grammar: ModuleType, burst: np.ndarray, bursts: int
) -> dict[str, tuple[pl.Series, np.ndarray]]:
  """Pools of the sticky slots. One index serves all: a process keeps its number on its node."""
  # Squared, so that some nodes speak more often than others.
  index = (_POOL * rng.random(bursts) ** 2).astype(np.int64)[burst]
  return {
    name: (fill(rng, template, _POOL, {}, grammar.SLOTS), index)
    for name, template in grammar.STICKY.items()
  }
