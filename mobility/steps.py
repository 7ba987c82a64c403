"""The steps of a move: what each one does, and how it is undone. `mobility.order` says which ones, and when."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from controller.client import REFUSED, NvaError
from emulation import commands
from emulation.addressing import ipv6_addresses
from emulation.announcements import announcements
from emulation.announcer import announcement_times_s
from emulation.errors import EmulationError, WaitError
from emulation.wiring import DIRECT, OUTBOUND, REDIRECTED
from mobility import copying, draining
from mobility.buffer_watch import BufferWatch
from mobility.datapath import (
    stale_at_forwarding_nve,
    stale_at_new_nve,
    stale_at_old_nve,
    stale_at_peer_nve,
    stale_delivery,
)
from mobility.flows import connections_of
from mobility.move import Move

CLEAR_BOUND_S = 0.05
EMPTY_BOUND_S = 1.0


# allocate, prepare


def add_legs(move: Move) -> None:
    """Wire the VM to the new NVE if it is not."""
    record = move.record
    known = record.new_nve in move.nva.where(record.vm)["ports"]
    if (
        record.new_nve not in move.wiring.legs or not known
    ):  # an earlier move may have got no further than here
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

    A move that the NVA refused has touched nothing, and its VM may be in the middle of another one. When the NVA
    cannot be told, the VM goes back all the same, and goes on to hear what its old NVE may still redirect; raised
    is then the NvaError, and the rest is done when this is called again.
    """
    record, wired = move.record, move.accepted and move.record.vm in move.network.wirings
    try:
        move.nva.abort_move(migration_id=record.migration_id)
    except NvaError as error:
        if error.code != REFUSED:  # refused: the NVA knows of no such move
            if wired and not move.went_back:
                move.wiring.go_back(record.old_nve, also_hears=record.new_nve)
                move.went_back = True
            raise
    if wired:
        move.wiring.go_back(record.old_nve)


def close_holders(move: Move) -> None:
    """Make the holders ready; earlier announcements end, they would lead to a place of before."""
    move.wiring.stop_announcing()
    move.wiring.close_holders(move.options.buffer_frames)


def settle_new(move: Move) -> None:
    """Wait until the new NVE's datapath accepts the VM."""
    move.network.settle([move.record.new_nve], stale_at_new_nve(move.mac), move.record.vm)


# stop


def watch_buffer(move: Move) -> None:
    """Sample the holders' fill from now on."""
    move.watch = BufferWatch(move.wiring.gauge(), move.options.sampling_s, move.emit)


def unwatch_buffer(move: Move) -> None:
    """Enough samples."""
    if move.watch is not None:
        move.watch.stop()
        move.record.buffer_peak = dict(move.watch.peak)
        move.record.buffer_peak_frames = move.watch.together
        move.watch = None


def hold_inbound(move: Move) -> None:
    """What reaches the new NVE is kept there."""
    held_s = move.wiring.hold_inbound(move.record.new_nve)
    for holder in (REDIRECTED, DIRECT):
        move.emit(held_s, "hold", holder=holder)


def redirect(move: Move) -> None:
    """The old NVE's policy begins; until its datapath follows, packets come through the old leg and are the VM's."""
    move.call("redirect")
    if move.policy.redirects and not move.policy.tunnels:
        stale = stale_at_forwarding_nve(move.mac, move.network.next_hop_mac(move.record.old_nve))
    elif move.policy.redirects:
        stale = stale_at_old_nve(move.mac, move.underlay_ip(move.record.new_nve))
    else:
        stale = stale_delivery(move.mac)
    move.network.settle([move.record.old_nve], stale, move.record.vm)


def open_host_route(move: Move) -> None:
    """The underlay leads to the new NVE for the VM's address."""
    move.network.open_host_route(move.record.vm, move.record.new_nve)


def close_host_route(move: Move) -> None:
    """The underlay knows nothing of the VM again."""
    move.network.close_host_route(move.record.vm, move.record.new_nve)


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
    """Undo of ``unplug``, and of a replug that failed on its way."""
    record, network = move.record, move.network
    if record.vm in network.wirings or move.plugged_back:
        return
    if record.vm not in network.ofports[record.old_nve]:
        network.replug(record.vm, record.old_nve)
    move.nva.set_port(record.vm, record.old_nve, network.ofports[record.old_nve][record.vm], None)
    move.plugged_back = True


def freeze(move: Move) -> None:
    """The VM's processes stand still."""
    move.stops_at(move.network.group(move.record.vm).freeze())


