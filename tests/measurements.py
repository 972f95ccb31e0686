"""What metrics.jsonl says but for the machine: seconds and memory, other ones in every call."""

import json
from pathlib import Path


def reproducible(workdir: Path) -> list[dict]:
  """Its lines, each without `machine`, which every one must have."""
  lines = [json.loads(line) for line in (workdir / 'metrics.jsonl').read_text().splitlines()]
  for line in lines:
    del line['machine']
  return lines
