"""The emulated network as packets see it: who reaches whom, what is on the underlay, MTU, rates, attachment."""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emulation import commands
from emulation.errors import CommandError
from emulation.sandbox import network_namespace
from experiments.probes.udp import UdpProbe, UdpStream
from experiments.running.laboratory import Laboratory
from tests.root.sandboxed import Capture, in_sandbox, laboratory, pings, topology
from topologies.model import Topology

pytestmark = pytest.mark.root

IPV4, IPV6, ARP = 0x0800, 0x86DD, 0x0806
PORTS = ("afpacket", "afxdp")
OVERHEAD_BYTES = 50  # inner Ethernet 14, VXLAN 8, UDP 8, outer IPv4 20 (RFC 7348 section 5)


@dataclass(frozen=True)
class Tunnelled:
    """One VXLAN frame of the underlay, taken apart (RFC 7348 section 5)."""

    source: str
    destination: str
    udp_port: int
    flags: int
    vni: int
    outer_ip_bytes: int
    fragment: bool
    inner_type: int


def taken_apart(frame: bytes) -> Tunnelled:
    """An outer IPv4 header without options, as Open vSwitch sends it, then UDP and VXLAN."""
    assert frame[14] == 0x45, frame[:40].hex()
    assert frame[23] == 17, "not UDP"
    port = struct.unpack_from("!H", frame, 36)[0]
    return Tunnelled(
        source=str(ipaddress.IPv4Address(frame[26:30])),
        destination=str(ipaddress.IPv4Address(frame[30:34])),
        udp_port=port,
        flags=frame[42],
        vni=int.from_bytes(frame[46:49], "big"),
        outer_ip_bytes=struct.unpack_from("!H", frame, 16)[0],
        fragment=bool(struct.unpack_from("!H", frame, 20)[0] & 0x3FFF),
        inner_type=struct.unpack_from("!H", frame, 62)[0],
    )


def ethertype(frame: bytes) -> int:
    return int.from_bytes(frame[12:14], "big")


def neighbours(lab: Laboratory, vm: str) -> dict[str, str]:
    lines = commands.run(["ip", "neigh", "show"], pid=lab.network[vm].pid).splitlines()
    return {line.split()[0]: line.split()[4] for line in lines if "lladdr" in line}


def ping_of(lab: Laboratory, vm: str, address: str, payload_bytes: int) -> str:
    """One ping that must not be fragmented; what it printed."""
    argv = ["ping", "-M", "do", "-c", "1", "-W", "1", "-s", str(payload_bytes), address]
    try:
        return commands.run(argv, pid=lab.network[vm].pid)
    except CommandError as error:
        return str(error)


def observed(port_type: str) -> dict[str, Any]:
    """Build two_racks and look at it from all sides; everything else is said about what this returns."""
    with laboratory(topology(), port_type) as lab:
        network = lab.network
        address = {vm.name: str(vm.ipv4) for vm in lab.topology.vms}
        underlay = Capture(network["rack2"].pid, "to-spine1")
        arrivals = {vm: Capture(network[vm].pid, "eth0") for vm in address}
        answered = {
            (one, other): pings(network[one].pid, address[other])
            for one in address
            for other in address
            if one != other
        }
        seen: dict[str, Any] = {"address": address, "answered": answered}
        seen["neighbours"] = {vm: neighbours(lab, vm) for vm in address}
        seen["arrivals"] = {vm: capture.frames() for vm, capture in arrivals.items()}
        seen["underlay"] = underlay.frames()
        seen["mtu"] = {size: ping_of(lab, "peer3", address["vm1"], size) for size in (1422, 1423)}
        seen["large"] = underlay.frames()
        seen["ipv6"] = {vm: ipv6_addresses(network[vm].pid) for vm in address}
        seen["status"] = lab.nva.status()
        return seen


def ipv6_addresses(pid: int) -> str:
    with network_namespace(pid):
        path = Path("/proc/self/net/if_inet6")
        return path.read_text() if path.exists() else ""


