"""The steps of a move: what each one does, and how it is undone. `mobility.order` says which ones, and when."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from controller.client import NvaClient, NvaError
from controller.markers import decode_end_marker
from emulation import commands
from emulation.announcer import announcement_times_s
from emulation.errors import WaitError
from emulation.frames import MarkerListener
from emulation.network import EmulatedNetwork
from emulation.wiring import DIRECT, OUTBOUND, REDIRECTED, Wiring

from . import drain
from .buffer_watch import BufferWatch
from .copy import CopyModel, CopyPlan, precopy
from .datapath import stale_at_new_nve, stale_at_old_nve, stale_at_peer_nve, stale_delivery
from .flows import Connection, connections_of, still_there
from .options import BANDWIDTH_BPS, MoveOptions
from .policies import OldNvePolicy
from .record import EmitsEvents, MigrationRecord
from .stream import MemoryStream

CLEAR_BOUND_S = 0.05
END_MARKER_BOUND_S = 0.1
EMPTY_BOUND_S = 1.0
MEMORY_BYTES = 512 * 1024 * 1024  # of a VM whose topology does not say


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

    def stops_at(self, at_s: float) -> None:
        """The VM, if it is to stand still at all, has stood still since then (the first time this is said)."""
        if self.options.pauses and self.record.paused_s is None:
            self.record.paused_s = at_s
            self.emit(at_s, "pause", vm=self.record.vm, mode=self.options.pause)

    def begin_counting(self) -> None:
        """Remember the wiring's counters; ``end_counting`` writes into the record what this move has added."""
        self._before = {"sunk": self.wiring.sunk_frames(), "dropped": self.wiring.dropped_frames()}

    def end_counting(self) -> None:
        """See ``begin_counting``."""
        record, before = self.record, self._before["sunk"]
        record.dropped_frames = self.wiring.dropped_frames()
        record.overflow_frames = record.dropped_frames - self._before["dropped"]
        record.sunk_frames = {
            nve: {which: count - before.get(nve, {}).get(which, 0) for which, count in legs.items()}
            for nve, legs in self.wiring.sunk_frames().items()
            if nve in (record.old_nve, record.new_nve)
        }

    def copy_model(self) -> CopyModel:
        """The copy that the options and the VM ask for."""
        vm, options = self.network.topology.vm(self.record.vm), self.options

        def chosen(name: str, otherwise: float) -> float:
            value = getattr(options, name)
            return float(getattr(vm, name, otherwise) if value is None else value)

        return CopyModel(
            memory_bytes=int(chosen("memory_bytes", MEMORY_BYTES)),
            dirty_rate_bps=chosen("dirty_rate_bps", 0.0),
            bandwidth_bps=options.bandwidth_bps or BANDWIDTH_BPS,
            downtime_limit_s=options.downtime_limit_s,
            max_rounds=options.rounds_while_running,
        )

    def move_bytes(self, model: CopyModel, size_bytes: int) -> float:
        """Copy so many bytes, really or by waiting as long; the seconds it took."""
        start_s = time.monotonic()
        if self.stream is None:
            wait_until_s(start_s + model.seconds(size_bytes))
            took_s = model.seconds(size_bytes)
        else:
            took_s = self.stream.send(size_bytes, model.bandwidth_bps)
        self.record.copied_bytes += size_bytes
        self.emit(start_s, "copied", bytes=size_bytes, seconds=took_s, real=self.stream is not None)
        return took_s


def wait_until_s(moment_s: float) -> None:
    """Let time pass: it is what a modelled copy or an imposed downtime consists of."""
    while (left_s := moment_s - time.monotonic()) > 0:
        time.sleep(left_s)


# allocate, prepare


def add_legs(move: Move) -> None:
    """Wire the VM to the new NVE if it is not."""
    record = move.record
    if record.new_nve not in move.wiring.legs:
        ports = move.network.add_legs(record.vm, record.new_nve)
        move.nva.set_port(record.vm, record.new_nve, ports["direct"], ports["redirected"])
    move.begin_counting()


def prepare_nva(move: Move) -> None:
    """The NVA accepts the move, or refuses it."""
    record = move.record
    move.call("prepare_move", vm=record.vm, new_nve=record.new_nve, policy=record.policy)
    move.accepted = True


