"""Clients outside: they and the VMs reach each other before and after a move, and nothing else gets in."""

from __future__ import annotations

import contextlib
import struct
from typing import Any

import pytest

from emulation import commands
from emulation.errors import CommandError
from emulation.outside import ROUTER
from experiments.running.laboratory import Laboratory
from tests.root.sandboxed import Capture, in_sandbox, laboratory, pings
from topologies import load_topology, topology_file

pytestmark = pytest.mark.root

VM_ADDRESSES = ("10.1.0.10", "2001:db8:1::10")
CLIENT_ADDRESSES = ("203.0.113.10", "2001:db8:ff::10")


def both_ways(lab: Laboratory) -> list[int]:
    client, vm = lab.network["client1"].pid, lab.network["vm1"].pid
    return [pings(client, address) for address in VM_ADDRESSES] + [
        pings(vm, address) for address in CLIENT_ADDRESSES
    ]


def icmp_at_vm(lab: Laboratory, node: str, *options: str) -> list[bytes]:
    """ICMP packets that reach vm1 while a node sends it three pings."""
    arrivals = Capture(lab.network["vm1"].pid, "eth0")
    argv = ["ping", "-c", "3", "-i", "0.01", "-W", "1", *options, VM_ADDRESSES[0]]
    with contextlib.suppress(CommandError):
        commands.run(argv, pid=lab.network[node].pid)
    frames = arrivals.frames()
    return [f for f in frames if struct.unpack_from("!H", f, 12)[0] == 0x0800 and f[23] == 1]


def seen_from_outside() -> dict[str, Any]:
    with laboratory(load_topology(topology_file("outside"))) as lab:
        lab.network.await_addresses()
        seen: dict[str, Any] = {"at nve1": both_ways(lab)}
        seen["nobody"] = pings(lab.network["client1"].pid, "10.1.0.77")
        for nve in ("nve2", "nve3", "nve1"):
            lab.move("vm1", nve, policy="buffer")
            seen[f"at {nve} then"] = both_ways(lab)
        seen["ttl"] = [frame[22] for frame in icmp_at_vm(lab, "client1")]
        seen["neighbours"] = commands.run(["ip", "neigh", "show"], pid=lab.network["client1"].pid)
        # The router outside sends in the name of peer1, which is inside.
        commands.run(["ip", "addr", "add", "10.1.0.1/32", "dev", "lo"], pid=lab.network[ROUTER].pid)
        seen["forged"] = len(icmp_at_vm(lab, ROUTER, "-I", "10.1.0.1"))
        return seen


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    found: dict[str, Any] = in_sandbox(seen_from_outside, 60.0)
    return found


def test_client_and_vm_reach_each_other_wherever_the_vm_is(seen: dict[str, Any]) -> None:
    places = ("at nve1", "at nve2 then", "at nve3 then", "at nve1 then")
    assert {place: seen[place] for place in places} == {place: [2, 2, 2, 2] for place in places}


def test_an_address_that_no_vm_has_is_not_answered(seen: dict[str, Any]) -> None:
    assert seen["nobody"] == 0


def test_the_client_knows_no_neighbour_but_its_router(seen: dict[str, Any]) -> None:
    assert not any(address in seen["neighbours"] for address in VM_ADDRESSES)


def test_router_and_gateway_each_take_one_from_the_ttl(seen: dict[str, Any]) -> None:
    assert seen["ttl"] == [62, 62, 62]


def test_nobody_outside_can_speak_for_a_vm(seen: dict[str, Any]) -> None:
    assert seen["forged"] == 0
