"""Training until the validation rows say stop, against scripts and plain NumPy."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import struct
from hypothesis import given
from hypothesis import strategies as st
from measurements import reproducible
from ml_collections import ConfigDict
from saving import saving_runtime

from logjax.errors import LogjaxError
from logjax.training.blocks import make_apply, make_validate
from logjax.training.loop import draw_epoch, epoch_shape, fit
from logjax.training.parallel import parallel, scan_steps
from logjax.training.runtime import quiet_runtime
from logjax.training.state import create_state, make_train_step


class Counter(struct.PyTreeNode):
  """A state whose parameter is the number of epochs it has seen."""

  params: dict


def settings_of(**changes) -> ConfigDict:
  settings = ConfigDict(
    {
      'batch': 8,
      'epochs': 6,
      'rows_per_epoch': 0,
      'least_rows_per_epoch': 0,
      'patience': 100,
      'monitor': 'loss',
      'restore_best': True,
    }
  )
  settings.update(changes)
  return settings


def run_script(losses, accuracies=None, runtime=None, rows=20, importance=None, **changes):
  """Fits the counter to a script of validation results, one an epoch.

  Returns:
    What was trained, and what each epoch saw: the row indices and the weights.
  """
  seen = []

  def epoch_step(state, batches, keys):
    index, weights = jax.tree.map(lambda x: np.asarray(x[0]), batches)
    assert keys.shape == (1, *weights.shape)
    seen.append((index, weights, jax.random.key_data(keys)))
    epochs = state.params['epochs'] + 1
    return state.replace(params={'epochs': epochs}), {'loss': jnp.full(len(index), 10.0 * epochs)}

  def validate(params):
    epoch = int(params['epochs']) - 1
    accuracy = accuracies[epoch] if accuracies else 0.0
    return {'loss': jnp.float32(losses[epoch]), 'accuracy': jnp.float32(accuracy)}

  trained = fit(
    Counter({'epochs': jnp.int32(0)}),
    epoch_step,
    jnp.asarray,
    rows,
    validate,
    settings_of(epochs=len(losses), **changes),
    key=jax.random.key(0),
    runtime=runtime or quiet_runtime(1),
    name='toy_model',
    importance=importance,
    part=1,
  )
  return trained, seen


@pytest.mark.parametrize(
  ('rows', 'rows_per_epoch', 'batch', 'expected'),
  [
    (1024, 0, 128, (8, 128)),
    (1025, 0, 128, (9, 114)),
    (129, 0, 128, (2, 65)),
    (100, 0, 128, (1, 100)),
    (3, 0, 128, (1, 3)),
    (3, 0, 1, (3, 1)),
    (1_000_000, 20_000, 128, (157, 128)),
    (1_000, 20_000, 128, (8, 125)),
    (1_000, 64, 128, (1, 64)),
    (0, 0, 128, (1, 1)),
  ],
)
def test_the_shape_of_an_epoch(rows, rows_per_epoch, batch, expected):
  assert epoch_shape(rows, rows_per_epoch, batch) == expected


@given(st.integers(1, 5000), st.integers(0, 3000), st.integers(1, 300))
def test_the_batches_of_an_epoch_are_as_few_and_as_even_as_they_can_be(rows, rows_per_epoch, batch):
  shape = epoch_shape(rows, rows_per_epoch, batch)
  wanted = min(rows, rows_per_epoch or rows)
  assert shape[0] == -(-wanted // batch) and shape[1] <= batch
  _, weights = draw_epoch(rows, shape, np.random.default_rng(0))
  sizes = weights.sum(axis=1)
  assert sizes.sum() >= wanted
  assert sizes.min() >= 1 and sizes.max() - sizes.min() <= 1


@given(st.integers(1, 60), st.integers(1, 5), st.integers(1, 8), st.integers(1, 4))
def test_an_epoch_has_each_row_as_often_as_it_may_and_fills_up_without_weight(
  rows, steps, size, copies
):
  index, weights = draw_epoch(rows, (steps, size), np.random.default_rng(0), copies)
  assert index.shape == weights.shape == (steps, size)
  drawn = index[weights == 1]
  often = np.bincount(drawn, minlength=rows)
  assert len(often) == rows and often.sum() == min(copies * rows, steps * size)
  assert often.max() <= copies
  if copies * rows <= steps * size:
    assert np.all(often == copies)
  assert np.all(index[weights == 0] == 0) and set(weights.ravel()) <= {0.0, 1.0}


def test_every_epoch_draws_all_rows_in_a_new_order_with_new_keys():
  _, seen = run_script([3, 2, 1])
  for index, weights, _ in seen:
    assert index.shape == (3, 7)
    np.testing.assert_array_equal(np.sort(index[weights == 1]), np.arange(20))
  for one, other in ((0, 1), (1, 2), (0, 2)):
    assert not np.array_equal(seen[one][0], seen[other][0])
    assert not np.any(np.all(seen[one][2] == seen[other][2], axis=-1))
  for again, first in zip(run_script([3, 2, 1])[1], seen, strict=True):
    jax.tree.map(np.testing.assert_array_equal, again, first)


def test_examples_weigh_as_much_as_they_are_important_and_padding_nothing():
  importance = np.arange(1, 21, dtype=np.float32)
  _, seen = run_script([1.0], importance=importance)
  index, weights, _ = seen[0]
  _, plain = run_script([1.0])
  np.testing.assert_array_equal(weights, importance[index] * plain[0][1])
  assert weights.sum() == importance.sum()


def test_a_capped_epoch_reaches_all_rows_over_time():
  _, seen = run_script(list(range(20, 0, -1)), rows=20, rows_per_epoch=8)
  assert {index.shape for index, _, _ in seen} == {(1, 8)}
  assert set(np.concatenate([index.ravel() for index, _, _ in seen])) == set(range(20))


@pytest.mark.parametrize(
  ('least', 'most', 'often'),
  [(20, 0, 1), (21, 0, 2), (40, 0, 2), (41, 0, 3), (8, 0, 1), (60, 48, 3)],
)
def test_few_rows_are_gone_through_as_often_as_an_epoch_has_rows_at_least(least, most, often):
  _, seen = run_script([2, 1], least_rows_per_epoch=least, rows_per_epoch=most)
  for index, weights, _ in seen:
    times = np.bincount(index[weights == 1], minlength=20)
    assert times.sum() == min(20 * often, most or np.inf)
    assert times.max() <= often
    assert most or times.min() == often


@pytest.mark.parametrize(
  ('losses', 'patience', 'best', 'epochs'),
  [
    ([5, 4, 3, 2, 1], 1, 4, 5),  # always better: all epochs
    ([5, 3, 4, 4, 4, 1], 3, 1, 5),  # three without improvement end it
    ([5, 3, 4, 4, 1, 1], 3, 4, 6),  # the third improves
    ([5, 3, 3, 3, 0], 2, 1, 4),  # as good is no improvement
    ([5, 6, 0], 1, 0, 2),
    ([5, 6, 0], 0, 0, 2),
    ([5, 4, 6, 0], 0, 1, 3),
    ([7], 5, 0, 1),
  ],
)
def test_training_stops_after_so_many_epochs_without_improvement(losses, patience, best, epochs):
  trained, seen = run_script(losses, patience=patience)
  assert len(seen) == epochs
  assert trained.epoch == best and trained.params['epochs'] == best + 1
  assert trained.metrics['valid_loss'] == losses[best]
  last, seen = run_script(losses, patience=patience, restore_best=False)
  assert len(seen) == epochs
  assert last.epoch == epochs - 1 and last.params['epochs'] == epochs
  assert last.metrics['valid_loss'] == losses[epochs - 1]


@pytest.mark.parametrize('value', [float('nan'), float('inf')])
def test_training_that_diverges_ends_with_one_line(value):
  with pytest.raises(LogjaxError) as raised:
    run_script([1, value, 1])
  message = str(raised.value)
  assert message.startswith('toy model 2: ') and str(value) in message and '\n' not in message
  assert 'epoch 2' in message and 'learning_rate' in message


def test_every_epoch_is_measured_and_trained_tells_of_its_own(tmp_path):
  trained, _ = run_script([3, 1, 2], [0.25, 0.5, 0.75], quiet_runtime(1, tmp_path))
  expected = [
    {
      'stage': 'toy_model',
      'part': 1,
      'epoch': epoch,
      'step': 3 * (epoch + 1),
      'rows': 20,
      'loss': 10.0 * (epoch + 1),
      'valid_loss': loss,
      'valid_accuracy': accuracy,
    }
    for epoch, (loss, accuracy) in enumerate([(3, 0.25), (1, 0.5), (2, 0.75)])
  ]
  assert reproducible(tmp_path) == expected
  assert trained.metrics == {'loss': 20.0, 'valid_loss': 1.0, 'valid_accuracy': 0.5}
  assert isinstance(trained.params['epochs'], np.ndarray)


def run_kept(workdir, losses, stop_after=None, **changes):
  """Runs a script that saves every epoch; may be stopped after one."""
  runtime, accuracies = saving_runtime(workdir, say=print), None
  if stop_after is not None:
    losses = [*losses[:stop_after], float('nan'), *losses[stop_after + 1 :]]
    with pytest.raises(LogjaxError, match='validation loss nan'):
      run_script(losses, accuracies, runtime, **changes)
    runtime.checkpoints.close()
    return None
  trained, seen = run_script(losses, accuracies, runtime, **changes)
  runtime.checkpoints.close()
  return trained, seen


@pytest.mark.parametrize('stop_after', [1, 2, 4])
@pytest.mark.parametrize('restore_best', [True, False])
def test_a_fit_that_was_stopped_goes_on_as_if_it_had_not_been(
  tmp_path, stop_after, restore_best, capsys
):
  losses = [3.0, 1.0, 2.0, 1.5, 0.5, 4.0]
  changes = {'patience': 3, 'restore_best': restore_best}
  whole, whole_seen = run_kept(tmp_path / 'whole', losses, **changes)
  ends = re.search(r': (\d+/\d+) in ', capsys.readouterr().err)[1]
  run_kept(tmp_path / 'halves', losses, stop_after, **changes)
  capsys.readouterr()
  halves, seen = run_kept(tmp_path / 'halves', losses, **changes)
  assert f': {ends} in ' in capsys.readouterr().err  # all epochs count, not those that were left
  assert (halves.epoch, halves.metrics) == (whole.epoch, whole.metrics)
  np.testing.assert_array_equal(halves.params['epochs'], whole.params['epochs'])
  for ours, theirs in zip(seen, whole_seen[stop_after:], strict=True):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)  # rows, weights and keys
  assert reproducible(tmp_path / 'halves') == reproducible(tmp_path / 'whole')


def test_a_fit_that_was_finished_is_not_done_again(tmp_path):
  losses = [3.0, 1.0, 2.0]
  whole, _ = run_kept(tmp_path, losses, patience=1)
  again, seen = run_kept(tmp_path, losses, patience=1)
  assert not seen and again.metrics == whole.metrics
  np.testing.assert_array_equal(again.params['epochs'], whole.params['epochs'])


def linear_loss(params, example, key):
  x, y = example
  noise = 0.01 * jax.random.normal(key)
  return (jnp.dot(params['w'], x) + noise - y) ** 2, {}


def linear_metrics(params, example):
  loss = linear_loss(params, example, jax.random.key(0))[0]
  return {'loss': loss, 'accuracy': (loss < 0.1).astype(jnp.float32)}


X = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
Y = X @ np.array([1, -2, 3], np.float32)


def fit_line(devices: int, rate=0.1, epochs=12, start=0.0, runtime=None, **tags):
  tx = optax.sgd(rate)
  return fit(
    create_state({'w': jnp.full(3, start)}, tx),
    parallel(scan_steps(make_train_step(linear_loss, tx)), devices),
    lambda index: (jnp.asarray(X[index]), jnp.asarray(Y[index])),
    len(X),
    make_validate(linear_metrics)((X, Y), np.ones(len(X))),
    settings_of(epochs=epochs),
    key=jax.random.key(1),
    runtime=runtime or quiet_runtime(devices),
    name='line',
    **tags,
  )


@pytest.fixture(scope='module')
def line():
  return fit_line(1)


def test_a_line_is_learnt(line):
  np.testing.assert_allclose(line.params['w'], [1, -2, 3], atol=0.02)
  assert line.metrics['valid_accuracy'] == 1


def test_training_twice_gives_the_same_bits(line):
  again = fit_line(1)
  np.testing.assert_array_equal(again.params['w'], line.params['w'])
  assert again.metrics == line.metrics


def test_four_devices_learn_what_one_learns(line):
  np.testing.assert_allclose(fit_line(4).params['w'], line.params['w'], rtol=1e-5)


@pytest.mark.parametrize('devices', [1, 4])
def test_the_best_parameters_are_not_overwritten_by_later_epochs(devices):
  """The state of an epoch is donated to the next; with a large rate the last is not the best."""
  best = fit_line(devices, rate=0.65)
  assert best.epoch < 11
  validate = make_validate(linear_metrics)((X, Y), np.ones(len(X)))
  assert float(validate(best.params)['loss']) == best.metrics['valid_loss']


@pytest.mark.parametrize('count', [1, 7, 513])
def test_validation_is_the_weighted_mean_over_all_examples(count):
  """513 examples are more than one block."""
  rng = np.random.default_rng(count)
  x, weights = rng.normal(size=count).astype(np.float32), rng.integers(1, 9, count)
  validate = make_validate(lambda p, e: {'loss': p * e, 'square': e**2})(x, weights)
  means = validate(jnp.float32(3))
  np.testing.assert_allclose(means['loss'], np.average(3 * x, weights=weights), atol=1e-5)
  np.testing.assert_allclose(means['square'], np.average(x**2, weights=weights), rtol=1e-5)


def test_validation_on_other_examples_of_about_as_many_needs_no_other_program():
  traced = []

  def metrics(params, example):
    traced.append(example)
    return {'loss': params * example}

  validate_on = make_validate(metrics)
  for count in (5, 8, 7):
    validate_on(np.ones(count, np.float32), np.ones(count))(jnp.float32(2))
  assert len(traced) == 1


def test_a_weight_counts_like_so_many_equal_examples():
  x, weights = np.array([1.0, 2.0, 5.0], np.float32), np.array([3, 1, 2])

  def metrics(params, example):
    return {'loss': jnp.sin(params * example)}

  once = make_validate(metrics)(x, weights)(jnp.float32(2))['loss']
  repeated = make_validate(metrics)(np.repeat(x, weights), np.ones(6))(jnp.float32(2))['loss']
  np.testing.assert_allclose(once, repeated, rtol=1e-6)


WIDTH = 20


def network(params, row):
  """A row and a number to a vector and a scalar: matrix products, whose sums could round."""
  x, number = row
  hidden = jnp.tanh(x @ params[0])
  return {'out': hidden @ params[1] + number, 'largest': jnp.max(hidden)}


@pytest.fixture(scope='module')
def applied():
  rng = np.random.default_rng(0)
  params = [rng.normal(size=(WIDTH, 30)), rng.normal(size=(30, 4))]
  params = jax.tree.map(lambda x: x.astype(np.float32), params)
  rows = (rng.normal(size=(1300, WIDTH)).astype(np.float32), np.arange(1300, dtype=np.int32))
  apply = make_apply(network)
  return apply, params, rows, apply(params, rows)


def test_applying_in_blocks_gives_every_row_its_output(applied):
  _, params, rows, outputs = applied
  expected = jax.vmap(lambda row: network(params, row))(rows)
  assert outputs['out'].shape == (1300, 4) and outputs['largest'].shape == (1300,)
  jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4), outputs, dict(expected))


@pytest.mark.parametrize('count', [1, 2, 511, 512, 513, 1025])
def test_a_row_has_the_same_bits_however_many_there_are(applied, count):
  apply, params, rows, outputs = applied
  for part in (slice(count), slice(1300 - count, None)):
    some = apply(params, jax.tree.map(lambda x, part=part: x[part], rows))
    jax.tree.map(lambda a, b, part=part: np.testing.assert_array_equal(a, b[part]), some, outputs)


def test_a_row_has_the_same_bits_with_parameters_from_one_or_four_devices(applied):
  apply, params, rows, outputs = applied
  for devices in (1, 4):
    step = parallel(lambda state, batch, keys: (state, {}), devices, donate=False)
    trained, _ = step(params, np.zeros(devices), np.zeros(devices))
    assert len(trained[0].sharding.device_set) == devices
    again = apply(trained, rows)
    jax.tree.map(np.testing.assert_array_equal, again, outputs)
