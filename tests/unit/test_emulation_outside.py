"""The world outside: addresses of its own, routes to what it reaches, nothing about NVEs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from controller.config import state_from_config
from emulation.addressing import network_entry
from emulation.outside import ROUTER, client_lines, link_lines, nva_entry, router_lines
from emulation.plan import Plan
from experiments.catalog import EXPERIMENTS
from experiments.running.parameters import ParameterError, read_parameters
from topologies import Outside, Topology, load_topology, topology_file

TOPOLOGY = load_topology(topology_file("outside"))


def outside() -> Outside:
    assert TOPOLOGY.outside is not None
    return TOPOLOGY.outside


def test_the_links_outside_use_addresses_that_the_underlay_does_not() -> None:
    plan = Plan(TOPOLOGY)
    used = {ip for link in plan.router_links for ip in (link.left_ip, link.right_ip)}
    used |= {ip for link in plan.access_links.values() for ip in (link.gateway_ip, link.link_ip)}
    lines = [
        *router_lines(TOPOLOGY, Plan(TOPOLOGY), outside()),
        *client_lines(Plan(TOPOLOGY), outside(), outside().clients[0]),
    ]
    found = set(re.findall(r"100\.64\.\d+\.\d+", "\n".join(lines)))
    assert len(found) == 3
    assert not found & used


def test_the_router_knows_subnets_and_a_client_only_its_router() -> None:
    lines = router_lines(TOPOLOGY, Plan(TOPOLOGY), outside())
    assert any(re.fullmatch(r"route add 10\.1\.0\.0/24 via 100\.64\S+ dev to-nve3", line) for line in lines)
    assert "route add 2001:db8:1::/64 via fe80::1 dev to-nve3" in lines
    client = client_lines(Plan(TOPOLOGY), outside(), outside().clients[0])
    assert "addr add 203.0.113.10/32 dev eth0" in client
    assert not any("10.1.0" in line or "02:00:13" in line for line in client)


def test_the_link_to_the_nve_takes_what_the_smallest_network_behind_it_takes() -> None:
    pids = {name: number for number, name in enumerate(("nve3", ROUTER, "client1"), start=10)}
    first, second = link_lines(TOPOLOGY, outside(), pids)
    assert first.count("mtu 1450") == 2
    assert second.count("mtu 1500") == 2


def test_the_nva_accepts_what_it_is_told_of_the_outside() -> None:
    nve = {"name": "nve3", "dpid": 3, "underlay_ip": "192.0.2.3", "tunnel_port": 1}
    networks = [network_entry(network) for network in TOPOLOGY.virtual_networks]
    config = {"nves": [nve], "networks": networks, "vms": [], "outside": nva_entry(outside(), 7)}
    state = state_from_config(config, 1)
    assert state.outside is not None
    assert (state.outside.port, state.outside.subnets) == (7, ("0.0.0.0/0", "::/0"))


@pytest.mark.parametrize(
    ("words", "topology", "told"),
    [
        (["peer=peer1"], TOPOLOGY, "peer=peer1: is no client outside in topology outside (clients: client1)"),
        (
            [],
            load_topology(topology_file("two_racks")),
            "peer=client1: is no client outside in topology two_racks",
        ),
        (["vm=peer1"], TOPOLOGY, "peer1 is not pre-wired"),
    ],
)
def test_external_client_refuses_what_cannot_be(words: list[str], topology: Topology, told: str) -> None:
    experiment = EXPERIMENTS.find("external-client")
    values: dict[str, Any] = read_parameters(experiment.parameters, words)
    with pytest.raises(ParameterError) as refused:
        experiment.check(values, topology)
    assert told in str(refused.value)
