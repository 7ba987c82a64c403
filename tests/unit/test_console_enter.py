"""Which networks run, and how one is entered."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from experiments.console import enter
from experiments.console.enter import (
    EnterError,
    Running,
    choose,
    choose_node,
    enter_argv,
    environment,
    running,
)

NODES = {"vm1": 17, "nve1": 27}
A, B = Running("20260102T000000Z-cli-x-aa", 10, NODES), Running("20260101T000000Z-hot-l2-bb", 20, NODES)


def network(results: Path, kind: str, name: str, known: dict[str, int]) -> Path:
    folder = results / kind / name
    folder.mkdir(parents=True)
    (folder / "sandbox.json").write_text(json.dumps(known))
    (folder / "nodes.json").write_text(json.dumps(NODES))
    return folder


@pytest.fixture
def any_init(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every process counts as the first of a PID namespace: unit tests have none."""
    monkeypatch.setattr(enter, "_is_init", lambda pid: True)


@pytest.fixture
def ended_pid() -> int:
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


def test_runs_and_sessions_newest_first(tmp_path: Path, any_init: None) -> None:
    own = os.getpid()
    network(tmp_path, "runs", "20260101T000000Z-a", {"init_pid": own})
    network(
        tmp_path,
        "sessions",
        "20260102T000000Z-b",
        {"init_pid": own, "start_ticks": enter.start_ticks(own) or 0},
    )
    assert [one.name for one in running(tmp_path)] == ["20260102T000000Z-b", "20260101T000000Z-a"]
    assert running(tmp_path)[0].nodes == NODES


def test_a_process_that_ended_is_no_network(tmp_path: Path, any_init: None, ended_pid: int) -> None:
    network(tmp_path, "runs", "a", {"init_pid": ended_pid})
    assert running(tmp_path) == []


def test_a_zombie_is_no_network(tmp_path: Path, any_init: None) -> None:
    process = subprocess.Popen(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    network(tmp_path, "runs", "a", {"init_pid": process.pid})
    assert running(tmp_path) == []
    process.wait()


def test_a_pid_given_again_is_known_by_its_start(tmp_path: Path, any_init: None) -> None:
    own = os.getpid()
    network(tmp_path, "sessions", "session", {"init_pid": own, "start_ticks": 1})
    run = network(tmp_path, "runs", "run", {"init_pid": own})
    os.utime(run / "sandbox.json", (1, 1))  # written before the process that has the number now began
    assert running(tmp_path) == []


def test_a_process_that_is_no_init_is_no_network(tmp_path: Path) -> None:
    network(tmp_path, "runs", "a", {"init_pid": os.getpid()})
    assert running(tmp_path) == []


@pytest.mark.parametrize("content", ["", "[1]", '{"init_pid": "x"}', "{"])
def test_a_damaged_file_is_no_network(tmp_path: Path, content: str) -> None:
    network(tmp_path, "runs", "a", {})
    (tmp_path / "runs/a/sandbox.json").write_text(content)
    assert running(tmp_path) == []


def test_stale_sessions_go_and_living_ones_stay(tmp_path: Path, any_init: None, ended_pid: int) -> None:
    own = os.getpid()
    stale = network(tmp_path, "sessions", "stale", {"init_pid": ended_pid, "start_ticks": 5})
    living = network(
        tmp_path, "sessions", "living", {"init_pid": own, "start_ticks": enter.start_ticks(own) or 0}
    )
    enter.remove_stale_sessions(tmp_path)
    assert not stale.exists()
    assert living.exists()


def test_a_session_begins_in_one_step(tmp_path: Path) -> None:
    folder = enter.session_folder(tmp_path, "two_racks")
    enter.begin_session(folder, os.getpid())
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    known = json.loads((folder / "sandbox.json").read_text())
    assert known == {"init_pid": os.getpid(), "start_ticks": enter.start_ticks(os.getpid())}


def test_choosing_a_network() -> None:
    assert choose([A], None) is A
    assert choose([A, B], "20260101") is B
    assert choose([A, B], f"results/runs/{B.name}/") is B
    with pytest.raises(EnterError, match="make cli"):
        choose([], None)
    with pytest.raises(EnterError, match=f"2 networks are running.*\n  RUN={A.name}\n  RUN={B.name}"):
        choose([A, B], None)
    with pytest.raises(EnterError, match="RUN=1999 is not running"):
        choose([A, B], "1999")
    with pytest.raises(EnterError, match="the beginning of several"):
        choose([A, B], "2026")


def test_choosing_a_node() -> None:
    assert choose_node(A, "vm1") == 17
    assert choose_node(A, "sandbox") is None
    with pytest.raises(EnterError, match=r"no node 'nve9'.*one of vm1, nve1, or sandbox"):
        choose_node(A, "nve9")
    with pytest.raises(EnterError, match="which node"):
        choose_node(A, ".")
    with pytest.raises(EnterError, match="still starting"):
        choose_node(Running("a", 1, {}), "vm1")


def test_the_command_line() -> None:
    nsenter = ["nsenter", "-t", "10", "-m", "-p", "-n", "-i", "-u", "--"]
    assert enter_argv(10, 17, ["bash"]) == [*nsenter, "mnexec", "-a", "17", "bash"]
    assert enter_argv(10, None, ["bash"]) == [*nsenter, "bash"]


def test_the_environment() -> None:
    assert "OVS_RUNDIR" not in environment("vm1", False, {"PATH": "/bin"})
    inside = environment("nve1", True, {"PATH": "/bin", "TERM": "x"})
    assert inside["HISTFILE"].startswith("/run/")  # at home it would be root's file
    assert inside["OVS_RUNDIR"] == "/run/overland/nve1"
    assert inside["PATH"] == "/run/overland/bin:/bin:/usr/sbin:/sbin"
    assert inside["TERM"] == "x"


@pytest.mark.parametrize(
    ("words", "said"), [(["nve1", "--"], "a command must follow"), (["nve1", "a", "b"], "'b' is too much")]
)
def test_words_that_cannot_be(words: list[str], said: str, tmp_path: Path) -> None:
    with pytest.raises(EnterError, match=said):
        enter.shell(words, tmp_path)
