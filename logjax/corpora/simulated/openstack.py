"""Messages in the style of OpenStack Nova's services; `simulated/__init__.py` explains the parts.

By file, all lines of openstack_abnormal.log are abnormal. By instance, only the lines of `FAULTS`
are: those of the four instances with an injected fault in the published corpus.
"""

FILES = ('openstack_normal.log', 'openstack_abnormal.log')
START = 1_494_892_800_000_000  # 2017-05-16 00:00 UTC in microseconds since 1970
UTC_OFFSET_HOURS = 0
SECONDS_PER_LINE = 0.8

_REQUEST = '[req-{request} {user} {tenant} - - -]'
_EVENT = '[req-{request} - - - - -]'
_IDLE = '[-]'


def _http(verb: str, path: str, status: int = 200) -> str:
  return f'"{verb} {path} HTTP/1.1" status: {status} len: {{bytes}} time: 0.{{fraction}}'


def _head(service: str, pid: str, level: str, component: str, context: str) -> str:
  log_file = f'nova-{service}.log.1.2017-05-20_00:00:00'
  return f'{log_file} {{iso_date}} {{clock}}.{{milli}} {pid} {level} nova.{component} {context}'


HEADS = {
  'api': _head('api', '{api_pid}', 'INFO', 'osapi_compute.wsgi.server', _REQUEST),
  'api warning': _head('api', '{api_pid}', 'WARNING', 'api.openstack.wsgi', _REQUEST),
  'metadata': _head('api', '{metadata_pid}', 'INFO', 'metadata.wsgi.server', _IDLE),
  'scheduler': _head('scheduler', '24410', 'INFO', 'scheduler.host_manager', _EVENT),
  'scheduler warning': _head('scheduler', '24410', 'WARNING', 'scheduler.driver', _REQUEST),
  'manager': _head('compute', '3107', 'INFO', 'compute.manager', _REQUEST),
  'event': _head('compute', '3107', 'INFO', 'compute.manager', _EVENT),
  'idle': _head('compute', '3107', 'INFO', 'compute.manager', _IDLE),
  'manager warning': _head('compute', '3107', 'WARNING', 'compute.manager', _REQUEST),
  'manager error': _head('compute', '3107', 'ERROR', 'compute.manager', _REQUEST),
  'claims': _head('compute', '3107', 'INFO', 'compute.claims', _REQUEST),
  'tracker': _head('compute', '3107', 'INFO', 'compute.resource_tracker', _EVENT),
  'driver': _head('compute', '3107', 'INFO', 'virt.libvirt.driver', _REQUEST),
  'driver error': _head('compute', '3107', 'ERROR', 'virt.libvirt.driver', _REQUEST),
  'images': _head('compute', '3107', 'INFO', 'virt.libvirt.imagecache', _EVENT),
  'images warning': _head('compute', '3107', 'WARNING', 'virt.libvirt.imagecache', _EVENT),
}

INSTANCE = '{uuid}'
STICKY = {'request': '{uuid}', 'user': '{user_id}', 'tenant': '{tenant_id}'}

SLOTS = {
  'uuid': '{hex8}-{hex4}-4{hex3}-a{hex3}-{hex12}',
  'user_id': ('51f2c08e6c9b4bb0a1f4d1f9c35b8e02', 'e9746973ac574c6b8a9e8857f56a7608'),
  'tenant_id': ('0b8f6e1a5d3c4f7c9c27c1d0a3f4be66', 'f7b8d1f1d4d44643b07fa10ca7d021fb'),
  'api_pid': ('24391', '24388', '24392'),
  'metadata_pid': ('24420', '24421', '24427'),
  'byte': range(1, 255),
  'ip': '10.11.21.{byte}',
  'client': ('10.11.10.1', '10.11.10.2'),
  'milliseconds': range(100, 1000),
  'fraction': range(1_000_000, 9_999_999),
  'bytes': range(180, 2100),
  'small': range(1, 9),
  'seconds': '{small}.{two_digits}',
  'tens': '1{small}.{two_digits}',
  'two_digits': range(10, 100),
  'used': range(1, 30),
  'base': '/var/lib/nova/instances/_base/{hex40}',
  'host': ('cp-1.rack2.example', 'cp-2.rack2.example', 'cp-3.rack5.example'),
  'claimed': range(512, 8192),
}