def thaw(move: Move) -> None:
    """They run again."""
    record = move.record
    record.resumed_s = move.network.group(record.vm).thaw()
    move.emit(record.resumed_s, "resume")


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
    move.emit(at_s, "resume")


def silence_old(move: Move) -> None:
    """The old copy stops: of the two only the new one speaks."""
    move.emit(move.wiring.silence_old(move.record.new_nve), "pause", mode="old copy")


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
    """Say where the VM is from its new place; after the first time, while the move goes on."""
    record, vm = move.record, move.network.topology.vm(move.record.vm)
    made = announcements(move.options.announce_with, vm.mac, str(vm.ipv4), ipv6_addresses(vm))

    def said(at_s: float) -> None:
        for kind in dict.fromkeys(kind for kind, _ in made):
            move.emit(at_s, kind, nve=record.new_nve)

    times_s = announcement_times_s(move.options.announcements)
    move.wiring.announce_repeatedly(record.new_nve, [frame for _, frame in made], times_s, said)


def commit(move: Move) -> None:
    """The NVA changes the mapping of the NVEs that its strategy says; wait until their datapaths follow."""
    result = move.call("commit_move")
    if result["last_barrier_s"] is not None:  # an NVA that was killed in the middle does not know
        move.record.call_to_last_barrier_s = result["last_barrier_s"] - result["call_s"]
    move.record.stale_peers = list(result["stale"])
    stale = stale_at_peer_nve(move.mac, move.underlay_ip(move.record.old_nve))
    told = [nve for nve, timing in result["nves"].items() if timing["committed_s"] is not None]
    if not move.forward:
        move.network.settle(told, stale, move.record.vm)
        return
    with contextlib.suppress(EmulationError):  # an NVE may have gone since, and its datapath with it
        move.network.settle([nve for nve in told if nve not in move.unaware()], stale, move.record.vm)


# release


def straighten(move: Move) -> None:
    """Take the holders, empty by now, out of the path."""
    _await_empty(move, tuple(move.record.held_frames))
    move.end_counting()
    move.wiring.straighten()


def finish(move: Move) -> None:
    """The old NVE forgets the VM; after a failure not before every NVE has the mapping: see ``Move.unaware``."""
    if move.forward and (unaware := move.unaware()):
        shown = ", ".join(f"NVE {nve} ({why})" for nve, why in sorted(unaware.items()))
        raise MoveWaitsError(f"{move.record.old_nve} redirects until {shown} has the new mapping")
    move.call("finish_move")


class MoveWaitsError(Exception):
    """A move cannot end yet; the text says what it waits for."""


class Step(NamedTuple):
    """What is done, and what takes it back (also when it was done only in part)."""

    do: Callable[[Move], None]
    undo: Callable[[Move], None] | None = None


STEPS: Mapping[str, Step] = {
    "add_legs": Step(add_legs),
    "prepare_nva": Step(prepare_nva, abort),
    "close_holders": Step(close_holders),
    "settle_new": Step(settle_new),
    "open_stream": Step(copying.open_stream, copying.close_stream),
    "close_stream": Step(copying.close_stream),
    "copy_rounds": Step(copying.copy_rounds),
    "copy_rest": Step(copying.copy_rest),
    "copy_all": Step(copying.copy_all),
    "watch_buffer": Step(watch_buffer, unwatch_buffer),
    "unwatch_buffer": Step(unwatch_buffer),
    "hold_inbound": Step(hold_inbound),
    "open_host_route": Step(open_host_route, close_host_route),
    "close_host_route": Step(close_host_route),
    "redirect": Step(redirect),
    "hold_outbound": Step(hold_outbound),
    "clear_old_path": Step(clear_old_path),
    "sink_outbound": Step(sink_outbound),
    "cut_old": Step(cut_old),
    "unplug": Step(unplug, plug_back),
    "freeze": Step(freeze, thaw),
    "thaw": Step(thaw),
    "switch": Step(switch, plug_back),
    "open_both": Step(open_both),
    "silence_old": Step(silence_old),
    "release_outbound": Step(release_outbound),
    "release_redirected": Step(release_redirected),
    "release_direct": Step(release_direct),
    "announce": Step(announce),
    "commit": Step(commit),
    "end_markers": Step(draining.end_markers),
    "wait_for_rule": Step(draining.wait_for_rule),
    "end_redirect": Step(draining.end_redirect),
    "observe": Step(draining.observe),
    "straighten": Step(straighten),
    "finish": Step(finish),
}
"""Every step by name. Undo of the wiring's steps is ``go_back`` in ``abort``."""
