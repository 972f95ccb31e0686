"""Messages in the style of a large cluster's syslog; `simulated/__init__.py` explains the parts."""

FILE = 'Thunderbird.log'
START = 1_131_523_200_000_000  # 2005-11-09 00:00 at the machine, in microseconds since 1970 UTC
UTC_OFFSET_HOURS = -8
SECONDS_PER_LINE = 2.5

_ORIGINS = {
  'node': ('{compute}', '{compute}/{compute}'),
  'admin': ('{admin}', 'src@{admin}'),
  'local': ('{admin}', 'local@{admin}'),
  'fabric': ('{manager}', 'src@{manager}'),
  'masked': ('#{site}#', '#{site}#/#{site}#'),
}
HEADS = {
  source: f'{{label}} {{epoch}} {{date}} {node} {{month}} {{day}} {{clock}} {origin}'
  for source, (node, origin) in _ORIGINS.items()
}

STICKY = {
  'compute': '{rack}{position}',
  'admin': '{admin_node}',
  'manager': 'tbird-sm{one_or_two}',
  'site': '{site_number}',
  'pid': '{process}',
}

SLOTS = {
  'rack': ('bn', 'dn', 'an', 'cn', 'en'),
  'position': range(1, 1024),
  'admin_node': ('tbird-admin1', 'aadmin1', 'badmin1', 'cadmin1', 'dadmin1', 'eadmin1', 'aadmin2'),
  'one_or_two': ('1', '2'),
  'site_number': range(1, 21),
  'process': range(900, 32_000),
  'bit': range(2),
  'octal': range(8),
  'small': range(1, 33),
  'count': range(1, 400),
  'large': range(10_000, 4_000_000),
  'port': range(32_768, 61_000),
  'line': range(100, 2400),
  'seconds': range(1, 600),
  'percent': range(1, 100),
  'degrees': '{tens}.{octal}',
  'tens': range(10, 48),
  'byte': range(1, 255),
  'ip': '10.100.{byte}.{byte}',
  'mac': '00:11:43:{hex2}:{hex2}:{hex2}',
  'guid': '0x0005ad00{hex8}',
  'address': '0x{hex16}',
  'sector': range(1_000_000, 140_000_000),
  'disk': ('sda', 'sdb', 'hda', 'sdc'),
  'partition': '{disk}{octal}',
  'interface': ('eth0', 'eth1', 'ib0'),
  'user': ('root', 'mhaas', 'pdiallo', 'rkim', 'svoboda', 'tmoreau'),
  'program': ('xhpl', 'salinas', 'lmp_tbird', 'presto', 'mpiexec', 'alegra3d'),
  'path': '/scratch{one_or_two}/{user}/{program}.{line}',
  'server': ('/projects', '/home', '/apps', '/scratch1', '/scratch2'),
  'source': ('sm_sweep.c', 'sm_discovery.c', 'sm_routing.c', 'sm_trap.c'),
  'job': range(1000, 99_000),
}

