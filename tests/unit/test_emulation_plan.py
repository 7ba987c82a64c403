"""The plan of a topology: unique addresses, names that fit, routes that lead everywhere and never in a circle."""

from __future__ import annotations

import itertools
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emulation import plain
from emulation.plan import Plan, router_interface
from emulation.underlay import link_lines
from emulation.wiring import DIRECT, REDIRECTED, Wiring, nve_device
from topologies import Topology, generated, load_topology, topology_file

GOOD = Path(__file__).parents[1] / "data" / "good_topologies"
INTERFACE_NAME_MAX = 15  # IFNAMSIZ is 16 with the closing zero (linux/if.h)


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """A connected underlay of up to 8 routers, racks and spines joined at random, with NVEs in the racks."""
    racks = [f"rack{number}" for number in range(draw(st.integers(1, 5)))]
    spines = [f"spine{number}" for number in range(draw(st.integers(0, 3)))]
    routers = draw(st.permutations([*racks, *spines]))
    tree = [(routers[draw(st.integers(0, i - 1))], routers[i]) for i in range(1, len(routers))]
    pairs = list(itertools.combinations(sorted(routers), 2))
    more = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=6)) if pairs else []
    links = {tuple(sorted(pair)) for pair in (*tree, *more)}
    places = draw(st.lists(st.sampled_from(racks), min_size=1, max_size=12))
    made: dict[str, Any] = {
        "name": "random",
        "underlay": {
            "racks": [{"name": name} for name in racks],
            "spines": [{"name": name} for name in spines],
            "links": [{"between": list(pair)} for pair in sorted(links)],
        },
        "nves": [
            {"name": f"nve{number}", "rack": rack, "underlay_ip": f"192.0.2.{number + 1}"}
            for number, rack in enumerate(places)
        ],
    }
    return Topology.model_validate(made)


def hops(plan: Plan, start: str, underlay_ip: str) -> list[str]:
    """The routers a packet passes by following the routes; AssertionError when it goes in a circle."""
    owner = {link.left_ip: link.left for link in plan.router_links}
    owner |= {link.right_ip: link.right for link in plan.router_links}
    nves = {access.link_ip: access.nve for access in plan.access_links.values()}
    here, passed = start, [start]
    while True:
        (route,) = (route for route in plan.routes(here) if route.to == underlay_ip)
        if route.via in nves:
            assert route.device == router_interface(nves[route.via])
            return [*passed, nves[route.via]]
        assert route.device == router_interface(owner[route.via])
        here = owner[route.via]
        assert here not in passed, f"a circle: {passed} {here}"
        passed.append(here)


def distance(topology: Topology, start: str, end: str) -> int:
    """Links between two routers, by the simplest search there is."""
    reached, count = {start}, 0
    while end not in reached:
        reached |= {
            b for one in topology.underlay.links for a, b in (one.between, one.between[::-1]) if a in reached
        }
        count += 1
        assert count < 100
    return count


@settings(max_examples=150)
@given(topologies())
def test_every_nve_is_reached_from_everywhere_the_shortest_way(topology: Topology) -> None:
    plan = Plan(topology)
    for nve in topology.nves:
        for router in plan.routers:
            passed = hops(plan, router, str(nve.underlay_ip))
            assert passed[-1] == nve.name
            assert len(passed) - 2 == distance(topology, router, nve.rack)


@settings(max_examples=100)
@given(topologies())
def test_every_address_is_given_once(topology: Topology) -> None:
    plan = Plan(topology)
    addresses = [address for link in plan.router_links for address in (link.left_ip, link.right_ip)]
    addresses += [ip for a in plan.access_links.values() for ip in (a.gateway_ip, a.link_ip, a.underlay_ip)]
    addresses += [plan.management_ip(nve.name) for nve in topology.nves] + [plan.nva_address]
    assert len(addresses) == len(set(addresses))
    macs = [mac for a in plan.access_links.values() for mac in (a.gateway_mac, a.underlay_mac)]
    assert len(macs) == len(set(macs))
    assert all(mac.startswith("02:00:1") for mac in macs)
    assert [plan.nve_number(nve.name) for nve in topology.nves] == list(range(1, len(topology.nves) + 1))


