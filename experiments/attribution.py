"""Loss attribution: taps run beside the traffic, and every packet that did not arrive once and in order gets a cause.

The taps only look. What they cost is measured by ``make bench only=attribution``; ``attribution=off`` leaves them out.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from emulation import commands
from emulation.errors import CommandError
from emulation.network import EmulatedNetwork

from .causes import Cause, Facts, Packet, Sighting, cause_of_copies, cause_of_disorder, cause_of_loss
from .move_facts import Event, move_facts
from .probes.measures import Window
from .probes.packets import Packets
from .probes.process import Spawn
from .probes.tap import PacketTap, TappedFlow
from .rule_drops import Drops, read_drops
from .seen import Seen
from .tap_points import Role, Stage, points_for

DIRECTIONS = ("to_vm", "from_vm")
EVENTS = ("hold", "release", "switch", "northbound")
"""Kinds of events that causes are judged by."""

PING_WAIT_S = "0.2"


class AttributionError(Exception):
    """The causes of a trial do not add up to what was lost: a fault of the instrument, so no figure counts."""


@dataclass(frozen=True)
class Flow:
    """One flow of probe packets between two VMs or clients. ``direction`` ends the names of its measures."""

    direction: str
    sender: str
    receiver: str
    tapped: TappedFlow


@dataclass
class TrialCauses:
    """The causes of one trial: ``counts`` as in the record (results/FORMAT.md), ``rows`` as samples."""

    counts: dict[str, Any]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def measures(self) -> dict[str, int]:
        """``lost_unknown_packets`` each way, and what still came through the old leg."""
        found = {
            f"lost_unknown_packets_{direction}": self.counts[direction]["lost"].get(Cause.UNKNOWN.value, 0)
            for direction in DIRECTIONS
            if direction in self.counts
        }
        return found | {"old_leg_packets": self.counts["old_leg_packets"]}


class Attribution:
    """Taps for a run of traffic. ``start`` before its probes, ``stop`` after them, then ``causes`` of each trial."""

    def __init__(self, network: EmulatedNetwork, flows: Sequence[Flow], folder: Path, spawn: Spawn) -> None:
        self._network, self._flows, self._spawn = network, flows, spawn
        self._points = points_for(
            network, dict.fromkeys(end for one in flows for end in (one.sender, one.receiver))
        )
        self._nves = {str(nve.underlay_ip): nve.name for nve in network.topology.nves}
        self._tap = PacketTap(folder / "tap")
        self._events: dict[int, list[Event]] = {}
        self._drops: Drops = {}
        self._seen: Seen
        self._began_s = 0.0
        self.cost: dict[str, float] = {}
        """Points; frames logged, and lost by the taps themselves; their CPU time and the time they ran, in s."""
        self._facts = Facts()

    def _watched_nves(self) -> dict[str, Any]:
        names = dict.fromkeys(point.owner for point in self._points if point.role is Role.UNDERLAY)
        return {name: self._network.nves[name] for name in names}

    def start(self) -> None:
        """Begin to look. ProbeError or BuildError."""
        self._tap.log_path.parent.mkdir(parents=True, exist_ok=True)
        self._drops = read_drops(self._watched_nves())
        flows = [flow.tapped for flow in self._flows]
        devices = [point.tapped for point in self._points]
        self._began_s = time.monotonic()
        self._tap.start(self._spawn, devices, flows, list(self._nves), self._network.topology.tunnel.udp_port)

    def stop(self) -> None:
        """Look no more, and read what was seen. ProbeError when that is not whole."""
        self._tap.stop()
        log = self._tap.log()
        records = log.records
        self.cost = {
            "points": len(self._points),
            "frames": log.counters["frames"],
            "lost_frames": log.counters["own_drops"] + log.counters["no_room"],
            "cpu_s": log.counters["cpu_ns"] / 1e9,
            "wall_s": time.monotonic() - self._began_s,
        }
        directions = [flow.direction for flow in self._flows]
        full = log.counters["no_room"] > 0
        self._seen = Seen(records, self._points, directions, list(self._nves.values()), full=full)
        after = read_drops(self._watched_nves())
        self._facts = Facts(
            at=dict(self._network.location) | self._clients(),
            largest_bytes=self._seen.largest_bytes(),
            rule_drops={key: count - self._drops.get(key, 0) for key, count in after.items()},
            asked_s=self._seen.unanswered_s(),
            blind_s=self._seen.blind_s(),
        )

    def _clients(self) -> dict[str, str]:
        beyond = self._network.topology.outside
        return {} if beyond is None else {client.name: beyond.nve for client in beyond.clients}

    def begin_trial(self) -> None:
        """One ping, before the trial's window: what is small passes here and now, whatever becomes of the probes."""
        for flow in [one for one in self._flows if one.direction == "from_vm"] or self._flows[:1]:
            argv = ["ping", "-c", "1", "-W", PING_WAIT_S, "-n", "-q", flow.tapped.address]
            with contextlib.suppress(CommandError):  # nothing passes: then nothing is said of sizes
                commands.run(argv, pid=self._network[flow.sender].pid, node=flow.sender)

    @property
    def until_s(self) -> float:
        """Packets of windows that end later cannot be followed: the log was full."""
        return self._seen.until_s

    def kill(self) -> None:
        """End the taps at once; for the path of an error."""
        self._tap.kill()

    def note(self, trial: int, event: Event) -> None:
        """An event of a trial, as it happens."""
        if event.kind in EVENTS:
            self._events.setdefault(trial, []).append(event)

    def causes(
        self,
        trial: int,
        window: Window,
        migrations: Sequence[Mapping[str, Any]],
        packets: Mapping[str, Packets],
    ) -> TrialCauses:
        """The causes of one trial's packets; ``packets`` by direction."""
        events = self._events.get(trial, [])
        moves = [move_facts(one, events) for one in migrations]
        facts = Facts(
            moves,
            self._facts.at,
            self._facts.largest_bytes,
            self._facts.rule_drops,
            self._facts.asked_s,
            self._facts.blind_s,
        )
        made = TrialCauses(
            {
                "directions": [flow.direction for flow in self._flows],
                "lost_by_taps_frames": self._seen.lost_by_taps(window),
                "largest_on_underlay_bytes": self._largest_bytes(),
                "old_leg_packets": sum(
                    self._by_old_leg(moves, flow, window, packets) for flow in self._flows
                ),
            }
        )
        for flow in self._flows:
            rows = packet_causes(flow, packets[flow.direction], window, facts, self._seen)
            made.rows += [{"trial": trial, **row} for row in rows]
            made.counts[flow.direction] = counted(rows)
        made.counts["places"] = places(made.rows)
        return made

    def _largest_bytes(self) -> int:
        sizes = self._facts.largest_bytes.items()
        return max((size for (stage, _), size in sizes if stage is Stage.ON_UNDERLAY), default=0)

    def _by_old_leg(
        self, moves: Sequence[Any], flow: Flow, window: Window, packets: Mapping[str, Packets]
    ) -> int:
        """Packets that came out of a cut leg and yet arrived: then it was not cut."""
        own = packets[flow.direction]
        arrived = own.seq[own.received]
        total = 0
        for move in moves:
            if move.vm == flow.receiver and move.wired:
                # Stamps are taken before frames are acted on, and the switch's time when it is done.
                span = (max(move.there_s, move.left_s), window[1])
                late = self._seen.through_leg(flow.direction, move.old_nve, span)
                # Nothing may have brought it to the VM but that leg.
                late = np.setdiff1d(late, self._seen.through_leg(flow.direction, move.new_nve, span))
                total += int(np.isin(late, arrived).sum())
        return total


