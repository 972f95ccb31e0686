"""launch/kubernetes.yaml parses, and its parts refer to each other."""

from pathlib import Path

import pytest
import yaml

from configs import bgl
from logjax.settings import flatten

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def documents() -> dict[str, dict]:
  """The documents of the manifest by kind."""
  text = (ROOT / 'launch' / 'kubernetes.yaml').read_text()
  return {document['kind']: document for document in yaml.safe_load_all(text)}


@pytest.fixture(scope='module')
def job(documents) -> dict:
  (job,) = documents['JobSet']['spec']['replicatedJobs']
  return job['template']['spec']


def test_the_pods_may_ask_kubernetes_who_the_others_are(documents, job):
  account = documents['ServiceAccount']['metadata']['name']
  assert job['template']['spec']['serviceAccountName'] == account
  assert documents['RoleBinding']['subjects'] == [{'kind': 'ServiceAccount', 'name': account}]
  assert documents['RoleBinding']['roleRef']['name'] == documents['Role']['metadata']['name']
  readable = {name for rule in documents['Role']['rules'] for name in rule['resources']}
  assert readable == {'pods', 'services', 'jobs'}


def test_all_processes_run_at_once_and_have_numbers(documents, job):
  assert job['completionMode'] == 'Indexed' and job['completions'] == job['parallelism'] > 1
  assert job['backoffLimit'] == 0 and job['template']['spec']['restartPolicy'] == 'Never'
  assert documents['JobSet']['spec']['network']['enableDNSHostnames']


def test_the_volumes_are_those_that_are_mounted(documents, job):
  pod = job['template']['spec']
  (container,) = pod['containers']
  mounted = {mount['name'] for mount in container['volumeMounts']}
  assert mounted == {volume['name'] for volume in pod['volumes']}
  claims = [
    v['persistentVolumeClaim']['claimName']
    for v in pod['volumes']
    if len(v) > 1 and 'persistentVolumeClaim' in v
  ]
  assert claims == [documents['PersistentVolumeClaim']['metadata']['name']]
  assert documents['PersistentVolumeClaim']['spec']['accessModes'] == ['ReadWriteMany']


def test_the_flags_are_of_this_program(job):
  (container,) = job['template']['spec']['containers']
  fields = flatten(bgl.get_config().to_dict())
  names = [flag.removeprefix('--').partition('=')[0] for flag in container['args']]
  assert all(
    name in ('config', 'workdir') or name.removeprefix('config.') in fields for name in names
  )


def test_the_image_has_what_jax_asks_kubernetes_with():
  assert "'.[k8s]'" in (ROOT / 'launch' / 'Dockerfile').read_text()
