"""Where does this packet go now? For every stage of a move, origin of the packet and old-NVE policy."""

from __future__ import annotations

import pytest

from controller import mapping
from controller.flows import desired_flows
from controller.pipeline import FORWARD, ORIGIN, TUNNEL
from tests.fake_flow_table import FakeFlowTable, FakeNetwork
from tests.fake_nva_world import (
    MOVER_IP,
    MOVER_MAC,
    OTHER_VNI,
    PEER_MACS,
    TUNNEL_PORT,
    VNI,
    arp,
    at_stage,
    from_mover,
    from_peer,
    ipv4,
)
from wire import ethernet

DIRECT, REDIRECTED = 10, 11
STAGES = ("none", "prepared", "redirected", "committed", "finished")
POLICIES = ("silent-drop", "tunnel", "buffer")

Places = list[tuple[tuple[str, ...], int]]


def ways(network: FakeNetwork, nve: str, packet: dict[str, int | str]) -> Places:
    """The NVEs a packet passes and the port it leaves by, for each copy."""
    return [(a.path, int(a.port)) for a in network.send(nve, packet)]


def expected_from_peer(stage: str, policy: str, nve: str) -> Places:
    """The stage table of docs/nve-pipeline.md for a peer at ``nve``; vm1 moves nve1 -> nve2."""
    redirecting = policy != "silent-drop"
    if stage in ("none", "prepared"):
        return [(("nve1",) if nve == "nve1" else (nve, "nve1"), DIRECT)]
    if stage == "redirected":
        path = ("nve1", "nve2") if nve == "nve1" else (nve, "nve1", "nve2")
        return [(path, REDIRECTED)] if redirecting else []
    if nve == "nve2":
        return [(("nve2",), DIRECT)]
    from_old = nve == "nve1" and stage == "committed"
    return [((nve, "nve2"), REDIRECTED if from_old else DIRECT)]