# The most frequent first in the normal file; in the abnormal file the order is the reverse.
SERVICES = (
  ('api', '{client} ' + _http('GET', '/v2/{tenant}/servers/detail')),
  ('metadata', '{ip},{client} ' + _http('GET', '/openstack/2015-10-15/meta_data.json')),
  ('api', '{client} ' + _http('GET', '/v2/{tenant}/servers/{uuid}')),
  ('images', 'Image {uuid} checked, base file {base} is used by {small} instances'),
  ('api', '{client} ' + _http('POST', '/v2/{tenant}/os-server-external-events')),
  (
    'tracker',
    'Resources of {host}: ram={claimed}MB disk={used}GB vcpus={small} instances={used}',
  ),
  ('api warning', 'request of {client} failed: instance not found, status 404 returned'),
  ('images', 'Base files in use: {base}'),
  ('metadata', '{ip},{client} ' + _http('GET', '/latest/meta-data/instance-id', status=404)),
  ('scheduler', 'Instances of host {host} synced, no instance lost'),
  ('images warning', 'Base file {base} unknown, no error, instance files on disk'),
  ('manager warning', 'Timeout waiting for network event, retry {small} of 9 succeeded'),
  (
    'manager error',
    'failed to reach hypervisor {host} in {small} seconds, connection to pool restored',
  ),
  ('tracker', 'Compute host {host} has no pending claim, free disk {used} GB'),
  ('scheduler warning', 'host {host} was not selected: memory limit exceeded'),
  ('driver error', 'image {uuid} not in cache, download from pool started again'),
  ('idle', 'Running usage audit for host {host}: {used} instances, power state known'),
)

_DIRECTORY = '/var/lib/nova/instances/{instance}_del'
LIFE = tuple(
  (source, f'[instance: {{instance}}] {message}')
  for source, message in (
    ('claims', 'Claim of {claimed} MB memory, {used} GB disk and {small} vcpus requested'),
    ('claims', 'Memory of host: {claimed} MB used by other instances'),
    ('claims', 'Memory after claim: {claimed} MB, below the limit'),
    ('claims', 'Disk of host: {used} GB used, {used} GB free'),
    ('claims', 'No vcpus limit is set'),
    ('claims', 'Claim accepted after 0.{two_digits} seconds'),
    ('driver', 'Creating disk from image {uuid}'),
    ('event', 'Power event received: VM started'),
    ('event', 'Power event received: VM paused'),
    ('event', 'Power state not synced: task spawning is pending'),
    ('event', 'Power event received: VM resumed'),
    ('idle', 'Instance is running on the hypervisor'),
    ('manager', 'Spawning complete, {tens} seconds'),
    ('manager', 'Build of instance and network complete, {tens} seconds'),
    ('manager', 'Request to terminate the instance accepted'),
    ('idle', 'Instance destroyed, {seconds} seconds'),
    ('driver', f'Deleting instance files in {_DIRECTORY}'),
    ('driver', f'Directory {_DIRECTORY} deleted'),
    ('manager', 'Network of instance released, 0.{two_digits} seconds'),
    ('manager', 'Resources of claim returned: {claimed} MB memory, {used} GB disk'),
    ('idle', 'Power event received: VM stopped'),
  )
)

FAULT_BEGINS = (0.15, 0.4, 0.68, 0.91)  # as shares of the hours that the files cover
FAULTS = {
  instance: tuple((source, f'[instance: {{instance}}] {message}') for source, message in steps)
  for instance, steps in {
    '544fd51c-4edc-4780-baae-ba1d80a0acfc': (
      ('manager error', 'Network of instance not released, retry {small} of 9 failed'),
      ('manager', 'Request to terminate the instance accepted'),
      ('manager warning', 'Timeout waiting for hypervisor, instance not destroyed'),
      ('event', 'Power event received: VM paused'),
      ('manager error', 'Network of instance not found, status 404 returned'),
    ),
    'ae651dff-c7ad-43d6-ac96-bbcd820ccca8': (
      ('driver error', 'Image {uuid} not complete, spawning failed'),
      ('driver', 'Creating disk from image {uuid}'),
      ('event', 'Power state not synced: task deleting is pending'),
      ('idle', 'Power event received: VM stopped'),
      ('manager error', 'Build of instance failed: disk limit exceeded'),
      ('manager warning', 'Timeout waiting for hypervisor, instance not destroyed'),
    ),
    'a445709b-6ad0-40ec-8860-bec60b6ca0c2': (
      ('driver error', f'Error deleting instance files in {_DIRECTORY}, disk not free'),
      ('manager error', 'Network of instance not found, status 404 returned'),
      ('event', 'Power event received: VM resumed'),
      ('event', 'Power event received, instance is not on the hypervisor'),
      ('claims', 'Claim failed: memory limit exceeded, {claimed} MB used'),
    ),
    '1643649d-2f42-4303-bfcd-7798baec19f9': (
      ('manager warning', 'Connection of hypervisor to instance lost, power state unknown'),
      ('manager error', 'Build of instance failed: disk limit exceeded'),
      ('event', 'Power event received: VM started'),
      ('driver error', 'Instance stopped after {seconds} seconds, spawning not complete'),
      ('manager', 'Build of instance and network complete, {tens} seconds'),
    ),
  }.items()
}
