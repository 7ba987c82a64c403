"""Checks of virtual networks: tenant, VNI, MTU, gateway, DHCP server."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from topologies.draft import Draft, unknown
from topologies.fields import MTU_TOO_LARGE
from topologies.network import VirtualNetwork
from topologies.problems import Path, Problem, repeated, shown

TUNNEL_OVERHEAD_BYTES = 50
"""Inner Ethernet 14 + tunnel header 8 + UDP 8 + outer IPv4 20, of the outer IP packet.

VXLAN: RFC 7348 section 5. Geneve without options has a header of 8 bytes too: RFC 8926 section 3.4. The outer
Ethernet header is not part of an IP MTU.
"""


MIN_MTU_V6_BYTES = 1280
"""What every link that carries IPv6 must take (RFC 8200 section 5)."""


def check_networks(draft: Draft) -> Iterator[Problem]:
    """What is wrong with the virtual networks, each by itself."""
    for path, network in draft.networks.read:
        yield from unknown((*path, "tenant"), network.tenant, draft.tenants, "tenant")
    vnis = [((*path, "vni"), network.vni) for path, network in draft.networks.read]
    yield from repeated(vnis, "the VNI is used twice; every virtual network needs one of its own")
    yield from _mtus(draft)
    for path, network in draft.networks.read:
        yield from _gateway(path, network)
    yield from _dhcp_servers(draft)


def misplaced(
    address: IPv4Address | IPv6Address, subnet: IPv4Network | IPv6Network, network: str
) -> str | None:
    """Why an address cannot be that of a host in a virtual network's subnet (of the same family), or None."""
    if isinstance(subnet, IPv4Network):
        hosts = f"choose one from {subnet[1]} to {subnet[-2]}"
    else:
        hosts = f"choose one such as {subnet[16]}"
    if address not in subnet:
        return f"is outside {subnet}, the subnet of virtual network '{network}'; {hosts}"
    if isinstance(subnet, IPv4Network):
        if address == subnet.network_address:
            return f"is the network address of {subnet}; {hosts}"
        if address == subnet.broadcast_address:
            return f"is the broadcast address of {subnet}; {hosts}"
    elif address == subnet.network_address:
        return f"is the subnet-router anycast address of {subnet} (RFC 4291 section 2.6.1); {hosts}"
    return None


def _mtus(draft: Draft) -> Iterator[Problem]:
    for path, network in draft.networks.read:
        if network.subnet_v6 is not None and network.mtu_bytes < MIN_MTU_V6_BYTES:
            yield Problem(
                (*path, "mtu"),
                str(network.mtu_bytes),
                f"is too small for IPv6, which needs {MIN_MTU_V6_BYTES} bytes (RFC 8200 section 5); set it to at"
                f" least {MIN_MTU_V6_BYTES} or leave subnet_v6 out",
            )
    underlay_mtu, tunnel = draft.underlay_mtu_bytes, draft.tunnel
    if underlay_mtu is None or tunnel is None:
        return
    header = "VXLAN" if tunnel.encapsulation == "vxlan" else "Geneve"
    for path, network in draft.networks.read:
        needed = network.mtu_bytes + TUNNEL_OVERHEAD_BYTES
        if needed > underlay_mtu:
            yield Problem(
                (*path, "mtu"),
                str(network.mtu_bytes),
                f"does not fit into the tunnel: {network.mtu_bytes} + {TUNNEL_OVERHEAD_BYTES} (inner"
                f" Ethernet 14 + {header} 8 + UDP 8 + outer IPv4 20) = {needed} bytes, and underlay.mtu is"
                f" {underlay_mtu}; set this mtu to at most {underlay_mtu - TUNNEL_OVERHEAD_BYTES} or"
                f" underlay.mtu to at least {needed}",
                permit=MTU_TOO_LARGE,
            )


def _gateway(path: Path, network: VirtualNetwork) -> Iterator[Problem]:
    v4, v6 = network.gateway_v4, network.gateway_v6
    if v4 is not None and (wrong := misplaced(v4, network.subnet_v4, network.name)):
        yield Problem((*path, "gateway_v4"), f"'{v4}'", wrong)
    if v6 is None:
        return
    place, text = (*path, "gateway_v6"), f"'{v6}'"
    if network.subnet_v6 is None:
        yield Problem(place, text, "needs a subnet_v6 to be in; give one, or leave the key out")
    elif wrong := misplaced(v6, network.subnet_v6, network.name):
        yield Problem(place, text, wrong)
    elif v4 is None:
        yield Problem(
            place, text, "needs gateway_v4 beside it, because every VM has an IPv4 address; give both"
        )


def _dhcp_servers(draft: Draft) -> Iterator[Problem]:
    vms = {vm.name: vm for _, vm in draft.vms.read}
    for path, network in draft.networks.read:
        server = network.dhcp_server
        if server is None:
            continue
        place = (*path, "dhcp_server")
        yield from unknown(place, server, draft.vms, "VM")
        vm = vms.get(server)
        if vm is None:
            continue
        if vm.virtual_network != network.name:
            wrong = f"is a VM of virtual network {shown(vm.virtual_network)}; name a VM of '{network.name}'"
        elif vm.address == "dhcp":
            wrong = "has address: dhcp itself; give that VM address: static, or name another one"
        else:
            continue
        yield Problem(place, shown(server), wrong)
