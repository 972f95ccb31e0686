"""Whether the other processes of a run are alive: when one dies the others end, and say which.

JAX notices too, but only after 100 seconds, and aborts with the traces of a library. Here every
process holds a connection to the first one and says now and then that it is there; a connection
that ends without a farewell tells of a death at once, silence of a host that is gone.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable

# Seconds after which silence means death.
SILENCE = 30.0
_LONGEST_LINE = 1_000


class Watch:
  """Watches over the other processes; in one that is not the first, over the first.

  Args:
    host: of the first process.
    processes: how many there are.
    process: which this is.
    from_first: returns everywhere what the first process gave, for all at once.
    silence: seconds after which a process that says nothing counts as dead.
  """

  def __init__(
    self,
    host: str,
    processes: int,
    process: int,
    from_first: Callable[[bytes], bytes],
    *,
    silence: float = SILENCE,
  ):
    self._first = process == 0
    self._me = f'process {process} ({socket.gethostname()})'
    self._silence = silence
    # Between two signs of life; and what a process that ends with an error leaves the others to
    # hear of it, or one whose collective failed waits to hear why.
    self._beat_seconds, self._farewell = silence / 6, silence / 15
    self._peers: list[socket.socket] = []
    self._closed = threading.Event()
    self._ending = threading.Lock()
    if process == 0:
      self._wait_for_all(processes - 1, from_first)
    else:
      self._call_first(host, json.loads(from_first(b'')))
    threading.Thread(target=self._beat, daemon=True).start()

  def tell(self, why: str) -> None:
    """Tells the others that this process ends with an error, which ends them too."""
    with self._ending:
      self._closed.set()
      self._send('stop', f'{self._me} ended: {why}')
      time.sleep(self._farewell)

  def explain(self, why: str) -> None:
    """Waits a while to hear that another process died; if none did, tells of this one's end.

    Does not return in the first case.
    """
    time.sleep(self._farewell)
    # Whoever runs `_end` holds this until the process has ended.
    with self._ending:
      pass
    self.tell(why)

  def close(self) -> None:
    """Parts from the others in peace."""
    with self._ending:
      self._closed.set()
      self._send('bye', '')

  def _wait_for_all(self, others: int, from_first: Callable[[bytes], bytes]) -> None:
    """Tells the others where to call and waits for their calls."""
    token = secrets.token_hex(16)
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    with socket.create_server(('', 0), family=family, dualstack_ipv6=both) as server:
      from_first(json.dumps([server.getsockname()[1], token]).encode())
      server.settimeout(self._silence)
      while len(self._peers) < others:
        peer, _ = server.accept()
        peer.settimeout(self._silence)
        lines = peer.makefile('r', encoding='utf-8')
        if lines.readline(_LONGEST_LINE).strip() == token:
          self._listen(peer, lines, json.loads(lines.readline(_LONGEST_LINE)))
        else:
          peer.close()  # a stranger

  def _call_first(self, host: str, where: tuple[int, str]) -> None:
    port, token = where
    peer = socket.create_connection((host, port), timeout=self._silence)
    peer.sendall(f'{token}\n{json.dumps(self._me)}\n'.encode())
    self._listen(peer, peer.makefile('r', encoding='utf-8'), f'process 0 ({host})')

  def _listen(self, peer: socket.socket, lines, name: str) -> None:
    self._peers.append(peer)
    threading.Thread(target=self._hear, args=(lines, name), daemon=True).start()

  def _hear(self, lines, name: str) -> None:
    """Reads what another process says until its farewell or its death."""
    try:
      for line in lines:
        word, _, text = line.rstrip('\n').partition(' ')
        if word == 'bye':
          return
        if word == 'stop':
          self._end(json.loads(text))
      how = 'died'
    except TimeoutError:
      how = f'has said nothing for {self._silence:.0f} seconds'
    except (OSError, ValueError):
      how = 'died'
    if not self._closed.is_set():
      self._end(f'{name} {how}: start all processes again to go on')

  def _beat(self) -> None:
    while not self._closed.wait(self._beat_seconds):
      self._send('here', '')

  def _send(self, word: str, text: str) -> None:
    for peer in self._peers:
      try:
        peer.sendall(f'{word} {json.dumps(text)}\n'.encode())
      except OSError:
        pass  # it is gone; the thread that listens to it says so

  def _end(self, why: str) -> None:
    """Ends this process, and the others through the first, with a line that says why."""
    with self._ending:
      if self._closed.is_set():
        return
      self._send('stop', why)
      os.write(2, f'\nlogjax: {why}\n'.encode())
      # The first ends last: JAX aborts the others as soon as it is gone.
      time.sleep(2 * self._farewell * self._first)
      os._exit(2)  # the main thread waits for a collective that cannot end
