"""Every field of a run, with its meaning, unit and the source of its default.

The other files of this folder import this one and change a few fields. A schedule follows a colon,
as in `--config=configs/bgl.py:quick`:

  (nothing)  minutes on two CPU cores: a small discriminator and short phases
  quick      a check of everything, within two minutes on 10,000 lines
  full       the published schedule, for an accelerator (untested on one)

Sources of the defaults:
  [paper]    Farzad and Gulliver, Log Message Anomaly Detection with Oversampling, IJAIA 11(4), 2020
  [seqgan]   Yu et al., SeqGAN, AAAI 2017, and the settings of its published code
  [keras]    the default of Keras, which the paper used without tuning
  [logjax]   our own choice, with its reason
'auto' and None depend on protocol and corpus; config.json has the value in use (settings.py).
A1 to A15 are the ambiguities of the paper, in docs/paper.md.
"""

from ml_collections import ConfigDict, config_dict


def get_config(schedule: str = '') -> ConfigDict:
  """Returns the configuration of a run; `schedule` is '', 'quick' or 'full'."""
  config = ConfigDict()
  # Seed of everything random: simulated log, splits, initial parameters, sampling.
  config.seed = 0
  # 'honest' (no leak) or 'paper' (the seven leaks of the published protocol).
  config.protocol = 'honest'
  # Leaks in place of the protocol's own, separated by commas; 'none' for none. '' for its own.
  config.leaks = ''
  # Devices to train on; 0 for all.
  config.devices = 0
  config.data = data()
  config.text = text()
  config.split = split()
  config.oversampler = oversampler()
  config.seqgan = seqgan()
  config.detector = detector()
  config.checkpoint = checkpoint()
  config.ladder = ladder()
  config.compare = compare()
  if schedule not in SCHEDULES:
    names = ' or '.join(sorted(filter(None, SCHEDULES)))
    raise ValueError(f'unknown schedule {schedule!r}: write {names} after the colon, or no colon')
  SCHEDULES[schedule](config)
  return config


def data() -> ConfigDict:
  """The log."""
  data = ConfigDict()
  # 'bgl', 'thunderbird', 'openstack', 'hdfs', or 'own' (described by the last fields here).
  data.corpus = 'thunderbird'
  # Log files, separated by commas; globs are allowed. '': the next fields are tried.
  data.path = ''
  # Folder with the corpus under its published name (log file or archive); '' for none.
  data.manual_dir = ''
  # Downloads the published corpus (BGL 57 MB, Thunderbird 2 GB) if there is no file.
  data.download = False
  # Folder of the prepared TFDS data; '' for the cache folder of the user.
  data.data_dir = ''
  # Lines of the simulated log. It is used if no field above gives a file.
  data.simulated_lines = 33_000
  # Seed of the simulated log; None for config.seed. [logjax] runs of many seeds share one log
  data.simulated_seed = config_dict.placeholder(int)
  # Reads the first lines only; 0 for all lines.
  data.limit_lines = 0
  # Largest fraction of lines that may not fit the format; above it the run stops.
  data.max_rejected = 0.01
  # Source of the labels: 'column', 'instance' (OpenStack, by injected fault), 'file' (OpenStack,
  # by file) or 'blocks' (HDFS). 'auto': by corpus; OpenStack 'instance' if honest, else 'file'.
  data.labels = 'auto'
  # Control: gives the labels to other lines at random, so that there is nothing to learn. [logjax]
  data.permute_labels = False
  # HDFS only: CSV file with the label of every block.
  data.label_file = ''
  # Corpus 'own': regular expression with the named groups message, label, time and node.
  data.pattern = ''
  # Corpus 'own': format of the group time, 'epoch' (seconds) or as for strptime; '' for no time.
  data.time_format = ''
  # Corpus 'own': label of normal lines.
  data.normal_label = '-'
  return data


