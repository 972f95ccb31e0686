"""docs/operations.md quotes every message that a user can meet, and none that the code lost.

A quote is a paragraph of lines that begin with '> '. In it `<...>` stands for what differs from
case to case, as an f-string's braces do in the code.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
GUIDE = ROOT / 'docs' / 'operations.md'
TELLS = ('say', '_say')  # functions that print a line for the user
# Modules with an error whose words are put together elsewhere; they are quoted from there.
WORDLESS = ('logjax/command_line.py', 'logjax/corpora/parsing.py', 'logjax/studies/subrun.py')


def of(text: str) -> str:
  """A message whose varying parts are all `<>`, on one line."""
  text = re.sub('<[^<>]*>', '<>', ' '.join(text.split()))
  return re.sub('(<>)+', '<>', text)


def literal(node: ast.expr) -> str:
  """What an expression says, `<>` for everything that is not constant in it."""
  match node:
    case ast.Constant(value=str(text)):
      return text
    case ast.JoinedStr(values=parts):
      return ''.join(map(literal, parts))
    case ast.BinOp(left=left, op=ast.Add(), right=right):
      return literal(left) + literal(right)
  return '<>'


@functools.cache
def modules() -> dict[str, tuple[ast.AST, ...]]:
  """All nodes of every module, by its path."""
  paths = (path for folder in ('logjax', 'configs') for path in (ROOT / folder).rglob('*.py'))
  return {
    str(path.relative_to(ROOT)): tuple(ast.walk(ast.parse(path.read_text())))
    for path in sorted(paths)
  }


def told(*functions: str) -> Iterator[tuple[str, str]]:
  """Yields file:line and text of every message that the functions are called with."""
  for path, nodes in modules().items():
    for node in nodes:
      if isinstance(node, ast.Call) and node.args:
        name = getattr(node.func, 'id', getattr(node.func, 'attr', ''))
        if name in functions:
          yield f'{path}:{node.lineno}', of(literal(node.args[0]))


def has_words(message: str) -> bool:
  return re.search('[a-z]', message.replace('<>', ''), re.IGNORECASE) is not None


@functools.cache
def quotes() -> dict[str, int]:
  """The quoted messages of the guide with the lines that they begin in."""
  found = {}
  for match in re.finditer(r'(?:^> .*\n)+', GUIDE.read_text(), re.MULTILINE):
    text = re.sub('^> ', '', match[0], flags=re.MULTILINE).replace('`', '')
    found[of(text)] = match.string.count('\n', 0, match.start()) + 1
  return found


def test_every_error_message_is_explained():
  missing = [f'{at}: {said}' for at, said in told('LogjaxError') if said not in quotes()]
  missing = [line for line in missing if has_words(line.partition(': ')[2])]
  assert not missing, f'not quoted in {GUIDE.name}:\n' + '\n'.join(missing)


def test_every_note_is_explained():
  missing = [
    f'{at}: {said}' for at, said in told(*TELLS) if has_words(said) and said not in quotes()
  ]
  assert not missing, f'not quoted in {GUIDE.name}:\n' + '\n'.join(missing)


def test_only_known_errors_have_their_words_from_elsewhere():
  without = {at.partition(':')[0] for at, said in told('LogjaxError') if not has_words(said)}
  assert without == set(WORDLESS)


def test_no_message_is_explained_that_the_code_has_not():
  said = {
    of(literal(node))
    for nodes in modules().values()
    for node in nodes
    if isinstance(node, ast.Constant | ast.JoinedStr | ast.BinOp)
  }
  gone = [f'{GUIDE.name}:{line}: {quote}' for quote, line in quotes().items() if quote not in said]
  assert not gone, 'no string of the code:\n' + '\n'.join(gone)


def test_a_message_is_quoted_once_and_answered_in_three_lines_at_most():
  text = GUIDE.read_text()
  assert len(re.findall(r'(?:^> .*\n)+', text, re.MULTILINE)) == len(quotes())
  answers = re.findall(r'(?:^> .*\n)+\n((?:.+\n)+)', text, re.MULTILINE)
  assert len(answers) == len(quotes())
  assert not [answer for answer in answers if answer.count('\n') > 3]
