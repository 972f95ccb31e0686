r"""OpenStack, the log of a cloud with injected faults.

python -m logjax.main --config=configs/openstack.py --workdir=runs/openstack \
  --config.data.path=openstack_normal1.log,openstack_abnormal.log --config.split.by=random

Time: 5 minutes on the 18,768 of these lines that name an instance, 2 with --config.protocol=paper
(two shared CPU cores). Result: docs/results.md. Without a path it runs on simulated logs.

The two files cover different days. A split in time leaves the test side without abnormal lines,
hence split.by. Lines are labelled by injected fault, or by file as in the paper
(--config.data.labels=file).

`:quick` is a check of everything within two minutes on idle cores. `:full` has the published
schedule, for an accelerator (untested on one).
"""

from ml_collections import ConfigDict

from configs import default


def get_config(schedule: str = '') -> ConfigDict:
  """Returns the configuration; `schedule` is '', 'quick' or 'full'."""
  config = default.get_config(schedule)
  config.data.corpus = 'openstack'
  return config
