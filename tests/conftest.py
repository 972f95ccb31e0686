"""Every test sees 4 simulated CPU devices, and the shared logs where there are any."""

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent

hypothesis.settings.register_profile('logjax', deadline=None)  # machines may be busy
hypothesis.settings.load_profile('logjax')

# JAX reads these when it is first imported, which no test module has done yet.
DEVICES = '--xla_force_host_platform_device_count'
if DEVICES not in os.environ.get('XLA_FLAGS', ''):
  os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} {DEVICES}=4'.strip()
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
# Compiled programs outlive the run: most of a test's time is compilation.
CACHE = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache')
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(CACHE / 'logjax' / 'jax'))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0')


@pytest.fixture(scope='session')
def shared_data() -> Path:
  """Folder of real logs: $LOGJAX_TEST_DATA, or shared/data beside the repository."""
  named = os.environ.get('LOGJAX_TEST_DATA')
  folder = Path(named) if named else ROOT.parent / 'shared' / 'data'
  if not folder.is_dir():
    pytest.skip(f'no real logs: {folder} does not exist (set LOGJAX_TEST_DATA)')
  return folder


@pytest.fixture
def small_disk(tmp_path):
  """Mounts a file system of so many kB, and says how to make it larger."""
  folder = tmp_path / 'disk'

  def mount(kilobytes: int) -> tuple[Path, Callable]:
    folder.mkdir()
    options = ['mount', '-t', 'tmpfs', '-o', f'size={kilobytes}k', 'tmpfs', str(folder)]
    if shutil.which('mount') is None or subprocess.run(options, capture_output=True).returncode:
      pytest.skip('no right to mount a small file system')
    larger = ['mount', '-o', 'remount,size=100m', str(folder)]
    return folder, lambda: subprocess.run(larger, check=True)

  yield mount
  if folder.is_mount():
    subprocess.run(['umount', str(folder)], check=True)


@pytest.fixture(autouse=True, scope='module')
def _compiled_programs_are_freed():
  """Frees a module's compiled programs after it.

  Each holds memory mappings, of which Linux allows a process 65,530: those of the whole suite are
  more, and the compiler then crashes.
  """
  yield
  if 'jax' in sys.modules:
    sys.modules['jax'].clear_caches()
    gc.collect()
