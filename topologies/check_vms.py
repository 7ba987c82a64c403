"""Checks of VMs: where they are, their addresses, their wires."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address

from topologies.addresses import derived_mac
from topologies.check_networks import misplaced
from topologies.draft import Draft, unknown
from topologies.network import VirtualNetwork, Vm
from topologies.problems import Path, Problem, listed, repeated


def check_vms(draft: Draft) -> Iterator[Problem]:
    """What is wrong with the VMs."""
    networks = {network.name: network for _, network in draft.networks.read}
    for path, vm in draft.vms.read:
        yield from unknown((*path, "virtual_network"), vm.virtual_network, draft.networks, "virtual network")
        yield from unknown((*path, "nve"), vm.nve, draft.nves, "NVE")
        network = networks.get(vm.virtual_network)
        if network is None:
            continue
        yield from _misplaced(path, vm, network)
        if vm.address == "dhcp" and network.dhcp_server is None:
            yield Problem(
                (*path, "address"),
                "'dhcp'",
                f"virtual network '{network.name}' has no dhcp_server; name one of its VMs there, or write static",
            )
    yield from _addresses_used_twice(draft)
    yield from _macs(draft)
    yield from _prewired(draft)
    yield from _names_of_legs(draft)


def _misplaced(path: Path, vm: Vm, network: VirtualNetwork) -> Iterator[Problem]:
    if wrong := misplaced(vm.ipv4, network.subnet_v4, network.name):
        yield Problem((*path, "ipv4"), f"'{vm.ipv4}'", wrong)
    if vm.ipv6 is None:
        return
    if network.subnet_v6 is None:
        wrong = f"virtual network '{network.name}' has no subnet_v6; give it one, or leave ipv6 out"
    else:
        wrong = misplaced(vm.ipv6, network.subnet_v6, network.name)
    if wrong:
        yield Problem((*path, "ipv6"), f"'{vm.ipv6}'", wrong)


def _addresses_used_twice(draft: Draft) -> Iterator[Problem]:
    """Addresses of VMs that another VM of the network or its gateway has."""
    gateways: dict[tuple[str, IPv4Address | IPv6Address | None], Path] = {}
    for path, network in draft.networks.read:
        gateways[network.name, network.gateway_v4] = (*path, "gateway_v4")
        gateways[network.name, network.gateway_v6] = (*path, "gateway_v6")
    others = []
    for path, vm in draft.vms.read:
        for key, address in (("ipv4", vm.ipv4), ("ipv6", vm.ipv6)):
            place, value = (*path, key), (vm.virtual_network, address)
            if address is None:
                continue
            if value in gateways:
                allowed = f"is the gateway of virtual network '{vm.virtual_network}'; choose another one"
                yield Problem(place, f"'{address}'", allowed, first=gateways[value])
            else:
                others.append((place, value))
    yield from repeated(
        others, "the address is used twice; VMs of a virtual network must have different ones"
    )


def _macs(draft: Draft) -> Iterator[Problem]:
    # A repeated address gives the same derived MAC: that is told once, at the address.
    derived: set[tuple[str, str]] = set()
    macs = []
    for path, vm in draft.vms.read:
        value = (vm.virtual_network, vm.mac)
        if vm.mac == derived_mac(vm.virtual_network, vm.ipv4):
            if value in derived:
                continue
            derived.add(value)
        macs.append(((*path, "mac"), value))
    yield from repeated(macs, "the MAC is used twice; VMs of a virtual network must have different ones")


def _prewired(draft: Draft) -> Iterator[Problem]:
    """A list must name the VM's own NVE: it says where the legs are, and a move begins at that one."""
    for path, vm in draft.vms.read:
        if vm.prewired == "all" or not vm.prewired:
            continue
        place = (*path, "prewired")
        for index, name in enumerate(vm.prewired):
            yield from unknown((*place, index), name, draft.nves, "NVE")
        yield from repeated(
            [((*place, index), name) for index, name in enumerate(vm.prewired)],
            "the NVE is in the list twice",
        )
        if vm.nve not in vm.prewired:
            yield Problem(
                place,
                f"[{listed(vm.prewired)}]",
                f"lacks '{vm.nve}', the NVE that the VM starts on; add it, or write all",
            )


def _names_of_legs(draft: Draft) -> Iterator[Problem]:
    """A pre-wired VM has a second port at every NVE, named after it; no VM may have that name."""
    legs = {f"{vm.name}-r": vm.name for _, vm in draft.vms.read if vm.prewired}
    for path, vm in draft.vms.read:
        if vm.name in legs:
            allowed = f"is the name of the second port of pre-wired VM '{legs[vm.name]}'; choose another name"
            yield Problem((*path, "name"), f"'{vm.name}'", allowed)