class Sees(Protocol):
    """What packets' fates are asked of: ``Seen``."""

    def sightings(self, flow: str, numbers: Iterable[int], /) -> Mapping[int, tuple[Sighting, ...]]:
        """Where packets were seen, by number."""

    def queue_s(self, flow: str, nve: str, at_s: float, /) -> float:
        """How long others took in an NVE at a moment."""


def packet_causes(
    flow: Flow, packets: Packets, window: Window, facts: Facts, sees: Sees
) -> list[dict[str, Any]]:
    """A row for each packet of a window that was lost, duplicated or reordered. Pure."""
    low, high = (int(row) for row in np.searchsorted(packets.tx_s, window))
    rows = np.arange(low, high)
    lost, doubled = rows[packets.copies[low:high] == 0], rows[packets.copies[low:high] > 1]
    late = rows[packets.reordered[low:high]]
    greatest = np.maximum.accumulate(packets.seq[packets.arrival]) if len(packets.received) else packets.seq
    overtakers = {int(row): int(greatest[packets.order[row]]) for row in late}
    numbers = [int(packets.seq[row]) for row in (*lost, *doubled, *late)] + list(overtakers.values())
    if not numbers:
        return []
    seen = sees.sightings(flow.direction, numbers)
    row_of = {int(packets.seq[row]): int(row) for row in np.searchsorted(packets.seq, numbers)}

    def packet(number: int) -> Packet:
        last = seen[number][-1] if seen[number] else None
        queue_s = sees.queue_s(flow.direction, last.nve, last.t_s) if last is not None and last.nve else 0.0
        tx_s = float(packets.tx_s[row_of[number]])
        return Packet(flow.sender, flow.receiver, tx_s, seen[number], queue_s)

    def told(row: int, what: str, cause: Cause, count: int) -> dict[str, Any]:
        number = int(packets.seq[row])
        last = seen[number][-1] if seen[number] else None
        return {
            "direction": flow.direction,
            "seq": number,
            "tx_s": float(packets.tx_s[row]),
            "what": what,
            "count": count,
            "cause": cause.value,
            "last_stage": "" if last is None else last.stage.value,
            "last_nve": "" if last is None else last.nve,
            "last_seen_s": float("nan") if last is None else last.t_s,
            "frame_bytes": 0 if last is None else last.bytes,
        }

    made = []
    for row in lost:
        made.append(told(row, "lost", cause_of_loss(packet(int(packets.seq[row])), facts), 1))
    for row in doubled:
        more = int(packets.copies[row]) - 1
        made.append(told(row, "duplicated", cause_of_copies(packet(int(packets.seq[row])), facts), more))
    for row in late:
        behind = packet(overtakers[int(row)])
        cause = cause_of_disorder(packet(int(packets.seq[row])), behind, facts)
        made.append(told(row, "reordered", cause, 1))
    return made


