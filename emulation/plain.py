"""The plain way between NVEs: a second port to the rack's router, and host routes for a VM. Pure: command lines.

An NVE with the old-NVE policy `forward` sends an IPv4 packet out here as it is, without an overlay header. The routers
take it to the new NVE by a host route for the VM's address; so it needs an underlay that routes tenants' addresses
(`underlay.routes_tenants`), and an address that is one VM's alone. The underlay is IPv4 only.
"""

from __future__ import annotations

from typing import Any

from emulation.plan import Plan, Route
from topologies.names import interface_name

PORT = "plain0"
_MAC, _NEXT_HOP_MAC = "02:00:14:00:00", "02:00:15:00:00"


def router_device(nve: str) -> str:
    """The router's end of an NVE's plain port."""
    return interface_name(nve, before="p-")


def mac(plan: Plan, nve: str) -> str:
    """The address of an NVE's plain port."""
    return f"{_MAC}:{plan.nve_number(nve) & 255:02x}"


def next_hop_mac(plan: Plan, nve: str) -> str:
    """The address of the router's end."""
    return f"{_NEXT_HOP_MAC}:{plan.nve_number(nve) & 255:02x}"


def link_line(plan: Plan, nve: str, nve_pid: int, router_pid: int, mtu_bytes: int) -> str:
    """``ip -batch`` line for the link; both ends are still down."""
    return (
        f"link add {router_device(nve)} mtu {mtu_bytes} address {next_hop_mac(plan, nve)} netns {router_pid} "
        f"type veth peer name {PORT} mtu {mtu_bytes} netns {nve_pid}"
    )


def router_lines(plan: Plan, router: str) -> list[str]:
    """``ip -batch`` lines for a rack's router: its ends up."""
    return [
        f"link set {router_device(access.nve)} up"
        for access in plan.access_links.values()
        if access.router == router
    ]


def nva_entry(plan: Plan, nve: str, port_number: int) -> dict[str, Any]:
    """An NVE's plain port as the NVA's ``configure`` has it."""
    return {"port": port_number, "mac": mac(plan, nve), "next_hop_mac": next_hop_mac(plan, nve)}


def host_route_lines(plan: Plan, vm_ip: str, nve: str) -> dict[str, list[str]]:
    """Router -> ``ip -batch`` lines: from everywhere the VM's address leads to this NVE's plain port."""
    home = plan.access_links[nve]
    lines: dict[str, list[str]] = {}
    for router in plan.routers:
        if router == home.router:
            device = router_device(nve)
            lines[router] = [
                f"neigh replace {vm_ip} lladdr {mac(plan, nve)} dev {device} nud permanent",
                f"route replace {vm_ip}/32 dev {device}",
            ]
        else:
            route = _towards(plan, router, home.underlay_ip)
            lines[router] = [f"route replace {vm_ip}/32 via {route.via} dev {route.device}"]
    return lines


def withdrawal_lines(plan: Plan, vm_ip: str, nve: str) -> dict[str, list[str]]:
    """Router -> ``ip -batch`` lines that take ``host_route_lines`` back."""
    home = plan.access_links[nve]
    lines = {router: [f"route del {vm_ip}/32"] for router in plan.routers}
    lines[home.router].append(f"neigh del {vm_ip} dev {router_device(nve)}")
    return lines


def _towards(plan: Plan, router: str, underlay_ip: str) -> Route:
    return next(route for route in plan.routes(router) if route.to == underlay_ip)
