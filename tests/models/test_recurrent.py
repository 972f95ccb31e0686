"""The recurrent cells against their equations, written out in NumPy, and Flax's LSTM."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from logjax.models.recurrent import GRUCell, LSTMCell

HIDDEN, INPUT = 3, 2


def sigmoid(x: np.ndarray) -> np.ndarray:
  return 1 / (1 + np.exp(-x))


@pytest.fixture(scope='module')
def weights() -> dict[str, np.ndarray]:
  """W [I, H], U [H, H] and b [H] of the three gates, none of them zero."""
  rng = np.random.default_rng(0)
  shapes = {'W': (INPUT, HIDDEN), 'U': (HIDDEN, HIDDEN), 'b': (HIDDEN,)}
  return {
    f'{name}_{gate}': rng.normal(size=shape).astype(np.float32)
    for name, shape in shapes.items()
    for gate in 'rzh'
  }


@pytest.fixture(scope='module')
def inputs() -> tuple[np.ndarray, np.ndarray]:
  """A state [H] and an input [I]."""
  rng = np.random.default_rng(1)
  return rng.normal(size=HIDDEN).astype(np.float32), rng.normal(size=INPUT).astype(np.float32)


def as_params(weights: dict[str, np.ndarray]) -> dict:
  def join(name: str, gates: str) -> np.ndarray:
    return np.concatenate([weights[f'{name}_{gate}'] for gate in gates], axis=-1)

  return {
    'input': {'kernel': join('W', 'rzh'), 'bias': join('b', 'rzh')},
    'gates': join('U', 'rz'),
    'candidate': weights['U_h'],
  }


def next_state(weights: dict, h: np.ndarray, x: np.ndarray) -> jax.Array:
  cell = GRUCell(HIDDEN)
  params = {'params': as_params(weights)}
  projected = cell.apply(params, x, method=cell.project)
  return cell.apply(params, h, projected)


def by_hand(w: dict, h: np.ndarray, x: np.ndarray) -> np.ndarray:
  r = sigmoid(x @ w['W_r'] + h @ w['U_r'] + w['b_r'])
  z = sigmoid(x @ w['W_z'] + h @ w['U_z'] + w['b_z'])
  return z * h + (1 - z) * np.tanh(x @ w['W_h'] + (r * h) @ w['U_h'] + w['b_h'])


def flax_state(weights: dict, h: np.ndarray, x: np.ndarray) -> jax.Array:
  """The state by Flax's GRUCell, which has another bias inside the reset product, h_n: here 0."""
  params = {}
  for gate, name in {'r': 'r', 'z': 'z', 'h': 'n'}.items():
    params[f'i{name}'] = {'kernel': weights[f'W_{gate}'], 'bias': weights[f'b_{gate}']}
    params[f'h{name}'] = {'kernel': weights[f'U_{gate}']}
  params['hn']['bias'] = np.zeros(HIDDEN, np.float32)
  return nn.GRUCell(HIDDEN).apply({'params': params}, h, x)[0]


def test_a_step_follows_equations_1_to_3(weights, inputs):
  expected = by_hand(weights, *inputs)
  np.testing.assert_allclose(next_state(weights, *inputs), expected, rtol=1e-5, atol=1e-6)


def test_a_step_differs_from_flax_in_the_place_of_the_reset_gate_alone(weights, inputs):
  assert np.abs(next_state(weights, *inputs) - flax_state(weights, *inputs)).max() > 1e-3
  open_gate = {**weights, 'b_r': np.full(HIDDEN, 100, np.float32)}  # r = 1
  expected = flax_state(open_gate, *inputs)
  np.testing.assert_allclose(next_state(open_gate, *inputs), expected, rtol=1e-5, atol=1e-6)


def test_the_update_gate_can_keep_the_state(weights, inputs):
  closed = {**weights, 'b_z': np.full(HIDDEN, 100, np.float32)}
  np.testing.assert_allclose(next_state(closed, *inputs), inputs[0], rtol=1e-6)


def test_a_whole_sequence_is_projected_like_its_members(weights):
  cell = GRUCell(HIDDEN)
  params = {'params': as_params(weights)}
  x = np.random.default_rng(2).normal(size=(2, 4, INPUT)).astype(np.float32)
  together = cell.apply(params, x, method=cell.project)
  assert together.shape == (2, 4, 3 * HIDDEN)
  alone = cell.apply(params, x[1, 2], method=cell.project)
  np.testing.assert_allclose(together[1, 2], alone, rtol=1e-5, atol=1e-6)


def test_the_classifiers_cell_has_the_published_number_of_parameters():
  """Hidden size 100 on one number a step, with one bias a gate."""
  cell = GRUCell(100)

  def init(key: jax.Array):
    return cell.init(
      key, jnp.zeros(1), method=lambda cell, x: cell(jnp.zeros(100), cell.project(x))
    )

  params = jax.eval_shape(init, jax.random.key(0))
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 30_600


def test_every_recurrent_matrix_is_initialised_on_its_own():
  """Orthogonal gates stay orthogonal: their two matrices are not cut from a wide one."""
  cell = GRUCell(4)
  variables = cell.init(jax.random.key(0), jnp.zeros(4), jnp.zeros(12))
  gates = np.asarray(variables['params']['gates'])
  for matrix in (gates[:, :4], gates[:, 4:]):
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(4), atol=1e-5)
  assert np.abs(gates[:, :4] - gates[:, 4:]).max() > 1e-2


def test_the_lstm_equals_flax_own_with_the_same_weights():
  """Flax has one kernel a gate, and its bias with the recurrent one."""
  rng = np.random.default_rng(2)
  x, c, h = (rng.normal(size=n).astype(np.float32) for n in (INPUT, HIDDEN, HIDDEN))
  kernel, bias, recurrent = (
    rng.normal(size=shape).astype(np.float32)
    for shape in ((INPUT, 4 * HIDDEN), 4 * HIDDEN, (HIDDEN, 4 * HIDDEN))
  )
  theirs = {}
  for i, gate in enumerate('ifog'):
    part = slice(i * HIDDEN, (i + 1) * HIDDEN)
    theirs[f'i{gate}'] = {'kernel': kernel[:, part]}
    theirs[f'h{gate}'] = {'kernel': recurrent[:, part], 'bias': bias[part]}
  expected, _ = nn.LSTMCell(HIDDEN).apply({'params': theirs}, (c, h), x)
  cell = LSTMCell(HIDDEN)
  ours = {'params': {'input': {'kernel': kernel, 'bias': bias}, 'recurrent': recurrent}}
  after = cell.apply(ours, (c, h), cell.apply(ours, x, method=cell.project))
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), after, expected)