def counted(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """What -> cause -> packets. Pure."""
    found: dict[str, Counter[str]] = {what: Counter() for what in ("lost", "duplicated", "reordered")}
    for row in rows:
        found[row["what"]][row["cause"]] += row["count"]
    return {what: dict(sorted(causes.items())) for what, causes in found.items()}


def places(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Where lost packets were seen last, by cause, place and size, with the first and the last of those times. Pure."""
    found: dict[tuple[Any, ...], list[float]] = {}
    keys = ("direction", "cause", "last_stage", "last_nve", "frame_bytes")
    for row in rows:
        if row["what"] == "lost":
            found.setdefault(tuple(row[key] for key in keys), []).append(row["last_seen_s"])
    return [
        {
            **dict(zip(("direction", "cause", "stage", "nve", "frame_bytes"), key, strict=True)),
            "packets": len(times_s),
            "first_s": None if np.isnan(times_s[0]) else min(times_s),
            "last_s": None if np.isnan(times_s[0]) else max(times_s),
        }
        for key, times_s in found.items()
    ]


def check_sums(counts: Mapping[str, Any], measures: Mapping[str, Any], trial: int) -> None:
    """Raise AttributionError when a trial's causes are not, packet for packet, what its measures say. Pure."""
    for direction in counts["directions"]:
        for what, causes in counts[direction].items():
            measured = measures.get(f"{what}_packets_{direction}")
            if measured is not None and sum(causes.values()) != measured:
                raise AttributionError(
                    f"trial {trial}: {measured} packets {what} {direction}, but the causes {causes} add up to "
                    f"{sum(causes.values())}; the attribution has a fault, so nothing of this run counts"
                )


_COLUMNS: Mapping[str, Any] = {
    "trial": np.int32,
    "direction": str,
    "seq": np.int64,
    "tx_s": np.float64,
    "what": str,
    "count": np.int32,
    "cause": str,
    "last_stage": str,
    "last_nve": str,
    "last_seen_s": np.float64,
    "frame_bytes": np.int32,
}


def cause_columns(trials: Sequence[TrialCauses]) -> dict[str, Any]:
    """The rows of all trials as the columns of a sample file. Pure."""
    rows = [row for trial in trials for row in trial.rows]
    return {name: np.array([row[name] for row in rows], kind) for name, kind in _COLUMNS.items()}
