"""What may see the test rows: nothing in the honest protocol, and with each leak what it names.

One log is run again with other messages and labels in its last fifth, which is the honest test
part; every array that is fitted must keep its bits. Then each leak is switched on alone.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from compiling import compiled_fast

from logjax import experiment
from logjax.detectors import autoencoder_gru
from logjax.detectors.autoencoder_gru import Detector
from logjax.examples.protocol import LEAKS
from logjax.examples.types import Data
from logjax.oversamplers import gan
from logjax.oversamplers.oversample import Oversampled
from logjax.run import Run, finished

pytest_plugins = ['tiny_runs']

NOVEL = 'quokka wombat'


class Rows(NamedTuple):
  """The rows of a run, before and after generation."""

  encoded: experiment.Encoded
  oversampled: Oversampled
  data: Data

  @property
  def examples(self):
    return self.data.examples

  @property
  def split(self):
    return self.data.split

  @property
  def inputs(self) -> np.ndarray:
    return self.examples.distinct.tokens[self.examples.index]

  @property
  def words(self) -> tuple[str, ...]:
    return self.data.encoder.vocabulary.tokens


def rows_of(run: Run) -> Rows:
  """Reads the log and oversamples, or restores what an earlier call left."""
  encoded = experiment.encode(run, experiment.read(run))
  oversampled = experiment.oversample(run, encoded)
  return Rows(encoded, oversampled, experiment.add_generated(run, encoded, oversampled))


class Fitted(NamedTuple):
  """Everything that a run fitted, and the rows that it fitted it on."""

  run: Run
  rows: Rows
  detector: Detector

  @property
  def parts(self) -> dict[str, Any]:
    """The fitted arrays by what they belong to."""
    made = self.rows.oversampled
    generated = made.distinct[made.index]
    parts = {'vocabulary': [np.array(self.rows.words)], 'generated': generated}
    if self.run.config.oversampler.name == 'seqgan':
      folder = self.run.workdir / 'oversampler'
      parts['generators'] = gan.restore(self.run.config, folder)._asdict()
    detector = self.detector
    return parts | {
      'autoencoders': detector.autoencoders,
      'features': (detector.mean, detector.scale),
      'classifiers': detector.classifiers,
      'thresholds': detector.thresholds,
      'training': detector.history,
    }

  def scores(self, *, flipped: bool = False) -> np.ndarray:
    """Scores of the test rows [R, N], or with every row's label turned round."""
    examples = self.rows.examples
    if flipped:
      examples = examples._replace(abnormal=~examples.abnormal)
    return autoencoder_gru.score(
      self.run.config,
      self.detector,
      examples,
      self.rows.split.test,
      key=self.run.keys['detector'],
    )


def differing(one: Fitted, other: Fitted) -> set[str]:
  """Names of the fitted parts that have not the same bits."""

  def bits(part: Any) -> list:
    return [(np.shape(x), np.asarray(x).tobytes()) for x in jax.tree.leaves(part)]

  assert one.parts.keys() == other.parts.keys()
  return {name for name in one.parts if bits(one.parts[name]) != bits(other.parts[name])}


@pytest.fixture(scope='module')
def fit(runs, tmp_path_factory):
  """Runs a config as far as the detector, or restores it where that was done before."""

  def fit(choice: str = 'bgl', workdir: Path | None = None, **fields: Any) -> Fitted:
    workdir = workdir or tmp_path_factory.mktemp('leaks') / 'workdir'
    run = runs.open(workdir, choice, **fields)
    if finished(run, 'detector') is None:
      with pytest.MonkeyPatch.context() as patch:
        patch.setattr(experiment, 'write_report', lambda workdir: None)
        runs.train(workdir, choice, **fields)
    return Fitted(run, rows_of(run), autoencoder_gru.restore(run.config, workdir / 'detector'))

  return fit


@pytest.fixture(scope='module')
def changed_log(runs, tmp_path_factory) -> Path:
  """The simulated log with new words and the opposite labels in its last fifth."""
  results = json.loads((runs.finished('bgl') / 'results.json').read_text())
  lines = Path(results['corpus']['path'][0]).read_text().splitlines()
  first = round(0.8 * len(lines))
  assert 0 < sum(line.startswith('- ') for line in lines[first:]) < len(lines) - first
  for i in range(first, len(lines)):
    label, _, rest = lines[i].partition(' ')
    lines[i] = f'{"KERNDTLB" if label == "-" else "-"} {rest} {NOVEL}'
  path = tmp_path_factory.mktemp('changed') / 'changed.log'
  path.write_text(''.join(f'{line}\n' for line in lines))
  return path


