"""A migration: its phases in order, each timed, each with a hook and, up to the switch, an undo.

    allocate  the new NVE gets a place for the VM (its legs, when it has none there)
    prepare   the NVA programs the new NVE; the peers' mapping stays
    copy      memory: nothing here, a hot move of this kind isolates the network's share
    stop      the policy's steps before the switch: redirect at the old NVE, hold at the new one
    switch    the VM is attached to the new NVE and the old leg is cut, both ways
    resume    what was held is released: the VM's own packets, then those that came through the old NVE
    announce  RARP from the new place
    converge  the NVA changes every NVE's mapping (two-phase) and the datapaths follow
    drain     until nothing can still be on the old path; then what came directly is released
    release   the old NVE's redirect and attachment end

RFC 8394 section 3 has the life cycle; the phases' names are this project's.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from controller.client import NvaClient
from controller.markers import decode_end_marker
from emulation.frames import MarkerListener
from emulation.network import EmulatedNetwork
from emulation.wiring import DIRECT, OUTBOUND, REDIRECTED

from .datapath import stale_at_new_nve, stale_at_old_nve, stale_at_peer_nve
from .policies import MigrationRefusedError, OldNvePolicy, policy_for

PHASES = (
    "allocate",
    "prepare",
    "copy",
    "stop",
    "switch",
    "resume",
    "announce",
    "converge",
    "drain",
    "release",
)
KINDS = ("hot",)
CLEAR_BOUND_S = 0.05
END_MARKER_BOUND_S = 0.1

Emit = Callable[..., None]


class EmitsEvents(Protocol):
    """Receives events: ``emit(t_s, kind, **fields)`` as in DESIGN.md."""

    def __call__(self, t_s: float, kind: str, **fields: Any) -> None:
        """Take one event."""


def _ignore(t_s: float, kind: str, **fields: Any) -> None:
    """Nobody listens."""


@dataclass(frozen=True)
class Phase:
    """One phase with its times on the monotonic clock."""

    name: str
    start_s: float
    end_s: float


@dataclass
class MigrationRecord:
    """What a move did: phases in order, times, frames held, and how it ended."""

    migration_id: str
    kind: str
    vm: str
    old_nve: str
    new_nve: str
    policy: str
    attachment: str
    phases: list[Phase] = field(default_factory=list)
    call_to_last_barrier_s: float | None = None
    old_path_clear_s: float | None = None
    end_markers_s: float | None = None
    held_frames: dict[str, int] = field(default_factory=dict)
    dropped_frames: int = 0
    outcome: str = "running"

    def as_dict(self) -> dict[str, Any]:
        """The ``migration`` object of a run's record."""
        return {
            **{key: value for key, value in vars(self).items() if key != "phases"},
            "phases": [vars(phase) for phase in self.phases],
        }


