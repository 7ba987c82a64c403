"""The steps that end the old path: end markers, the stop rule, the end of the redirect, what comes too late."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping

from emulation.packet_sockets import MarkerListener
from mobility import drain
from mobility.flows import connections_of, still_there
from mobility.move import Move, wait_until_s
from wire.markers import decode_end_marker

END_MARKER_BOUND_S = 0.1


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
        move.options.redirect_bound_s,
        frames,
        lambda: still_there(move.connections, connections_of(pid)),
    )
    record.drain_ended, record.drain_s, record.drained_frames = ended.reason, ended.seconds, ended.frames
    record.last_redirected_s = ended.last_frame_s


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


def counted_since(before: int, now: int) -> int:
    """What a counter has added. One that is smaller than before began anew: a peer was told and its rule replaced."""
    return now - before if now >= before else now


def by_cause(by_nve: Mapping[str, int], stale_peers: Collection[str]) -> dict[str, int]:
    """Why packets came too late: the commit did not tell their NVE, or they were on their way when it was told."""
    found = {"not told": 0, "told, on the way": 0}
    for nve, count in by_nve.items():
        found["not told" if nve in stale_peers else "told, on the way"] += count
    return found


def observe(move: Move) -> None:
    """Count for a time what comes to the old NVE too late."""
    assert move.record.redirect_ended_s is not None
    wait_until_s(move.record.redirect_ended_s + move.options.observe_s)
    _count_now(move)
    window_s = time.monotonic() - move.record.redirect_ended_s
    found, before = move.nva.misdirected(move.record.vm), move.misdirected_before
    by_nve = {
        nve: counted_since(before["by_nve"].get(nve, 0), count) for nve, count in found["by_nve"].items()
    }
    move.record.misdirected = {
        "packets": sum(by_nve.values()),
        "by_nve": by_nve,
        "by_cause": by_cause(by_nve, move.record.stale_peers),
        "while_redirected": before["packets"],
        "window_s": window_s,
        "slack_s": before["slack_s"],
    }
