"""Pages in a real browser: what stands in a log is shown as text, and nothing of it runs."""

import html
import json
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from logjax.reports.ladder import write_ladder
from logjax.reports.leaderboard import write_leaderboard
from logjax.reports.run import write_report
from tests.reports.test_comparison_pages import ladder_steps, leaderboard
from tests.reports.test_run import metrics, realistic_metrics, realistic_results

BROWSER = next(
  filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), ''
)
OWNED = "document.title='owned'"
# Each breaks out of another place: text, an attribute, an element of raw text, a comment, JSON.
HOSTILE = (
  f'<script>{OWNED}</script>',
  f'<img src=x onerror={OWNED}>',
  f'</script><script>{OWNED}</script>',
  f'"><svg onload={OWNED}>',
  f"' onmouseover={OWNED} autofocus onfocus={OWNED} x='",
  f'</style></title></textarea></pre><script>{OWNED}</script>',
  f'--><script>{OWNED}</script><!--',
  f'<iframe srcdoc="<script>parent.{OWNED}</script>"></iframe>',
  f'{{{{ 7*191 }}}}{{% raw %}} ${{{OWNED}}} javascript:{OWNED}',
  f'&lt;script&gt;{OWNED}&lt;/script&gt;',
)
# The elements that pages have of their own; none of them runs anything.
RUNS = {'script', 'img', 'iframe', 'object', 'embed', 'form', 'input', 'base', 'audio', 'video'}


class Page(HTMLParser):
  """Elements, names of attributes, title and text of a page as the browser built it."""

  def __init__(self, document: str):
    super().__init__()
    self.elements, self.attributes, self.text = set(), set(), ''
    self.feed(document)
    self.title = document.partition('<title>')[2].partition('</title>')[0]

  def handle_starttag(self, tag, attrs):
    self.elements.add(tag)
    self.attributes.update(name for name, _ in attrs)

  def handle_data(self, data):
    self.text += data


def browse(path: Path) -> Page:
  """Opens a file in Chromium, lets its scripts run, and takes what the page has become."""
  if not BROWSER:
    pytest.skip('no Chromium is installed')
  options = ['--headless', '--no-sandbox', '--disable-gpu', '--virtual-time-budget=2000']
  options += [f'--user-data-dir={path.parent / "profile"}', '--dump-dom', path.as_uri()]
  answer = subprocess.run([BROWSER, *options], capture_output=True, text=True, timeout=60)
  if answer.returncode:
    pytest.skip(f'Chromium does not start here: {answer.stderr[-300:]}')
  return Page(answer.stdout)


def undefended(path: Path) -> Path:
  """A copy of a page without its policy for scripts, so that escaping alone protects it."""
  page = path.read_text(encoding='utf-8')
  start = page.index('<meta http-equiv="Content-Security-Policy"')
  end = page.index('>', start) + 1
  copy = path.with_name(f'undefended_{path.name}')
  copy.write_text(page[:start] + page[end:], encoding='utf-8')
  return copy


def check(page: Page, shown: int) -> None:
  """Finds the hostile texts on the page, as text and nothing else."""
  squeezed = ' '.join(page.text.split())
  for text in HOSTILE:
    assert squeezed.count(' '.join(text.split())) >= shown, text
  assert page.elements & RUNS == set()
  assert {name for name in page.attributes if name.startswith('on')} == set()
  assert 'srcdoc' not in page.attributes
  assert html.unescape(page.title) not in ('', 'owned')
  assert '1337' not in squeezed


def test_this_browser_runs_what_is_not_escaped(tmp_path):
  path = tmp_path / 'page.html'
  path.write_text(f'<!doctype html><title>safe</title><p>{HOSTILE[1]}</p>')
  assert browse(path).title == 'owned'


def test_a_report_shows_hostile_lines_and_obeys_none(tmp_path):
  results, everything = realistic_results(), ' '.join(HOSTILE)
  results['corpus'] |= {'name': everything, 'path': list(HOSTILE), 'notes': {everything: 1}}
  results |= {'command': everything, 'device': everything, 'protocol': everything}
  results |= {'leaks': list(HOSTILE), 'baselines': {text: metrics(0.5, 0.5) for text in HOSTILE}}
  results |= {
    'seconds': dict.fromkeys(HOSTILE, 1.0),
    'versions': dict.fromkeys(HOSTILE, everything),
  }
  results['oversampler'] |= {'name': everything, 'removed': dict.fromkeys(HOSTILE, 1)}
  details = {
    'generated': [
      {'text': text, 'nearest': text[::-1] + text, 'nearest_where': text, 'count': 1}
      for text in HOSTILE
    ],
    'mistakes': [
      {'where': text, 'text': text, 'abnormal': abnormal, 'score': 0.5}
      for text in HOSTILE
      for abnormal in (True, False)
    ],
  }
  curves = [{'stage': text, 'epoch': 0, 'repetition': text, text: 1.0} for text in HOSTILE[:2]]
  (tmp_path / 'results.json').write_text(json.dumps(results))
  (tmp_path / 'details.json').write_text(json.dumps(details))
  (tmp_path / 'metrics.jsonl').write_text(
    '\n'.join(map(json.dumps, [*realistic_metrics()[:3], *curves]))
  )
  check(browse(undefended(write_report(tmp_path))), shown=10)


@pytest.mark.slow
def test_a_ladder_shows_hostile_names_and_obeys_none(tmp_path):
  steps = [dict(ladder_steps()[0], name=text, why_undefined=text) for text in HOSTILE]
  everything = ' '.join(HOSTILE)
  ladder = {'steps': steps, 'corpus': {'name': everything, 'path': list(HOSTILE)}}
  ladder |= {'command': everything, 'device': everything, 'git_commit': everything}
  check(browse(undefended(write_ladder(tmp_path, ladder))), shown=2)


@pytest.mark.slow
def test_a_leaderboard_shows_hostile_names_and_obeys_none(tmp_path):
  everything = ' '.join(HOSTILE)
  about = {'command': everything, 'device': everything, 'git_commit': everything}
  about['corpus'] = {'name': everything, 'path': list(HOSTILE)}
  path = write_leaderboard(tmp_path, leaderboard(HOSTILE[3]) | about)
  check(browse(undefended(path)), shown=2)
