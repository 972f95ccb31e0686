"""From examples to scores: one module a detector, all with the same functions.

A detector module has

  KIND      'lines', 'sequences' or 'series': the kind of its examples
  NEEDS     'labels', 'normal' (normal examples only) or 'nothing', to train
  SCORES    'distinct' (equal examples, equal scores) or 'rows' (noise or labels of each row count)
  TITLE     its name for people
  RULES     rules of its fields of the configuration (logjax/rules.py)

  fit(config, data, *, key, runtime) -> Detector        a NamedTuple with `thresholds`, `history`
  score(config, detector, examples, *, key)             [R, U], higher is more abnormal
  score(config, detector, examples, rows, *, key)       [R, M] where SCORES is 'rows'
  explain(config, detector, encoder, examples, index)   reasons of some distinct examples
  save(folder, detector)                                fitted.json last
  restore(config, folder) -> Detector

Every file in this folder is a detector, and `config.detector.name` is the file's name: there is no
other list.
"""

import importlib
import importlib.util
import pkgutil
from types import ModuleType

from logjax.errors import LogjaxError

# The simple detectors printed beside every result, by kind; none needs oversampling.
BASELINES = {
  'lines': ('majority', 'unseen', 'lookup', 'nearest', 'tfidf_lr', 'random_forest'),
}


def names() -> tuple[str, ...]:
  """Returns the names of all detectors, without importing any."""
  return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def check_name(name: str) -> None:
  """Checks for a detector of this name, without importing it.

  Raises:
    LogjaxError: with the names of all detectors.
  """
  if name not in names():
    raise LogjaxError(f'unknown detector {name!r}: it is one of {", ".join(names())}')


def load(name: str) -> ModuleType:
  """Returns the module of a detector.

  Raises:
    LogjaxError: as `check_name` does.
  """
  check_name(name)
  return importlib.import_module(f'{__name__}.{name}')
