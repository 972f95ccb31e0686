"""The table: the same rows for the terminal, for Markdown and for a page."""

import io
import re

import jinja2
import pytest
import rich.console

from logjax.reports import pages
from logjax.reports.table import Column, Table

TABLE = Table(
  'Some results',
  [Column('name', align='left'), Column('P', 'abnormal'), Column('F1', 'abnormal'), Column('n')],
  [['a|b', ('0.5', '± 0.1'), ('0.7', '[0.6, 0.8]', 'better'), '3'], ['<i>', '–', '–', '']],
  ['A note.'],
)


def test_markdown_has_groups_in_the_heads_and_remarks_behind_the_text():
  assert TABLE.markdown() == (
    '### Some results\n\n'
    '| name | abnormal P | abnormal F1 | n |\n'
    '| --- | ---: | ---: | ---: |\n'
    '| a\\|b | 0.5 ± 0.1 | 0.7 [0.6, 0.8] better | 3 |\n'
    '| <i> | – | – |  |\n\n'
    'A note.\n'
  )


def test_the_terminal_has_groups_once_and_remarks_on_lines_of_their_own():
  file = io.StringIO()
  rich.console.Console(file=file, width=80, markup=False).print(TABLE.terminal())
  lines = [line.strip() for line in file.getvalue().splitlines()]
  assert lines[0] == 'Some results'
  assert file.getvalue().count('abnormal') == 1
  assert sum('0.7' in line for line in lines) == sum('[0.6, 0.8]' in line for line in lines) == 1
  assert not any('0.7' in line and '[0.6' in line for line in lines)


def html() -> str:
  source = "{% from 'table.html.jinja' import table %}{{ table(t) }}"
  environment = pages._environment()
  assert isinstance(environment, jinja2.Environment)
  return environment.from_string(source).render(t=TABLE)


def test_a_page_has_groups_above_the_heads_escapes_and_colours():
  page = html()
  assert re.findall('colspan="(.)"', page) == ['1', '2', '1']
  assert '<th class="group abnormal" colspan="2" scope="colgroup">Abnormal</th>' in page
  assert '<small class="better">better</small>' in page
  assert '&lt;i&gt;' in page and '<i>' not in page
  assert page.count('<th scope="row"') == page.count('</th>') - 5 == 2
  assert '<p class="muted">A note.</p>' in page


def test_some_columns_can_be_selected_by_their_names():
  part = TABLE.select('abnormal F1', 'name')
  assert [column.title for column in part.columns] == ['F1', 'name']
  assert part.rows[1] == ['–', '<i>']
  with pytest.raises(ValueError):
    TABLE.select('nothing')


def test_without_groups_there_is_one_line_of_heads():
  assert TABLE.select('name', 'n').groups == []
