"""How many more trials a narrower interval takes: the rule, its forecast against what more trials bring, bad widths."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results.figures.precision import Width, forecasts, lines, more_trials, parse_width, usual_sentence
from results.figures.statistics import compare_paired, median_interval, rank_biserial
from results.record.contract import RecordError
from results.record.reading import Record


def record(values: list[float]) -> Record:
    trials: list[dict[str, Any]] = [
        {
            "index": number,
            "valid": True,
            "null": False,
            "parameters": {"path": "a"},
            "migration": None,
            "measures": {"tcp_stall_s_to_vm": value},
        }
        for number, value in enumerate(values)
    ]
    return Record(Path("run"), {"trials": trials, "experiment": "hot-l2"})


def test_half_the_width_takes_four_times_the_trials() -> None:
    assert more_trials(10, 0.004, 0.002) == 30
    assert more_trials(10, 0.002, 0.002) == 0
    assert more_trials(7, 0.003, 0.002) == 9  # 7 * 2.25 = 15.75, so 16
    with pytest.raises(ValueError, match="width 0"):
        more_trials(10, 0.1, 0.0)


def test_the_forecast_comes_true_within_a_factor() -> None:
    """The interval of n + more trials has the wanted width, give or take what intervals of 20 trials vary."""
    ratios = []
    for seed in range(12):
        random = np.random.default_rng(seed)
        few = list(random.lognormal(0, 0.3, 20))
        interval = median_interval(few)
        assert interval is not None
        wanted = (interval[1] - interval[0]) / 3
        n = 20 + more_trials(20, interval[1] - interval[0], wanted)
        assert n == 180
        reached = median_interval(list(random.lognormal(0, 0.3, n)))
        assert reached is not None
        ratios.append((reached[1] - reached[0]) / wanted)
    assert 0.6 < float(np.median(ratios)) < 1.6


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("2ms", Width(time_s=0.002)),
        ("0.5s", Width(time_s=0.5)),
        ("10%", Width(share=0.1)),
        ("3", Width(number=3.0)),
    ],
)
def test_widths(text: str, width: Width) -> None:
    assert parse_width(text) == width


@pytest.mark.parametrize("text", ["", "0", "-1ms", "10 apples", "0%"])
def test_widths_that_are_none(text: str) -> None:
    with pytest.raises(RecordError, match="wanted more than 0"):
        parse_width(text)


def test_what_tables_say() -> None:
    spread = record([0.008, 0.010, 0.012, 0.020, 0.006, 0.011])
    (found,) = forecasts(spread, Width(share=0.1))
    assert found.more > 0
    assert f"needs some {found.more:,} more trials (it has 6)" in usual_sentence(spread)
    assert usual_sentence(record([0.010] * 5)) == "Every interval lies within 10 % of its median."
    assert usual_sentence(record([0.01, 0.02])) == ""
    assert "for 50ms: enough" in lines(spread, parse_width("50ms"), "50ms")[0]
    assert lines(record([0.01]), parse_width("50ms"), "50ms") == [
        "no measure that 50ms can be asked of has an interval: that takes three valid trials of a group"
    ]


def test_a_time_is_asked_of_times_and_a_bare_number_of_the_rest() -> None:
    assert Width(time_s=0.002).of("tcp_stall_s_to_vm", 1.0) == pytest.approx(0.002)
    assert Width(time_s=0.002).of("wait_us", 1.0) == pytest.approx(2000)
    assert Width(time_s=0.002).of("lost_packets_to_vm", 1.0) is None
    assert Width(number=3.0).of("lost_packets_to_vm", 1.0) == 3.0
    assert Width(number=3.0).of("tcp_stall_s_to_vm", 1.0) is None
    assert Width(share=0.1).of("lost_packets_to_vm", 20.0) == Width(share=0.1).of("stall_s", 20.0) == 4.0
    assert "no measure that 5 can" in lines(record([0.008, 0.010, 0.012]), parse_width("5"), "5")[0]


def test_the_effect_size_of_pairs() -> None:
    assert rank_biserial([1.0, 2.0, 3.0]) == 1.0
    assert rank_biserial([-1.0, -2.0, 3.0]) == 0.0  # ranks 1 + 2 against 3
    assert rank_biserial([0.0, 0.0]) == 0.0
    assert compare_paired([1.0, 2.0, 3.0, 4.0], [2.0, 3.5, 5.0, 6.5]).rank_biserial == -1.0
