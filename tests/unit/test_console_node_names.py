"""Which address a node's name stands for, from where; nothing runs behind it."""

from __future__ import annotations

import pytest

from emulation.plan import Plan
from experiments.console.node_names import UnclearNameError, names_with_addresses, with_addresses
from experiments.console.traffic import pairs_in_groups
from topologies import load_topology, topology_file
from topologies.model import Topology

OUTSIDE, TENANTS = (load_topology(topology_file(name)) for name in ("outside", "two_tenants"))


def written(topology: Topology, node: str, command: str, own: set[str] | None = None) -> str:
    return with_addresses(topology, Plan(topology), node, command, own or {"eth0"})


def test_every_node_has_an_address() -> None:
    everybody = {
        "vm1",
        "peer1",
        "peer2",
        "client1",
        "internet",
        "nve1",
        "nve2",
        "nve3",
        "rack1",
        "rack2",
        "spine1",
    }
    assert names_with_addresses(OUTSIDE, Plan(OUTSIDE)) == everybody


@pytest.mark.parametrize(
    ("node", "command", "meant"),
    [
        ("vm1", "ping -c 1  client1", "ping -c 1  203.0.113.10"),
        ("client1", "ping vm1", "ping 10.1.0.10"),
        ("client1", "ping -6 vm1", "ping -6 2001:db8:1::10"),
        ("vm1", "ping6 client1", "ping6 2001:db8:ff::10"),
        ("vm1", "ping nve1", "ping 192.0.2.1"),
        ("rack1", "ping spine1", "ping 100.64.0.1"),  # a router's address is that of the link between the two
        ("rack2", "ping spine1", "ping 100.64.0.3"),
        ("nve1", "ping rack1", "ping 100.64.0.4"),
        ("vm1", "ping rack1", "ping 100.64.0.0"),
        ("client1", "ping internet", "ping 100.64.0.12"),
        ("nve3", "ping internet", "ping 100.64.0.10"),
        ("vm1", "vm1 vm1", "vm1 10.1.0.10"),  # the first word is a command
        ("vm1", "ls /run/peer1 peer1x", "ls /run/peer1 peer1x"),
    ],
)
def test_a_name_is_the_address_it_has_from_there(node: str, command: str, meant: str) -> None:
    assert written(OUTSIDE, node, command) == meant


def test_at_an_nve_the_names_of_its_ports_stay() -> None:
    own = {"up0", "vm1", "peer1"}
    assert written(OUTSIDE, "nve1", "tcpdump -i vm1 -c 1", own) == "tcpdump -i vm1 -c 1"
    assert written(OUTSIDE, "nve1", "ip link show peer2", own) == "ip link show 10.1.0.2"
    assert written(OUTSIDE, "nve1", "ping vm1", own) == "ping 10.1.0.10"


@pytest.mark.parametrize(
    ("node", "command", "meant"),
    [
        ("vm1", "ping peer3", "ping 10.1.0.3"),
        ("red1", "ping red3", "ping 10.1.0.3"),
        ("vm1", "ping green2", "ping 10.2.0.2"),
        ("green2", "ping amber2", "ping 10.3.0.2"),
        ("vm1", "ping amber2", "ping 10.3.0.2"),  # apart, but nobody else has it: a test of the separation
        ("nve1", "ping red1", "ping 10.1.0.10"),
    ],
)
def test_an_address_of_two_tenants_is_right_from_its_own(node: str, command: str, meant: str) -> None:
    assert written(TENANTS, node, command) == meant


@pytest.mark.parametrize(
    ("node", "command", "said"),
    [
        ("vm1", "ping red3", "where 10.1.0.3 is the address of peer3; write 10.1.0.3"),
        ("red1", "ping peer3", "network blue of tenant acme is apart from network red of tenant umbrella"),
        ("vm1", "ping red1", "10.1.0.10 is its own address"),
        ("green2", "ping red3", "10.1.0.3 is the address of peer3"),
        ("vm1", "ping -6 red3", "2001:db8:1::3 is the address of peer3"),
        ("vm1", "ping -6 nve1", "nve1 has no IPv6 address"),
    ],
)
def test_a_name_that_would_mislead_is_refused(node: str, command: str, said: str) -> None:
    with pytest.raises(UnclearNameError, match=said):
        written(TENANTS, node, command)


def test_everybody_pings_whom_it_may_reach() -> None:
    groups = {title: len(pairs) for title, pairs in pairs_in_groups(OUTSIDE).items()}
    assert groups == {"network blue": 6, "to and from clients outside": 6}
    groups = {title: len(pairs) for title, pairs in pairs_in_groups(TENANTS).items()}
    between = "between networks that are routed to each other"
    # blue's three with green2, red's two with amber2, green2 with amber2; each both ways.
    assert groups == {"network blue": 6, "network red": 2, between: 6 + 4 + 2}
