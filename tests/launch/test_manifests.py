"""launch/kubernetes.yaml against a schema and against itself, and that broken ones are told."""

import copy
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from configs import bgl
from logjax.settings import flatten
from logjax.training.hosts import Place, find_place

ROOT = Path(__file__).parents[2]
MANIFEST = list(yaml.safe_load_all((ROOT / 'launch' / 'kubernetes.yaml').read_text()))
DOCKERFILE = (ROOT / 'launch' / 'Dockerfile').read_text()

# What the manifest may use of the schemas of Kubernetes (core/v1, batch/v1) and of JobSet v1alpha2:
# a type, a set of values, a pattern, [a list of], or fields, of which those with '!' are required.
NAME = re.compile('[a-z]([-a-z0-9]{0,61}[a-z0-9])?')
QUANTITY = re.compile(r'[0-9]+(\.[0-9]+)?(m|[kMGT]|[KMGT]i)?')
RESOURCES = {'cpu': QUANTITY, 'memory': QUANTITY, 'nvidia.com/gpu': QUANTITY}
CLAIM = {
  'apiVersion!': {'v1'},
  'kind!': {'PersistentVolumeClaim'},
  'metadata!': {'name!': NAME},
  'spec!': {
    'accessModes!': [{'ReadWriteOnce', 'ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOncePod'}],
    'resources!': {'requests!': {'storage!': QUANTITY}},
    'storageClassName': str,
  },
}
CONTAINER = {
  'name!': NAME,
  'image!': str,
  'command': [str],
  'args': [str],
  'env': [{'name!': re.compile('[A-Z_][A-Z0-9_]*'), 'value!': str}],
  'ports': [{'name': NAME, 'containerPort!': int, 'protocol': {'TCP', 'UDP'}}],
  'resources': {'requests': RESOURCES, 'limits': RESOURCES},
  'volumeMounts': [{'name!': NAME, 'mountPath!': re.compile('/.+'), 'readOnly': bool}],
}
POD = {
  'restartPolicy!': {'Never'},  # the only one that a podFailurePolicy goes with
  'terminationGracePeriodSeconds!': int,
  'securityContext': {'runAsNonRoot': bool, 'runAsUser': int, 'fsGroup': int},
  'nodeSelector': {str: str},
  'topologySpreadConstraints': [
    {
      'maxSkew!': int,
      'topologyKey!': str,
      'whenUnsatisfiable!': {'DoNotSchedule', 'ScheduleAnyway'},
      'labelSelector': {'matchLabels!': {str: str}},
    }
  ],
  'containers!': [CONTAINER],
  'volumes': [
    {
      'name!': NAME,
      'persistentVolumeClaim': {'claimName!': NAME, 'readOnly': bool},
      'emptyDir': {'sizeLimit': QUANTITY},
    }
  ],
}
JOB = {
  'completionMode!': {'Indexed'},
  'completions!': int,
  'parallelism!': int,
  'backoffLimit!': int,
  'podFailurePolicy': {
    'rules!': [
      {
        'action!': {'FailJob', 'FailIndex', 'Ignore', 'Count'},
        'onExitCodes': {
          'containerName': NAME,
          'operator!': {'In', 'NotIn'},
          'values!': [int],
        },
        'onPodConditions': [{'type!': str, 'status!': {'True', 'False', 'Unknown'}}],
      }
    ]
  },
  'template!': {'spec!': POD},
}
JOBSET = {
  'apiVersion!': {'jobset.x-k8s.io/v1alpha2'},
  'kind!': {'JobSet'},
  'metadata!': {'name!': NAME},
  'spec!': {
    'network!': {'enableDNSHostnames!': bool, 'publishNotReadyAddresses': bool, 'subdomain': NAME},
    'failurePolicy!': {
      'maxRestarts!': int,
      'rules': [
        {
          'name!': re.compile('[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?'),
          'action!': {'FailJobSet', 'RestartJobSet', 'RestartJobSetAndIgnoreMaxRestarts'},
          'onJobFailureReasons': [
            {'BackoffLimitExceeded', 'DeadlineExceeded', 'FailedIndexes', 'PodFailurePolicy'}
          ],
        }
      ],
    },
    'replicatedJobs!': [{'name!': NAME, 'replicas': int, 'template!': {'spec!': JOB}}],
  },
}


def complaints(value: Any, schema: Any, where: str) -> Iterator[str]:
  """Yields where a value is not as a schema says."""
  match schema:
    case type():
      if type(value) is not schema:
        yield f'{where}: {value!r} is no {schema.__name__}'
    case set():
      if value not in list(schema):
        yield f'{where}: {value!r} is none of {sorted(schema)}'
    case re.Pattern():
      if not isinstance(value, str) or not schema.fullmatch(value):
        yield f'{where}: {value!r} is not {schema.pattern}'
    case [each]:
      if not isinstance(value, list) or not value:
        yield f'{where}: {value!r} is no list with entries'
      else:
        for i, entry in enumerate(value):
          yield from complaints(entry, each, f'{where}[{i}]')
    case dict():
      yield from _fields(value, schema, where)


