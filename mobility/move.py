"""What the steps of one move work on: the network, the NVA, the record, and what they tell each other."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from controller.client import NvaClient
from emulation.network import EmulatedNetwork
from emulation.wiring import DIRECT, REDIRECTED, Wiring
from mobility.buffer_watch import BufferWatch
from mobility.copy import CopyPlan
from mobility.flows import Connection
from mobility.options import MoveOptions
from mobility.record import EmitsEvents, MigrationRecord
from mobility.stream import MemoryStream
from vocabulary.policies import OldNvePolicy

# A port's share of buffers, which a held frame keeps: 2,048 were held and the rest lost (measured).
AF_XDP_FRAMES = 2048


@dataclass
class Move:
    """What the steps of one move work on."""

    network: EmulatedNetwork
    nva: NvaClient
    options: MoveOptions
    policy: OldNvePolicy
    record: MigrationRecord
    emit: EmitsEvents
    accepted: bool = False
    forward: bool = False
    """The move has failed behind its switch: what the VM needs at its new place is done, in spite of everything."""
    waits: bool = True
    """A move that is rolled forward keeps its redirect until every NVE has the mapping."""
    went_back: bool = False
    """The VM is at its old NVE again, and the NVA has not been told yet."""
    plugged_back: bool = False
    stream: MemoryStream | None = None
    watch: BufferWatch | None = None
    rest: CopyPlan | None = None
    connections: set[Connection] = field(default_factory=set)
    misdirected_before: dict[str, Any] = field(default_factory=dict)
    _before: dict[str, Any] = field(default_factory=dict)

    @property
    def wiring(self) -> Wiring:
        """The VM's wiring; only steps of a pre-wired VM ask for it."""
        return self.network.wirings[self.record.vm]

    @property
    def mac(self) -> str:
        """The VM's MAC address."""
        return str(self.network.topology.vm(self.record.vm).mac)

    def underlay_ip(self, nve: str) -> str:
        """An NVE's tunnel address."""
        return str(self.network.topology.nve(nve).underlay_ip)

    def note(self, text: str) -> None:
        """Say something that a reader of the record should know."""
        self.emit(time.monotonic(), "note", text=text)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One northbound call of this move, with its events: the call itself, flow-mods and barriers per NVE."""
        start_s = time.monotonic()
        result: dict[str, Any] = getattr(self.nva, method)(migration_id=self.record.migration_id, **params)
        end_s = time.monotonic()
        self.emit(start_s, "northbound", method=method, start_s=start_s, end_s=end_s)
        for nve, timing in result.get("nves", {}).items() if isinstance(result.get("nves"), dict) else ():
            self.emit(start_s, "flow_mods", nve=nve, count=timing["flow_mods"])
            for step, key in (("prepare", "prepared_s"), ("commit", "committed_s")):
                if timing.get(key) is not None:
                    self.emit(timing[key], "barrier", nve=nve, step=step, operation=method)
        return {**result, "call_s": start_s}

    def unaware(self) -> dict[str, str]:
        """The NVEs that the commit was to tell, are away, and so may still send to the old NVE; and why (`forward`)."""
        record = self.record
        if not (self.policy.redirects and self.waits):
            return {}
        away: dict[str, str] = self.nva.where(record.vm)["away"]
        others = {record.old_nve, record.new_nve, *record.stale_peers}
        return {nve: why for nve, why in away.items() if nve not in others}

    def stops_at(self, at_s: float) -> None:
        """The VM, if it is to stand still at all, has stood still since then (the first time this is said)."""
        if self.options.pauses and self.record.paused_s is None:
            self.record.paused_s = at_s
            self.emit(at_s, "pause", mode=self.options.pause)

    def begin_counting(self) -> None:
        """Remember the wiring's counters; ``end_counting`` writes into the record what this move has added."""
        self._before = {
            "sunk": self.wiring.sunk_frames(),
            "dropped": self.wiring.dropped_frames(),
            "redirected": self.wiring.redirected_frames(self.record.new_nve),
        }

    def end_counting(self) -> None:
        """See ``begin_counting``."""
        record, before = self.record, self._before["sunk"]
        record.dropped_frames = self.wiring.dropped_frames()
        record.redirected_frames = self.wiring.redirected_frames(record.new_nve) - self._before["redirected"]
        record.overflow_frames = record.dropped_frames - self._before["dropped"]
        record.sunk_frames = {
            nve: {which: count - before.get(nve, {}).get(which, 0) for which, count in legs.items()}
            for nve, legs in self.wiring.sunk_frames().items()
            if nve in (record.old_nve, record.new_nve)
        }
        held = max((record.held_frames.get(holder, 0) for holder in (DIRECT, REDIRECTED)), default=0)
        if self.network.options.datapath.port_type == "afxdp" and held >= AF_XDP_FRAMES:
            self.note(
                f"a holder was full with {held} frames: an AF_XDP port sends no more until some of its {AF_XDP_FRAMES} "
                "are through, and what came meanwhile was lost at the new NVE; ports=afpacket has no such bound"
            )


def wait_until_s(moment_s: float) -> None:
    """Let time pass: it is what a modelled copy or an imposed downtime consists of."""
    while (left_s := moment_s - time.monotonic()) > 0:
        time.sleep(left_s)
