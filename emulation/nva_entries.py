"""What the NVA is told of a network: the parameters of its northbound call ``configure``. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from emulation import addressing, outside, plain
from emulation.plan import TUNNEL_PORT, Plan
from topologies.model import Nve, Topology, Vm

OfPorts = Mapping[str, Mapping[str, int]]
"""NVE -> device -> the port number that Open vSwitch gave it."""


def configuration(
    topology: Topology,
    plan: Plan,
    ofports: OfPorts,
    location: Mapping[str, str],
    ports_of: Callable[[str], Mapping[str, Any]],
    *,
    nd_by_nva: bool = False,
) -> dict[str, Any]:
    """All parameters. ``location``: VM -> NVE; ``ports_of``: a VM's port numbers by NVE.

    ``nd_by_nva``: the NVEs' datapath cannot answer neighbour solicitations.
    """
    more: dict[str, Any] = {}
    beyond = topology.outside
    if routes := [list(pair) for pair in topology.routes]:
        more["routes"] = routes
    if beyond is not None:
        more["outside"] = outside.nva_entry(beyond, ofports[beyond.nve][outside.PORT])
    return {
        **more,
        "nves": [
            _nve(topology, plan, nve, ofports[nve.name]) | ({"nd_by_nva": True} if nd_by_nva else {})
            for nve in topology.nves
        ],
        "networks": [addressing.network_entry(network) for network in topology.virtual_networks],
        "vms": [_vm(topology, vm, location[vm.name], ports_of(vm.name)) for vm in topology.vms],
    }


def _nve(topology: Topology, plan: Plan, nve: Nve, ofports: Mapping[str, int]) -> dict[str, Any]:
    entry = {
        "name": nve.name,
        "dpid": plan.nve_number(nve.name),
        "underlay_ip": str(nve.underlay_ip),
        "tunnel_port": ofports[TUNNEL_PORT],
    }
    if topology.underlay.routes_tenants:
        entry["plain"] = plain.nva_entry(plan, nve.name, ofports[plain.PORT])
    return entry


def _vm(topology: Topology, vm: Vm, nve: str, ports: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": vm.name,
        "vni": topology.network_of(vm.name).vni,
        "mac": vm.mac,
        "ipv4": str(vm.ipv4),
        **({} if vm.ipv6 is None else {"ipv6": str(vm.ipv6)}),
        "nve": nve,
        "ports": ports,
    }
