"""The pre-copy model against figures worked out by hand, and against what must hold for any VM."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobility.copy import MAX_ROUNDS, CopyModel, precopy, rounds

MIB = 2**20


def test_rounds_shrink_by_the_ratio_of_dirty_rate_to_bandwidth() -> None:
    """512 MiB at 1 Gbit/s, 100 Mbit/s dirtied: 4.295 s, 0.4295 s, then 0.043 s are left, under 0.3 s."""
    plan = rounds(512 * MIB, 1e8, 1e9)
    assert [one.bytes for one in plan.rounds] == [512 * MIB, round(51.2 * MIB)]
    assert plan.rounds[0].seconds == pytest.approx(4.294967, abs=1e-6)
    assert (plan.converged, plan.reason) == (True, "converged")
    assert plan.stop_s == pytest.approx(0.04295, abs=1e-5)
    assert plan.precopy_s == pytest.approx(4.72446, abs=1e-4)
    assert plan.total_bytes == sum(one.bytes for one in plan.rounds) + plan.stop_bytes


def test_a_vm_that_writes_nothing_needs_one_round() -> None:
    plan = rounds(64 * MIB, 0, 1e9)
    assert (len(plan.rounds), plan.stop_bytes, plan.stop_s, plan.converged) == (1, 0, 0.0, True)


def test_a_vm_that_writes_faster_than_the_path_never_converges() -> None:
    plan = rounds(64 * MIB, 2e9, 1e9)
    assert (plan.converged, plan.reason) == (False, "not shrinking")
    assert len(plan.rounds) == 1
    assert plan.stop_bytes == 64 * MIB  # all of it again, never more


def test_the_rounds_are_bounded() -> None:
    plan = rounds(512 * MIB, 0.95e9, 1e9, downtime_limit_s=0.0001, max_rounds=7)
    assert (len(plan.rounds), plan.reason) == (7, "rounds used up")
    assert len(rounds(512 * MIB, 0.999e9, 1e9, 0.0).rounds) == MAX_ROUNDS


def test_warm_is_one_round_and_cold_is_none() -> None:
    warm = rounds(80 * MIB, 1e8, 1e9, downtime_limit_s=0.0, max_rounds=1)
    assert (len(warm.rounds), warm.stop_bytes) == (1, 8 * MIB)
    cold = rounds(80 * MIB, 1e8, 1e9, max_rounds=0)
    assert (cold.rounds, cold.stop_bytes, cold.total_bytes) == ((), 80 * MIB, 80 * MIB)


def test_real_rounds_go_by_the_time_they_really_took() -> None:
    """A path half as fast as asked for lets the VM write twice as much meanwhile."""
    model = CopyModel(100 * MIB, 1e8, 1e9)
    plan = precopy(model, lambda size: 2 * model.seconds(size))
    assert [one.bytes for one in plan.rounds] == [100 * MIB, 20 * MIB]
    assert plan.rounds[0].seconds == pytest.approx(2 * 100 * MIB * 8 / 1e9)


@pytest.mark.parametrize(
    "values",
    [(-1, 0, 1e9), (1, -1, 1e9), (1, 0, 0), (1, 0, -5), (1, 0, 1e9, -0.1), (1, 0, 1e9, 0.1, -1)],
)
def test_values_that_mean_nothing_are_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"must"):
        rounds(*values)  # type: ignore[arg-type]


@given(
    memory=st.integers(0, 2**36),
    dirty=st.floats(0, 1e11),
    bandwidth=st.floats(1e6, 1e11),
    limit=st.floats(0, 10),
)
def test_for_any_vm(memory: int, dirty: float, bandwidth: float, limit: float) -> None:
    plan = rounds(memory, dirty, bandwidth, limit)
    assert 1 <= len(plan.rounds) <= MAX_ROUNDS
    assert plan.rounds[0].bytes == memory
    sizes = [one.bytes for one in plan.rounds]
    assert sizes == sorted(sizes, reverse=True)
    assert 0 <= plan.stop_bytes <= memory
    assert math.isfinite(plan.precopy_s)
    assert plan.converged == (plan.stop_s <= limit)
    assert plan.stop_s == pytest.approx(plan.stop_bytes * 8 / bandwidth)
