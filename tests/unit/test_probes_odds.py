"""The load guard's odds, held against the guard itself on waits that are drawn."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from experiments.probes.guard import LAG_LAYOUT, Bounds, Snapshot, judge
from experiments.probes.logs import record_type
from experiments.probes.odds import Odds, odds_of

BOUND_S = 0.020


def lag_records(waits: list[tuple[float, float, int]]) -> np.ndarray:
    """Of (end in s, length in s, CPU)."""
    rows = [(round(end_s * 1e9), round(length_s * 1e9), cpu, 1) for end_s, length_s, cpu in waits]
    return np.array(rows, record_type(LAG_LAYOUT))


def drawn(rate_per_s: float, mean_s: float, until_s: float, seed: int) -> np.ndarray:
    """Waits at random moments whose lengths are exponential beyond 1 ms."""
    chance, now_s, waits = random.Random(seed), 0.0, []
    while (now_s := now_s + chance.expovariate(rate_per_s)) < until_s:
        waits.append((now_s, 0.001 + chance.expovariate(1 / mean_s), 0))
    return lag_records(waits)


def test_a_quiet_machine_spoils_nothing() -> None:
    odds = odds_of(lag_records([(0.3, 0.002, 0), (0.6, 0.004, 1)]), BOUND_S, (0.0, 1.0))
    assert (odds.rate_per_s, odds.longest_s) == (0.0, pytest.approx(0.004))
    assert odds.valid_share(1000.0) == 1.0
    assert odds_of(lag_records([]), BOUND_S, (0.0, 1.0)).expected_share([1.0, 20.0]) == 1.0


def test_waits_beyond_the_bound_are_counted_once_for_all_processors() -> None:
    both = [(0.5, 0.030, 0), (0.501, 0.025, 1), (1.5, 0.040, 1)]
    odds = odds_of(lag_records(both), BOUND_S, (0.0, 2.0))
    assert odds.longest_s == pytest.approx(0.040)
    mean_s = ((0.030 - 0.005) + (0.040 - 0.005)) / 2
    assert odds.rate_per_s == max(2, 2 * math.exp(-0.015 / mean_s)) / 2


def test_what_lies_outside_the_time_looked_at_does_not_count() -> None:
    waits = lag_records([(0.9, 0.050, 0), (2.5, 0.050, 0)])
    assert odds_of(waits, BOUND_S, (1.0, 2.0)).rate_per_s == 0.0


@pytest.mark.parametrize(("rate_per_s", "mean_s"), [(20.0, 0.006), (5.0, 0.015), (2.0, 0.030)])
def test_the_share_is_that_which_the_guard_finds(rate_per_s: float, mean_s: float) -> None:
    """A second of such a machine, many times: the share foretold for trials of 1 s is that of trials judged valid."""
    foretold, valid, trials = [], 0, 200
    for seed in range(trials):
        waits = drawn(rate_per_s, mean_s, 2.0, seed)
        foretold.append(odds_of(waits, BOUND_S, (0.0, 1.0)).valid_share(1.0))
        valid += judge(Bounds(), waits, Snapshot(0.0), Snapshot(2.0), (1.0, 2.0)).valid
    # The larger of two estimates is taken, and a mean of exp is not exp of a mean: 0.15 apart at most.
    assert sum(foretold) / trials == pytest.approx(valid / trials, abs=0.15)


def test_longer_trials_have_worse_odds() -> None:
    odds = Odds(1.0, BOUND_S, 0.5, 0.03)
    assert odds.valid_share(1.0) == math.exp(-0.5)
    assert odds.expected_share([1.0, 20.0]) == pytest.approx((math.exp(-0.5) + math.exp(-10)) / 2)
    record = odds.as_record([1.0, 20.0])
    assert record["longest_trial_valid_share"] == 0.0 and record["valid_share"] == 0.3033
