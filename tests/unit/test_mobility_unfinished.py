"""Moves that failed and could not be ended at once: who goes on with them, and when they wait."""

from __future__ import annotations

import threading

import pytest

from mobility import draining
from mobility.migration import MigrationRecord
from mobility.unfinished import Unfinished, unfinished_words
from tests.fake_move_world import World


@pytest.fixture(autouse=True)
def end_markers(monkeypatch: pytest.MonkeyPatch) -> None:
    """All end markers come at once; how they are awaited is checked with real frames elsewhere."""
    monkeypatch.setattr(draining, "_await_end_markers", lambda *_: 0.002)


class Owing:
    """A move that ends at a certain try."""

    def __init__(self, ends_at_try: int, vm: str = "vm1") -> None:
        self.record = MigrationRecord("m", "hot", vm, "nve1", "nve2", "buffer", "rebind")
        self.switched, self.waits_for, self.tries = True, "finish: nve3 is away", 0
        self.ends_at_try, self.ended = ends_at_try, threading.Event()
        self.waited: list[bool] = []

    def go_on(self, waits: bool = True) -> bool:
        self.tries += 1
        self.waited.append(waits)
        if self.tries >= self.ends_at_try:
            self.ended.set()
        return self.ended.is_set()


def test_a_thread_goes_on_until_a_move_has_ended() -> None:
    unfinished, first, second = Unfinished(0.001), Owing(3), Owing(5, "vm2")
    unfinished.add(first)
    unfinished.add(second)
    assert first.ended.wait(5.0)
    assert second.ended.wait(5.0)
    unfinished.close()
    assert (unfinished.moves(), unfinished.of("vm1"), first.tries, second.tries) == ([], None, 3, 5)


def test_a_later_move_finds_somebody_to_go_on_with_it_too() -> None:
    unfinished = Unfinished(0.001)
    for _ in range(3):
        move = Owing(2)
        unfinished.add(move)
        assert move.ended.wait(5.0)
    unfinished.close()


def test_a_try_can_be_made_at_once_and_without_waiting() -> None:
    unfinished, move = Unfinished(3600.0), Owing(2)
    unfinished.add(move)
    assert unfinished.of("vm1") is move
    assert (
        unfinished_words(move) == "the move of vm1 from nve1 to nve2 is not finished (finish: nve3 is away)"
    )
    assert not unfinished.retry("vm1")
    assert unfinished.retry("vm1", waits=False)
    assert (move.waited, unfinished.moves()) == ([True, False], [])
    assert unfinished.retry("vm1")  # there is none: it has ended
    unfinished.close()


def test_the_redirect_is_kept_until_every_nve_has_the_mapping() -> None:
    world = World()
    world.nva.away = {"nve3": "not connected"}
    world.journal.fail_at = "nva.commit_move"
    move = world.migration()
    with pytest.raises(RuntimeError):
        move.run()
    waits = "finish: nve1 redirects until NVE nve3 (not connected) has the new mapping"
    assert (move.owes, move.waits_for) == (True, waits)
    assert (
        move.record.outcome == f"failed in converge: nva.commit_move failed; not rolled forward yet ({waits})"
    )
    # Everything else is done, once more or not: the VM is whole, only the redirect is still there.
    assert [step for step in world.steps() if step.startswith("wiring.")][-2:] == [
        "wiring.release direct",
        "wiring.straighten",
    ]
    assert "nva.finish_move" not in world.steps()
    assert not move.go_on()
    world.nva.away = {}
    assert move.go_on()
    assert move.record.outcome == "failed in converge: nva.commit_move failed; rolled forward"
    assert world.steps().count("nva.finish_move") == 1
    assert [e["text"] for e in world.events if e["kind"] == "note"][-1].endswith("; rolled forward")
    assert move.go_on()
    assert world.steps().count("nva.finish_move") == 1


def test_a_move_that_is_given_up_does_not_wait() -> None:
    world = World()
    world.nva.away = {"nve3": "not connected"}
    world.journal.fail_at = "nva.commit_move"
    move = world.migration()
    with pytest.raises(RuntimeError):
        move.run()
    assert move.go_on(waits=False)
    assert world.steps()[-1] == "nva.finish_move"


@pytest.mark.parametrize(
    ("policy", "away"), [("silent-drop", "nve3"), ("icmp", "nve3"), ("buffer", "nve1"), ("buffer", "nve2")]
)
def test_where_a_redirect_helps_nobody_no_move_waits(policy: str, away: str) -> None:
    world = World()
    world.nva.away = {away: "not connected"}
    world.journal.fail_at = "nva.commit_move"
    move = world.migration(policy=policy)
    with pytest.raises(RuntimeError):
        move.run()
    assert (move.owes, world.steps()[-1]) == (False, "nva.finish_move")


@pytest.mark.parametrize("step", ["nva.redirect", "wiring.switch"])
def test_what_cannot_be_taken_back_at_once_is_owed_and_the_rest_done(step: str) -> None:
    world = World()

    def fail() -> None:
        world.journal.fail_at = "nva.abort_move"
        raise RuntimeError("injected")

    move = world.migration(downtime_s=0.001, sample_s=0, hooks={"switch": fail})
    with pytest.raises(RuntimeError, match="injected"):
        move.run()
    assert move.record.outcome == (
        "failed in switch: injected; not undone yet (prepare_nva: nva.abort_move failed)"
    )
    assert world.steps()[-2:] == ["group.thaw", "nva.abort_move"]  # the VM's processes run again
    assert move.go_on()
    assert world.steps()[-2:] == ["nva.abort_move", "wiring.go_back"]
    assert move.record.outcome == "failed in switch: injected; undone"


def test_a_replug_that_fails_on_its_way_is_plugged_back() -> None:
    world = World("replug")
    world.journal.fail_at = "nva.set_port"
    move = world.migration(policy="tunnel")
    with pytest.raises(RuntimeError):
        move.run()
    assert world.steps()[-3:] == ["network.replug", "nva.set_port", "nva.abort_move"]
    assert world.network.location["vm1"] == "nve1"


def test_ports_that_an_earlier_move_could_not_tell_are_told_by_the_next() -> None:
    world = World()
    world.nva.known = {"nve1"}
    world.migration().run()
    assert world.steps()[:3] == ["network.add_legs", "nva.set_port", "nva.prepare_move"]
