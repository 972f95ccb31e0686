"""Oversamples rare abnormal log lines, trains detectors on them, and reports the gain.

On a simulated log in two minutes, and on a log of yours:

  logjax --config=configs/bgl.py:quick
  logjax --config=configs/bgl.py --config.data.path=BGL.log --workdir=runs/bgl

`python -m logjax.main` is the same program. The workdir then holds report.html. The flag
--config.NAME=VALUE changes a field; configs/default.py lists all fields with their meaning.
"""
# This file is kept short: flags and dispatch. The run itself reads from experiment.py.
# Modes import what they need, so that --help and wrong flags are answered at once.

import json
import sys
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

import logjax
from logjax import command_line
from logjax.command_line import cache_folder, command
from logjax.settings import resolve
from logjax.training.stopping import Stopping


def train(config: ConfigDict, workdir: Path, stopping: Stopping) -> None:
  """Oversamples, trains, tests and reports; resumes an interrupted run."""
  if 'oracle' in config:  # the synthetic benchmark of SeqGAN's authors
    from logjax.benchmarks.oracle import run as oracle_run

    oracle_run.print_results(oracle_run.run(config, workdir, stopping=stopping))
    return
  from logjax import experiment
  from logjax.reports.terminal import print_results
  from logjax.training import hosts

  results = experiment.train(_open(config, workdir, stopping, new=True), command())
  if hosts.first():
    print_results(results, workdir)


def evaluate(config: ConfigDict | None, workdir: Path, stopping: Stopping) -> None:
  """Restores a run and prints its test numbers: JSON, and a table on standard error."""
  from logjax import experiment
  from logjax.reports.terminal import print_results

  results = experiment.evaluate(_open(config, workdir, stopping, new=False))
  print_results(results, workdir, sys.stderr)
  print(json.dumps(results, sort_keys=True, allow_nan=False))


def generate(config: ConfigDict | None, workdir: Path, stopping: Stopping) -> None:
  """Restores the generators of a run and prints --count lines."""
  from logjax import experiment

  print('\n'.join(experiment.generate(_open(config, workdir, stopping, new=False), _COUNT.value)))


def ladder(config: ConfigDict, workdir: Path, stopping: Stopping) -> None:
  """Goes from the protocol of the paper to the honest one, one leak less at each step."""
  from logjax.reports.terminal import print_ladder
  from logjax.studies.ladder import run
  from logjax.training import hosts

  results = run(config, workdir, cache_folder(), command(), stopping=stopping)
  if hosts.first():
    print_ladder(results, workdir)


def compare(config: ConfigDict, workdir: Path, stopping: Stopping) -> None:
  """Runs all combinations that config.compare names, and prints a leaderboard."""
  from logjax.reports.terminal import print_leaderboard
  from logjax.studies.compare import run
  from logjax.training import hosts

  results = run(config, workdir, cache_folder(), command(), stopping=stopping)
  if hosts.first():
    print_leaderboard(results, workdir)


def benchmark(config: ConfigDict, workdir: Path, stopping: Stopping) -> None:
  """Times SeqGAN as configs/benchmark.py says, one JSON line each; writes no file."""
  from logjax.benchmarks import throughput

  lines = []
  for line in throughput.run(config):
    lines.append(line)
    print(json.dumps(line, allow_nan=False), flush=True)
  throughput.print_table(lines, sys.stderr)


MODES = {
  'train': train,
  'evaluate': evaluate,
  'generate': generate,
  'ladder': ladder,
  'compare': compare,
  'benchmark': benchmark,
}
_MODES_HELP = '\n'.join(f'{name}: {mode.__doc__}' for name, mode in MODES.items())
_MODE = flags.DEFINE_enum('mode', 'train', list(MODES), f'What to do.\n{_MODES_HELP}')
_CONFIG = config_flags.DEFINE_config_file('config', None, 'FILE.py or FILE.py:SCHEDULE.')
flags.FLAGS['config'].parser = command_line.ConfigFile()
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run; else runs/<name of --config>.')
_COUNT = flags.DEFINE_integer('count', 20, 'Lines that --mode=generate prints.', lower_bound=1)
_HELP = flags.DEFINE_bool('help', False, 'Print this help.', short_name='h')
_VERSION = flags.DEFINE_bool('version', False, 'Print the version.')
_COORDINATOR = flags.DEFINE_string('coordinator', None, 'Several hosts: HOST:PORT of process 0.')
_PROCESSES = flags.DEFINE_integer('processes', None, 'Several hosts: how many.', lower_bound=1)
_PROCESS = flags.DEFINE_integer('process', None, 'Several hosts: this one, from 0.', lower_bound=0)


def main(stopping: Stopping) -> None:
  """Runs the mode that the flags name."""
  mode, config = _MODE.value, _CONFIG.value
  if _HELP.value:
    module = flags.FLAGS.find_module_defining_flag('mode')
    print(f'{__doc__}\nflags:{flags.FLAGS.module_help(module).partition(":")[2]}')
    return
  if _VERSION.value:
    print(f'logjax {logjax.__version__}')
    return
  command_line.check_config(mode, config)
  workdir = command_line.find_workdir(mode, _WORKDIR.value)
  place = (_COORDINATOR.value, _PROCESSES.value, _PROCESS.value)
  command_line.prepare_devices(mode, config, workdir, place)
  MODES[mode](config, workdir, stopping)


def _open(config: ConfigDict | None, workdir: Path, stopping: Stopping, *, new: bool):
  """Opens the run of a configuration, or the one that a workdir already holds."""
  from logjax.run import open_run, reopen_run

  if config is None:
    return reopen_run(workdir, cache_folder(), stopping=stopping)
  return open_run(resolve(config), workdir, cache_folder(), new=new, stopping=stopping)


def run() -> int:
  """Runs the command line and returns its exit code."""
  return command_line.run(main)


if __name__ == '__main__':
  sys.exit(run())
