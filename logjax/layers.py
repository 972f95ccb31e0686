"""Layers that the generator and the detector share. H is the hidden size, I the input size."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class GRUCell(nn.Module):
  """One step of the paper's gated recurrent unit (equations 1 to 3).

    r = sigmoid(W_r x + U_r h + b_r)
    z = sigmoid(W_z x + U_z h + b_z)
    h' = z * h + (1 - z) * tanh(W_h x + U_h (r * h) + b_h)

  The reset gate acts before the product with U_h, unlike in Flax's own GRUCell and in cuDNN;
  `reset_after` gives r * (U_h h) instead.

  `project` is apart from `__call__` so that a whole sequence, or a whole vocabulary, can be
  multiplied with W at once.
  """

  hidden: int
  reset_after: bool = False
  kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
  recurrent_init: nn.initializers.Initializer = nn.initializers.orthogonal()
  bias_init: nn.initializers.Initializer = nn.initializers.zeros

  def setup(self):
    self.input = nn.Dense(3 * self.hidden, kernel_init=self.kernel_init, bias_init=self.bias_init)
    shape = (self.hidden, self.hidden)
    self.gates = self.param('gates', self._recurrent(2), shape)
    self.candidate = self.param('candidate', self._recurrent(1), shape)

  def _recurrent(self, matrices: int) -> nn.initializers.Initializer:
    """Initialises square matrices side by side, each on its own."""

    def init(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
      keys = jax.random.split(key, matrices)
      return jnp.concatenate([self.recurrent_init(k, shape, jnp.float32) for k in keys], axis=1)

    return init

  def project(self, x: jax.Array) -> jax.Array:
    """W x + b of all three gates: x [..., I] -> [..., 3H]."""
    return self.input(x)

  def __call__(self, h: jax.Array, projected: jax.Array) -> jax.Array:
    """One step: h [..., H], projected [..., 3H] -> h' [..., H]."""
    size = self.hidden
    gates = nn.sigmoid(projected[..., : 2 * size] + h @ self.gates)
    r, z = gates[..., :size], gates[..., size:]
    if self.reset_after:
      recurrent = r * (h @ self.candidate)
    else:
      recurrent = (r * h) @ self.candidate
    return z * h + (1 - z) * jnp.tanh(projected[..., 2 * size :] + recurrent)
