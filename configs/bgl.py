"""BlueGene/L.

python -m logjax.main --config=configs/bgl.py --workdir=runs/bgl --config.data.path=BGL.log

Without a path it runs on a simulated log. On the first 100,000 lines of the published log (2,613
abnormal; two CPU cores that other work shared):

  honest                           6 min   abnormal F1 1.000, TF-IDF 1.000: every test text is known
  --config.protocol=paper          8 min   abnormal F1 1.000, TF-IDF 0.901

`:quick` checks everything within two minutes, `:full` has the published schedules.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(schedule: str = '') -> ConfigDict:
  """Returns the configuration; `schedule` is '', 'quick' or 'full'."""
  config = default.get_config(schedule)
  config.data.corpus = 'bgl'
  return config
