"""Thunderbird, the log of a supercomputer; the quick start.

python -m logjax.main --config=configs/thunderbird.py

Time: about three minutes on two idle CPU cores. Result: README.md. Without a path
(--config.data.path=Thunderbird.log) it runs on a simulated log of 33,000 lines.

Real parts of the log can have all alerts in a few minutes. Then add --config.split.by=random
(docs/results.md has such a run).

`:quick` is a check of everything within two minutes on idle cores. `:full` has the published
schedule, for an accelerator (untested on one).
"""

from ml_collections import ConfigDict

from configs import default


def get_config(schedule: str = '') -> ConfigDict:
  """Returns the configuration; `schedule` is '', 'quick' or 'full'."""
  config = default.get_config(schedule)
  config.data.corpus = 'thunderbird'
  return config