@pytest.fixture(scope="module", params=PORTS)
def seen(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = in_sandbox(lambda: observed(request.param), 60.0)
    return found


def test_every_vm_reaches_every_other_from_the_first_packet_on(seen: dict[str, Any]) -> None:
    assert len(seen["answered"]) == 4 * 3
    assert {pair: n for pair, n in seen["answered"].items() if n != 2} == {}


def test_arp_is_answered_at_the_nve(seen: dict[str, Any]) -> None:
    """RFC 8014 section 4.2: the NVE answers for a VM elsewhere. No VM ever sees a request (operation 1)."""
    macs = {vm.name: vm.mac for vm in topology().vms}
    for vm, address in seen["address"].items():
        others = {seen["address"][other]: macs[other] for other in macs if other != vm}
        assert seen["neighbours"][vm] == others, vm
        requests = [f for f in seen["arrivals"][vm] if ethertype(f) == ARP and f[20:22] == b"\0\1"]
        assert requests == [], f"{vm} ({address}) was asked"
        assert [f for f in seen["arrivals"][vm] if ethertype(f) == ARP] != [], "the capture saw no answer"


def test_there_is_no_ipv6_noise(seen: dict[str, Any]) -> None:
    types = {ethertype(frame) for frames in seen["arrivals"].values() for frame in frames}
    assert types == {IPV4, ARP}
    # Routers ask each other for their links' addresses (100.64.0.0/10), nobody else asks for anything.
    assert {ethertype(frame) for frame in seen["underlay"]} <= {IPV4, ARP}
    assert {frame[28] for frame in seen["underlay"] if ethertype(frame) == ARP} <= {100}
    assert set(seen["ipv6"].values()) == {""}


def test_the_underlay_carries_vxlan_with_the_networks_vni(seen: dict[str, Any]) -> None:
    """Towards nve3 through rack2: 2 pings and 2 answers of each of vm1, peer1 and peer2 with peer3, and no ARP."""
    frames = [taken_apart(frame) for frame in seen["underlay"] if ethertype(frame) == IPV4]
    assert {(f.udp_port, f.flags, f.vni, f.inner_type, f.fragment) for f in frames} == {
        (4789, 0x08, 5001, IPV4, False)
    }
    from_nve1 = [f for f in frames if (f.source, f.destination) == ("192.0.2.1", "192.0.2.3")]
    from_nve2 = [f for f in frames if (f.source, f.destination) == ("192.0.2.2", "192.0.2.3")]
    assert (len(from_nve1), len(from_nve2), len(frames)) == (8, 4, 12)


def test_a_packet_of_the_mtu_passes_whole_and_a_larger_one_does_not(seen: dict[str, Any]) -> None:
    """1450 = 1422 of payload + 8 ICMP + 20 IPv4; with the tunnel's 50 bytes it is 1500 on the underlay."""
    assert "1 received" in seen["mtu"][1422]
    assert "mtu=1450" in seen["mtu"][1423]
    assert "1 received" not in seen["mtu"][1423]
    (answer,) = [taken_apart(frame) for frame in seen["large"] if len(frame) > 1000]
    assert answer.outer_ip_bytes == 1450 + OVERHEAD_BYTES
    assert not answer.fragment


def test_the_nva_has_no_complaint(seen: dict[str, Any]) -> None:
    status = seen["status"]
    assert status["vms"] == {"vm1": "nve1", "peer1": "nve1", "peer2": "nve2", "peer3": "nve3"}
    assert {nve["problem"] for nve in status["nves"].values()} == {None}
    assert not status["unknown_dpids"]
    assert not status["moves"]
    assert not status["dead_threads"]


def with_access(link: dict[str, Any], *, of_the_sender_alone: bool) -> Topology:
    if not of_the_sender_alone:
        return topology(access=link)
    made = topology().as_file()
    made["nves"][0]["access"] = link
    return Topology.model_validate(made)


def sent_through_a_bottleneck(rate: str, of_the_sender_alone: bool) -> float:
    """Packets per second that arrive of 2,000 sent, in the second half of two seconds."""
    with laboratory(with_access({"rate": rate, "queue": 50}, of_the_sender_alone=of_the_sender_alone)) as lab:
        flow = UdpStream(str(lab.topology.vm("peer3").ipv4), 5001, 2000.0, 1400)
        probe = UdpProbe("flood", flow, Path("/run/overland"))
        probe.start(
            lambda argv: lab.network.spawn("peer1", argv),
            lambda argv: lab.network.spawn("peer3", argv),
            seconds=2.0,
        )
        commands.wait_until(lambda: not _alive(probe), 5.0, "the sender to end", every_s=0.05)
        probe.stop(drain_s=0.5)
        arrived_s = np.sort(probe.packets().rx_s)
        arrived_s = arrived_s[~np.isnan(arrived_s)]
        begin_s = float(probe.packets().tx_s[0])
        return float(np.sum((arrived_s >= begin_s + 1.0) & (arrived_s < begin_s + 2.0)))


def _alive(probe: UdpProbe) -> bool:
    return probe._sender is not None and probe._sender._process.poll() is None


@pytest.mark.parametrize("of_the_sender_alone", [False, True])
def test_a_links_rate_is_kept(of_the_sender_alone: bool) -> None:
    """Of the sender's NVE alone it is made by the queue of a port of Open vSwitch, which must leave it there.

    10 Mbit/s of 1,492-byte frames: 1,400 of payload + 28 UDP/IPv4 + 14 Ethernet + 36 VXLAN/UDP/IPv4 + 14
    Ethernet (what the token bucket counts). 10,000,000 / (8 x 1,492) = 838 packets/s, of 2,000 that were sent.
    """
    expected = 10_000_000 / (8 * 1492)
    arrived = in_sandbox(lambda: sent_through_a_bottleneck("10Mbit", of_the_sender_alone), 30.0)
    assert arrived == pytest.approx(expected, rel=0.15)


def replugged() -> dict[str, Any]:
    with laboratory(topology(), attachment="replug") as lab:
        network = lab.network
        seen: dict[str, Any] = {
            "wirings": list(network.wirings),
            "before": pings(network["peer3"].pid, "10.1.0.10"),
        }
        record = lab.move("vm1", "nve3", policy="silent-drop")
        seen |= {"record": record.as_dict(), "after": pings(network["peer1"].pid, "10.1.0.10")}
        seen |= {"out": pings(network["vm1"].pid, "10.1.0.2"), "where": lab.nva.where("vm1")}
        record = lab.move("vm1", "nve1", policy="tunnel")
        seen |= {"back": pings(network["peer2"].pid, "10.1.0.10"), "outcome": record.outcome}
        return seen


def test_a_vm_that_is_replugged_is_reachable_before_and_after() -> None:
    seen = in_sandbox(replugged, 40.0)
    assert (seen["wirings"], seen["before"], seen["after"], seen["out"], seen["back"]) == ([], 2, 2, 2, 2)
    assert (seen["record"]["outcome"], seen["record"]["attachment"], seen["outcome"]) == (
        "done",
        "replug",
        "done",
    )
    assert (seen["where"]["nve"], seen["where"]["move"]) == ("nve3", None)