def abort(move: Move) -> None:
    """Undo of all of it: the NVA's part first, so that what comes through the old leg again finds the VM there.

    A move that the NVA refused has touched nothing, and its VM may be in the middle of another one.
    """
    if not move.accepted:
        try:
            move.nva.abort_move(migration_id=move.record.migration_id)
        except NvaError:
            return  # the NVA does not know it, or cannot be reached: then it was never begun there
    else:
        move.nva.abort_move(migration_id=move.record.migration_id)
    if move.record.vm in move.network.wirings:
        move.wiring.go_back(move.record.old_nve)


def close_holders(move: Move) -> None:
    """Make the holders ready; earlier announcements end, they would lead to a place of before."""
    move.wiring.stop_announcing()
    move.wiring.close_holders(move.options.buffer_frames)


def settle_new(move: Move) -> None:
    """Wait until the new NVE's datapath accepts the VM."""
    move.network.settle([move.record.new_nve], stale_at_new_nve(move.mac), move.record.vm)


# copy


def open_stream(move: Move) -> None:
    """Connect the two NVEs now, so that the stop does not wait for it."""
    record = move.record
    move.stream = MemoryStream(move.network, record.old_nve, record.new_nve, move.underlay_ip(record.new_nve))


def close_stream(move: Move) -> None:
    """End the connection."""
    if move.stream is not None:
        move.stream.close()
        move.stream = None


def copy_rounds(move: Move) -> None:
    """Pre-copy: rounds while the VM runs."""
    model = move.copy_model()
    move.rest = precopy(model, lambda size_bytes: move.move_bytes(model, size_bytes))
    move.record.copy_rounds = list(move.rest.rounds)
    move.record.copy_ended = move.rest.reason
    move.record.stop_bytes = move.rest.stop_bytes


def copy_all(move: Move) -> None:
    """A cold move's copy: everything, while the VM stands still; an imposed downtime takes its place."""
    if move.options.downtime_s is None:
        model = move.copy_model()
        move.record.stop_bytes = model.memory_bytes
        move.move_bytes(model, model.memory_bytes)
    else:
        _wait_out(move, move.options.downtime_s)


def copy_rest(move: Move) -> None:
    """What pre-copy left, while the VM stands still; an imposed downtime takes its place."""
    if move.options.downtime_s is not None:
        _wait_out(move, move.options.downtime_s)
    elif move.rest is not None:
        move.move_bytes(move.copy_model(), move.rest.stop_bytes)


def _wait_out(move: Move, downtime_s: float) -> None:
    assert move.record.paused_s is not None  # the steps before have stopped it
    wait_until_s(move.record.paused_s + downtime_s)


# stop


def watch_buffer(move: Move) -> None:
    """Sample the holders' fill from now on."""
    move.watch = BufferWatch(move.wiring.gauge(), move.options.sampling_s, move.emit)


def unwatch_buffer(move: Move) -> None:
    """Enough samples."""
    if move.watch is not None:
        move.watch.stop()
        move.record.buffer_peak = dict(move.watch.peak)
        move.watch = None


def hold_inbound(move: Move) -> None:
    """What reaches the new NVE is kept there."""
    held_s = move.wiring.hold_inbound(move.record.new_nve)
    for holder in (REDIRECTED, DIRECT):
        move.emit(held_s, "hold", holder=holder)


def redirect(move: Move) -> None:
    """The old NVE's policy begins; until its datapath follows, packets come through the old leg and are the VM's."""
    move.call("redirect")
    if move.policy.redirects:
        stale = stale_at_old_nve(move.mac, move.underlay_ip(move.record.new_nve))
    else:
        stale = stale_delivery(move.mac)
    move.network.settle([move.record.old_nve], stale, move.record.vm)


def hold_outbound(move: Move) -> None:
    """What the VM sends is kept."""
    at_s = move.wiring.hold_outbound()
    move.stops_at(at_s)
    move.emit(at_s, "hold", holder=OUTBOUND)


def clear_old_path(move: Move) -> None:
    """Wait until the VM's last packets have left the old NVE."""
    record = move.record
    record.old_path_clear_s = move.wiring.await_old_path_clear(record.old_nve, record.new_nve, CLEAR_BOUND_S)
    if record.old_path_clear_s is None:
        move.note(f"the old path was not clear of the VM's last packets within {CLEAR_BOUND_S:g} s")


def sink_outbound(move: Move) -> None:
    """What the VM's kernel still sends is lost."""
    move.stops_at(move.wiring.sink_outbound())


def cut_old(move: Move) -> None:
    """Nobody runs at the old NVE any more: what still comes out of its legs is lost, and counted."""
    move.stops_at(move.wiring.cut_inbound(move.record.old_nve))


