"""SeqGAN's synthetic benchmark: a generator learns rows that a random LSTM wrote.

python -m logjax.main --config=configs/oracle.py --workdir=runs/oracle \
  --config.oracle.path=target_lstm.npz

Time: about 70 minutes on two CPU cores. Result: docs/oracle.md, which also describes the file, the
weights of the published oracle. Without a path an oracle of the same kind is drawn; runs on
different oracles cannot be compared.

Choices follow a colon, with commas between them, as in `--config=configs/oracle.py:gru`:

  (nothing)  LSTM; maximum likelihood as published, then 60 minutes of a lighter schedule
  gru        the cell of the log anomaly paper instead
  constant   control: every reward is 1 / 2, and no discriminator is trained
  published  the published schedule without a time limit, for an accelerator (untested on one)

configs/default.py explains the sources in the comments.
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
  # Seed of everything random: rows, initial parameters, sampling, an own oracle.
  config.seed = 0
  # Devices to train on; 0 for all.
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
    # The discriminator is not used, so it is not trained.
    config.seqgan.discriminator_rounds = 0
    config.seqgan.d_steps = 0
  return config


def oracle() -> ConfigDict:
  """The oracle and what is measured."""
  oracle = ConfigDict()
  # Weights of the oracle, an .npz file; '' draws an own oracle from N(0, 1).
  oracle.path = ''
  # Vocabulary of an own oracle. [seqgan]
  oracle.vocabulary = 5_000
  # Embedding and hidden size of an own oracle. [seqgan]
  oracle.hidden = 32
  # Tokens a row. [seqgan]
  oracle.length = 20
  # Rows to train on; as many are held out, and as many judge a generator. [seqgan]
  oracle.rows = 9_984
  # Epochs between two evaluations. [seqgan]
  oracle.every = 5
  # Rows of a group for distinct-n and self-BLEU. [logjax]
  oracle.group = 500
  # Minutes of training, without evaluations, of discriminator pretraining and adversarial phase
  # together. Then the run ends after an epoch and reports its progress. 0 for no limit.
  oracle.minutes = 60.0
  return oracle


def _minutes(config: ConfigDict) -> None:
  # Fewer epochs of the discriminator: one takes half a minute on two cores, and the published
  # schedule has 3,150. Sizes, rates and order stay.
  config.seqgan.discriminator_rounds = 10
  config.seqgan.discriminator_epochs = 1
  config.seqgan.d_steps = 1
