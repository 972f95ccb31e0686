"""Drain: from token texts to templates, for `config.text.tokens='template'` (A1).

He, Zhu, Zheng and Lyu, Drain: An Online Log Parsing Approach with Fixed Depth Tree, ICWS 2017.
A text goes down a tree of fixed depth, by its number of tokens and then by its first tokens, to a
leaf with a few groups, and joins the group whose template it resembles most. A template keeps the
tokens that all of its texts share; the others are `<*>`.

Texts are parsed one after the other in Python: what a text joins depends on all before it. Only
distinct texts are, each once, and they are far fewer than lines. U distinct texts, N lines.
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
    branches: the tokens that lead on from each inner node; a node is named by the path to it: the
      number of tokens, then the tokens taken.
    groups: the templates at each leaf, oldest first, a tuple of tokens each.
    depth: of the paper: depth - 2 first tokens lead to a leaf.
  """

  branches: dict[_Path, set[str]]
  groups: dict[_Path, list[tuple[str, ...]]]
  depth: int

  @property
  def templates(self) -> list[str]:
    """Template texts, leaf by leaf."""
    return [' '.join(template) for leaf in self.groups.values() for template in leaf]

  def apply(self, texts: pl.Series) -> pl.Series:
    """Replaces token texts by the texts of their templates, String [U].

    The tree is not changed. A text fits a template when it has all of its tokens; of several, the
    one with most tokens in common is taken, the oldest of equals. A text that fits none is
    returned as it is. Every text that the tree was fitted on fits one.
    """
    return pl.Series(texts.name, [self._parse(text) for text in texts], dtype=pl.String)

  def _parse(self, text: str) -> str:
    tokens = tuple(text.split(' '))
    leaf = _descend(self.branches, tokens, self.depth)
    fitting = [
      template for template in self.groups.get(leaf, ()) if all(map(_fits, template, tokens))
    ]
    return ' '.join(min(fitting, key=lambda t: t.count(WILDCARD))) if fitting else text


def fit_templates(
  texts: pl.Series, *, similarity: float = 0.4, depth: int = 4, max_children: int = 100
) -> Drain:
  """Fits a parse tree; the default settings are those of Drain3.

  Args:
    texts: distinct token texts that may be seen, in their order of appearance, String [U].
    similarity: st of the paper: a text joins a group from this share of equal tokens on.
    depth: of the tree, at least 3.
    max_children: most branches of an inner node, that of the wildcard included.

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
      leaf.append(tokens)
    else:
      leaf[best] = tuple(
        old if old == new else WILDCARD for old, new in zip(leaf[best], tokens, strict=True)
      )
  return Drain(branches, groups, depth)


def _grow(
  branches: dict[_Path, set[str]], tokens: tuple[str, ...], depth: int, max_children: int
) -> None:
  """Adds the branches that a text needs, where its nodes still have room for them."""
  path: _Path = (len(tokens),)
  for token in tokens[: depth - 2]:
    node = branches.setdefault(path, set())
    # The last place is the wildcard's.
    if not _varies(token) and len(node | {WILDCARD}) < max_children:
      node.add(token)
    elif token not in node:
      node.add(WILDCARD)
    path += (_branch(node, token),)


def _descend(branches: dict[_Path, set[str]], tokens: tuple[str, ...], depth: int) -> _Path:
  """Returns the path to the leaf of a text; where a branch is missing, one that leads nowhere."""
  path: _Path = (len(tokens),)
  for token in tokens[: depth - 2]:
    path += (_branch(branches.get(path, ()), token),)
  return path


def _branch(node: set[str] | tuple[()], token: str) -> str:
  return token if token in node else WILDCARD


def _varies(token: str) -> bool:
  """Whether a token has a digit, which the paper takes for a value and not for a word."""
  return any(map(str.isdigit, token))


def _fits(expected: str, token: str) -> bool:
  return expected in (token, WILDCARD)