def text() -> ConfigDict:
  """From messages to token rows (A1)."""
  text = ConfigDict()
  # Tokens of a row; shorter rows are padded, longer ones are cut at the end. [paper]
  text.length = 40
  # Numbers and addresses: 'mask', or 'keep' the most frequent ones as tokens. 'auto': 'mask' if
  # honest, 'keep' in the paper's protocol, whose millions of distinct rows need them. A1
  text.numbers = 'auto'
  # With 'keep': distinct numbers and addresses that stay tokens; the others are masked.
  text.kept_numbers = 2_000
  # Words with two or more digits (r23, an343): 'mask', 'keep' or 'drop'. A1, [logjax] they name
  # single machines, which a detector should not memorise
  text.identifiers = 'mask'
  # Converts the message to lower case. A1, [keras]
  text.lowercase = True
  # Largest vocabulary, special tokens included; the rarest words become <unk>.
  text.max_vocabulary = 20_000
  return text


def split() -> ConfigDict:
  """The rows that train, validate and test."""
  split = ConfigDict()
  # 'time', 'random' or 'text' (random, each masked text on one side only). 'auto': by the leaks
  # random_split and duplicates_across_split, 'time' without the first.
  split.by = 'auto'
  # Fraction of the rows that train. None: 0.6 if honest, else [paper] 0.0025 (OpenStack 0.0425).
  split.train = config_dict.placeholder(float)
  # Fraction that validates. None: 0.2 if honest, else [paper] 0.0475 (OpenStack 0.0075).
  split.valid = config_dict.placeholder(float)
  # Most abnormal rows that train, and that validate, drawn at random; 0 for all. [logjax]
  split.abnormal_train = 0
  return split


def oversampler() -> ConfigDict:
  """From few abnormal rows to many."""
  oversampler = ConfigDict()
  # 'none', 'class_weights' (no rows, but weights in the classifier's loss), 'random' (repeats real
  # rows), 'smote' (between the codes of an autoencoder), 'smoten' (between tokens), 'mle' (SeqGAN
  # without its adversarial phase), 'seqgan' ([paper]), 'maligan' or 'textgan'.
  oversampler.name = 'seqgan'
  # Rows to generate; None for as many as balance the classes. [paper]
  oversampler.count = config_dict.placeholder(int)
  # Sets of abnormal rows, with one generator each. None: [paper] 7, OpenStack 2.
  oversampler.sets = config_dict.placeholder(int)
  # Division into sets: 'random', 'time' (in order) or 'text' (equal masked texts together). A5
  oversampler.sets_by = 'random'
  # SMOTE and SMOTEN: nearest rows to mix a row with. The default of imbalanced-learn
  oversampler.neighbours = 5
  # Removes generated rows too similar to training rows or to each other: 'none', 'exact', 'masked'
  # (equal masked text) or 'jaccard' (token sets). A4
  oversampler.similarity = 'exact'
  # With 'jaccard': similarity from which a row is removed. A4
  oversampler.jaccard = 0.9
  # If distinct rows run short: 'repeat' removed rows, or 'short' for fewer rows than requested.
  oversampler.on_shortage = 'repeat'
  # Most rows to draw, as a multiple of the requested number.
  oversampler.max_draws = 2.0
  # Temperature of the softmax when a trained generator is sampled. [paper]
  oversampler.temperature = 1.0
  return oversampler


