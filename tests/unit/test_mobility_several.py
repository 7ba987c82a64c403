"""Several moves: in which order, at once, and what is not begun after a failure; no network behind it."""

from __future__ import annotations

import threading

import pytest

from mobility.policies import MigrationRefusedError
from mobility.record import MigrationRecord, Phase
from mobility.several import Itinerary, at_once_s, check, move_several

BOUND_S = 5.0
NVES = ["nve1", "nve2", "nve3"]
HERE = {"vm1": "nve1", "vm2": "nve2"}


def record(vm: str, nve: str, start_s: float = 0.0, end_s: float = 1.0) -> MigrationRecord:
    made = MigrationRecord("m", "hot", vm, "old", nve, "buffer", "rebind")
    made.phases.append(Phase("prepare", start_s, end_s))
    return made


def names(records: list[MigrationRecord]) -> list[tuple[str, str]]:
    return [(one.vm, one.new_nve) for one in records]


def test_a_chain_goes_one_after_the_other_in_the_callers_thread() -> None:
    threads = set()

    def move(vm: str, nve: str) -> MigrationRecord:
        threads.add(threading.current_thread())
        return record(vm, nve)

    outcome = move_several([Itinerary("vm1", ("nve2", "nve3", "nve1"))], move)
    assert names(outcome.records()) == [("vm1", "nve2"), ("vm1", "nve3"), ("vm1", "nve1")]
    assert threads == {threading.current_thread()}


def test_different_vms_move_at_once() -> None:
    met = threading.Barrier(2)

    def move(vm: str, nve: str) -> MigrationRecord:
        met.wait(BOUND_S)  # BrokenBarrierError unless both are here
        return record(vm, nve)

    outcome = move_several([Itinerary("vm1", ("nve2",)), Itinerary("vm2", ("nve1",))], move)
    assert sorted(names(outcome.records())) == [("vm1", "nve2"), ("vm2", "nve1")]


@pytest.mark.parametrize("error", [RuntimeError("no more"), KeyboardInterrupt()])
def test_after_a_failure_no_move_is_begun_and_those_under_way_end(error: BaseException) -> None:
    stop, under_way = threading.Event(), threading.Event()

    def move(vm: str, nve: str) -> MigrationRecord:
        if vm == "vm1":
            assert under_way.wait(BOUND_S)
            raise error
        under_way.set()
        assert stop.wait(BOUND_S), "the failure must stop the others"
        return record(vm, nve)

    several = [Itinerary("vm1", ("nve2", "nve3")), Itinerary("vm2", ("nve1", "nve3"))]
    outcome = move_several(several, move, stop)
    assert outcome.failed == {"vm1": error}
    assert names(outcome.done) == [("vm2", "nve1")]
    assert outcome.not_begun == {"vm1": ("nve3",), "vm2": ("nve3",)}
    with pytest.raises(type(error)):
        outcome.records()


@pytest.mark.parametrize(
    ("several", "said"),
    [
        ([("vm9", "nve1")], "there is no VM 'vm9'; this network has vm1, vm2"),
        ([("vm1", "nve9")], "there is no NVE 'nve9'; this network has nve1, nve2, nve3"),
        ([("vm1", "nve1")], "vm1 is at nve1 already; move it to one of nve2, nve3"),
        (
            [("vm1", "nve2", "nve2")],
            "vm1 would, before its move number 2, be at nve2 already; move it to one of nve1, nve3",
        ),
        (
            [("vm1", "nve2"), ("vm1", "nve3")],
            "vm1 is named twice: a VM's next move begins when the one before",
        ),
        ([("vm1",)], "vm1: to which NVE?"),
    ],
)
def test_what_cannot_be_is_refused_before_any_move(several: list[tuple[str, ...]], said: str) -> None:
    with pytest.raises(MigrationRefusedError) as refused:
        check([Itinerary(vm, nves) for vm, *rest in several for nves in [tuple(rest)]], HERE, NVES)
    assert said in str(refused.value)


def test_there_and_back_is_allowed() -> None:
    check([Itinerary("vm1", ("nve2", "nve1")), Itinerary("vm2", ("nve1", "nve2"))], HERE, NVES)


def test_the_time_in_which_two_moves_were_under_way() -> None:
    first, second, third = record("a", "x", 1, 3), record("b", "y", 2, 5), record("c", "z", 2.5, 2.75)
    assert at_once_s([first, second, third]) == pytest.approx(1.0)  # 2 to 3; the third lies within
    assert at_once_s([first]) == 0.0
    assert at_once_s([record("a", "x", 0, 1), record("a", "y", 1, 2)]) == 0.0