def test_in_the_honest_protocol_nothing_that_is_fitted_sees_the_test_rows(runs, fit, changed_log):
  before = fit(workdir=runs.finished('bgl'))
  after = fit(data__path=str(changed_log))
  test = after.rows.split.test
  assert before.rows.split.test.tolist() == test.tolist()
  assert (before.rows.examples.abnormal[test] != after.rows.examples.abnormal[test]).all()
  assert (before.rows.inputs[test] != after.rows.inputs[test]).any()
  assert differing(before, after) == set()
  assert set(before.parts) >= {'vocabulary', 'generators', 'autoencoders', 'classifiers'}


def test_in_the_paper_protocol_everything_that_is_fitted_sees_them(runs, fit, changed_log):
  before = fit('bgl,paper', workdir=runs.finished('bgl,paper'))
  after = fit('bgl,paper', data__path=str(changed_log))
  # The paper's threshold is one half, whatever the rows.
  assert differing(before, after) == set(before.parts) - {'thresholds'}
  assert set(NOVEL.split()) <= set(after.rows.words)


def test_in_the_honest_protocol_a_label_never_decides_how_its_row_is_scored(runs, fit):
  honest = fit(workdir=runs.finished('bgl'))
  paper = fit('bgl,paper', workdir=runs.finished('bgl,paper'))
  with compiled_fast():
    np.testing.assert_array_equal(honest.scores(flipped=True), honest.scores())
    assert (paper.scores(flipped=True) != paper.scores()).any()


@pytest.fixture(scope='module')
def without(fit, changed_log) -> Fitted:
  """No leak; real rows are repeated, which is the fastest oversampler."""
  return fit(data__path=str(changed_log), oversampler__name='random')


@pytest.fixture(scope='module')
def with_leak(runs, fit, changed_log, tmp_path_factory):
  """The same with one leak: as far as the rows, or with the detector too."""

  def with_leak(name: str, detector: bool = False) -> Fitted | Rows:
    fields = {
      'data__path': str(changed_log),
      'oversampler__name': 'random',
      'leaks': name,
    }
    if detector:
      return fit(**fields)
    run = runs.open(tmp_path_factory.mktemp('rows') / 'workdir', **fields)
    return rows_of(run)

  return with_leak


def same_before_generation(rows: Rows, base: Rows) -> bool:
  """Whether vocabulary, encoded rows and their sides are the same."""
  ours, theirs = rows.encoded, base.encoded
  return (
    ours.encoder == theirs.encoder
    and np.array_equal(ours.examples.distinct.tokens, theirs.examples.distinct.tokens)
    and np.array_equal(ours.examples.index, theirs.examples.index)
    and all(map(np.array_equal, ours.split, theirs.split))
  )


def test_synthetic_in_test_puts_generated_rows_on_every_side(with_leak, without):
  rows, base = with_leak('synthetic_in_test'), without.rows
  assert same_before_generation(rows, base)
  for side, ours, theirs in zip(rows.split._fields, rows.split, base.split, strict=True):
    assert rows.examples.generated[ours].any(), side
    assert base.examples.generated[theirs].any() == (side == 'train')
  # They balance the whole corpus, and without the leak the training rows.
  assert rows.examples.abnormal.mean() == 0.5
  assert base.examples.abnormal[base.split.train].mean() == 0.5


def test_oversampler_sees_test_generates_from_test_rows(with_leak, without):
  rows, base = with_leak('oversampler_sees_test'), without.rows
  assert same_before_generation(rows, base)

  def made_of_test_rows(rows: Rows) -> bool:
    examples = rows.encoded.examples
    inputs = examples.distinct.tokens[examples.index]
    here, there = (
      set(map(bytes, inputs[side[examples.abnormal[side]]]))
      for side in (rows.encoded.split.test, base.encoded.split.train)
    )
    return any(row in here - there for row in map(bytes, rows.oversampled.distinct))

  assert made_of_test_rows(rows) and not made_of_test_rows(base)


def test_vocabulary_from_all_knows_the_words_of_test_rows(with_leak, without):
  rows, base = with_leak('vocabulary_from_all'), without.rows
  assert all(map(np.array_equal, rows.encoded.split, base.encoded.split))
  ours, theirs = (set(r.words) for r in (rows, base))
  assert theirs < ours and set(NOVEL.split()) <= ours - theirs


