"""Messages in the style of a Blue Gene/L event log; `simulated/__init__.py` explains the parts."""

FILE = 'BGL.log'
START = 1_117_868_400_000_000  # 2005-06-04 00:00 at the machine, in microseconds since 1970 UTC
UTC_OFFSET_HOURS = -7
SECONDS_PER_LINE = 3.9

_NODES = {
  'KERNEL': 'compute',
  'APP': 'io',
  'LINKCARD': 'link',
  'DISCOVERY': 'card',
  'HARDWARE': 'card',
  'MONITOR': 'card',
  'MMCS': 'service',
}
_LEVELS = ('INFO', 'WARNING', 'ERROR', 'SEVERE', 'FATAL', 'FAILURE')
HEADS = {
  f'{component} {level}': (
    f'{{label}} {{epoch}} {{date}} {{{node}}} {{iso_date}}-{{dotted_clock}}.{{milli}}{{micro}} '
    f'{{{node}}} RAS {component} {level}'
  )
  for component, node in _NODES.items()
  for level in _LEVELS
}

STICKY = {
  'compute': 'R{rack}-M{bit}-N{board}-C:J{jack}-U{unit}',
  'io': 'R{rack}-M{bit}-N{board}-I:J18-U{unit}',
  'link': 'R{rack}-M{bit}-L{quarter}-U{jack}-C',
  'card': 'R{rack}-M{bit}-N{board}',
  'service': '{service_node}',
}


def _registers(count: int) -> str:
  return ' '.join(f'r{number}:{{address}}' for number in range(count))


SLOTS = {
  'rack': tuple(f'{row}{column}' for row in range(4) for column in range(8)),
  'board': tuple('0123456789ABCDEF'),
  'jack': tuple(f'{jack:02d}' for jack in range(2, 18)),
  'unit': ('11', '01'),
  'service_node': ('NULL', 'NULL', 'R00-M0-S', 'R10-M1-S'),
  'bit': range(2),
  'quarter': range(4),
  'octal': range(8),
  'small': range(1, 33),
  'count': range(1, 400),
  'large': range(10_000, 4_000_000),
  'job': range(100, 9000),
  'pid': range(300, 32_000),
  'port': range(32_768, 61_000),
  'milliseconds': range(20, 9000),
  'volts': '1.{tenths}',
  'tenths': range(2, 10),
  'degrees': range(24, 71),
  'rpm': range(1900, 6200),
  'byte': range(1, 255),
  'ip': '172.16.{byte}.{byte}',
  'address': '0x{hex8}',
  'mask': ('0x01', '0x02', '0x04', '0x08', '0x10', '0x20', '0x40', '0x80'),
  'dcr': '0x0{hex3}',
  'axis': ('x+', 'x-', 'y+', 'y-', 'z+', 'z-'),
  'user': ('imai', 'okafor', 'lindqvist', 'ferrand', 'novak', 'tanaka'),
  'project': ('plasma', 'lattice', 'wakefield', 'enzo2', 'shockwave', 'md_large'),
  'program': ('run.rts', 'solver', 'lattice3d', 'wake_opt', 'driver.440'),
  'path': '/bgl/home/{user}/{project}/{program}',
  'folder': '/p/gb{octal}/{user}/{project}_{job}',
  'partition': ('R000_J102_32', 'R01_M0', 'R11_J107_128', 'R22_512', 'R30_M1', 'R33_J208_64'),
  'registers': _registers(8),
}

