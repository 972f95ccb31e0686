"""What a run tells: lines when piped, bars on a terminal, metrics.jsonl."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import rich.console
from measurements import reproducible

from logjax.training import progress as progress_module
from logjax.training.progress import Progress


class Clock:
  """A clock that moves only when told."""

  def __init__(self):
    self.now = 100.0

  def monotonic(self) -> float:
    return self.now


@pytest.fixture
def clock(monkeypatch):
  clock = Clock()
  monkeypatch.setattr(progress_module, 'time', clock)
  return clock


def read(tmp_path) -> list[dict]:
  return [json.loads(line) for line in (tmp_path / 'metrics.jsonl').read_text().splitlines()]


def machines(tmp_path) -> list[dict]:
  return [line['machine'] for line in read(tmp_path)]


def test_a_short_loop_says_one_plain_line_at_its_end(capsys, clock):
  """With its last note and the time it took; standard output stays free for results."""
  with Progress().track('training', 3) as advance:
    for loss in (3, 2, 1):
      clock.now += 2
      advance(f'loss {loss}')
    assert capsys.readouterr() == ('', '')
  assert capsys.readouterr() == ('', 'training: 3/3 in 6 s, loss 1\n')


def test_a_loop_that_stops_early_says_how_far_it_came(capsys, clock):
  with Progress().track('training', 30) as advance:
    for _ in range(7):
      clock.now += 1
      advance()
  assert capsys.readouterr().err == 'training: 7/30 in 7 s\n'


def test_a_long_loop_says_a_line_now_and_then_with_the_time_left(capsys, clock):
  with Progress().track('training', 10) as advance:
    for epoch in range(10):
      clock.now += 8
      advance(f'epoch {epoch}')
  assert capsys.readouterr().err.splitlines() == [
    'training: 2/10 in 16 s, about 64 s left, epoch 1',
    'training: 4/10 in 32 s, about 48 s left, epoch 3',
    'training: 6/10 in 48 s, about 32 s left, epoch 5',
    'training: 8/10 in 64 s, about 16 s left, epoch 7',
    'training: 10/10 in 80 s, epoch 9',
  ]


def test_a_loop_without_rounds_says_nothing(capsys):
  with Progress().track('training', 0):
    pass
  assert capsys.readouterr().err == ''


def test_a_loop_that_goes_on_counts_from_what_was_reached_and_times_the_rest_alone(capsys, clock):
  with Progress().track('training', 30, done=26) as advance:
    for _ in range(4):
      clock.now += 16
      advance()
  assert capsys.readouterr().err.splitlines() == [
    'training: 27/30 in 16 s',
    'training: 28/30 in 32 s, about 32 s left',
    'training: 29/30 in 48 s, about 16 s left',
    'training: 30/30 in 64 s',
  ]
  with Progress().track('training', 30, done=30):
    pass
  assert capsys.readouterr().err == ''


def test_compilation_in_the_first_round_does_not_count_in_the_time_left(capsys, clock):
  with Progress().track('training', 60) as advance:
    for seconds in [22] + [0.4] * 59:
      clock.now += seconds
      advance()
  assert capsys.readouterr().err.splitlines() == [
    'training: 1/60 in 22 s',
    'training: 39/60 in 37 s, about 8 s left',
    'training: 60/60 in 46 s',
  ]


@pytest.fixture
def screen(monkeypatch):
  """What a terminal is sent."""
  screen, console = io.StringIO(), rich.console.Console

  def terminal(**options):
    return console(**options | {'file': screen, 'force_terminal': True, 'width': 120})

  monkeypatch.setattr(progress_module.rich.console, 'Console', terminal)
  return screen


def test_a_bar_does_not_count_compilation_either(screen, clock):
  with Progress().track('training', 60) as advance:
    for seconds in [22] + [0.5] * 10:
      clock.now += seconds
      advance()
  shown = screen.getvalue()
  assert '11/60' in shown and '2/s, about 24 s left' in shown


def test_a_terminal_shows_a_bar_with_count_rate_and_note(screen, clock):
  with Progress().track('training', 2) as advance:
    for note in ('loss [2]', 'loss [1]'):
      clock.now += 0.5
      advance(note)
  shown = screen.getvalue()
  assert 'training' in shown and '2/2' in shown and '2/s' in shown and 'loss [1]' in shown
  with Progress().track('going on', 9, done=8) as advance:
    advance()
  assert '9/9' in screen.getvalue()


def test_what_is_said_is_one_plain_line_of_any_length(capsys):
  text = 'word [bold]not markup[/bold] ' * 20
  Progress().say(text)
  assert capsys.readouterr().err == text + '\n'


def test_every_measurement_is_one_line_of_json(tmp_path):
  progress = Progress(tmp_path)
  progress.measure('gru', repetition=0, epoch=3, loss=np.float32(0.5), valid=np.float64(2))
  Progress(tmp_path).measure('other', loss=1)
  assert reproducible(tmp_path) == [
    {'stage': 'gru', 'repetition': 0, 'epoch': 3, 'loss': 0.5, 'valid': 2.0},
    {'stage': 'other', 'loss': 1},
  ]


def test_what_differs_from_call_to_call_is_told_apart(tmp_path, clock):
  progress = Progress(tmp_path)
  with progress.track('training', 2):
    for epoch in range(2):
      clock.now += 2 + epoch
      progress.measure('gru', epoch=epoch, rows=60, loss=1.0)
  clock.now += 5
  progress.measure('gru', epoch=2, loss=1.0)  # nobody knows of how many rows
  assert [machine['seconds'] for machine in machines(tmp_path)] == [2, 3, 5]
  assert [machine.get('rows_per_second') for machine in machines(tmp_path)] == [30, 20, None]
  fields = {'stage', 'epoch', 'rows', 'loss', 'machine'}
  assert all(line.keys() <= fields for line in read(tmp_path))


def test_memory_is_the_most_so_far_and_of_accelerators_where_they_tell(tmp_path, monkeypatch):
  progress = Progress(tmp_path)
  progress.measure('gru')
  big = np.ones(8_000_000)  # 64 MB
  progress.measure('gru')
  del big
  devices = [SimpleNamespace(memory_stats=lambda: {'peak_bytes_in_use': 7_000_000})] * 2
  monkeypatch.setattr(progress_module.jax, 'local_devices', lambda: devices)
  progress.measure('gru')
  first, second, third = machines(tmp_path)
  assert 20 < first['memory_mb'] <= second['memory_mb'] <= third['memory_mb'] < 100_000
  assert 'device_memory_mb' not in second  # a CPU does not tell
  assert third['device_memory_mb'] == 7


def test_measurements_of_another_run_take_the_place_of_ones_own(tmp_path):
  one, other = tmp_path / 'one', tmp_path / 'other'
  for folder in (one, other):
    folder.mkdir()
  theirs, mine = Progress(one), Progress(other)
  for epoch in range(3):
    theirs.measure('adversarial', epoch=epoch, sets={'reward': [0.5, epoch]})
  theirs.measure('gru', epoch=0)
  mine.measure('adversarial', epoch=0, reward=0.0)
  mine.measure('autoencoder_normal', epoch=0)
  lines = theirs.measured('generator_mle', 'adversarial')
  assert lines == read(one)[:3]
  mine.adopt(lines, 'generator_mle', 'adversarial')
  assert read(other)[1:] == lines and read(other)[0]['stage'] == 'autoencoder_normal'
  Progress().adopt(lines, 'adversarial')  # without a workdir there is nothing to do
  assert Progress().measured('adversarial') == []


def test_forgetting_drops_exactly_the_named_stages(tmp_path):
  progress = Progress(tmp_path)
  for epoch in range(2):
    for stage in ('gru', 'autoencoder_normal', 'gru_other', 'adversarial'):
      progress.measure(stage, epoch=epoch)
  before = (tmp_path / 'metrics.jsonl').read_bytes()
  progress.forget()
  progress.forget('autoencoder')
  assert (tmp_path / 'metrics.jsonl').read_bytes() == before
  progress.forget('gru', 'adversarial')
  kept = [('autoencoder_normal', 0), ('gru_other', 0), ('autoencoder_normal', 1), ('gru_other', 1)]
  assert [(line['stage'], line['epoch']) for line in read(tmp_path)] == kept
  progress.measure('gru', epoch=0)
  assert len(read(tmp_path)) == 5


def test_the_half_line_of_a_killed_run_is_dropped_and_nothing_else(tmp_path):
  progress = Progress(tmp_path)
  progress.measure('gru', epoch=0)
  with (tmp_path / 'metrics.jsonl').open('a') as file:
    file.write('{"stage": "adversa')
  progress.forget('generator_mle')
  progress.measure('gru', epoch=1)
  assert [line['epoch'] for line in read(tmp_path)] == [0, 1]


def test_without_a_workdir_nothing_is_written(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  progress = Progress()
  progress.measure('gru', loss=1.0)
  progress.forget('gru')
  assert list(tmp_path.iterdir()) == []
  Progress(tmp_path).forget('gru')
  assert list(tmp_path.iterdir()) == []


def test_a_finished_stage_is_timed_and_a_broken_one_is_not(clock):
  progress = Progress()
  with progress.stage('read'):
    clock.now += 1.23456
  with pytest.raises(KeyboardInterrupt), progress.stage('detector'):
    clock.now += 5
    raise KeyboardInterrupt
  assert progress.seconds == {'read': 1.235}


def test_a_stage_that_calls_before_were_killed_in_counts_them_up_to_the_last_measurement(clock):
  progress, kept = Progress(), []
  with (
    pytest.raises(KeyboardInterrupt),
    progress.stage('detector', spent=100.0, keep=lambda: kept.append(dict(progress.seconds))),
  ):
    clock.now += 2
    progress.measure('gru', epoch=0)
    clock.now += 3
    progress.measure('gru', epoch=1)
    raise KeyboardInterrupt
  assert kept == [{'detector': 102}, {'detector': 105}]
  progress.measure('gru', epoch=2)  # of no stage
  assert len(kept) == 2
