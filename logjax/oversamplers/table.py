"""The oversamplers by name, one row each. No model is imported here.

To add one, write a module with `fit` and `make_generate` (as in `smote.py`) and a row here.
"""

from typing import NamedTuple

from logjax.rules import Rule, above, at_least, between, boolean, choice, fraction, sizes


class Oversampler(NamedTuple):
  """An oversampler.

  Attributes:
    title: its name in reports.
    module: its module in logjax/oversamplers; '' if it makes no rows.
    repeats: returns real rows again, so none is removed as too similar.
    generators: trains generators; they make rows without the log.
  """

  title: str
  module: str = ''
  repeats: bool = False
  generators: bool = False


TABLE = {
  'none': Oversampler('no oversampling'),
  # No rows: the classes weigh the same in the detector's loss.
  'class_weights': Oversampler('class weights'),
  'random': Oversampler('repeated rows', 'repeat', repeats=True),
  'smote': Oversampler('SMOTE between codes', 'smote'),
  'smoten': Oversampler('SMOTE-N between tokens', 'smoten'),
  'mle': Oversampler('maximum likelihood', 'gan', generators=True),
  'seqgan': Oversampler('SeqGAN', 'gan', generators=True),
  'maligan': Oversampler('MaliGAN', 'gan', generators=True),
  'textgan': Oversampler('TextGAN', 'gan', generators=True),
}
MAKE_NO_ROWS = tuple(name for name, row in TABLE.items() if not row.module)
GENERATORS = tuple(name for name, row in TABLE.items() if row.generators)

RULES: dict[str, Rule] = {
  'oversampler.name': choice(*TABLE),
  'oversampler.count': at_least(1, optional=True),
  'oversampler.sets': at_least(1, optional=True),
  'oversampler.sets_by': choice('random', 'time', 'text'),
  'oversampler.neighbours': at_least(1),
  'oversampler.similarity': choice('none', 'exact', 'masked', 'jaccard'),
  'oversampler.jaccard': fraction(above_zero=True),
  'oversampler.on_shortage': choice('repeat', 'short'),
  'oversampler.max_draws': above(0),
  'oversampler.temperature': above(0),
  'seqgan.embedding': at_least(1),
  'seqgan.cell': choice('gru', 'lstm'),
  'seqgan.hidden': at_least(1),
  'seqgan.init_std': at_least(0),
  'seqgan.generator_learning_rate': above(0),
  'seqgan.clip_norm': above(0),
  'seqgan.batch': at_least(1),
  'seqgan.rows_per_epoch': at_least(1),
  'seqgan.mle_epochs': at_least(0),
  'seqgan.discriminator_rounds': at_least(0),
  'seqgan.discriminator_epochs': at_least(1),
  'seqgan.rounds': at_least(0),
  'seqgan.g_steps': at_least(1),
  'seqgan.d_steps': at_least(0),
  'seqgan.rollouts': at_least(1),
  'seqgan.rollout_block': at_least(0),
  'seqgan.share_equal_prefixes': boolean(),
  'seqgan.reward': choice('discriminator', 'constant', 'random'),
  'seqgan.baseline': choice('none', 'batch', 'position'),
  'seqgan.rollout_update': fraction(),
  'seqgan.discriminator_embedding': at_least(1),
  'seqgan.filter_widths': sizes(),
  'seqgan.filters': sizes(),
  'seqgan.discriminator_dropout': between(0, 1),
  'seqgan.discriminator_l2': at_least(0),
  'seqgan.discriminator_learning_rate': above(0),
  'seqgan.textgan_temperature': above(0),
  'seqgan.textgan_mmd_weight': at_least(0),
}
