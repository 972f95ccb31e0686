"""Rules for the values of configuration fields.

Each module lists the rules of its own fields under their dotted names in `RULES`; `settings.py`
applies those of the modules in use. A rule may also give the meaning of 'auto' (or None) in each
protocol.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Rule(NamedTuple):
  """A condition on the values of a field.

  Attributes:
    meaning: completes the sentence "the field must be ...".
    holds: from a value to true or false.
    auto: the meaning of 'auto' or None in the paper's and in the honest protocol; None if the field
      has no such value.
  """

  meaning: str
  holds: Callable[[Any], bool]
  auto: tuple[Any, Any] | None = None


def choice(*names: str, auto: tuple[str, str] | None = None) -> Rule:
  """Allows some names, and also 'auto' if `auto` is given."""
  names = (*names, 'auto') if auto and 'auto' not in names else names
  return Rule(f'one of {", ".join(names)}', lambda value: value in names, auto)


def at_least(
  least: float, *, optional: bool = False, auto: tuple[float, float] | None = None
) -> Rule:
  """Allows numbers from `least` on, and also None if `optional` or if `auto` is given."""
  optional = optional or auto is not None
  return Rule(
    f'at least {least}', lambda value: (optional and value is None) or value >= least, auto
  )


def above(bound: float, *, optional: bool = False) -> Rule:
  """Allows numbers above `bound`, and also None if `optional`."""
  return Rule(f'above {bound}', lambda value: (optional and value is None) or value > bound)


def between(low: float, high: float) -> Rule:
  """Allows numbers from `low` to `high`, both included."""
  return Rule(f'from {low} to {high}', lambda value: low <= value <= high)


def fraction(*, above_zero: bool = False) -> Rule:
  """Allows numbers from 0 to 1, without 0 if `above_zero`."""
  if above_zero:
    return Rule('above 0 and at most 1', lambda value: 0 < value <= 1)
  return between(0, 1)


def sizes() -> Rule:
  """Allows tuples of whole numbers, each at least 1."""
  return Rule(
    'whole numbers, each at least 1',
    lambda values: bool(values) and all(isinstance(v, int) and v >= 1 for v in values),
  )


def boolean() -> Rule:
  """Allows True and False; ml_collections checks the type of most fields before."""
  return Rule('True or False', lambda value: isinstance(value, bool))
