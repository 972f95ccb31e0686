"""Settings of a run: values checked by the rules of the modules in use, 'auto' resolved.

Detectors, kinds of examples and oversamplers are loaded by the names in the configuration, not
imported at the top. So a wrong name is answered before anything heavy is loaded.
"""

import importlib
import itertools
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import ml_collections

from logjax.corpora.catalog import CATALOG, Paper
from logjax.errors import LogjaxError
from logjax.examples.protocol import protocol_of
from logjax.rules import Rule, at_least, between, boolean, choice, fraction

# Allowed by NumPy, JAX and scikit-learn. JAX makes a different key of each.
_SEED = between(0, 2**32 - 1)
RULES: dict[str, Rule] = {
  'seed': _SEED,
  'devices': at_least(0),
  'checkpoint.minutes': at_least(0),
  'checkpoint.epochs': at_least(0),
  'data.simulated_lines': at_least(1),
  'data.limit_lines': at_least(0),
  'data.max_rejected': fraction(),
  'data.permute_labels': boolean(),
  'detector.repetitions': at_least(1),
  'detector.threshold': choice('half', 'valid_f1', auto=('half', 'valid_f1')),
  'split.abnormal_train': at_least(0),
  'ladder.repetitions': at_least(1),
  'compare.repetitions': at_least(1),
  # With fewer draws the ends of a 95 % interval would be one or two draws each.
  'ladder.draws': at_least(100),
  'compare.draws': at_least(100),
}
_PAPER_SHARE = 0.05  # share of all rows outside the paper's test set
# Parts of the configuration for studies only.
_STUDIES = ('ladder', 'compare')


def resolve(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """Checks all values and replaces 'auto' and None by values for the protocol and the corpus.

  Args:
    config: as in `configs/default.py`.

  Returns:
    A copy without the parts for studies.

  Raises:
    LogjaxError: for a value outside the field's rule.
  """
  config = config.copy_and_resolve_references().unlock()
  protocol = protocol_of(config)
  oversamplers, detectors = _load('oversamplers.table'), _load('detectors')
  rules = RULES | oversamplers.RULES
  check(config, rules)
  detector = detectors.load(config.detector.name)  # the first heavy import
  rules = {**rules, **_load(f'examples.{detector.KIND}').RULES, **detector.RULES}
  for name in detectors.BASELINES.get(detector.KIND, ()):  # they train beside every detector
    rules.update(detectors.load(name).RULES)
  if config.oversampler.name == 'smote':  # it has an autoencoder of its own
    autoencoder = detectors.load('autoencoder_gru').RULES
    rules.update(
      (name, rule) for name, rule in autoencoder.items() if name.startswith('detector.autoencoder.')
    )
  check(config, rules)
  check_gan(config.seqgan)
  for study in _STUDIES:
    if study in config:
      del config[study]
  paper = config.protocol == 'paper'
  for name, rule in rules.items():
    if rule.auto is not None and _get(config, name) in ('auto', None):
      config.update_from_flattened_dict({name: rule.auto[0 if paper else 1]})
  corpus = config.data.corpus
  published = CATALOG[corpus].paper if corpus in CATALOG else Paper()
  config.split.by = protocol.split_by
  if config.data.simulated_seed is None:
    config.data.simulated_seed = config.seed
  if config.split.train is None:
    config.split.train = _PAPER_SHARE * published.train if paper else 0.6
  if config.split.valid is None:
    config.split.valid = _PAPER_SHARE * (1 - published.train) if paper else 0.2
  if config.data.labels == 'auto' and published.labels:
    config.data.labels = published.labels if paper else CATALOG[corpus].labels
  if config.oversampler.sets is None:
    config.oversampler.sets = published.sets
  return config


def _load(module: str) -> ModuleType:
  return importlib.import_module(f'logjax.{module}')


def check(config: ml_collections.ConfigDict, rules: Mapping[str, Rule]) -> None:
  """Checks the fields of a configuration; rules of absent fields are ignored.

  Raises:
    LogjaxError: for the first value outside its rule.
  """
  fields = flatten(config.to_dict())
  for name, rule in rules.items():
    if name in fields and not rule.holds(fields[name]):
      raise LogjaxError(f'--config.{name}={fields[name]!r} must be {rule.meaning}')


def check_gan(seqgan: ml_collections.ConfigDict) -> None:
  """Checks fields of `config.seqgan` against each other.

  Raises:
    LogjaxError: for the first contradiction.
  """
  if seqgan.rows_per_epoch % seqgan.batch:
    raise LogjaxError('--config.seqgan.rows_per_epoch must be a multiple of seqgan.batch')
  check_filters(seqgan.filter_widths, seqgan.filters, 'seqgan')


def check_filters(widths: Sequence[int], filters: Sequence[int], where: str) -> None:
  """Checks the convolutions of a discriminator.

  Args:
    widths: of the convolutions.
    filters: number of filters of each width.
    where: the name of their part of the configuration.

  Raises:
    LogjaxError: the lengths differ, the widths do not rise, or none is 1 or 2.
  """
  if len(widths) != len(filters):
    raise LogjaxError(f'{where}.filter_widths and {where}.filters must have equal lengths')
  if any(b <= a for a, b in itertools.pairwise(widths)):
    raise LogjaxError(f'--config.{where}.filter_widths={tuple(widths)} must rise')
  if widths[0] > 2:
    raise LogjaxError(
      f'--config.{where}.filter_widths must have a width of 1 or 2: rows can be short'
    )


def flatten(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
  """Turns nested dictionaries into one with dotted names; tuples become lists as in JSON."""
  flat = {}
  for name, value in tree.items():
    if isinstance(value, dict):
      flat.update(flatten(value, f'{prefix}{name}.'))
    else:
      flat[prefix + name] = list(value) if isinstance(value, tuple) else value
  return flat


def unflatten(flat: Mapping[str, Any]) -> ml_collections.ConfigDict:
  """Undoes `flatten`: a configuration from dotted names; lists become tuples."""
  tree: dict[str, Any] = {}
  for name, value in flat.items():
    *path, field = name.split('.')
    part = tree
    for step in path:
      part = part.setdefault(step, {})
    part[field] = tuple(value) if isinstance(value, list) else value
  return ml_collections.ConfigDict(tree)


def _get(config: ml_collections.ConfigDict, name: str) -> Any:
  """Returns the field of a dotted name."""
  for step in name.split('.'):
    config = config[step]
  return config
