"""BGL, the log of a BlueGene/L machine.

python -m logjax.main --config=configs/bgl.py --config.data.path=BGL.log --workdir=runs/bgl

Time: 6 minutes on the first 100,000 lines, 8 with --config.protocol=paper (two shared CPU cores).
Result: docs/results.md. Without a path it runs on a simulated log.

`:quick` is a check of everything within two minutes on idle cores. `:full` has the published
schedule, for an accelerator (untested on one).
"""

from ml_collections import ConfigDict

from configs import default


def get_config(schedule: str = '') -> ConfigDict:
  """Returns the configuration; `schedule` is '', 'quick' or 'full'."""
  config = default.get_config(schedule)
  config.data.corpus = 'bgl'
  return config
