"""The journal: cut off at any byte it replays to a mapping that really was, never to a mixture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controller.journal import EPOCH_BITS, Journal, JournalError, replay
from controller.model import State
from controller.operations import apply
from tests.fake_nva_world import config

MOVE: list[tuple[str, dict[str, Any]]] = [
    ("configure", config()),
    ("prepare_move", {"migration_id": "m1", "vm": "vm1", "new_nve": "nve2", "policy": "tunnel"}),
    ("redirect", {"migration_id": "m1"}),
    ("commit_move", {"migration_id": "m1"}),
    ("finish_move", {"migration_id": "m1"}),
]


def write_move(path: Path) -> list[State]:
    """Write a journal of a whole move, one operation of it undone; returns the states passed."""
    journal = Journal(path)
    states = [journal.state]
    for operation, params in MOVE:
        journal.next_epoch()
        journal.intent(operation, params)
        if operation == "redirect":
            journal.undone()
            journal.intent(operation, params)
        states.append(apply(states[-1], operation, params))
        journal.done({"version": states[-1].version})
    journal.close()
    return states


def test_cut_at_every_byte_replays_to_one_state_in_order(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    states = write_move(path)
    text = path.read_bytes()
    seen = []
    for length in range(len(text) + 1):
        found = replay(text[:length]).state
        assert found in states
        if not seen or seen[-1] != found:
            seen.append(found)
    # Rolled forward by an intent, back by "undone", and never by half a line.
    redirected = states[3]
    assert seen == [*states[:3], redirected, states[2], redirected, *states[4:]]


def test_open_intent_is_rolled_forward_and_its_repeat_is_known(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    journal = Journal(path)
    for operation, params in MOVE[:2]:
        journal.intent(operation, params)
        journal.done({"version": 1})
    journal.intent(*MOVE[2])
    journal.close()  # killed here
    again = Journal(path)
    assert again.state.moves["vm1"].stage == "redirected"
    assert again.results["m1", "redirect"][1]["version"] == again.state.version
    again.intent(*MOVE[3])
    again.close()  # killed again: what a commit says besides its timing is known all the same
    assert replay(path.read_bytes()).results["m1", "commit_move"][1]["stale"] == []


def test_restart_keeps_state_results_and_counts_epochs_on(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    states = write_move(path)
    journal = Journal(path)
    last = journal.next_epoch()
    assert journal.state == states[-1]
    assert journal.results["m1", "commit_move"][1] == {"version": 4}
    journal.close()
    again = Journal(path)
    assert again.next_epoch() == last % (2**EPOCH_BITS - 1) + 1
    again.close()


def test_torn_line_is_gone_after_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    states = write_move(path)
    with path.open("ab") as file:
        file.write(b'{"intent": "prepare_mo')
    for _ in range(2):
        journal = Journal(path)
        assert journal.state == states[-1]
        journal.next_epoch()
        journal.close()


def test_epochs_go_round_and_are_never_zero(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal._epoch = 2**EPOCH_BITS - 2
    assert [journal.next_epoch() for _ in range(3)] == [2**EPOCH_BITS - 1, 1, 2]
    journal.close()


@pytest.mark.parametrize("line", [b"not json", b'{"intent": "fly", "params": {}}', b'{"done": {}}', b"7"])
def test_damage_in_the_middle_names_file_and_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b'{"epoch": 1}\n' + line + b"\n" + b'{"epoch": 2}\n')
    with pytest.raises(JournalError, match=r"journal, line 2: .*move the file away"):
        Journal(path)


def test_second_nva_on_the_same_journal_is_refused(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    with pytest.raises(JournalError, match="another NVA uses this journal"):
        Journal(tmp_path / "journal")
    journal.close()


def test_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(JournalError, match="No such file or directory; give a path"):
        Journal(tmp_path / "nowhere" / "journal")
