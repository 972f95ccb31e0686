"""The figures of the ladder and the leaderboard, drawn as those of the report are."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from logjax.reports.leaderboard_words import detector_title
from logjax.reports.plots import (
  FIRST,
  MUTED,
  SECOND,
  STYLE,
  THIRD,
  new_figure,
  to_svg,
)
from logjax.reports.wording import leaf

_DASHED = (0, (4, 3))
_ENDS = ('low', 'high', 'low_texts', 'high_texts')


def ladder(steps: Sequence[Mapping[str, Any]], title: str) -> Markup:
  """What each step of the ladder reaches, and its control, from the leakiest step downwards.

  The rungs are the steps; to the right is better. Abnormal F1 and AUROC are of the test rows; the
  control is the AUROC of the run with permuted labels with its 95 % interval; a grey band is the
  interval of chance.

  Args:
    steps: of ladder.json; whatever one of them has not, or None, is left out.
    title: what the figure shows; as in `plots.learning_curves`.

  Returns:
    An `<svg>` element.
  """
  with matplotlib.rc_context(STYLE | {'svg.hashsalt': title}):
    figure, axes = new_figure(7.2, 1.0 + 0.34 * len(steps))
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=_DASHED)
    lines = (
      ('abnormal F1', ('test', 'abnormal', 'f1'), SECOND, 's'),
      ('AUROC', ('test', 'auroc'), FIRST, 'o'),
      ('AUROC, labels permuted', ('permuted', 'auroc'), THIRD, 'D'),
    )
    for label, keys, colour, marker in lines:
      points = [(leaf(step, keys), place) for place, step in enumerate(steps)]
      points = [point for point in points if point[0] is not None]
      values, places = zip(*points, strict=True) if points else ((), ())
      axes.plot(values, places, color=colour, marker=marker, markersize=4, label=label)
    for place, step in enumerate(steps):
      for key, colour, width in (('chance_', MUTED, 9), ('', THIRD, 3)):
        ends = leaf(step, ('permuted', f'auroc_{key}interval'))
        if ends and None not in ends:
          axes.hlines(place, *ends, color=colour, linewidth=width, alpha=0.35, zorder=1)
    axes.set(xlim=(-0.02, 1.02), xlabel='0.5 is chance for AUROC')
    _rungs(axes, [str(step.get('name')) for step in steps])
    axes.legend(loc='lower center', bbox_to_anchor=(0.4, 1), ncols=3, frameon=False)
    return to_svg(figure, title)


def forest(table: Mapping[str, Any], title: str) -> Markup:
  """The entries of a leaderboard's table with their intervals, the best on top.

  F1 of both classes on the left, the normal one as a square; on the right the paired difference of
  abnormal F1 to the same detector without oversampling. A thick line is the interval over rows, a
  thin one that over texts. Rivals are hollow.

  Args:
    table: one of `make_leaderboard`'s tables.
    title: as in `plots.learning_curves`.

  Returns:
    An `<svg>` element.
  """
  entries = table['entries']
  with matplotlib.rc_context(STYLE | {'svg.hashsalt': title}):
    figure, axes = new_figure(8.4, 0.8 + 0.28 * len(entries))
    left, right = figure.add_gridspec(1, 2, width_ratios=(5, 3))
    axes.set_subplotspec(left)
    beside = figure.add_subplot(right)
    beside.patch.set_alpha(0)
    beside.axvline(0, color=MUTED, linewidth=1, linestyle=_DASHED)
    names = []
    for place, entry in enumerate(entries):
      rival = entry['kind'] == 'rival'
      name = detector_title(entry)
      names.append(name if rival else f'{name}, {entry["oversampler"]}')
      _whisker(axes, place, entry['metrics']['abnormal_f1'], MUTED if rival else SECOND, rival)
      normal = entry['metrics']['normal_f1']['mean']
      if normal is not None:
        face = 'none' if rival else FIRST
        edge = MUTED if rival else FIRST
        axes.plot(normal, place, 's', color=edge, markerfacecolor=face, markersize=3)
      difference = (entry['versus'].get('none') or {}).get('abnormal_f1')
      decided = 'none' in entry['wins'] or 'none' in entry['losses']
      _whisker(beside, place, difference, SECOND if decided else MUTED, False)
    axes.set_xlabel('abnormal F1 (squares: normal F1)')
    beside.set_xlabel('F1 less that of no oversampling')
    _rungs(axes, names)
    _rungs(beside, names)
    beside.tick_params(length=0, labelleft=False)
    return to_svg(figure, title)


def few_examples(
  curve: Mapping[str, Any], reference: Mapping[str, Any] | None, title: str
) -> Markup:
  """F1 of one method over how many abnormal rows it was trained on, with its intervals.

  Abnormal F1 is a line with two bands, over rows and, the paler, over texts; normal F1 a dotted
  line. The reference's abnormal F1 is a dashed one. All abnormal rows there are stand at the right
  end.

  Args:
    curve: one of `make_leaderboard`'s curves.
    reference: another one, such as the same detector without oversampling; None for none.
    title: as in `plots.learning_curves`.

  Returns:
    An `<svg>` element.
  """
  with matplotlib.rc_context(STYLE | {'svg.hashsalt': title}):
    figure, axes = new_figure(3.2, 2.2)
    if reference:
      x, mean, *_ = _points(reference, 'abnormal_f1')
      axes.plot(x, mean, color=MUTED, linewidth=1.2, linestyle=_DASHED)
    x, normal, *_ = _points(curve, 'normal_f1')
    axes.plot(x, normal, color=FIRST, linewidth=1.2, linestyle=':')
    x, mean, low, high, low_texts, high_texts = _points(curve, 'abnormal_f1')
    axes.fill_between(x, low_texts, high_texts, color=SECOND, alpha=0.12, linewidth=0)
    axes.fill_between(x, low, high, color=SECOND, alpha=0.18, linewidth=0)
    axes.plot(x, mean, 'o-', color=SECOND, linewidth=1.8, markersize=3.5)
    axes.set_xscale('log')
    labels = {
      point['trained_abnormal']: f'{point["trained_abnormal"]:.0f}'
      + ('' if point['abnormal_train'] else ' (all)')
      for point in curve['points']
    }
    axes.set_xticks(list(labels), list(labels.values()))
    axes.minorticks_off()
    axes.set(ylim=(-0.02, 1.02), xlabel='abnormal training rows', ylabel='F1')
    return to_svg(figure, title)


def _points(curve: Mapping[str, Any], metric: str) -> np.ndarray:
  """A curve's x, mean and ends over rows and texts, [6, points]; NaN, a gap, where undefined."""
  points = [
    (point['trained_abnormal'], *(point['metrics'][metric][name] for name in ('mean', *_ENDS)))
    for point in curve['points']
  ]
  return np.array(points, float).T


def _whisker(
  axes: Axes, place: int, value: Mapping[str, float | None] | None, colour: str, hollow: bool
) -> None:
  """A mean with its intervals on one rung; nothing where there is no mean."""
  if not value or value['mean'] is None:
    return
  ends = [value[name] for name in _ENDS]
  for pair, width in ((ends[:2], 2.4), (ends[2:], 0.9)):
    if None not in pair:
      axes.plot(pair, (place, place), color=colour, linewidth=width)
  face = 'none' if hollow else colour
  axes.plot(value['mean'], place, 'o', color=colour, markerfacecolor=face, markersize=5)


def _rungs(axes: Axes, names: Sequence[str]) -> None:
  """One line a name, the first on top."""
  axes.set_yticks(range(len(names)), names)
  axes.set_ylim(len(names) - 0.5, -0.5)
