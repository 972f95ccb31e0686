"""Throughput of SeqGAN: sampling, rewards and training, beside the least possible time.

python -m logjax.main --config=configs/benchmark.py --mode=benchmark

prints one JSON line per measurement (logjax/benchmarks/throughput.py lists the fields), and a table
on standard error at the end. With a log the benchmark also runs on real rows:

  bash launch/benchmark.sh --config.benchmark.log=BGL.log

A part of it: --config.benchmark.names="('rollouts',)" --config.benchmark.vocabularies="(240,)".
"""

from ml_collections import ConfigDict

from configs import default


def get_config(choice: str = '') -> ConfigDict:
  """Returns the configuration of the benchmark, which has no choices."""
  if choice:
    raise ValueError(f'unknown choice {choice!r}: configs/benchmark.py has none')
  config = ConfigDict()
  # Seed of the rows, the initial parameters, and the draws.
  config.seed = 0
  # Each measurement is made on one device and on this number; 0 means all that divide the batch.
  config.devices = 0
  config.benchmark = benchmark()
  # Sizes of the models; batch and rollouts are those of the workload. [seqgan]
  config.seqgan = default.seqgan()
  config.discriminators = discriminators()
  return config


def benchmark() -> ConfigDict:
  """Returns the measurements and their number of repetitions."""
  benchmark = ConfigDict()
  # Calls to measure: 'sample', 'rollouts' (without a discriminator), 'rewards', 'generator_step',
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
  # Tokens of a synthetic row; none ends early. Longer real rows are cut. [paper]
  benchmark.length = 40
  # Discriminators for the measurements with one, by their names below.
  benchmark.discriminators = ('seqgan', 'small')
  # Sentences of one call of 'sample'.
  benchmark.sentences = 2_048
  # Rows of 'mle_epoch', rounded down to whole batches.
  benchmark.mle_rows = 10_000
  # Calls before the timed ones, after compilation.
  benchmark.warm_up = 2
  # Timed blocks of a measurement; each is one call, or several where one is very short.
  benchmark.blocks = 5
  # After three blocks no further one begins when a measurement has taken this many seconds.
  benchmark.seconds = 30.0
  # A log file; its abnormal lines are another workload, masked and tokenised as under the honest
  # protocol. '' for none.
  benchmark.log = ''
  # Its format: 'bgl' or 'thunderbird', the formats with labels.
  benchmark.log_format = 'bgl'
  # Epochs of maximum likelihood on these lines, `seqgan.rows_per_epoch` rows each, before the
  # measurements: then generated sentences are about as long as the real rows.
  benchmark.mle_epochs = 20
  return benchmark


def discriminators() -> ConfigDict:
  """Returns discriminators by name: the widths of the convolutions and the filters of each."""
  discriminators = ConfigDict()
  # The published one [seqgan], and the one of the short schedules for a CPU. [logjax]
  for name, settings in (
    ('seqgan', default.seqgan()),
    ('small', default.get_config().seqgan),
  ):
    discriminators[name] = ConfigDict(
      {'filter_widths': settings.filter_widths, 'filters': settings.filters}
    )
  return discriminators
