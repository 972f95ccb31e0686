"""The one table of the project: the same rows for the terminal, for Markdown and for a page.

A page renders a table with the macro in `table.html.jinja`.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import rich.box
import rich.table

# One text, or a text and smaller remarks: on lines of their own on a page and on the terminal.
Cell = str | tuple[str, ...]


class Column(NamedTuple):
  """A column.

  Attributes:
    title: its head.
    group: the head above neighbouring columns with the same group; '' for none.
    align: 'left' or 'right'.
    style: CSS classes of its cells on a page; `code` is set in a typewriter face.
  """

  title: str
  group: str = ''
  align: str = 'right'
  style: str = ''

  @property
  def name(self) -> str:
    """Group and title in one line."""
    return f'{self.group} {self.title}'.strip()


class Table(NamedTuple):
  """A table; the first column names the rows.

  Attributes:
    title: '' for none.
    columns: C.
    rows: each with C cells.
    notes: sentences below the table.
  """

  title: str
  columns: Sequence[Column]
  rows: Sequence[Sequence[Cell]]
  notes: Sequence[str] = ()

  @property
  def groups(self) -> list[tuple[str, int]]:
    """Heads above the columns, each with the number of columns it spans; [] if all are ''."""
    if not any(column.group for column in self.columns):
      return []
    runs = itertools.groupby(self.columns, key=lambda column: column.group)
    return [(group, len(list(columns))) for group, columns in runs]

  @property
  def cells(self) -> list[list[tuple[str, ...]]]:
    """The rows with every cell as its text and its remarks."""
    return [[(cell,) if isinstance(cell, str) else cell for cell in row] for row in self.rows]

  def select(self, *names: str) -> 'Table':
    """Returns the table with some columns, by `Column.name` and in that order."""
    known = [column.name for column in self.columns]
    places = [known.index(name) for name in names]
    return self._replace(
      columns=[self.columns[place] for place in places],
      rows=[[row[place] for place in places] for row in self.rows],
    )

  def terminal(self, *, narrow: bool = False) -> rich.table.Table:
    """Returns the table without its notes; print it on a console with `markup=False`.

    Args:
      narrow: leave out the frame.
    """
    style = {'box': rich.box.SIMPLE_HEAD, 'pad_edge': False} if narrow else {}
    table = rich.table.Table(title=self.title or None, title_justify='left', **style)
    above = ''
    for place, column in enumerate(self.columns):
      # A group is written above its first column only.
      group = '' if column.group == above else column.group
      above = column.group
      head = f'{group}\n{column.title}' if self.groups else column.title
      table.add_column(head, justify=column.align, no_wrap=place == 0)
    for row in self.cells:
      table.add_row(*('\n'.join(cell) for cell in row))
    return table

  def markdown(self) -> str:
    """Returns the title, the table and the notes in Markdown, with a newline at the end."""
    rules = [{'left': '---', 'right': '---:'}[column.align] for column in self.columns]
    rows = [[_escape(' '.join(cell)) for cell in row] for row in self.cells]
    lines = [[_escape(column.name) for column in self.columns], rules, *rows]
    table = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    parts = [f'### {self.title}'] * bool(self.title) + [table, *self.notes]
    return '\n\n'.join(parts) + '\n'


def _escape(text: str) -> str:
  """Keeps a text from ending its cell or its row."""
  return text.replace('|', '\\|').replace('\n', ' ')
