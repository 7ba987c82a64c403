"""An NVE whose datapath cannot write advertisements (Linux's own): the NVA answers, with what the flows would have."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scapy.layers.inet6 import (
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
)
from scapy.layers.l2 import Ether

from controller.config import state_from_json, state_to_json
from controller.flows import advertised, desired_flows
from controller.packet_in import PacketIn
from controller.pipeline import ADVERTISE, REASON, SOLICITATION
from tests.fake_flow_table import FakeFlowTable, FakeNetwork
from tests.fake_nva_world import GATEWAY_MAC, MOVER_MAC, PEER_MACS, VNI, icmpv6, routed, world
from tests.unit.test_controller_fabric import Bench

MOVER, ASKER, GATEWAY = "2001:db8::1", "2001:db8::13", "2001:db8::fe"


def by_nva() -> dict[str, Any]:
    made = routed()
    for nve in made["nves"]:
        nve["nd_by_nva"] = True
    return made


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path / "journal")
    yield made
    for nve in made.nves.values():
        nve.close()
    made.journal.close()


def test_no_flow_of_such_an_nve_writes_an_advertisement() -> None:
    state, other = world(by_nva()), world(routed())
    for nve in state.nves:
        plain, flows = desired_flows(other, nve), desired_flows(state, nve)
        assert any(entry.goto == ADVERTISE for entry in plain)
        assert not any(entry.goto == ADVERTISE or entry.table == ADVERTISE for entry in flows)
        assert "nd_" not in str([entry.actions for entry in flows]).replace("ipv6_nd_", "")
        # All else is as it was.
        assert {entry.key for entry in plain if entry.table != ADVERTISE} == {entry.key for entry in flows}


def test_the_nva_is_asked_and_dad_of_oneself_is_not() -> None:
    net = FakeNetwork(world(by_nva()))
    (asked,) = net.send("nve3", icmpv6(135, PEER_MACS["nve3"], ASKER, MOVER, 20))
    assert (asked.port, asked.fields[REASON]) == ("controller", SOLICITATION)
    assert net.send("nve1", icmpv6(135, MOVER_MAC, "::", MOVER, 10)) == []


@pytest.mark.parametrize(
    ("target", "asker", "mac", "solicited", "router"),
    [
        (MOVER, ASKER, MOVER_MAC, 1, 0),
        (MOVER, "::", MOVER_MAC, 0, 0),
        (GATEWAY, ASKER, GATEWAY_MAC, 1, 1),
    ],
)
def test_its_answer_is_that_of_the_flows(
    bench: Bench, target: str, asker: str, mac: str, solicited: int, router: int
) -> None:
    bench.nva.change("configure", by_nva())
    bench.connect("nve1", "nve2", "nve3")
    bench.nva.wait_programmed(2.0)
    own = PEER_MACS["nve3"]
    question = (
        Ether(src=own, dst="33:33:ff:00:00:01")
        / IPv6(src=asker, dst="ff02::1:ff00:1", hlim=255)
        / ICMPv6ND_NS(tgt=target)
    )
    if asker != "::":
        question /= ICMPv6NDOptSrcLLAddr(lladdr=own)
    bench.nva.packet_in(PacketIn(3, 20, bytes(question), SOLICITATION, VNI, None, 0.0))
    sent = _packet_out(bench)
    frame = Ether(sent[sent.rindex(bytes.fromhex((own + mac).replace(":", ""))) :])
    written = FakeNetwork(world(routed())).send("nve3", icmpv6(135, own, asker, target, 20))[0].fields
    told = frame[ICMPv6ND_NA]
    assert (frame.src, frame.dst) == (mac, own) == (written["eth_src"], written["eth_dst"])
    assert (frame[IPv6].src, frame[IPv6].dst, frame[IPv6].hlim) == (target, written["ipv6_dst"], 255)
    assert (told.tgt, told.R, told.S, told.O) == (target, router, solicited, 1)
    assert written["nd_reserved"] == (told.R << 31 | told.S << 30 | told.O << 29)
    assert frame[ICMPv6NDOptDstLLAddr].lladdr == mac == written["ipv6_nd_tll"]
    checksum = told.cksum
    del told.cksum
    assert Ether(bytes(frame))[ICMPv6ND_NA].cksum == checksum


def _packet_out(bench: Bench) -> bytes:
    nve, end_s = bench.nves["nve3"], time.monotonic() + 2.0
    while not nve.packet_outs and time.monotonic() < end_s:
        nve.session.submit([]).result(2.0)
    (sent,) = nve.packet_outs
    return bytes(sent)


def test_who_is_nobody_is_not_answered() -> None:
    state = world(by_nva())
    assert advertised(state, "nve3", VNI, MOVER, ASKER) is not None
    assert advertised(state, "nve3", VNI, "2001:db8::dead", ASKER) is None
    assert advertised(state, "nve3", VNI + 77, MOVER, ASKER) is None


def test_it_is_kept_in_the_journals_form() -> None:
    state = world(by_nva())
    again = state_from_json(state_to_json(state))
    assert all(nve.nd_by_nva for nve in again.nves.values())
    assert FakeFlowTable(desired_flows(again, "nve1")).as_set() == desired_flows(state, "nve1")
