"""Whole runs still give the results that commit d026b0b gave, up to what rounding does to training.

Counts are exact. Metrics of a trained detector differ between machines: rounding differs, and a
long training magnifies it. On one machine the difference between two commits should be far smaller
than the tolerance here.
"""

import json
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from configs import bgl, thunderbird
from logjax import experiment
from logjax.run import open_run
from logjax.settings import resolve

FROZEN = json.loads((Path(__file__).parent / 'frozen_results.json').read_text())['runs']
TOLERANCE = {'thunderbird': 0.05, 'bgl_quick_honest': 0.02, 'bgl_quick_paper': 0.02}


def results_of(config: ConfigDict, tmp_path: Path) -> dict:
  run = open_run(resolve(config), tmp_path / 'run', tmp_path / 'cache')
  return experiment.train(run, 'the command')


def assert_near(ours, frozen, tolerance: float) -> None:
  if isinstance(frozen, dict):
    for name in frozen:
      assert_near(ours[name], frozen[name], tolerance)
  else:
    assert ours == pytest.approx(frozen, abs=tolerance)


def check(results: dict, name: str) -> None:
  frozen = FROZEN[name]
  for count in ('rows', 'abnormal_rows'):
    assert results['test'][count] == frozen[count]
  assert results['leaks'] == frozen['leaks']
  assert results['text'] == frozen['text']
  assert results['oversampler']['requested'] == frozen['requested']
  if 'synthetic_in_test' not in frozen['leaks']:
    assert results['split'] == frozen['split']
    assert results['seen_text_share'] == pytest.approx(frozen['seen_text_share'])
  assert_near(results['test'], frozen['test'], TOLERANCE[name])


@pytest.mark.slow
def test_the_quick_start_gives_the_frozen_results(tmp_path):
  check(results_of(thunderbird.get_config(), tmp_path), 'thunderbird')


@pytest.mark.slow
@pytest.mark.parametrize('protocol', ['honest', 'paper'])
def test_bgl_quick_on_real_lines_gives_the_frozen_results(tmp_path, shared_data, protocol):
  config = bgl.get_config('quick')
  config.data.path = str(shared_data / 'bgl' / 'BGL_100k.log')
  config.protocol = protocol
  check(results_of(config, tmp_path), f'bgl_quick_{protocol}')
