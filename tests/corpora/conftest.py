"""A local file server in place of the publisher of the archives."""

import functools
import http.server
import threading
from pathlib import Path

import pytest


class _Handler(http.server.SimpleHTTPRequestHandler):
  """Serves a folder; one address announces more than it sends, another never answers."""

  def do_GET(self):
    self.server.requests.append(self.path)
    if self.path == '/silent.zip':
      self.server.stopped.wait()
    elif self.path == '/cut.zip':
      self.send_response(200)
      self.send_header('Content-Length', '5000')
      self.end_headers()
      self.wfile.write(bytes(100))
    else:
      super().do_GET()

  def log_message(self, *args):
    pass


@pytest.fixture
def server(tmp_path: Path, monkeypatch):
  """Serves `server.folder` at `server.address`; `server.requests` lists the paths asked for."""
  monkeypatch.setenv('no_proxy', '*')
  folder = tmp_path / 'served'
  folder.mkdir()
  handler = functools.partial(_Handler, directory=folder)
  with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
    server.folder, server.requests, server.stopped = folder, [], threading.Event()
    server.address = f'http://127.0.0.1:{server.server_port}'
    thread = threading.Thread(target=server.serve_forever, kwargs={'poll_interval': 0.01})
    thread.start()
    yield server
    server.stopped.set()
    server.shutdown()
    thread.join()
