"""JSON-RPC to an Open vSwitch's two sockets: its database (RFC 7047) and its control socket (unixctl).

A request over a socket takes well under a millisecond where ``ovs-vsctl`` or ``ovs-appctl`` fork for 10 to 20.
"""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from emulation.errors import EmulationError, WaitError


class OvsError(EmulationError):
    """Open vSwitch refused a request; says which NVE, what was asked and its own words."""


class _JsonSocket:
    """One request at a time; both Open vSwitch sockets answer with one JSON object per request.

    ``lock`` is held from a request to its answer: moves of several VMs ask the same NVE from several threads.
    """

    def __init__(self, owner: str, path: Path, timeout_s: float = 10.0) -> None:
        self._owner = owner
        self._decoder = json.JSONDecoder()
        self._buffer = ""
        self._socket = _connected(owner, path, timeout_s)
        self._socket.settimeout(timeout_s)
        self._id = 0
        self.lock = threading.RLock()

    def close(self) -> None:
        self._socket.close()

    def send(self, method: str, params: Sequence[Any]) -> int:
        """Ask; the number by which ``receive`` knows the answer."""
        self._id += 1
        request = {"id": self._id, "method": method, "params": list(params)}
        try:
            self._socket.sendall(json.dumps(request).encode())
        except TimeoutError:
            raise OvsError(
                f"{self._owner}: {method}: not taken within {self._socket.gettimeout():g} s"
            ) from None
        except OSError as error:
            raise OvsError(f"{self._owner}: {method}: Open vSwitch has ended ({error.strerror})") from None
        return self._id

    def receive(self, asked: str, number: int) -> Any:
        """The answer to a request; answers that came too late for an earlier one are passed over."""
        while True:
            text = self._buffer.lstrip()
            try:
                message, end = self._decoder.raw_decode(text)
            except json.JSONDecodeError:
                self._buffer += self._more(asked)
                continue
            self._buffer = text[end:]
            if message.get("method") == "echo":  # the database server's keep-alive
                answer = {"id": message["id"], "result": message["params"], "error": None}
                self._socket.sendall(json.dumps(answer).encode())
                continue
            if message.get("id") != number:  # the late answer to a question that was given up
                continue
            if message.get("error"):
                raise OvsError(f"{self._owner}: {asked}: {message['error']}")
            return message["result"]

    def _more(self, asked: str) -> str:
        try:
            data = self._socket.recv(65536)
        except ConnectionError:
            data = b""
        except TimeoutError:
            raise OvsError(
                f"{self._owner}: {asked}: no answer within {self._socket.gettimeout():g} s"
            ) from None
        if not data:
            raise OvsError(f"{self._owner}: {asked}: Open vSwitch has ended (it closed the connection)")
        return data.decode()


def _connected(owner: str, path: Path, timeout_s: float) -> socket.socket:
    deadline_s = time.monotonic() + timeout_s
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(str(path))
            return connection
        except OSError as error:
            connection.close()
            if time.monotonic() > deadline_s:
                raise WaitError(f"{owner}'s socket {path.name}", timeout_s, error.strerror) from None
            time.sleep(0.002)


class Database(_JsonSocket):
    """The Open_vSwitch database of one NVE."""

    def transact(self, operations: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Run operations as one transaction (RFC 7047 section 4.1.3); raise OvsError when one is refused."""
        with self.lock:
            number = self.send("transact", ["Open_vSwitch", *operations])
            results: list[dict[str, Any]] = self.receive("database transaction", number)
        for result in results:
            if result and result.get("error"):
                raise OvsError(f"{self._owner}: database: {result['error']}: {result.get('details', '')}")
        return results


class Control(_JsonSocket):
    """The control socket of one ovs-vswitchd: what ``ovs-appctl`` talks to."""

    def call(self, command: str, *arguments: str) -> str:
        """Run one command and return its text."""
        with self.lock:
            return str(self.receive(command, self.send(command, arguments)))


def ovs_map(values: dict[str, str]) -> list[Any]:
    """A map in the database's JSON form (RFC 7047 section 5.1)."""
    return ["map", [[key, value] for key, value in values.items()]]


def ovs_set(values: Sequence[Any]) -> list[Any]:
    """A set in the database's JSON form (RFC 7047 section 5.1)."""
    return ["set", list(values)]
