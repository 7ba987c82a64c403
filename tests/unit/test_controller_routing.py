"""The distributed gateway, the outside and DHCP: where does this packet go, and does it stay in its tenant?"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from controller.config import ConfigError, state_from_config, state_from_json, state_to_json
from controller.flows import desired_flows
from controller.pipeline import OUTSIDE_VNI, REASON
from tests.fake_flow_table import Arrival, FakeNetwork
from tests.fake_nva_world import (
    CLIENT_IP,
    CLIENT_IP6,
    GATEWAY_MAC,
    GATEWAY_MAC_GREEN,
    GREEN_VNI,
    MOVER_IP,
    MOVER_MAC,
    NEXT_HOP_MAC,
    OUTSIDE_MAC,
    OUTSIDE_PORT,
    PEER_MACS,
    VNI,
    arp,
    at_stage,
    green_mac,
    icmpv6,
    ipv4,
    ipv6,
    routed,
)
from wire.dhcp import client_mac as dhcp_client_mac

STAGES = ("none", "prepared", "redirected", "committed", "finished")
Packet = dict[str, int | str]


def network(stage: str = "none", policy: str = "tunnel") -> FakeNetwork:
    return FakeNetwork(at_stage(stage, policy, routed()))


def where(arrivals: list[Arrival]) -> list[tuple[tuple[str, ...], int | str]]:
    return [(a.path, a.port) for a in arrivals]


def green_to_mover(n: int, version: int) -> Packet:
    if version == 4:
        return ipv4(green_mac(n), f"10.0.1.1{n}", GATEWAY_MAC_GREEN, MOVER_IP, 60)
    return ipv6(green_mac(n), f"2001:db8:1::1{n}", GATEWAY_MAC_GREEN, "2001:db8::1", 60)


# Between networks of one tenant


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("policy", ["silent-drop", "tunnel"])
@pytest.mark.parametrize("stage", STAGES)
def test_routed_packet_finds_the_vm_at_every_stage_of_its_move(stage: str, policy: str, version: int) -> None:
    net = network(stage, policy)
    expected = {
        "none": [(("nve3", "nve1"), 10)],
        "prepared": [(("nve3", "nve1"), 10)],
        "redirected": [(("nve3", "nve1", "nve2"), 11)] if policy == "tunnel" else [],
        "committed": [(("nve3", "nve2"), 10)],
        "finished": [(("nve3", "nve2"), 10)],
    }[stage]
    arrivals = net.send("nve3", green_to_mover(3, version))
    assert where(arrivals) == expected
    for arrival in arrivals:
        # Routed where it came in: the tunnel carries the VNI of the network it goes to, one hop less.
        assert (arrival.vni, arrival.fields["ttl"]) == (VNI, 63)
        assert (arrival.fields["eth_src"], arrival.fields["eth_dst"]) == (GATEWAY_MAC, MOVER_MAC)


@pytest.mark.parametrize("stage", STAGES)
def test_the_moving_vm_reaches_another_subnet_from_old_and_new_nve(stage: str) -> None:
    accepted = {"none": ["nve1"], "finished": ["nve2"]}.get(stage, ["nve1", "nve2"])
    for nve in accepted:
        four = ipv4(MOVER_MAC, MOVER_IP, GATEWAY_MAC, "10.0.1.13", 10)
        six = ipv6(MOVER_MAC, "2001:db8::1", GATEWAY_MAC, "2001:db8:1::13", 10)
        for packet in (four, six):
            (arrival,) = network(stage).send(nve, packet)
            assert (arrival.path, arrival.port, arrival.vni) == ((nve, "nve3"), 60, GREEN_VNI)
            assert arrival.fields["eth_src"] == GATEWAY_MAC_GREEN


def test_a_vm_keeps_its_address_where_only_another_subnet_lives() -> None:
    # green2 goes to nve1, where there is no other VM of its subnet.
    from controller import mapping

    state = mapping.set_port(at_stage("none", given=routed()), "green2", "nve1", 60)
    state = mapping.prepare(state, "g", "green2", "nve1", "tunnel")
    for step in (mapping.redirect, mapping.commit, mapping.finish):
        state = step(state, "g")
    net = FakeNetwork(state)
    to_it = ipv4(MOVER_MAC, MOVER_IP, GATEWAY_MAC, "10.0.1.12", 10)
    assert where(net.send("nve1", to_it)) == [(("nve1",), 60)]
    from_its_subnet = ipv4(green_mac(3), "10.0.1.13", green_mac(2), "10.0.1.12", 60)
    assert where(net.send("nve3", from_its_subnet)) == [(("nve3", "nve1"), 60)]
    back = ipv4(green_mac(2), "10.0.1.12", GATEWAY_MAC_GREEN, "10.0.0.13", 60)
    assert where(net.send("nve1", back)) == [(("nve1", "nve3"), 20)]


def test_within_a_subnet_the_gateway_routes_too() -> None:
    packet = ipv4(MOVER_MAC, MOVER_IP, GATEWAY_MAC, "10.0.0.13", 10)
    assert where(network().send("nve1", packet)) == [(("nve1", "nve3"), 20)]


def test_packet_with_one_hop_left_is_not_routed() -> None:
    assert network().send("nve3", {**green_to_mover(3, 4), "ttl": 1}) == []


# The gateway itself


@pytest.mark.parametrize("nve", ["nve1", "nve2", "nve3"])
def test_gateway_is_answered_for_at_every_nve(nve: str) -> None:
    net, mac, own = network(), PEER_MACS[nve], f"10.0.0.1{nve[-1]}"
    (answer,) = net.send(nve, arp(20, mac, mac, own, "10.0.0.254"))
    assert (answer.path, answer.port, answer.fields["arp_sha"]) == ((nve,), 20, GATEWAY_MAC)
    (answer,) = net.send(nve, icmpv6(135, mac, f"2001:db8::1{nve[-1]}", "2001:db8::fe", 20))
    assert (answer.fields["ipv6_nd_tll"], answer.fields["nd_reserved"]) == (GATEWAY_MAC, 0xE0000000)


@pytest.mark.parametrize("address", ["10.0.0.254", "10.0.1.254"])
def test_ping_to_a_gateway_address_is_answered(address: str) -> None:
    ping = {**ipv4(MOVER_MAC, MOVER_IP, GATEWAY_MAC, address, 10), "ip_proto": 1, "icmpv4_type": 8}
    (answer,) = network().send("nve1", ping)
    expected = {"ipv4_src": address, "ipv4_dst": MOVER_IP, "icmpv4_type": 0, "eth_dst": MOVER_MAC}
    assert answer.port == 10
    assert {name: answer.fields[name] for name in expected} == expected


def test_ping_by_ipv6_is_answered_but_never_routed_from_link_local() -> None:
    ping = {
        **ipv6(MOVER_MAC, "2001:db8::1", GATEWAY_MAC, "2001:db8::fe", 10),
        "ip_proto": 58,
        "icmpv6_type": 128,
    }
    (answer,) = network().send("nve1", ping)
    assert (answer.port, answer.fields["icmpv6_type"], answer.fields["ipv6_dst"]) == (10, 129, "2001:db8::1")
    assert network().send("nve1", ipv6(MOVER_MAC, "fe80::ff:fe00:1", GATEWAY_MAC, "2001:db8:1::13", 10)) == []


# Between tenants


def test_the_other_tenant_is_not_reached_by_routing() -> None:
    net = network()
    # blue3 has an address that red's peer1 has as well: red's packets go to red's VM.
    packet = ipv4(MOVER_MAC, MOVER_IP, GATEWAY_MAC, "10.0.0.11", 10)
    assert [(a.path, a.port) for a in net.send("nve1", packet)] == [(("nve1",), 20)]
    blue = ipv4(PEER_MACS["nve1"], "10.0.0.11", GATEWAY_MAC, "10.0.1.13", 30)
    assert net.send("nve3", blue) == []
    by_mac = ipv4(PEER_MACS["nve1"], "10.0.0.11", green_mac(3), "10.0.1.13", 30)
    assert net.send("nve3", by_mac) == []
    assert net.send("nve1", ipv4(MOVER_MAC, MOVER_IP, green_mac(3), "10.0.1.13", 10)) == []


# Outside


def from_client(version: int, **more: int | str) -> Packet:
    if version == 4:
        packet = ipv4(NEXT_HOP_MAC, CLIENT_IP, OUTSIDE_MAC, MOVER_IP, OUTSIDE_PORT)
    else:
        packet = ipv6(NEXT_HOP_MAC, CLIENT_IP6, OUTSIDE_MAC, "2001:db8::1", OUTSIDE_PORT)
    return {**packet, **more}


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("stage", STAGES)
def test_client_outside_reaches_the_vm_through_the_gateway_nve(stage: str, version: int) -> None:
    arrivals = network(stage).send("nve3", from_client(version))
    path = {"redirected": ("nve3", "nve1", "nve2"), "none": ("nve3", "nve1"), "prepared": ("nve3", "nve1")}
    (arrival,) = arrivals
    assert arrival.path == path.get(stage, ("nve3", "nve2"))
    assert (arrival.fields["eth_src"], arrival.fields["ttl"]) == (GATEWAY_MAC, 63)


@pytest.mark.parametrize("nve", ["nve1", "nve2", "nve3"])
def test_vm_reaches_the_client(nve: str) -> None:
    n = nve[-1]
    four = ipv4(PEER_MACS[nve], f"10.0.0.1{n}", GATEWAY_MAC, CLIENT_IP, 20)
    six = ipv6(PEER_MACS[nve], f"2001:db8::1{n}", GATEWAY_MAC, CLIENT_IP6, 20)
    for packet in (four, six):
        (arrival,) = network().send(nve, packet)
        assert (arrival.nve, arrival.port) == ("nve3", OUTSIDE_PORT)
        assert arrival.path == (("nve3",) if nve == "nve3" else (nve, "nve3"))
        expected = {"eth_src": OUTSIDE_MAC, "eth_dst": NEXT_HOP_MAC, "ttl": 63}
        assert {name: arrival.fields[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "nve", "packet"),
    [
        ("forged inside source", "nve3", from_client(4, ipv4_src="10.0.0.11")),
        ("not from its subnets", "nve3", from_client(4, ipv4_src="198.51.100.1")),
        ("to a network it may not reach", "nve3", from_client(4, ipv4_dst="10.0.1.13")),
        ("by the VM's own MAC", "nve3", from_client(4, eth_dst=MOVER_MAC)),
        ("from green", "nve3", ipv4(green_mac(3), "10.0.1.13", GATEWAY_MAC_GREEN, CLIENT_IP, 60)),
        ("not routed, by MAC", "nve3", ipv4(PEER_MACS["nve3"], "10.0.0.13", NEXT_HOP_MAC, CLIENT_IP, 20)),
        ("to nowhere", "nve1", ipv4(MOVER_MAC, MOVER_IP, GATEWAY_MAC, "198.51.100.1", 10)),
    ],
)
def test_what_does_not_cross_the_border(name: str, nve: str, packet: Packet) -> None:
    assert network().send(nve, packet) == [], name


def test_host_outside_may_ask_for_vms_and_ping_gateways() -> None:
    net = network()
    ask = arp(OUTSIDE_PORT, NEXT_HOP_MAC, NEXT_HOP_MAC, CLIENT_IP, MOVER_IP)
    (answer,) = net.send("nve3", ask)
    assert (answer.port, answer.fields["arp_sha"]) == (OUTSIDE_PORT, OUTSIDE_MAC)
    assert net.send("nve3", {**ask, "arp_tpa": "10.0.1.13"}) == []
    (answer,) = net.send("nve3", icmpv6(135, NEXT_HOP_MAC, CLIENT_IP6, "2001:db8::1", OUTSIDE_PORT))
    assert answer.fields["ipv6_nd_tll"] == OUTSIDE_MAC
    ping = from_client(4, ipv4_dst="10.0.0.254", ip_proto=1, icmpv4_type=8)
    (answer,) = net.send("nve3", ping)
    assert (answer.port, answer.fields["ipv4_dst"]) == (OUTSIDE_PORT, CLIENT_IP)


# DHCP


def dhcp(mac: str, source: str, port: int, answer: bool = False) -> Packet:
    packet = ipv4(mac, source, "ff:ff:ff:ff:ff:ff", "255.255.255.255", port)
    ports = {"udp_src": 67, "udp_dst": 68} if answer else {"udp_src": 68, "udp_dst": 67}
    return {**packet, "ip_proto": 17, **ports}


@pytest.mark.parametrize("source", ["0.0.0.0", MOVER_IP])
@pytest.mark.parametrize("stage", STAGES)
def test_clients_broadcast_goes_to_the_server_alone(stage: str, source: str) -> None:
    nve = "nve2" if stage == "finished" else "nve1"
    (arrival,) = network(stage).send(nve, dhcp(MOVER_MAC, source, 10))
    assert (arrival.path, arrival.port) == ((nve, "nve3"), 20)
    assert arrival.fields["eth_dst"] == PEER_MACS["nve3"]


def test_servers_broadcast_goes_to_the_nva_and_nobody_elses_does() -> None:
    (arrival,) = network().send("nve3", dhcp(PEER_MACS["nve3"], "10.0.0.13", 20, answer=True))
    assert (arrival.port, arrival.fields[REASON]) == ("controller", 2)
    assert network().send("nve1", dhcp(PEER_MACS["nve1"], "10.0.0.11", 20, answer=True)) == []
    unicast = {
        **dhcp(PEER_MACS["nve1"], "10.0.0.11", 20, answer=True),
        "eth_dst": MOVER_MAC,
        "ipv4_dst": MOVER_IP,
    }
    assert network().send("nve1", unicast) == []


def test_client_address_is_read_from_the_message_and_nonsense_is_not() -> None:
    message = bytes([2, 1, 6, 0]) + bytes(24) + bytes.fromhex("020000000001") + bytes(202)
    frame = bytes(14) + bytes([0x45]) + bytes(19) + bytes(8) + message
    assert dhcp_client_mac(frame) == MOVER_MAC
    for length in range(14 + 20 + 8 + 34):
        assert dhcp_client_mac(frame[:length]) is None
    assert dhcp_client_mac(frame[:43] + b"\x06" + frame[44:]) is None


# What is refused


Break = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda c: c["routes"].append(["red", "blue"]), "networks 'red' and 'blue' must not overlap"),
        (
            lambda c: c["routes"].append(["green", "blue"]),
            "must not overlap, they are routed to each other or a third",
        ),
        (
            lambda c: c["routes"].append(["red", "grey"]),
            "routes[1]: ['red', 'grey']: must be two of the networks",
        ),
        (lambda c: c["routes"].append("red"), "routes[1]: 'red': must be a pair"),
        (lambda c: c["networks"][2].pop("gateway"), "routes: 'green' is routed to red and has no gateway"),
        (
            lambda c: c["networks"][0].update(dhcp_server="green2"),
            "dhcp_server 'green2' is no VM of this network",
        ),
        (
            lambda c: c["networks"][0]["gateway"].update(ipv4="10.0.0.1"),
            "10.0.0.1 is the gateway's and VM 'vm1'",
        ),
        (lambda c: c["networks"][0].update(gateway={"mac": GATEWAY_MAC}), "its gateway has no address"),
        (lambda c: c["networks"][0].update(subnet_v4="10.0.0.1/24"), "must be a subnet without host bits"),
        (lambda c: c["outside"].update(port=20), "outside.port: 20 is a port of VM 'peer3' at 'nve3'"),
        (lambda c: c["outside"].update(port=1), "outside.port: 1 is the tunnel port of 'nve3'"),
        (lambda c: c["outside"].update(networks=["grey"]), "outside.networks[0]: 'grey': must be one of red"),
        (lambda c: c["outside"].update(next_hop_mac=MOVER_MAC), "is the MAC of VM 'vm1' as well"),
        (lambda c: c["outside"].update(subnets=["x"]), "outside.subnets[0]: 'x': must be a subnet"),
        (
            lambda c: c["outside"].update(networks=["red", "blue"]),
            "networks 'red' and 'blue' must not overlap",
        ),
    ],
)
def test_impossible_plan_is_refused_with_the_reason(spoil: Break, says: str) -> None:
    broken = copy.deepcopy(routed())
    spoil(broken)
    with pytest.raises(ConfigError) as error:
        state_from_config(broken, 1)
    assert says in str(error.value)


def test_plan_survives_json_and_subnets_are_collapsed() -> None:
    state = at_stage("committed", given=routed())
    assert state_from_json(json.loads(json.dumps(state_to_json(state)))) == state
    given = routed()
    given["outside"]["subnets"] = ["0.0.0.0/0", "203.0.113.0/24"]
    state = state_from_config(given, 1)
    assert state.outside is not None
    assert state.outside.subnets == ("0.0.0.0/0",)
    inside = from_client(4, ipv4_src="10.0.0.11")
    assert FakeNetwork(state).send("nve3", inside) == []
    assert len(FakeNetwork(state).send("nve3", from_client(4))) == 1


def test_an_nve_routes_only_for_networks_it_has_vms_of() -> None:
    flows = desired_flows(at_stage("none", given=routed()), "nve1")
    from_green = [f for f in flows if f.table != "FORWARD" and ("reg1", GREEN_VNI) in f.match]
    from_outside = [f for f in flows if ("reg1", OUTSIDE_VNI) in f.match]
    assert (from_green, from_outside) == ([], [])
    assert [f for f in flows if f.table == "FORWARD" and ("reg1", GREEN_VNI) in f.match]


def test_a_move_changes_no_route() -> None:
    for nve in ("nve1", "nve2", "nve3"):
        before, after = (desired_flows(at_stage(s, given=routed()), nve) for s in ("redirected", "committed"))
        assert {f.table for f in before ^ after} <= {"FORWARD"}
