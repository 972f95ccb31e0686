"""Throughput of SeqGAN: sampling, rewards and training, beside the least possible time.

python -m logjax.main --config=configs/benchmark.py --mode=benchmark

Time: 18 minutes on two CPU cores, with a log. Result: docs/rollouts.md. It prints one JSON line per
measurement (logjax/benchmarks/throughput.py lists the fields), and at the end a table on standard
error. With a log it also measures real rows:

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
  # Each call is measured on one device and on this many; 0 for all that divide the batch.
  config.devices = 0
  config.benchmark = benchmark()
  # Sizes of the models; batch and rollouts are those of the workload. [seqgan]
  config.seqgan = default.seqgan()
  config.discriminators = discriminators()
  return config


def benchmark() -> ConfigDict:
  """Returns the measurements and their number of repetitions."""
  benchmark = ConfigDict()
  # Calls to measure; 'rollouts' has no discriminator.
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
  # Timed blocks of a measurement: one call each, or several if a call is very short.
  benchmark.blocks = 5
  # Seconds after which a measurement ends, if it has three blocks.
  benchmark.seconds = 30.0
  # Log file whose abnormal lines, encoded as under the honest protocol, are one more workload; ''
  # for none.
  benchmark.log = ''
  # Format of the log: 'bgl' or 'thunderbird'.
  benchmark.log_format = 'bgl'
  # Epochs of maximum likelihood on these lines before the measurements, so that generated sentences
  # are about as long as the real rows.
  benchmark.mle_epochs = 20
  return benchmark


def discriminators() -> ConfigDict:
  """Returns discriminators by name: the widths of the convolutions and the filters of each."""
  discriminators = ConfigDict()
  # The published one [seqgan], and that of the short schedules. [logjax]
  for name, settings in (
    ('seqgan', default.seqgan()),
    ('small', default.get_config().seqgan),
  ):
    discriminators[name] = ConfigDict(
      {'filter_widths': settings.filter_widths, 'filters': settings.filters}
    )
  return discriminators
