"""Compiling for tests, whose programs run for milliseconds and compile for seconds."""

import contextlib
from collections.abc import Iterator

import jax


@contextlib.contextmanager
def compiled_fast() -> Iterator[None]:
  """Compiles with few optimisations."""
  name = 'jax_disable_most_optimizations'
  before = jax.config.read(name)
  jax.config.update(name, True)
  try:
    yield
  finally:
    jax.config.update(name, before)
