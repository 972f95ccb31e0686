r"""OpenStack.

python -m logjax.main --config=configs/openstack.py --workdir=runs/openstack \
  --config.data.path=openstack_normal1.log,openstack_abnormal.log --config.split.by=random

Without a path it runs on simulated logs. The published files cover different days, so that a
chronological split leaves the test side without abnormal lines: hence split.by. On the 18,768 of
their lines that name an instance (two CPU cores that other work shared):

  honest, labels by injected fault   5 min   abnormal F1 0.006: no abnormal line differs
  --config.protocol=paper            3 min   abnormal F1 0.610, TF-IDF 0.522; labels by file

`:quick` checks everything within two minutes, `:full` has the published schedules.
"""

from ml_collections import ConfigDict

from configs import default


def get_config(schedule: str = '') -> ConfigDict:
  """Returns the configuration; `schedule` is '', 'quick' or 'full'."""
  config = default.get_config(schedule)
  config.data.corpus = 'openstack'
  return config
