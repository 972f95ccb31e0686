"""Thunderbird.

python -m logjax.main --config=configs/thunderbird.py --workdir=runs/thunderbird

Without a path (--config.data.path=Thunderbird.log) it runs on a simulated log of 33,000 lines. On
two CPU cores:

  simulated, honest                5 min   abnormal F1 0.609 ± 0.064, TF-IDF 0.704
  29,569 lines of two days, with --config.split.by=random, because their alerts lie in 50 minutes:
  honest                           6 min   abnormal F1 0.996, TF-IDF 0.996
  --config.protocol=paper          4 min   abnormal F1 0.968 ± 0.081, TF-IDF 1.000

`:quick` checks everything within two minutes, `:full` has the published schedules.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(schedule: str = '') -> ConfigDict:
  """Returns the configuration; `schedule` is '', 'quick' or 'full'."""
  config = default.get_config(schedule)
  config.data.corpus = 'thunderbird'
  return config
