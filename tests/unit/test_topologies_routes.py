"""Who is routed to whom, and that an address is never ambiguous where it is."""

from ipaddress import IPv4Network
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topologies import (
    Topology,
    UnknownNameError,
    VirtualNetwork,
    check_topology,
    load_topology,
    topology_file,
)

SUBNETS = ("10.0.0.0/8", "10.1.0.0/24", "10.1.0.0/25", "10.1.0.128/25", "10.2.0.0/24", "192.168.0.0/24")
SUBNETS_V6 = (None, "2001:db8:1::/64", "2001:db8:2::/64")


@pytest.fixture
def tenants() -> Topology:
    return load_topology(topology_file("two_tenants"))


@pytest.mark.parametrize(
    ("one", "other", "routed"),
    [
        ("blue", "green", True),
        ("red", "amber", True),
        ("green", "amber", True),
        ("blue", "red", False),
        ("blue", "amber", False),
        ("green", "red", False),
        ("blue", "blue", False),
    ],
)
def test_may_route(tenants: Topology, one: str, other: str, routed: bool) -> None:
    assert tenants.may_route(one, other) is tenants.may_route(other, one) is routed
    assert tenants.may_route(tenants.network(one), tenants.network(other)) is routed


def test_nothing_is_routed_without_a_gateway(tenants: Topology) -> None:
    values = tenants.as_file()
    values["virtual_networks"][1].update(gateway_v4=None, gateway_v6=None)
    topology = Topology.model_validate(values)
    assert not topology.may_route("blue", "green")
    assert not topology.may_route("green", "amber")
    assert [str(problem) for problem in check_topology(topology)] == [
        "routed_between[0]: [amber, green]: 'green' has no gateway_v4, and routing goes through the gateway of"
        " the network; give it one"
    ]


def test_may_route_of_an_unknown_network(tenants: Topology) -> None:
    with pytest.raises(
        UnknownNameError, match=r"^there is no virtual network 'gren'; did you mean 'green'\?"
    ):
        tenants.may_route("blue", "gren")


@st.composite
def routed(draw: st.DrawFn) -> Topology:
    """Up to six networks of three tenants with gateways here and there, pairs that are sound, and a client."""
    networks: list[dict[str, Any]] = []
    for number in range(draw(st.integers(1, 6))):
        network = {"name": f"net{number}", "tenant": draw(st.sampled_from("abc")), "vni": number + 1}
        network["subnet_v4"] = subnet = draw(st.sampled_from(SUBNETS))
        network["subnet_v6"] = subnet_v6 = draw(st.sampled_from(SUBNETS_V6))
        if draw(st.integers(0, 4)):
            network["gateway_v4"] = str(IPv4Network(subnet)[9])
            if subnet_v6 is not None and draw(st.booleans()):
                network["gateway_v6"] = subnet_v6.split("/")[0] + "1"
        networks.append(network)
    routable = [network for network in networks if "gateway_v4" in network]
    possible = [
        [one["name"], other["name"]]
        for one, other in combinations(routable, 2)
        if one["tenant"] != other["tenant"]
    ]
    values: dict[str, Any] = {
        "name": "t",
        "underlay": {"racks": [{"name": "rack1"}]},
        "nves": [{"name": "nve1", "rack": "rack1", "underlay_ip": "192.0.2.1"}],
        "tenants": [{"name": name} for name in "abc"],
        "virtual_networks": networks,
    }
    if possible:
        pairs = draw(st.lists(st.sampled_from(possible), max_size=4, unique_by=tuple))
        values["routed_between"] = [pair[:: draw(st.sampled_from((1, -1)))] for pair in pairs]
    if routable and draw(st.booleans()):
        reached = draw(st.lists(st.sampled_from([one["name"] for one in routable]), min_size=1, unique=True))
        clients = [{"name": "client1", "ipv4": "203.0.113.10"}]
        values["outside"] = {"nve": "nve1", "reaches": reached, "clients": clients}
    return Topology.model_validate(values)


def overlap(one: VirtualNetwork, other: VirtualNetwork, *, with_v6: bool) -> bool:
    """Whether an address of one that packets are routed to may be the other's as well."""
    if with_v6 and one.gateway_v6 and other.gateway_v6 and one.subnet_v6 == other.subnet_v6:
        return True
    return one.subnet_v4.overlaps(other.subnet_v4)


def ambiguous(topology: Topology) -> bool:
    """By trying everything: somebody reaches two networks that overlap, or one that overlaps its own."""
    beyond = () if topology.outside is None else topology.outside.reaches
    reached = [(True, [topology.network(name) for name in beyond])]
    for here in topology.virtual_networks:
        there = [other for other in topology.virtual_networks if topology.may_route(here, other)]
        # A network without an IPv6 gateway sends no IPv6 anywhere, so it cannot tell there who is meant.
        reached.append((here.gateway_v6 is not None, [here, *there]))
    return any(
        overlap(*pair, with_v6=with_v6) for with_v6, networks in reached for pair in combinations(networks, 2)
    )


@settings(max_examples=400)
@given(routed())
def test_ambiguous_addresses_are_told_and_nothing_else(topology: Topology) -> None:
    problems = [str(problem) for problem in check_topology(topology)]
    assert bool(problems) == ambiguous(topology), problems
    assert all("overlap" in problem for problem in problems)
    assert len(set(problems)) == len(problems)
