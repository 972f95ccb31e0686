"""Every field of a run, with its meaning, unit and the source of its default.

Other files in this folder import this one and change a few fields. Three schedules exist, chosen
behind a colon (`--config=configs/bgl.py:quick`):

  (nothing)  trained in minutes on two CPU cores: the small discriminator and shorter phases
  quick      a check that everything works, within two minutes on 10,000 lines
  full       the published schedules, for an accelerator (untested on one)

Sources named in the comments:
  [paper]    Farzad and Gulliver, Log Message Anomaly Detection with Oversampling, IJAIA 11(4), 2020
  [seqgan]   Yu et al., SeqGAN, AAAI 2017, and the settings of its published code
  [keras]    the default of Keras, which the paper used without tuning
  [logjax]   our choice; the reason stands beside it
'auto' and None are resolved by protocol and corpus (logjax/settings.py) and written to config.json.
An A with a number is the ambiguity of the paper that the field decides (docs/paper.md lists them).
"""

from ml_collections import ConfigDict, config_dict


def get_config(schedule: str = '') -> ConfigDict:
  """Returns the configuration of a run; `schedule` is '', 'quick' or 'full'."""
  config = ConfigDict()
  # Seed of everything random: data simulation, splits, initial parameters, sampling.
  config.seed = 0
  # Who may see what: 'honest' (no leak) or 'paper' (all seven leaks of the published protocol).
  config.protocol = 'honest'
  # Names of leaks, separated by commas, instead of the protocol's own set; 'none' for no leak.
  config.leaks = ''
  # Number of devices to train on; 0 means all.
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
    raise ValueError(
      f'unknown schedule {schedule!r}: behind the colon stands {names}, or leave both out'
    )
  SCHEDULES[schedule](config)
  return config


def data() -> ConfigDict:
  """Where the lines come from."""
  data = ConfigDict()
  # Corpus: 'bgl', 'thunderbird', 'openstack', 'hdfs', or 'own' (a format given below).
  data.corpus = 'thunderbird'
  # Log files, separated by commas, globs allowed; '' looks at the next fields.
  data.path = ''
  # Folder with the corpus under its published name (log file or archive); '' for none.
  data.manual_dir = ''
  # Whether to download the published corpus (BGL 57 MB, Thunderbird 2 GB) when no file is given.
  data.download = False
  # Folder of the prepared TFDS data; '' means the user's cache folder.
  data.data_dir = ''
  # Lines of the simulated corpus, which is used when none of the above gives a file.
  data.simulated_lines = 33_000
  # Seed of the simulated corpus; None: the seed above. [logjax] one log for runs with many seeds
  data.simulated_seed = config_dict.placeholder(int)
  # Read only the first so many lines; 0 means all.
  data.limit_lines = 0
  # Share of lines that may fail to fit the format before the run stops.
  data.max_rejected = 0.01
  # How lines are labelled: 'column', 'instance' (OpenStack, by injected fault), 'file' (OpenStack,
  # as in the paper), 'blocks' (HDFS), or 'auto': by corpus, OpenStack's by protocol too.
  data.labels = 'auto'
  # Control: give the labels to other lines at random, so that there is nothing to learn. [logjax]
  data.permute_labels = False
  # HDFS only: the CSV file with a label for every block.
  data.label_file = ''
  # Corpus 'own': regular expression with the named groups message, label, time, node.
  data.pattern = ''
  # Corpus 'own': how the group time is read: 'epoch' (seconds) or a strptime format; '' for none.
  data.time_format = ''
  # Corpus 'own': the value of the group label that means normal.
  data.normal_label = '-'
  return data


def text() -> ConfigDict:
  """From messages to token rows (A1)."""
  text = ConfigDict()
  # Tokens a row: shorter rows are padded, longer ones cut at the end. [paper] input width 40.
  text.length = 40
  # Numbers and addresses: 'mask' them, or 'keep' the most frequent ones as tokens; 'auto' is mask
  # when honest and keep with the paper, whose millions of distinct rows need them. A1
  text.numbers = 'auto'
  # With 'keep': how many distinct numbers and addresses stay tokens; the others are masked.
  text.kept_numbers = 2_000
  # Words with two or more digits (r23, an343): 'mask', 'keep' or 'drop'. A1, [logjax] they name
  # single machines, which a detector should not learn by heart.
  text.identifiers = 'mask'
  # Lower-case the message. A1, [keras]
  text.lowercase = True
  # Largest vocabulary, special tokens included; the rarest words become <unk>.
  text.max_vocabulary = 20_000
  return text


