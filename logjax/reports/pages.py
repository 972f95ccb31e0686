"""The templates of the HTML pages: all escaped, with the words of `wording` as filters."""

import functools
from pathlib import Path

import jinja2

from logjax.reports.wording import count, duration, number, percent, shown


def template(name: str) -> jinja2.Template:
  """Returns a template of this folder by its file name."""
  return _environment().get_template(name)


@functools.cache
def _environment() -> jinja2.Environment:
  environment = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    autoescape=True,
    undefined=jinja2.ChainableUndefined,  # any part of the results may be missing
    trim_blocks=True,
    lstrip_blocks=True,
  )
  environment.filters |= {
    'number': number,
    'count': count,
    'percent': percent,
    'duration': duration,
    'shown': shown,
  }
  return environment
