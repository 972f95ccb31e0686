"""Progress of a run: lines and bars on the terminal, metrics.jsonl in the workdir."""

import contextlib
import json
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import jax
import rich.console
import rich.progress

from logjax.training import hosts

_SECONDS_BETWEEN_LINES = 15


class Progress:
  """Reports progress: bars on a terminal, plain lines when piped.

  Args:
    workdir: where metrics.jsonl is; None for nowhere.
    quiet: print nothing on the terminal.

  Attributes:
    workdir: the same.
    seconds: time of every finished stage, and of the running one so far.
  """

  def __init__(self, workdir: Path | None = None, *, quiet: bool = False):
    self.workdir = workdir
    self._file = workdir / 'metrics.jsonl' if workdir and hosts.first() else None
    self._console = rich.console.Console(
      file=sys.stderr,
      highlight=False,
      soft_wrap=True,
      markup=False,
      emoji=False,
      quiet=quiet or not hosts.first(),
    )
    self.seconds: dict[str, float] = {}
    self._beat: Callable[[], None] = lambda: None
    self._measured = time.monotonic()

  def say(self, text: str) -> None:
    """Prints a line."""
    self._console.print(text)

  @contextlib.contextmanager
  def stage(
    self, name: str, *, spent: float = 0.0, keep: Callable[[], Any] = lambda: None
  ) -> Iterator[None]:
    """Times a stage.

    Args:
      name: of the stage.
      spent: seconds of earlier calls that were killed.
      keep: called after every measurement, when `seconds` is up to date.
    """
    start = time.monotonic() - spent

    def beat() -> None:
      self.seconds[name] = round(time.monotonic() - start, 3)

    def beat_and_keep() -> None:
      beat()
      keep()

    before, self._beat = self._beat, beat_and_keep
    try:
      yield
      beat()
    finally:
      self._beat = before

  def forget(self, *stages: str, kept: int = 0, **tags: int) -> None:
    """Drops the lines of some stages from metrics.jsonl, before they are run again.

    Args:
      stages: their names.
      kept: number of epochs of the first stage to keep.
      tags: drop only lines with these values.
    """
    if self._file is None or not self._file.exists():
      return
    lines = self._file.read_text(errors='replace').splitlines()
    stay = [
      line
      for line, values in zip(lines, map(_values_of, lines), strict=True)
      if values is not None
      and (
        values['stage'] not in stages
        or (values['stage'] == stages[0] and values.get('epoch', 0) < kept)
        or any(values.get(name) != value for name, value in tags.items())
      )
    ]
    if len(stay) < len(lines):
      partial = self._file.with_name(self._file.name + '.part')
      partial.write_text(''.join(f'{line}\n' for line in stay))
      partial.replace(self._file)

  def measured(self, *stages: str) -> list[dict[str, Any]]:
    """Returns the lines of some stages in metrics.jsonl, earlier calls included."""
    if self._file is None or not self._file.exists():
      return []
    lines = map(_values_of, self._file.read_text(errors='replace').splitlines())
    return [values for values in lines if values is not None and values['stage'] in stages]

  def adopt(self, lines: Iterable[dict[str, Any]], *stages: str) -> None:
    """Replaces the lines of some stages by those of another run."""
    self.forget(*stages)
    if self._file is not None:
      with self._file.open('a') as file:
        file.writelines(json.dumps(values) + '\n' for values in lines)

  def measure(self, stage: str, **values: float | dict[str, Any]) -> None:
    """Appends one line to metrics.jsonl.

    Values that differ between identical runs are in its `machine`: seconds since the measurement
    before or the beginning of the loop, rows a second if `rows` are given, and memory.

    Args:
      stage: its name.
      values: by name; a dict is written as it is.
    """
    now = time.monotonic()
    seconds, self._measured = now - self._measured, now
    if self._file is not None:
      machine = {'seconds': round(seconds, 6)}
      if 'rows' in values and seconds > 0:
        machine['rows_per_second'] = round(values['rows'] / seconds, 1)
      values = {k: v if isinstance(v, int | str | dict) else float(v) for k, v in values.items()}
      line = {'stage': stage, **values, 'machine': machine | _memory()}
      with self._file.open('a') as file:
        file.write(json.dumps(line) + '\n')
    self._beat()

  @contextlib.contextmanager
  def track(self, name: str, total: int, *, done: int = 0) -> Iterator[Callable[..., None]]:
    """Shows the progress of a loop.

    Args:
      name: of the loop.
      total: number of its rounds.
      done: number of rounds of earlier calls; times and rates are of this call alone.

    Yields:
      `advance(note='')`, to be called after every round with its metrics.
    """
    self._measured = time.monotonic()
    if self._console.is_terminal:
      columns = (
        rich.progress.TextColumn('{task.description:<32}'),
        rich.progress.BarColumn(),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TimeElapsedColumn(),
        rich.progress.TextColumn('{task.fields[pace]} {task.fields[note]}'),
      )
      with rich.progress.Progress(*columns, console=self._console) as bars:
        task = bars.add_task(name, total=total, completed=done, pace='', note='')
        pace = _Pace(total - done)

        def advance(note: str = '') -> None:
          pace.advance()
          shown = ', '.join(filter(None, (pace.rate(), pace.left())))
          bars.update(task, advance=1, note=note, pace=shown)

        yield advance
    else:
      with self._plain(name, total, done) as advance:
        yield advance

  def megabytes(self, name: str) -> Callable[[int, int], None]:
    """Returns `advance(done, total)`, in bytes, which prints a line now and then."""
    last = time.monotonic()

    def advance(done: int, total: int) -> None:
      nonlocal last
      if done == total or time.monotonic() - last > _SECONDS_BETWEEN_LINES:
        last = time.monotonic()
        of = f' of {total / 1e6:,.0f}' if total else ''
        self.say(f'{name}: {done / 1e6:,.0f}{of} MB')

    return advance

  @contextlib.contextmanager
  def _plain(self, name: str, total: int, done: int) -> Iterator[Callable[..., None]]:
    """Prints a line at most every few seconds and one at the end, which may come early."""
    pace, latest = _Pace(total - done), ''
    last = pace.begin

    def advance(note: str = '') -> None:
      nonlocal last, latest
      latest = note
      pace.advance()
      if pace.rounds < total - done and pace.now - last > _SECONDS_BETWEEN_LINES:
        last = pace.now
        say(f'{pace.now - pace.begin:.0f} s', pace.left())

    def say(*facts: str) -> None:
      facts = ', '.join(fact for fact in (*facts, latest) if fact)
      self.say(f'{name}: {done + pace.rounds}/{total} in {facts}')

    yield advance
    if pace.rounds:
      say(f'{time.monotonic() - pace.begin:.0f} s')


