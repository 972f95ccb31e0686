"""The oracle against an LSTM in plain NumPy, and what it says of its own rows."""

import jax
import numpy as np
import pytest

from logjax.benchmarks.oracle.model import (
  allowed_tokens,
  draw_oracle,
  load_oracle,
  sample_rows,
  token_losses,
)
from logjax.errors import LogjaxError

GATES = ('i', 'f', 'og', 'c')


def arrays_of(vocabulary=7, embedding=3, hidden=4, seed=0) -> dict[str, np.ndarray]:
  generator = np.random.default_rng(seed)

  def normal(*shape):
    return generator.normal(size=shape).astype(np.float32)

  arrays = {'embedding': normal(vocabulary, embedding)}
  for gate in GATES:
    arrays |= {
      f'W{gate}': normal(embedding, hidden),
      f'U{gate}': normal(hidden, hidden),
      f'b{gate}': normal(hidden),
    }
  return arrays | {'Wo': normal(hidden, vocabulary), 'bo': normal(vocabulary)}


def write_oracle(path, arrays):
  np.savez(path, **arrays)
  return path


def numpy_losses(arrays: dict[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
  """Losses of rows [N, T] by an LSTM in double precision, one step and one gate after another."""
  a = {name: array.astype(np.float64) for name, array in arrays.items()}
  c = h = np.zeros((len(rows), a['Wo'].shape[0]))
  token, losses = np.zeros(len(rows), int), []
  for target in rows.T:
    x = a['embedding'][token]
    i, f, o, candidate = (x @ a[f'W{g}'] + h @ a[f'U{g}'] + a[f'b{g}'] for g in GATES)
    i, f, o = (1 / (1 + np.exp(-z)) for z in (i, f, o))
    c = f * c + i * np.tanh(candidate)
    h = o * np.tanh(c)
    weights = np.exp(h @ a['Wo'] + a['bo'])
    weights[:, 0] = 0
    losses.append(-np.log(weights[np.arange(len(rows)), target] / weights.sum(axis=1)))
    token = target
  return np.stack(losses, axis=1)


def test_a_file_gives_the_lstm_that_its_arrays_describe(tmp_path):
  arrays = arrays_of()
  oracle = load_oracle(write_oracle(tmp_path / 'oracle.npz', arrays))
  rows = np.random.default_rng(1).integers(1, 7, (5, 6)).astype(np.int32)
  np.testing.assert_allclose(token_losses(oracle, rows), numpy_losses(arrays, rows), rtol=1e-4)


def test_rows_follow_the_oracles_probabilities_and_never_have_token_0():
  oracle = draw_oracle(4, 3, jax.random.key(1))
  rows = sample_rows(oracle, 2, 20_000, jax.random.key(2))
  assert rows.shape == (20_000, 2) and rows.min() >= 1
  pairs = np.array([[a, b] for a in range(1, 4) for b in range(1, 4)], np.int32)
  expected = np.exp(-token_losses(oracle, pairs).sum(axis=1))
  assert expected.sum() == pytest.approx(1, abs=1e-5)
  counts = np.array([(rows == pair).all(axis=1).sum() for pair in pairs])
  chi_square = np.sum((counts - 20_000 * expected) ** 2 / (20_000 * expected))
  assert chi_square < 40  # 8 degrees of freedom: exceeded 3 times in a million


def test_an_own_oracle_has_standard_normal_weights_and_biases():
  params = draw_oracle(500, 32, jax.random.key(0)).params
  for leaf in jax.tree.leaves(params):
    assert abs(leaf.mean()) < 5 / leaf.size**0.5
    assert abs(leaf.std() - 1) < 5 / (2 * leaf.size) ** 0.5


def test_only_token_0_is_ruled_out():
  assert allowed_tokens(3).tolist() == [-np.inf, 0, 0]


def _without(name):
  return lambda arrays: arrays.pop(name)


def _with(name, array):
  return lambda arrays: arrays.update({name: array})


@pytest.mark.parametrize(
  ('change', 'message'),
  [
    (_without('Uog'), "no array 'Uog'"),
    (_with('Wo', np.zeros((5, 7), np.float32)), "'Wo' is float32 [5, 7] and should be"),
    (_with('bo', np.zeros((1, 7), np.float32)), "'bo' is float32 [1, 7] and should be"),
    (_with('bi', np.zeros(4)), "'bi' is float64 [4] and should be float32"),
    (_with('bi', np.full(4, np.nan, np.float32)), "'bi' has values that are not finite"),
    (_with('bi', np.array([{}], object)), 'is not a readable .npz file'),
    (_with('embedding', np.float32(1)), "'embedding' is float32 [] and should be"),
  ],
)
def test_a_wrong_array_is_named(tmp_path, change, message):
  arrays = arrays_of()
  change(arrays)
  with pytest.raises(LogjaxError) as error:
    load_oracle(write_oracle(tmp_path / 'oracle.npz', arrays))
  assert message in str(error.value) and '\n' not in str(error.value)


def test_what_is_no_npz_file_is_an_error_of_one_line(tmp_path):
  whole = write_oracle(tmp_path / 'oracle.npz', arrays_of()).read_bytes()
  contents = {'cut.npz': whole[:-200], 'empty.npz': b'', 'text.npz': b'what is this?'}
  for name, content in contents.items():
    (tmp_path / name).write_bytes(content)
  np.save(tmp_path / 'one.npy', np.zeros(3))
  for name in (*contents, 'one.npy', '.'):
    with pytest.raises(LogjaxError, match='not a readable .npz file'):
      load_oracle(tmp_path / name)
  with pytest.raises(LogjaxError, match='no oracle at --config.oracle.path='):
    load_oracle(tmp_path / 'missing.npz')


@pytest.fixture(scope='module')
def published(shared_data):
  path = shared_data / 'seqgan_oracle' / 'target_lstm.npz'
  if not path.exists():
    pytest.skip(f'no published oracle: {path} does not exist')
  return path


def test_the_published_oracle_is_the_lstm_of_its_arrays(published):
  with np.load(published, allow_pickle=False) as file:
    arrays = dict(file)
  rows = np.random.default_rng(0).integers(1, 5_000, (20, 20)).astype(np.int32)
  np.testing.assert_allclose(
    token_losses(load_oracle(published), rows), numpy_losses(arrays, rows), rtol=1e-4
  )


def test_the_published_oracle_scores_itself_and_uniform_tokens_as_reported(published):
  oracle = load_oracle(published)
  losses = token_losses(oracle, sample_rows(oracle, 20, 9_984, jax.random.key(0)))
  assert losses.mean() == pytest.approx(5.75, abs=0.02)
  by_position = losses.mean(axis=0)  # each with a standard error of 0.023
  assert by_position[0] == pytest.approx(6.525, abs=0.1)
  assert (by_position[1:] > 5.55).all() and (by_position[1:] < 5.87).all()
  uniform = np.random.default_rng(0).integers(1, 5_000, (9_984, 20)).astype(np.int32)
  assert token_losses(oracle, uniform).mean() == pytest.approx(11.43, abs=0.02)
