"""Which address the name of a node stands for in a command that another node runs. Pure.

A name is an address only from somewhere: tenants may use the same ones, and a router has one on each of its links.
"""

from __future__ import annotations

import ipaddress
import re

from emulation import outside
from emulation.plan import Plan
from experiments.running.laboratory import reaches
from topologies.model import Client, Topology, Vm

Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_VERSION_6 = re.compile(r"-6|\w+6")  # ping -6, but also ping6, traceroute6


class UnclearNameError(Exception):
    """From this node the name's address is somebody else's, or there is none; says what to write."""


def with_addresses(topology: Topology, plan: Plan, node: str, command: str, own_devices: set[str]) -> str:
    """A node's command with every name of another one replaced by the address that it has from there.

    The blanks stay as they are. ``own_devices``: interfaces of the node; an NVE's are named after VMs, so that there
    such a word is left as it is, but for commands that talk to hosts. UnclearNameError for a name that would mislead.
    """
    first, *rest = re.split(r"( +)", command)
    version = 6 if any(_VERSION_6.fullmatch(word) for word in (first, *rest)) else 4
    kept = set() if first.rpartition("/")[2] in ("ping", "ping6", "traceroute", "tracepath") else own_devices
    names = names_with_addresses(topology, plan)
    return "".join(
        [first]
        + [
            address_from(topology, plan, node, word, version) if word in names and word not in kept else word
            for word in rest
        ]
    )


def names_with_addresses(topology: Topology, plan: Plan) -> set[str]:
    """Every name of a node that has an address: VMs, clients outside, NVEs, routers."""
    return {*_hosts(topology), *plan.access_links, *_router_addresses(topology, plan)}


def address_from(topology: Topology, plan: Plan, node: str, name: str, version: int = 4) -> str:
    """The address of ``name`` (one of `names_with_addresses`) for what ``node`` sends. UnclearNameError."""
    hosts = _hosts(topology)
    if name not in hosts:
        if version == 6:
            raise UnclearNameError(f"{name} has no IPv6 address; the underlay is IPv4 only")
        if name in plan.access_links:
            return plan.access_links[name].underlay_ip
        addresses = _router_addresses(topology, plan)[name]
        return addresses.get(node) or next(iter(addresses.values()))
    target = hosts[name]
    address = _address(target, version)
    if address is None:
        raise UnclearNameError(f"{name} has no IPv6 address in topology {topology.name}")
    if node in hosts and node != name and not _reaches(topology, hosts[node], target):
        for other in hosts.values():
            own = other.name == node
            if _address(other, version) == address and (own or _reaches(topology, hosts[node], other)):
                whose = "its own address" if own else f"the address of {other.name}"
                raise UnclearNameError(
                    f"{node} cannot reach {name}: {_place(topology, target)} is apart from "
                    f"{_place(topology, hosts[node])}, where {address} is {whose}; write {address} if that one is meant"
                )
    return str(address)


def _hosts(topology: Topology) -> dict[str, Vm | Client]:
    beyond = topology.outside
    found: dict[str, Vm | Client] = {vm.name: vm for vm in topology.vms}
    return found | {client.name: client for client in (() if beyond is None else beyond.clients)}


def _address(host: Vm | Client, version: int) -> Ip | None:
    return host.ipv4 if version == 4 else host.ipv6


def _reaches(topology: Topology, one: Vm | Client, other: Vm | Client) -> bool:
    if isinstance(one, Vm) and isinstance(other, Vm):
        return reaches(topology, one, other)
    within = () if topology.outside is None else topology.outside.reaches
    return all(isinstance(end, Client) or end.virtual_network in within for end in (one, other))


def _place(topology: Topology, host: Vm | Client) -> str:
    if isinstance(host, Client):
        return "the outside"
    network = topology.network_of(host.name)
    return f"network {network.name} of tenant {network.tenant}"


def _router_addresses(topology: Topology, plan: Plan) -> dict[str, dict[str, str]]:
    """Router -> who is at the other end of a link -> the router's address there."""
    found: dict[str, dict[str, str]] = {name: {} for name in plan.routers}
    for link in plan.router_links:
        found[link.left][link.right] = link.left_ip
        found[link.right][link.left] = link.right_ip
    for access in plan.access_links.values():
        found[access.router][access.nve] = access.gateway_ip
    if topology.outside is not None:
        found[outside.ROUTER] = dict(outside.router_addresses(plan, topology.outside))
    return {name: addresses for name, addresses in found.items() if addresses}
