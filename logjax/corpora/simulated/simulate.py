"""Simulates log files in the published formats, from grammars of our own.

A file is planned as bursts: lines of one kind from one node within seconds. Bursts overlap in time.
Each burst then gets a kind allowed at its place in the file. Everything works on whole
columns; no step loops over lines.

N is the number of lines, M the number of bursts.
"""

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl

from logjax.corpora.catalog import CATALOG
from logjax.corpora.simulated import openstack
from logjax.corpora.simulated.rendering import Plan, fill, render
from logjax.errors import LogjaxError

MIN_LINES = 50
# Raise it with every change of the bytes, so that cached files of an older version are not used.
VERSION = 1

# Of the bursts within an era, the share that takes a kind of that era. Normal kinds have eras too,
# so that a new kind is not abnormal for being new.
_ERA_SHARE_NORMAL, _ERA_SHARE_ABNORMAL = 0.15, 0.45
_INSTANCE_SHARE = 0.45  # of OpenStack's lines, those from the life of an instance
_INJECTED_SHARE = 0.08  # of openstack_abnormal.log's lines, those of an instance with a fault
_POOL = 1024  # values of a sticky slot that bursts choose from
_SECOND = 1_000_000  # microseconds


def simulate(corpus: str, lines: int, seed: int, folder: Path) -> tuple[Path, ...]:
  """Writes a corpus of `lines` lines into `folder` and returns its files, the normal one first.

  BGL and Thunderbird are one file each. OpenStack is openstack_normal.log and
  openstack_abnormal.log; both cover the same hours. The catalog has the share of abnormal lines.
  Equal arguments give equal bytes. A killed call leaves no half-written file.

  Raises:
    LogjaxError: if the corpus has no grammar, `lines` is below `MIN_LINES`, the seed is negative,
      or the folder cannot be written.
  """
  entries = {name: entry for name, entry in CATALOG.items() if entry.grammar}
  if corpus not in entries:
    raise LogjaxError(f'there is no simulated {corpus!r}: choose one of {", ".join(entries)}')
  if lines < MIN_LINES:
    raise LogjaxError(
      f'{lines} simulated lines are too few for both classes: ask for {MIN_LINES} or more'
    )
  if seed < 0:
    raise LogjaxError(f'seed {seed} is negative: choose 0 or more')
  rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence((seed, *corpus.encode()))))
  grammar, abnormal = entries[corpus].grammar, round(lines * entries[corpus].abnormal_share)
  plans = _plan(rng, grammar, lines, abnormal)
  paths = tuple(folder / name for name in plans)
  try:
    with _complete_or_absent(paths) as partial_paths:
      for path, plan in zip(partial_paths, plans.values(), strict=True):
        with path.open('wb') as file:
          for block in render(rng, plan, grammar):
            block.to_frame().write_csv(file, include_header=False, quote_style='never')
  except OSError as error:
    reason = error.strerror or error
    raise LogjaxError(
      f'{folder}: cannot write the simulated corpus ({reason}): choose another folder'
    ) from error
  return paths


def _plan(
  rng: np.random.Generator, grammar: ModuleType, lines: int, abnormal: int
) -> dict[str, Plan]:
  """Returns the plan of each file of a corpus by its name."""
  if grammar is not openstack:
    return {grammar.FILE: _plan_alerts(rng, grammar, lines, abnormal)}
  normal_file, abnormal_file = openstack.FILES
  return {
    normal_file: _plan_instances(rng, lines - abnormal, lines, injected=False),
    abnormal_file: _plan_instances(rng, abnormal, lines, injected=True),
  }


