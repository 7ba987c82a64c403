"""The load guard's odds: how likely a trial comes out valid on the machine as it is now. Pure.

The model. Moments at which a process waits for longer than the guard's bound come independently of each other, so that
their number in a time is Poisson's, and a trial that may not be disturbed for T seconds is valid with exp(-rate x T).
The rate is read from a second of the lag meters. So short a time sees few of them, but more waits of a quarter of the
bound; how far these go beyond it is taken to be exponential, which gives the rate of those beyond the bound, too. The
larger of both rates counts. Stolen time and dropped frames, which the guard looks at as well, are not in it, and a load
that comes later cannot be. It says how a run will go; what a trial is worth is judged by the guard alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from experiments.probes.measures import Window

LOWER_SHARE = 0.25
"""Of the bound: waits beyond this are what the rate of longer ones is read from."""
POOR_SHARE = 0.5
"""A group of which fewer trials than this are valid is given up (``running.trials.too_few_valid``)."""


@dataclass(frozen=True)
class Odds:
    """What was seen in ``measured_s``: the rate of waits beyond the bound, and the longest wait (0: none of 1 ms)."""

    measured_s: float
    bound_s: float
    rate_per_s: float
    longest_s: float

    def valid_share(self, undisturbed_s: float) -> float:
        """The share of trials that come out valid which may not be disturbed for so long."""
        return math.exp(-self.rate_per_s * undisturbed_s)

    def expected_share(self, undisturbed_s: Sequence[float]) -> float:
        """The share of these trials, each of its own length, that come out valid when each is done once."""
        return fmean(self.valid_share(one_s) for one_s in undisturbed_s)

    def as_record(self, undisturbed_s: Sequence[float]) -> dict[str, Any]:
        """Plain values for the record."""
        return {
            "measured_s": round(self.measured_s, 3),
            "longest_lag_s": round(self.longest_s, 4),
            "over_bound_per_s": round(self.rate_per_s, 4),
            "longest_trial_valid_share": round(self.valid_share(max(undisturbed_s)), 4),
            "valid_share": round(self.expected_share(undisturbed_s), 4),
        }


def odds_of(lag: npt.NDArray[np.void], bound_s: float, window: Window) -> Odds:
    """The odds by the lag records of all CPUs (``guard.parse_lag``) within a window."""
    waits_s = _waits_s(lag, window)
    lower_s, measured_s = LOWER_SHARE * bound_s, window[1] - window[0]
    over = sum(wait_s > bound_s for wait_s in waits_s)
    beyond_s = [wait_s - lower_s for wait_s in waits_s if wait_s > lower_s]
    likely = len(beyond_s) * math.exp((lower_s - bound_s) / fmean(beyond_s)) if beyond_s else 0.0
    return Odds(measured_s, bound_s, max(over, likely) / measured_s, max(waits_s, default=0.0))


def _waits_s(lag: npt.NDArray[np.void], window: Window) -> list[float]:
    """How long each wait was; those of several CPUs at the same time are one, as long as the longest."""
    late = lag[lag["is_event"] == 1]
    ends_s, lengths_s = late["t_ns"] / 1e9, late["lag_ns"] / 1e9
    within = (ends_s >= window[0]) & (ends_s - lengths_s <= window[1])
    pairs = zip((ends_s - lengths_s)[within].tolist(), ends_s[within].tolist(), strict=True)
    found: list[float] = []
    until_s = -math.inf
    for start_s, end_s in sorted(pairs):
        if start_s < until_s:
            found[-1] = max(found[-1], end_s - start_s)
        else:
            found.append(end_s - start_s)
        until_s = max(until_s, end_s)
    return found
