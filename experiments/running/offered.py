"""Whether a trial's senders offered the packets they were asked for, by their own counts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from ..probes.transports.base import Offered

MISSED_SHARE = 0.05
"""A trial in which so much of a flow was not offered is of another load than was asked for."""
EDGE_PACKETS = 2
"""A packet more or less at either end of a time in which the sender runs: all that thin flows may miss."""
MISSED_RATE, BUSY_MACHINE = "offered rate", "machine"
"""Why a trial is invalid, as a record's ``invalid_by`` has it."""

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
        f"{rate.offered_pps:,.0f} of {rate.asked_pps:,.0f} packets/s ({name})"
        for name, rate in rates.items()
        if rate.missed
    ]
    return f"the sender offered {', '.join(told)}; bound {MISSED_SHARE:.0%}" if told else ""


def advice(trials: Sequence[Mapping[str, Any]]) -> str:
    """What was reached in the trials that missed their rate, and what to do; '' when none missed it."""
    missed = [trial["measures"] for trial in trials if MISSED_RATE in trial.get("invalid_by", ())]
    if not missed:
        return ""
    worst = [
        min(
            (one[f"offered_pps_{name}"] / asked, one[f"offered_pps_{name}"], asked)
            for name, asked in _asked(one).items()
        )
        for one in missed
    ]
    reached = [offered for _, offered, _ in worst]
    asked_pps = median(asked for *_, asked in worst)
    lower = 0.9 * median(share for share, *_ in worst) * asked_pps
    told = f"{min(reached):,.0f} to {max(reached):,.0f}" if len(reached) > 1 else f"{reached[0]:,.0f}"
    return (
        f"asked were {asked_pps:,.0f} packets/s, sent were {told}: ask for at most {rounded(lower):,} (rate_pps), "
        "or take a machine with more processors"
    )


def _asked(measures: Mapping[str, float]) -> dict[str, float]:
    """The asked rate of each flow in a trial's measures."""
    stem = "asked_pps_"
    return {name.removeprefix(stem): value for name, value in measures.items() if name.startswith(stem)}


def rounded(rate_pps: float) -> int:
    """Two digits of it, downwards."""
    unit: int = 10 ** max(0, len(str(int(rate_pps))) - 2)
    return int(rate_pps // unit) * unit
