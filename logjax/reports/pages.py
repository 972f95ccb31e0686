"""Writes the HTML pages from templates: all text is escaped, missing values render as nothing."""

import functools
from pathlib import Path
from typing import Any

import jinja2

from logjax.reports.wording import count, duration, number, percent, shown


def write_page(path: Path, template: str, **context: Any) -> Path:
  """Renders a template of this folder to a file and returns its path.

  The file appears whole or not at all. Half a surrogate pair, which JSON can hold, becomes '?'.
  """
  page = _environment().get_template(template).render(**context)
  partial = path.with_name(path.name + '.part')
  partial.write_text(page, encoding='utf-8', errors='replace')
  partial.replace(path)
  return path


@functools.cache
def _environment() -> jinja2.Environment:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.ChainableUndefined,  # any part of the results may be missing
    trim_blocks=True,
    lstrip_blocks=True,
  )
  filters = (number, count, percent, duration, shown)
  environment.filters |= {filter.__name__: filter for filter in filters}
  return environment
