"""Settings of a run: choices checked, 'auto' resolved by protocol."""

import itertools
from collections.abc import Sequence
from typing import Any

import ml_collections

from logjax.corpora.catalog import CATALOG, Paper
from logjax.errors import LogjaxError
from logjax.examples.splits import leaks_of, split_kind

OVERSAMPLERS = tuple('none class_weights random smote smoten mle seqgan maligan textgan'.split())
CHOICES = {
  'text.numbers': ('auto', 'mask', 'keep'),
  'text.identifiers': ('mask', 'keep', 'drop'),
  'text.tokens': ('words', 'punctuation', 'template'),
  'oversampler.name': OVERSAMPLERS,
  'oversampler.sets_by': ('random', 'time', 'text'),
  'oversampler.similarity': ('none', 'exact', 'masked', 'jaccard'),
  'oversampler.on_shortage': ('repeat', 'short'),
  'seqgan.cell': ('gru', 'lstm'),
  'seqgan.reward': ('discriminator', 'constant', 'random'),
  'seqgan.baseline': ('none', 'batch', 'position'),
  'detector.report': ('mean', 'last', 'best'),
  'detector.threshold': ('auto', 'half', 'valid_f1'),
  'detector.features': ('auto', 'own_class', 'both', 'errors', 'none'),
  'detector.autoencoder.scale': ('unit', 'ids'),
  'detector.autoencoder.loss': ('auto', 'softmax', 'keras', 'tokens', 'mse', 'bce'),
  'detector.autoencoder.output': ('reconstruction', 'code'),
  'detector.autoencoder.dropout_means': ('auto', 'drop', 'keep'),
  'detector.autoencoder.l1_on': ('auto', 'kernel', 'activity'),
  'detector.autoencoder.activation': ('relu', 'tanh', 'sigmoid'),
  'detector.autoencoder.monitor': ('loss', 'accuracy'),
  'detector.noise.reading': ('variance', 'std'),
  'detector.noise.scale': ('absolute', 'relative'),
  'detector.gru.layout': ('steps', 'features'),
  'detector.gru.dropout_means': ('auto', 'drop', 'keep'),
  'detector.gru.monitor': ('loss', 'accuracy'),
}
# What 'auto' (or None) means: in the paper's protocol the reading nearest to its words, when honest
# one that lets the detector learn (docs/paper.md has the exceptions and the measurements).
AUTO = {
  'text.numbers': ('keep', 'mask'),
  'detector.threshold': ('half', 'valid_f1'),
  'detector.autoencoder.loss': ('softmax', 'mse'),
  'detector.autoencoder.dropout_means': ('drop', 'keep'),
  'detector.autoencoder.l1': (0.01, 1e-5),
  'detector.autoencoder.l1_on': ('kernel', 'activity'),
  'detector.gru.dropout_means': ('drop', 'keep'),
}
POSITIVE = (
  'data.simulated_lines',
  'oversampler.neighbours',
  'seqgan.embedding',
  'seqgan.hidden',
  'seqgan.discriminator_embedding',
  'seqgan.batch',
  'seqgan.rows_per_epoch',
  'seqgan.discriminator_epochs',
  'seqgan.g_steps',
  'seqgan.rollouts',
  'detector.repetitions',
  'ladder.repetitions',
  'compare.repetitions',
  'detector.gru.hidden',
  'detector.gru.batch',
  'detector.gru.epochs',
  'detector.autoencoder.batch',
  'detector.autoencoder.epochs',
)
NOT_NEGATIVE = (
  'checkpoint.minutes',
  'checkpoint.epochs',
  'devices',
  'data.limit_lines',
  'split.abnormal_train',
  'text.kept_numbers',
  'seqgan.init_std',
  'seqgan.mle_epochs',
  'seqgan.discriminator_rounds',
  'seqgan.rounds',
  'seqgan.d_steps',
  'seqgan.rollout_block',
  'seqgan.discriminator_l2',
  'seqgan.textgan_mmd_weight',
  'detector.noise.variance',
  'detector.gru.patience',
  'detector.gru.rows_per_epoch',
  'detector.gru.least_rows_per_epoch',
  'detector.autoencoder.patience',
  'detector.autoencoder.rows_per_epoch',
  'detector.autoencoder.least_rows_per_epoch',
)
SHARES = (
  'data.max_rejected',
  'oversampler.jaccard',
  'seqgan.rollout_update',
  'seqgan.discriminator_dropout',
  'detector.gru.dropout',
  'detector.autoencoder.dropout',
)
ABOVE_ZERO = (
  'oversampler.temperature',
  'oversampler.jaccard',
  'oversampler.max_draws',
  'seqgan.generator_learning_rate',
  'seqgan.clip_norm',
  'seqgan.discriminator_learning_rate',
  'seqgan.textgan_temperature',
  'detector.autoencoder.learning_rate',
  'detector.gru.learning_rate',
)
SIZES = ('seqgan.filter_widths', 'seqgan.filters', 'detector.autoencoder.layers')
_PAPER_SHARE = 0.05  # share of all rows outside the paper's test set
# Parts that one run does not have: which others a larger one consists of.
_MODES = ('ladder', 'compare')


