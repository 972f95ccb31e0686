"""How fast SeqGAN is sampled, rewarded and trained, and how near that is to what is possible.

python -m logjax.main --config=configs/benchmark.py --mode=benchmark

prints one JSON line a measurement (logjax/benchmarks/throughput.py says what is in it), and at
last a table on standard error. A log gives a real shape besides:

  bash launch/benchmark.sh --config.benchmark.log=BGL.log

Some of it alone: --config.benchmark.names="('rollouts',)" --config.benchmark.vocabularies="(240,)".
"""

from ml_collections import ConfigDict

from configs import default


def get_config(choice: str = '') -> ConfigDict:
  """Returns the configuration of the benchmark, which has no choices."""
  if choice:
    raise ValueError(f'unknown choice {choice!r}: configs/benchmark.py has none')
  config = ConfigDict()
  # Seed of the rows, the initial parameters, and what is drawn from them.
  config.seed = 0
  # Each measurement is made on one device, and on so many; 0 means all that divide the batch.
  config.devices = 0
  config.benchmark = benchmark()
  # Sizes of the models; batch and rollouts are those of the workload. [seqgan]
  config.seqgan = default.seqgan()
  config.discriminators = discriminators()
  return config


def benchmark() -> ConfigDict:
  """What is measured, and how often."""
  benchmark = ConfigDict()
  # What is measured: 'sample', 'rollouts' (without a discriminator), 'rewards', 'generator_step',
  # 'discriminator_step' and 'mle_epoch'.
  benchmark.names = (
    'sample',
    'rollouts',
    'rewards',
    'generator_step',
    'discriminator_step',
    'mle_epoch',
  )
  # Vocabularies of the synthetic workload, tokens: [seqgan] has 5,000; those of logs are smaller.
  benchmark.vocabularies = (1_000, 240)
  # Tokens of a synthetic row, none of which ends sooner; a longer real row is cut. [paper]
  benchmark.length = 40
  # Discriminators that measurements with one are made with, by their names below.
  benchmark.discriminators = ('seqgan', 'small')
  # Sentences that 'sample' draws in one call, in batches of that size.
  benchmark.sentences = 2_048
  # Rows of 'mle_epoch', of which whole batches are used.
  benchmark.mle_rows = 10_000
  # Calls before the timed ones, after compilation.
  benchmark.warm_up = 2
  # Timed blocks of a measurement; each is one call, or several where one is very short.
  benchmark.blocks = 5
  # After three blocks none begins once those of a measurement took so many seconds together.
  benchmark.seconds = 30.0
  # A log file whose abnormal lines are a workload too, masked and tokenised as in a run with an
  # honest protocol; '' for none.
  benchmark.log = ''
  # Its format: 'bgl' or 'thunderbird', whose lines have labels.
  benchmark.log_format = 'bgl'
  # Epochs of maximum likelihood on those lines, `seqgan.rows_per_epoch` rows each, before the
  # generator is timed: its sentences are then about as long as the real ones.
  benchmark.mle_epochs = 20
  return benchmark


def discriminators() -> ConfigDict:
  """Discriminators by name: the widths of their convolutions, and the filters of each width."""
  discriminators = ConfigDict()
  # The published one [seqgan], and that of the runs that train in minutes on a CPU. [logjax]
  for name, settings in (
    ('seqgan', default.seqgan()),
    ('small', default.get_config().seqgan),
  ):
    discriminators[name] = ConfigDict(
      {'filter_widths': settings.filter_widths, 'filters': settings.filters}
    )
  return discriminators
