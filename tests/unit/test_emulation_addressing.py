"""What VMs' interfaces are given and what the NVA is told of addresses."""

from controller.config import state_from_config
from emulation.addressing import GATEWAY_MAC, ipv6_addresses, link_local, network_entry, vm_lines
from tests.ipv4_only import without_ipv6
from topologies import Topology, load_topology, topology_file


def shipped(name: str) -> Topology:
    return load_topology(topology_file(name))


def test_a_vm_without_ipv6_gets_ipv4_alone() -> None:
    topology = without_ipv6("two_racks")
    vm = topology.vm("vm1")
    assert vm_lines(topology, vm) == ["link set lo up", "addr add 10.1.0.10/24 dev eth0", "link set eth0 up"]
    assert ipv6_addresses(vm) == ()


def test_a_dual_stack_vm_gets_both_and_both_ways_out() -> None:
    topology = shipped("two_tenants")
    assert vm_lines(topology, topology.vm("green2")) == [
        "link set lo up",
        "addr add 10.2.0.2/24 dev eth0",
        "addr add 2001:db8:2::2/64 dev eth0",
        "link set eth0 up",
        "route add 0.0.0.0/0 via 10.2.0.254 dev eth0",
        "route add ::/0 via 2001:db8:2::fe dev eth0",
    ]


def test_a_vm_that_leases_its_address_starts_without_it() -> None:
    topology = shipped("dhcp")
    lines = vm_lines(topology, topology.vm("vm1"))
    assert not any("10.1.0" in line for line in lines)
    assert "addr add 2001:db8:1::10/64 dev eth0" in lines


def test_both_sides_make_the_same_link_local_address() -> None:
    """RFC 4291 appendix A: 34-56-78-9A-BC-DE with the universal bit inverted and ff:fe in the middle."""
    assert link_local("34:56:78:9a:bc:de") == "fe80::3656:78ff:fe9a:bcde"


def test_the_nva_accepts_what_it_is_told_of_networks() -> None:
    topology = shipped("two_tenants")
    networks = [network_entry(network) for network in topology.virtual_networks]
    state = state_from_config(
        {"nves": [], "networks": networks, "vms": [], "routes": [list(pair) for pair in topology.routes]}, 1
    )
    assert {network.gateway.mac for network in state.networks.values() if network.gateway} == {GATEWAY_MAC}
    assert network_entry(shipped("two_racks").virtual_networks[0]) == {"name": "blue", "vni": 5001}
