"""Why a probe packet did not arrive exactly once and in order: a pure function of what was seen and what was done.

What was seen: the packet's *sightings* on its way (``tap_points``), one after the other. A packet vanished behind its
last one, so the question is what there could take it at that time: the VM's end, an NVE, the underlay, a leg. The
answer comes from the moves' own times, from what the NVEs' rules counted, and from what else passed there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from controller.pipeline import ANTI_SPOOF, CLASSIFY, FORWARD
from experiments.attribution.tap_points import Stage

SLACK_S = 0.002
"""A frame is stamped on a device and acted on a little later; a step's own time is taken after it was done."""
BACKLOG_S = 0.02
"""A frame on a leg has its stamp before it waits for the processor that receives for the VM."""
NEIGHBOUR_WAIT_S = (
    3.5  # a host asks three times, a second apart, and drops what waited (RFC 4861 section 7.2.2)
)
TUNNEL_BYTES = 50
CLOSED_S = 0.1
"""So long a busy NVE may leave a frame in its port's ring; when the port is closed meanwhile, no rule takes it."""
QUEUE_S = 0.005
"""Whoever is let into a queue that is full waits for all of it; at a switch that keeps up nobody waits so long."""


class Cause(StrEnum):
    """What each one means: ``results.figures.causes.MEANINGS``."""

    IN_FLIGHT = "in_flight"
    MISDIRECTED = "misdirected"
    EARLY = "early"
    UNPROGRAMMED = "new_nve_unprogrammed"
    NEIGHBOUR = "neighbour_unresolved"
    HELD = "held_and_dropped"
    POLICY = "policy_drop"
    SPOOF = "spoof_drop"
    STOPPED = "stopped"
    TOO_LARGE = "too_large"
    UNDERLAY = "underlay"
    NOT_ASKED = "nva_not_asked"
    OVERRUN = "nve_overrun"
    SENDER = "sender"
    RECEIVER = "receiver"
    TWO_COPIES = "two_copies"
    PATH_CHANGE = "path_change"
    RELEASED = "released_behind"
    SAME_PATH = "same_path"
    UNOBSERVED = "unobserved"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Sighting:
    """One time that a packet was seen.

    ``nve``: whose link or leg ('' at the end of a VM that moves). ``other``: the NVE at the tunnel's far end.
    """

    t_s: float
    stage: Stage
    nve: str = ""
    which: str = ""
    other: str = ""
    bytes: int = 0


@dataclass(frozen=True)
class Hold:
    """A holder kept frames from ``start_s`` until it was released."""

    holder: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class MoveFacts:
    """What a move did to packets, and when (CLOCK_MONOTONIC, s).

    ``left_s``: the VM stopped hearing at its old NVE. ``policy_s``: from then on the old NVE's policy had the packets;
    it ended with ``over_s``. ``there_s``: the VM was attached to the new NVE.
    """

    vm: str
    old_nve: str
    new_nve: str
    start_s: float
    left_s: float
    there_s: float
    policy_s: float
    over_s: float
    redirects: bool
    wired: bool = True
    both_run: bool = False
    drops_outbound: bool = False
    holds: tuple[Hold, ...] = ()

    def nowhere(self, t_s: float) -> bool:
        """Whether the VM was attached to no NVE then."""
        return self.left_s - SLACK_S <= t_s <= self.there_s + SLACK_S

    def holding(self, t_s: float, *holders: str) -> bool:
        """Whether one of these holders kept frames then."""
        return any(
            hold.holder in holders and hold.start_s - SLACK_S <= t_s <= hold.end_s + SLACK_S
            for hold in self.holds
        )


@dataclass(frozen=True)
class Facts:
    """What else a cause is judged by.

    ``at``: the NVE at which a VM or client is, by name. ``largest_bytes``: the largest frame, of any kind, that was
    seen at a stage of an NVE in the whole run. ``rule_drops``: frames that found no rule in the run, by (NVE, table).
    ``not_asked``: frames that were for the NVA and beyond its limit in the trial, by NVE.
    ``asked_s``: when a sender asked for a neighbour and got no answer. ``blind_s``: spans in which a tap lost frames.
    """

    moves: Sequence[MoveFacts] = ()
    at: Mapping[str, str] = field(default_factory=dict)
    largest_bytes: Mapping[tuple[Stage, str], int] = field(default_factory=dict)
    rule_drops: Mapping[tuple[str, str], int] = field(default_factory=dict)
    not_asked: Mapping[str, int] = field(default_factory=dict)
    asked_s: Mapping[str, Sequence[float]] = field(default_factory=dict)
    blind_s: Sequence[tuple[float, float]] = ()

    def rules_dropped(self, nve: str, *tables: str) -> bool:
        """Whether one of an NVE's tables has dropped anything; True also where nothing was counted."""
        known = [self.rule_drops[nve, table] for table in tables if (nve, table) in self.rule_drops]
        return not known or any(known)


