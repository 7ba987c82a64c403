"""The load guard's decisions, and how it reads the machine's figures."""

from __future__ import annotations

import numpy as np
import pytest

from experiments.probes.guard import (
    LAG_LAYOUT,
    Bounds,
    Snapshot,
    bounds_on,
    judge,
    parse_lag,
    parse_softnet_drops,
    parse_steal,
)
from experiments.probes.logs import record_type

WINDOW = (10.0, 11.0)
BEFORE, AFTER = Snapshot(9.9, {0: 1.0, 1: 2.0}, 5), Snapshot(11.1, {0: 1.0, 1: 2.0}, 5)
MS = 1_000_000


def lags(*rows: tuple[float, int, int, int]) -> np.ndarray:
    """Rows of (woken at, in s; lag in ms; CPU; is event)."""
    values = [(int(t_s * 1e9), lag_ms * MS, cpu, event) for t_s, lag_ms, cpu, event in rows]
    return np.array(values, record_type(LAG_LAYOUT))


def test_a_quiet_window_is_valid() -> None:
    assert judge(Bounds(), lags((10.5, 19, 0, 1), (10.6, 19, 0, 0)), BEFORE, AFTER, WINDOW) == (True, "")
    assert judge(Bounds(), lags(), BEFORE, AFTER, WINDOW).valid


@pytest.mark.parametrize(
    ("woken_s", "lag_ms", "valid"),
    [
        (10.5, 30, False),
        (9.99, 30, True),  # over before the window
        (10.01, 30, False),  # reaches into it
        (11.02, 30, False),  # begins in it: due at 10.99
        (11.05, 30, True),  # begins after it
    ],
)
def test_a_lag_counts_when_it_overlaps_the_window(woken_s: float, lag_ms: int, valid: bool) -> None:
    verdict = judge(Bounds(), lags((woken_s, lag_ms, 1, 1)), BEFORE, AFTER, WINDOW)
    assert verdict.valid is valid
    if not valid:
        assert verdict.reason == "scheduling lag 30.0 ms on CPU 1 (bound 20 ms)"


def test_the_bound_can_be_tuned() -> None:
    assert judge(Bounds(lag_s=0.04), lags((10.5, 30, 0, 1)), BEFORE, AFTER, WINDOW).valid
    assert not judge(Bounds(lag_s=0.005), lags((10.5, 6, 0, 1)), BEFORE, AFTER, WINDOW).valid


def test_stolen_time() -> None:
    # 1.2 s between the snapshots: 10 % are 120 ms, and one tick of 10 ms is allowed for rounding.
    assert judge(Bounds(), lags(), BEFORE, Snapshot(11.1, {0: 1.0, 1: 2.13}, 5), WINDOW).valid
    verdict = judge(Bounds(), lags(), BEFORE, Snapshot(11.1, {0: 1.0, 1: 2.14}, 5), WINDOW)
    assert verdict == (False, "140 ms of 1.20 s stolen from CPU 1 (bound 10 %)")


def test_dropped_frames() -> None:
    verdict = judge(Bounds(), lags(), BEFORE, Snapshot(11.1, {}, 7), WINDOW)
    assert verdict == (False, "the host's input queues dropped 2 frames (bound 0)")


def test_reading_proc() -> None:
    stat = "cpu  9 0 9 9 0 0 0 30 0 0\ncpu0 1 0 7 1 6 0 1 12 0 0\ncpu1 4 0 1 1 5 0 5 18 0 0\nintr 5 1\n"
    assert parse_steal(stat) == pytest.approx({0: 0.12, 1: 0.18})
    assert parse_steal(stat, tick_s=0.001) == pytest.approx({0: 0.012, 1: 0.018})
    softnet = "00000012 00000001 00000000\n00001861 0000000a 00000000\n"
    assert parse_softnet_drops(softnet) == 11
    assert parse_softnet_drops("") == 0


def test_an_empty_lag_log() -> None:
    log = parse_lag(b"")
    assert len(log.records) == 0
    assert not log.complete


def test_emulated_processors_have_a_wider_bound_on_lag_alone() -> None:
    real, emulated = bounds_on(None), bounds_on("tcg")
    assert bounds_on("kvm") == real == Bounds()
    assert emulated.lag_s > real.lag_s
    assert (emulated.steal_share, emulated.softnet_drops) == (real.steal_share, real.softnet_drops)
