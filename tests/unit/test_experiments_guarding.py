"""What is said of the load guard before the first trial, and its bound when somebody chooses one."""

from __future__ import annotations

import pytest

from experiments.catalog import EXPERIMENTS
from experiments.probes.odds import Odds
from experiments.running.guarding import LAG_BOUND, bounds_for, warning
from experiments.running.parameters import ParameterError, read_parameters

BUSY = Odds(1.0, 0.020, 0.8, 0.055)


def test_poor_odds_are_said_with_what_helps() -> None:
    names = [parameter.name for parameter in EXPERIMENTS.find("old-nve-policy").parameters]
    told = warning(BUSY, [1.3, 1.3, 25.0], names, 4.2)
    assert told is not None
    assert "processes wait for more than 20 ms every 1.2 s (the longest wait in 1.0 s was 55 ms)" in told
    assert "Of the longest trials, 25 s, some less than 1 % will be valid, of all 24 %" in told
    assert "put less load on it (load 4.2 on" in told
    assert "make trials shorter (long_downtime, downtime, after)" in told
    assert "lag_bound=100ms" in told


def test_good_odds_are_not_worth_a_word() -> None:
    assert warning(BUSY, [0.7, 0.65], ["after"], 1.0) is None
    assert warning(Odds(1.0, 0.020, 0.0, 0.004), [20.0], ["after"], 0.1) is None


def test_only_ways_that_the_experiment_has_are_named() -> None:
    told = warning(BUSY, [25.0], ["rate_pps"], 1.0)
    assert told is not None and "shorter" not in told


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_experiment_takes_a_bound(name: str) -> None:
    known = EXPERIMENTS[name].parameters
    assert read_parameters(known, [])["lag_bound"] == 0.0
    assert bounds_for(read_parameters(known, ["lag_bound=50ms"])).lag_s == 0.05
    assert bounds_for(read_parameters(known, ["lag_bound=0s"])) == bounds_for({})


def test_a_bound_below_what_the_meters_can_tell_is_refused() -> None:
    with pytest.raises(
        ParameterError, match="lag_bound=2ms: allowed is 0 or a duration from 5ms on, such as 50ms"
    ):
        read_parameters([LAG_BOUND], ["lag_bound=2ms"])
