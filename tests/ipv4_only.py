"""Topologies that are not shipped, made of those that are."""

from topologies import Topology, load_topology, topology_file


def without_ipv6(name: str) -> Topology:
    """A shipped topology, all IPv6 addresses left out."""
    made = load_topology(topology_file(name)).as_file()
    for network in made["virtual_networks"]:
        network.pop("subnet_v6", None)
        network.pop("gateway_v6", None)
    for vm in made["vms"]:
        vm.pop("ipv6", None)
    return Topology.model_validate(made)