def seqgan() -> ConfigDict:
  """The generator, the discriminator and their schedule (A3)."""
  seqgan = ConfigDict()
  # Embedding size of the generator. [seqgan]
  seqgan.embedding = 32
  # Recurrent cell of the generator: 'gru' ([paper]) or 'lstm' ([seqgan]).
  seqgan.cell = 'gru'
  # Hidden size of the cell. [paper]
  seqgan.hidden = 30
  # Standard deviation of the generator's initial weights. [seqgan]
  seqgan.init_std = 0.1
  # Adam learning rate of the generator, in both phases. [seqgan]
  seqgan.generator_learning_rate = 0.01
  # Largest global norm of the generator's gradient. [seqgan]
  seqgan.clip_norm = 5.0
  # Rows of a batch, for each set. [paper]
  seqgan.batch = 128
  # Rows of an epoch, for each set; a multiple of the batch. Smaller sets are repeated. [seqgan]
  seqgan.rows_per_epoch = 9_984
  # Epochs of maximum-likelihood pretraining. [seqgan]
  seqgan.mle_epochs = 120
  # Rounds of discriminator pretraining, each on newly generated rows. [seqgan]
  seqgan.discriminator_rounds = 50
  # Epochs of each discriminator round, in both phases (k). [seqgan]
  seqgan.discriminator_epochs = 3
  # Rounds of adversarial training (Algorithm 1). [seqgan]
  seqgan.rounds = 200
  # Generator steps of a round. [seqgan]
  seqgan.g_steps = 1
  # Discriminator rounds of a round. [seqgan]
  seqgan.d_steps = 5
  # Rollouts of a prefix, N in equation 4. [seqgan]
  seqgan.rollouts = 16
  # Rollouts in the memory of a device at once. 0: 1,024 on a CPU (512 and 2,048 were as fast),
  # 16,384 on an accelerator (untested). [logjax]
  seqgan.rollout_block = 0
  # Equal prefixes of a batch share their rollouts. Real alerts have few texts, so this saves
  # nearly all rollouts. The rewards stay unbiased but get noisier (docs/rollouts.md). [logjax]
  seqgan.share_equal_prefixes = True
  # Reward of a token: 'discriminator' (equation 4, [paper]), or as a control 'constant' (1 / 2) or
  # 'random' (uniform in [0, 1)). [logjax]
  seqgan.reward = 'discriminator'
  # Baseline of the rewards: 'none' ([paper]), their mean over the 'batch', or over the tokens of
  # the batch at the same 'position'. [logjax]
  seqgan.baseline = 'none'
  # r in beta <- r * beta + (1 - r) * theta after each round; 0 is beta <- theta. [paper]
  seqgan.rollout_update = 0.0
  # Embedding size of the discriminator. [seqgan]
  seqgan.discriminator_embedding = 64
  # Widths of the discriminator's convolutions; those longer than a row are left out. [seqgan]
  seqgan.filter_widths = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
  # Filters of each width. [seqgan]
  seqgan.filters = (100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160)
  # Fraction of the discriminator's features dropped in training. [seqgan]
  seqgan.discriminator_dropout = 0.25
  # Weight of half the squared norm of the discriminator's output layer. [seqgan]
  seqgan.discriminator_l2 = 0.2
  # Adam learning rate of the discriminator. [seqgan]
  seqgan.discriminator_learning_rate = 1e-4
  # TextGAN only: temperature of the softmax that replaces a token in derivatives. [logjax] lowered
  # the discrepancy more than 0.5 and 2 in a toy of two rows
  seqgan.textgan_temperature = 1.0
  # TextGAN only: lambda_m, weight of the discrepancy in the discriminator's objective. [logjax]
  seqgan.textgan_mmd_weight = 0.1
  return seqgan


def detector() -> ConfigDict:
  """The detector and its training."""
  detector = ConfigDict()
  # A file of logjax/detectors: 'autoencoder_gru' ([paper]), 'gru' (on tokens), 'tfidf_lr',
  # 'random_forest', 'nearest', 'lookup', 'unseen' (needs normal lines only) or 'majority'.
  detector.name = 'autoencoder_gru'
  # Trainings of the detector, the paper's "10-fold". A14, [paper]
  detector.repetitions = 10
  # Score from which a row is abnormal, of baselines with such a choice too: 'half' (0.5, [paper])
  # or 'valid_f1' (best F1 on the validation rows). 'auto': 'valid_f1' if honest, 'half' in the
  # paper's protocol.
  detector.threshold = 'auto'
  detector.autoencoder = autoencoder()
  detector.noise = noise()
  detector.gru = gru()
  detector.tfidf_lr = tfidf_lr()
  detector.random_forest = random_forest()
  return detector


