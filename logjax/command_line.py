"""The command line: parse it, answer its mistakes, print it again, prepare the libraries."""

import importlib.machinery
import importlib.util
import logging
import os
import shlex
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from absl import flags
from ml_collections import ConfigDict, config_flags

from logjax.errors import LogjaxError, explain
from logjax.settings import resolve
from logjax.training.stopping import Stopped, Stopping

NO_CONFIG = '--config must have a value: a file such as --config=configs/thunderbird.py'
# Orbax warns through absl at every checkpoint, Matplotlib when it finds the fonts of a new machine.
NOISY = ('absl', 'matplotlib.font_manager')
NEW = ('train', 'ladder', 'compare')  # modes that may begin a run
RESTORE = ('evaluate', 'generate')  # modes that need the workdir of a trained run alone

CHECKOUT = Path(__file__).resolve().parents[1]


class ConfigFile(flags.ArgumentParser):
  """Parser of --config=FILE:CHOICE, for the flag that ml_collections defines.

  FILE is looked up in the working directory, then in the checkout. While it is loaded, the folder
  above it and the checkout are importable, so `from configs import default` works from any working
  directory.
  """

  def parse(self, argument: str) -> ConfigDict:
    """Calls `get_config` of the file and returns its result, locked.

    Raises:
      ValueError: one line; absl adds the flag to it.
    """
    name, *choice = argument.split(':', 1)
    folders = dict.fromkeys((Path.cwd(), CHECKOUT))
    found = [folder / name for folder in folders if (folder / name).is_file()]
    if not found:
      raise ValueError(f'there is no such file in {" or ".join(map(str, folders))}')
    before = sys.path.copy()
    sys.path[:0] = [str(found[0].resolve().parents[1]), str(CHECKOUT)]
    try:
      loader = importlib.machinery.SourceFileLoader('logjax_config', str(found[0]))
      module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
      loader.exec_module(module)
      if not hasattr(module, 'get_config'):
        raise ValueError('this file has no function get_config')
      return module.get_config(*choice).lock()
    except ValueError:
      raise
    except SyntaxError as error:
      raise ValueError(f'{error.msg} ({error.filename}, line {error.lineno})') from error
    except Exception as error:
      *_, frame = traceback.extract_tb(error.__traceback__)
      reason = ' '.join(str(error).split()) or 'no reason given'
      raise ValueError(
        f'{type(error).__name__}: {reason} ({frame.filename}, line {frame.lineno})'
      ) from error
    finally:
      sys.path[:] = before

  def flag_type(self) -> str:
    """Names the type in absl's help."""
    return 'file'


def check_config(mode: str, config: ConfigDict | None) -> None:
  """Checks the configuration of a mode before JAX and Polars are loaded.

  Raises:
    LogjaxError: it is missing, it belongs to another mode, or a value is wrong.
  """
  if config is None:
    if mode not in RESTORE:
      raise LogjaxError(NO_CONFIG)
  elif ('benchmark' in config) != (mode == 'benchmark'):
    raise LogjaxError('--mode=benchmark and --config=configs/benchmark.py go together')
  elif 'oracle' in config and mode != 'train':
    raise LogjaxError('configs/oracle.py has --mode=train only; it resumes where it stopped')
  elif 'oracle' not in config and 'benchmark' not in config:
    resolve(config)


def find_workdir(mode: str, given: str | None) -> Path:
  """Returns the folder of the run: --workdir, or a folder named after --config.

  Args:
    mode: of the run.
    given: the value of --workdir, or None.

  Raises:
    LogjaxError: it is a file, or both flags are missing.
  """
  if given is not None:
    if Path(given).exists() and not Path(given).is_dir():
      raise LogjaxError(f'--workdir={given} is a file: name a folder')
    return Path(given)
  if flags.FLAGS.config is None:
    raise LogjaxError(f'--mode={mode} needs the --workdir of a trained run')
  file, _, choice = config_flags.get_config_filename(flags.FLAGS['config']).partition(':')
  words = [Path(file).stem, *choice.replace(',', ' ').split(), mode]
  workdir = Path('runs', '_'.join(words if mode in ('ladder', 'compare') else words[:-1]))
  if mode != 'benchmark':
    print(f'logjax: no --workdir is given: the run is in {workdir}', file=sys.stderr)
  return workdir