NORMAL = {
  'always': (
    ('KERNEL INFO', 'core.{job} written after application error, {count} pages'),
    ('KERNEL INFO', 'instruction cache parity error detected and corrected'),
    ('KERNEL INFO', '{large} double-hummer alignment interrupts handled'),
    ('KERNEL FATAL', 'interrupt state saved: address {address} status {address}'),
    ('APP FATAL', 'ciod: failed to load {path}: no such file on the host'),
    ('KERNEL INFO', 'ddr symbol error on rank {bit}, symbol {small}, bit {octal}, corrected'),
    ('KERNEL INFO', '{count} L3 EDRAM error(s) (dcr {dcr}) detected and corrected'),
    ('KERNEL FATAL', 'floating point unit: interrupt enable {bit}, data exception enable {bit}'),
    ('KERNEL WARNING', 'data TLB miss on page {address}, entry {small} replaced'),
    ('APP INFO', 'ciod: message from {ip}:{port} read, control stream idle'),
    ('KERNEL FATAL', 'machine check enable {bit}, critical input interrupt enable {bit}'),
    ('KERNEL INFO', 'torus receiver {axis}: {count} packet(s) failed checksum, retry succeeded'),
    ('APP ERROR', 'ciod: chdir({folder}) failed, reason: file system not mounted'),
    ('KERNEL INFO', 'L3 directory error on bank {octal}: retry succeeded'),
    ('KERNEL FATAL', 'registers {registers}'),
    ('LINKCARD INFO', 'link {octal}: bit sparing on port {small}, no data lost'),
    ('KERNEL WARNING', 'torus sender {axis} retry limit not reached, packet sent'),
    ('KERNEL INFO', 'rts: kernel internal timer set, {milliseconds} ms to stop'),
    ('MONITOR WARNING', 'fan module {small} speed {rpm} rpm below limit, speed raised'),
    ('KERNEL FATAL', 'instruction address {address}, exception status {address}'),
    ('KERNEL INFO', 'tree receiver {octal} ready again after link failed'),
    ('APP FATAL', 'ciod: job {job} stopped by signal {small}: user program error'),
    ('KERNEL INFO', 'ddr scrub of rank {bit}: {count} correctable error(s), threshold not reached'),
    ('HARDWARE WARNING', 'power module {octal} is not in failed state, {volts} V'),
    ('APP ERROR', 'ciod: control stream closed before socket error, {ip}:{port}'),
    ('KERNEL ERROR', 'data storage interrupt: write to page {address} denied, program stopped'),
    ('MMCS INFO', 'block {partition} booted, {count} nodes, no node failed'),
    ('KERNEL INFO', 'prefetch depth {octal}, threshold {octal}, store gathering disabled'),
    ('DISCOVERY WARNING', 'node card not fully functional: expected {small} chips, found {small}'),
    ('KERNEL FATAL', 'rts: user assertion failed in {program}, job {job} not restarted'),
    ('MMCS INFO', 'job {job} of user {user} loaded on block {partition}, program {path}'),
    ('LINKCARD ERROR', 'link chip {small}: clock lost and found again, {milliseconds} ms'),
    ('KERNEL INFO', 'tree network checksum compared: sender {address} receiver {address}'),
    ('APP INFO', 'ciod: login of {user} from {ip} accepted, connection {port} open'),
    ('MONITOR INFO', 'temperature of node card {degrees} C, limit {degrees} C, fan speed {rpm}'),
    ('KERNEL SEVERE', 'program interrupt: illegal instruction at {address} in user code'),
    ('KERNEL INFO', 'ciod and kernel handshake timed out once, sent again to {ip}'),
    ('MMCS ERROR', 'database connection lost, reconnect to {ip} succeeded'),
    (
      'HARDWARE SEVERE',
      'power supply voltage {volts} V out of range for {milliseconds} ms, corrected',
    ),
    ('KERNEL FATAL', 'debug interrupt in user program {program}, wait state enable {bit}'),
    ('APP ERROR', 'ciod: write to {folder} failed: disk quota of {user} exceeded'),
    ('KERNEL INFO', 'scratch memory of {large} bytes allocated for message buffers at {address}'),
    ('MMCS INFO', 'mmcs_server restarted with parameters --reconnect-blocks all --limit {count}'),
    ('DISCOVERY INFO', 'service card {octal} found, clock and power present'),
    ('KERNEL WARNING', 'memory of node exhausted by program {path}, page {address} not allocated'),
    ('HARDWARE INFO', 'assembly 0x{hex12} replaced by the operator, problem report {job} closed'),
    (
      'KERNEL INFO',
      'counters at end of job {job}: interrupts {large} data misses {large} instruction misses '
      '{large} packets sent {large} packets lost {bit} packets read {large} checksum errors {bit} '
      'parity errors {bit} symbol errors {octal} double bit errors {bit} tree retries {count} '
      'torus retries {count} panic stops {bit} barrier waits {large} file reads {large} '
      'file writes {large} stream errors {octal} memory limit {large}',
    ),
  ),
  'early': (
    ('MMCS INFO', 'database schema {octal}.{octal} upgrade finished, no table is missing'),
    ('DISCOVERY WARNING', 'midplane {bit} restarted, cards not yet found: {small}'),
    ('KERNEL INFO', 'boot loader version {octal}.{small} loaded, image address {address}'),
    ('LINKCARD INFO', 'port {small} trained at {count} MHz, cable 0x{hex6}'),
    ('APP INFO', 'ciod: file system {folder} mounted from {ip}'),
    ('HARDWARE WARNING', 'clock module {octal} present, reference input lost at power on'),
    ('MONITOR INFO', 'fan module {small} installed, speed {rpm} rpm'),
  ),
  'late': (
    ('KERNEL INFO', 'new kernel image {address} accepted, {count} nodes wait to restart'),
    ('APP INFO', 'ciod: stream to {ip}:{port} moved to spare I/O node'),
    ('KERNEL WARNING', 'L2 prefetch buffer {octal} disabled after {count} parity errors'),
    ('MONITOR WARNING', 'ambient temperature {degrees} C above the limit, fan speed raised'),
    ('MMCS INFO', 'block {partition} reserved for service by {user}, jobs wait in queue'),
    ('KERNEL INFO', 'barrier {small} passed by {count} nodes in {milliseconds} ms'),
    ('DISCOVERY INFO', 'spare node card {address} found in place of failed one'),
    ('KERNEL ERROR', 'alignment exception at {address} not handled by user program, job stopped'),
    ('APP FATAL', 'ciod: program image {path} is invalid, job not loaded'),
  ),
}