class _Pace:
  """The pace of a loop, measured on the rounds after the first, which also compiles.

  Args:
    total: number of rounds.

  Attributes:
    begin, now: when the loop began, and when its last round ended.
    rounds: that are done.
  """

  def __init__(self, total: int):
    self.begin = self.now = self._first = time.monotonic()
    self.rounds, self._total = 0, total

  def advance(self) -> None:
    """Counts a round that ends now."""
    self.rounds, self.now = self.rounds + 1, time.monotonic()
    if self.rounds == 1:
      self._first = self.now

  def rate(self) -> str:
    """Returns the rounds per second in words; '' before there are two rounds."""
    seconds = self.now - self._first
    return f'{(self.rounds - 1) / seconds:.2g}/s' if self.rounds > 1 and seconds else ''

  def left(self) -> str:
    """Returns the time left in words; '' before there are two rounds, and after the last."""
    if self.rounds < 2 or self.rounds >= self._total:
      return ''
    each = (self.now - self._first) / (self.rounds - 1)
    return f'about {each * (self._total - self.rounds):.0f} s left'


def _memory() -> dict[str, float]:
  """Returns the peak memory in MB: of the process, and of the fullest accelerator if known."""
  unit = 1 if sys.platform == 'darwin' else 1024  # getrusage counts in bytes there, else in KiB
  peak = unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  memory = {'memory_mb': round(peak / 1e6, 1)}
  stats = [device.memory_stats() or {} for device in jax.local_devices()]
  on_device = max(stat.get('peak_bytes_in_use', 0) for stat in stats)
  return memory | ({'device_memory_mb': round(on_device / 1e6, 1)} if on_device else {})


def _values_of(line: str) -> dict[str, Any] | None:
  """Returns the values of a line of metrics.jsonl; None for half a line of a killed run."""
  try:
    values = json.loads(line)
    return values if 'stage' in values else None
  except (json.JSONDecodeError, TypeError):
    return None