def unplug(move: Move) -> None:
    """Replug: the VM's only port is gone."""
    move.network.unplug(move.record.vm)
    move.stops_at(time.monotonic())


def plug_back(move: Move) -> None:
    """Undo of ``unplug``."""
    record = move.record
    if record.vm not in move.network.ofports[record.old_nve]:
        port = move.network.plug(record.vm, record.old_nve)
        move.nva.set_port(record.vm, record.old_nve, port, None)


def freeze(move: Move) -> None:
    """The VM's processes stand still."""
    move.stops_at(move.network.group(move.record.vm).freeze())


def thaw(move: Move) -> None:
    """They run again."""
    record = move.record
    record.resumed_s = move.network.group(record.vm).thaw()
    move.emit(record.resumed_s, "resume", vm=record.vm)


# switch, resume


def switch(move: Move) -> None:
    """The VM is attached to the new NVE, and cut off from the old one."""
    record, network = move.record, move.network
    move.connections = connections_of(network[record.vm].pid) if record.options.drain == "flow-end" else set()
    if record.vm in network.wirings:
        at_s = move.wiring.switch(record.new_nve)
        network.location[record.vm] = record.new_nve
    else:
        port = network.replug(record.vm, record.new_nve)
        move.nva.set_port(record.vm, record.new_nve, port, None)
        at_s = time.monotonic()
    move.emit(at_s, "switch", old_nve=record.old_nve, new_nve=record.new_nve)


def open_both(move: Move) -> None:
    """The new copy runs beside the old one."""
    at_s = move.wiring.open_both(move.record.old_nve, move.record.new_nve)
    move.emit(at_s, "resume", vm=move.record.vm)


def silence_old(move: Move) -> None:
    """The old copy stops: of the two only the new one speaks."""
    move.emit(move.wiring.silence_old(move.record.new_nve), "pause", vm=move.record.vm, mode="old copy")


def _release_holder(move: Move, holder: str) -> None:
    at_s, frames = move.wiring.release(holder)
    move.record.held_frames[holder] = frames
    move.emit(at_s, "release", holder=holder, frames=frames)


def _await_empty(move: Move, holders: tuple[str, ...]) -> None:
    """Wait until released holders are empty: thousands of frames take some milliseconds to come out."""

    def empty() -> bool:
        held = move.wiring.held_frames()
        return not any(held[holder] for holder in holders)

    try:
        commands.wait_until(empty, EMPTY_BOUND_S, "holders to be empty", every_s=0.0002)
    except WaitError as error:
        move.note(f"{error}: what they keep may be overtaken")


def release_outbound(move: Move) -> None:
    """The VM's own packets go out."""
    _release_holder(move, OUTBOUND)


def release_redirected(move: Move) -> None:
    """What came through the old NVE goes to the VM: it is older than what came directly."""
    _release_holder(move, REDIRECTED)


def release_direct(move: Move) -> None:
    """What came directly goes to the VM, behind what came through the old NVE."""
    _await_empty(move, (REDIRECTED,))
    _release_holder(move, DIRECT)


# announce, converge


def announce(move: Move) -> None:
    """RARP from the new place; those after the first are sent while the move goes on."""
    record = move.record

    def said(at_s: float) -> None:
        move.emit(at_s, "rarp", vm=record.vm, nve=record.new_nve)

    times_s = announcement_times_s(move.options.announcements)
    move.wiring.announce_repeatedly(record.new_nve, times_s, said)


def commit(move: Move) -> None:
    """The NVA changes the mapping of the NVEs that its strategy says; wait until their datapaths follow."""
    result = move.call("commit_move")
    move.record.call_to_last_barrier_s = result["last_barrier_s"] - result["call_s"]
    stale = stale_at_peer_nve(move.mac, move.underlay_ip(move.record.old_nve))
    changed = [nve for nve in move.network.nves if nve in result["nves"]]
    move.network.settle(changed, stale, move.record.vm)


# drain, release


def end_markers(move: Move) -> None:
    """One frame from each NVE along the old path: when the last one is out, nothing older can be on it."""
    listener = move.wiring.end_markers(move.record.new_nve)
    sent = move.call("send_end_markers", number=1)
    move.record.end_markers_s = _await_end_markers(move, listener, set(sent["nves"]), sent["sent_s"])


def _await_end_markers(
    move: Move, listener: MarkerListener, missing: set[str], sent_s: float
) -> float | None:
    deadline_s = time.monotonic() + END_MARKER_BOUND_S
    while missing:
        frame = listener.next(deadline_s - time.monotonic())
        if frame is None:
            move.note(f"no end marker from {', '.join(sorted(missing))} within {END_MARKER_BOUND_S:g} s")
            return None
        marker = decode_end_marker(frame)
        if marker is not None and marker.migration_id == move.record.migration_id:
            missing.discard(marker.nve)
    return time.monotonic() - sent_s


