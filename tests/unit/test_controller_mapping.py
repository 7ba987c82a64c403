"""The mapping's transitions: what each changes, and that a refused one changes nothing and says why."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller import mapping
from controller.model import Ports, Refused, State
from tests.fake_nva_world import at_stage, world

Call = Callable[[State], State]


def test_a_whole_move_changes_the_place_and_closes_the_old_port() -> None:
    before, after = world(), at_stage("finished")
    assert (before.vms["vm1"].nve, after.vms["vm1"].nve) == ("nve1", "nve2")
    assert after.moves == {}
    assert after.version == before.version + 4
    assert after.vms["vm1"].ports_at("nve1") is None
    assert after.vms["vm1"].ports_at("nve2") == Ports(10, 11)


def test_moving_back_opens_the_known_port_again() -> None:
    back = mapping.prepare(at_stage("finished"), "m2", "vm1", "nve1", "buffer")
    assert back.vms["vm1"].ports_at("nve1") == Ports(10, 11)


@pytest.mark.parametrize("stage", ["prepared", "redirected", "committed"])
def test_abort_restores_the_old_place_at_every_stage(stage: str) -> None:
    after = mapping.abort(at_stage(stage), "m1")
    assert after.vms["vm1"].nve == "nve1"
    assert after.vms["vm1"].ports_at("nve1") == Ports(10, 11)
    assert after.moves == {}


def test_silent_drop_may_commit_without_redirect() -> None:
    assert mapping.commit(at_stage("prepared", "silent-drop"), "m1").moves["vm1"].stage == "committed"


def test_several_vms_move_at_once() -> None:
    state = mapping.prepare(at_stage("redirected"), "m2", "peer3", "nve1", "tunnel")
    assert {m.id: m.stage for m in state.moves.values()} == {"m1": "redirected", "m2": "prepared"}
    assert mapping.abort(state, "m1").moves.keys() == {"peer3"}


def test_set_port_takes_a_number_that_only_a_closed_attachment_remembers() -> None:
    state = at_stage("finished")
    state = mapping.set_port(state, "peer1", "nve1", 11)
    assert dict(state.vms["vm1"].ports).keys() == {"nve2"}
    assert state.vms["peer1"].ports_at("nve1") == Ports(11)


REFUSED: list[tuple[str, str, Call, str]] = [
    (
        "none",
        "unknown vm",
        lambda s: mapping.prepare(s, "m", "vm9", "nve2", "tunnel"),
        "there is no VM 'vm9'",
    ),
    (
        "none",
        "unknown nve",
        lambda s: mapping.prepare(s, "m", "vm1", "nve9", "tunnel"),
        "NVEs are: nve1, nve2",
    ),
    (
        "none",
        "unknown policy",
        lambda s: mapping.prepare(s, "m", "vm1", "nve2", "magic"),
        "policies are: silent",
    ),
    ("none", "same nve", lambda s: mapping.prepare(s, "m", "vm1", "nve1", "tunnel"), "is at 'nve1' already"),
    (
        "prepared",
        "second move",
        lambda s: mapping.prepare(s, "m", "vm1", "nve3", "tunnel"),
        "is moving already",
    ),
    (
        "prepared",
        "id in use",
        lambda s: mapping.prepare(s, "m1", "peer3", "nve1", "tunnel"),
        "new migration_id",
    ),
    ("prepared", "commit first", lambda s: mapping.commit(s, "m1"), "redirect first"),
    ("prepared", "finish first", lambda s: mapping.finish(s, "m1"), "commit_move first"),
    ("redirected", "redirect twice", lambda s: mapping.redirect(s, "m1"), "allowed at stage prepared"),
    ("redirected", "finish early", lambda s: mapping.finish(s, "m1"), "stage redirected"),
    ("committed", "commit twice", lambda s: mapping.commit(s, "m1"), "stage committed"),
    ("committed", "redirect late", lambda s: mapping.redirect(s, "m1"), "stage committed"),
    ("finished", "move over", lambda s: mapping.abort(s, "m1"), "moves in progress: none"),
    ("none", "close its home", lambda s: mapping.close_port(s, "vm1", "nve1"), "VM is not at"),
    ("prepared", "close the new", lambda s: mapping.close_port(s, "vm1", "nve2"), "moving to 'nve2'"),
    ("none", "port in use", lambda s: mapping.set_port(s, "vm1", "nve1", 20), "'peer1' has that port"),
    ("none", "tunnel port", lambda s: mapping.set_port(s, "vm1", "nve1", 1), "tunnel port"),
    ("none", "no port number", lambda s: mapping.set_port(s, "vm1", "nve1", 0), "1 to 65279"),
    ("none", "one leg twice", lambda s: mapping.set_port(s, "vm1", "nve1", 5, 5), "two ports, or null"),
]


@pytest.mark.parametrize(("stage", "name", "call", "says"), REFUSED, ids=[r[1] for r in REFUSED])
def test_refused_and_nothing_changed(stage: str, name: str, call: Call, says: str) -> None:
    state, same = at_stage(stage), at_stage(stage)
    with pytest.raises(Refused) as refused:
        call(state)
    assert says in str(refused.value)
    assert state == same