def resolve(config: ml_collections.ConfigDict) -> tuple[ml_collections.ConfigDict, frozenset[str]]:
  """Fills in what depends on the protocol and the corpus.

  Args:
    config: as in `configs/default.py`.

  Returns:
    A copy without 'auto' or None and without the parts that only other modes read, and the leaks
    of the run.

  Raises:
    LogjaxError: for a value that no field of that name takes.
  """
  config = config.copy_and_resolve_references().unlock()
  check_values(config)
  for mode in _MODES:
    if mode in config:
      del config[mode]
  leaks = leaks_of(config.protocol, config.leaks, config.split.by)
  paper = config.protocol == 'paper'
  corpus = config.data.corpus
  published = CATALOG[corpus].paper if corpus in CATALOG else Paper()
  config.split.by = split_kind(leaks)
  if config.data.simulated_seed is None:
    config.data.simulated_seed = config.seed
  if config.split.train is None:
    config.split.train = _PAPER_SHARE * published.train if paper else 0.6
  if config.split.valid is None:
    config.split.valid = _PAPER_SHARE * (1 - published.train) if paper else 0.2
  for name, (literal, honest) in AUTO.items():
    *path, field = name.split('.')
    part = config
    for step in path:
      part = part[step]
    if part[field] in ('auto', None):
      part[field] = literal if paper else honest
  if config.data.labels == 'auto' and published.labels:
    config.data.labels = published.labels if paper else CATALOG[corpus].labels
  if config.oversampler.sets is None:
    config.oversampler.sets = published.sets
  routed = 'label_routed_encoder' in leaks
  if config.detector.features == 'auto':
    config.detector.features = 'own_class' if routed else 'both'
  if (config.detector.features == 'own_class') != routed:
    raise LogjaxError(
      "detector.features='own_class' and the leak label_routed_encoder go together: "
      'set detector.features=auto and choose by --config.protocol or --config.leaks'
    )
  return config, leaks


def check_values(config: ml_collections.ConfigDict) -> None:
  """Raises LogjaxError for the first field with a value that it cannot have.

  Fields that a configuration of another kind, such as configs/oracle.py, does not have are not
  missed.
  """
  fields = flatten(config.to_dict())
  for name, choices in CHOICES.items():
    if name in fields and fields[name] not in choices:
      raise LogjaxError(f'--config.{name}={fields[name]!r} is none of {", ".join(choices)}')
  ranges = (
    ('at least 1', POSITIVE, lambda value: value >= 1),
    ('at least 0', NOT_NEGATIVE, lambda value: value >= 0),
    ('above 0', ABOVE_ZERO, lambda value: value > 0),
    ('from 0 to 1', SHARES, lambda value: 0 <= value <= 1),
    # NumPy, JAX and scikit-learn all take such a seed, and no two of these give JAX the same key.
    ('from 0 to 4294967295', ('seed',), lambda value: 0 <= value < 2**32),
    # A shorter row has no room for a token and its end.
    ('at least 2', ('text.length',), lambda value: value >= 2),
    # The ends of an interval would be single draws.
    ('at least 100', ('ladder.draws', 'compare.draws'), lambda value: value >= 100),
    ('at least 1', ('oversampler.sets', 'oversampler.count'), lambda v: v is None or v >= 1),
    ('at least 0', ('detector.autoencoder.l1',), lambda v: v is None or v >= 0),
    ('whole numbers, each at least 1', SIZES, _are_sizes),
  )
  for meaning, names, holds in ranges:
    for name in names:
      if name in fields and not holds(fields[name]):
        raise LogjaxError(f'--config.{name}={fields[name]} must be {meaning}')
  if fields['seqgan.rows_per_epoch'] % fields['seqgan.batch']:
    raise LogjaxError('--config.seqgan.rows_per_epoch must be a multiple of seqgan.batch')
  check_filters(fields['seqgan.filter_widths'], fields['seqgan.filters'], 'seqgan')
  if fields.get('text.max_vocabulary', 3) < 3:
    raise LogjaxError('--config.text.max_vocabulary must be at least 3: two tokens are special')
  if (
    fields.get('detector.autoencoder.loss') == 'bce'
    and fields['detector.autoencoder.scale'] == 'ids'
  ):
    raise LogjaxError(
      '--config.detector.autoencoder.loss=bce compares numbers from 0 to 1: '
      'set detector.autoencoder.scale=unit'
    )


def check_filters(widths: Sequence[int], filters: Sequence[int], where: str) -> None:
  """Raises LogjaxError for convolutions that no discriminator can have.

  Args:
    widths: of the convolutions.
    filters: how many of each width.
    where: the part of the configuration that they are fields of.
  """
  if len(widths) != len(filters):
    raise LogjaxError(f'{where}.filter_widths and {where}.filters must have equal lengths')
  if any(b <= a for a, b in itertools.pairwise(widths)):
    raise LogjaxError(f'--config.{where}.filter_widths={tuple(widths)} must rise')
  if widths[0] > 2:
    raise LogjaxError(
      f'--config.{where}.filter_widths must have a width of 1 or 2: rows can be short'
    )


def _are_sizes(values: list) -> bool:
  return bool(values) and all(isinstance(value, int) and value >= 1 for value in values)


def flatten(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
  """Turns nested dictionaries into one with dotted names; tuples become lists as in JSON."""
  flat = {}
  for name, value in tree.items():
    if isinstance(value, dict):
      flat.update(flatten(value, f'{prefix}{name}.'))
    else:
      flat[prefix + name] = list(value) if isinstance(value, tuple) else value
  return flat