ABNORMAL = {
  'always': (
    ('APPREAD', 'APP FATAL', 'ciod: failed to read message on control stream, {ip}:{port}'),
    ('KERNDTLB', 'KERNEL FATAL', 'data TLB error interrupt'),
    ('KERNSTOR', 'KERNEL FATAL', 'data storage interrupt: instruction address {address}'),
    ('APPSEV', 'APP SEVERE', 'ciod: stream of job {job} closed by {ip}, connection lost'),
    ('KERNPAR', 'KERNEL FATAL', 'instruction cache parity error detected and not corrected'),
    ('KERNTERM', 'KERNEL FATAL', 'rts: kernel stopped, reason code {small}, status {address}'),
    ('APPSOCK', 'APP FATAL', 'ciod: socket error before control stream closed, {ip}:{port}'),
    ('KERNMNTF', 'APP ERROR', 'ciod: file system {folder} lost, {ip} timed out'),
    ('KERNTOR', 'KERNEL ERROR', 'torus sender {axis} retry limit reached, packet not sent'),
    ('KERNDDR', 'KERNEL INFO', 'ddr: double symbol error on rank {bit}, threshold exceeded'),
    ('KERNRTSP', 'KERNEL FATAL', 'rts panic: wait state, stopped in kernel at {address}'),
    ('KERNTREE', 'KERNEL WARNING', 'link failed again after tree receiver {octal} ready'),
    ('LINKDISC', 'LINKCARD FAILURE', 'link chip {small}: clock lost, port {small} disabled'),
    ('KERNFPU', 'KERNEL SEVERE', 'floating point unit failed, status {address}, registers lost'),
    ('MONPOW', 'HARDWARE WARNING', 'power module {octal} is in failed state, {volts} V'),
    ('KERNL3', 'KERNEL INFO', 'L3 directory error on bank {octal}: retry failed'),
    ('APPALLOC', 'APP FATAL', 'ciod: no memory for message buffers of job {job}, {large} bytes'),
    ('KERNMC', 'KERNEL FATAL', 'machine check interrupt: critical input, address {address}'),
    ('APPLOGIN', 'APP INFO', 'ciod: login of {user} from {ip} denied, file system not ready'),
    ('MMCSBLK', 'MMCS ERROR', 'block {partition}: {count} nodes failed, not booted'),
    (
      'KERNBIT',
      'KERNEL INFO',
      '{count} correctable error(s) on symbol {small}, bit {octal} failed',
    ),
    (
      'KERNREG',
      'KERNEL FATAL',
      f'exception in kernel, registers {_registers(32)} address {{address}} status {{address}} '
      'stopped',
    ),
  ),
  'early': (
    ('KERNBOOT', 'KERNEL FATAL', 'boot image failed checksum at address {address}'),
    ('LINKPAP', 'LINKCARD FATAL', 'port {small} not trained, cable 0x{hex6} clock missing'),
    ('KERNHAND', 'KERNEL ERROR', 'kernel and ciod handshake timed out, {ip} not ready'),
    ('MONTEMP', 'MONITOR FAILURE', 'temperature {degrees} C exceeded limit, node card power lost'),
    ('APPCHILD', 'APP FATAL', 'ciod: program {path} not restarted after signal {small}'),
    ('MMCSDB', 'MMCS ERROR', 'database connection lost, reconnect to {ip} failed'),
    ('KERNSTAT', 'KERNEL SEVERE', 'internal timer stopped, {milliseconds} ms lost'),
    ('KERNMISS', 'KERNEL FATAL', 'instruction TLB miss: no entry for page {address}'),
  ),
  'late': (
    ('APPSPARE', 'APP FATAL', 'ciod: spare I/O node failed, stream to {ip}:{port} not moved'),
    ('KERNBUF', 'KERNEL FATAL', 'L2 prefetch buffer {octal} parity error, data lost'),
    ('KERNBARR', 'KERNEL ERROR', 'barrier {small} timed out: {count} nodes not found'),
    ('KERNRES', 'KERNEL INFO', 'new kernel image {address} invalid, restart denied'),
    ('MONFAN', 'MONITOR FAILURE', 'fan module {small} stopped, speed {octal} rpm'),
    ('KERNALGN', 'KERNEL SEVERE', 'alignment exception at {address} in kernel code'),
    ('KERNSYM', 'KERNEL WARNING', 'ddr scrub of rank {bit} stopped: threshold of {count} reached'),
    ('CARDLOST', 'DISCOVERY ERROR', 'node card {address} not found, power present'),
    ('KERNCOMP', 'KERNEL FATAL', 'checksum of sender {address} is not found at receiver {address}'),
    ('APPQUEUE', 'APP ERROR', 'ciod: message queue exceeded limit {count}, job {job} lost'),
    ('KERNILL', 'KERNEL FATAL', 'program interrupt: illegal instruction in kernel, {address}'),
    ('MMCSUSER', 'MMCS ERROR', 'service of block {partition} failed, jobs of {user} stopped'),
  ),
}
