"""SeqGAN's synthetic benchmark: a generator learns rows that a random LSTM wrote.

python -m logjax.main --config=configs/oracle.py --workdir=runs/oracle \
  --config.oracle.path=target_lstm.npz

The file has the weights of the published oracle (docs/oracle.md says what it contains); without a
path an oracle of the same kind is drawn, whose numbers only compare with its own. Interrupted, the
same command goes on from its last checkpoint. docs/oracle.md has what was measured.

Behind a colon stand choices, with commas between them, as in `--config=configs/oracle.py:gru`:

  (nothing)  LSTM; maximum likelihood as published, then as much of a lighter schedule as 60
             minutes of training hold
  gru        the cell of the log anomaly paper instead
  constant   the control: every reward is 1 / 2, no discriminator is trained
  published  the published schedule, without a limit of time; for an accelerator (untested on one)

Sources in the comments are named as in configs/default.py.
"""

from ml_collections import ConfigDict

from configs import default

CHOICES = ('gru', 'constant', 'published')


def get_config(choices: str = '') -> ConfigDict:
  """Returns the configuration; `choices` are some of gru, constant and published."""
  chosen = choices.split(',') if choices else []
  for choice in chosen:
    if choice not in CHOICES:
      raise ValueError(f'unknown choice {choice!r}: use some of {", ".join(CHOICES)}')
  config = ConfigDict()
  # Seed of everything random: the rows, initial parameters, sampling, and an own oracle.
  config.seed = 0
  # Number of devices to train on; 0 means all.
  config.devices = 0
  config.oracle = oracle()
  config.seqgan = default.seqgan()
  # [seqgan]
  config.seqgan.cell = 'gru' if 'gru' in chosen else 'lstm'
  config.seqgan.hidden = 32
  config.seqgan.batch = 64
  if 'published' in chosen:
    config.oracle.minutes = 0.0
  else:
    _minutes(config)
  if 'constant' in chosen:
    config.seqgan.reward = 'constant'
    # Nobody asks the discriminator, so it is not trained.
    config.seqgan.discriminator_rounds = 0
    config.seqgan.d_steps = 0
  return config


def oracle() -> ConfigDict:
  """The oracle and what is measured."""
  oracle = ConfigDict()
  # The oracle's weights, an .npz file; '' draws an own oracle from N(0, 1).
  oracle.path = ''
  # Vocabulary of an own oracle. [seqgan]
  oracle.vocabulary = 5_000
  # Embedding and hidden size of an own oracle. [seqgan]
  oracle.hidden = 32
  # Tokens a row. [seqgan]
  oracle.length = 20
  # Rows to train on, and as many each to hold out and to judge a generator by. [seqgan]
  oracle.rows = 9_984
  # Epochs between evaluations; the published code has 5 too. [seqgan]
  oracle.every = 5
  # Rows that are compared with each other for distinct-n and self-BLEU. [logjax]
  oracle.group = 500
  # Minutes of training, evaluations not counted, that the discriminator's pretraining and the
  # adversarial phase may take together: then the run ends after an epoch, and says how far it
  # came. 0 for no limit.
  oracle.minutes = 60.0
  return oracle


def _minutes(config: ConfigDict) -> None:
  # An epoch of the published discriminator takes half a minute on two cores, and the published
  # schedule has 3,150 of them. Its sizes, rates and order stay; it trains for fewer epochs.
  config.seqgan.discriminator_rounds = 10
  config.seqgan.discriminator_epochs = 1
  config.seqgan.d_steps = 1
