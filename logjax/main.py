"""Oversamples rare abnormal log lines, trains detectors on them, and reports what that bought.

On a simulated log in two minutes, and on a log of yours:

  python -m logjax.main --config=configs/bgl.py:quick --workdir=runs/quick
  python -m logjax.main --config=configs/bgl.py --workdir=runs/bgl --config.data.path=BGL.log

The workdir then has report.html. --config.NAME=VALUE changes a field of configs/default.py.
"""
# This file is short on purpose: flags, messages, dispatch. The run itself reads from experiment.py.

import functools
import json
import os
import shutil
import signal
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

from logjax.command_line import cache_folder, command, parse, use_all_cores
from logjax.errors import LogjaxError, is_full, quiet_threads
from logjax.training.stopping import Stopped, Stopping

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Configuration file.', lock_config=True)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run: checkpoints, results, report.')
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  ['train', 'evaluate', 'generate', 'ladder', 'compare', 'benchmark'],
  'train: everything, going on where an earlier call stopped; evaluate: restore the run, train '
  'nothing, and print its test numbers, as JSON on standard output and as a table on standard '
  'error; generate: restore the generators and print --count lines on standard output; ladder: '
  'from the protocol of the paper to the honest one, a leak less at each step; compare: all '
  'oversamplers, detectors, protocols and seeds of config.compare, and a leaderboard; benchmark: '
  'time what --config=configs/benchmark.py names, one JSON line each, without a workdir.',
)
_COUNT = flags.DEFINE_integer('count', 20, 'Lines that --mode=generate prints.', lower_bound=1)


_COORDINATOR = flags.DEFINE_string(
  'coordinator', None, 'HOST:PORT of process 0, when several processes do one run together.'
)
_PROCESSES = flags.DEFINE_integer('processes', None, 'How many they are.', lower_bound=1)
_PROCESS = flags.DEFINE_integer('process', None, 'Which this one is, from 0.', lower_bound=0)


def main(argv: list[str], stopping: Stopping) -> None:
  """Runs the mode that the flags name, alone or together with other processes."""
  del argv  # parse() has seen that it is empty.
  logging.set_verbosity(logging.FATAL)  # Orbax and JAX tell at length what is told in one line
  if 'benchmark' in _CONFIG.value or _MODE.value == 'benchmark':
    run_benchmark()
    return
  if _WORKDIR.value is None:
    raise LogjaxError('--workdir must have a value: the folder for checkpoints, results and report')
  if Path(_WORKDIR.value).exists() and not Path(_WORKDIR.value).is_dir():
    raise LogjaxError(f'--workdir={_WORKDIR.value} is a file: name a folder')
  workdir = Path(_WORKDIR.value)
  if _MODE.value in ('evaluate', 'generate') or 'oracle' in _CONFIG.value:
    if _PROCESSES.value is not None:
      raise LogjaxError(
        'evaluate, generate, benchmark and the oracle are for one process: leave out '
        '--coordinator, --processes and --process'
      )
  else:
    from logjax.training import hosts

    hosts.connect(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
  if _MODE.value in ('train', 'ladder', 'compare') and not (workdir / 'config.json').exists():
    from logjax.training.parallel import check_devices

    check_devices(_CONFIG.value.devices)
  if 'oracle' in _CONFIG.value:
    run_oracle(workdir, stopping)
  elif _MODE.value == 'ladder':
    run_ladder(workdir, stopping)
  elif _MODE.value == 'compare':
    run_compare(workdir, stopping)
  else:
    run_experiment(workdir, stopping)


def run_ladder(workdir: Path, stopping: Stopping) -> None:
  """Takes one leak away after the other."""
  from logjax.reports.terminal import print_ladder
  from logjax.studies import ladder
  from logjax.training import hosts

  results = ladder.run(_CONFIG.value, workdir, cache_folder(), command('python'), stopping=stopping)
  if hosts.first():
    print_ladder(results, workdir)


def run_compare(workdir: Path, stopping: Stopping) -> None:
  """Compares oversamplers and detectors."""
  from logjax.reports.terminal import print_leaderboard
  from logjax.studies import compare
  from logjax.training import hosts

  results = compare.run(
    _CONFIG.value, workdir, cache_folder(), command('python'), stopping=stopping
  )
  if hosts.first():
    print_leaderboard(results, workdir)


def run_benchmark() -> None:
  """Times what the configuration names."""
  from logjax.benchmarks import throughput

  if 'benchmark' not in _CONFIG.value or _MODE.value != 'benchmark':
    raise LogjaxError('--mode=benchmark and --config=configs/benchmark.py go together')
  lines = []
  for line in throughput.run(_CONFIG.value):
    lines.append(line)
    print(json.dumps(line, allow_nan=False), flush=True)
  throughput.print_table(lines, sys.stderr)


def run_oracle(workdir: Path, stopping: Stopping) -> None:
  """Runs the synthetic benchmark of SeqGAN's authors."""
  from logjax.benchmarks import oracle_run

  if _MODE.value != 'train':
    raise LogjaxError('configs/oracle.py has --mode=train only; it goes on where it stopped')
  oracle_run.print_results(oracle_run.run(_CONFIG.value, workdir, stopping=stopping))


def run_experiment(workdir: Path, stopping: Stopping) -> None:
  """Runs an experiment on logs."""
  # Imported only now: --help and wrong flags answer at once.
  from logjax import experiment
  from logjax.reports.terminal import print_results
  from logjax.run import open_run
  from logjax.settings import resolve
  from logjax.training import hosts

  config = resolve(_CONFIG.value)
  new = _MODE.value == 'train'
  run = open_run(config, workdir, cache_folder(), new=new, stopping=stopping)
  if _MODE.value == 'train':
    results = experiment.train(run, command('python'))
    if hosts.first():
      print_results(results, workdir)
  elif _MODE.value == 'evaluate':
    results = experiment.evaluate(run)
    print_results(results, workdir, sys.stderr)
    print(json.dumps(results, sort_keys=True, allow_nan=False))
  else:
    print('\n'.join(experiment.generate(run, _COUNT.value)))


def run() -> None:
  """Runs `main`; a mistake of the user's ends with one line, Ctrl-C with how to go on."""
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(cache_folder() / 'jax'))
  use_all_cores()
  os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
  stopping = Stopping()
  try:
    with stopping.listening():
      app.run(functools.partial(main, stopping=stopping), flags_parser=parse)
  except LogjaxError as error:
    print(f'logjax: {error}', file=sys.stderr)
    sys.exit(2)
  except BrokenPipeError:
    if stopping.asked is not None:
      sys.exit(128 + stopping.asked)
    # The reader, like `head`, has enough; Python must not flush what nobody reads at its exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
  except Exception as error:
    if not is_full(error):
      raise
    where = getattr(error, 'filename', None) or 'a result'
    print(
      f'logjax: cannot write {where}: the disk is full; what was written before is whole: make '
      'room and run the same command again',
      file=sys.stderr,
    )
    sys.exit(2)
  except (KeyboardInterrupt, Stopped) as stop:
    # quickstart.sh runs the Python of its .venv, which the user's `python` need not be.
    python = 'python' if shutil.which('python') == sys.executable else sys.executable
    print(
      f'\nlogjax: stopped; what was reached is kept. To go on: {command(python)}', file=sys.stderr
    )
    sys.exit(128 + getattr(stop, 'signal', signal.SIGINT))


if __name__ == '__main__':
  quiet_threads()
  run()
