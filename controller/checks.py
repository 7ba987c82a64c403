"""What must be true of a whole mapping, beyond each entry by itself. Pure; every mistake is one line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network
from itertools import combinations

from controller.model import Outside, State, VirtualNetwork


def mistakes_in(state: State) -> Iterator[str]:
    """Yield what is wrong with networks, routes and outside taken together."""
    for network in state.networks.values():
        yield from _network(state, network)
    for vni, others in state.routes.items():
        network = state.networks[vni]
        if network.gateway is None:
            to = ", ".join(sorted(state.networks[other].name for other in others))
            yield f"routes: {network.name!r} is routed to {to} and has no gateway; give it one"
    yield from _plain_ports(state)
    # Two networks that a third is routed to must differ as well: it could not tell them apart.
    groups = {frozenset({vni, *others}) for vni, others in state.routes.items()}
    if state.outside is not None:
        groups.add(frozenset(state.outside.vnis))
        yield from _outside(state, state.outside)
    found = (mistake for group in groups for mistake in _overlaps(state, group))
    yield from sorted(set(found))


def _network(state: State, network: VirtualNetwork) -> Iterator[str]:
    path = f"network {network.name!r}"
    mine = [vm for vm in state.vms.values() if vm.vni == network.vni]
    server = network.dhcp_server
    if server is not None and server not in {vm.name for vm in mine}:
        yield f"{path}: dhcp_server {server!r} is no VM of this network"
    gateway = network.gateway
    if gateway is None:
        return
    if gateway.ipv4 is None and gateway.ipv6 is None:
        yield f"{path}: its gateway has no address; give ipv4 or ipv6"
    for vm in mine:
        for value in {vm.mac, vm.ipv4, vm.ipv6} & {gateway.mac, gateway.ipv4, gateway.ipv6} - {None}:
            yield f"{path}: {value} is the gateway's and VM {vm.name!r} has it too"


def _outside(state: State, outside: Outside) -> Iterator[str]:
    here = state.nves[outside.nve]
    if outside.port == here.tunnel_port:
        yield f"outside.port: {outside.port} is the tunnel port of {here.name!r}"
    for vm in state.vms.values():
        ports = dict(vm.ports).get(outside.nve)
        if ports is not None and outside.port in ports.numbers():
            yield f"outside.port: {outside.port} is a port of VM {vm.name!r} at {outside.nve!r}"
        if vm.vni in outside.vnis and vm.mac in (outside.mac, outside.next_hop_mac):
            yield f"outside: {vm.mac} is the MAC of VM {vm.name!r} as well"
    for vni in outside.vnis:
        if state.networks[vni].gateway is None:
            yield f"outside.networks: {state.networks[vni].name!r} has no gateway; give it one"


def _plain_ports(state: State) -> Iterator[str]:
    for nve in state.nves.values():
        if nve.plain is None:
            continue
        port = nve.plain.port
        taken = {
            n: vm.name
            for vm in state.vms.values()
            for at, p in vm.ports
            if at == nve.name
            for n in p.numbers()
        }
        outside = state.outside
        is_outside = outside is not None and outside.nve == nve.name and outside.port == port
        if port == nve.tunnel_port or port in taken or is_outside:
            yield f"NVE {nve.name!r}: plain.port {port} is used for something else there"


def _addresses(state: State, network: VirtualNetwork) -> set[str]:
    found = {a for vm in state.vms.values() if vm.vni == network.vni for a in (vm.ipv4, vm.ipv6)}
    if network.gateway is not None:
        found |= {network.gateway.ipv4, network.gateway.ipv6}
    return {address for address in found if address is not None}


def _overlaps(state: State, vnis: Iterable[int]) -> Iterator[str]:
    for one, other in combinations((state.networks[vni] for vni in sorted(vnis)), 2):
        pair = f"networks {one.name!r} and {other.name!r} must not overlap, they are routed to each other or a third"
        for a, b in ((one.subnet_v4, other.subnet_v4), (one.subnet_v6, other.subnet_v6)):
            if a is not None and b is not None and ip_network(a).overlaps(ip_network(b)):
                yield f"{pair}: subnets {a} and {b}"
        for address in sorted(_addresses(state, one) & _addresses(state, other)):
            yield f"{pair}: both have {address}"


def collapsed(subnets: Iterable[str]) -> tuple[str, ...]:
    """Return the subnets without those that lie in others, IPv4 first."""
    networks = [ip_network(subnet) for subnet in subnets]
    four = [n for n in networks if isinstance(n, IPv4Network)]
    six = [n for n in networks if isinstance(n, IPv6Network)]
    return tuple(str(n) for n in (*collapse_addresses(four), *collapse_addresses(six)))
