"""IPv6 as packets see it: duplicate address detection, link-local addresses, and silence where a VM is not."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest

from emulation import commands
from emulation.addressing import link_local, tentative
from emulation.commands import wait_until
from experiments.running.laboratory import Laboratory
from tests.root.sandboxed import Capture, in_sandbox, laboratory, pings
from topologies import load_topology, topology_file

pytestmark = pytest.mark.root

IPV6, ICMPV6 = 0x86DD, 58
DISCOVERY = range(130, 138)  # MLD, router and neighbour discovery
MLD_V2 = 143


def discovery(frames: list[bytes]) -> list[int]:
    """ICMPv6 types of neighbour discovery and MLD among frames (with or without a hop-by-hop header)."""
    found = []
    for frame in frames:
        if struct.unpack_from("!H", frame, 12)[0] != IPV6:
            continue
        header, at = frame[20], 54
        if header == 0:  # hop-by-hop options: MLD's router alert
            header, at = frame[54], 54 + 8 * (frame[55] + 1)
        if header == ICMPV6 and (frame[at] in DISCOVERY or frame[at] == MLD_V2):
            found.append(frame[at])
    return found


def addresses(lab: Laboratory, vm: str) -> str:
    return commands.run(["ip", "-6", "addr", "show", "dev", "eth0"], pid=lab.network[vm].pid)


def state_of(lab: Laboratory, vm: str, address: str) -> str:
    """``dadfailed``, ``tentative`` or ``valid``."""
    (line,) = [line for line in addresses(lab, vm).splitlines() if f"inet6 {address}/" in line]
    return next((word for word in ("dadfailed", "tentative") if word in line), "valid")


def add_address(lab: Laboratory, vm: str, address: str) -> str:
    """Add an address as an administrator would; what duplicate address detection says of it."""
    commands.run(["ip", "addr", "add", f"{address}/64", "dev", "eth0"], pid=lab.network[vm].pid)
    wait_until(lambda: state_of(lab, vm, address) != "tentative", 5.0, f"a verdict on {address}")
    return state_of(lab, vm, address)


def seen_in_dual_stack() -> dict[str, Any]:
    with laboratory(load_topology(topology_file("dual_stack"))) as lab:
        network = lab.network
        vm, peer = lab.topology.vm("vm1"), lab.topology.vm("peer3")
        idle = {nve: Capture(network[nve].pid, "vm1") for nve in ("nve2", "nve3")}
        idle |= {f"{nve} redirected": Capture(network[nve].pid, "vm1-r") for nve in network.nves}
        spoken = Capture(network["nve1"].pid, "vm1")
        peers = {name: Capture(network[name].pid, "eth0") for name in ("peer1", "peer2", "peer3")}
        network.await_addresses()
        seen: dict[str, Any] = {
            "global": pings(network["peer3"].pid, "2001:db8:1::10"),
            "link-local": pings(network["peer3"].pid, f"{link_local(vm.mac)}%eth0"),
            "to link-local": pings(network["vm1"].pid, f"{link_local(peer.mac)}%eth0"),
            "own again": readded(lab),
            "of another": add_address(lab, "peer2", "2001:db8:1::10"),
        }
        commands.run(["ip", "addr", "del", "2001:db8:1::10/64", "dev", "eth0"], pid=network["peer2"].pid)
        seen["idle"] = {name: capture.frames() for name, capture in idle.items()}
        seen["spoken"] = discovery(spoken.frames())
        seen["at peers"] = {name: discovery(capture.frames()) for name, capture in peers.items()}
        there = Capture(network["nve3"].pid, "vm1")
        lab.move("vm1", "nve3", policy="buffer")
        seen["announced"] = discovery(there.frames())
        seen["after"] = (
            pings(network["peer1"].pid, "2001:db8:1::10"),
            pings(network["peer1"].pid, f"{link_local(vm.mac)}%eth0"),
            state_of(lab, "vm1", "2001:db8:1::10"),
        )
        seen["noise"] = {
            name: Path(f"/proc/{network[name].pid}/net/if_inet6").read_text()
            for name in (*network.nves, "rack1", "spine1")
        }
        seen["outside"] = Path("/proc/self/net/if_inet6").read_text()
        return seen


def readded(lab: Laboratory) -> str:
    """The VM gives its address up and takes it again."""
    commands.run(["ip", "addr", "del", "2001:db8:1::10/64", "dev", "eth0"], pid=lab.network["vm1"].pid)
    return add_address(lab, "vm1", "2001:db8:1::10")


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    found: dict[str, Any] = in_sandbox(seen_in_dual_stack, 60.0)
    return found


def test_global_and_link_local_addresses_answer(seen: dict[str, Any]) -> None:
    assert (seen["global"], seen["link-local"], seen["to link-local"]) == (2, 2, 2)


def test_duplicate_address_detection_finds_duplicates_and_only_those(seen: dict[str, Any]) -> None:
    assert seen["own again"] == "valid"
    assert seen["of another"] == "dadfailed"


def test_nothing_comes_out_of_a_port_that_is_only_pre_wired(seen: dict[str, Any]) -> None:
    """No frame of any kind; while at the VM's own port its discovery was seen, so the capture works."""
    assert {name: frames for name, frames in seen["idle"].items() if frames} == {}
    assert 135 in seen["spoken"]


def test_no_solicitation_reaches_a_vm(seen: dict[str, Any]) -> None:
    """What a VM hears of discovery are the NVE's answers to itself (136)."""
    assert {kind for kinds in seen["at peers"].values() for kind in kinds} == {136}


def test_after_a_move_both_addresses_answer_and_were_advertised(seen: dict[str, Any]) -> None:
    assert seen["after"] == (2, 2, "valid")
    assert seen["announced"].count(136) >= 2  # one advertisement of each address


def test_only_vms_have_ipv6_addresses(seen: dict[str, Any]) -> None:
    assert set(seen["noise"].values()) == {""}
    assert seen["outside"] == ""


def test_a_tentative_address_is_known_by_its_flag() -> None:
    valid = "20010db8000100000000000000000010 02 40 00 80     eth0"
    waiting = "fe80000000000000000000fffe000001 02 40 20 c0     eth0"
    assert tentative(f"{valid}\n{waiting}\n") == ["eth0"]
    assert tentative(valid) == []