@dataclass(frozen=True)
class Packet:
    """One packet of a flow, with all that was seen of it in order of time.

    Of one that vanished in an NVE, ``queue_s``: what those in front of it and behind it took there at least;
    ``passed_s``: when the one in front of it that came in at the same place got through.
    """

    sender: str
    receiver: str
    tx_s: float
    sightings: tuple[Sighting, ...] = ()
    queue_s: float = 0.0
    passed_s: float = -math.inf

    @property
    def path(self) -> tuple[tuple[Stage, str, str], ...]:
        """The way it took."""
        return tuple((one.stage, one.nve, one.which) for one in self.sightings)

    def went_to(self, nve: str) -> bool:
        """Whether it reached an NVE from the underlay or from a VM there."""
        return any(one.nve == nve and one.stage in (Stage.AT_NVE, Stage.INTO_NVE) for one in self.sightings)


def cause_of_loss(packet: Packet, facts: Facts) -> Cause:
    """The cause of a packet that never arrived."""
    last = packet.sightings[-1] if packet.sightings else None
    seen_s = packet.tx_s if last is None else last.t_s
    if any(start_s <= seen_s <= end_s for start_s, end_s in facts.blind_s):
        return Cause.UNOBSERVED
    if last is None:
        return _never_left(packet, facts)
    return _BEHIND[last.stage](packet, last, facts)


def _never_left(packet: Packet, facts: Facts) -> Cause:
    if any(move.vm == packet.sender and not move.wired and move.nowhere(packet.tx_s) for move in facts.moves):
        return Cause.STOPPED  # while its port is carried from one NVE to another its device has no carrier
    asked = facts.asked_s.get(packet.sender, ())
    waiting = any(packet.tx_s - NEIGHBOUR_WAIT_S <= at_s <= packet.tx_s + NEIGHBOUR_WAIT_S for at_s in asked)
    return Cause.NEIGHBOUR if waiting else Cause.SENDER


def _behind_sender(packet: Packet, last: Sighting, facts: Facts) -> Cause:
    """It left the VM; the next is a leg, or at once the NVE."""
    wired = [move for move in facts.moves if move.vm == packet.sender and move.wired]
    for move in wired:
        if move.holding(last.t_s, "outbound"):
            return Cause.HELD
        if move.nowhere(last.t_s):
            return Cause.STOPPED
    if wired:
        return Cause.UNKNOWN
    if any(move.vm == packet.sender and move.nowhere(last.t_s) for move in facts.moves):
        return Cause.STOPPED
    return _inside(packet, last, facts, last.nve or facts.at.get(packet.sender, ""), from_vm=True)


def _behind_leg_in(packet: Packet, last: Sighting, facts: Facts) -> Cause:
    return _inside(packet, last, facts, last.nve, from_vm=True)


def _behind_underlay_out(_packet: Packet, last: Sighting, facts: Facts) -> Cause:
    largest = max(
        (size for (stage, _), size in facts.largest_bytes.items() if stage is Stage.AT_NVE), default=0
    )
    return Cause.TOO_LARGE if 0 < largest < last.bytes else Cause.UNDERLAY


def _behind_underlay_in(packet: Packet, last: Sighting, facts: Facts) -> Cause:
    return _inside(packet, last, facts, last.nve, from_vm=False)