@pytest.mark.parametrize("nve", ["nve1", "nve2", "nve3"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("stage", STAGES)
def test_packet_to_the_moving_vm(stage: str, policy: str, nve: str) -> None:
    network = FakeNetwork(at_stage(stage, policy))
    assert ways(network, nve, from_peer(nve)) == expected_from_peer(stage, policy, nve)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("stage", STAGES)
def test_packet_that_was_under_way_to_the_old_nve(stage: str, policy: str) -> None:
    network = FakeNetwork(at_stage(stage, policy))
    late = {**from_peer("nve3"), "in_port": TUNNEL_PORT, "tunnel_id": VNI, "tun_ipv4_src": "192.0.2.3"}
    expected: Places
    if stage in ("none", "prepared"):
        expected = [(("nve1",), DIRECT)]
    elif stage == "finished" or policy == "silent-drop":
        expected = []
    else:
        expected = [(("nve1", "nve2"), REDIRECTED)]
    assert ways(network, "nve1", late) == expected


@pytest.mark.parametrize("to", ["nve1", "nve2", "nve3"])
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("stage", STAGES)
def test_packet_from_the_moving_vm(stage: str, policy: str, to: str) -> None:
    network = FakeNetwork(at_stage(stage, policy))
    accepted = {"none": {"nve1"}, "finished": {"nve2"}}.get(stage, {"nve1", "nve2"})
    for nve in ("nve1", "nve2"):
        expected = [((nve,) if nve == to else (nve, to), 20)] if nve in accepted else []
        assert ways(network, nve, from_mover(to)) == expected, f"sent at {nve}"
        # The redirected leg only carries frames towards the VM.
        assert ways(network, nve, from_mover(to, REDIRECTED)) == []


def test_without_a_redirected_leg_everything_takes_the_direct_one() -> None:
    state = mapping.set_port(at_stage("redirected"), "vm1", "nve2", 15)
    assert ways(FakeNetwork(state), "nve3", from_peer("nve3")) == [(("nve3", "nve1", "nve2"), 15)]


def test_a_closed_port_gets_and_sends_nothing() -> None:
    state = mapping.close_port(at_stage("committed"), "vm1", "nve1")
    assert ways(FakeNetwork(state), "nve1", from_mover("nve3")) == []
    late = {**from_peer("nve3"), "in_port": TUNNEL_PORT, "tunnel_id": VNI, "tun_ipv4_src": "192.0.2.3"}
    assert ways(FakeNetwork(state), "nve1", late) == [(("nve1", "nve2"), REDIRECTED)]


@pytest.mark.parametrize("stage", STAGES)
def test_two_vms_move_independently(stage: str) -> None:
    both = mapping.prepare(at_stage(stage), "m2", "peer3", "nve1", "tunnel")
    network = FakeNetwork(both)
    assert ways(network, "nve2", from_peer("nve2")) == expected_from_peer(stage, "tunnel", "nve2")
    assert ways(network, "nve3", from_peer("nve3")) == expected_from_peer(stage, "tunnel", "nve3")
    redirected = FakeNetwork(mapping.redirect(both, "m2"))
    towards_peer3 = ipv4(PEER_MACS["nve2"], "10.0.0.12", PEER_MACS["nve3"], "10.0.0.13", 20)
    # Its new NVE has no port of it yet: the redirected frame ends there, it does not come back.
    assert ways(redirected, "nve2", towards_peer3) == []


# Tenants


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("stage", STAGES)
def test_overlapping_addresses_stay_apart(stage: str, policy: str) -> None:
    network = FakeNetwork(at_stage(stage, policy))
    blue = ipv4(PEER_MACS["nve1"], "10.0.0.11", MOVER_MAC, MOVER_IP, 30)
    arrivals = network.send("nve3", blue)
    assert [(a.path, a.port, a.vni) for a in arrivals] == [(("nve3", "nve2"), 30, OTHER_VNI)]


def test_an_nve_without_members_of_a_network_has_none_of_its_flows() -> None:
    flows = desired_flows(at_stage("none"), "nve1")
    assert not [f for f in flows if ("tunnel_id", OTHER_VNI) in f.match or ("reg1", OTHER_VNI) in f.match]


# Split horizon


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("stage", STAGES)
def test_only_a_redirect_sends_from_tunnel_to_tunnel(stage: str, policy: str) -> None:
    state = at_stage(stage, policy)
    for nve in state.nves:
        table = FakeFlowTable(desired_flows(state, nve))
        back = [
            f
            for f in table.flows.values()
            if f.table == FORWARD and (ORIGIN, TUNNEL) in f.match and "tun_ipv4_dst" in str(f.actions)
        ]
        redirect = nve == "nve1" and stage in ("redirected", "committed") and policy != "silent-drop"
        assert len(back) == (1 if redirect else 0), nve
        # And every flow that matches on FORWARD says which origin it is for.
        assert all(dict(f.match).get(ORIGIN) is not None for f in table.flows.values() if f.table == FORWARD)


# ARP


@pytest.mark.parametrize("stage", STAGES)
def test_arp_for_every_vm_is_answered_where_it_is_asked(stage: str) -> None:
    network = FakeNetwork(at_stage(stage))
    for nve in ("nve1", "nve2", "nve3"):
        ask = arp(20, PEER_MACS[nve], PEER_MACS[nve], f"10.0.0.1{nve[-1]}", MOVER_IP)
        (answer,) = network.send(nve, ask)
        assert (answer.port, answer.path) == (20, (nve,))
        expected = {
            "eth_src": MOVER_MAC,
            "eth_dst": PEER_MACS[nve],
            "arp_op": 2,
            "arp_sha": MOVER_MAC,
            "arp_spa": MOVER_IP,
            "arp_tha": PEER_MACS[nve],
            "arp_tpa": f"10.0.0.1{nve[-1]}",
        }
        assert {name: answer.fields[name] for name in expected} == expected


def test_arp_probe_for_a_used_address_is_answered_but_not_for_its_own() -> None:
    network = FakeNetwork(at_stage("none"))
    other = arp(20, PEER_MACS["nve1"], PEER_MACS["nve1"], "0.0.0.0", MOVER_IP)
    assert [a.port for a in network.send("nve1", other)] == [20]
    own = arp(10, MOVER_MAC, MOVER_MAC, "0.0.0.0", MOVER_IP)
    assert network.send("nve1", own) == []


@pytest.mark.parametrize("operation", [1, 2])
def test_gratuitous_arp_goes_to_the_nva_only(operation: int) -> None:
    announcement = arp(10, MOVER_MAC, MOVER_MAC, MOVER_IP, MOVER_IP, op=operation)
    assert [a.port for a in FakeNetwork(at_stage("none")).send("nve1", announcement)] == ["controller"]
    reply_to_another = arp(10, MOVER_MAC, MOVER_MAC, MOVER_IP, "10.0.0.13", op=2)
    assert FakeNetwork(at_stage("none")).send("nve1", reply_to_another) == []


def test_arp_for_the_other_tenants_vm_is_not_answered() -> None:
    network = FakeNetwork(at_stage("none"))
    ask = arp(20, PEER_MACS["nve1"], PEER_MACS["nve1"], "10.0.0.11", "10.0.0.99")
    assert network.send("nve1", ask) == []


# Anti-spoof


@pytest.mark.parametrize(
    ("name", "packet"),
    [
        ("wrong eth_src", {**from_mover("nve3"), "eth_src": PEER_MACS["nve1"]}),
        ("wrong ipv4_src", {**from_mover("nve3"), "ipv4_src": "10.0.0.11"}),
        ("neighbour's ARP sha", arp(10, MOVER_MAC, PEER_MACS["nve1"], MOVER_IP, "10.0.0.13")),
        ("neighbour's ARP spa", arp(10, MOVER_MAC, MOVER_MAC, "10.0.0.11", "10.0.0.13")),
        ("RARP for another", {"in_port": 10, "eth_type": ethernet.RARP, "eth_src": PEER_MACS["nve1"]}),
        ("unknown ethertype", {"in_port": 10, "eth_type": 0x86DD, "eth_src": MOVER_MAC}),
        ("broadcast", {**from_mover("nve3"), "eth_dst": "ff:ff:ff:ff:ff:ff"}),
        ("unknown port", {**from_mover("nve3"), "in_port": 77}),
        ("unknown vni", {**from_peer("nve1"), "in_port": TUNNEL_PORT, "tunnel_id": 999}),
    ],
)
def test_what_an_attachment_may_not_say_is_dropped(name: str, packet: dict[str, int | str]) -> None:
    assert FakeNetwork(at_stage("none")).send("nve1", packet) == [], name


def test_rarp_of_the_vm_itself_goes_to_the_nva_only() -> None:
    rarp = {
        "in_port": 10,
        "eth_type": ethernet.RARP,
        "eth_src": MOVER_MAC,
        "eth_dst": "ff:ff:ff:ff:ff:ff",
    }
    assert [a.port for a in FakeNetwork(at_stage("none")).send("nve1", rarp)] == ["controller"]


def test_dhcp_client_passes_anti_spoof_and_ends_in_forward() -> None:
    dhcp = {
        **ipv4(MOVER_MAC, "0.0.0.0", "ff:ff:ff:ff:ff:ff", "255.255.255.255", 10),
        "ip_proto": 17,
        "udp_src": 68,
        "udp_dst": 67,
    }
    verdict = FakeFlowTable(desired_flows(at_stage("none"), "nve1")).process(dhcp)
    assert (verdict.trace, verdict.sent) == (["CLASSIFY", "ANTI_SPOOF", "FORWARD"], [])


# Markers


def test_marker_from_the_vm_to_itself_takes_the_redirected_way_to_the_new_nve() -> None:
    marker = {"in_port": DIRECT, "eth_type": ethernet.MARKER, "eth_src": MOVER_MAC, "eth_dst": MOVER_MAC}
    assert ways(FakeNetwork(at_stage("redirected")), "nve1", marker) == [(("nve1", "nve2"), REDIRECTED)]


@pytest.mark.parametrize("stage", STAGES)
def test_marker_from_the_vm_to_another_is_dropped(stage: str) -> None:
    marker = {
        "in_port": DIRECT,
        "eth_type": ethernet.MARKER,
        "eth_src": MOVER_MAC,
        "eth_dst": PEER_MACS["nve3"],
    }
    assert ways(FakeNetwork(at_stage(stage)), "nve1", marker) == []


def test_end_marker_from_the_tunnel_goes_as_data_does() -> None:
    marker = {"eth_type": ethernet.MARKER, "eth_src": "02:6f:76:6c:00:01", "eth_dst": MOVER_MAC}
    for policy, expected in (("tunnel", [(("nve1", "nve2"), REDIRECTED)]), ("silent-drop", [])):
        network = FakeNetwork(at_stage("committed", policy))
        old_path = {**marker, "in_port": TUNNEL_PORT, "tunnel_id": VNI, "tun_ipv4_src": "192.0.2.3"}
        assert ways(network, "nve1", old_path) == expected
    from_old = {**marker, "in_port": TUNNEL_PORT, "tunnel_id": VNI, "tun_ipv4_src": "192.0.2.1"}
    assert ways(FakeNetwork(at_stage("committed")), "nve2", from_old) == [(("nve2",), REDIRECTED)]
