"""The oversamplers behind imbalanced-learn's interface, by its own checks and by ours."""

import numpy as np
import pytest
from compiling import compiled_fast
from imblearn.utils.estimator_checks import estimator_checks_generator
from scipy import sparse
from sklearn.base import clone

from logjax.oversamplers.imblearn_api import LogOversampler

# All checks of imbalanced-learn's samplers hold, on floats and several classes too. Those on
# sparse matrices are not asked for: rows of tokens are not sparse, and the estimator's tags say so.
# Those on data frames skip themselves where pandas is not installed.


@pytest.mark.parametrize(
  ('estimator', 'check'),
  [
    pytest.param(*checked, id=f'{name}-{checked[1].func.__name__}')
    for name in ('random', 'smoten')
    for checked in estimator_checks_generator(LogOversampler(name, random_state=0))
  ],
)
def test_imbalanced_learns_own_checks_hold(estimator, check):
  check(estimator)


ABNORMAL = np.array([[7, 8, 9, 0], [7, 8, 900, 0], [7, 11, 0, 0]])
X = np.concatenate([np.tile([[5, 6, 0, 0]], (9, 1)), ABNORMAL])
Y = np.array(['normal'] * 9 + ['abnormal'] * 3)
# Nothing is learned in so little time, but everything runs.
TINY = {
  'text.length': 4,
  'devices': 1,
  'oversampler.sets': 1,
  'seqgan.embedding': 4,
  'seqgan.hidden': 4,
  'seqgan.batch': 8,
  'seqgan.rows_per_epoch': 8,
  'seqgan.mle_epochs': 1,
  'seqgan.discriminator_rounds': 1,
  'seqgan.discriminator_epochs': 1,
  'seqgan.rounds': 1,
  'seqgan.d_steps': 1,
  'seqgan.rollouts': 1,
  'seqgan.discriminator_embedding': 4,
  'seqgan.filter_widths': (1, 2),
  'seqgan.filters': (3, 3),
  'detector.autoencoder.layers': (4, 4, 4),
  'detector.autoencoder.epochs': 1,
}


@pytest.mark.parametrize(
  'name', ['random', 'smote', 'smoten', 'mle', 'seqgan', 'maligan', 'textgan']
)
def test_every_oversampler_balances_the_classes_with_the_tokens_of_the_rare_one(name):
  with compiled_fast():
    rows, labels = LogOversampler(name, random_state=0, config=TINY).fit_resample(X, Y)
  np.testing.assert_array_equal(rows[:12], X)
  assert labels.tolist() == [*Y, *['abnormal'] * 6]
  assert rows.shape == (18, 4) and rows.dtype == X.dtype
  assert set(rows[12:].ravel()) <= {0, 7, 8, 9, 11, 900}


@pytest.mark.parametrize('name', ['none', 'class_weights'])
def test_an_oversampler_that_makes_no_rows_returns_what_it_was_given(name):
  rows, labels = LogOversampler(name).fit_resample(X, Y)
  np.testing.assert_array_equal(rows, X)
  np.testing.assert_array_equal(labels, Y)


def test_the_random_state_decides_the_rows():
  wide = np.arange(60).reshape(20, 3) + 1
  labels = np.array([0] * 15 + [1] * 5)
  sampler = LogOversampler('random', random_state=3)
  first, _ = sampler.fit_resample(wide, labels)
  np.testing.assert_array_equal(clone(sampler).fit_resample(wide, labels)[0], first)
  other, _ = LogOversampler('random', random_state=4).fit_resample(wide, labels)
  assert not np.array_equal(other, first)


def test_the_configuration_decides_what_becomes_of_a_shortage():
  """Equal rows give SMOTEN nothing new, so all that it makes are removed."""
  equal, labels = X[[0, 0, 0, 0, 9, 9]], Y[[0, 0, 0, 0, 9, 9]]
  for on_shortage, made in (('short', 0), ('repeat', 2)):
    sampler = LogOversampler('smoten', config={'oversampler.on_shortage': on_shortage})
    rows, classes = sampler.fit_resample(equal, labels)
    assert len(rows) == len(classes) == 6 + made
    assert (rows[6:] == X[9]).all()


def test_sparse_rows_are_refused():
  with pytest.raises(TypeError, match='[Ss]parse'):
    LogOversampler().fit_resample(sparse.csr_matrix(X), Y)