class Migration:
    """One move of one VM; ``run`` does it. ``hooks``: phase name -> called when the phase begins."""

    def __init__(
        self,
        network: EmulatedNetwork,
        nva: NvaClient,
        vm: str,
        new_nve: str,
        *,
        kind: str = "hot",
        policy: str = "buffer",
        emit: EmitsEvents = _ignore,
        hooks: dict[str, Callable[[], None]] | None = None,
    ) -> None:
        self._network, self._nva, self._emit = network, nva, emit
        self._hooks = hooks or {}
        _check_names(network, vm, new_nve, kind)
        self._wiring = network.wirings.get(vm)
        self._attachment = "rebind" if self._wiring else "replug"
        self._policy: OldNvePolicy = policy_for(policy, self._attachment)
        self._undo = ExitStack()
        self._mac = network.topology.vm(vm).mac
        self.record = MigrationRecord(
            migration_id=uuid.uuid4().hex,
            kind=kind,
            vm=vm,
            old_nve=network.location[vm],
            new_nve=new_nve,
            policy=policy,
            attachment=self._attachment,
        )

    def run(self) -> MigrationRecord:
        """Do the move. A failure before the switch is undone and raised; after it, it is raised as it is."""
        switched = False
        try:
            for name in PHASES:
                with self._phase(name):
                    getattr(self, f"_{name}")()
                if name == "switch":
                    switched = True
                    self._undo.pop_all()
        except BaseException as error:
            phase = self.record.phases[-1].name if self.record.phases else PHASES[0]
            self.record.outcome = f"failed in {phase}: {error}" + ("" if switched else "; undone")
            self._undo.close()
            raise
        self.record.outcome = "done"
        return self.record

    @contextmanager
    def _phase(self, name: str) -> Iterator[None]:
        start_s = time.monotonic()
        try:
            if name in self._hooks:
                self._hooks[name]()
            yield
        finally:
            end_s = time.monotonic()
            self.record.phases.append(Phase(name, start_s, end_s))
            self._emit(start_s, "phase", name=name, start_s=start_s, end_s=end_s)

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        """One northbound call, with its events: the call itself, flow-mods and barriers per NVE."""
        start_s = time.monotonic()
        result: dict[str, Any] = getattr(self._nva, method)(migration_id=self.record.migration_id, **params)
        end_s = time.monotonic()
        self._emit(start_s, "northbound", method=method, start_s=start_s, end_s=end_s)
        for nve, timing in result.get("nves", {}).items() if isinstance(result.get("nves"), dict) else ():
            self._emit(start_s, "flow_mods", nve=nve, count=timing["flow_mods"])
            for step, key in (("prepare", "prepared_s"), ("commit", "committed_s")):
                if timing.get(key) is not None:
                    self._emit(timing[key], "barrier", nve=nve, step=step, operation=method)
        return {**result, "call_s": start_s}

    def _underlay_ip(self, nve: str) -> str:
        return str(self._network.topology.nve(nve).underlay_ip)

    # The phases.

    def _allocate(self) -> None:
        record, network = self.record, self._network
        if self._wiring is not None and record.new_nve not in self._wiring.legs:
            ports = network.add_legs(record.vm, record.new_nve)
            self._nva.set_port(record.vm, record.new_nve, ports["direct"], ports["redirected"])

    def _prepare(self) -> None:
        record = self.record
        self._undo.callback(self._abort)
        self._call("prepare_move", vm=record.vm, new_nve=record.new_nve, policy=record.policy)
        if self._wiring is not None:
            self._wiring.close_holders()
        self._network.settle([record.new_nve], stale_at_new_nve(self._mac))

    def _abort(self) -> None:
        """Undo of `prepare` and of all that follows up to the switch."""
        self._nva.abort_move(migration_id=self.record.migration_id)
        if self._wiring is not None:
            self._wiring.go_back(self.record.old_nve)

    def _copy(self) -> None:
        """A move without memory to copy; the phase keeps its place in the record."""

    def _stop(self) -> None:
        record, wiring = self.record, self._wiring
        if self._policy.holds and wiring is not None:
            held_s = wiring.hold_inbound(record.new_nve)
            for holder in (REDIRECTED, DIRECT):
                self._emit(held_s, "hold", holder=holder)
        if self._policy.redirects:
            self._call("redirect")
            # Until the old NVE's datapath follows, packets still come through the old leg: they are the VM's.
            self._network.settle(
                [record.old_nve], stale_at_old_nve(self._mac, self._underlay_ip(record.new_nve))
            )
        if self._policy.holds and wiring is not None:
            self._emit(wiring.hold_outbound(), "hold", holder=OUTBOUND)
            record.old_path_clear_s = wiring.await_old_path_clear(
                record.old_nve, record.new_nve, CLEAR_BOUND_S
            )
            if record.old_path_clear_s is None:
                self._note(f"the old path was not clear of the VM's last packets within {CLEAR_BOUND_S:g} s")

    def _switch(self) -> None:
        record = self.record
        if self._wiring is not None:
            at_s = self._wiring.switch(record.new_nve)
            self._network.location[record.vm] = record.new_nve
        else:
            port = self._network.replug(record.vm, record.new_nve)
            self._nva.set_port(record.vm, record.new_nve, port, None)
            at_s = time.monotonic()
        self._emit(at_s, "switch", old_nve=record.old_nve, new_nve=record.new_nve)

    def _resume(self) -> None:
        if self._policy.holds:
            self._release_holder(OUTBOUND)
            self._release_holder(REDIRECTED)

    def _announce(self) -> None:
        if self._wiring is not None:
            at_s = self._wiring.announce(self.record.new_nve)
            self._emit(at_s, "rarp", vm=self.record.vm, nve=self.record.new_nve)

    def _converge(self) -> None:
        result = self._call("commit_move")
        self.record.call_to_last_barrier_s = result["last_barrier_s"] - result["call_s"]
        self._network.settle(
            self._network.nves, stale_at_peer_nve(self._mac, self._underlay_ip(self.record.old_nve))
        )

    def _drain(self) -> None:
        if not self._policy.redirects or self._wiring is None:
            return
        markers = self._wiring.end_markers(self.record.new_nve)
        sent = self._call("send_end_markers", number=1)
        self.record.end_markers_s = self._await_end_markers(markers, set(sent["nves"]), sent["sent_s"])
        if self._policy.holds:
            self._release_holder(DIRECT)

    def _await_end_markers(self, markers: MarkerListener, missing: set[str], sent_s: float) -> float | None:
        deadline_s = time.monotonic() + END_MARKER_BOUND_S
        while missing:
            frame = markers.next(deadline_s - time.monotonic())
            if frame is None:
                self._note(f"no end marker from {', '.join(sorted(missing))} within {END_MARKER_BOUND_S:g} s")
                return None
            marker = decode_end_marker(frame)
            if marker is not None and marker.migration_id == self.record.migration_id:
                missing.discard(marker.nve)
        return time.monotonic() - sent_s

    def _release(self) -> None:
        if self._wiring is not None:
            self.record.dropped_frames = self._wiring.dropped_frames()
            self._wiring.straighten()
        self._call("finish_move")

    def _release_holder(self, holder: str) -> None:
        assert self._wiring is not None  # only `rebind` has holders; policy_for sees to it
        at_s, frames = self._wiring.release(holder)
        self.record.held_frames[holder] = frames
        self._emit(at_s, "release", holder=holder, frames=frames)

    def _note(self, text: str) -> None:
        self._emit(time.monotonic(), "note", text=text)


def _check_names(network: EmulatedNetwork, vm: str, new_nve: str, kind: str) -> None:
    if kind not in KINDS:
        raise MigrationRefusedError(f"{kind!r} is not a kind of move; allowed: {', '.join(KINDS)}")
    if vm not in network.location:
        raise MigrationRefusedError(f"there is no VM {vm!r}; this network has {', '.join(network.location)}")
    if new_nve not in network.nves:
        raise MigrationRefusedError(
            f"there is no NVE {new_nve!r}; this network has {', '.join(network.nves)}"
        )
    if network.location[vm] == new_nve:
        others = ", ".join(name for name in network.nves if name != new_nve)
        raise MigrationRefusedError(f"{vm} is at {new_nve} already; move it to one of {others}")