def tfidf_lr() -> ConfigDict:
  """Logistic regression on TF-IDF features."""
  tfidf_lr = ConfigDict()
  # Inverse strength of the L2 penalty; None for the best on the validation rows. [logjax]
  tfidf_lr.c = config_dict.placeholder(float)
  return tfidf_lr


def random_forest() -> ConfigDict:
  """A random forest on TF-IDF features."""
  random_forest = ConfigDict()
  # Trees of the forest. The default of scikit-learn
  random_forest.trees = 100
  return random_forest


def autoencoder() -> ConfigDict:
  """An autoencoder of rows, for 'autoencoder_gru': layers T-400-200-200-T."""
  autoencoder = ConfigDict()
  # 'softmax' (cross-entropy of a softmax over the T positions with the row scaled to sum 1),
  # 'tokens' (cross-entropy over the vocabulary at every position) or 'mse'. 'auto': 'mse' if
  # honest, 'softmax' in the paper's protocol. A6
  autoencoder.loss = 'auto'
  # Features for the classifier: 'reconstruction' [T] or 'code' [200]. A7
  autoencoder.output = 'reconstruction'
  # Units of the three hidden layers. [paper]
  autoencoder.layers = (400, 200, 200)
  # Dropout "probability" after each hidden layer. [paper]
  autoencoder.dropout = 0.8
  # That fraction is dropped ('drop', [keras]) or kept ('keep'). 'auto': 'keep' if honest, 'drop' in
  # the paper's protocol. A8
  autoencoder.dropout_means = 'auto'
  # Weight of the L1 norm on the first layer. None: 1e-5 if honest, else 0.01 ([keras] l1()). A9
  autoencoder.l1 = config_dict.placeholder(float)
  # L1 norm of the 'kernel' or of the 'activity' (mean over rows). 'auto': 'activity' if honest,
  # 'kernel' in the paper's protocol. A9
  autoencoder.l1_on = 'auto'
  # Adam learning rate. [keras]
  autoencoder.learning_rate = 1e-3
  training(autoencoder)
  return autoencoder


def noise() -> ConfigDict:
  """Gaussian noise on the features of 'autoencoder_gru' (A11)."""
  noise = ConfigDict()
  # Variance of the noise; 0 for none. [paper]
  noise.variance = 0.1
  # Noise on features as they are ('absolute') or standardised on the training rows ('relative').
  noise.scale = 'relative'
  return noise


def gru() -> ConfigDict:
  """The classifier of 'autoencoder_gru', and the detector 'gru'."""
  gru = ConfigDict()
  # Hidden size. [paper]
  gru.hidden = 100
  # Reading of a row of features: 'steps' (T steps of one) or 'features' (one step of T). A12
  gru.layout = 'steps'
  # Detector 'gru' only: embedding size of a token. [logjax] that of SeqGAN's generator
  gru.embedding = 32
  # Dropout "probability" before the softmax layer. [paper]
  gru.dropout = 0.8
  # That fraction is dropped ('drop') or kept ('keep'). 'auto' as for the autoencoder. A8
  gru.dropout_means = 'auto'
  # Adam learning rate. [keras]
  gru.learning_rate = 1e-3
  training(gru)
  return gru


def training(model: ConfigDict) -> None:
  """Adds the fields that the autoencoders and the classifier share."""
  # Rows of a batch. [paper]
  model.batch = 128
  # Most epochs. [paper]
  model.epochs = 100
  # Rows of an epoch (in whole batches), drawn anew each time; 0 for all. [logjax] an epoch stays
  # affordable on millions of rows. As many validation rows decide when to stop if they are noisy.
  model.rows_per_epoch = 20_000
  # Smaller sets are repeated up to this many rows in an epoch, at most `rows_per_epoch`; 0 for no
  # repetition. [logjax] few rows need not be few steps
  model.least_rows_per_epoch = 0
  # Epochs without a lower loss on the validation rows before training stops. A13
  model.patience = 5
  # Restores the parameters of the best epoch, not of the last. A13
  model.restore_best = True