def test_random_split_trains_on_lines_from_after_the_first_test_line(with_leak, without):
  rows, base = with_leak('random_split,duplicates_across_split'), without.rows

  def times(rows: Rows, side: str) -> np.ndarray:
    frame = rows.encoded.corpus.logs.frame
    return frame['time'].to_numpy()[getattr(rows.encoded.split, side)]

  assert times(base, 'train').max() <= times(base, 'test').min()
  assert times(rows, 'train').max() > times(rows, 'test').min()
  assert [len(s) for s in rows.encoded.split] == [len(s) for s in base.encoded.split]


def test_label_routed_encoder_trains_on_all_rows_and_scores_by_the_label(runs, with_leak, without):
  routed = with_leak('label_routed_encoder', detector=True)
  assert same_before_generation(routed.rows, without.rows)
  assert differing(routed, without) >= {'autoencoders', 'features', 'classifiers'}
  assert not differing(routed, without) & {'vocabulary', 'generated'}
  with compiled_fast():
    assert (routed.scores(flipped=True) != routed.scores()).any()
    np.testing.assert_array_equal(without.scores(flipped=True), without.scores())


def test_noise_on_test_changes_the_scores_and_no_autoencoder(runs, with_leak, without):
  noisy = with_leak('noise_on_test', detector=True)
  assert same_before_generation(noisy.rows, without.rows)
  changed = differing(noisy, without)
  assert 'training' in changed  # validation rows have noise too
  assert not changed & {'vocabulary', 'generated', 'autoencoders', 'features'}
  scores = {}
  with compiled_fast():
    for leaks in ('none', 'noise_on_test'):
      config = noisy.run.config.copy_and_resolve_references()
      config.leaks = leaks
      scores[leaks != 'none'] = noisy._replace(run=noisy.run._replace(config=config)).scores()
  assert (scores[True] != scores[False]).mean() > 0.9
  inputs = noisy.rows.inputs[noisy.rows.split.test]
  _, first, index = np.unique(inputs, axis=0, return_index=True, return_inverse=True)
  representative = first[index.reshape(-1)]
  # Without noise equal rows have equal scores, and with it each row has noise of its own.
  np.testing.assert_array_equal(scores[False], scores[False][:, representative])
  assert (scores[True] != scores[True][:, representative]).any()


def test_duplicates_across_split_has_equal_texts_on_both_sides_of_a_random_split(with_leak):
  def on_both_sides(rows: Rows) -> int:
    group, split = rows.encoded.examples.group, rows.encoded.split
    return len(np.intersect1d(group[split.train], group[split.test]))

  assert on_both_sides(with_leak('random_split,duplicates_across_split')) > 0
  alone = with_leak('random_split')
  assert on_both_sides(alone) == 0
  assert alone.encoded.by == 'text'


def test_duplicates_across_split_changes_no_array_of_a_split_by_time(with_leak, without):
  # A log in order of time has equal texts on both sides; results say how many, and how unseen
  # texts alone come out.
  assert differing(with_leak('duplicates_across_split', detector=True), without) == set()


def test_without_duplicates_generated_rows_are_on_the_side_of_their_text(with_leak):
  rows = with_leak('random_split,synthetic_in_test,oversampler_sees_test')
  group, generated = rows.examples.group, rows.examples.generated
  assert all(generated[side].any() for side in rows.split)
  sides = [set(group[side].tolist()) for side in rows.split]
  assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


def test_every_leak_has_its_test_here():
  named = {name for name in globals() if name.startswith('test_')}
  assert all(any(name.startswith(f'test_{leak}_') for name in named) for leak in LEAKS)


@pytest.mark.parametrize('by', ['time', 'random', 'text'])
def test_honest_repetitions_validate_on_the_same_rows(runs, tmp_path, by):
  """Rows drawn again would validate on rows that the autoencoders learned from."""
  run = runs.open(tmp_path / 'workdir', split__by=by, detector__repetitions=3)
  encoded = experiment.encode(run, experiment.read(run))
  repetitions = autoencoder_gru.repetition_splits(run.config, run.protocol, encoded.split)
  assert len(repetitions) == 3
  for split in repetitions:
    assert all(map(np.array_equal, split, encoded.split))


def test_the_papers_repetitions_draw_training_and_validation_rows_again(runs, tmp_path):
  run = runs.open(tmp_path / 'workdir', 'bgl,paper', detector__repetitions=3)
  encoded = experiment.encode(run, experiment.read(run))
  repetitions = autoencoder_gru.repetition_splits(run.config, run.protocol, encoded.split)
  trains = {split.train.tobytes() for split in repetitions}
  assert len(trains) == 3
  assert all(np.array_equal(split.test, encoded.split.test) for split in repetitions)