def split() -> ConfigDict:
  """Which rows train, validate and test."""
  split = ConfigDict()
  # What puts a row on its side: 'time', 'random', or 'text' (at random, each masked text on one
  # side only); 'auto' is time unless random_split leaks, and text without duplicates_across_split.
  split.by = 'auto'
  # Share of rows that train. None: 0.6 when honest; [paper] 0.05 * 0.05 (OpenStack 0.05 * 0.85).
  split.train = config_dict.placeholder(float)
  # Share of rows that validate. None: 0.2; [paper] 0.05 * 0.95 (OpenStack 0.05 * 0.15).
  split.valid = config_dict.placeholder(float)
  # Most abnormal rows that train, and that validate, drawn by the seed; 0 means all. [logjax] shows
  # what oversampling buys where there are few.
  split.abnormal_train = 0
  return split


def oversampler() -> ConfigDict:
  """From few abnormal rows to many."""
  oversampler = ConfigDict()
  # 'none', 'class_weights' (no rows: the rare class weighs more in the classifier's loss), 'random'
  # (repeat real rows), 'smote' (between the codes of an autoencoder), 'smoten' (between tokens),
  # 'mle' (SeqGAN without its adversarial phase), 'seqgan' ([paper]), 'maligan', 'textgan'.
  oversampler.name = 'seqgan'
  # Rows to generate; None means as many as balance the classes. [paper]
  oversampler.count = config_dict.placeholder(int)
  # Sets that the abnormal rows are split into, a generator each. None: [paper] 7, OpenStack 2.
  oversampler.sets = config_dict.placeholder(int)
  # How the sets are drawn: 'random', 'time' (in order), 'text' (equal masked texts together). A5
  oversampler.sets_by = 'random'
  # SMOTE and SMOTEN: nearest rows that a row is mixed with. imbalanced-learn's k_neighbors
  oversampler.neighbours = 5
  # Which generated rows are removed as too similar to training rows or to each other: 'none',
  # 'exact', 'masked' (equal masked text), 'jaccard' (token sets, threshold below). A4
  oversampler.similarity = 'exact'
  # With 'jaccard': rows at this similarity or above are removed. A4
  oversampler.jaccard = 0.9
  # When distinct rows run short: 'repeat' removed ones as often as they were generated, or
  # 'short': stay below the requested number.
  oversampler.on_shortage = 'repeat'
  # Give up looking for distinct rows after so many times the requested number.
  oversampler.max_draws = 2.0
  # Softmax temperature of sampling once trained; 1 samples from the generator itself. [paper]
  oversampler.temperature = 1.0
  return oversampler


