"""Drain: from token texts to templates.

He, Zhu, Zheng and Lyu, Drain: An Online Log Parsing Approach with Fixed Depth Tree, ICWS 2017.
A text descends a tree of fixed depth, by its number of tokens and then by its first tokens, to a
leaf with a few groups. It joins the group with the most similar template. A template keeps the
tokens common to all its texts; every other token is `<*>`.

Texts are parsed one after the other in Python, because each depends on all earlier ones. Only
distinct texts are parsed, far fewer than lines. U distinct texts, N lines.

Detectors of lines do not use templates. Those of sequences of templates will.
"""

import dataclasses
import operator

import polars as pl

WILDCARD = '<*>'
_Path = tuple[int | str, ...]


@dataclasses.dataclass(frozen=True)
class Drain:
  """A fitted parse tree.

  Attributes:
    branches: the tokens with a branch at each inner node. The key of a node is the path to it: the
      number of tokens, then the branches taken.
    groups: the templates at each leaf, oldest first, a tuple of tokens each.
    depth: as in the paper: the first depth - 2 tokens lead to a leaf.
  """

  branches: dict[_Path, set[str]]
  groups: dict[_Path, list[tuple[str, ...]]]
  depth: int

  @property
  def templates(self) -> list[str]:
    """The texts of all templates, leaf by leaf."""
    return [' '.join(template) for leaf in self.groups.values() for template in leaf]

  def apply(self, texts: pl.Series) -> pl.Series:
    """Replaces token texts by the texts of their templates, String [U].

    The tree does not change. A text fits a template if all tokens agree except at `<*>`. Of several
    fitting templates the one with the most common tokens is taken, the oldest of equals. A text
    without a fitting template is returned unchanged. Every text of the fit has one.
    """
    return pl.Series(texts.name, [self._parse(text) for text in texts], dtype=pl.String)

  def _parse(self, text: str) -> str:
    tokens = tuple(text.split(' '))
    leaf = _descend(self.branches, tokens, self.depth)
    # All templates at a leaf have as many tokens as the text: the path begins with this number.
    fitting = [
      template for template in self.groups.get(leaf, ()) if all(map(_fits, template, tokens))
    ]
    # Fewest wildcards means most tokens in common; `min` takes the first of equals, the oldest.
    return ' '.join(min(fitting, key=lambda t: t.count(WILDCARD))) if fitting else text


def fit_templates(
  texts: pl.Series, *, similarity: float = 0.4, depth: int = 4, max_children: int = 100
) -> Drain:
  """Fits a parse tree; the default settings are those of Drain3.

  Args:
    texts: distinct token texts to learn from, in their order of appearance, String [U].
    similarity: st of the paper: the least fraction of equal tokens for joining a group.
    depth: of the tree, at least 3.
    max_children: limit of the branches of an inner node, wildcard included.

  Returns:
    The tree and its templates.
  """
  branches: dict[_Path, set[str]] = {}
  groups: dict[_Path, list[tuple[str, ...]]] = {}
  for text in texts:
    tokens = tuple(text.split(' '))
    _grow(branches, tokens, depth, max_children)
    leaf = groups.setdefault(_descend(branches, tokens, depth), [])
    # The numerator of the paper's simSeq; a wildcard equals no token.
    equal = [sum(map(operator.eq, template, tokens)) for template in leaf]
    best = max(range(len(leaf)), key=equal.__getitem__, default=None)  # the oldest of equals
    if best is None or equal[best] / len(tokens) < similarity:
      leaf.append(tokens)  # a new group; its template is the text itself
    else:
      leaf[best] = tuple(
        old if old == new else WILDCARD for old, new in zip(leaf[best], tokens, strict=True)
      )
  return Drain(branches, groups, depth)


def _grow(
  branches: dict[_Path, set[str]], tokens: tuple[str, ...], depth: int, max_children: int
) -> None:
  """Adds the branches for a text, as far as its nodes have room for them."""
  path: _Path = (len(tokens),)
  for token in tokens[: depth - 2]:
    node = branches.setdefault(path, set())
    # The last free branch is reserved for the wildcard.
    if not _varies(token) and len(node | {WILDCARD}) < max_children:
      node.add(token)
    elif token not in node:
      node.add(WILDCARD)
    path += (_branch(node, token),)


def _descend(branches: dict[_Path, set[str]], tokens: tuple[str, ...], depth: int) -> _Path:
  """Returns the path to the leaf of a text, or a path without a leaf if a branch is missing."""
  path: _Path = (len(tokens),)
  for token in tokens[: depth - 2]:
    path += (_branch(branches.get(path, ()), token),)
  return path


def _branch(node: set[str] | tuple[()], token: str) -> str:
  return token if token in node else WILDCARD


def _varies(token: str) -> bool:
  """Returns whether a token has a digit; the paper takes such a token for a value, not a word."""
  return any(map(str.isdigit, token))


def _fits(expected: str, token: str) -> bool:
  return expected in (token, WILDCARD)
