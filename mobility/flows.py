"""The connections a VM has, read from its kernel: what the stop rule ``flow-end`` waits for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_TCP_ENDED = {"06", "07", "0A"}  # TIME_WAIT, CLOSE, LISTEN (net/tcp_states.h)
_FILES = ("tcp", "tcp6", "udp", "udp6")


@dataclass(frozen=True)
class Connection:
    """One connected socket; addresses as the kernel prints them."""

    protocol: str
    local: str
    remote: str


def connections(protocol: str, table: str) -> set[Connection]:
    """The live connections in the text of ``/proc/net/tcp`` or its kin (proc(5)). Pure.

    A UDP socket counts when it is connected; such a flow ends when the socket is closed.
    """
    found = set()
    for line in table.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 4:
            continue
        _, local, remote, state = fields[:4]
        if int(remote.rpartition(":")[2], 16) == 0 or (protocol.startswith("tcp") and state in _TCP_ENDED):
            continue
        found.add(Connection(protocol, local, remote))
    return found


def connections_of(pid: int) -> set[Connection]:
    """The live connections in the network namespace of a process."""
    found: set[Connection] = set()
    for name in _FILES:
        path = Path(f"/proc/{pid}/net/{name}")
        if path.exists():
            found |= connections(name, path.read_text())
    return found


def still_there(before: Iterable[Connection], now: Iterable[Connection]) -> int:
    """How many of the connections of before are left."""
    return len(set(before) & set(now))
