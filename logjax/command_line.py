"""The command line: parsed with mistakes in one line, and written out to be run again."""

import errno
import os
import shlex
import sys
from pathlib import Path

from absl import flags

from logjax.errors import LogjaxError

_NO_CONFIG = '--config must have a value: a file such as --config=configs/thunderbird.py'


def parse(argv: list[str]) -> list[str]:
  """Parses the command line, the configuration file of the flag `config` included.

  Args:
    argv: the program and its flags.

  Returns:
    The program alone.

  Raises:
    LogjaxError: one line for what absl and ml_collections tell in many.
  """
  try:
    rest = flags.FLAGS(argv)
    if flags.FLAGS.config is None:
      raise LogjaxError(_NO_CONFIG)
    flags.FLAGS.config.lock()  # A file that could not be loaded says so only when it is used.
  except (AttributeError, KeyError) as error:
    raise _unknown_field(error) from error
  except OSError as error:
    raise _not_loaded(error) from error
  except (flags.Error, SyntaxError) as error:
    first, *others = str(error).strip().splitlines()  # The last line says what went wrong.
    if getattr(error, 'flagname', '').startswith('config.'):
      raise LogjaxError(_NO_CONFIG) from error
    flag = first.partition(': ')[0]
    if 'Non-boolean argument' in str(error):
      raise LogjaxError(f'{flag}: give true or false') from error
    flag = f'{flag}: ' if isinstance(error, flags.Error) and others else ''
    said = [first, *others][-1].strip().removeprefix('ValueError: ')
    raise LogjaxError(flag + said) from error
  if len(rest) > 1:
    raise LogjaxError(f'unexpected argument {rest[1]!r}: flags have the form --name=value')
  return rest


def _unknown_field(error: Exception) -> LogjaxError:
  """What is told of a field that the configuration has not."""
  said = error
  while isinstance(said, Exception):
    said = said.args[0]
  said = ' '.join(str(said).split())
  _, similar, rest = said.partition('Did you mean "')
  if similar:
    likely, _, name = rest.rstrip('"?').partition('" instead of "')
    return LogjaxError(f'unknown field {name!r} in --config: did you mean {likely!r}?')
  return LogjaxError(f'unknown field {said} in --config: its file or configs/default.py has all')


def _not_loaded(error: OSError) -> LogjaxError:
  """What is told of a configuration file that cannot be read."""
  if isinstance(error.__cause__, IsADirectoryError):
    return LogjaxError(f'--config={error.__cause__.filename} is a folder: name a .py file in it')
  said = str(error).strip().splitlines()[-1].strip()
  _, missing, path = said.partition(f'{os.strerror(errno.ENOENT)}: ')
  if missing:
    return LogjaxError(
      f'--config={path[1:-1]}: there is no such file in {Path.cwd()}: call from the folder that '
      'has configs/, or give the whole path'
    )
  return LogjaxError(said)


def command(python: str) -> str:
  """The command line of this process with `python` as its interpreter, quoted for a shell."""
  return shlex.join([python, '-m', 'logjax.main', *sys.argv[1:]])


def cache_folder() -> Path:
  """The user's cache folder, where simulated corpora and compiled programs are kept."""
  return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache') / 'logjax'


def use_all_cores() -> None:
  """Makes a device of every core of a CPU, at most 8, unless the environment says how many.

  On two cores rollouts are 1.5 to 1.8 times as fast on two devices as on one that uses both.
  Results are equal up to rounding, which long training magnifies: set JAX_NUM_CPU_DEVICES to repeat
  those of another machine.
  """
  if 'xla_force_host_platform_device_count' not in os.environ.get('XLA_FLAGS', ''):
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    os.environ.setdefault('JAX_NUM_CPU_DEVICES', str(min(cores or 1, 8)))
