"""The thin flows, what is refused, the line through the buffer's peaks, and the answer's words."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.catalog import EXPERIMENTS
from experiments.running.parameters import ParameterError, read_parameters
from experiments.studies.in_flight_tunnel.fit import fit_buffer
from experiments.studies.in_flight_tunnel.study import (
    LEARNING,
    check,
    conclude,
    has_rare,
    most_held,
    stop_groups,
    thin_flows,
)
from topologies import load_topology, topology_file

THIN = load_topology(topology_file("thin_flows"))


def values(*words: str) -> dict[str, Any]:
    return read_parameters(EXPERIMENTS.find("in-flight-tunnel").parameters, words)


def test_flows_are_from_one_millisecond_to_a_minute_each_from_an_nve_of_its_own() -> None:
    flows = thin_flows(values(), THIN, rare=True)
    assert [flow.label for flow in flows] == [
        "gap_1ms",
        "gap_10ms",
        "gap_100ms",
        "gap_1s",
        "gap_10s",
        "gap_60s",
    ]
    assert [flow.rate_pps for flow in flows] == pytest.approx([1000, 100, 10, 1, 0.1, 1 / 60])
    assert len({THIN.vm(flow.sender).nve for flow in flows}) == 6
    assert thin_flows(values(), THIN) == flows[:4]  # beside which every rule is tried


def test_every_trial_lasts_until_the_thinnest_flow_has_spoken() -> None:
    def watched(*words: str, rare: bool = True) -> set[float]:
        return {group.options.observe_s for group in stop_groups(values(*words), rare=rare)}

    assert (watched(), watched("longest_gap=10s"), watched(rare=False)) == ({60.1}, {10.1}, {1.1})
    assert len(stop_groups(values())) == 12
    assert [group.parameters["learning"] for group in stop_groups(values(), rare=True)] == list(LEARNING)
    assert [has_rare(values(*words)) for words in ((), ("quick=1",), ("longest_gap=1s",))] == [
        True,
        False,
        False,
    ]


def test_a_topology_without_thin_peers_is_refused() -> None:
    check(values(), THIN)
    with pytest.raises(ParameterError, match=r"needs a VM thin1 alone at its NVE .* 1ms; take thin_flows"):
        check(values("topology=two_racks"), load_topology(topology_file("two_racks")))


def test_the_buffer_is_the_rate_times_downtime_and_a_constant() -> None:
    points = [
        (rate, downtime_s, round(rate * (downtime_s + 0.004)))
        for rate in (500, 2000, 5000)
        for downtime_s in (0.01, 0.05, 0.2)
        for _ in range(3)
    ]
    fit = fit_buffer(points)
    assert fit is not None
    assert (fit.slope, fit.constant_s) == (pytest.approx(1, abs=0.01), pytest.approx(0.004, abs=0.0005))
    assert fit.slope_ci95[0] <= fit.slope <= fit.slope_ci95[1]
    half = fit_buffer([(rate, downtime_s, frames / 2) for rate, downtime_s, frames in points])
    assert half is not None
    assert half.slope_ci95[1] < 0.6  # frames that were lost and not held show
    assert fit_buffer(points[:3]) is None
    assert fit_buffer([(500, 0.01, 5)] * 9) is None


def test_the_answer_tells_the_two_holders_apart() -> None:
    def trial(rate: int, downtime_s: float) -> dict[str, Any]:
        measures = {
            "downtime_s": downtime_s,
            "held_frames_redirected": round(rate * (downtime_s + 0.002)),
            "held_frames_direct": rate // 100,
        }
        return {"valid": True, "null": False, "parameters": {"rate_pps": rate}, "measures": measures}

    said = conclude([trial(rate, downtime_s) for rate in (500, 5000) for downtime_s in (0.01, 0.2)])
    assert said is not None
    assert "came through the old NVE, rate x (1.000" in said
    assert "x downtime + 2.0 ms" in said
    assert "the last end marker: rate x 10 ms, whatever the downtime" in said
    assert said.endswith("The first is a mean and no size to be safe with.")


def test_the_answer_gives_the_most_that_any_move_held_at_one_moment() -> None:
    def trial(peak: int, valid: bool = True) -> dict[str, Any]:
        own = {"rate_pps": 1000, "downtime_s": 0.05}
        return {"valid": valid, "null": False, "parameters": own, "measures": {"held_frames_peak": peak}}

    assert most_held([trial(52), trial(58), trial(99, valid=False)]) == (
        " No move of 2 held more at one moment than rate x (downtime as asked for + 8 ms)."
    )
    assert most_held([]) == ""


def test_the_answer_names_the_thin_flows_that_still_came_to_the_old_nve() -> None:
    def trial(learning: str, late: int) -> dict[str, Any]:
        measures = {"tunnel_s": 0.06, "misdirected_packets": late}
        measures |= {"misdirected_packets_gap_1ms": 0, "misdirected_packets_gap_1s": late}
        return {
            "valid": True,
            "null": False,
            "parameters": {"learning": learning, "rule": "fixed:50ms", "watched_s": 1.1},
            "measures": measures,
        }

    said = conclude([trial("push", 0), trial("pull", 1)])
    assert said is not None
    assert "With push, misdirected in the 1 s after the stop: fixed:50ms (tunnel 60 ms) none." in said
    assert "With pull, misdirected in the 1 s after the stop: fixed:50ms (tunnel 60 ms) gap 1s 1." in said
    assert (
        "With push nothing came to the old NVE after any stop. Something came after the stop with pull in 1"
        in said
    )
