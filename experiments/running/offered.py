"""Whether a trial's senders offered the packets they were asked for, by their own counts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from experiments.probes.transports.base import Offered

MISSED_SHARE = 0.05
"""A trial in which so much of a flow was not offered is of another load than was asked for."""
EDGE_PACKETS = 2
"""A packet more or less at either end of a time in which the sender runs: all that thin flows may miss."""
Span = tuple[float, float]


@dataclass(frozen=True)
class OfferedRate:
    """What one flow was asked for and offered in a trial, while its sender ran; ``missed``: by 5 % or more."""

    asked_pps: float
    offered_pps: float
    missed: bool


def standstills(migrations: Iterable[Mapping[str, Any]], node: str) -> list[Span]:
    """When a node stood still in a trial's moves, and its senders with it."""
    return [
        (one["paused_s"], one["resumed_s"])
        for one in migrations
        if one["vm"] == node and one["paused_s"] is not None and one["resumed_s"] is not None
    ]


def offered_rate(
    before: Offered, after: Offered, stood: Sequence[Span], stall_s: float = 0.0
) -> OfferedRate | None:
    """One flow's rate between two looks; None when its sender did not run.

    ``stall_s``: so long a stop of the machine the load guard lets pass, where it lets pass more than 5 % of a trial.
    """
    inside = [max(0.0, min(end_s, after.at_s) - max(start_s, before.at_s)) for start_s, end_s in stood]
    ran_s = after.at_s - before.at_s - sum(inside)
    if ran_s <= 0:
        return None
    due = after.asked_pps * ran_s
    packets = after.packets - before.packets
    edges = EDGE_PACKETS * (1 + sum(one > 0 for one in inside)) + stall_s * after.asked_pps
    return OfferedRate(after.asked_pps, packets / ran_s, due - packets - edges >= MISSED_SHARE * due)


def offered_rates(
    before: Mapping[str, Offered],
    after: Mapping[str, Offered],
    migrations: Sequence[Mapping[str, Any]],
    stall_s: float = 0.0,
) -> dict[str, OfferedRate]:
    """The rate of each flow whose sender ran, by its direction or label."""
    found = {
        name: offered_rate(before[name], one, standstills(migrations, one.sender), stall_s)
        for name, one in after.items()
    }
    return {name: rate for name, rate in found.items() if rate is not None}


def offered_measures(rates: Mapping[str, OfferedRate]) -> dict[str, float]:
    """``asked_pps`` and ``offered_pps`` of each flow."""
    return {f"asked_pps_{name}": rate.asked_pps for name, rate in rates.items()} | {
        f"offered_pps_{name}": rate.offered_pps for name, rate in rates.items()
    }


def missed_reason(rates: Mapping[str, OfferedRate]) -> str:
    """Why the trial is none of the load that was asked for; '' when it is."""
    told = [
        f"offered rate missed by {1 - rate.offered_pps / rate.asked_pps:.0%}: {rate.offered_pps:,.0f} of "
        f"{rate.asked_pps:,.0f} packets/s ({name})"
        for name, rate in rates.items()
        if rate.missed
    ]
    return f"{', '.join(told)} (bound {MISSED_SHARE:.0%})" if told else ""