def _fields(value: Any, schema: dict, where: str) -> Iterator[str]:
  if not isinstance(value, dict):
    yield f'{where}: {value!r} has no fields'
    return
  known = {name.rstrip('!'): each for name, each in schema.items() if name is not str}
  for name in schema:
    if name is not str and name.endswith('!') and name[:-1] not in value:
      yield f'{where}: {name[:-1]} is missing'
  for name, entry in value.items():
    if name in known or str in schema:
      yield from complaints(entry, known.get(name, schema.get(str)), f'{where}.{name}')
    else:
      yield f'{where}: unknown field {name}'


def problems(documents: list) -> list[str]:
  """What is wrong with the documents of a manifest; relations only where the schemas hold."""
  schemas = {'PersistentVolumeClaim': CLAIM, 'JobSet': JOBSET}
  by_kind = {document.get('kind'): document for document in documents}
  if set(by_kind) != set(schemas) or len(documents) != 2:
    return [f'the kinds are {sorted(map(str, by_kind))}']
  found = [told for kind in schemas for told in complaints(by_kind[kind], schemas[kind], kind)]
  return found or [
    told
    for told, holds in relations(by_kind['PersistentVolumeClaim'], by_kind['JobSet'])
    if not holds
  ]


def relations(claim: dict, jobset: dict) -> Iterator[tuple[str, bool]]:
  """What must hold between the parts of a manifest."""
  name, spec = jobset['metadata']['name'], jobset['spec']
  hosts, *more = spec['replicatedJobs']
  job = hosts['template']['spec']
  pod = job['template']['spec']
  container, *others = pod['containers']
  env = environment(jobset)
  yield (
    'there is one container in the pods of one job',
    not (more or others or hosts['replicas'] - 1),
  )
  counts = {str(job['completions']), str(job['parallelism']), env.get('JAX_NUM_PROCESSES')}
  yield 'every process has a pod, and all run at once', len(counts) == 1
  subdomain = spec['network'].get('subdomain', name)
  first = f'{name}-{hosts["name"]}-0-0.{subdomain}'
  port = next(port['containerPort'] for port in container['ports'] if port['name'] == 'coordinator')
  yield 'all meet at the first pod', env.get('JAX_COORDINATOR_ADDRESS') == f'{first}:{port}'
  yield 'its name is known before it is ready', spec['network']['publishNotReadyAddresses']
  yield 'names are published', spec['network']['enableDNSHostnames']
  cores = container['resources']['limits'].get('cpu')
  yield 'a process has as many devices as cores', env.get('JAX_NUM_CPU_DEVICES') == cores
  mounts = {mount['name']: mount['mountPath'] for mount in container['volumeMounts']}
  volumes = {volume['name']: volume for volume in pod['volumes']}
  yield 'the volumes are those that are mounted', set(mounts) == set(volumes)
  claims = {
    n: v['persistentVolumeClaim'] for n, v in volumes.items() if 'persistentVolumeClaim' in v
  }
  claimed = {each['claimName'] for each in claims.values()}
  yield 'the claim is the one that is made', claimed == {claim['metadata']['name']}
  kept = tuple(f'{mounts.get(n)}/' for n in claims)
  paths = [
    flag.partition('=')[2] for flag in container['args'] if re.match('--(workdir|.*path)', flag)
  ]
  yield 'workdir and log are on the claim', paths and all(path.startswith(kept) for path in paths)
  yield 'a pod is not replaced alone', job['backoffLimit'] == 0
  rules = job['podFailurePolicy']['rules']
  codes = [rule['onExitCodes'] for rule in rules if 'onExitCodes' in rule]
  yield 'a rule is about the container', {c['containerName'] for c in codes} == {container['name']}
  yield 'a stopped process is told from a broken one', [c['values'] for c in codes] == [[143]]
  labels = pod['topologySpreadConstraints'][0]['labelSelector']['matchLabels']
  yield 'its pods are spread', labels == {'jobset.sigs.k8s.io/jobset-name': name}


def environment(jobset: dict) -> dict[str, str]:
  """The variables of the container."""
  pod = jobset['spec']['replicatedJobs'][0]['template']['spec']['template']['spec']
  return {variable['name']: variable['value'] for variable in pod['containers'][0]['env']}


def changed(path: str, value: Any) -> list:
  """The manifest with one place changed, or removed where the value is `...`."""
  documents = copy.deepcopy(MANIFEST)
  *steps, last = [int(step) if step.isdigit() else step for step in path.split('/')]
  part = documents
  for step in steps:
    part = part[step]
  if value is ...:
    del part[last]
  else:
    part[last] = value
  return documents


HOSTS = '1/spec/replicatedJobs/0'
IN_JOB = f'{HOSTS}/template/spec'
IN_POD = f'{IN_JOB}/template/spec'
IN_CONTAINER = f'{IN_POD}/containers/0'


def test_the_manifest_is_as_the_schemas_say_and_its_parts_fit():
  assert problems(MANIFEST) == []