def _inside(packet: Packet, last: Sighting, facts: Facts, nve: str, *, from_vm: bool) -> Cause:
    """It went into an NVE and did not come out."""
    passed = facts.largest_bytes.get((Stage.ON_UNDERLAY, nve), 0)
    if from_vm and 0 < passed < last.bytes + TUNNEL_BYTES:
        return Cause.TOO_LARGE
    for move in facts.moves:
        if move.vm == packet.receiver and move.old_nve == nve:
            if move.wired and move.policy_s - SLACK_S <= last.t_s < move.over_s and not move.redirects:
                return Cause.POLICY
            if last.t_s >= move.left_s - SLACK_S and not (move.redirects and last.t_s < move.over_s):
                return Cause.IN_FLIGHT if packet.tx_s < move.left_s else Cause.MISDIRECTED
        if from_vm and _left_in_closed_port(packet, last, move, facts):
            return Cause.IN_FLIGHT
    # Those that got through meanwhile went by the NVA, so that each took as long as in a queue.
    if from_vm and facts.not_asked.get(nve):
        return Cause.NOT_ASKED
    if packet.queue_s >= QUEUE_S:
        return Cause.OVERRUN
    for move in facts.moves:
        if move.new_nve == nve and last.t_s >= move.start_s and _is_of(move, packet):
            if not move.wired and move.vm == packet.receiver and last.t_s <= move.there_s:
                return Cause.EARLY
            # Where one got through with the VM there, there is a rule: what is lost behind it does not want for one.
            if packet.passed_s < move.there_s and _without_rules(facts, nve):
                return Cause.UNPROGRAMMED
            # A port gives no more when all its buffers are kept.
            if move.vm == packet.receiver and move.holding(last.t_s, "direct", "redirected"):
                return Cause.HELD
    if from_vm and (nve, ANTI_SPOOF) in facts.rule_drops and facts.rule_drops[nve, ANTI_SPOOF]:
        return Cause.SPOOF
    if facts.rule_drops and not facts.rules_dropped(nve, CLASSIFY, ANTI_SPOOF, FORWARD):
        return Cause.OVERRUN
    return Cause.UNKNOWN


def _left_in_closed_port(packet: Packet, last: Sighting, move: MoveFacts, facts: Facts) -> bool:
    """The VM sent it at its old NVE, which had not taken it in when the move closed the port there."""
    return (
        (move.vm, move.old_nve, move.wired) == (packet.sender, last.nve, True)
        and move.over_s - CLOSED_S <= last.t_s <= move.there_s + SLACK_S
        and facts.rules_dropped(last.nve, CLASSIFY, ANTI_SPOOF)
    )


def _is_of(move: MoveFacts, packet: Packet) -> bool:
    return move.vm in (packet.receiver, packet.sender)


def _without_rules(facts: Facts, nve: str) -> bool:
    """Whether packets may have found no rule there: some table had none for something."""
    return facts.rules_dropped(nve, CLASSIFY, FORWARD)


def _behind_leg_out(packet: Packet, last: Sighting, facts: Facts) -> Cause:
    """It came out of an NVE's leg: there a cut, a holder, or the VM's port."""
    for move in facts.moves:
        if move.vm != packet.receiver:
            continue
        if move.old_nve == last.nve and last.t_s >= move.left_s - BACKLOG_S:
            return Cause.IN_FLIGHT if packet.tx_s < move.left_s else Cause.MISDIRECTED
        if move.new_nve == last.nve:
            if move.holding(last.t_s, last.which):
                return Cause.HELD
            if move.start_s <= last.t_s <= move.there_s + SLACK_S:
                came_by_old = packet.went_to(move.old_nve) or last.which == "redirected"
                return Cause.IN_FLIGHT if came_by_old and packet.tx_s < move.left_s else Cause.EARLY
    return Cause.UNKNOWN


def _behind_vm(_packet: Packet, _last: Sighting, _facts: Facts) -> Cause:
    return Cause.RECEIVER


_BEHIND: Mapping[Stage, Callable[[Packet, Sighting, Facts], Cause]] = {
    Stage.LEFT_VM: _behind_sender,
    Stage.INTO_NVE: _behind_leg_in,
    Stage.ON_UNDERLAY: _behind_underlay_out,
    Stage.AT_NVE: _behind_underlay_in,
    Stage.OUT_OF_NVE: _behind_leg_out,
    Stage.TO_VM: _behind_vm,
}


def cause_of_copies(packet: Packet, facts: Facts) -> Cause:
    """The cause of a packet that arrived more than once."""
    left = [one.t_s for one in packet.sightings if one.stage is Stage.INTO_NVE]
    places = {one.nve for one in packet.sightings if one.stage is Stage.INTO_NVE}
    if len(places) > 1:
        for move in facts.moves:
            if move.both_run and move.vm == packet.sender and min(left) < move.over_s:
                return Cause.TWO_COPIES
    if sum(one.stage is Stage.LEFT_VM for one in packet.sightings) > 1:
        return Cause.SENDER
    return Cause.UNKNOWN


def cause_of_disorder(packet: Packet, overtaker: Packet, facts: Facts) -> Cause:
    """The cause of a packet that arrived behind one that was sent after it."""
    if not packet.sightings or not overtaker.sightings:
        return Cause.UNKNOWN
    if packet.path != overtaker.path:
        return Cause.PATH_CHANGE
    for move in facts.moves:
        if any(move.holding(one.t_s, hold.holder) for one in packet.sightings for hold in move.holds):
            return Cause.RELEASED
    return Cause.SAME_PATH
