"""The figures of the ladder and the leaderboard, in the style of `plots.py`."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from logjax.reports.leaderboard_words import method_title
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
  """Draws a row for each step of the ladder, the step with most leaks on top.

  A row has the abnormal F1 and the AUROC of the test rows. Below them are the AUROC of the run with
  permuted labels with its 95 % interval, and a grey band for the interval of chance.

  Args:
    steps: of ladder.json; a missing number is left out.
    title: as in `plots.learning_curves`.

  Returns:
    An `<svg>` element.
  """
  with matplotlib.rc_context(STYLE | {'svg.hashsalt': title}):
    figure, axes = new_figure(7.2, 1.0 + 0.34 * len(steps))
    axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=_DASHED)
    lines = (
      ('abnormal F1', 'test', 'abnormal_f1', SECOND, 's'),
      ('AUROC', 'test', 'auroc', FIRST, 'o'),
      ('AUROC, labels permuted', 'permuted', 'auroc', THIRD, 'D'),
    )
    for label, run, metric, colour, marker in lines:
      points = [(leaf(step.get(run), metric), place) for place, step in enumerate(steps)]
      points = [point for point in points if point[0] is not None]
      values, places = zip(*points, strict=True) if points else ((), ())
      axes.plot(values, places, color=colour, marker=marker, markersize=4, label=label)
    for place, step in enumerate(steps):
      for key, colour, width in (('chance_', MUTED, 9), ('', THIRD, 3)):
        ends = (step.get('permuted') or {}).get(f'auroc_{key}interval')
        if ends and None not in ends:
          axes.hlines(place, *ends, color=colour, linewidth=width, alpha=0.35, zorder=1)
    axes.set(xlim=(-0.02, 1.02), xlabel='0.5 is chance for AUROC')
    _name_rows(axes, [str(step.get('name')) for step in steps])
    axes.legend(loc='lower center', bbox_to_anchor=(0.4, 1), ncols=3, frameon=False)
    return to_svg(figure, title)


def forest(table: Mapping[str, Any], title: str) -> Markup:
  """Draws the entries of a leaderboard's table with their intervals, the best on top.

  F1 of both classes is on the left, the normal one as a square. On the right is the paired
  difference of abnormal F1 to the same detector without oversampling. A thick line is the interval
  over rows, a thin one that over texts. Baselines are hollow.

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
      baseline = entry['kind'] == 'baseline'
      name = method_title(entry)
      names.append(name if baseline else f'{name}, {entry["oversampler"]}')
      colour = MUTED if baseline else SECOND
      _whisker(axes, place, entry['metrics']['abnormal_f1'], colour, hollow=baseline)
      normal = entry['metrics']['normal_f1']['mean']
      if normal is not None:
        edge, face = (MUTED, 'none') if baseline else (FIRST, FIRST)
        axes.plot(normal, place, 's', color=edge, markerfacecolor=face, markersize=3)
      difference = (entry['versus'].get('none') or {}).get('abnormal_f1')
      decided = 'none' in entry['wins'] or 'none' in entry['losses']
      _whisker(beside, place, difference, SECOND if decided else MUTED)
    axes.set_xlabel('abnormal F1 (squares: normal F1)')
    beside.set_xlabel('F1 less that of no oversampling')
    _name_rows(axes, names)
    _name_rows(beside, names)
    beside.tick_params(length=0, labelleft=False)
    return to_svg(figure, title)


def few_examples(
  curve: Mapping[str, Any], reference: Mapping[str, Any] | None, title: str
) -> Markup:
  """Draws the F1 of one method over its number of abnormal training rows, with intervals.

  Abnormal F1 is a line with two bands, over rows and, paler, over texts. Normal F1 is a dotted
  line, the reference's abnormal F1 a dashed one. The right end is training on all abnormal rows.

  Args:
    curve: one of `make_leaderboard`'s curves.
    reference: another curve, such as the same detector without oversampling; None for none.
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
  """Returns x, mean, and the ends over rows and texts, [6, points]; NaN draws a gap."""
  points = [
    (point['trained_abnormal'], *(point['metrics'][metric][name] for name in ('mean', *_ENDS)))
    for point in curve['points']
  ]
  return np.array(points, float).T


def _whisker(
  axes: Axes,
  place: int,
  value: Mapping[str, float | None] | None,
  colour: str,
  hollow: bool = False,
) -> None:
  """Draws a mean with its intervals in one row; nothing without a mean."""
  if not value or value['mean'] is None:
    return
  ends = [value[name] for name in _ENDS]
  for pair, width in ((ends[:2], 2.4), (ends[2:], 0.9)):
    if None not in pair:
      axes.plot(pair, (place, place), color=colour, linewidth=width)
  face = 'none' if hollow else colour
  axes.plot(value['mean'], place, 'o', color=colour, markerfacecolor=face, markersize=5)


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
  """Names the rows, the first on top."""
  axes.set_yticks(range(len(names)), names)
  axes.set_ylim(len(names) - 0.5, -0.5)
