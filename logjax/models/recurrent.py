"""Recurrent layers of the generator and the detectors. H is the hidden size, I the input size."""

import jax
import jax.numpy as jnp
from flax import linen as nn


class GRUCell(nn.Module):
  """One step of the paper's gated recurrent unit (equations 1 to 3).

    r = sigmoid(W_r x + U_r h + b_r)
    z = sigmoid(W_z x + U_z h + b_z)
    h' = z * h + (1 - z) * tanh(W_h x + U_h (r * h) + b_h)

  The reset gate acts before the product with U_h. Flax's own GRUCell and cuDNN have r * (U_h h).

  `project` is separate from `__call__`: so one matrix product with W serves a whole sequence or a
  whole vocabulary.
  """

  hidden: int
  kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
  recurrent_init: nn.initializers.Initializer = nn.initializers.orthogonal()
  bias_init: nn.initializers.Initializer = nn.initializers.zeros

  def setup(self):
    self.input = nn.Dense(3 * self.hidden, kernel_init=self.kernel_init, bias_init=self.bias_init)
    shape = (self.hidden, self.hidden)
    self.gates = self.param('gates', self._recurrent(2), shape)
    self.candidate = self.param('candidate', self._recurrent(1), shape)

  def _recurrent(self, matrices: int) -> nn.initializers.Initializer:
    """Initialises square matrices side by side, each with its own key."""

    def init(key: jax.Array, shape: tuple[int, int]) -> jax.Array:
      keys = jax.random.split(key, matrices)
      return jnp.concatenate([self.recurrent_init(k, shape, jnp.float32) for k in keys], axis=1)

    return init

  def project(self, x: jax.Array) -> jax.Array:
    """Computes W x + b of all three gates: x [..., I] -> [..., 3H]."""
    return self.input(x)

  def __call__(self, h: jax.Array, projected: jax.Array) -> jax.Array:
    """Computes one step: h [..., H], projected [..., 3H] -> h' [..., H]."""
    size = self.hidden
    gates = nn.sigmoid(projected[..., : 2 * size] + h @ self.gates)
    r, z = gates[..., :size], gates[..., size:]
    candidate = projected[..., 2 * size :] + (r * h) @ self.candidate
    return z * h + (1 - z) * jnp.tanh(candidate)


class LSTMCell(nn.Module):
  """One step of a long short-term memory, as in SeqGAN's published code.

    i = sigmoid(W_i x + U_i h + b_i), likewise f and o
    c' = f * c + i * tanh(W_c x + U_c h + b_c)
    h' = o * tanh(c')

  Kernels have the gates side by side in the order i, f, o, c. No constant is added to the forget
  gate's bias.
  """

  hidden: int
  kernel_init: nn.initializers.Initializer = nn.initializers.glorot_uniform()
  recurrent_init: nn.initializers.Initializer = nn.initializers.orthogonal()
  bias_init: nn.initializers.Initializer = nn.initializers.zeros

  def setup(self):
    self.input = nn.Dense(4 * self.hidden, kernel_init=self.kernel_init, bias_init=self.bias_init)
    shape = (self.hidden, 4 * self.hidden)
    self.recurrent = self.param('recurrent', self.recurrent_init, shape)

  def project(self, x: jax.Array) -> jax.Array:
    """Computes W x + b of all four gates: x [..., I] -> [..., 4H]."""
    return self.input(x)

  def __call__(
    self, state: tuple[jax.Array, jax.Array], projected: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Computes one step: (c [..., H], h [..., H]), projected [..., 4H] -> (c', h')."""
    c, h = state
    size = self.hidden
    total = projected + h @ self.recurrent
    gates = nn.sigmoid(total[..., : 3 * size])
    i, f, o = jnp.split(gates, 3, axis=-1)
    c = f * c + i * jnp.tanh(total[..., 3 * size :])
    return c, o * jnp.tanh(c)
