"""The NVA itself: mapping, journal and NVEs behind one call for each northbound method."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from controller import openflow
from controller.counts import misdirected
from controller.events import EventHub
from controller.fabric import ANSWER_WITHIN_S, Change, Desired, Fabric, partly
from controller.flows import delta, desired_flows, peer_flows
from controller.journal import Journal, remember
from controller.model import VM, Refused, State, find_move, find_nve
from controller.operations import MOVE_OPERATIONS, STAGES_AHEAD, apply, facts
from controller.packet_in import PacketIn, PacketIns
from controller.session import NveGoneError, Session
from controller.written import written
from vocabulary.lifecycle import TRANSITIONS, TSI_STATES
from vocabulary.moves import PUSH
from vocabulary.policies import POLICIES
from wire.markers import EndMarker, encode_end_marker

NEED_ALL = frozenset({"prepare_move", "redirect"})
"""Calls that change nothing unless every NVE concerned is there; the others go on with those that are.

A move begins only when every NVE that it will change answers. From then on none of them can keep it from its end:
the VM may be at its new place already, and its peers must not wait for an NVE that is away.
"""
SAYS_WHO_IS_MISSING = frozenset({*NEED_ALL, "commit_move"})
"""Calls that end with PartlyCommittedError when an NVE has gone; the others say it in their result."""


class NotProgrammedError(Exception):
    """Some NVE was not connected and programmed in time; ``data`` says which and why."""

    def __init__(self, message: str, **data: Any) -> None:
        super().__init__(message)
        self.data = data


class Nva:
    """One NVA. Its methods may be called from any thread; changes happen one at a time."""

    def __init__(
        self,
        journal: Journal,
        events: EventHub,
        fault: Callable[[BaseException], None],
        now: Callable[[], float] = time.monotonic,
        answer_within_s: float = ANSWER_WITHIN_S,
    ) -> None:
        self.state: State = journal.state
        self.events = events
        self.fault = fault
        self.now = now
        self.dead_threads: Callable[[], int] = lambda: 0
        self._journal = journal
        self._results = journal.results
        self.fabric = Fabric(events, now, journal.next_epoch, self._desired, fault, answer_within_s)
        self._packet_ins = PacketIns(self)

    # What the NVEs tell

    def nve_name(self, dpid: int) -> str | None:
        """Return the name of the NVE with this datapath id."""
        return next((nve.name for nve in self.state.nves.values() if nve.dpid == dpid), None)

    def _desired(self, dpid: int) -> Desired | None:
        name, state = self.nve_name(dpid), self.state
        return None if name is None else Desired(name, desired_flows(state, name), state.packet_in_limit_pps)

    def nve_connected(self, session: Session) -> None:
        """Take a new connection."""
        self.events.publish("nve_connected", nve=self.nve_name(session.dpid), dpid=session.dpid)
        self.fabric.connected(session)

    def nve_gone(self, session: Session) -> None:
        """Take the end of a connection."""
        if self.fabric.gone(session):
            self.events.publish("nve_gone", nve=self.nve_name(session.dpid), dpid=session.dpid)

    def port_changed(self, dpid: int, port: str, change: str, up: bool) -> None:
        """Tell watchers of a port that an NVE has added, removed or seen change."""
        self.events.publish("port", nve=self.nve_name(dpid), port=port, change=change, up=up)

    def packet_in(self, packet: PacketIn) -> None:
        """Take a frame sent to the NVA; it is dealt with in a thread of its own."""
        self._packet_ins.put(packet)

    # Northbound: changes

    def change(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Do one of :data:`controller.operations.OPERATIONS`, on mapping and all NVEs or not at all."""
        received_s = self.now()
        with self.fabric.lock:
            if (known := self._repeated(operation, params)) is not None:
                return known
            before, after = self.state, apply(self.state, operation, params)
            if operation == "configure":
                return self._configure(params, before, after)
            nves: dict[str, Any] = {}
            result = {
                "version": after.version,
                "received_s": received_s,
                "last_barrier_s": received_s,
                "nves": nves,
            }
            intended = False

            def intend() -> None:
                nonlocal intended
                self._journal.intent(operation, params)
                intended = True

            changes = _changes(before, after)
            ahead = _changes_ahead(after, params["migration_id"]) if operation == "prepare_move" else []
            changed = {change.nve for change in changes}
            asked = {change.nve: change.dpid for change in ahead if change.nve not in changed}
            try:
                applied = self.fabric.apply(operation, changes, intend, operation in NEED_ALL, asked)
            except Exception:
                if intended:
                    self._journal.undone()
                raise
            self.state = after
            nves.update(applied.timing)
            times = [timing["committed_s"] for timing in nves.values() if timing["committed_s"] is not None]
            result["last_barrier_s"] = max(times, default=received_s)
            result |= facts(after, operation, params)
            self._journal.done(result)
            remember(self._results, operation, params, result)
            self._tell_updates(operation, params, before, nves)
            for change in ahead:  # encoded now, when nobody waits for it
                openflow.changes(change.adds, change.deletes, 0)
            if operation in TRANSITIONS:
                vm = self.state.vms[params["vm"]]
                self.events.publish("lifecycle", vm=vm.name, nve=vm.nve, verb=operation, state=vm.state)
            if applied.missing and operation in SAYS_WHO_IS_MISSING:
                raise partly(operation, applied.missing)
            return result

    def _tell_updates(
        self, operation: str, params: Mapping[str, Any], before: State, nves: Mapping[str, Any]
    ) -> None:
        """Publish which peer NVEs have a new mapping of which VM, and why."""
        if operation == "commit_move":
            move = find_move(before, operation, params["migration_id"])
            vm, cause = move.vm, PUSH if before.strategy == PUSH else "announce"
            peers = set(nves) - {move.old_nve, move.new_nve}
        elif operation in ("learn", "announced"):
            vm, cause = params["vm"], params.get("cause", "announce")
            peers = set(before.believed.get(vm, {})) - set(self.state.believed.get(vm, {}))
        else:
            return
        for nve in sorted(peers):
            at_s = nves.get(nve, {}).get("committed_s")
            self.events.publish("peer_updated", at_s, nve=nve, vm=vm, cause=cause)

    def _repeated(self, operation: str, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the first result of a move call that is made again."""
        if operation not in MOVE_OPERATIONS:
            return None
        migration_id = params["migration_id"]
        first = self._results.get((migration_id, operation))
        if first is not None:
            if first[0] != params:
                raise Refused(
                    f"{operation} {migration_id!r}",
                    f"that id was used with other parameters: {first[0]}",
                    "use a new migration_id",
                )
            return first[1]
        ended = {"finish_move", "abort_move"} & {op for m, op in self._results if m == migration_id}
        if ended:
            raise Refused(
                f"{operation} {migration_id!r}",
                f"that move has ended by {ended.pop()}",
                "use a new migration_id for a new move",
            )
        return None

    def _configure(self, params: Mapping[str, Any], before: State, after: State) -> dict[str, Any]:
        same = replace(before, version=after.version) == after
        if not same:
            self._journal.intent("configure", params)
            self._journal.done({})
            self.state = after
            self.fabric.resync_all()
        return {"version": self.state.version}

    # Northbound: end markers

    def send_end_markers(self, migration_id: str, number: int) -> dict[str, Any]:
        """Send one frame from each NVE that had the old path, along that path."""
        what = f"send_end_markers {migration_id!r}"
        with self.fabric.lock:
            state = self.state
            move = find_move(state, what, migration_id)
            passing = [name for name, policy in POLICIES.items() if policy.tunnels]
            if move.stage != "committed" or move.policy not in passing or move.ended:
                raise Refused(
                    what,
                    f"the move is at stage {move.stage} with policy {move.policy}",
                    f"allowed at stage committed with policy {' or '.join(sorted(passing))}",
                )
            vm = state.vms[move.vm]
            old, new = state.nves[move.old_nve], state.nves[move.new_nve]
            futures = {}
            stale = state.believed.get(vm.name, {})
            for name, vnis in state.reached.items():
                if vm.vni not in vnis or name in stale:
                    continue
                nve = state.nves[name]
                # The old path of frames from the old NVE itself is its redirect to the new one.
                towards = new if nve == old else old
                frame = encode_end_marker(vm.mac, EndMarker(migration_id, name, number))
                message = openflow.tunnel_packet_out(frame, towards.underlay_ip, vm.vni, nve.tunnel_port)
                future = self.fabric.packet_out(nve.dpid, [message])
                if future is not None:
                    futures[name] = future
                    self.events.publish("end_marker", nve=name, number=number)
            sent_s = self.now()
        sent = []
        for name, future in futures.items():
            try:
                if not future.result(self.fabric.answer_within_s).errors:
                    sent.append(name)
            except (NveGoneError, TimeoutError):
                continue  # not among those to wait for
        return {"nves": sorted(sent), "stale": sorted(stale), "sent_s": sent_s}

    def refresh_peer(self, nve: str, vm: str) -> None:
        """Give an NVE its (true) mapping of a VM again: it had expired."""
        with self.fabric.lock:
            state = self.state
            flows = peer_flows(state, nve, vm)
            change = Change(nve, state.nves[nve].dpid, flows, frozenset(), (flows, frozenset()))
            self.fabric.apply("refresh", [change], lambda: None, need_all=False)
            self.events.publish("mapping_refreshed", nve=nve, vm=vm)

    # Northbound: questions

    def misdirected(self, vm: str) -> dict[str, Any]:
        """Return what came for a VM at NVEs it has left, since they count."""
        return misdirected(self.state, self.fabric, vm)

    def where(self, vm: str) -> dict[str, Any]:
        """Return a VM's place, as everybody but a moving VM's old NVE sees it."""
        state = self.state
        if vm not in state.vms:
            names = ", ".join(sorted(state.vms)) or "none"
            raise Refused(f"where {vm!r}", "there is no such VM", f"VMs are: {names}")
        found, move = state.vms[vm], state.moves.get(vm)
        return {
            "vm": vm,
            "nve": found.nve,
            "vni": found.vni,
            "mac": found.mac,
            "ipv4": found.ipv4,
            "ports": {nve: vars(ports) for nve, ports in found.ports},
            "ipv6": found.ipv6,
            "state": found.state,
            "tsi_state": TSI_STATES[found.state],
            "link_local": found.link_local,
            "move": None if move is None else vars(move),
            "believed": dict(state.believed.get(vm, {})),
            "away": self._away(found),
        }

    def desired_flows(self, nve: str) -> dict[str, Any]:
        """Return the NVA's book of an NVE: every flow that it is to have, as a flow dump would write it."""
        state = self.state
        find_nve(state, f"desired_flows {nve!r}", nve)
        return {
            "nve": nve,
            "version": state.version,
            "flows": sorted(written(entry) for entry in desired_flows(state, nve)),
        }

    def _away(self, vm: VM) -> dict[str, str]:
        """Return the NVEs that are to know a VM and cannot be told now, and why: they get it when they return."""
        state = self.state
        concerned = [
            nve
            for nve in state.nves.values()
            if vm.vni in state.reached[nve.name]
            or nve.name in state.nves_of(vm)
            or vm.name in state.watched[nve.name]
        ]
        found = {nve.name: self.fabric.absence(nve.dpid) for nve in concerned}
        return {name: why for name, why in found.items() if why is not None}

    def status(self) -> dict[str, Any]:
        """Return the mapping, the moves in progress, and which NVEs are there."""
        state = self.state
        nves = {}
        for nve in state.nves.values():
            session = self.fabric.session(nve.dpid)
            nves[nve.name] = {
                "dpid": nve.dpid,
                "underlay_ip": nve.underlay_ip,
                "connected_s": None if session is None else session.connected_s,
                "programmed_s": None if session is None else session.programmed_s,
                "flows": 0 if session is None else session.flows,
                "problem": None if session is None else session.problem,
            }
        known = {nve.dpid for nve in state.nves.values()}
        return {
            "version": state.version,
            "nves": nves,
            "networks": {network.name: network.vni for network in state.networks.values()},
            "vms": {vm.name: vm.nve for vm in state.vms.values()},
            "strategy": state.strategy,
            "moves": [vars(move) for move in state.moves.values()],
            "unknown_dpids": [dpid for dpid in self.fabric.dpids() if dpid not in known],
            "dead_threads": self.dead_threads(),
        }

    def wait_programmed(self, timeout_s: float) -> dict[str, Any]:
        """Wait until every NVE has all its flows; NotProgrammedError names those that have not."""
        end_s = self.now() + timeout_s
        with self.fabric.changed:
            while True:
                missing: dict[str, str] = {}
                found = {}
                for nve in self.state.nves.values():
                    session = self.fabric.session(nve.dpid)
                    if session is None:
                        missing[nve.name] = "not connected"
                    elif session.programmed_s is None:
                        missing[nve.name] = session.problem or "connected, not yet programmed"
                    else:
                        found[nve.name] = {
                            "connected_s": session.connected_s,
                            "programmed_s": session.programmed_s,
                            "flows": session.flows,
                        }
                left_s = end_s - self.now()
                if not missing:
                    return {"nves": found}
                if left_s <= 0:
                    break
                self.fabric.changed.wait(left_s)
        shown = ", ".join(f"{nve} ({why})" for nve, why in sorted(missing.items()))
        raise NotProgrammedError(
            f"after {timeout_s:g} s some NVEs are not programmed: {shown}; look whether their ovs-vswitchd runs and "
            "reaches the NVA (Open vSwitch tries again after up to 8 s, its max_backoff)",
            nves=missing,
        )


def _changes_ahead(state: State, migration_id: str) -> list[Change]:
    """Return what the stages to come of a move that has just been prepared will change."""
    found = []
    for operation in STAGES_AHEAD:
        following = apply(state, operation, {"migration_id": migration_id})
        found += _changes(state, following)
        state = following
    return found


def _changes(before: State, after: State) -> list[Change]:
    found = []
    for nve in after.nves.values():
        adds, deletes = delta(before, after, nve.name)
        if adds or deletes:
            found.append(Change(nve.name, nve.dpid, adds, deletes, delta(after, before, nve.name)))
    return found
