"""The old NVE's policies icmp and forward, the end of a redirect, and ICMP errors byte by byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6
from scapy.layers.l2 import Ether

from controller import mapping
from controller.model import Refused, State
from controller.pipeline import REASON, UNREACHABLE
from tests.fake_flow_table import FakeNetwork
from tests.fake_nva_world import (
    GATEWAY_MAC,
    GATEWAY_MAC_GREEN,
    MOVER_IP,
    MOVER_MAC,
    PEER_MACS,
    TUNNEL_PORT,
    VNI,
    at_stage,
    from_peer,
    green_mac,
    ipv4,
    ipv6,
    routed,
    world,
)
from wire.icmp import Reporter, unreachable
from wire.ip import sender as ip_sender

LATE = {"in_port": TUNNEL_PORT, "tunnel_id": VNI, "tun_ipv4_src": "192.0.2.3"}
PLAIN_MAC = "02:00:00:00:fe:05"

# icmp


@pytest.mark.parametrize("stage", ["redirected", "committed"])
def test_icmp_sends_what_ends_at_the_old_nve_to_the_nva_with_the_reason(stage: str) -> None:
    (arrival,) = FakeNetwork(at_stage(stage, "icmp")).send("nve1", {**from_peer("nve3"), **LATE})
    assert (arrival.port, arrival.fields[REASON]) == ("controller", UNREACHABLE)


def test_icmp_may_commit_without_a_redirect_and_tunnel_may_not() -> None:
    assert mapping.commit(at_stage("prepared", "icmp"), "m1").moves["vm1"].stage == "committed"
    with pytest.raises(Refused, match="only icmp and silent-drop may commit without it"):
        mapping.commit(at_stage("prepared", "tunnel"), "m1")


REPORTER = Reporter(GATEWAY_MAC, "10.0.0.254", "2001:db8::fe")


def test_icmp_error_dissected_by_somebody_else() -> None:
    packet = (
        Ether(src=PEER_MACS["nve3"], dst=MOVER_MAC)
        / IP(src="10.0.0.13", dst=MOVER_IP)
        / UDP(sport=5, dport=6)
    )
    frame = bytes(packet / (b"x" * 400))
    made = unreachable(frame[:128], PEER_MACS["nve3"], REPORTER)
    assert made is not None
    read = Ether(made)
    assert (read.src, read.dst, read[IP].src, read[IP].dst) == (
        GATEWAY_MAC,
        PEER_MACS["nve3"],
        "10.0.0.254",
        "10.0.0.13",
    )
    assert (read[ICMP].type, read[ICMP].code) == (3, 1)
    assert bytes(read[ICMP].payload) == frame[14:128]
    sums = read[IP].chksum, read[ICMP].chksum
    del read[IP].chksum, read[ICMP].chksum
    again = Ether(bytes(read))
    assert (again[IP].chksum, again[ICMP].chksum) == sums


def test_icmpv6_error_dissected_by_somebody_else() -> None:
    packet = (
        Ether(src=PEER_MACS["nve3"], dst=MOVER_MAC)
        / IPv6(src="2001:db8::13", dst="2001:db8::1")
        / UDP(dport=6)
    )
    frame = bytes(packet / b"hello")
    made = unreachable(frame, PEER_MACS["nve3"], REPORTER)
    assert made is not None
    read = Ether(made)
    assert (read[IPv6].src, read[IPv6].dst, read[IPv6].hlim) == ("2001:db8::fe", "2001:db8::13", 64)
    error = read[ICMPv6DestUnreach]
    assert (error.type, error.code, bytes(error.payload)) == (1, 3, frame[14:])
    found = error.cksum
    del error.cksum
    assert Ether(bytes(read))[ICMPv6DestUnreach].cksum == found


# With both MACs given the dissector resolves nothing.
ETHERNET = Ether(src=PEER_MACS["nve3"], dst=MOVER_MAC)
V4 = ETHERNET / IP(src="10.0.0.13", dst=MOVER_IP)
V6 = ETHERNET / IPv6(src="2001:db8::13", dst="2001:db8::1")


@pytest.mark.parametrize(
    ("name", "packet"),
    [
        ("an error", V4 / ICMP(type=3, code=1) / b"0123456789"),
        ("later fragment", ETHERNET / IP(src="10.0.0.13", dst=MOVER_IP, frag=10) / b"x"),
        ("from nobody", ETHERNET / IP(src="0.0.0.0", dst=MOVER_IP) / UDP()),
        ("from a group", ETHERNET / IP(src="224.0.0.1", dst=MOVER_IP) / UDP()),
        ("an error, v6", V6 / ICMPv6DestUnreach()),
        ("from nobody, v6", ETHERNET / IPv6(src="::", dst="2001:db8::1") / UDP()),
        ("to a group, v6", ETHERNET / IPv6(src="2001:db8::13", dst="ff02::1") / UDP()),
        ("no IP", Ether(src=PEER_MACS["nve3"], dst=MOVER_MAC, type=0x88B5) / b"x"),
    ],
)
def test_no_icmp_error_about(name: str, packet: Any) -> None:
    assert unreachable(bytes(packet), PEER_MACS["nve3"], REPORTER) is None, name


def test_ping_is_answered_by_an_error_and_frames_cut_short_are_not() -> None:
    assert unreachable(bytes(V4 / ICMP(type=8)), PEER_MACS["nve3"], REPORTER) is not None
    for packet in (V4 / UDP(), V6 / UDP()):
        frame = bytes(packet)
        for length in range(14 + 20):
            assert unreachable(frame[:length], PEER_MACS["nve3"], REPORTER) is None
        assert unreachable(frame, PEER_MACS["nve3"], Reporter(GATEWAY_MAC, None, None)) is None
    assert ip_sender(bytes(V4 / UDP())) == "10.0.0.13"
    assert ip_sender(b"") is None


# forward


def green_move(stage: str) -> State:
    """green2 moves nve2 -> nve1 with policy forward."""
    state = mapping.set_port(world(routed()), "green2", "nve1", 60, 61)
    state = mapping.prepare(state, "g", "green2", "nve1", "forward")
    steps = {"prepared": 0, "redirected": 1, "committed": 2, "finished": 3}[stage]
    for step in (mapping.redirect, mapping.commit, mapping.finish)[:steps]:
        state = step(state, "g")
    return state


TO_GREEN2 = ipv4(green_mac(3), "10.0.1.13", green_mac(2), "10.0.1.12", 60)
LATE_GREEN = {**LATE, "tunnel_id": 101}


@pytest.mark.parametrize("stage", ["redirected", "committed"])
def test_forward_takes_the_plain_underlay_to_the_redirected_leg(stage: str) -> None:
    (arrival,) = FakeNetwork(green_move(stage)).send("nve2", {**TO_GREEN2, **LATE_GREEN})
    assert (arrival.path, arrival.port, arrival.vni) == (("nve2", "nve1"), 61, None)
    assert (arrival.fields["eth_dst"], arrival.fields["eth_src"]) == (green_mac(2), GATEWAY_MAC_GREEN)


def test_forward_drops_what_the_underlay_cannot_carry() -> None:
    six = ipv6(green_mac(3), "2001:db8:1::13", green_mac(2), "2001:db8:1::12", 60)
    assert FakeNetwork(green_move("committed")).send("nve2", {**six, **LATE_GREEN}) == []
    assert FakeNetwork(green_move("finished")).send("nve2", {**TO_GREEN2, **LATE_GREEN}) == []


def _no_plain_port(given: dict[str, Any]) -> None:
    given["nves"][0]["plain"] = None


def _underlay_address(given: dict[str, Any]) -> None:
    given["networks"][2]["subnet_v4"] = None
    given["vms"][-2]["ipv4"] = "192.0.2.3"


@pytest.mark.parametrize(
    ("spoil", "vm", "says"),
    [
        (_no_plain_port, "green2", "NVE 'nve1' has no port to the plain underlay"),
        (_underlay_address, "green2", "192.0.2.3 is an NVE's address in the underlay"),
        (lambda given: None, "peer1", "'blue3' of network 'blue' has the address 10.0.0.11 too"),
    ],
)
def test_forward_is_refused_with_the_reason(spoil: Callable[[Any], None], vm: str, says: str) -> None:
    given = routed()
    spoil(given)
    state = world(given)
    new = "nve2" if vm == "peer1" else "nve1"
    with pytest.raises(Refused, match="policy forward: ") as refused:
        mapping.prepare(state, "m", vm, new, "forward")
    assert says in str(refused.value)
    assert "choose another policy" in refused.value.allowed
    assert mapping.prepare(state, "m", vm, new, "icmp").moves[vm].policy == "icmp"


# end_redirect


def test_after_the_end_of_the_redirect_late_frames_are_dropped_by_source_even_after_the_move() -> None:
    state = mapping.end_redirect(at_stage("committed"), "m1")
    late = {**from_peer("nve3"), **LATE}
    assert FakeNetwork(at_stage("committed")).send("nve1", late) != []
    for after in (state, mapping.finish(state, "m1")):
        network = FakeNetwork(after)
        assert network.send("nve1", late) == []
        counting = {
            f for f in network.tables["nve1"].flows.values() if f.priority == 120 and f.table == "FORWARD"
        }
        sources = {dict(f.match)["tun_ipv4_src"] for f in counting}
        assert sources == {"192.0.2.2", "192.0.2.3"}
        assert not any(f.actions for f in counting)
        # The old NVE's own VMs are not misdirected: they go to the new NVE.
        assert [a.path for a in network.send("nve1", from_peer("nve1"))] == [("nve1", "nve2")]


def test_the_count_ends_when_the_vm_comes_back() -> None:
    finished = mapping.finish(mapping.end_redirect(at_stage("committed"), "m1"), "m1")
    assert finished.counted == {"vm1": frozenset({"nve1"})}
    back = mapping.prepare(finished, "m2", "vm1", "nve1", "tunnel")
    assert back.counted == {}
    late = {**from_peer("nve3"), **LATE}
    assert [a.path for a in FakeNetwork(back).send("nve1", late)] == [("nve1",)]


@pytest.mark.parametrize("stage", ["prepared", "redirected"])
def test_end_redirect_is_refused_before_the_commit_and_twice(stage: str) -> None:
    with pytest.raises(Refused, match=f"the move is at stage {stage}; allowed once, at stage committed"):
        mapping.end_redirect(at_stage(stage), "m1")
    with pytest.raises(Refused, match="ended already"):
        mapping.end_redirect(mapping.end_redirect(at_stage("committed"), "m1"), "m1")


def test_an_nve_without_members_still_counts() -> None:
    state = mapping.finish(mapping.end_redirect(green_move("committed"), "g"), "g")
    # green2 was alone with green at nve2.
    assert 101 not in state.members["nve2"]
    assert 101 in state.from_tunnel["nve2"]
    assert FakeNetwork(state).send("nve2", {**TO_GREEN2, **LATE_GREEN}) == []
