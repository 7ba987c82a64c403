"""Pausing in place: the order of network and processes, refusals; and who belongs to which control group."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from emulation.announcer import Announcer, announcement_times_s
from emulation.control_group import (
    SandboxGroup,
    VmGroup,
    current,
    own_folder,
    sweep,
    version_at,
)
from emulation.errors import EmulationError, WaitError
from emulation.legs import DIRECT, REDIRECTED, SINK, Leg, doubling_line, filter_lines
from emulation.pause import Pause, check_mode, is_faithful, sender_timers_faithful
from emulation.wiring import Wiring
from tests.faithful import like


class Calls:
    """Writes down who was called, in order; stands in for the wiring and the control group."""

    def __init__(self) -> None:
        self.made: list[str] = []
        self.attached_to: str | None = "nve1"
        self.fail = ""

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.made.append(" ".join([name, *map(str, args)]))
            if name == self.fail:
                raise WaitError("vm1 to freeze", 1.0, False)
            return {"outbound": 3} if name == "release_here" else time.monotonic()

        return like(VmGroup if hasattr(VmGroup, name) else Wiring, name, call)


def paused(mode: str, fail: str = "") -> tuple[Pause, Calls]:
    calls = Calls()
    calls.fail = fail
    return Pause("vm1", calls, calls, mode), calls  # type: ignore[arg-type]


def test_hold_stops_the_network_first_and_starts_it_first() -> None:
    pause, calls = paused("hold")
    pause.begin()
    assert calls.made == ["close_holders 1000", "hold_here", "freeze"]
    assert pause.end() > 0
    assert calls.made[3:] == ["release_here", "thaw"]
    assert pause.released == {"outbound": 3}


def test_drop_cuts_and_comes_back_to_the_same_nve() -> None:
    pause, calls = paused("drop")
    pause.begin()
    pause.end()
    assert calls.made == ["detach", "freeze", "switch nve1", "thaw"]


def test_freeze_leaves_the_network_alone() -> None:
    pause, calls = paused("freeze")
    pause.begin()
    pause.end()
    assert calls.made == ["freeze", "thaw"]


def test_a_vm_that_does_not_freeze_runs_on() -> None:
    pause, calls = paused("hold", fail="freeze")
    with pytest.raises(WaitError):
        pause.begin()
    assert calls.made[-2:] == ["thaw", "release_here"]
    with pytest.raises(EmulationError, match="vm1 is not paused"):
        pause.end()


def test_pausing_twice_is_refused() -> None:
    pause, _ = paused("hold")
    pause.begin()
    with pytest.raises(EmulationError, match="paused already"):
        pause.begin()


@pytest.mark.parametrize("mode", ["hold", "drop"])
def test_without_legs_only_freeze_is_possible(mode: str) -> None:
    with pytest.raises(EmulationError, match="needs a pre-wired VM"):
        check_mode(mode, "vm1", prewired=False)
    check_mode("freeze", "vm1", prewired=False)
    with pytest.raises(EmulationError, match="allowed are hold, drop, freeze"):
        check_mode("nap", "vm1", prewired=True)


def test_what_is_said_of_a_pause() -> None:
    assert (is_faithful("hold"), is_faithful("drop"), is_faithful("freeze")) == (True, True, False)
    assert sender_timers_faithful(0.2)
    assert not sender_timers_faithful(0.201)


# Control groups.

HYBRID = "9:name=systemd:/\n6:freezer:/jobs/a\n4:memory:/x\n0::/user.slice/s.scope\n"


def test_the_own_group_is_found_in_either_version() -> None:
    root = Path("/sys/fs/cgroup")
    assert own_folder(HYBRID, 2, root) == root / "user.slice/s.scope"
    assert own_folder(HYBRID, 1, root) == root / "jobs/a"
    assert own_folder("0::/\n", 2, root) == root
    assert own_folder("4:memory:/x\n", 1, root) is None


def fake_hierarchy(root: Path, version: int) -> Path:
    (root / "cgroup.procs").write_text("1\n")
    if version == 2:
        (root / "cgroup.controllers").write_text("")
    return root


@pytest.mark.parametrize("version", [1, 2])
def test_which_version_is_mounted(tmp_path: Path, version: int) -> None:
    assert version_at(tmp_path) is None
    assert version_at(fake_hierarchy(tmp_path, version)) == version


def test_freezing_waits_until_every_process_stands(tmp_path: Path) -> None:
    group = VmGroup(tmp_path, 2)
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    with pytest.raises(WaitError, match="to freeze"):
        group.freeze(timeout_s=0.01)
    assert (tmp_path / "cgroup.freeze").read_text() == "1"
    (tmp_path / "cgroup.events").write_text("populated 1\nfrozen 1\n")
    assert group.freeze() <= time.monotonic()
    group.thaw()
    assert (tmp_path / "cgroup.freeze").read_text() == "0"


def test_version_1_says_it_in_its_own_words(tmp_path: Path) -> None:
    group = VmGroup(tmp_path, 1)
    (tmp_path / "freezer.state").write_text("FROZEN\n")
    assert group.is_frozen()
    group.thaw()
    assert (tmp_path / "freezer.state").read_text() == "THAWED"


def test_a_process_joins_before_it_becomes_the_command(tmp_path: Path) -> None:
    argv = VmGroup(tmp_path, 2).joining(["sleep", "1"])
    assert argv == ["sh", "-c", 'echo 0 >"$0" && exec "$@"', str(tmp_path / "cgroup.procs"), "sleep", "1"]


def test_a_sweep_spares_the_living(tmp_path: Path) -> None:
    fake_hierarchy(tmp_path, 2)
    for name, procs in (("overland-1", "7\n"), ("overland-2", "")):
        (tmp_path / name / "vm1").mkdir(parents=True)
        (tmp_path / name / "cgroup.procs").write_text(procs)
    assert not sweep(
        "0::/\n", tmp_path
    )  # an ordinary folder with a file in it cannot be removed, a group's can
    assert (tmp_path / "overland-1" / "vm1").exists()
    assert not (tmp_path / "overland-2" / "vm1").exists()
    assert sweep("0::/elsewhere\n", tmp_path)


def test_a_group_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    with pytest.raises(EmulationError, match="vm1: cannot make a control group"):
        SandboxGroup(tmp_path / "gone", 2).make("vm1")
    assert current(tmp_path) is None


# Legs.


class Counter:
    def __init__(self) -> None:
        self.now = {"d": 10, "r": 0}

    def __call__(self, device: str) -> int:
        return self.now[device]


def test_a_leg_counts_what_comes_while_it_is_cut() -> None:
    count = Counter()
    leg = Leg("nve1", {DIRECT: "d", REDIRECTED: "r"}, {DIRECT: 1, REDIRECTED: 2}, counter=count)
    leg.pointed(DIRECT, "vm1-p")  # was never cut: nothing to count
    count.now["d"] = 20
    leg.pointed(DIRECT, SINK)
    count.now["d"] = 25
    leg.pointed(DIRECT, SINK)  # cut twice is cut once
    assert leg.sunk_frames() == {DIRECT: 5, REDIRECTED: 0}
    leg.pointed(DIRECT, "vm1-p")
    count.now["d"] = 100
    assert leg.sunk_frames() == {DIRECT: 5, REDIRECTED: 0}
    leg.pointed(DIRECT, SINK)
    count.now["d"] = 101
    assert leg.sunk_frames() == {DIRECT: 6, REDIRECTED: 0}


def test_the_doubling_filter_is_asked_before_the_one_it_doubles() -> None:
    priorities = [line.split(" prio ")[1].split()[0] for line in filter_lines("p", "l1", 7)[1:]]
    double = doubling_line("p", "l1", 7, "l2", 8)
    assert [*priorities, double.split(" prio ")[1].split()[0]] == ["1", "3", "2"]
    assert double.endswith("mirror dev l2 index 8 action mirred egress redirect dev l1 index 7")


# Announcements.


def test_five_announcements_come_when_qemu_sends_them() -> None:
    assert announcement_times_s(5) == (0.0, 0.05, 0.2, 0.45, 0.8)
    assert announcement_times_s(0) == ()
    assert announcement_times_s(9)[-1] == pytest.approx(0.8 + 0.45 + 0.55 + 0.55 + 0.55)


def test_the_first_announcement_is_made_at_once_and_none_after_the_stop() -> None:
    said: list[str] = []
    second = threading.Event()

    def announce() -> None:
        said.append(threading.current_thread().name)
        if len(said) == 2:
            second.set()

    announcer = Announcer(announce, (0.0, 0.005, 60.0))
    assert said[0] == threading.current_thread().name
    assert second.wait(5.0)
    begin_s = time.monotonic()
    announcer.stop()
    assert time.monotonic() - begin_s < 5.0
    assert len(said) == 2
