"""An NVE that speaks just enough OpenFlow to answer bundles; tests set what it refuses or ignores."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator

from controller.framework import ofproto
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


class FakeNve:
    """Answers in a thread of its own, as a switch does. ``committed`` counts flow-mods that took effect."""

    def __init__(self, dpid: int) -> None:
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
        threading.Thread(target=self._run, daemon=True).start()

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
        self.steps.append(step)
        if step == "prepare":
            self.bundles[bundle_id] = []
        elif step == "discard":
            self.bundles.pop(bundle_id, None)
        elif self.refuse_commit:
            self.session.on_error(xid, ofproto.OFPET_FLOW_MOD_FAILED, ofproto.OFPFMFC_TABLE_FULL)
        elif "commit" not in self.die_on:
            self.committed.append(self.bundles.pop(bundle_id))
        return step