NORMAL = {
  'always': (
    ('local', 'gmetad[{pid}]: data thread got no answer from source {program}, try again'),
    ('node', 'ntpd[{pid}]: time synchronized to {ip}, stratum {octal}'),
    ('fabric', 'ib_sm.x[{pid}]: [{source}:{line}]: failed to get node info, no response'),
    ('node', 'kernel: scsi{octal}: command on {disk} timed out, retry succeeded'),
    ('admin', 'sshd[{pid}]: accepted key for {user} from ::ffff:{ip} port {port}'),
    ('node', 'crond(pam_unix)[{pid}]: session opened for user {user} by (uid={octal})'),
    ('node', 'snmpd[{pid}]: trap received from peer on fd {small}'),
    ('fabric', 'ib_sm.x[{pid}]: [{source}:{line}]: port {small} of node {guid} is in INIT state'),
    ('admin', 'dhcpd: request for {ip} from {mac} via {interface}: no free lease'),
    ('node', 'kernel: EXT3-fs: journal of {partition} recovered, file system not damaged'),
    ('node', 'pbs_mom[{pid}]: job {job} finished, exit status {octal}, no process left'),
    (
      'node',
      'Server Administrator: Instrumentation Service EventID: 1052 Temperature sensor returned to '
      'a normal value, sensor location: chassis {small} ambient, previous state was warning, '
      'value {degrees}, limit {degrees}',
    ),
    ('masked', 'crond[{pid}]: ({user}) CMD (run-parts /etc/cron.hourly)'),
    ('node', 'kernel: nfs: server {ip} not responding, still trying'),
    ('node', 'kernel: CPU{octal}: machine check poll finished, {bit} event(s) logged'),
    ('admin', 'postfix/postdrop[{pid}]: warning: mail queue file write failed, {percent} % full'),
    ('node', 'kernel: {interface}: link is up, {count} Mbps, flow control on'),
    ('node', 'pbs_mom[{pid}]: connection to server {ip} lost, connected again'),
    ('node', 'kernel: ib_tavor{bit}: port {octal} error counters read, local event {small}'),
    ('admin', 'xinetd[{pid}]: START: auth pid={process} from={ip}'),
    ('node', 'kernel: out of free pages for cache, {large} kB freed, no process killed'),
    ('fabric', 'ib_sm.x[{pid}]: [{source}:{line}]: new sweep of subnet, {count} nodes, no change'),
    ('node', 'smartd[{pid}]: device {disk}, temperature {tens} C, no failed attribute'),
    ('node', 'kernel: {disk}: read error corrected at sector {sector}'),
    ('admin', 'sshd[{pid}]: authentication failed for user {user} from ::ffff:{ip}'),
    ('node', 'mpiexec[{pid}]: task {count} of job {job} aborted by signal {small}, {program}'),
    ('node', 'kernel: md: disk {partition} joined the array after it failed'),
    ('node', 'ntpd[{pid}]: can not reach {ip}, time not synchronized for {seconds} s'),
    ('admin', 'dhcpd: lease of {ip} to {mac} acknowledged via {interface}'),
    ('node', 'kernel: {program}[{process}]: segfault at {address} rip {address} error {octal}'),
    ('node', 'portmap[{pid}]: connect from {ip} to getport(nfs): request from local port'),
    ('node', 'kernel: memory: {large} kB available, {bit} bad pages, {octal} banks'),
    ('admin', 'logger: health check of {user}: {count} nodes up, {octal} nodes down'),
    ('node', 'syslog-ng[{pid}]: connection broken to {ip}:{port}, reopening in {seconds} s'),
    ('node', 'kernel: ACPI: interrupt link {octal} enabled at IRQ {small}, level, low'),
    ('node', 'kernel: CPU{octal}: temperature below threshold, clock speed normal'),
    ('node', 'automount[{pid}]: {server} mounted from {ip}, attempt {octal}'),
    ('node', 'kernel: ECC: single bit error on bank {octal} row {small} corrected, memory OK'),
    ('admin', 'sudo: {user} : command not allowed ; PWD={server} ; USER=root ; {path}'),
    ('node', 'pbs_mom[{pid}]: node health script returned status {bit}, node free'),
    ('masked', 'sendmail[{pid}]: to={user}, delay={seconds}, stat=Deferred: connection refused'),
    ('node', 'kernel: {disk}: write cache enabled, {sector} sectors'),
    ('node', 'fsck: {partition}: clean, {large} files, {sector} blocks'),
    ('admin', 'in.tftpd[{pid}]: boot image read by {ip}, {large} bytes sent'),
    ('node', 'kernel: process {program} killed by user {user}, memory freed'),
    (
      'node',
      'kernel: interrupts of CPU{octal}: timer {large} keyboard {bit} disk {large} network '
      '{large} link events {large} machine check exception {bit} double bit {bit} '
      'corrected errors {octal} read errors {octal} write errors {bit} bus errors {bit} '
      'lost ticks {octal} local timer '
      '{large} rescheduled {large} memory pages free {large} swap pages free {large} processes '
      '{count} threads {count}',
    ),
  ),
  'early': (
    ('node', 'kernel: booting processor {octal}, stack address {address}'),
    ('node', 'network: interface {interface} brought up, address {ip}'),
    ('node', 'kernel: BIOS map: {address} - {address} usable memory'),
    ('admin', 'dhcpd: no free address on network of {interface}, node {mac} not known'),
    ('node', 'rc.sysinit: swap on {partition} enabled, {large} kB'),
    ('fabric', 'ib_sm.x[{pid}]: [{source}:{line}]: standby manager {guid} found, priority {small}'),
  ),
  'late': (
    ('node', 'kernel: ib_tavor{bit}: new firmware {octal}.{small} loaded, adapter reset'),
    ('admin', 'logger: rack {small} drained for service, {count} jobs moved'),
    ('node', 'automount[{pid}]: {server} not busy, unmounted after {seconds} s'),
    ('node', 'kernel: lustre: {ip} reconnected to {server}, {count} requests resent'),
    ('node', 'kernel: {partition}: remounted read-only by user {user}'),
    ('fabric', 'ib_sm.x[{pid}]: [{source}:{line}]: routing table of switch {guid} rebuilt'),
    ('node', 'kernel: lustre: lock of {server} cancelled, {small} threads waiting'),
    ('node', 'ipmi[{pid}]: fan {octal} speed {line} rpm, power supply OK, voltage normal'),
    ('node', 'pbs_mom[{pid}]: job {job} restarted from checkpoint file {path}'),
  ),
}

