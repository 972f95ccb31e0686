"""A whole run on any number of devices ends alike, and may change that number on its way."""

import signal

import pytest
from calls import assert_same_up_to_rounding, ended, left, start, wait_for_epochs

pytest_plugins = ['tiny_runs']
pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def on_one_device(runs, tmp_path_factory):
  """What a run on one device leaves."""
  workdir = tmp_path_factory.mktemp('devices') / 'one'
  code, _, err = ended([start(runs, workdir)])[0]
  assert code == 0, err
  return left(runs, workdir)


@pytest.mark.parametrize('devices', [2, 3, 4, 8])
def test_all_phases_end_alike_on_any_number_of_devices(runs, on_one_device, tmp_path, devices):
  code, _, err = ended([start(runs, tmp_path / 'run', devices=devices)])[0]
  assert code == 0, err
  ours = left(runs, tmp_path / 'run')
  assert ours[0]['device'].startswith(f'{devices} x ')
  assert_same_up_to_rounding(ours, on_one_device)


def test_a_run_that_was_stopped_goes_on_with_other_numbers_of_devices(
  runs, on_one_device, tmp_path
):
  for epochs, devices in ((2, 8), (5, 1), (7, 4)):
    process = start(runs, tmp_path / 'run', devices=devices)
    wait_for_epochs(tmp_path / 'run', epochs, process)
    process.send_signal(signal.SIGTERM)
    code, _, err = ended([process])[0]
    assert code == 143, err
  code, _, err = ended([start(runs, tmp_path / 'run', devices=2)])[0]
  assert code == 0, err
  assert_same_up_to_rounding(left(runs, tmp_path / 'run'), on_one_device)
