"""The ladder: what each leak of the paper's protocol adds to its numbers.

One corpus is run with all seven leaks, then with one less at a time in the order of `LEAKS`, until
none is left. Nothing else changes but what a leak brings with it: generated rows balance the whole
log and not only the training rows (synthetic_in_test), each repetition draws its own training and
validation rows (oversampler_sees_test), the classifier sees one autoencoder's output and not both
(label_routed_encoder). The last step takes random_split away and lets equal texts back on both
sides, which a split in order of time cannot keep apart; `honest_unseen` is that run on the other
test rows alone. Beside each step stands its control, the same run with the labels given to
other lines at random: it has nothing to learn, so what it scores above chance is what the leaks are
worth alone.
"""

from pathlib import Path
from typing import Any

import ml_collections

from logjax.errors import LogjaxError
from logjax.evaluation.intervals import chance_intervals, interval_of
from logjax.evaluation.metrics import evaluate_scores
from logjax.evaluation.scores import TestScores
from logjax.examples.protocol import LEAKS
from logjax.files import write_json
from logjax.reports.ladder import markdown, write_ladder
from logjax.settings import resolve
from logjax.studies.subrun import Part, about_parts, claimed, do_part
from logjax.training import hosts
from logjax.training.progress import Progress
from logjax.training.stopping import Stopping

# What of a part's results.json stands in its step.
_TAKEN = (
  'test',
  'test_std',
  'test_real',
  'natural_precision',
  'baselines',
  'seen_text_share',
  'split',
  'oversampler',
)
UNSEEN = 'honest_unseen'


def steps() -> list[tuple[str, frozenset[str]]]:
  """The names of the runs from paper to honest, and the leaks of each."""
  left = list(LEAKS)
  ladder = [('paper', frozenset(left))]
  for name in LEAKS:
    left.remove(name)
    ladder.append((f'without {name}' if left else 'honest', frozenset(left)))
  return ladder


def run(
  config: ml_collections.ConfigDict,
  workdir: Path,
  cache: Path,
  command: str,
  *,
  stopping: Stopping | None = None,
) -> dict:
  """Runs every step that the workdir does not have yet and returns what is in ladder.json.

  `config.protocol` decides the readings of the paper's ambiguities and the shares of the split, the
  same in all steps; only leaks differ.

  Args:
    config: as in configs/default.py.
    workdir: of the ladder; each step has a folder in it, a workdir of its own.
    cache: where simulated corpora are kept.
    command: that started it.
    stopping: of the process; None where no signal is answered.

  Raises:
    LogjaxError: for a config that decides about leaks itself, and as a run does.
  """
  if config.leaks or config.split.by != 'auto' or config.data.permute_labels:
    raise LogjaxError(
      '--mode=ladder takes the leaks away itself: leave --config.leaks, --config.split.by and '
      '--config.data.permute_labels out'
    )
  for _, leaks in steps():
    resolve(_config_of(config, leaks, False))  # what does not fit a step is said before any is run
  done = {}
  with claimed(config, workdir), Progress().track('ladder', 2 * len(steps())) as advance:
    # The honest end first: its splits ask most of a log.
    for name, leaks in reversed(steps()):
      for control in (False, True):
        folder = workdir / 'steps' / (name.replace(' ', '_') + '_permuted' * control)
        part = do_part(
          _config_of(config, leaks, control), folder, cache, command, stopping=stopping
        )
        done[name, control] = part
        advance(name + ', labels permuted' * control)
  about, draws = about_parts([*done.values()], workdir), config.ladder.draws
  rows = [_row(name, leaks, done[name, False], done[name, True], draws) for name, leaks in steps()]
  rows.append(_unseen(done['honest', False], done['honest', True], draws))
  ladder = {
    'steps': rows,
    'protocol': config.protocol,
    'seed': config.seed,
    'ladder': config.ladder.to_dict(),
    'command': command,
    **about,
  }
  if hosts.first():
    write_json(workdir / 'ladder.json', ladder)
    (workdir / 'ladder.md').write_text(markdown(ladder))
    write_ladder(workdir, ladder)
  return ladder


def _config_of(
  config: ml_collections.ConfigDict, leaks: frozenset[str], control: bool
) -> ml_collections.ConfigDict:
  part = config.copy_and_resolve_references().unlock()
  part.leaks = ','.join(name for name in LEAKS if name in leaks) or 'none'
  part.data.permute_labels = control
  part.detector.repetitions = config.ladder.repetitions
  return part


def _row(name: str, leaks: frozenset[str], part: Part, control: Part, draws: int) -> dict[str, Any]:
  """One step of ladder.json."""
  taken = {key: part.results[key] for key in _TAKEN}
  return {
    'name': name,
    'leaks': [leak for leak in LEAKS if leak in leaks],
    **taken,
    'permuted': _control(control.scores, draws),
    'seconds': sum(part.results['seconds'].values()),
  }


def _unseen(part: Part, control: Part, draws: int) -> dict[str, Any]:
  """The last step: the honest run on those test rows alone whose text no real training row has."""
  rows = ~part.scores.seen
  abnormal = int(part.scores.abnormal[rows].sum())
  missing = [
    word
    for word, count in (('abnormal', abnormal), ('normal', int(rows.sum()) - abnormal))
    if not count
  ]
  test = part.results['test_unseen']
  return {
    'name': UNSEEN,
    'leaks': [],
    'test': {'synthetic_rows': 0, **test},
    'test_real': test,
    'baselines': {
      name: evaluate_scores(
        part.scores.abnormal[rows], scores[rows], part.scores.baseline_thresholds[name]
      )
      for name, scores in part.scores.baselines.items()
    },
    'permuted': _control(control.scores.of(~control.scores.seen), draws),
    'seen_text_share': 0.0,
    'why_undefined': f'no {" and no ".join(missing)} test row has a new text' if missing else '',
  }


def _control(scores: TestScores, draws: int) -> dict[str, Any]:
  """What the control reaches, with 95 % intervals over test rows, and those of chance itself."""
  measured = (scores.abnormal, scores.scores, scores.thresholds)
  return interval_of(*measured, draws=draws) | chance_intervals(*measured, draws=draws)
