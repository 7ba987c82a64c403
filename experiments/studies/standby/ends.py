"""The processes of the standby experiment: a service with state, what ships its state, and its clients.

    serve    the service, in a VM: applies numbered updates that come by UDP and TCP and acknowledges each
    ship     in the primary's NVE (the hypervisor): takes the state every interval and sends it to the other NVE
    take     in the standby's NVE: hands what comes to the standby's service
    ask      in a peer: sends updates, one at a time each, by UDP and over one TCP connection per address; logs answers

Standard library only, so that each starts in some 30 ms. All times are CLOCK_MONOTONIC.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

_LENGTH = struct.Struct("!I")
_RETRY_S, _CONNECT_S = 0.02, 0.25


def main(words: list[str]) -> None:
    """``ROLE NAME=value ...``."""
    values = dict(word.partition("=")[::2] for word in words[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    {"serve": serve, "ship": ship, "take": take, "ask": ask}[words[0]](values)


# The service


def serve(values: dict[str, str]) -> None:
    """Apply updates. State: largest number applied, how many, when; asked for and set by a unix socket."""
    state = {"last": -1, "applied": 0, "at_s": time.monotonic()}
    port = int(values["port"])
    selector = selectors.DefaultSelector()
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind(("0.0.0.0", port))
    listener = _listen(("0.0.0.0", port))
    control = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    control.bind(values["control"])
    for one, what in ((datagrams, "datagram"), (listener, "listener"), (control, "control")):
        selector.register(one, selectors.EVENT_READ, what)

    def apply(number: bytes) -> bytes:
        state["last"] = max(int(state["last"]), int(number))
        state["applied"] += 1
        state["at_s"] = time.monotonic()
        return number

    while True:
        for key, _ in selector.select():
            end: Any = key.fileobj
            if key.data == "datagram":
                number, sender = end.recvfrom(100)
                end.sendto(apply(number), sender)
            elif key.data == "listener":
                connection, _ = end.accept()
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                selector.register(connection, selectors.EVENT_READ, "connection")
            elif key.data == "control":
                said, asker = end.recvfrom(65536)
                if said != b"get":
                    state = json.loads(said)
                else:
                    end.sendto(json.dumps({"taken_s": time.monotonic()} | state).encode(), asker)
            else:
                try:
                    said = end.recv(4096)
                except OSError:
                    said = b""
                if not said:
                    selector.unregister(end)
                    end.close()
                    continue
                for number in said.split():
                    apply(number)
                with contextlib.suppress(OSError):
                    end.sendall(said)


def state_of(control: str, own: str) -> dict[str, Any]:
    """The state of the service behind a unix socket; ``own``: a path for the answer."""
    Path(own).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as asking:
        asking.bind(own)
        asking.settimeout(1.0)
        asking.sendto(b"get", control)
        found: dict[str, Any] = json.loads(asking.recv(65536))
    return found


# From hypervisor to hypervisor


def ship(values: dict[str, str]) -> None:
    """Every ``interval`` s send the state and ``bytes`` of what stands for dirty memory."""
    interval_s, padding = float(values["interval"]), bytes(int(values["bytes"]))
    address, port = values["to"].rsplit(":", 1)
    with socket.create_connection((address, int(port)), 5.0) as line:
        due_s = time.monotonic()
        while True:
            state = json.dumps(state_of(values["control"], values["own"])).encode()
            line.sendall(_LENGTH.pack(len(state)) + state + _LENGTH.pack(len(padding)) + padding)
            due_s += interval_s
            time.sleep(max(0.0, due_s - time.monotonic()))


def take(values: dict[str, str]) -> None:
    """Give every state that came whole to the service behind ``control``; at SIGTERM write what came to ``log``."""
    came = {"states": 0, "bytes": 0}

    def write(*_: Any) -> None:
        Path(values["log"]).write_text(json.dumps(came))
        os._exit(0)

    signal.signal(signal.SIGTERM, write)
    address, port = values["at"].rsplit(":", 1)
    listener = _listen((address, int(port)))
    line, _ = listener.accept()
    stream = line.makefile("rb")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as control:
        while (state := _read(stream)) is not None and (memory := _read(stream)) is not None:
            control.sendto(state, values["control"])
            came["states"] += 1
            came["bytes"] += len(state) + len(memory)
    signal.pause()


def _read(stream: Any) -> bytes | None:
    length = stream.read(_LENGTH.size)
    if len(length) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(length)
    body: bytes = stream.read(size)
    return body if len(body) == size else None


def _listen(address: tuple[str, int]) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
    listener.listen(16)
    return listener


# The clients


class Asker:
    """Sends numbered updates over one TCP connection, the next when it is due; connects again when it breaks."""

    def __init__(self, address: str, port: int, log: dict[str, Any]) -> None:
        self.address, self.port, self.log = address, port, log
        self.line: socket.socket | None = None
        self.began_s = self.tried_s = 0.0
        self.up = False
        self.bytes_sent = 0

    def connect(self, now_s: float) -> None:
        """Begin to connect, at most every ``_RETRY_S``."""
        if now_s - self.tried_s < _RETRY_S:
            return
        self.tried_s = now_s
        self.line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self.line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.line.setblocking(False)
        self.line.connect_ex((self.address, self.port))
        self.up = False

    def send(self, number: int, now_s: float) -> None:
        """One update, when the connection is up; else see whether it is."""
        if self.line is None:
            self.connect(now_s)
            return
        try:
            self.line.send(b"%d\n" % number)
            self.bytes_sent += len(b"%d\n" % number)
            if not self.up:
                self.up = True
                self.log["connected"].append([now_s, self.address])
        except BlockingIOError:
            if now_s - self.tried_s > _CONNECT_S and not self.up:
                self.drop(now_s, "no answer")
        except OSError as error:
            self.drop(now_s, error.strerror or str(error))

    def answers(self, now_s: float) -> list[int]:
        """The numbers that were acknowledged since."""
        if self.line is None:
            return []
        try:
            said = self.line.recv(65536)
        except BlockingIOError:
            return []
        except OSError as error:
            self.drop(now_s, error.strerror or str(error))
            return []
        if not said:
            self.drop(now_s, "closed")
            return []
        return [int(number) for number in said.split()]

    def drop(self, now_s: float, why: str) -> None:
        """The connection is over."""
        if self.up:
            self.log["broken"].append([now_s, self.address, why])
        if self.line is not None:
            self.line.close()
        self.line = None


def ask(values: dict[str, str]) -> None:
    """Send updates at ``rate`` a second until SIGTERM; write the log: [number, sent, answered or null] a transport,
    and which numbers each address has answered.
    """
    addresses, port, period_s = values["to"].split(","), int(values["port"]), 1.0 / float(values["rate"])
    log: dict[str, Any] = {"udp": [], "tcp": [], "connected": [], "broken": [], "bytes_sent": 0}
    askers = [Asker(address, port, log) for address in addresses]
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.setblocking(False)
    answered: dict[str, dict[int, float]] = {"udp": {}, "tcp": {}}
    by_address: dict[str, set[int]] = {address: set() for address in addresses}
    sent: list[float] = []
    due_s = time.monotonic()

    def write(*_: Any) -> None:
        for transport, found in answered.items():
            log[transport] = [[number, at_s, found.get(number)] for number, at_s in enumerate(sent)]
        log["answered_by"] = {address: sorted(numbers) for address, numbers in by_address.items()}
        log["bytes_sent"] = sum(asker.bytes_sent for asker in askers)
        part = Path(values["log"] + ".part")
        part.write_text(json.dumps(log))
        part.rename(values["log"])
        os._exit(0)

    signal.signal(signal.SIGTERM, write)
    while True:
        now_s = time.monotonic()
        while due_s <= now_s:
            for address in addresses:
                with contextlib.suppress(OSError):
                    datagrams.sendto(b"%d" % len(sent), (address, port))
            for asker in askers:
                asker.send(len(sent), now_s)
            sent.append(now_s)
            due_s += period_s
        with contextlib.suppress(OSError):
            while True:
                said, (address, _) = datagrams.recvfrom(100)
                answered["udp"].setdefault(int(said), time.monotonic())
                by_address[address].add(int(said))
        for asker in askers:
            for number in asker.answers(now_s):
                answered["tcp"].setdefault(number, time.monotonic())
                by_address[asker.address].add(number)
        time.sleep(max(0.0002, min(0.001, due_s - time.monotonic())))


if __name__ == "__main__":
    main(sys.argv[1:])
