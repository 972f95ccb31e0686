"""Random keys for what is drawn on the host."""

import jax
import numpy as np

_bits = jax.jit(lambda key: jax.random.bits(key, (4,)))


def numpy_generator(key: jax.Array) -> np.random.Generator:
  """Returns a NumPy generator from a key, for shuffling rows that are not on a device."""
  return np.random.default_rng(_bits(key).tolist())
