"""Runs an experiment: `python -m logjax.main --config=configs/thunderbird.py --workdir=runs/x`.

This file is short on purpose: flags, messages, dispatch. The run itself reads from `experiment.py`.
"""

import os
import shlex
import sys
from pathlib import Path

from absl import app, flags, logging
from ml_collections import config_flags

_CONFIG = config_flags.DEFINE_config_file('config', None, 'Configuration file.', lock_config=True)
_WORKDIR = flags.DEFINE_string('workdir', None, 'Folder of the run: checkpoints, results, report.')
_MODE = flags.DEFINE_enum(
  'mode',
  'train',
  ['train', 'evaluate', 'generate'],
  'train: everything, going on where an earlier call stopped; evaluate: restore the run and print '
  'its test numbers; generate: restore the generators and print --count lines.',
)
_COUNT = flags.DEFINE_integer('count', 20, 'Lines that --mode=generate prints.', lower_bound=1)


def main(argv: list[str]) -> None:
  """Runs the mode that the flags name."""
  if len(argv) > 1:
    raise app.UsageError(f'unexpected argument {argv[1]!r}')
  logging.set_verbosity(logging.ERROR)  # Orbax and JAX tell at length what nobody asked
  # Imported only now: --help and wrong flags answer at once.
  from logjax import experiment
  from logjax.evaluation import terminal
  from logjax.settings import resolve

  command = shlex.join(['python', '-m', 'logjax.main', *sys.argv[1:]])
  config, leaks = resolve(_CONFIG.value)
  run = experiment.open_run(config, leaks, Path(_WORKDIR.value), cache_folder())
  if _MODE.value == 'generate':
    for line in experiment.generate(run, _COUNT.value):
      print(line)
    return
  results = experiment.train(run, command) if _MODE.value == 'train' else experiment.evaluate(run)
  terminal.print_results(results, run.workdir)


def cache_folder() -> Path:
  """The user's cache folder, where simulated corpora and compiled programs are kept."""
  return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'logjax'


def run() -> None:
  """Runs `main`; a mistake of the user's ends with one line, Ctrl-C with how to go on."""
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(cache_folder() / 'jax'))
  os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
  from logjax.errors import LogjaxError

  flags.mark_flags_as_required(['config', 'workdir'])
  try:
    app.run(main)
  except LogjaxError as error:
    print(f'logjax: {error}', file=sys.stderr)
    sys.exit(2)
  except KeyboardInterrupt:
    again = shlex.join(['python', '-m', 'logjax.main', *sys.argv[1:]])
    print(f'\nlogjax: stopped; finished stages are kept. To go on: {again}', file=sys.stderr)
    sys.exit(130)


if __name__ == '__main__':
  run()