def prepare_devices(mode: str, config: ConfigDict | None, workdir: Path, place: tuple) -> None:
  """Joins the other processes of the run, and checks the number of devices of a new run.

  A resumed run may have fewer devices than at its beginning.

  Args:
    mode: of the run.
    config: of the run.
    workdir: of the run.
    place: the flags --coordinator, --processes and --process.

  Raises:
    LogjaxError: there are too few devices, or the mode does not take several processes.
  """
  if mode in NEW and 'oracle' not in config:
    from logjax.training import hosts  # loads JAX

    hosts.connect(*place)
  elif place != (None, None, None):
    raise LogjaxError(
      'evaluate, generate, benchmark and the oracle are for one process: leave out --coordinator, '
      '--processes and --process'
    )
  if mode in NEW and not (workdir / 'config.json').exists():
    from logjax.training.parallel import check_devices

    check_devices(config.devices)


def run(main: Callable[[Stopping], None]) -> int:
  """Parses the flags and calls `main`.

  Returns:
    The exit code: 0; 2 for a mistake of the user's, after one line; 130 or 143 for a signal; 1 for
    a defect, after its traceback.
  """
  try:
    if importlib.util.find_spec('fcntl') is None:
      raise LogjaxError('Linux and macOS are supported; on Windows use WSL (wsl --install)')
    prepare_libraries()
    stopping = Stopping()
    with stopping.listening():
      parse(sys.argv)
      main(stopping)
    return 0
  except BrokenPipeError:
    # The reader of the output, such as `head`, has ended. Python must not flush the rest.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
  except (KeyboardInterrupt, Stopped) as stop:
    print(f'\nlogjax: stopped; to resume: {command_again()}', file=sys.stderr)
    return 128 + getattr(stop, 'signal', signal.SIGINT)
  except Exception as error:
    if (line := explain(error)) is None:
      traceback.print_exc()
      return 1
    print(f'logjax: {line}', file=sys.stderr)
    return 2


def parse(argv: list[str]) -> None:
  """Parses the program's name and its flags into absl's FLAGS.

  Raises:
    LogjaxError: one line with the text of absl or ml_collections.
  """
  try:
    rest = flags.FLAGS(argv)
  except flags.UnrecognizedFlagError as error:
    if error.flagname.startswith('config.'):
      raise LogjaxError(f'--{error.flagname} needs --config=FILE before it') from error
    raise LogjaxError(str(error)) from error
  except flags.Error as error:
    raise LogjaxError(str(error)) from error
  except (AttributeError, KeyError) as error:  # ml_collections, for a field that does not exist
    reason = error
    while isinstance(reason, Exception):  # the text is in the innermost exception
      reason = reason.args[0]
    raise LogjaxError(f'--config has no field {" ".join(str(reason).split())}') from error
  if len(rest) > 1:
    raise LogjaxError(f'unexpected argument {rest[1]!r}: flags have the form --name=value')


def command(python: str = 'python') -> str:
  """Returns the command line of this process, quoted for a shell."""
  return shlex.join([python, '-m', 'logjax.main', *sys.argv[1:]])


def command_again() -> str:
  """Returns the command that resumes this process with the same Python."""
  # quickstart.sh runs the Python of .venv; the user's `python` is often another one.
  return command('python' if shutil.which('python') == sys.executable else sys.executable)


def cache_folder() -> Path:
  """Returns the user's cache folder, for simulated corpora and compiled programs."""
  return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'logjax'


def prepare_libraries() -> None:
  """Sets JAX's environment variables before its import, and quietens noisy loggers."""
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(cache_folder() / 'jax'))
  os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')
  use_all_cores()
  for name in NOISY:
    logging.getLogger(name).setLevel(logging.ERROR)


def use_all_cores() -> None:
  """Makes a device of every CPU core, at most 8, unless the environment sets their number.

  On two cores rollouts are 1.5 to 1.8 times as fast on two devices as on one device with both
  cores. Results are equal up to rounding, and long training magnifies rounding. Set
  JAX_NUM_CPU_DEVICES to repeat the results of another machine.
  """
  if 'xla_force_host_platform_device_count' not in os.environ.get('XLA_FLAGS', ''):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    os.environ.setdefault('JAX_NUM_CPU_DEVICES', str(min(cores or 1, 8)))
