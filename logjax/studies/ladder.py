"""The ladder: the effect of each leak of the paper's protocol on its numbers.

One corpus is run with all seven leaks, then with one leak less at a time in the order of `LEAKS`,
until none is left. Only consequences of the removed leak change with it:

  synthetic_in_test      generated rows balance the training rows, no longer the whole log
  oversampler_sees_test  all repetitions use one split, no longer a split each
  label_routed_encoder   the classifier sees the output of both autoencoders, no longer of one

The last step removes random_split. A split in order of time cannot keep equal texts apart, so some
test rows have known texts again. `honest_unseen` measures the same run on the other test rows.

Every step has a control: the same run with the labels given to other lines at random. There is
nothing to learn, so the control's distance from chance is the effect of the leaks alone.
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
from logjax.studies.subrun import SubRun, claim_study, common_blocks, run_once
from logjax.training import hosts
from logjax.training.progress import Progress
from logjax.training.stopping import Stopping

# Blocks of a run's results.json that are copied into its step.
_COPIED = (
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
  """Lists the runs from paper to honest, each with its name and its leaks."""
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
  """Runs every step that is not in the workdir yet and returns the content of ladder.json.

  `config.protocol` decides the readings of the paper's ambiguities and the sizes of the split. They
  are the same in all steps; only the leaks differ.

  Args:
    config: as in configs/default.py.
    workdir: of the ladder; every step has its own workdir in it.
    cache: the folder of simulated corpora.
    command: the command line, for ladder.json.
    stopping: of the process; None if no signal is answered.

  Raises:
    LogjaxError: the config sets a field that the ladder sets itself; or as `experiment.train`,
      after the name of the step.
  """
  if config.leaks or config.split.by != 'auto' or config.data.permute_labels:
    raise LogjaxError(
      '--mode=ladder takes the leaks away itself: leave --config.leaks, --config.split.by and '
      '--config.data.permute_labels out'
    )
  for _, leaks in steps():
    resolve(_config_of(config, leaks, False))  # finds an error of any step before the first run
  done = {}
  with claim_study(config, workdir), Progress().track('ladder', 2 * len(steps())) as advance:
    # The honest end first: a split that lacks a class is most likely there, and stops all early.
    for name, leaks in reversed(steps()):
      for control in (False, True):
        folder = workdir / 'steps' / (name.replace(' ', '_') + '_permuted' * control)
        step_config = _config_of(config, leaks, control)
        done[name, control] = run_once(step_config, folder, cache, command, stopping=stopping)
        advance(name + ', labels permuted' * control)
  blocks, draws = common_blocks([*done.values()], workdir), config.ladder.draws
  rows = [_row(name, leaks, done[name, False], done[name, True], draws) for name, leaks in steps()]
  rows.append(_unseen(done['honest', False], done['honest', True], draws))
  ladder = {
    'steps': rows,
    'protocol': config.protocol,
    'seed': config.seed,
    'ladder': config.ladder.to_dict(),
    'command': command,
    **blocks,
  }
  if hosts.first():
    write_json(workdir / 'ladder.json', ladder)
    (workdir / 'ladder.md').write_text(markdown(ladder))
    write_ladder(workdir, ladder)
  return ladder


def _config_of(
  config: ml_collections.ConfigDict, leaks: frozenset[str], control: bool
) -> ml_collections.ConfigDict:
  """Returns the configuration of one step, or of its control."""
  step = config.copy_and_resolve_references().unlock()
  step.leaks = ','.join(name for name in LEAKS if name in leaks) or 'none'
  step.data.permute_labels = control
  step.detector.repetitions = config.ladder.repetitions
  return step


def _row(
  name: str, leaks: frozenset[str], subrun: SubRun, control: SubRun, draws: int
) -> dict[str, Any]:
  """Makes one step of ladder.json."""
  return {
    'name': name,
    'leaks': [leak for leak in LEAKS if leak in leaks],
    **{block: subrun.results[block] for block in _COPIED},
    'permuted': _control(control.scores, draws),
    'seconds': sum(subrun.results['seconds'].values()),
  }


def _unseen(subrun: SubRun, control: SubRun, draws: int) -> dict[str, Any]:
  """Makes the last step: the honest run, measured on test rows with new texts.

  A text is new if no real training row has it.
  """
  scores = subrun.scores.of(~subrun.scores.seen)
  rows, abnormal = len(scores.abnormal), int(scores.abnormal.sum())
  missing = [
    word for word, count in (('abnormal', abnormal), ('normal', rows - abnormal)) if not count
  ]
  test = subrun.results['test_unseen']
  return {
    'name': UNSEEN,
    'leaks': [],
    'test': {'synthetic_rows': 0, **test},
    'test_real': test,
    'baselines': {
      name: evaluate_scores(scores.abnormal, of_baseline, scores.baseline_thresholds[name])
      for name, of_baseline in scores.baselines.items()
    },
    'permuted': _control(control.scores.of(~control.scores.seen), draws),
    'seen_text_share': 0.0,
    'why_undefined': f'no {" and no ".join(missing)} test row has a new text' if missing else '',
  }


def _control(scores: TestScores, draws: int) -> dict[str, Any]:
  """Returns the metrics of the control and those of chance, each with a 95 % interval over rows."""
  measured = (scores.abnormal, scores.scores, scores.thresholds)
  return interval_of(*measured, draws=draws) | chance_intervals(*measured, draws=draws)
