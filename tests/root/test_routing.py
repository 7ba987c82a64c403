"""Who reaches whom across networks and tenants, with the addresses of both IP versions, before and after a move."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.running.laboratory import Laboratory, reaches
from tests.root.sandboxed import Capture, in_sandbox, laboratory, pings
from topologies import load_topology, topology_file

pytestmark = pytest.mark.root

FROM = ("vm1", "green2", "amber2", "red3")


def matrix(lab: Laboratory) -> dict[tuple[str, str], tuple[int, int]]:
    """Answers to two pings of each IP version, by who asks whom; never of a VM with the asker's own address."""
    vms = {vm.name: vm for vm in lab.topology.vms}
    return {
        (one, other.name): (
            pings(lab.network[one].pid, str(other.ipv4)),
            pings(lab.network[one].pid, str(other.ipv6)),
        )
        for one in FROM
        for other in vms.values()
        if reaches(lab.topology, vms[one], other) and other.name != one
    }


def seen_among_tenants() -> dict[str, Any]:
    with laboratory(load_topology(topology_file("two_tenants"))) as lab:
        lab.network.await_addresses()
        seen: dict[str, Any] = {"before": matrix(lab)}
        pid = lab.network["vm1"].pid
        seen["unrouted"] = (pings(pid, "10.3.0.2"), pings(pid, "2001:db8:3::2"))
        seen["gateways"] = (pings(pid, "10.1.0.254"), pings(pid, "2001:db8:1::fe"))
        lab.move("vm1", "nve2", policy="buffer")
        lab.move("red1", "nve3", policy="buffer")
        twin = Capture(lab.network["red1"].pid, "eth0")
        at_vm = Capture(pid, "eth0")
        pings(lab.network["green2"].pid, "10.1.0.10")
        pings(lab.network["peer3"].pid, "10.1.0.10")
        seen["heard"] = (len(at_vm.frames()), len(twin.frames()))
        seen["after"] = matrix(lab)
        seen["unrouted after"] = (pings(pid, "10.3.0.2"), pings(pid, "2001:db8:3::2"))
        return seen


@pytest.fixture(scope="module")
def tenants() -> dict[str, Any]:
    found: dict[str, Any] = in_sandbox(seen_among_tenants, 90.0)
    return found


def test_networks_that_are_routed_reach_each_other_from_the_first_packet_on(tenants: dict[str, Any]) -> None:
    assert len(tenants["before"]) >= 12
    assert {pair: answers for pair, answers in tenants["before"].items() if answers != (2, 2)} == {}
    assert tenants["gateways"] == (2, 2)


def test_routing_follows_both_vms_with_the_same_addresses(tenants: dict[str, Any]) -> None:
    assert {pair: answers for pair, answers in tenants["after"].items() if answers != (2, 2)} == {}


def test_nothing_passes_between_networks_that_are_not_routed(tenants: dict[str, Any]) -> None:
    assert (tenants["unrouted"], tenants["unrouted after"]) == ((0, 0), (0, 0))


def test_a_packet_reaches_the_one_that_is_meant_and_not_its_twin(tenants: dict[str, Any]) -> None:
    at_vm, at_twin = tenants["heard"]
    assert at_vm >= 4
    assert at_twin == 0
