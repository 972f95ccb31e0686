"""From lines to examples: rows of numbers, split into train, validation and test.

Each kind of example is a module (`lines`; later `sequences` and `series`). All kinds have the same
functions:

  read(config, logs) -> Unencoded                  the columns of `Examples` without an encoder
  fit(config, unencoded, seen) -> Encoder          sees the examples `seen` only
  encode(encoder, unencoded) -> Examples           needs no labels
  decode(encoder, distinct) -> texts
  block(config, encoder, unencoded)                the kind's own blocks of results.json
  summary(blocks) -> text                          the same for the printed line
  add_generated(...) -> (Examples, Split)          real examples and generated ones
  save(folder, encoder); restore(folder) -> Encoder
"""

import importlib
from types import ModuleType


def load(kind: str) -> ModuleType:
  """Returns the module of a kind of examples."""
  return importlib.import_module(f'{__name__}.{kind}')
