"""An NVE that speaks just enough OpenFlow to answer bundles and keep a table; tests set what it refuses or ignores."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator

from controller.framework import ofproto
from controller.openflow import changes
from controller.pipeline import Flow
from controller.session import FlowCount, Session

OPEN, COMMIT, DISCARD = (
    ofproto.ONF_BCT_OPEN_REQUEST,
    ofproto.ONF_BCT_COMMIT_REQUEST,
    ofproto.ONF_BCT_DISCARD_REQUEST,
)


def split(buffer: bytes) -> Iterator[bytes]:
    """Yield the OpenFlow messages in a buffer."""
    while buffer:
        length = int.from_bytes(buffer[2:4], "big")
        yield buffer[:length]
        buffer = buffer[length:]


Table = dict[bytes, tuple[int, bytes]]
"""Table, priority and match of a flow -> its cookie, and its hard timeout and actions; as they are on the wire."""


def _change(table: Table, flow_mod: bytes) -> None:
    """Apply a flow-mod (struct ofp_flow_mod of OpenFlow 1.3) as a switch does."""
    cookie, mask = int.from_bytes(flow_mod[8:16], "big"), int.from_bytes(flow_mod[16:24], "big")
    command, match_end = flow_mod[25], 48 + (int.from_bytes(flow_mod[50:52], "big") + 7) // 8 * 8
    key = flow_mod[24:25] + flow_mod[30:32] + flow_mod[48:match_end]
    if command == ofproto.OFPFC_ADD:
        table[key] = (cookie, flow_mod[28:30] + flow_mod[match_end:])
    elif command == ofproto.OFPFC_DELETE_STRICT:
        table.pop(key, None)
    else:
        assert command == ofproto.OFPFC_DELETE
        for other in [k for k, (its, _) in table.items() if (its ^ cookie) & mask == 0]:
            del table[other]


def without_cookies(table: Table) -> dict[bytes, bytes]:
    """What a table does, whoever made it."""
    return {key: does for key, (_, does) in table.items()}


def table_of(flows: Iterable[Flow]) -> dict[bytes, bytes]:
    """The table that holds exactly these flows."""
    made: Table = {}
    for flow_mod in changes(flows, (), 0):
        _change(made, flow_mod)
    return without_cookies(made)


class FakeNve:
    """Answers in a thread of its own, as a switch does. ``committed`` counts flow-mods that took effect.

    ``stop`` and ``go_on`` are SIGSTOP and SIGCONT: what was sent meanwhile is done afterwards, on whichever
    connection it came. ``stop_on``: a step before which it stops by itself.
    """

    def __init__(self, dpid: int, table: Table | None = None) -> None:
        self.table: Table = {} if table is None else table
        self.stop_on: set[str] = set()
        self._runs = threading.Event()
        self._runs.set()
        self.refuse_add = False
        self.refuse_commit = False
        self.silent_on: set[str] = set()
        self.die_on: set[str] = set()
        self.steps: list[str] = []
        self.bundles: dict[int, list[bytes]] = {}
        self.committed: list[list[bytes]] = []
        self.packet_outs: list[bytes] = []
        self.meters: list[bytes] = []
        self.counts: list[FlowCount] = []
        self.closed = threading.Event()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.session = Session(dpid, self._send, self.close, time.monotonic)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._runs.clear()

    def go_on(self) -> None:
        self._runs.set()

    def end(self) -> None:
        """The connection ends, and what was sent before is done."""
        self.go_on()
        self.close()
        self._thread.join(5.0)
        assert not self._thread.is_alive()

    def _send(self, buffer: bytes) -> bool:
        if self.closed.is_set():
            return False
        self._queue.put(buffer)
        return True

    def close(self) -> None:
        self.closed.set()
        self._queue.put(None)

    def _run(self) -> None:
        while (buffer := self._queue.get()) is not None:
            self._runs.wait()
            steps = [self._take(message) for message in split(buffer)]
            if {s for s in steps if s} & self.die_on:
                self.close()
                self.session.on_gone()

    def _take(self, message: bytes) -> str | None:
        xid = int.from_bytes(message[4:8], "big")
        kind = message[1]
        if kind == ofproto.OFPT_BARRIER_REQUEST:
            if self.steps and self.steps[-1] in self.silent_on | self.die_on:
                return None
            self.session.on_barrier(xid)
            return None
        if kind == ofproto.OFPT_PACKET_OUT:
            self.packet_outs.append(message)
            return None
        if kind == ofproto.OFPT_METER_MOD:
            self.meters.append(message)
            return None
        if kind == ofproto.OFPT_MULTIPART_REQUEST:
            half = len(self.counts) // 2
            self.session.on_counts(xid, self.counts[:half], True)
            self.session.on_counts(xid, self.counts[half:], False)
            return None
        bundle_id = int.from_bytes(message[16:20], "big")
        if int.from_bytes(message[12:16], "big") == ofproto.ONF_ET_BUNDLE_ADD_MESSAGE:
            assert message[28:32] == message[4:8], "a bundled message has its wrapper's xid"
            if self.refuse_add:
                self.session.on_error(xid, ofproto.OFPET_BAD_ACTION, ofproto.OFPBAC_BAD_OUT_PORT)
            else:
                self.bundles[bundle_id].append(message[24:])
            return None
        step = {OPEN: "prepare", COMMIT: "commit", DISCARD: "discard"}[int.from_bytes(message[20:22], "big")]
        if step in self.stop_on:
            self.stop()
            self._runs.wait()
        self.steps.append(step)
        if step == "prepare":
            self.bundles[bundle_id] = []
        elif step == "discard":
            self.bundles.pop(bundle_id, None)
        elif self.refuse_commit:
            self.session.on_error(xid, ofproto.OFPET_FLOW_MOD_FAILED, ofproto.OFPFMFC_TABLE_FULL)
        elif "commit" not in self.die_on:
            self.committed.append(self.bundles.pop(bundle_id))
            for flow_mod in self.committed[-1]:
                _change(self.table, flow_mod)
        return step
