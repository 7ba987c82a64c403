"""The plain way between NVEs: which routers lead where for a VM's address, and that nothing of it stays."""

from emulation import plain
from emulation.plan import Plan
from topologies import load_topology, topology_file

PLAN = Plan(load_topology(topology_file("two_racks")))


def test_every_router_leads_to_the_new_nves_rack_and_that_one_to_its_plain_port():
    lines = plain.host_route_lines(PLAN, "10.1.0.10", "nve3")
    assert lines == {
        "rack1": ["route replace 10.1.0.10/32 via 100.64.0.1 dev to-spine1"],
        "rack2": [
            "neigh replace 10.1.0.10 lladdr 02:00:14:00:00:03 dev p-nve3 nud permanent",
            "route replace 10.1.0.10/32 dev p-nve3",
        ],
        "spine1": ["route replace 10.1.0.10/32 via 100.64.0.2 dev to-rack2"],
    }


def test_everything_that_was_added_is_taken_back():
    added, removed = (
        make(PLAN, "10.1.0.10", "nve2") for make in (plain.host_route_lines, plain.withdrawal_lines)
    )
    assert added.keys() == removed.keys()
    for router, lines in added.items():
        assert sum("route" in line for line in removed[router]) == sum("route" in line for line in lines)
        assert sum("neigh" in line for line in removed[router]) == sum("neigh" in line for line in lines)


def test_only_the_rack_of_an_nve_brings_its_port_up():
    assert plain.router_lines(PLAN, "rack1") == ["link set p-nve1 up", "link set p-nve2 up"]
    assert plain.router_lines(PLAN, "spine1") == []
