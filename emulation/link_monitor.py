"""What the kernel says of links and neighbours in every node's namespace, as events on the run's clock.

One netlink socket a namespace, made inside it, one thread for all: it sleeps until the kernel has something to say.
Messages are stamped when they are read. Only changes are told: a link that is new, gone, up or down, a neighbour with
another state. Structures: linux/rtnetlink.h, linux/if_link.h, linux/neighbour.h.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from emulation.errors import SystemCallError
from emulation.netlink import attributes
from emulation.sandbox import network_namespace

RTMGRP_LINK, RTMGRP_NEIGH = 0x1, 0x4
RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_NEWNEIGH, RTM_DELNEIGH = 16, 17, 18, 28, 29
NLM_F_REQUEST, NLM_F_DUMP, NLMSG_ERROR, NLMSG_DONE = 0x001, 0x300, 2, 3
_ANSWER_BOUND_S = 5.0
IFLA_IFNAME, NDA_DST = 3, 1
IFF_UP, IFF_LOWER_UP = 0x1, 0x10000
ENOBUFS = 105
HERE = "sandbox"
_HEADER, _LINK, _NEIGHBOUR = struct.Struct("=IHHII"), struct.Struct("=BxHiII"), struct.Struct("=BxxxiHBB")
_STATES = {
    0x01: "incomplete",
    0x02: "reachable",
    0x04: "stale",
    0x08: "delay",
    0x10: "probe",
    0x20: "failed",
    0x40: "noarp",
    0x80: "permanent",
}
_AGEING = frozenset(("stale", "delay", "probe", "reachable"))
"""States between which an entry goes by itself: told only where one begins or ends, not on each of their turns."""


@dataclass(frozen=True)
class Told:
    """One change: ``kind`` is ``link`` or ``neighbour``; ``what`` the device or the address; ``change`` in a word."""

    kind: str
    what: str
    change: str


def messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and payload of each message in what one read gave. Pure."""
    while len(data) >= _HEADER.size:
        length, kind, *_ = _HEADER.unpack_from(data)
        if length < _HEADER.size:
            return
        yield kind, data[_HEADER.size : length]
        data = data[(length + 3) & ~3 :]


class Changes:
    """Of one namespace: from messages to what has changed. Pure but for what it remembers."""

    def __init__(self) -> None:
        self._links: dict[int, tuple[str, str]] = {}
        self._neighbours: dict[str, str] = {}

    def take(self, kind: int, payload: bytes) -> Told | None:
        """What a message says that was not so before; None when nothing."""
        if kind in (RTM_NEWLINK, RTM_DELLINK) and len(payload) >= _LINK.size:
            return self._link(kind, payload)
        if kind in (RTM_NEWNEIGH, RTM_DELNEIGH) and len(payload) >= _NEIGHBOUR.size:
            return self._neighbour(kind, payload)
        return None

    def _link(self, kind: int, payload: bytes) -> Told | None:
        family, _, index, flags, _ = _LINK.unpack_from(payload)
        if family != socket.AF_UNSPEC:  # a bridge speaks of its ports
            return None
        name = attributes(payload[_LINK.size :]).get(IFLA_IFNAME, b"?").rstrip(b"\0").decode(errors="replace")
        state = "up" if flags & IFF_UP and flags & IFF_LOWER_UP else "down"
        if kind == RTM_DELLINK:
            self._links.pop(index, None)
            return Told("link", name, "gone")
        before = self._links.get(index)
        self._links[index] = (name, state)
        if before is None:
            return Told("link", name, f"new, {state}")
        return None if before == (name, state) else Told("link", name, state)

    def _neighbour(self, kind: int, payload: bytes) -> Told | None:
        family, _, state, _, _ = _NEIGHBOUR.unpack_from(payload)
        address = attributes(payload[_NEIGHBOUR.size :]).get(NDA_DST, b"")
        if family not in (socket.AF_INET, socket.AF_INET6) or len(address) not in (4, 16):
            return None
        what = str(ipaddress.ip_address(address))
        word = "gone" if kind == RTM_DELNEIGH else _STATES.get(state, f"state {state:#x}")
        before, self._neighbours[what] = self._neighbours.get(what, ""), word
        if word == before or (word in _AGEING and before in _AGEING):
            return None
        return Told("neighbour", what, word)


def links_there(one: socket.socket) -> Changes:
    """What a socket's namespace has now, so that only what comes later is new."""
    changes, done = Changes(), False
    length = _HEADER.size + 4
    request = _HEADER.pack(length, RTM_GETLINK, NLM_F_REQUEST | NLM_F_DUMP, 1, 0)
    one.send(request + struct.pack("=B3x", socket.AF_UNSPEC))
    while not done:
        for kind, payload in messages(one.recv(1 << 16)):
            changes.take(kind, payload)
            done = done or kind in (NLMSG_DONE, NLMSG_ERROR)
    return changes


Heard = Callable[[float, str, Told], None]
"""Gets when (CLOCK_MONOTONIC), in which node, and what."""


class LinkMonitor:
    """``nodes``: name -> process in its namespace; the sandbox's own namespace is ``sandbox``. Runs until ``close``."""

    def __init__(self, nodes: Mapping[str, int], heard: Heard) -> None:
        self._heard = heard
        self._selector = selectors.DefaultSelector()
        self._changes: dict[str, Changes] = {}
        self._add(HERE)
        for name, pid in nodes.items():
            with network_namespace(pid):
                self._add(name)
        self._wake, self._woken = os.pipe()
        self._selector.register(self._wake, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _add(self, node: str) -> None:
        one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        one.settimeout(_ANSWER_BOUND_S)
        try:
            one.bind((0, RTMGRP_LINK | RTMGRP_NEIGH))
            self._changes[node] = links_there(one)
        except OSError as error:
            raise SystemCallError(f"{node}: listen to its links", error.errno or 0) from None
        one.setblocking(False)
        self._selector.register(one, selectors.EVENT_READ, node)

    def _listen(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    return
                self._read(key.data, key.fileobj)  # type: ignore[arg-type] # only sockets have data

    def _read(self, node: str, one: socket.socket) -> None:
        try:
            data = one.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError as error:
            if error.errno != ENOBUFS:
                raise
            self._heard(time.monotonic(), node, Told("link", "?", "messages of the kernel were lost"))
            return
        now_s = time.monotonic()
        for kind, payload in messages(data):
            told = self._changes[node].take(kind, payload)
            if told is not None:
                self._heard(now_s, node, told)

    def close(self) -> None:
        """End the thread and close all sockets."""
        os.write(self._woken, b"x")
        self._thread.join()
        for key in list(self._selector.get_map().values()):
            if key.data is not None:
                with contextlib.suppress(OSError):
                    key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()
        os.close(self._wake)
        os.close(self._woken)
