"""From lines to examples: rows of numbers, and which of them train, validate and test.

A module a kind of example (`lines`; later `sequences` and `series`), all with the same functions:

  read(config, logs) -> Unencoded                  columns that need no encoder
  fit(config, unencoded, seen) -> Encoder          sees the examples `seen` only
  encode(encoder, unencoded) -> Examples           needs no labels
  decode(encoder, distinct) -> texts
  block(config, encoder, unencoded)                blocks of results.json that this kind has
  save(folder, encoder); restore(folder) -> Encoder
"""

import importlib
from types import ModuleType


def load(kind: str) -> ModuleType:
  """Returns the module of a kind of examples."""
  return importlib.import_module(f'{__name__}.{kind}')
