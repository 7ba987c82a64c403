"""Who sends where after a move, until each NVE has learned of it: push, pull, announce, timeout."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from controller import mapping, strategies
from controller.config import state_from_json, state_to_json
from controller.flows import delta, desired_flows, diff
from controller.model import Refused, State
from controller.packet_in import PacketIn
from controller.pipeline import ANNOUNCEMENT, MISDIRECTED, MISS, REASON, UNREACHABLE
from controller.session import FlowCount
from tests.fake_flow_table import FakeNetwork
from tests.fake_nva_world import (
    GATEWAY_MAC_GREEN,
    MOVER_IP,
    MOVER_MAC,
    PEER_MACS,
    VNI,
    config,
    from_peer,
    green_mac,
    ipv4,
    routed,
    world,
)
from tests.unit.test_controller_fabric import MOVE, Bench, next_event
from wire import ethernet

LAGGING = ("pull", "announce", "timeout")


def moved(strategy: str, policy: str = "silent-drop", finish: bool = False) -> State:
    state = world({**config(), "strategy": strategy})
    state = mapping.prepare(state, "m1", "vm1", "nve2", policy)
    state = mapping.commit(mapping.redirect(state, "m1"), "m1")
    return mapping.finish(state, "m1") if finish else state


def ports(network: FakeNetwork, nve: str) -> list[tuple[tuple[str, ...], int | str]]:
    return [(a.path, a.port) for a in network.send(nve, from_peer(nve))]


@pytest.mark.parametrize("strategy", LAGGING)
def test_commit_changes_only_old_and_new_nve(strategy: str) -> None:
    state = world({**config(), "strategy": strategy})
    state = mapping.redirect(mapping.prepare(state, "m1", "vm1", "nve2", "tunnel"), "m1")
    after = mapping.commit(state, "m1")
    assert delta(state, after, "nve3") == (frozenset(), frozenset())
    assert delta(state, after, "nve2") != (frozenset(), frozenset())
    assert after.believed == {"vm1": {"nve3": "nve1"}}
    # What it sends to the old NVE is tunnelled on, as the policy says.
    sent = [a for a in FakeNetwork(after).send("nve3", from_peer("nve3")) if a.port != "controller"]
    assert [(a.path, a.port) for a in sent] == [(("nve3", "nve1", "nve2"), 11)]


@pytest.mark.parametrize("strategy", LAGGING)
def test_out_of_date_until_it_learns(strategy: str) -> None:
    for state in (moved(strategy), moved(strategy, finish=True)):
        stale = FakeNetwork(state)
        expected = [(("nve3", "nve1"), "controller")] if strategy == "pull" else []
        assert ports(stale, "nve3") == expected
        # Its own VMs the old NVE sends right.
        assert ports(stale, "nve1")[0][0] == ("nve1", "nve2")
        learned = strategies.learn(state, "vm1", ["nve3"], "misdirected")
        assert learned.believed == {}
        assert ports(FakeNetwork(learned), "nve3") == [(("nve3", "nve2"), 10)]


def test_pull_notice_carries_its_reason_and_is_for_stale_sources_only() -> None:
    network = FakeNetwork(moved("pull"))
    (notice,) = network.send("nve3", from_peer("nve3"))
    assert (notice.nve, notice.fields[REASON], notice.fields["tun_ipv4_src"]) == (
        "nve1",
        MISDIRECTED,
        "192.0.2.3",
    )
    other = {**from_peer("nve3"), "in_port": 1, "tunnel_id": VNI, "tun_ipv4_src": "192.0.2.2"}
    assert network.send("nve1", other) == []


def test_timeout_flows_expire_and_a_miss_asks_the_nva() -> None:
    state = world({**config(), "strategy": "timeout", "mapping_age_s": 7})
    network = FakeNetwork(state)
    table = network.tables["nve3"]
    expiring = {flow for flow in table.as_set() if flow.hard_timeout_s}
    assert {flow.hard_timeout_s for flow in expiring} == {7}
    assert len(expiring) == 4  # red's three VMs elsewhere, and thief
    table.delete(expiring)
    (asked,) = network.send("nve3", from_peer("nve3"))
    assert (asked.port, asked.fields[REASON]) == ("controller", MISS)
    assert not [f for f in desired_flows(moved("push"), "nve3") if f.hard_timeout_s]


def test_announcement_before_the_commit_makes_it_a_push_and_after_it_tells_everybody() -> None:
    state = world({**config(), "strategy": "announce"})
    state = mapping.redirect(mapping.prepare(state, "m1", "vm1", "nve2", "tunnel"), "m1")
    early = mapping.commit(strategies.announced(state, "vm1", "nve2"), "m1")
    assert early.believed == {}
    late = strategies.announced(moved("announce"), "vm1", "nve2")
    assert late.believed == {}
    assert ports(FakeNetwork(late), "nve3") == [(("nve3", "nve2"), 10)]
    with pytest.raises(Refused, match="the VM is not there"):
        strategies.announced(state, "vm1", "nve1")


def test_a_chain_leaves_a_peer_at_the_first_place_it_knew() -> None:
    state = mapping.set_port(moved("pull", finish=True), "vm1", "nve3", 10)
    state = mapping.prepare(state, "m2", "vm1", "nve3", "silent-drop")
    state = mapping.finish(mapping.commit(state, "m2"), "m2")
    # nve1 was told at the first commit, not at the second; nve3 is where the VM is.
    assert state.believed == {"vm1": {"nve1": "nve2"}}
    back = mapping.prepare(state, "m3", "vm1", "nve2", "silent-drop")
    back = mapping.finish(mapping.commit(back, "m3"), "m3")
    assert back.believed == {}  # what nve1 believed has become true


@pytest.mark.parametrize("strategy", LAGGING)
def test_abort_leaves_nobody_out_of_date(strategy: str) -> None:
    state = mapping.abort(moved(strategy, "tunnel"), "m1")
    assert state.believed == {}
    assert ports(FakeNetwork(state), "nve3") == [(("nve3", "nve1"), 10)]


def test_routed_peers_lag_too() -> None:
    state = world({**routed(), "strategy": "pull"})
    state = mapping.commit(mapping.prepare(state, "m1", "vm1", "nve2", "silent-drop"), "m1")
    packet = ipv4(green_mac(3), "10.0.1.13", GATEWAY_MAC_GREEN, MOVER_IP, 60)
    (notice,) = FakeNetwork(state).send("nve3", packet)
    assert (notice.nve, notice.port) == ("nve1", "controller")


def test_an_nve_without_members_takes_no_more_of_a_network_when_its_last_sender_has_learned() -> None:
    state = mapping.set_port(world({**routed(), "strategy": "pull"}), "green2", "nve1", 60)
    state = mapping.commit(mapping.prepare(state, "g", "green2", "nve1", "silent-drop"), "g")
    state = mapping.finish(state, "g")
    learned = strategies.learn(state, "green2", ["nve3"], "misdirected")
    old, new = desired_flows(state, "nve2"), desired_flows(learned, "nve2")
    assert delta(state, learned, "nve2") == diff(old, new)
    assert [("tunnel_id", 101) in f.match for f in old - new].count(True) == 1


def test_beliefs_and_counts_survive_json() -> None:
    state = mapping.end_redirect(moved("pull", "tunnel"), "m1")
    again = state_from_json(state_to_json(state))
    assert (again, again.believed, again.counted) == (state, state.believed, state.counted)


# With the NVA around it


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "journal")
    yield made
    for nve in made.nves.values():
        nve.close()
    with made.nva.fabric.lock:
        made.journal.close()
    assert made.faults == []


def start(bench: Bench, policy: str = "silent-drop", **given: Any) -> None:
    bench.nva.change("configure", {**config(), **given})
    bench.connect("nve1", "nve2", "nve3")
    bench.nva.wait_programmed(2.0)
    params = {"migration_id": "m1", "vm": "vm1", "new_nve": "nve2", "policy": policy}
    bench.nva.change("prepare_move", params)
    bench.nva.change("redirect", MOVE)
    bench.nva.change("commit_move", MOVE)


def event(bench: Bench, *kinds: str) -> dict[str, Any]:
    return next_event(bench.watcher, *kinds)


def frame(to: str = MOVER_MAC, kind: int = 0x0800) -> bytes:
    macs = bytes.fromhex(to.replace(":", "") + PEER_MACS["nve3"].replace(":", ""))
    ip = (
        bytes.fromhex("4500001c000000004011000000000000")[:12] + bytes([10, 0, 0, 13, 10, 0, 0, 1]) + bytes(8)
    )
    return macs + kind.to_bytes(2, "big") + ip


def arrives(bench: Bench, nve: int, reason: int, source: str | None = None, port: int = 1) -> None:
    kind = ethernet.RARP if reason == ANNOUNCEMENT else 0x0800
    packet = PacketIn(nve, port, frame(kind=kind), reason, VNI, source, time.monotonic())
    bench.nva.packet_in(packet)


def test_push_tells_watchers_which_peers_it_updated(bench: Bench) -> None:
    start(bench, "tunnel")
    told = event(bench, "peer_updated")
    assert (told["nve"], told["vm"], told["cause"]) == ("nve3", "vm1", "push")


def test_misdirected_frame_updates_its_sender_once(bench: Bench) -> None:
    start(bench, strategy="pull")
    commits = len(bench.nves["nve3"].committed)
    for _ in range(3):
        arrives(bench, 1, MISDIRECTED, "192.0.2.3")
    arrives(bench, 1, MISDIRECTED, "192.0.2.2")  # not out of date
    arrives(bench, 1, UNREACHABLE, "192.0.2.3")  # the end of the queue
    assert event(bench, "peer_updated")["cause"] == "misdirected"
    event(bench, "icmp_unreachable")
    assert len(bench.nves["nve3"].committed) == commits + 1
    assert bench.nva.where("vm1")["believed"] == {}


def test_miss_is_answered_and_the_packet_goes_on(bench: Bench) -> None:
    start(bench, strategy="timeout")
    arrives(bench, 3, MISS)
    assert event(bench, "peer_updated")["cause"] == "miss"
    arrives(bench, 3, MISS)  # expired again, nothing new
    told = event(bench, "mapping_refreshed", "peer_updated")
    assert (told["kind"], told["nve"], told["vm"]) == ("mapping_refreshed", "nve3", "vm1")
    arrives(bench, 3, UNREACHABLE)
    event(bench, "icmp_unreachable")
    bench.nves["nve3"].session.submit([]).result(2.0)
    assert [m[-len(frame()) :] == frame() for m in bench.nves["nve3"].packet_outs] == [True, True, False]
    assert bench.nves["nve3"].session.flows == len(desired_flows(bench.nva.state, "nve3"))


def test_announcement_from_the_new_nve_updates_the_peers(bench: Bench) -> None:
    start(bench, strategy="announce")
    arrives(bench, 1, ANNOUNCEMENT, port=10)  # from the old place: changes nothing
    arrives(bench, 2, ANNOUNCEMENT, port=10)
    told = event(bench, "peer_updated")
    assert (told["nve"], told["cause"]) == ("nve3", "announce")
    assert bench.nva.state.believed == {}


def test_misdirected_frames_are_counted_by_source(bench: Bench) -> None:
    start(bench, "tunnel")
    assert bench.nva.misdirected("vm1") == {
        "vm": "vm1",
        "packets": 0,
        "by_nve": {},
        "counted_at": [],
        "missing": [],
    }
    bench.nva.change("end_redirect", MOVE)
    bench.nves["nve1"].counts = [
        FlowCount(120, {"tun_ipv4_src": "192.0.2.3"}, 5),
        FlowCount(120, {"tun_ipv4_src": "192.0.2.2"}, 2),
        FlowCount(100, {}, 7),
        FlowCount(110, {"tun_ipv4_src": "192.0.2.1"}, 9),
    ]
    found = bench.nva.misdirected("vm1")
    assert (found["packets"], found["by_nve"], found["counted_at"]) == (7, {"nve2": 2, "nve3": 5}, ["nve1"])
    bench.nva.nve_gone(bench.nves["nve1"].session)
    assert bench.nva.misdirected("vm1")["missing"] == ["nve1"]
    with pytest.raises(Refused, match="there is no VM 'vm9'"):
        bench.nva.misdirected("vm9")


def test_end_markers_leave_out_who_still_sends_the_old_way(bench: Bench) -> None:
    start(bench, "tunnel", strategy="pull")
    sent = bench.nva.send_end_markers("m1", 1)
    assert (sent["nves"], sent["stale"]) == (["nve1", "nve2"], ["nve3"])
    bench.nva.change("end_redirect", MOVE)
    with pytest.raises(Refused, match="allowed at stage committed"):
        bench.nva.send_end_markers("m1", 2)


def test_every_connection_sets_the_packet_in_limit(bench: Bench) -> None:
    start(bench, packet_in_limit_pps=77)
    for nve in bench.nves.values():
        delete, add = nve.meters
        assert (int.from_bytes(delete[8:10], "big"), int.from_bytes(add[8:10], "big")) == (2, 0)
        assert (77).to_bytes(4, "big") in add


def test_icmp_error_goes_back_to_the_sender_from_the_old_nve(bench: Bench) -> None:
    start(bench, "icmp")
    arrives(bench, 1, UNREACHABLE, "192.0.2.3")
    told = event(bench, "icmp_unreachable")
    assert (told["nve"], told["vm"], told["to"]) == ("nve1", "vm1", "10.0.0.13")
    bench.nves["nve1"].session.submit([]).result(2.0)
    (sent,) = bench.nves["nve1"].packet_outs
    assert bytes.fromhex((PEER_MACS["nve3"] + MOVER_MAC).replace(":", "")) in sent
