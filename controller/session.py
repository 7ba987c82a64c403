"""One NVE's connection: numbers messages, sends them as one buffer, matches errors and the barrier reply."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from controller import openflow

XID_LIMIT = 0x7FFF_FFFF


class NveGoneError(Exception):
    """The connection to the NVE ended before it answered."""


@dataclass(frozen=True)
class OpenFlowError:
    """An error message: which of the submitted messages (index), OpenFlow type and code.

    Index -1: a message of an earlier submit, which is how a bundle's message fails at its commit.
    """

    index: int
    type: int
    code: int


@dataclass(frozen=True)
class Reply:
    """The end of one submit: the errors until its barrier reply, and when that came (CLOCK_MONOTONIC)."""

    errors: tuple[OpenFlowError, ...]
    at_s: float


@dataclass(frozen=True)
class FlowCount:
    """What a switch says of one flow: priority, match in the framework's names, packets."""

    priority: int
    match: dict[str, Any]
    packets: int


@dataclass
class _Pending:
    first_xid: int
    future: Future[Reply]
    errors: list[OpenFlowError] = field(default_factory=list)


class Session:
    """A connected NVE. Any thread may submit; replies come from the framework's threads."""

    def __init__(
        self, dpid: int, send: Callable[[bytes], bool], close: Callable[[], None], now: Callable[[], float]
    ) -> None:
        self.dpid = dpid
        self.connected_s = now()
        self.programmed_s: float | None = None
        self.flows = 0
        self.cookie = 0
        self.problem: str | None = None
        self._send = send
        self._close = close
        self._now = now
        self._lock = threading.Lock()
        self._xid = 0
        self._bundle_id = 0
        self._pending: dict[int, _Pending] = {}
        self._counts: dict[int, tuple[Future[list[FlowCount]], list[FlowCount]]] = {}
        self._gone = False

    def next_bundle_id(self) -> int:
        """Return a bundle id not used in this session."""
        with self._lock:
            self._bundle_id += 1
            return self._bundle_id

    def submit(self, messages: Sequence[bytes]) -> Future[Reply]:
        """Send messages and a barrier as one buffer; the future ends with the barrier reply.

        It raises :class:`NveGoneError` when the connection ends first. Never wait for it in a handler of the
        framework: that thread delivers the reply.
        """
        future: Future[Reply] = Future()
        with self._lock:
            if self._xid + len(messages) + 1 > XID_LIMIT:
                self._xid = 0
            first = self._xid + 1
            self._xid += len(messages) + 1
            if not self._gone:
                self._pending[self._xid] = _Pending(first, future)
                sent = self._send(openflow.numbered([*messages, openflow.barrier()], first))
                if not sent:
                    self._gone = True
        if self._gone:
            self.on_gone()
            if not future.done():
                future.set_exception(NveGoneError())
        return future

    def ask_counts(self, message: bytes) -> Future[list[FlowCount]]:
        """Send a question for flow counters; the future ends with the last part of the answer, as in submit."""
        future: Future[list[FlowCount]] = Future()
        with self._lock:
            self._xid = 1 if self._xid >= XID_LIMIT else self._xid + 1
            self._counts[self._xid] = (future, [])
            sent = not self._gone and self._send(openflow.numbered([message], self._xid))
        if not sent:
            self.on_gone()
        return future

    def on_counts(self, xid: int, counts: Sequence[FlowCount], more: bool) -> None:
        """Take a part of an answer."""
        with self._lock:
            if xid not in self._counts:
                return
            future, found = self._counts[xid]
            found += counts
            if not more:
                del self._counts[xid]
        if not more:
            future.set_result(found)

    def on_barrier(self, xid: int) -> None:
        """Take a barrier reply."""
        with self._lock:
            pending = self._pending.pop(xid, None)
        if pending is not None:
            pending.future.set_result(Reply(tuple(pending.errors), self._now()))

    def on_error(self, xid: int, type_: int, code: int) -> bool:
        """Take an error message; False when it belongs to nothing submitted here."""
        with self._lock:
            for barrier_xid, pending in self._pending.items():
                if pending.first_xid <= xid <= barrier_xid:
                    pending.errors.append(OpenFlowError(xid - pending.first_xid, type_, code))
                    return True
            oldest = next(iter(self._pending.values()), None)
            if oldest is None or xid > self._xid:
                return False
            oldest.errors.append(OpenFlowError(-1, type_, code))
            return True

    def on_gone(self) -> None:
        """End everything that waits: the connection has ended."""
        with self._lock:
            self._gone = True
            self.programmed_s = None
            waiting, self._pending = list(self._pending.values()), {}
            asked, self._counts = list(self._counts.values()), {}
        for pending in waiting:
            pending.future.set_exception(NveGoneError())
        for future, _ in asked:
            future.set_exception(NveGoneError())

    def close(self) -> None:
        """End the connection; the NVE connects again and is then brought up to date."""
        self.on_gone()
        self._close()
