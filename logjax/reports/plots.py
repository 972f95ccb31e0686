"""The report's figures: inline SVG with the colours and the typeface of the page.

Matplotlib draws with stand-in colours. Afterwards these become CSS variables of the page, so that
one drawing serves light mode, dark mode and print. Text stays text.
"""

import io
import re
from collections.abc import Mapping, Sequence

import matplotlib
import polars as pl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Stand-in colour -> variable of head.html.jinja. SVG omits black, its default, so none is black.
_COLOURS = {
  '#010101': 'var(--muted)',
  '#010102': 'var(--rule)',
  '#010103': 'var(--normal)',
  '#010104': 'var(--abnormal)',
  '#010105': 'var(--ink)',
}
MUTED, RULE, FIRST, SECOND, THIRD = _COLOURS

STYLE = {
  'svg.fonttype': 'none',  # letters, not outlines
  'text.parse_math': False,  # a dollar sign in a name is a dollar sign
  'font.family': 'DejaVu Sans',  # comes with matplotlib and is wider than what the page uses
  'font.size': 8.5,
  'axes.edgecolor': RULE,
  'axes.labelcolor': MUTED,
  'axes.spines.top': False,
  'axes.spines.right': False,
  'axes.grid': True,
  'axes.axisbelow': True,
  'grid.color': RULE,
  'grid.linewidth': 0.5,
  'xtick.color': RULE,
  'xtick.labelcolor': MUTED,
  'ytick.color': RULE,
  'ytick.labelcolor': MUTED,
  'text.color': MUTED,
}


def learning_curves(curves: Mapping[str, pl.DataFrame], title: str) -> Markup:
  """Draws at most three curves over epochs: each run thin, the mean of the runs bold.

  Args:
    curves: name -> frame with the columns run, epoch and value; drawn in the colours --normal,
      --abnormal and --ink, in this order.
    title: a description for readers who cannot see the panel; unique on the page, because element
      ids begin with it.

  Returns:
    An `<svg>` element.
  """
  with matplotlib.rc_context(STYLE | {'svg.hashsalt': title}):
    figure, axes = new_figure(3.2, 2.0)
    for frame, colour in zip(curves.values(), (FIRST, SECOND, THIRD), strict=False):
      runs = frame.sort('epoch').partition_by('run', maintain_order=True)
      for run in runs if len(runs) > 1 else []:
        axes.plot(run['epoch'], run['value'], color=colour, linewidth=0.6, alpha=0.35)
      mean = frame.group_by('epoch').agg(pl.col('value').mean()).sort('epoch')
      style = 'o' if len(mean) == 1 else '-'  # a line through one point would be invisible
      axes.plot(mean['epoch'], mean['value'], style, color=colour, linewidth=1.8, markersize=4)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.set_xlabel('epoch')
    return to_svg(figure, title)


def precision_recall(
  precision: Sequence[float], recall: Sequence[float], chance: float | None, title: str
) -> Markup:
  """Draws the precision-recall curve of the abnormal class and, dashed, that of chance.

  Args:
    precision: [K].
    recall: [K], ascending.
    chance: the precision of guessing, equal to the share of abnormal rows; None draws no line.
    title: as in `learning_curves`.

  Returns:
    An `<svg>` element.
  """
  with matplotlib.rc_context(STYLE | {'svg.hashsalt': title}):
    figure, axes = new_figure(4.4, 3.2)
    if chance is not None:
      axes.axhline(chance, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
      # Above the line, or below it if there is no room above.
      axes.annotate(
        f'chance {100 * chance:.3g} %',
        (0, chance),
        xytext=(4, 3 if chance < 0.9 else -3),
        textcoords='offset points',
        va='bottom' if chance < 0.9 else 'top',
      )
    # A precision holds for the recalls up to its own, so the step comes before the point.
    axes.plot(
      [0, *recall], [precision[0], *precision], color=SECOND, linewidth=1.8, drawstyle='steps-pre'
    )
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.04), xlabel='recall', ylabel='precision')
    return to_svg(figure, title)


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
  """Returns a transparent figure of a size in inches, with one pair of axes; within `STYLE`."""
  figure = Figure(figsize=(width, height), layout='constrained')
  figure.patch.set_alpha(0)
  axes = figure.add_subplot()
  axes.patch.set_alpha(0)
  axes.tick_params(length=0)
  return figure, axes


def to_svg(figure: Figure, title: str) -> Markup:
  """Returns the figure as an element of a page: no prologue, no metadata, unique ids.

  Args:
    figure: drawn in the colours of this module.
    title: as in `learning_curves`.
  """
  file = io.StringIO()
  figure.savefig(file, format='svg', metadata=dict.fromkeys(('Date', 'Creator', 'Format', 'Type')))
  text = file.getvalue()
  text = text[text.index('<svg') :]
  text = re.sub(r'<defs>\s*<style.*?</defs>', '', text, flags=re.DOTALL)  # would style the page
  for stand_in, colour in _COLOURS.items():
    text = text.replace(stand_in, colour)
  prefix = re.sub(r'\W+', '-', title.lower())
  text = re.sub(r'\bid="', f'id="{prefix}-', text)
  text = re.sub(r'(url\(|href=")#', rf'\1#{prefix}-', text)
  label = Markup('<svg role="img" aria-label="{}"').format(title)
  # The letters and the colours are matplotlib's output and ours: nothing of the log is in them.
  return label + Markup(text[len('<svg') :])
