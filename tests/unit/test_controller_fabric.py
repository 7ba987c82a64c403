"""The NVA against fake NVEs: all of them change or none, and an NVE that fails is named."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller.events import EventHub, Watcher
from controller.fabric import PartlyCommittedError, RejectedError, UnreachableError
from controller.flows import desired_flows
from controller.journal import Journal, replay
from controller.model import Refused
from controller.packet_in import PacketIn
from controller.pipeline import ANNOUNCEMENT, DHCP_ANSWER
from controller.service import NotProgrammedError, Nva
from tests.fake_nva_world import MOVER_MAC, OTHER_VNI, VNI, config, routed
from tests.fake_nve import FakeNve, table_of, without_cookies
from wire import ethernet

PREPARE = {"migration_id": "m1", "vm": "vm1", "new_nve": "nve2", "policy": "tunnel"}
MOVE = {"migration_id": "m1"}
ANSWER_WITHIN_S = 1.0
"""Only a silent NVE makes a test wait so long for an answer."""


class Bench:
    """An NVA with three fake NVEs."""

    def __init__(self, path: Path) -> None:
        self.faults: list[BaseException] = []
        self.journal = Journal(path)
        self.events = EventHub(time.monotonic)
        self.watcher = self.events.watch()
        self.nva = Nva(self.journal, self.events, self.faults.append, answer_within_s=ANSWER_WITHIN_S)
        self.nves: dict[str, FakeNve] = {}

    def connect(self, *names: str) -> None:
        for name in names:
            self.nves[name] = FakeNve(int(name[-1]))
            self.nva.nve_connected(self.nves[name].session)

    def start(self) -> None:
        self.nva.change("configure", config())
        self.connect("nve1", "nve2", "nve3")
        self.nva.wait_programmed(2.0)

    def return_of(self, name: str) -> None:
        """An NVE that was gone does what it still had to do, connects again and is programmed."""
        gone = self.nves[name]
        gone.end()
        self.nves[name] = FakeNve(int(name[-1]), gone.table)
        self.nva.nve_connected(self.nves[name].session)
        self.nva.wait_programmed(2.0)

    def differing(self) -> list[str]:
        """The NVEs whose table is not what the NVA believes it to be."""
        state = self.nva.state
        return [
            name
            for name, nve in self.nves.items()
            if without_cookies(nve.table) != table_of(desired_flows(state, name))
        ]

    def committed(self) -> dict[str, int]:
        """How many bundles took effect at each NVE."""
        return {name: len(nve.committed) for name, nve in self.nves.items()}


def next_event(watcher: Watcher, *kinds: str) -> dict[str, Any]:
    """The next event of these kinds; a test that waits in vain fails instead of hanging."""
    while True:
        event = watcher._queue.get(timeout=5.0)
        assert event is not None
        if event["kind"] in kinds:
            return event


def events_of(watcher: Watcher, events: EventHub) -> list[dict[str, Any]]:
    events.close(0.0)
    return list(iter(watcher.get, None))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "journal")
    yield made
    for nve in made.nves.values():
        nve.close()
    with made.nva.fabric.lock:
        made.journal.close()
    assert made.faults == []


def test_a_whole_move_touches_whom_it_must_and_is_told_to_watchers(bench: Bench) -> None:
    bench.start()
    prepared = bench.nva.change("prepare_move", PREPARE)
    # At the new NVE: 1 to accept vm1, 6 for what it may say, 3 for its own ARP, 1 from any tunnel, 1 from the
    # old NVE's, 2 ways out to its ports.
    assert {n: t["flow_mods"] for n, t in prepared["nves"].items()} == {"nve2": 14}
    bench.nva.change("redirect", MOVE)
    committed = bench.nva.change("commit_move", MOVE)
    # The redirect at nve1 already says what the commit wants there.
    assert {n: t["flow_mods"] for n, t in committed["nves"].items()} == {"nve2": 1, "nve3": 1}
    for timing in committed["nves"].values():
        assert committed["received_s"] < timing["prepared_s"] < timing["committed_s"]
    assert committed["last_barrier_s"] == max(t["committed_s"] for t in committed["nves"].values())
    bench.nva.change("finish_move", MOVE)
    assert bench.nva.where("vm1")["nve"] == "nve2"
    steps = [
        (e["nve"], e["step"])
        for e in events_of(bench.watcher, bench.events)
        if e["kind"] == "barrier" and e["operation"] == "commit_move"
    ]
    assert sorted(steps[:2]) == [("nve2", "prepare"), ("nve3", "prepare")]
    assert sorted(steps[2:]) == [("nve2", "commit"), ("nve3", "commit")]


def test_flows_counted_are_the_flows_desired(bench: Bench) -> None:
    bench.start()
    for operation, params in (("prepare_move", PREPARE), ("redirect", MOVE), ("commit_move", MOVE)):
        bench.nva.change(operation, params)
        for name, nve in bench.nves.items():
            desired = bench.nva._desired(nve.session.dpid)
            assert desired is not None
            assert nve.session.flows == len(desired[1]), (operation, name)


@pytest.mark.parametrize("operation", ["prepare_move", "commit_move", "abort_move"])
def test_same_call_again_gives_the_first_result(bench: Bench, operation: str) -> None:
    bench.start()
    bench.nva.change("prepare_move", PREPARE)
    bench.nva.change("redirect", MOVE)
    params = PREPARE if operation == "prepare_move" else MOVE
    first = bench.nva.change(operation, params)
    before = bench.committed()
    assert bench.nva.change(operation, dict(params)) == first
    assert bench.committed() == before


def test_same_id_with_other_parameters_or_after_the_end_is_refused(bench: Bench) -> None:
    bench.start()
    bench.nva.change("prepare_move", PREPARE)
    with pytest.raises(Refused, match="used with other parameters"):
        bench.nva.change("prepare_move", {**PREPARE, "new_nve": "nve3"})
    bench.nva.change("abort_move", MOVE)
    with pytest.raises(Refused, match="has ended by abort_move"):
        bench.nva.change("prepare_move", PREPARE)


@pytest.mark.parametrize("refuse", ["refuse_add", "refuse_commit"])
def test_one_nve_refuses_and_nothing_is_changed_anywhere(bench: Bench, refuse: str) -> None:
    bench.start()
    bench.nva.change("prepare_move", PREPARE)
    bench.nva.change("redirect", MOVE)
    state, flows = bench.nva.state, {n: nve.session.flows for n, nve in bench.nves.items()}
    setattr(bench.nves["nve3"], refuse, True)
    commits = len(bench.nves["nve2"].committed)
    with pytest.raises(RejectedError, match="nothing was changed, NVE nve3") as error:
        bench.nva.change("commit_move", MOVE)
    assert list(error.value.data["nves"]) == ["nve3"]
    assert bench.nva.state == state
    assert {n: nve.session.flows for n, nve in bench.nves.items()} == flows
    if refuse == "refuse_add":
        bench.nves["nve2"].session.submit([]).result(2.0)  # the discard is behind us
        assert bench.nves["nve2"].steps[-2:] == ["prepare", "discard"]
        assert bench.nves["nve2"].bundles == {}
    else:
        # nve2 had committed: it was given its old flow back.
        assert len(bench.nves["nve2"].committed) == commits + 2
        assert bench.nves["nve2"].committed[-1] != bench.nves["nve2"].committed[-2]
    assert replay(bench.journal.path.read_bytes()).state == state
    # And it works once the cause is gone.
    setattr(bench.nves["nve3"], refuse, False)
    assert bench.nva.change("commit_move", MOVE)["version"] == state.version + 1


def test_an_nve_that_does_not_answer_is_named_and_nothing_changed(bench: Bench) -> None:
    bench.start()
    bench.nves["nve2"].silent_on = {"prepare"}
    before = bench.committed()
    with pytest.raises(UnreachableError, match=r"NVE nve2 \(no answer to prepare within 1 s\)"):
        bench.nva.change("prepare_move", PREPARE)
    assert bench.committed() == before
    assert bench.nva.state.moves == {}
    assert bench.nves["nve2"].closed.is_set()
    # Its connection is being ended: nothing more is sent on it.
    with pytest.raises(UnreachableError, match=r"NVE nve2 \(connected, not yet programmed\)"):
        bench.nva.change("prepare_move", PREPARE)


@pytest.mark.parametrize("gone", ["nve2", "nve3"])
@pytest.mark.parametrize("how", ["away", "silent"])
def test_a_move_does_not_begin_without_an_nve_that_it_will_change(bench: Bench, gone: str, how: str) -> None:
    bench.start()
    state, before = bench.nva.state, bench.committed()
    if how == "away":
        bench.nva.nve_gone(bench.nves[gone].session)
    else:
        bench.nves[gone].stop()
    with pytest.raises(
        UnreachableError, match=f"prepare_move: nothing was changed, because of NVE {gone} "
    ) as e:
        bench.nva.change("prepare_move", PREPARE)
    assert list(e.value.data["nves"]) == [gone]
    assert (bench.nva.state, bench.committed()) == (state, before)
    bench.nves[gone].end()
    bench.connect(gone)
    bench.nva.wait_programmed(2.0)
    bench.nva.change("prepare_move", PREPARE)


def test_with_a_strategy_that_tells_peers_later_a_peer_that_is_away_stops_no_move(bench: Bench) -> None:
    bench.nva.change("configure", {**config(), "strategy": "pull"})
    bench.connect("nve1", "nve2", "nve3")
    bench.nva.wait_programmed(2.0)
    bench.nva.nve_gone(bench.nves["nve3"].session)
    for operation, params in (("prepare_move", PREPARE), ("redirect", MOVE), ("commit_move", MOVE)):
        bench.nva.change(operation, params)


@pytest.mark.parametrize("how", ["away", "silent", "stopped at the commit"])
@pytest.mark.parametrize("gone", ["nve1", "nve2", "nve3"])
def test_a_commit_goes_on_without_an_nve_that_has_gone_and_says_so(bench: Bench, gone: str, how: str) -> None:
    bench.start()
    policy = {**PREPARE, "policy": "silent-drop"}  # so that the commit changes all three
    bench.nva.change("prepare_move", policy)
    if how == "away":
        bench.nva.nve_gone(bench.nves[gone].session)
    elif how == "silent":
        bench.nves[gone].stop()
    else:
        bench.nves[gone].stop_on = {"commit"}
    with pytest.raises(PartlyCommittedError, match=f"commit_move: done everywhere but at NVE {gone} "):
        bench.nva.change("commit_move", MOVE)
    assert (bench.nva.where("vm1")["nve"], list(bench.nva.where("vm1")["away"])) == ("nve2", [gone])
    others = [name for name in bench.nves if name != gone]
    assert bench.differing() == [gone]
    again = bench.nva.change("commit_move", MOVE)
    assert [again["nves"][name]["committed_s"] is None for name in (gone, *others)] == [True, False, False]
    bench.return_of(gone)
    assert (bench.differing(), bench.nva.where("vm1")["away"]) == ([], {})


@pytest.mark.parametrize("how", ["away", "silent", "stopped at the commit"])
@pytest.mark.parametrize("operation", ["abort_move", "finish_move"])
def test_the_end_of_a_move_goes_on_without_an_nve_that_has_gone(
    bench: Bench, operation: str, how: str
) -> None:
    bench.start()
    for before, params in (("prepare_move", PREPARE), ("redirect", MOVE), ("commit_move", MOVE)):
        bench.nva.change(before, params)
    if how == "away":
        bench.nva.nve_gone(bench.nves["nve1"].session)
    elif how == "silent":
        bench.nves["nve1"].stop()
    else:
        bench.nves["nve1"].stop_on = {"commit"}
    result = bench.nva.change(operation, MOVE)
    assert result["nves"]["nve1"]["committed_s"] is None
    assert bench.nva.where("vm1")["move"] is None
    bench.return_of("nve1")
    assert bench.differing() == []


def test_gone_between_prepare_and_commit_rolls_forward_and_says_so(bench: Bench) -> None:
    bench.start()
    bench.nva.change("prepare_move", PREPARE)
    bench.nva.change("redirect", MOVE)
    bench.nves["nve3"].die_on = {"commit"}
    with pytest.raises(PartlyCommittedError, match="done everywhere but at NVE nve3"):
        bench.nva.change("commit_move", MOVE)
    assert bench.nva.where("vm1")["nve"] == "nve2"
    bench.return_of("nve3")
    assert bench.nva.change("commit_move", MOVE)["nves"]["nve3"]["committed_s"] is None
    assert bench.differing() == []


def test_reconnect_before_the_old_end_was_seen_keeps_the_new_session(bench: Bench) -> None:
    bench.start()
    old = bench.nves["nve1"]
    bench.connect("nve1")
    bench.nva.nve_gone(old.session)
    assert bench.nva.fabric.session(1) is bench.nves["nve1"].session
    bench.nva.wait_programmed(2.0)
    old.close()


def test_every_resync_has_a_cookie_of_its_own(bench: Bench) -> None:
    bench.start()
    cookies = {nve.session.cookie for nve in bench.nves.values()}
    bench.connect("nve1")
    bench.nva.wait_programmed(2.0)
    assert len(cookies | {bench.nves["nve1"].session.cookie}) == 4


def test_wait_programmed_names_who_is_missing(bench: Bench) -> None:
    bench.nva.change("configure", config())
    bench.connect("nve1")
    with pytest.raises(
        NotProgrammedError, match=r"not programmed: nve2 \(not connected\), nve3 \(not connected\)"
    ):
        bench.nva.wait_programmed(0.5)


def test_an_nve_that_refuses_its_flows_is_named_with_the_reason(bench: Bench) -> None:
    bench.nva.change("configure", config())
    bench.nves["nve1"] = FakeNve(1)
    bench.nves["nve1"].refuse_add = True
    bench.nva.nve_connected(bench.nves["nve1"].session)
    bench.connect("nve2", "nve3")
    with pytest.raises(NotProgrammedError, match=r"nve1 \(refused its flows: message 1: OFPET_BAD_ACTION"):
        bench.nva.wait_programmed(1.0)


def test_configure_again_changes_nothing_and_during_a_move_is_refused(bench: Bench) -> None:
    bench.start()
    version, before = bench.nva.state.version, bench.committed()
    assert bench.nva.change("configure", config()) == {"version": version}
    bench.nva.change("prepare_move", PREPARE)
    with pytest.raises(Refused, match="moves are in progress: m1"):
        bench.nva.change("configure", config())
    assert before == {**bench.committed(), "nve2": before["nve2"]}


def test_end_markers_leave_every_member_along_the_old_path(bench: Bench) -> None:
    bench.start()
    bench.nva.change("prepare_move", PREPARE)
    bench.nva.change("redirect", MOVE)
    with pytest.raises(Refused, match="allowed at stage committed"):
        bench.nva.send_end_markers("m1", 1)
    bench.nva.change("commit_move", MOVE)
    assert bench.nva.send_end_markers("m1", 1)["nves"] == ["nve1", "nve2", "nve3"]
    old, new = bytes([192, 0, 2, 1]), bytes([192, 0, 2, 2])
    (from_old,), (from_new,), (from_other,) = (nve.packet_outs for nve in bench.nves.values())
    assert new in from_old
    assert old in from_new
    assert old in from_other


def test_dhcp_broadcast_is_sent_on_to_the_one_client(bench: Bench) -> None:
    bench.nva.change("configure", routed())
    bench.connect("nve1", "nve2", "nve3")
    bench.nva.wait_programmed(2.0)
    message = bytes([2, 1, 6, 0]) + bytes(24) + bytes.fromhex(MOVER_MAC.replace(":", "")) + bytes(202)
    frame = b"\xff" * 6 + bytes(8) + bytes([0x45]) + bytes(27) + message
    for vni in (OTHER_VNI + 7, VNI):  # a network nobody knows, then the right one
        bench.nva.packet_in(PacketIn(3, 20, frame, DHCP_ANSWER, vni, None, 0.0))
    event = next_event(bench.watcher, "dhcp_answer")
    assert (event["vm"], event["nve"]) == ("vm1", "nve3")
    bench.nves["nve3"].session.submit([]).result(2.0)
    (sent,) = bench.nves["nve3"].packet_outs
    assert sent.endswith(bytes.fromhex(MOVER_MAC.replace(":", "")) + frame[6:])


def test_announcements_become_events_of_the_sender(bench: Bench) -> None:
    bench.start()
    for kind in (ethernet.RARP, ethernet.ARP, ethernet.IPV6, ethernet.IPV4):
        bench.nva.packet_in(
            PacketIn(1, 10, bytes(12) + kind.to_bytes(2, "big"), ANNOUNCEMENT, VNI, None, 1.5)
        )
    seen = [next_event(bench.watcher, "rarp", "garp", "unsolicited_na") for _ in range(3)]
    assert [e["kind"] for e in seen] == ["rarp", "garp", "unsolicited_na"]
    assert all((e["vm"], e["nve"], e["t_s"]) == ("vm1", "nve1", 1.5) for e in seen)


def test_restart_of_the_nva_goes_on_in_the_middle_of_a_move(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    bench.nva.change("prepare_move", PREPARE)
    first = bench.nva.change("redirect", MOVE)
    bench.journal.close()
    again = Bench(tmp_path / "journal")
    again.connect("nve1", "nve2", "nve3")
    again.nva.wait_programmed(2.0)
    assert again.nva.state == bench.nva.state
    assert again.nva.change("redirect", MOVE) == first
    again.nva.change("commit_move", MOVE)
    for nve in again.nves.values():
        nve.close()
    again.journal.close()