def seqgan() -> ConfigDict:
  """The generator, the discriminator and their schedule (A3)."""
  seqgan = ConfigDict()
  # Embedding size of the generator. [seqgan]
  seqgan.embedding = 32
  # The generator's recurrent cell: 'gru' ([paper]) or 'lstm' ([seqgan]).
  seqgan.cell = 'gru'
  # Hidden size of that cell. [paper]
  seqgan.hidden = 30
  # Standard deviation of the generator's initial weights. [seqgan]
  seqgan.init_std = 0.1
  # Adam learning rate of the generator, both phases. [seqgan]
  seqgan.generator_learning_rate = 0.01
  # Largest global norm of the generator's gradient. [seqgan]
  seqgan.clip_norm = 5.0
  # Rows a batch, for each set. [paper]
  seqgan.batch = 128
  # Rows of a set in an epoch, a multiple of the batch; a smaller set is gone through several
  # times. [seqgan] 9,984
  seqgan.rows_per_epoch = 9_984
  # Epochs of maximum-likelihood pretraining. [seqgan]
  seqgan.mle_epochs = 120
  # Rounds of discriminator pretraining, each on newly generated rows. [seqgan]
  seqgan.discriminator_rounds = 50
  # Epochs on the rows of one such round, in both phases (k). [seqgan]
  seqgan.discriminator_epochs = 3
  # Rounds of adversarial training (Algorithm 1). [seqgan]
  seqgan.rounds = 200
  # Generator steps a round. [seqgan]
  seqgan.g_steps = 1
  # Discriminator rounds a round. [seqgan]
  seqgan.d_steps = 5
  # Rollouts a prefix, N of equation 4. [seqgan]
  seqgan.rollouts = 16
  # Rollouts that run together on a device: bounds the memory. 0: 1,024 on a CPU (where 512 and
  # 2,048 were as fast), 16,384 on an accelerator (untested). [logjax]
  seqgan.rollout_block = 0
  # Equal prefixes of a batch share their N rollouts. Real alerts have few texts, so this saves
  # nearly all rollouts. The rewards stay unbiased but get noisier (docs/rollouts.md). [logjax]
  seqgan.share_equal_prefixes = True
  # What rewards a token: 'discriminator' (equation 4, [paper]), or a control that knows nothing:
  # 'constant' (1 / 2) or 'random' (uniform in [0, 1)). [logjax]
  seqgan.reward = 'discriminator'
  # What is subtracted from the rewards: 'none' ([paper]), their mean over the 'batch', or over
  # the tokens of the batch at the same 'position'. [logjax]
  seqgan.baseline = 'none'
  # r of beta <- r * beta + (1 - r) * theta after each round; 0 is beta <- theta. [paper]
  seqgan.rollout_update = 0.0
  # Embedding size of the discriminator. [seqgan]
  seqgan.discriminator_embedding = 64
  # Widths of the discriminator's convolutions; those longer than a row are left out. [seqgan]
  seqgan.filter_widths = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 15, 20)
  # Filters of each width. [seqgan]
  seqgan.filters = (100, 200, 200, 200, 200, 100, 100, 100, 100, 100, 160, 160)
  # Share of the discriminator's features dropped in training. [seqgan]
  seqgan.discriminator_dropout = 0.25
  # Weight of half the squared norm of the discriminator's output layer. [seqgan]
  seqgan.discriminator_l2 = 0.2
  # Adam learning rate of the discriminator. [seqgan]
  seqgan.discriminator_learning_rate = 1e-4
  # TextGAN only: temperature of the softmax that stands for a token in derivatives. [logjax] 1
  # lowered the discrepancy more than 0.5 and 2 in a toy of two rows.
  seqgan.textgan_temperature = 1.0
  # TextGAN only: lambda_m, weight of the discrepancy of the features in what the discriminator
  # maximises. [logjax]
  seqgan.textgan_mmd_weight = 0.1
  return seqgan


def detector() -> ConfigDict:
  """The detector and the fields of every one of them."""
  detector = ConfigDict()
  # A module of logjax/detectors: 'autoencoder_gru' ([paper]), 'gru' (on tokens), 'tfidf_lr',
  # 'random_forest', 'nearest', 'lookup', 'unseen' (needs normal lines only), 'majority'.
  detector.name = 'autoencoder_gru'
  # Repetitions of the train and validation split, the paper's "10-fold". A14, [paper]
  detector.repetitions = 10
  # A row is abnormal from this score on: 'half' ([paper], softmax) or 'valid_f1' (the best F1 on
  # the validation rows); 'auto': valid_f1 when honest, half in the paper's protocol. Baselines
  # have the same choice.
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
  # Inverse strength of the L2 penalty; None: chosen on the validation rows. [logjax]
  tfidf_lr.c = config_dict.placeholder(float)
  return tfidf_lr


def random_forest() -> ConfigDict:
  """A random forest on TF-IDF features."""
  random_forest = ConfigDict()
  # Trees of the forest. The default of scikit-learn
  random_forest.trees = 100
  return random_forest


def autoencoder() -> ConfigDict:
  """Layers T-400-200-200-T."""
  autoencoder = ConfigDict()
  # Loss: 'softmax' (cross-entropy of a softmax over the T positions with the row scaled to sum
  # 1), 'tokens' (cross-entropy over the vocabulary at every position) or 'mse'. A6; 'auto': mse
  # when honest, softmax in the paper's protocol.
  autoencoder.loss = 'auto'
  # Output handed on: 'reconstruction' [T] or 'code' [200]. A7
  autoencoder.output = 'reconstruction'
  # Units of the three hidden layers. [paper]
  autoencoder.layers = (400, 200, 200)
  # Dropout "probability" after each hidden layer. [paper]
  autoencoder.dropout = 0.8
  # Whether that share is dropped ('drop', [keras]) or kept ('keep'). A8; 'auto': keep when honest,
  # drop in the paper's protocol.
  autoencoder.dropout_means = 'auto'
  # Weight of the L1 norm on the first layer. A9; None: 1e-5 when honest, in the paper's protocol
  # 0.01, [keras] l1().
  autoencoder.l1 = config_dict.placeholder(float)
  # Of the layer's 'kernel' or its 'activity' (mean over rows). A9; 'auto': activity when honest,
  # kernel in the paper's protocol.
  autoencoder.l1_on = 'auto'
  # Adam learning rate. [keras]
  autoencoder.learning_rate = 1e-3
  training(autoencoder)
  return autoencoder