ABNORMAL = {
  'always': (
    ('VAPI', 'node', 'kernel: ib_tavor{bit}: local event failed, error {small} on port {octal}'),
    ('DISK', 'node', 'kernel: scsi{octal}: command on {disk} timed out, retry failed'),
    ('ECC', 'node', 'kernel: ECC: double bit error on bank {octal} row {small}, not corrected'),
    ('NFS', 'node', 'kernel: nfs: still trying, server {ip} not responding'),
    (
      'EXT_FS',
      'node',
      'kernel: EXT3-fs: journal of {partition} not recovered, file system damaged',
    ),
    ('CPU', 'node', 'kernel: CPU{octal}: lost {small} timer ticks, clock not synchronized'),
    ('PBS_CON', 'node', 'pbs_mom[{pid}]: connection to server {ip} refused, attempt {octal}'),
    ('MPT', 'node', 'kernel: {disk}: read error at sector {sector}, sector lost'),
    ('OOM', 'node', 'kernel: out of memory: killed process {process} ({program})'),
    ('PBS_BFD', 'node', 'pbs_mom[{pid}]: bad fd {small}, job {job} lost'),
    ('MCE', 'node', 'kernel: CPU{octal}: machine check exception {address} on bank {octal}'),
    ('IBPORT', 'fabric', 'ib_sm.x[{pid}]: [{source}:{line}]: port {small} of {guid} in bad state'),
    ('RAID', 'node', 'kernel: md: disk {partition} failed after it joined the array'),
    ('LINK', 'node', 'kernel: {interface}: link is down, flow control on port {octal} lost'),
    ('MPI', 'node', 'mpiexec[{pid}]: job {job} aborted: no response from task {count}'),
    ('NTP', 'node', 'ntpd[{pid}]: clock of {ip} broken, time lost {seconds} s'),
    ('SMART', 'node', 'smartd[{pid}]: device {disk}, failed attribute {count}, value {small}'),
    ('MOUNT', 'node', 'automount[{pid}]: {server} from {ip} failed, request timed out'),
    ('MAIL', 'masked', 'sendmail[{pid}]: queue full, write of file failed, delay={seconds}'),
    ('SENSOR', 'node', 'Server Administrator: sensor of chassis {small} failed, value {degrees}'),
    (
      'OOPS',
      'node',
      'kernel: bad address {address} in process {program}: stack {address} {address} {address} '
      '{address} {address} {address} {address} {address} {address} {address} {address} {address} '
      '{address} {address} {address} {address} {address} {address} {address} {address} {address} '
      '{address} {address} {address} {address} {address} {address} {address} {address} {address} '
      '{address} {address} {address} {address} error {octal} CPU{octal} process {process} killed',
    ),
  ),
  'early': (
    ('BOOT', 'node', 'kernel: processor {octal} not responding, booting aborted'),
    ('SWAP', 'node', 'kernel: swap on {partition}: read error, {large} kB lost'),
    ('DHCP', 'admin', 'dhcpd: network of {interface} down, {count} nodes not free'),
    ('IBSM', 'fabric', 'ib_sm.x[{pid}]: [{source}:{line}]: manager {guid} lost, standby not found'),
    ('ACPI', 'node', 'kernel: ACPI: interrupt {small} lost, IRQ not enabled'),
    ('BIOS', 'node', 'kernel: BIOS map: bad memory at {address}, bank {octal} not usable'),
    ('TFTP', 'admin', 'in.tftpd[{pid}]: boot image sent to {ip} damaged, {large} bytes lost'),
    ('AUTH', 'admin', 'sshd[{pid}]: authentication server {ip} not responding, {user} refused'),
  ),
  'late': (
    ('LUSTRE', 'node', 'kernel: lustre: {ip} lost connection to {server}, {count} requests failed'),
    ('FIRM', 'node', 'kernel: ib_tavor{bit}: adapter reset failed, firmware not responding'),
    ('ROFS', 'node', 'kernel: {partition}: file system error, remounted read-only'),
    ('LOCK', 'node', 'kernel: lustre: lock of {server} not cancelled, {small} threads killed'),
    ('FAN', 'node', 'ipmi[{pid}]: fan {octal} down, speed {octal} rpm, below threshold'),
    ('POWER', 'node', 'ipmi[{pid}]: power supply {bit} lost, voltage below limit'),
    ('ROUTE', 'fabric', 'ib_sm.x[{pid}]: [{source}:{line}]: routing table of {guid} damaged'),
    ('CHKPT', 'node', 'pbs_mom[{pid}]: checkpoint file {path} damaged, job {job} not restarted'),
    ('HEALTH', 'node', 'pbs_mom[{pid}]: node health script failed, status {small}, node down'),
    ('BUS', 'node', 'kernel: bus error on link {octal}, event 0x{hex8} not acknowledged'),
    ('SEGV', 'node', 'pbs_mom[{pid}]: segfault in health script, process {process} aborted'),
    ('HEAT', 'node', 'kernel: CPU{octal}: temperature at limit, clock speed low'),
  ),
}
