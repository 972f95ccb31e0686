"""logjax's oversamplers behind the interface of imbalanced-learn.

N rows, T tokens a row.
"""

import importlib.util
from pathlib import Path

import jax
import ml_collections
import numpy as np
from imblearn.over_sampling.base import BaseOverSampler
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions

from logjax.errors import LogjaxError
from logjax.oversamplers.oversample import oversample
from logjax.oversamplers.table import TABLE
from logjax.settings import resolve


class LogOversampler(BaseOverSampler):
  """Oversamples rows of token ids, with the interface of imbalanced-learn's oversamplers.

  X [N, T] holds token ids, and 0 as padding at the end of a row. Ids are names: only their equality
  matters, so they may be any numbers, floats included. New rows hold numbers of X only. Each class
  is oversampled separately, and there may be more than two. Sparse matrices are refused.

  Args:
    name: of the oversampler, as `config.oversampler.name`.
    sampling_strategy: as in imbalanced-learn.
    random_state: as in imbalanced-learn.
    config: values of other fields of the configuration, by dotted name: `{'seqgan.mle_epochs': 5}`.

  Attributes:
    sampling_strategy_: the number of rows to make, by class.
    n_features_in_: T.
  """

  _parameter_constraints = {
    **BaseOverSampler._parameter_constraints,
    'name': [StrOptions(set(TABLE))],
    'config': [dict, None],
  }

  def __init__(
    self,
    name: str = 'random',
    *,
    sampling_strategy: str | float | dict = 'auto',
    random_state: int | np.random.RandomState | None = None,
    config: dict | None = None,
  ):
    super().__init__(sampling_strategy=sampling_strategy)
    self.name = name
    self.random_state = random_state
    self.config = config

  def _check_X_y(self, X, y, accept_sparse=None):
    return super()._check_X_y(X, y, accept_sparse=False)

  def _fit_resample(self, X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    config = _defaults()
    config.update_from_flattened_dict({'oversampler.name': self.name, **(self.config or {})})
    config = resolve(config)
    key = jax.random.key(check_random_state(self.random_state).randint(2**31))
    # Token i of the oversampler is the i-th smallest number of X; 0 stays the padding.
    tokens = np.concatenate([[0], np.unique(X[X != 0])]).astype(X.dtype)
    ids = np.where(X == 0, 0, 1 + np.searchsorted(tokens[1:], X)).astype(np.int32)
    rows, labels = [X], [y]
    for i, (label, count) in enumerate(self.sampling_strategy_.items()):
      new = oversample(config, ids[y == label], count, jax.random.fold_in(key, i))
      rows.append(tokens[new])
      labels.append(np.full(len(new), label, y.dtype))
    return np.concatenate(rows), np.concatenate(labels)

  def __sklearn_tags__(self):
    tags = super().__sklearn_tags__()
    tags.input_tags.sparse = False
    return tags


def _defaults() -> ml_collections.ConfigDict:
  """Loads the configuration of configs/default.py, in the folder beside the package.

  It is loaded by its path: another project may have a package `configs` too.

  Raises:
    LogjaxError: logjax is not installed from a checkout.
  """
  path = Path(__file__).parents[2] / 'configs' / 'default.py'
  if not path.exists():
    raise LogjaxError(f'{path} is missing: LogOversampler needs a checkout (pip install -e .)')
  spec = importlib.util.spec_from_file_location('logjax_default_config', path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config()
