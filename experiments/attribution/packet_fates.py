"""What became of a trial's packets: a row for each that was not received once and in order, and their sums. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from experiments.attribution.causes import (
    Cause,
    Facts,
    Packet,
    Sighting,
    cause_of_copies,
    cause_of_disorder,
    cause_of_loss,
)
from experiments.probes.measures import Window
from experiments.probes.packets import Packets
from experiments.probes.tap import TappedFlow
from vocabulary.errors import OverlandError
from vocabulary.moves import DIRECTIONS


class AttributionError(OverlandError):
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


class Sees(Protocol):
    """What packets' fates are asked of: ``Seen``."""

    def sightings(self, flow: str, numbers: Iterable[int], /) -> Mapping[int, tuple[Sighting, ...]]:
        """Where packets were seen, by number."""

    def queue_s(self, flow: str, nve: str, at_s: float, /) -> float:
        """How long others took in an NVE at a moment."""

    def passed_s(self, flow: str, last: Sighting, /) -> float:
        """When the packet before one came in where that one did, and out again."""


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
        tx_s = float(packets.tx_s[row_of[number]])
        if last is None or not last.nve:
            return Packet(flow.sender, flow.receiver, tx_s, seen[number])
        queue_s = sees.queue_s(flow.direction, last.nve, last.t_s)
        passed_s = sees.passed_s(flow.direction, last)
        return Packet(flow.sender, flow.receiver, tx_s, seen[number], queue_s, passed_s)

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
