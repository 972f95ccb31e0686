"""The parts of logjax import each other in one direction only."""

import ast
import graphlib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / 'logjax'


def imported(source: str) -> Iterator[str]:
  """Yields the modules that a source imports, wherever in it, by their full names.

  Of `from a import b` it is `a.b`: `b` may be a module.
  """
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      assert node.module and not node.level, 'imports are absolute'
      yield from (f'{node.module}.{alias.name}' for alias in node.names)


def graph(sources: Iterable[tuple[Path, str]]) -> dict[str, set[str]]:
  """Part -> the others that it imports; a part is a sub-package or a module beside them.

  Modules are parts too, or two packages could import each other through one.

  Args:
    sources: of modules, with their paths inside the package.
  """
  needs = defaultdict(set)
  for path, source in sources:
    own = path.parts[0].removesuffix('.py')
    for name in imported(source):
      package, _, rest = name.partition('.')
      part = rest.partition('.')[0]
      if package == 'logjax' and part not in ('', own):
        needs[own].add(part)
  return dict(needs)


def order(needs: dict[str, set[str]]) -> list[str]:
  """The parts, each after those that it imports; a CycleError where there is no such order."""
  return list(graphlib.TopologicalSorter(needs).static_order())


# The parts from the bottom up; a part imports parts of the layers below it only.
LAYERS = (
  ('errors', 'rules'),
  ('files',),
  ('corpora',),
  ('examples',),
  ('training',),
  ('models',),
  ('evaluation', 'seqgan'),
  ('settings',),
  ('run',),
  ('detectors', 'oversamplers', 'reports'),
  ('prepare',),
  ('experiment',),
  ('studies', 'benchmarks'),
  ('command_line',),
  ('main',),
)


def test_every_part_imports_the_layers_below_it_only():
  paths = sorted(PACKAGE.rglob('*.py'))
  needs = graph((path.relative_to(PACKAGE), path.read_text()) for path in paths)
  assert order(needs)
  height = {part: i for i, layer in enumerate(LAYERS) for part in layer}
  parts = {path.name.removesuffix('.py') for path in PACKAGE.iterdir()} - {
    '__init__',
    '__pycache__',
  }
  assert height.keys() == parts
  upwards = [
    (part, low) for part, lows in needs.items() for low in lows if height[low] >= height[part]
  ]
  assert not upwards


@pytest.mark.parametrize(
  'back',
  [
    'from logjax.detectors.nearest import score',
    'from logjax.detectors import nearest',
    'from logjax import detectors',
    'import logjax.detectors.nearest as simple',
    'def f():\n  from logjax.detectors import gru',
    'from logjax.beside import x',
  ],
)
def test_a_cycle_would_be_found(back):
  sources = [
    (Path('detectors/gru.py'), 'from logjax.evaluation.metrics import checked'),
    (Path('beside.py'), 'from logjax.detectors import gru'),
  ]
  assert order(graph(sources))[0] == 'evaluation'
  with pytest.raises(graphlib.CycleError):
    order(graph([*sources, (Path('evaluation/metrics.py'), back)]))