@contextlib.contextmanager
def _complete_or_absent(paths: Sequence[Path]) -> Iterator[list[Path]]:
  """Gives names to write under; they become `paths` at the end, and are removed on an error."""
  own = secrets.token_hex(8)  # two hosts with one folder may have equal process numbers
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
  """Plans BGL or Thunderbird: short bursts of normal lines and long ones of abnormal lines."""
  span = int(lines * grammar.SECONDS_PER_LINE * _SECOND)
  normal_length = _short_bursts(rng, lines - abnormal)
  # A burst has at most a twentieth of the alerts, and bursts are spread evenly over the file. So
  # each side of a chronological split has some.
  longest = max(1, abnormal // 20)
  drawn = 1 + rng.lognormal(1.9, 1.0, abnormal).astype(np.int64)
  alert_length = _cut(drawn.clip(max=longest), abnormal)
  # Bursts are numbered: first the normal ones, then the alerts.
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
    own = rng.random(length.size) < share  # bursts that take a kind of their era
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
  """Lists the line templates of all kinds.

  Returns:
    The templates, and the indices of the kinds by class (abnormal or not) and era.
  """
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
  """Plans an OpenStack file: faults, lives of instances, and requests of the services.

  With `injected` the four published instances live in the file and repeat the steps of their fault.
  Otherwise only the frequencies of the services' kinds differ from a normal file.

  Args:
    rng: the generator.
    lines: number of lines of the file.
    corpus_lines: number of lines of both files; they cover the same hours.
    injected: if the file has the instances with a fault.
  """
  span = int(corpus_lines * openstack.SECONDS_PER_LINE * _SECOND)
  faults = openstack.FAULTS if injected else {}
  # The lines of the faults are divided equally; the first bursts take one line more of the rest.
  fault_lines = max(len(faults), round(_INJECTED_SHARE * lines)) if faults else 0
  fault_length = np.full(len(faults), fault_lines // max(1, len(faults)))
  fault_length[: fault_lines - fault_length.sum()] += 1
  # Each life is all steps of LIFE; the last one is cut to fit.
  steps = len(openstack.LIFE)
  life_lines = round(_INSTANCE_SHARE * (lines - fault_lines))
  life_length = _cut(np.full(life_lines // steps + 1, steps), life_lines)
  service_lines = lines - fault_lines - life_lines
  service_length = _short_bursts(rng, service_lines)

  # Bursts are numbered: first the faults, then the lives (together `lives` bursts of one instance
  # each), then the requests of the services.
  length = np.concatenate([fault_length, life_length, service_length])
  lives = fault_length.size + life_length.size
  # Faults begin at fixed places: each side of a chronological 60/20/20 split has one or two.
  begin = np.concatenate(
    [
      openstack.FAULT_BEGINS[: len(faults)],
      _spread(rng, life_length.size),
      _spread(rng, service_length.size),
    ]
  )
  # A step of a life takes 1.5 s, or less in a small file, so that a life is 5 % of the span.
  pace = np.full(length.size, 0.3 * _SECOND)
  pace[:lives] = np.minimum(1.5 * _SECOND, 0.05 * span / length[:lives])
  burst, step, time = _lay_out(rng, length, begin * span, pace)

  # Kinds are numbered in the order of `templates`: the steps of a life, then the services, then the
  # steps of each fault. A service burst has one kind.
  templates = [_line(openstack, source, message) for source, message in openstack.LIFE]
  kind_of_burst = np.zeros(length.size, np.int32)
  service_kinds = openstack.SERVICES[::-1] if injected else openstack.SERVICES
  kind_of_burst[lives:] = len(templates) + _zipf_choice(
    rng, len(service_kinds), length.size - lives
  )
  templates += [_line(openstack, source, message) for source, message in service_kinds]
  # A line of a life has the kind of its step. Lines of faults get that too, and are then set below.
  kind = np.where(burst < lives, step % steps, kind_of_burst[burst])
  for index, fault in enumerate(faults.values()):
    members = burst == index
    kind[members] = len(templates) + step[members] % len(fault)
    templates += [_line(openstack, source, message) for source, message in fault]

  sticky = _stick(rng, openstack, burst, length.size)
  # One instance a burst, the first ones with the published ids. Service lines do not show it, but
  # need some valid index.
  instances = fill(rng, openstack.INSTANCE, lives, {}, openstack.SLOTS).to_list()
  instances[: len(faults)] = faults
  sticky['instance'] = (pl.Series(instances), np.minimum(burst, lives - 1))
  return Plan(openstack.START + time, kind, sticky, templates)


def _line(grammar: ModuleType, source: str, message: str, label: str = '') -> str:
  """Returns the template of a whole line."""
  return f'{grammar.HEADS[source]} {message}'.replace('{label}', label)


def _short_bursts(rng: np.random.Generator, lines: int) -> np.ndarray:
  """Draws lengths of bursts with `lines` lines in all: mostly one line, sometimes many."""
  return _cut(rng.zipf(2.5, lines).clip(max=min(60, 1 + lines // 100)), lines)


def _cut(length: np.ndarray, lines: int) -> np.ndarray:
  """Returns as many of the first bursts as have `lines` lines; shortens the last one to fit."""
  ends = np.cumsum(length)
  bursts = int(np.searchsorted(ends, lines)) + 1 if lines else 0
  length = length[:bursts].copy()
  if bursts:
    length[-1] -= ends[bursts - 1] - lines
  return length


def _spread(rng: np.random.Generator, bursts: int) -> np.ndarray:
  """Draws beginnings of bursts as shares of the file, one in each of M equally long stretches."""
  return (rng.permutation(bursts) + rng.random(bursts)) / max(1, bursts)


def _lay_out(
  rng: np.random.Generator, length: np.ndarray, begin: np.ndarray, pace: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Puts the lines of bursts in order of time.

  Args:
    rng: the generator.
    length: lines of each burst, [M].
    begin: beginning of each burst in microseconds, [M].
    pace: mean pause between two lines of a burst in microseconds, [M].

  Returns:
    For each line [N] its burst, its step within the burst (from 0), and its time.
  """
  burst = np.repeat(np.arange(length.size), length)
  first = np.repeat(np.cumsum(length) - length, length)  # index of the first line of its burst
  step = np.arange(burst.size) - first
  # One running sum of pauses over all bursts; subtracting its value at the first line of a burst
  # leaves the time since that line.
  pause = np.cumsum(rng.standard_exponential(burst.size) * pace[burst])
  time = (begin[burst] + pause - pause[first]).astype(np.int64)
  order = np.argsort(time, kind='stable')
  return burst[order], step[order], time[order]


def _eras(burst: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Finds the bursts in the first half of the lines and those in the last third.

  Args:
    burst: of each line in order of time, [N].

  Returns:
    Two Booleans [M]: all lines of the burst are in the first half; all are in the last third.
  """
  _, first = np.unique(burst, return_index=True)
  _, from_end = np.unique(burst[::-1], return_index=True)
  last = burst.size - 1 - from_end  # the first index in the reversed order is the last one
  return last < burst.size / 2, first >= burst.size * 2 / 3


def _choose_kinds(
  rng: np.random.Generator, groups: dict[str, np.ndarray], early: np.ndarray, late: np.ndarray
) -> np.ndarray:
  """Draws a kind for each burst [M]: an early or late one if so marked, else one of always."""
  kind = groups['always'][_zipf_choice(rng, groups['always'].size, early.size)]
  for era, members in (('early', early), ('late', late)):
    choice = _zipf_choice(rng, groups[era].size, int(members.sum()))
    kind[members] = groups[era][choice]
  return kind


def _zipf_choice(rng: np.random.Generator, kinds: int, size: int) -> np.ndarray:
  """Draws indices [size] below `kinds` with Zipf-Mandelbrot weights 1 / (rank + 3)."""
  weights = 1 / (np.arange(kinds) + 3)
  return rng.choice(kinds, size, p=weights / weights.sum())


def _stick(
  rng: np.random.Generator, grammar: ModuleType, burst: np.ndarray, bursts: int
) -> dict[str, tuple[pl.Series, np.ndarray]]:
  """Draws the values of the sticky slots and each line's choice of them.

  One index serves all slots, so a process keeps its number on its node.
  """
  # Squared, so that some nodes write more often than others.
  index = (_POOL * rng.random(bursts) ** 2).astype(np.int64)[burst]
  return {
    name: (fill(rng, template, _POOL, {}, grammar.SLOTS), index)
    for name, template in grammar.STICKY.items()
  }