def noise() -> ConfigDict:
  """Gaussian noise on the features (A11)."""
  noise = ConfigDict()
  # Variance of the noise; 0 for none. [paper]
  noise.variance = 0.1
  # Of features as they are ('absolute') or standardised on the training rows ('relative').
  noise.scale = 'relative'
  return noise


def gru() -> ConfigDict:
  """The classifier of 'autoencoder_gru', and the detector 'gru'."""
  gru = ConfigDict()
  # Hidden size. [paper]
  gru.hidden = 100
  # How a row of features is read: 'steps' (T steps of one) or 'features' (one step of T). A12
  gru.layout = 'steps'
  # Size of a token's embedding, of the detector 'gru' only. [logjax] that of SeqGAN's generator
  gru.embedding = 32
  # Dropout "probability" before the softmax layer. [paper]
  gru.dropout = 0.8
  # Whether that share is dropped ('drop', [keras]) or kept ('keep'). A8; 'auto' as above.
  gru.dropout_means = 'auto'
  # Adam learning rate. [keras]
  gru.learning_rate = 1e-3
  training(gru)
  return gru


def training(model: ConfigDict) -> None:
  """Adds the fields that the autoencoders and the classifier share."""
  # Rows a batch. [paper]
  model.batch = 128
  # Most epochs. [paper]
  model.epochs = 100
  # An epoch is this many rows (in whole batches), drawn anew each time; 0 means all. The paper's
  # largest training set has 21,342 rows. [logjax] keeps an epoch affordable on millions of rows.
  # Where validation rows are noisy, as many of them decide when to stop; else all of them do.
  model.rows_per_epoch = 20_000
  # A smaller set is gone through as many times an epoch as give this many rows, so that few rows
  # are not few steps; `rows_per_epoch` bounds it. 0: once. [logjax]
  model.least_rows_per_epoch = 0
  # Stop after this many epochs without a lower loss on the validation rows. A13
  model.patience = 5
  # Keep the parameters of the best epoch instead of the last. A13
  model.restore_best = True


def checkpoint() -> ConfigDict:
  """How often a phase keeps what it has reached; changes no result."""
  checkpoint = ConfigDict()
  # Minutes between two checkpoints of a phase; 0: none by time. [logjax] loses a minute at most
  checkpoint.minutes = 1.0
  # Epochs (or rounds) between them; 0: none by number.
  checkpoint.epochs = 0
  return checkpoint


def ladder() -> ConfigDict:
  """--mode=ladder: what each leak adds."""
  ladder = ConfigDict()
  # Repetitions of the detector in every step. [logjax] their mean is what a step reports
  ladder.repetitions = 3
  # Resamples of the test rows behind each interval. [logjax]
  ladder.draws = 1_000
  return ladder


def compare() -> ConfigDict:
  """--mode=compare: every oversampler with every detector, protocol and seed."""
  compare = ConfigDict()
  # Any of oversampler.name; differences are told to 'none' and to 'random'.
  compare.oversamplers = ('none', 'class_weights', 'random', 'smoten', 'mle', 'seqgan')
  # Detectors that every oversampler is run with, by detector.name.
  compare.detectors = ('autoencoder_gru',)
  # Detectors that run without oversampling only. [logjax] are the autoencoders needed?
  compare.plain_detectors = ('gru',)
  # 'honest' and 'paper'.
  compare.protocols = ('honest',)
  # Seeds of training and sampling, each on the same log. [logjax] five show most of the spread
  compare.seeds = (0, 1, 2, 3, 4)
  # The cells of all numbers are run again with at most so many abnormal rows to train on, and as
  # many to validate; () for all rows alone. (5, 10, 20, 50, 100, 500) draws a curve.
  compare.abnormal_train = ()
  # Repetitions of the detector in every cell; seeds repeat the oversampler too. [logjax]
  compare.repetitions = 1
  # Resamples of test rows and seeds behind each interval. [logjax]
  compare.draws = 1_000
  return compare


def _small_discriminator(config: ConfigDict) -> None:
  config.seqgan.filter_widths = (2, 3, 4, 5)
  config.seqgan.filters = (64, 64, 64, 64)
  # Larger than the published 1e-4, because the schedules below take far fewer steps.
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
  # SeqGAN's defaults above are the published schedule; the paper's epochs have all rows.
  config.detector.autoencoder.rows_per_epoch = 0
  config.detector.gru.rows_per_epoch = 0


SCHEDULES = {'': _minutes, 'quick': _quick, 'full': _full}