def checkpoint() -> ConfigDict:
  """Checkpoints of a phase; they change no result."""
  checkpoint = ConfigDict()
  # Minutes between two checkpoints; 0 for none by time. [logjax] a minute is lost at most
  checkpoint.minutes = 1.0
  # Epochs (or rounds) between two checkpoints; 0 for none by number.
  checkpoint.epochs = 0
  return checkpoint


def ladder() -> ConfigDict:
  """--mode=ladder: the worth of each leak."""
  ladder = ConfigDict()
  # Repetitions of the detector in every step. [logjax] a step reports their mean
  ladder.repetitions = 3
  # Resamples of the test rows behind each interval. [logjax]
  ladder.draws = 1_000
  return ladder


def compare() -> ConfigDict:
  """--mode=compare: every oversampler with every detector, protocol and seed."""
  compare = ConfigDict()
  # Values of oversampler.name. Each is compared with 'none' and 'random'.
  compare.oversamplers = ('none', 'class_weights', 'random', 'smoten', 'mle', 'seqgan')
  # Detectors (detector.name) that run with every oversampler.
  compare.detectors = ('autoencoder_gru',)
  # Detectors that run without oversampling only. [logjax] are the autoencoders needed?
  compare.plain_detectors = ('gru',)
  # 'honest' and 'paper'.
  compare.protocols = ('honest',)
  # Seeds of training and sampling, each on the same log. [logjax] five show most of the spread
  compare.seeds = (0, 1, 2, 3, 4)
  # More comparisons, with at most this many abnormal rows to train and to validate on; () for
  # none. (5, 10, 20, 50, 100, 500) draws a curve.
  compare.abnormal_train = ()
  # Repetitions of the detector in every run; seeds repeat the oversampler too. [logjax]
  compare.repetitions = 1
  # Resamples of test rows and seeds behind each interval. [logjax]
  compare.draws = 1_000
  return compare


def _small_discriminator(config: ConfigDict) -> None:
  config.seqgan.filter_widths = (2, 3, 4, 5)
  config.seqgan.filters = (64, 64, 64, 64)
  # Larger than the published 1e-4, because these schedules have far fewer steps.
  config.seqgan.discriminator_learning_rate = 1e-3


def _minutes(config: ConfigDict) -> None:
  _small_discriminator(config)
  config.seqgan.mle_epochs = 60
  config.seqgan.discriminator_rounds = 3
  config.seqgan.discriminator_epochs = 1
  config.seqgan.rounds = 10
  config.seqgan.d_steps = 1
  config.seqgan.rows_per_epoch = 1_024
  config.detector.autoencoder.rows_per_epoch = 8_192
  config.detector.gru.rows_per_epoch = 4_096
  config.detector.gru.epochs = 30


def _quick(config: ConfigDict) -> None:
  _minutes(config)
  config.data.simulated_lines = 10_000
  config.seqgan.mle_epochs = 30
  config.seqgan.discriminator_rounds = 1
  config.seqgan.rounds = 2
  config.seqgan.rollouts = 4
  config.seqgan.rows_per_epoch = 512
  config.detector.repetitions = 2
  config.detector.autoencoder.epochs = 10
  config.detector.gru.rows_per_epoch = 2_048
  config.detector.gru.epochs = 8


def _full(config: ConfigDict) -> None:
  # SeqGAN's fields above have the published schedule. An epoch of the paper has all rows.
  config.detector.autoencoder.rows_per_epoch = 0
  config.detector.gru.rows_per_epoch = 0


SCHEDULES = {'': _minutes, 'quick': _quick, 'full': _full}
