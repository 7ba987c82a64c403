"""Flows beside the traffic: leaks are counted, and experiments on several networks refuse what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from experiments.catalog import EXPERIMENTS
from experiments.running.beside import leaked_packets
from experiments.running.parameters import ParameterError, read_parameters, repetitions
from experiments.studies.tenants import flows
from tests.ipv4_only import without_ipv6
from tests.unit.test_probes_logs import received_log
from topologies import Topology, load_topology, topology_file

TENANTS = load_topology(topology_file("two_tenants"))


def values(name: str, *words: str) -> dict[str, Any]:
    return read_parameters(EXPERIMENTS.find(name).parameters, words)


def test_a_packet_of_another_flow_is_a_leak_while_the_window_is_open() -> None:
    second = 1_000_000_000
    rows = [(0, second, second + 1), (1, 2 * second, 2 * second + 1), (2, 3 * second, 3 * second + 1)]
    log = received_log(rows, stream=2)
    assert leaked_packets([(log, 2)], (0.0, 10.0)) == 0
    assert leaked_packets([(log, 1)], (0.0, 10.0)) == 3
    assert leaked_packets([(log, 1), (log, 2), (log, 7)], (1.5, 2.5)) == 2


def test_the_twins_flows_use_the_same_addresses_and_ports_as_the_vms_own() -> None:
    found = {flow.label: flow for flow in flows(values("tenants"), TENANTS)}
    vm, peer = TENANTS.vm("vm1"), TENANTS.vm("peer3")
    assert (found["to_twin"].address, found["from_twin"].address) == (str(vm.ipv4), str(peer.ipv4))
    assert found["to_twin"].port == found["from_twin"].port == 5001
    assert len({flow.stream for flow in found.values()} | {0}) == len(found) + 1
    assert [flow.label for flow in found.values() if flow.forbidden] == ["unrouted"]


def test_quick_asks_for_two_trials_at_most() -> None:
    assert repetitions(values("tenants", "quick=1")) == 2
    assert repetitions(values("tenants", "quick=1", "repeat=1")) == 1
    assert repetitions(values("tenants", "repeat=7")) == 7


@pytest.mark.parametrize(
    ("name", "words", "topology", "told"),
    [
        ("tenants", ["twin=peer1"], TENANTS, "twin=peer1: it must be a VM with vm1's addresses"),
        ("tenants", ["twin=nobody"], TENANTS, "twin=nobody"),
        (
            "tenants",
            ["routed=amber2"],
            TENANTS,
            "routed=amber2: it must be a VM in another network that is routed to vm1's (blue)",
        ),
        (
            "tenants",
            ["unrouted=green2"],
            TENANTS,
            "unrouted=green2: it must be a VM in another network that is not routed",
        ),
        ("l3-host-route", ["peer=amber2"], TENANTS, "peer=amber2: its network amber is not routed to vm1's"),
        ("l3-host-route", ["near=green2"], TENANTS, "near=green2: must be another VM of vm1's network blue"),
        ("l3-host-route", ["vm=peer1"], TENANTS, "peer1 is not pre-wired"),
        (
            "hot-l2-v6",
            [],
            without_ipv6("two_racks"),
            "vm=vm1: has no IPv6 address in topology two_racks",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_the_reason(
    name: str, words: list[str], topology: Topology, told: str
) -> None:
    with pytest.raises(ParameterError) as refused:
        EXPERIMENTS.find(name).check(values(name, *words), topology)
    assert told in str(refused.value)


@pytest.mark.parametrize("name", ["tenants", "l3-host-route"])
@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_the_shipped_topology_suits(name: str, family: str) -> None:
    EXPERIMENTS.find(name).check(values(name, f"family={family}"), TENANTS)