def wait_for_rule(move: Move) -> None:
    """Wait until the stop rule says that the redirect may end."""
    record, network = move.record, move.network
    wired = record.vm in network.wirings
    pid = network[record.vm].pid

    def frames() -> int:
        return move.wiring.redirected_frames(record.new_nve) if wired else 0

    ended = drain.wait(
        move.options.drain_rule,
        move.options.drain_bound_s,
        frames,
        lambda: still_there(move.connections, connections_of(pid)),
    )
    record.drain_ended, record.drain_s, record.drained_frames = ended.reason, ended.seconds, ended.frames


def _count_now(move: Move) -> None:
    """Have Open vSwitch credit what its datapath flows at the old NVE have carried to the rules that made them.

    It does so by itself only every 0.5 s, and to the rule that is there by then: packets that were still redirected
    would count as misdirected (18 to 40 at 1,000 packets/s were seen), and late ones would be missing.
    """
    move.network.nves[move.record.old_nve].control.call("revalidator/purge")


def end_redirect(move: Move) -> None:
    """From here on what still comes to the old NVE is not only misdirected but lost."""
    begin_s = time.monotonic()
    _count_now(move)
    move.misdirected_before = move.nva.misdirected(move.record.vm)
    move.call("end_redirect")
    move.record.redirect_ended_s = time.monotonic()
    move.misdirected_before["slack_s"] = move.record.redirect_ended_s - begin_s


def observe(move: Move) -> None:
    """Count for a time what comes to the old NVE too late."""
    assert move.record.redirect_ended_s is not None
    wait_until_s(move.record.redirect_ended_s + move.options.observe_s)
    _count_now(move)
    window_s = time.monotonic() - move.record.redirect_ended_s
    found, before = move.nva.misdirected(move.record.vm), move.misdirected_before
    by_nve = {nve: count - before["by_nve"].get(nve, 0) for nve, count in found["by_nve"].items()}
    move.record.misdirected = {
        "packets": found["packets"] - before["packets"],
        "by_nve": by_nve,
        "while_redirected": before["packets"],
        "window_s": window_s,
        "slack_s": before["slack_s"],
    }


def straighten(move: Move) -> None:
    """Take the holders, empty by now, out of the path."""
    _await_empty(move, tuple(move.record.held_frames))
    move.end_counting()
    move.wiring.straighten()


def finish(move: Move) -> None:
    """The old NVE forgets the VM."""
    move.call("finish_move")


class Step(NamedTuple):
    """What is done, and what takes it back (also when it was done only in part)."""

    do: Callable[[Move], None]
    undo: Callable[[Move], None] | None = None


STEPS: Mapping[str, Step] = {
    "add_legs": Step(add_legs),
    "prepare_nva": Step(prepare_nva, abort),
    "close_holders": Step(close_holders),
    "settle_new": Step(settle_new),
    "open_stream": Step(open_stream, close_stream),
    "close_stream": Step(close_stream),
    "copy_rounds": Step(copy_rounds),
    "copy_rest": Step(copy_rest),
    "copy_all": Step(copy_all),
    "watch_buffer": Step(watch_buffer, unwatch_buffer),
    "unwatch_buffer": Step(unwatch_buffer),
    "hold_inbound": Step(hold_inbound),
    "redirect": Step(redirect),
    "hold_outbound": Step(hold_outbound),
    "clear_old_path": Step(clear_old_path),
    "sink_outbound": Step(sink_outbound),
    "cut_old": Step(cut_old),
    "unplug": Step(unplug, plug_back),
    "freeze": Step(freeze, thaw),
    "thaw": Step(thaw),
    "switch": Step(switch),
    "open_both": Step(open_both),
    "silence_old": Step(silence_old),
    "release_outbound": Step(release_outbound),
    "release_redirected": Step(release_redirected),
    "release_direct": Step(release_direct),
    "announce": Step(announce),
    "commit": Step(commit),
    "end_markers": Step(end_markers),
    "wait_for_rule": Step(wait_for_rule),
    "end_redirect": Step(end_redirect),
    "observe": Step(observe),
    "straighten": Step(straighten),
    "finish": Step(finish),
}
"""Every step by name. Undo of the wiring's steps is ``go_back`` in ``abort``."""
