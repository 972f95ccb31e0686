"""Tiny runs that several test files share; the plugin of those that name it."""

from pathlib import Path
from typing import Any

import pytest
import tiny
from compiling import compiled_fast

from logjax import experiment
from logjax.run import Run, open_run
from logjax.settings import resolve


class TinyRuns:
  """Makes tiny runs under one folder, and each of those that tests share only once."""

  def __init__(self, folder: Path):
    self.folder = folder
    self.cache = folder / 'cache' / 'logjax'
    self._finished: dict[str, Path] = {}

  def open(self, workdir: Path, choice: str = 'bgl', **fields: Any) -> Run:
    """Opens a run; `fields` are dotted names of the config with __ for the dot."""
    config = tiny.get_config(choice)
    for name, value in fields.items():
      config.update_from_flattened_dict({name.replace('__', '.'): value})
    return open_run(resolve(config), workdir, self.cache)

  def train(self, workdir: Path, choice: str = 'bgl', **fields: Any) -> dict:
    """Trains and returns the results."""
    with compiled_fast():
      return experiment.train(self.open(workdir, choice, **fields), 'the command')

  def finished(self, choice: str) -> Path:
    """The workdir of a finished run, which no test may change."""
    if choice not in self._finished:
      workdir = self.folder / choice
      self.train(workdir, choice)
      self._finished[choice] = workdir
    return self._finished[choice]


@pytest.fixture(scope='session')
def runs(tmp_path_factory) -> TinyRuns:
  """Tiny runs, and the finished ones that are shared."""
  return TinyRuns(tmp_path_factory.mktemp('runs'))
