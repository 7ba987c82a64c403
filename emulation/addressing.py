"""What a VM's interface is given, and what the NVA is told of addresses. Pure.

A VM without an IPv6 address speaks no IPv6 at all. One with an address has a link-local one too, asks for duplicates
of both (RFC 4862 section 5.4) and joins its multicast groups, as any host does; nothing else in a sandbox does.
"""

from __future__ import annotations

from typing import Any

from topologies.model import Topology, VirtualNetwork, Vm
from wire.nd import link_local

GATEWAY_MAC = "02:00:12:00:00:01"
"""The anycast gateway's MAC, the same at every NVE and in every network."""


def ipv6_addresses(vm: Vm) -> tuple[str, ...]:
    """All IPv6 addresses of a VM, its own and the link-local one; empty for a VM that speaks none."""
    return () if vm.ipv6 is None else (str(vm.ipv6), link_local(vm.mac))


def vm_lines(topology: Topology, vm: Vm) -> list[str]:
    """``ip -batch`` lines for a VM's namespace: addresses, then the ways out of its subnets."""
    network = topology.network_of(vm)
    lines = ["link set lo up"]
    if vm.address == "static":
        lines.append(f"addr add {vm.ipv4}/{network.subnet_v4.prefixlen} dev eth0")
    if vm.ipv6 is not None and network.subnet_v6 is not None:
        lines.append(f"addr add {vm.ipv6}/{network.subnet_v6.prefixlen} dev eth0")
    lines.append("link set eth0 up")
    if network.gateway_v4 is not None and vm.address == "static":
        lines.append(f"route add 0.0.0.0/0 via {network.gateway_v4} dev eth0")
    if network.gateway_v6 is not None and vm.ipv6 is not None:
        lines.append(f"route add ::/0 via {network.gateway_v6} dev eth0")
    return lines


def network_entry(network: VirtualNetwork) -> dict[str, Any]:
    """A network as the NVA's ``configure`` has it."""
    entry: dict[str, Any] = {"name": network.name, "vni": network.vni}
    if network.gateway_v4 is not None:
        entry["gateway"] = {
            "mac": GATEWAY_MAC,
            "ipv4": str(network.gateway_v4),
            "ipv6": None if network.gateway_v6 is None else str(network.gateway_v6),
        }
        entry["subnet_v4"] = str(network.subnet_v4)
        entry["subnet_v6"] = None if network.subnet_v6 is None else str(network.subnet_v6)
    if network.dhcp_server is not None:
        entry["dhcp_server"] = network.dhcp_server
    return entry


def tentative(if_inet6: str) -> list[str]:
    """The interfaces with an address that may not be used yet, from /proc/net/if_inet6 (flag IFA_F_TENTATIVE)."""
    rows = [line.split() for line in if_inet6.splitlines()]
    return [name for _, _, _, _, flags, name in rows if int(flags, 16) & 0x40]
