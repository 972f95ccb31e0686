"""How the processes of a run meet, and how they learn that one of them has ended.

JAX does both too, but aborts with the traces of a library, and only after 100 seconds. Here every
process keeps a connection to the first one and says now and then that it is there: a connection
that ends without a farewell tells of a death at once, silence of a host that is gone.
"""

import json
import os
import shutil
import socket
import threading
import time
from pathlib import Path
from typing import NamedTuple, TextIO

from logjax.errors import LogjaxError

# Seconds after which silence means death, and that the processes wait for each other at the start.
SILENCE = 30.0
PATIENCE = 300.0
_LONGEST_LINE = 100_000


class Place(NamedTuple):
  """Which process this is.

  Attributes:
    coordinator: host and port of the first process, where all meet.
    processes: how many there are.
    process: the number of this one, from 0.
  """

  coordinator: str
  processes: int
  process: int

  @property
  def address(self) -> tuple[str, int]:
    """Host and port, apart."""
    host, _, port = self.coordinator.rpartition(':')
    return host.strip('[]'), int(port)


class _Peer(NamedTuple):
  """A connection to another process, what comes over it as lines, and the process's name."""

  connection: socket.socket
  lines: TextIO
  name: str


class Watch:
  """Watches over the other processes; in one that is not the first, over the first.

  Args:
    place: of this process.
    silence: seconds after which a process that says nothing counts as dead.
    patience: seconds that the processes wait for each other at the start.

  Attributes:
    folders: that vanish when another process ends this one.

  Raises:
    LogjaxError: when they do not meet.
  """

  def __init__(self, place: Place, *, silence: float = SILENCE, patience: float = PATIENCE):
    self._first = place.process == 0
    self._me = f'process {place.process} ({socket.gethostname()})'
    self._silence = silence
    # Between two signs of life; and what a process that ends with an error leaves the others to
    # hear of it, or one whose collective failed waits to hear why.
    self._beat_seconds, self._farewell = silence / 6, silence / 15
    self._closed, self._ending = threading.Event(), threading.Lock()
    self.folders: list[Path] = []
    meet = _wait_for_all if self._first else _call_first
    self._peers = meet(place, self._me, patience)
    for peer in self._peers:
      peer.connection.settimeout(silence)
      threading.Thread(target=self._hear, args=(peer,), daemon=True).start()
    threading.Thread(target=self._beat, daemon=True).start()

  def tell(self, why: str, status: int = 2) -> None:
    """Tells the others that this process ends, which ends them too, with an exit status."""
    with self._ending:
      self._closed.set()
      self._send('stop', [f'{self._me} ended: {why}', status])
      self._leave_last()

  def explain(self, why: str, farewells: int = 1) -> None:
    """Waits to hear that another process ended first; if none did, tells of this one's end.

    Does not return in the first case.
    """
    time.sleep(farewells * self._farewell)
    self.tell(why)  # waits for a thread that is ending this process

  def close(self) -> None:
    """Parts from the others in peace."""
    with self._ending:
      self._closed.set()
      self._send('bye', None)

  def _hear(self, peer: _Peer) -> None:
    """Reads what another process says until its farewell or its death."""
    how = 'died'
    try:
      while line := peer.lines.readline(_LONGEST_LINE):
        word, _, text = line.rstrip('\n').partition(' ')
        if word == 'bye':
          return
        if word == 'stop':
          self._end(*json.loads(text))
    except TimeoutError:
      how = f'has said nothing for {self._silence:.0f} seconds'
    except (OSError, ValueError):
      pass
    self._end(f'{peer.name} {how}: start all processes again to go on', 2)

  def _beat(self) -> None:
    while not self._closed.wait(self._beat_seconds):
      self._send('here', None)

  def _send(self, word: str, what: list | None) -> None:
    for peer in self._peers:
      try:
        peer.connection.sendall(f'{word} {json.dumps(what)}\n'.encode())
      except OSError:
        pass  # it is gone; the thread that listens to it says so

  def _end(self, why: str, status: int) -> None:
    """Ends this process, and the others through the first, with a line that says why."""
    with self._ending:
      if self._closed.is_set():
        return
      if self._first:
        self._send('stop', [why, status])
      os.write(2, f'\nlogjax: {why}\n'.encode())
      for folder in self.folders:
        shutil.rmtree(folder, ignore_errors=True)
      if self._first:
        self._leave_last()
      os._exit(status)  # the main thread waits for a collective that cannot end

  def _leave_last(self) -> None:
    """Lets the others end first: JAX aborts them as soon as the first process is gone."""
    time.sleep(self._farewell * (1 + self._first))


def _wait_for_all(place: Place, me: str, patience: float) -> list[_Peer]:
  """Waits until every other process has called, and tells them so."""
  _, port = place.address
  deadline = time.monotonic() + patience
  peers: dict[int, _Peer] = {}
  both = socket.has_dualstack_ipv6()
  family = socket.AF_INET6 if both else socket.AF_INET
  try:
    server = socket.create_server(('', port), family=family, dualstack_ipv6=both)
  except OSError as error:
    raise LogjaxError(
      f'process 0 cannot listen at port {port} ({os.strerror(error.errno or 0)}): choose another '
      'port in --coordinator'
    ) from error
  with server:
    while len(peers) < place.processes - 1:
      server.settimeout(max(deadline - time.monotonic(), 0.001))
      try:
        caller = _greeted(server.accept()[0])
      except TimeoutError as error:
        missing = sorted(set(range(1, place.processes)) - set(peers))
        raise LogjaxError(
          f'process {missing[0]} of {place.processes} has not come to {place.coordinator} within '
          f'{patience:.0f} seconds: start all of them with the same --coordinator and --processes'
        ) from error
      if caller is None:
        continue
      number, processes, peer = caller
      if processes != place.processes or number in peers or not 0 < number < processes:
        raise LogjaxError(
          f'{peer.name} came as number {number} of {processes} processes, and this is the first of '
          f'{place.processes}: give each a --process of its own and all the same --processes'
        )
      peers[number] = peer
  for peer in peers.values():
    peer.connection.sendall(f'{json.dumps(me)}\n'.encode())
  return list(peers.values())


def _greeted(connection: socket.socket) -> tuple[int, int, _Peer] | None:
  """Who calls: its number, how many it believes there are, and its name; None for a stranger."""
  connection.settimeout(10)
  lines = connection.makefile('r', encoding='utf-8', errors='replace')
  try:
    number, processes, name = json.loads(lines.readline(_LONGEST_LINE))
    return int(number), int(processes), _Peer(connection, lines, str(name))
  except (OSError, ValueError, TypeError):
    connection.close()
    return None


def _call_first(place: Place, me: str, patience: float) -> list[_Peer]:
  """Calls the first process until it answers, and waits until all others have called too."""
  deadline = time.monotonic() + patience
  while True:
    try:
      connection = socket.create_connection(place.address, timeout=patience)
      break
    except OSError as error:
      if time.monotonic() > deadline:
        raise LogjaxError(
          f'process {place.process} cannot reach process 0 at {place.coordinator} ({error}): start '
          'it there, and let its port through'
        ) from error
      time.sleep(0.2)
  try:
    connection.sendall(f'{json.dumps([place.process, place.processes, me])}\n'.encode())
    lines = connection.makefile('r', encoding='utf-8')
    name = json.loads(lines.readline(_LONGEST_LINE))
  except (OSError, ValueError) as error:
    raise LogjaxError(
      f'process 0 at {place.coordinator} gave up waiting for all {place.processes} processes: its '
      'own message says why'
    ) from error
  return [_Peer(connection, lines, name)]