@pytest.mark.parametrize("number", [1, 999])
@pytest.mark.parametrize("vm", ["v", "vm1", "ninechars", "a-b-c-d-e", "trunk-client-a1", "x" * 15])
def test_interface_names_fit_and_differ(vm: str, number: int) -> None:
    lines = [*Wiring.device_lines(vm, 7, "02:00:00:00:00:0a", 1450), *Wiring.leg_lines(vm, number, 8, 1450)]
    here = [words[2] for words in map(str.split, lines) if words[:2] == ["link", "add"]]
    here += [
        line.split(" peer name ")[1].split()[0]
        for line in lines
        if " peer name " in line and "netns" not in line
    ]
    assert len(here) >= 3, lines
    there = [
        nve_device(vm, DIRECT),
        nve_device(vm, REDIRECTED),
        router_interface(vm),
        plain.router_device(vm),
    ]
    for names in (here, there):
        assert len(names) == len(set(names))
        assert max(map(len, names)) <= INTERFACE_NAME_MAX, names


def test_names_as_long_as_linux_allows_stay_apart_in_every_namespace() -> None:
    topology = load_topology(GOOD / "own_blocks.yaml")
    pids = {name: number for number, name in enumerate(topology.routers)}
    pids |= {nve.name: 100 + number for number, nve in enumerate(topology.nves)}
    made: list[tuple[str, str]] = []
    for words in map(str.split, link_lines(topology, Plan(topology), pids)):
        if words[:2] == ["link", "add"]:
            here = words[words.index("netns") + 1] if "netns" in words[: words.index("type")] else "sandbox"
            made += [(here, words[2]), (words[-1], words[words.index("name") + 1])]
    assert len(made) == 2 * (2 + 2 * 3)
    assert len(set(made)) == len(made)
    assert all(len(device) <= INTERFACE_NAME_MAX for _, device in made)


def test_own_addresses_give_way_to_the_topology() -> None:
    topology = load_topology(GOOD / "own_blocks.yaml")
    plan = Plan(topology)
    assert (str(plan.blocks.management), str(plan.blocks.links)) == ("100.66.0.0/16", "100.67.0.0/16")
    used = [ip_address(nve.underlay_ip) for nve in topology.nves]
    used += [client.ipv4 for client in (topology.outside.clients if topology.outside else ())]
    assert not any(address in plan.blocks.links for address in used)
    assert not any(nve.underlay_ip in plan.blocks.management for nve in topology.nves)
    assert all(ip_address(one.link_ip) in plan.blocks.links for one in plan.access_links.values())
    assert ip_address(plan.outside_address(2)) in plan.blocks.links
    assert ip_address(plan.nva_address) in plan.blocks.management


def test_two_racks_in_numbers() -> None:
    plan = Plan(load_topology(topology_file("two_racks")))
    assert [(one.left, one.left_ip, one.right, one.right_ip) for one in plan.router_links] == [
        ("rack1", "100.64.0.0", "spine1", "100.64.0.1"),
        ("rack2", "100.64.0.2", "spine1", "100.64.0.3"),
    ]
    nve3 = plan.access_links["nve3"]
    assert (nve3.router, nve3.gateway_ip, nve3.link_ip) == ("rack2", "100.64.0.8", "100.64.0.9")
    assert plan.management_ip("nve3") == "10.255.0.4"
    ways = {(route.to, route.device, route.via) for route in plan.routes("rack1")}
    assert ways == {
        ("192.0.2.1", "to-nve1", "100.64.0.5"),
        ("192.0.2.2", "to-nve2", "100.64.0.7"),
        ("192.0.2.3", "to-spine1", "100.64.0.1"),
    }
    # 3 uplinks, 3 peers with one port each, vm1 with two legs to each of three NVEs, a plain port at each NVE.
    assert plan.port_count() == 3 + 3 + 6 + 3


def test_a_hundred_nves_are_planned() -> None:
    plan = Plan(generated(nves=100, vms=200, racks=10))
    assert plan.management_ip("nve100") == "10.255.0.101"
    assert plan.port_count() == 300
    assert hops(plan, "rack1", plan.access_links["nve10"].underlay_ip) == [
        "rack1",
        "spine1",
        "rack10",
        "nve10",
    ]
