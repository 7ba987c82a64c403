"""IPv6 at the NVE: neighbour discovery answered, duplicate address detection, link-local, what is forbidden."""

from __future__ import annotations

import pytest

from controller.flows import desired_flows
from controller.pipeline import REASON
from tests.fake_flow_table import FakeFlowTable, FakeNetwork
from tests.fake_nva_world import (
    MOVER_MAC,
    PEER_MACS,
    TUNNEL_PORT,
    VNI,
    at_stage,
    dual_stack,
    icmpv6,
    ipv6,
)
from wire.nd import link_local as link_local_of

NS, NA, RA, REDIRECT = 135, 136, 134, 137
MOVER, PEER1, PEER3 = "2001:db8::1", "2001:db8::11", "2001:db8::13"
LINK_LOCAL = {mac: link_local_of(mac) for mac in (MOVER_MAC, *PEER_MACS.values())}
STAGES = ("none", "prepared", "redirected", "committed", "finished")


def network(stage: str = "none", policy: str = "tunnel") -> FakeNetwork:
    return FakeNetwork(at_stage(stage, policy, dual_stack()))


def test_link_local_address_is_the_modified_eui64() -> None:
    # The example of RFC 4291 appendix A with the bits of RFC 2464 section 4.
    assert link_local_of("34:56:78:9a:bc:de") == "fe80::3656:78ff:fe9a:bcde"


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("target", [MOVER, LINK_LOCAL[MOVER_MAC]])
@pytest.mark.parametrize("nve", ["nve1", "nve2", "nve3"])
def test_solicitation_is_answered_where_it_is_asked(stage: str, target: str, nve: str) -> None:
    mac = PEER_MACS[nve]
    for source in (f"2001:db8::1{nve[-1]}", LINK_LOCAL[mac]):
        (answer,) = network(stage).send(nve, icmpv6(NS, mac, source, target, 20))
        expected = {
            "eth_src": MOVER_MAC,
            "eth_dst": mac,
            "ipv6_src": target,
            "ipv6_dst": source,
            "icmpv6_type": NA,
            "ipv6_nd_target": target,
            "ipv6_nd_tll": MOVER_MAC,
            "nd_options_type": 2,
            "nd_reserved": 0x60000000,
        }
        assert (answer.port, answer.path) == (20, (nve,))
        assert {name: answer.fields[name] for name in expected} == expected


@pytest.mark.parametrize("stage", STAGES)
def test_duplicate_address_detection(stage: str) -> None:
    net = network(stage)
    for nve, port in (("nve1", 10), ("nve2", 10)):
        for own in (MOVER, LINK_LOCAL[MOVER_MAC]):
            assert net.send(nve, icmpv6(NS, MOVER_MAC, "::", own, port)) == []
    (conflict,) = net.send("nve3", icmpv6(NS, PEER_MACS["nve3"], "::", MOVER, 20))
    assert (conflict.port, conflict.fields["ipv6_dst"], conflict.fields["nd_reserved"]) == (
        20,
        "ff02::1",
        0x20000000,
    )
    assert net.send("nve3", icmpv6(NS, PEER_MACS["nve3"], "::", "2001:db8::99", 20)) == []


def test_data_between_vms_by_either_address() -> None:
    net = network()
    for source in (MOVER, LINK_LOCAL[MOVER_MAC]):
        packet = ipv6(MOVER_MAC, source, PEER_MACS["nve3"], PEER3, 10)
        assert [(a.path, a.port) for a in net.send("nve1", packet)] == [(("nve1", "nve3"), 20)]


@pytest.mark.parametrize("own", [MOVER, LINK_LOCAL[MOVER_MAC]])
def test_unsolicited_advertisement_of_its_own_address_goes_to_the_nva_only(own: str) -> None:
    advertisement = icmpv6(NA, MOVER_MAC, own, own, 10, ipv6_nd_tll=MOVER_MAC)
    (arrival,) = network().send("nve1", advertisement)
    assert (arrival.port, arrival.fields[REASON]) == ("controller", 1)


@pytest.mark.parametrize(
    ("name", "packet"),
    [
        ("neighbour's address", ipv6(MOVER_MAC, PEER1, PEER_MACS["nve3"], PEER3, 10)),
        (
            "neighbour's link-local",
            ipv6(MOVER_MAC, LINK_LOCAL[PEER_MACS["nve1"]], PEER_MACS["nve3"], PEER3, 10),
        ),
        ("data from nobody", ipv6(MOVER_MAC, "::", PEER_MACS["nve3"], PEER3, 10)),
        ("solicits as another", icmpv6(NS, MOVER_MAC, PEER1, PEER3, 10)),
        ("advertises another's", icmpv6(NA, MOVER_MAC, MOVER, PEER1, 10, ipv6_nd_tll=MOVER_MAC)),
        ("another MAC", icmpv6(NA, MOVER_MAC, MOVER, MOVER, 10, ipv6_nd_tll=PEER_MACS["nve1"])),
        ("router advertisement", icmpv6(RA, MOVER_MAC, MOVER, "::", 10, eth_dst=PEER_MACS["nve3"])),
        ("redirect", icmpv6(REDIRECT, MOVER_MAC, MOVER, "::", 10, eth_dst=PEER_MACS["nve3"])),
        ("advertises to one", icmpv6(NA, MOVER_MAC, MOVER, PEER1, 10, eth_dst=PEER_MACS["nve3"])),
        ("multicast", ipv6(MOVER_MAC, MOVER, "33:33:00:00:00:16", "ff02::16", 10)),
    ],
)
def test_what_is_dropped(name: str, packet: dict[str, int | str]) -> None:
    assert network().send("nve1", packet) == [], name


def test_a_pre_wired_port_says_nothing() -> None:
    # vm1 is at nve1 and pre-wired to nve2: nothing it might say there is heard before the move begins.
    before, moving = network("none"), network("prepared")
    for packet in (
        icmpv6(NS, MOVER_MAC, MOVER, "2001:db8::12", 10),
        icmpv6(NA, MOVER_MAC, MOVER, MOVER, 10, ipv6_nd_tll=MOVER_MAC),
        ipv6(MOVER_MAC, MOVER, PEER_MACS["nve2"], "2001:db8::12", 10),
    ):
        assert before.send("nve2", packet) == []
        assert moving.send("nve2", packet) != []


@pytest.mark.parametrize("policy", ["silent-drop", "tunnel", "buffer"])
@pytest.mark.parametrize("stage", STAGES)
def test_ipv6_takes_the_way_of_ipv4(stage: str, policy: str) -> None:
    net = network(stage, policy)
    late = {"in_port": TUNNEL_PORT, "tunnel_id": VNI, "tun_ipv4_src": "192.0.2.3"}
    for nve in ("nve1", "nve2", "nve3"):
        six = ipv6(PEER_MACS[nve], f"2001:db8::1{nve[-1]}", MOVER_MAC, MOVER, 20)
        four = {**six, "eth_type": 0x0800, "ipv4_src": f"10.0.0.1{nve[-1]}", "ipv4_dst": "10.0.0.1"}
        for origin in ({}, late):
            ways = [[(a.path, a.port) for a in net.send(nve, {**packet, **origin})] for packet in (six, four)]
            assert ways[0] == ways[1]


def test_a_network_without_ipv6_has_no_ipv6_flows() -> None:
    flows = FakeFlowTable(desired_flows(at_stage("none"), "nve1")).as_set()
    assert [f.table for f in flows if ("eth_type", 0x86DD) in f.match] == ["ADVERTISE"]