@pytest.mark.parametrize(
  ('path', 'value', 'part'),
  [
    ('0', ..., "the kinds are ['JobSet']"),
    ('0/metadata/name', 'other', 'the claim is the one that is made'),
    ('0/spec/accessModes', ['ReadWriteSome'], 'accessModes[0]'),
    ('0/spec/resources/requests/storage', '20 GB', 'storage'),
    ('1/apiVersion', 'jobset.x-k8s.io/v1', 'apiVersion'),
    ('1/metadata/name', 'Logjax', 'metadata.name'),
    ('1/metadata/name', 'logs', 'all meet at the first pod'),
    ('1/spec/network', ..., 'network is missing'),
    ('1/spec/network/enableDNSHostnames', 'yes', 'enableDNSHostnames'),
    ('1/spec/network/enableDNSHostnames', False, 'names are published'),
    ('1/spec/failurePolicy/maxRestart', 3, 'unknown field maxRestart'),
    ('1/spec/failurePolicy/rules/0/action', 'Restart', 'action'),
    (f'{HOSTS}/replicas', 2, 'one job'),
    (f'{HOSTS}/name', 'workers', 'all meet at the first pod'),
    (f'{IN_JOB}/completionMode', 'NonIndexed', 'completionMode'),
    (f'{IN_JOB}/completions', 3, 'every process has a pod'),
    (f'{IN_JOB}/parallelism', 1, 'all run at once'),
    (f'{IN_JOB}/parallelism', '2', "'2' is no int"),
    (f'{IN_JOB}/backoffLimit', 6, 'not replaced alone'),
    (f'{IN_JOB}/podFailurePolicy/rules/0/onPodConditions/0/status', True, 'status'),
    (f'{IN_JOB}/podFailurePolicy/rules/1/onExitCodes/containerName', 'main', 'the container'),
    (f'{IN_JOB}/podFailurePolicy/rules/1/onExitCodes/values', [2, 143], 'told from a broken one'),
    (f'{IN_POD}/restartPolicy', 'OnFailure', 'restartPolicy'),
    (f'{IN_POD}/terminationGracePeriod', 30, 'unknown field terminationGracePeriod'),
    (f'{IN_POD}/containers', [], 'no list with entries'),
    (f'{IN_POD}/volumes/1', ..., 'the volumes are those that are mounted'),
    (f'{IN_POD}/volumes/0/persistentVolumeClaim/claimName', 'data', 'the claim'),
    (f'{IN_CONTAINER}/image', ..., 'image is missing'),
    (f'{IN_CONTAINER}/env/1/value', 2, '2 is no str'),
    (f'{IN_CONTAINER}/env/1/value', '4', 'every process has a pod'),
    (f'{IN_CONTAINER}/env/0', ..., 'all meet at the first pod'),
    (f'{IN_CONTAINER}/env/2/value', '8', 'as many devices as cores'),
    (f'{IN_CONTAINER}/ports/0/containerPort', 80, 'all meet at the first pod'),
    (f'{IN_CONTAINER}/volumeMounts/0/name', 'dat', 'the volumes are those that are mounted'),
    (f'{IN_CONTAINER}/volumeMounts/0/mountPath', 'data', 'mountPath'),
    (f'{IN_CONTAINER}/volumeMounts/0/mountPath', '/logs', 'workdir and log are on the claim'),
    (f'{IN_CONTAINER}/resources/limits/memory', '8 GB', 'memory'),
  ],
)
def test_a_broken_manifest_is_told(path, value, part):
  told = problems(changed(path, value))
  assert told and any(part in line for line in told), told


def test_logjax_finds_its_place_by_what_a_pod_of_the_manifest_is_given():
  env = environment(MANIFEST[1])
  for index in (0, 1):
    place = find_place(None, None, None, env | {'JOB_COMPLETION_INDEX': str(index)})
    assert place == Place('logjax-hosts-0-0.logjax:8476', 2, index)


def test_the_flags_of_the_manifest_are_ones_that_logjax_has():
  pod = MANIFEST[1]['spec']['replicatedJobs'][0]['template']['spec']['template']['spec']
  flags = dict(flag.split('=', 1) for flag in pod['containers'][0]['args'])
  assert flags.pop('--config') == 'configs/bgl.py' and flags.pop('--workdir')
  fields = flatten(bgl.get_config().to_dict())
  assert {flag.removeprefix('--config.') for flag in flags} <= set(fields)


def test_the_image_is_built_from_what_is_there_for_the_user_of_the_manifest():
  user = re.search(r'^USER (\d+)$', DOCKERFILE, re.MULTILINE)[1]
  pod = MANIFEST[1]['spec']['replicatedJobs'][0]['template']['spec']['template']['spec']
  assert int(user) == pod['securityContext']['runAsUser'] == pod['securityContext']['fsGroup']
  assert f'--uid {user} ' in DOCKERFILE
  assert re.search(r'^FROM python:3\.1[1-3]-slim$', DOCKERFILE, re.MULTILINE)
  assert (ROOT / re.search(r'source (\S+)\'', DOCKERFILE)[1]).is_file()
