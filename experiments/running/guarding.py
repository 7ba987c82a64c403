"""The load guard of a run: its bound, which may be chosen, and what its odds are told as before the first trial."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from experiments.probes.guard import Bounds, LoadGuard
from experiments.probes.odds import POOR_SHARE, Odds, odds_of
from experiments.running.experiment import Experiment
from experiments.running.parameters import Parameter
from experiments.running.planning import in_words
from experiments.running.surroundings import bounds_here
from topologies.units import format_duration, parse_duration

LOOKED_AT_S = 1.0
SHORTEST_BOUND_S = 0.005  # the meters' own error is up to 2 ms


def _read_bound(text: str) -> float:
    bound_s = parse_duration(text)
    if 0 < bound_s < SHORTEST_BOUND_S:
        raise ValueError
    return bound_s


LAG_BOUND = Parameter(
    "lag_bound",
    0.0,
    "longest time the machine may stop in a valid trial; 0: 20ms, on emulated processors 100ms",
    _read_bound,
    f"0 or a duration from {format_duration(SHORTEST_BOUND_S)} on, such as 50ms",
    format_duration,
)
LENGTHENING = ("long_downtime", "downtime", "memory_mib", "ages", "longest_gap", "after", "before")
"""Parameters that make trials longer, those that may do so most in front."""


def with_guard(experiment: Experiment) -> Experiment:
    """The experiment with this parameter."""
    return replace(experiment, parameters=(*experiment.parameters, LAG_BOUND))


def bounds_for(values: Mapping[str, Any]) -> Bounds:
    """What the load guard allows in a run: what its parameter says, else what this machine can keep."""
    bounds = bounds_here()
    return replace(bounds, lag_s=values["lag_bound"]) if values.get("lag_bound") else bounds


def look(guard: LoadGuard, since_s: float, until_s: float) -> Odds:
    """The odds by what a guard that runs has seen in this time."""
    return odds_of(guard.lag(), guard.bounds.lag_s, (since_s, until_s))


def warning(odds: Odds, guarded_s: Sequence[float], names: Sequence[str], load: float) -> str | None:
    """What to say before the first trial when many will be refused, and what to do; None when all is well. Pure.

    ``guarded_s``: of each trial, how long it must not be disturbed. ``names``: of the experiment's parameters.
    """
    longest_s = max(guarded_s)
    of_longest, of_all = odds.valid_share(longest_s), odds.expected_share(guarded_s)
    if of_longest >= POOR_SHARE:
        return None
    shorter = [name for name in LENGTHENING if name in names][:3]
    ways = [
        f"put less load on it (load {load:.1f} on {os.cpu_count()} processors)",
        *([f"make trials shorter ({', '.join(shorter)})"] if shorter else []),
        f"allow more than {odds.bound_s * 1e3:g} ms (lag_bound={format_duration(5 * odds.bound_s)}; times are then no "
        "truer than that)",
    ]
    return (
        f"this machine is busy: processes wait for more than {odds.bound_s * 1e3:g} ms {_often(odds.rate_per_s)} "
        f"(the longest wait in {odds.measured_s:.1f} s was {odds.longest_s * 1e3:.0f} ms). Of the longest trials, "
        f"{in_words(longest_s)}, some {_per_cent(of_longest)} will be valid, of all {_per_cent(of_all)}; the others "
        f"are repeated until too few can be. What helps: {'; '.join(ways)}"
    )


def _often(rate_per_s: float) -> str:
    return f"{rate_per_s:.1f} times a second" if rate_per_s >= 0.95 else f"every {1 / rate_per_s:.1f} s"


def _per_cent(share: float) -> str:
    return "less than 1 %" if share < 0.01 else f"{share * 100:.0f} %"
