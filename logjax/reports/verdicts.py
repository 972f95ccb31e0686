"""Sentences about a run: its detector, its baselines, its control and its generated rows."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from logjax.reports.table import Cell
from logjax.reports.wording import bracketed, count, leaf, listed, number, readable

_DECIDING = {'abnormal_f1': 'abnormal F1', 'auprc': 'AUPRC'}
CHANCE = (
  'Chance is where 95 % of these metrics lie when the labels of the test rows are given to other '
  'test rows at random.'
)
PERMUTED_ROWS = (
  'Labels are permuted by row, so that equal texts get different labels. This control cannot see '
  'leaks that act through known texts (random_split, duplicates_across_split, vocabulary_from_all, '
  'noise_on_test): a control at chance does not prove that there is no leak.'
)
TWO_SAMPLE = (
  'Real abnormal rows of validation and test can differ from those of train, so that even repeated '
  'training rows are separated from them: compare with the value of the oversampler random on the '
  'same log, not with 0.5.'
)


class Baseline(NamedTuple):
  """Names of a baseline of results.json.

  Attributes:
    title: at the head of a column or a row.
    phrase: within a sentence.
    about: its method in a few words.
  """

  title: str
  phrase: str
  about: str


BASELINES = {
  'majority': Baseline('Majority class', 'the majority class', 'one answer for all rows'),
  'unseen': Baseline(
    'Unseen text flagged', 'flagging unseen text', 'abnormal is a text of no normal training row'
  ),
  'lookup': Baseline(
    'Text lookup', 'the text lookup', 'share of abnormal among the training rows of the same text'
  ),
  'nearest': Baseline(
    '1-nearest neighbour',
    'the nearest neighbour',
    'label of the training text that shares most words',
  ),
  'tfidf_lr': Baseline(
    'TF-IDF with logistic regression',
    'TF-IDF with logistic regression',
    'words and pairs of words, weighed',
  ),
  'random_forest': Baseline(
    'TF-IDF with random forest', 'TF-IDF with a random forest', 'words and pairs of words, in trees'
  ),
}


class Detector(NamedTuple):
  """The detector of a run in words.

  Attributes:
    title: its name for readers.
    kind: of its input: 'lines', 'sequences' or 'series'.
    source: a thing that a corpus of this kind consists of.
    example: a thing that gets a score.
  """

  title: str
  kind: str
  source: str
  example: str


_NOUNS = {
  'lines': ('log line', 'line'),
  'sequences': ('log line', 'sequence'),
  'series': ('point', 'window'),
}


def detector_of(results: Mapping[str, Any]) -> Detector:
  """Returns the detector of results.json; without a block `detector` it is autoencoder_gru."""
  block = results.get('detector') or {'title': 'Autoencoders and GRU', 'kind': 'lines'}
  title = block.get('title') or readable(block.get('name') or 'detector')
  title = title[:1].upper() + title[1:]
  kind = block.get('kind') if block.get('kind') in _NOUNS else 'lines'
  return Detector(title, kind, *_NOUNS[kind])


def baseline_of(name: str) -> Baseline:
  """Returns the names of a baseline; one without an entry in `BASELINES` is called by its key."""
  return BASELINES.get(name) or Baseline(readable(name), name, '')


def strongest(results: Mapping[str, Any]) -> list[tuple[Baseline, Mapping[str, Any]]]:
  """Returns the baselines and their metrics by falling abnormal F1, then AUPRC, undefined last."""
  baselines = [
    (baseline_of(name), metrics)
    for name, metrics in (results.get('baselines') or {}).items()
    if metrics
  ]

  def strength(baseline: tuple[Baseline, Mapping[str, Any]]) -> list[float]:
    values = [leaf(baseline[1], name) for name in _DECIDING]
    return [-1.0 if value is None else value for value in values]

  return sorted(baselines, key=strength, reverse=True)


def verdict(results: Mapping[str, Any]) -> str:
  """Compares the detector with its baselines by two metrics, a sentence for each; '' without any.

  A run has no interval for a difference, so no sentence calls a detector better. It says whether
  the difference is within one standard deviation of the repetitions.
  """
  baselines = strongest(results)
  if not baselines:
    return ''
  test, spread = results.get('test') or {}, results.get('test_std') or {}
  sentences = [
    _compare(title, leaf(test, name), leaf(spread, name), {b: leaf(m, name) for b, m in baselines})
    for name, title in _DECIDING.items()
  ]
  return ' '.join(
    [*sentences, 'These differences have no intervals; those of a comparison (mode=compare) have.']
  )


def _compare(
  metric: str,
  ours: float | None,
  deviation: float | None,
  baselines: Mapping[Baseline, float | None],
) -> str:
  """Returns one sentence on the differences between the detector and its baselines by a metric."""
  if ours is None:
    return f'By {metric} the detector cannot be compared: it is undefined.'
  far = 'more than one standard deviation ' if deviation else ''
  groups: dict[str, list[str]] = {
    f'{far}below': [],
    'within one standard deviation of' if deviation else 'equal to': [],
    f'{far}above': [],
    'not comparable with': [],
  }
  below, near, above, undefined = groups.values()
  for baseline, theirs in sorted(baselines.items(), key=lambda item: -(item[1] or 0)):
    if theirs is None:
      undefined.append(baseline.phrase)
    else:
      close = abs(ours - theirs) <= (deviation or 0)
      side = near if close else above if ours > theirs else below
      side.append(f'{baseline.phrase} ({number(theirs)})')
  clauses = [f'{words} {listed(names)}' for words, names in groups.items() if names]
  spread = f' ± {number(deviation)}' if deviation else ''
  return f'By {metric} the detector ({number(ours)}{spread}) is {"; ".join(clauses)}.'


def quality_words(quality: Mapping[str, Any]) -> str:
  """Returns sentences about `oversampler.quality` of results.json."""
  words = ''
  if quality.get('self_bleu') is not None:
    words += f' Their self-BLEU-4 is {number(quality["self_bleu"])}: 1 if all are alike.'
  separated = quality.get('two_sample') or {}
  if separated.get('auroc') is not None:
    words += (
      f' A classifier separates them from {count(separated["rows"])} other real abnormal rows with '
      f'an AUROC of {number(separated["auroc"])} {bracketed(separated["interval"])}. {TWO_SAMPLE}'
    )
  elif separated.get('why'):
    words += f' They were not compared with other real abnormal rows: {separated["why"]}.'
  return words


def control_cell(control: Mapping[str, Any] | None, metric: str) -> Cell:
  """Returns a metric of the control with its 95 % interval and that of chance as remarks."""
  control = control or {}
  own = bracketed(control.get(f'{metric}_interval'))
  chance = bracketed(control.get(f'{metric}_chance_interval'))
  remarks = [own] * bool(own) + [f'chance {chance}'] * bool(chance)
  return (number(control.get(metric)), *remarks)
