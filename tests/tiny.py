"""A configuration whose whole run takes seconds: `--config=tests/tiny.py:bgl,paper`."""

from configs import default


def get_config(choice: str = 'bgl'):
  """Returns a tiny schedule; `choice` is a corpus, with a protocol behind a comma."""
  corpus, _, protocol = choice.partition(',')
  config = default.get_config()
  config.devices = 1
  config.data.corpus = corpus
  config.data.labels = 'file' if corpus == 'openstack' else 'auto'
  config.data.simulated_lines = 600
  config.text.length = 12
  config.protocol = protocol or 'honest'
  if config.protocol == 'paper':
    # The published shares would leave a handful of 600 lines to train on.
    config.split.train = config.split.valid = 0.3
  # All phases of SeqGAN on two corpora, only the first on the third.
  config.oversampler.name = 'mle' if corpus == 'openstack' else 'seqgan'
  config.oversampler.sets = 2
  config.seqgan.update(
    {
      'embedding': 4,
      'hidden': 4,
      'batch': 8,
      'rows_per_epoch': 16,
      'mle_epochs': 2,
      'discriminator_rounds': 1,
      'rounds': 1,
      'rollouts': 2,
      'discriminator_embedding': 4,
      'filter_widths': (1, 2),
      'filters': (4, 4),
    }
  )
  config.detector.repetitions = 2
  for model in (config.detector.autoencoder, config.detector.gru):
    model.update({'epochs': 2, 'rows_per_epoch': 256})
  config.detector.autoencoder.layers = (8, 4, 4)
  config.detector.gru.hidden = 4
  return config
