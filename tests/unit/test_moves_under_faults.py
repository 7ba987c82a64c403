"""No move is stuck for ever: an NVE or the NVA fails at any message of a move, comes back, and all is whole again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mobility import draining
from tests.fault_world import FaultWorld

OPERATIONS = ("prepare_move", "redirect", "commit_move", "end_redirect", "finish_move", "abort_move")
ROLES = {"old NVE": "nve1", "new NVE": "nve2", "bystander": "nve3"}
NVE_FAULTS = ("stop", "kill", "stop at commit", "kill at commit")
NVA_MOMENTS = ("before", "intent", "done", "after")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultWorld]:
    monkeypatch.setattr(draining, "_await_end_markers", lambda *_: 0.002)
    made = FaultWorld(tmp_path)
    yield made
    made.close()


def choices_for(operation: str) -> dict[str, Any]:
    """A move that comes to that call."""

    def fail() -> None:
        raise RuntimeError("a hook that fails")

    if operation == "abort_move":
        return {"hooks": {"switch": fail}}
    return {"policy": "tunnel", "drain": "fixed:1ms"} if operation == "end_redirect" else {}


def assert_moves_again(world: FaultWorld, at: str) -> None:
    there = "nve2" if at == "nve1" else "nve1"
    again = world.migration(there)
    again.run()
    assert (again.record.outcome, world.assert_whole()) == ("done", there)


@pytest.mark.parametrize("fault", NVE_FAULTS)
@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_nve_fails_at_a_message_of_a_move(
    world: FaultWorld, operation: str, role: str, fault: str
) -> None:
    broken = []
    world.client.at[operation] = lambda: broken.append(world.break_nve(ROLES[role], fault))
    migration = world.move("nve2", **choices_for(operation))
    assert broken, f"the move never came to {operation}"
    world.end(migration)
    at = world.assert_whole()
    # Up to the switch a move is taken back, behind it nothing is.
    assert at == ("nve2" if migration.switched else "nve1")
    if operation in ("commit_move", "end_redirect", "finish_move"):
        assert at == "nve2"
    if operation == "prepare_move" and fault in ("stop", "kill") and role != "old NVE":
        assert at == "nve1"
    assert_moves_again(world, at)


@pytest.mark.parametrize("moment", NVA_MOMENTS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_the_nva_is_killed_at_a_message_of_a_move(world: FaultWorld, operation: str, moment: str) -> None:
    world.kill_nva_within(operation, moment)
    migration = world.move("nve2", **choices_for(operation))
    assert world.nva is None, f"the move never came to {operation}"
    assert migration.owes
    assert not migration.go_on()  # nobody can tell an NVA that is away
    world.end(migration)
    at = world.assert_whole()
    assert at == ("nve2" if operation in ("commit_move", "end_redirect", "finish_move") else "nve1")
    assert_moves_again(world, at)
