"""Rates on emulated processors: lowered where nobody said how much, never raised, never against somebody's word."""

from __future__ import annotations

from experiments.catalog import EXPERIMENTS
from experiments.running.parameters import duration_s, rate_bps, whole
from image.pace import AT_LEAST, AT_MOST, gentler

KNOWN = (
    whole("rate_pps", 5000, "", 1, 50_000),
    rate_bps("tcp_rate", 5_000_000, ""),
    whole("repeat", 10, "", 1, 20),
)


def test_rates_are_lowered_and_said() -> None:
    assert gentler([], KNOWN, "tcg") == ["rate_pps=200", "tcp_rate=1Mbit"]
    assert [AT_MOST[one.name] for one in KNOWN[:2]] == [KNOWN[0].read("200"), KNOWN[1].read("1Mbit")]


def test_what_has_a_bound_is_a_parameter_of_some_experiment() -> None:
    known = {parameter.name for experiment in EXPERIMENTS.values() for parameter in experiment.parameters}
    assert {*AT_MOST, *AT_LEAST} <= known


def test_gaps_between_packets_are_made_longer() -> None:
    assert gentler([], [duration_s("shortest_gap", 0.001, "")], "tcg") == ["shortest_gap=10ms"]
    assert gentler(["shortest_gap=1ms"], [duration_s("shortest_gap", 0.001, "")], "tcg") == []
    assert gentler([], [duration_s("shortest_gap", 1.0, "")], "tcg") == []


def test_what_was_said_stands() -> None:
    assert gentler(["RATE_PPS=9000", "tcp_rate=9Mbit"], KNOWN, "tcg") == []


def test_a_rate_is_never_raised_and_kvm_is_left_alone() -> None:
    assert gentler([], [whole("rate_pps", 150, "", 1, 1000)], "tcg") == []
    assert gentler([], KNOWN, "kvm") == []
