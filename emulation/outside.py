"""The world outside: clients behind a router that is linked to the gateway NVE. Pure: command lines and addresses.

    client eth0 ── to-CLIENT  internet  to-NVE ── out0 gateway NVE

The router knows the virtual networks' subnets as routes to the gateway NVE and nothing of tunnels or the NVA.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from emulation.plan import Plan, router_interface
from topologies.model import Topology
from topologies.outside import Client, Outside

ROUTER, PORT = "internet", "out0"
MAC, NEXT_HOP_MAC = "02:00:13:00:00:01", "02:00:13:00:00:02"
"""The gateway NVE's own address on the outside link, and the router's."""

EVERYTHING = ("0.0.0.0/0", "::/0")
CLIENT_MTU_BYTES = 1500
_GATEWAY_V6, _ROUTER_V6 = "fe80::1", "fe80::2"


def router_addresses(plan: Plan, outside: Outside) -> dict[str, str]:
    """Who is at the other end of a link of the router outside -> the router's address there."""
    clients = {
        client.name: plan.outside_address(number) for number, client in enumerate(outside.clients, start=2)
    }
    return {outside.nve: plan.outside_address(0), **clients}


def link_lines(topology: Topology, outside: Outside, pids: Mapping[str, int]) -> list[str]:
    """``ip -batch`` lines for the links; the one to the NVE has the smallest MTU of the networks behind it."""
    mtu = min(topology.network(name).mtu_bytes for name in outside.reaches)
    lines = [
        f"link add {PORT} mtu {mtu} netns {pids[outside.nve]} type veth "
        f"peer name {router_interface(outside.nve)} address {NEXT_HOP_MAC} mtu {mtu} netns {pids[ROUTER]}"
    ]
    for client in outside.clients:
        lines.append(
            f"link add eth0 mtu {CLIENT_MTU_BYTES} netns {pids[client.name]} type veth "
            f"peer name {router_interface(client.name)} mtu {CLIENT_MTU_BYTES} netns {pids[ROUTER]}"
        )
    return lines


def router_lines(topology: Topology, plan: Plan, outside: Outside) -> list[str]:
    """``ip -batch`` lines for the router."""
    device, gateway = router_interface(outside.nve), plan.outside_address(1)
    lines = [
        "link set lo up",
        f"addr add {plan.outside_address(0)}/31 dev {device}",
        f"addr add {_ROUTER_V6}/64 dev {device} nodad",
        f"link set {device} up",
        f"neigh add {gateway} lladdr {MAC} dev {device} nud permanent",
        f"neigh add {_GATEWAY_V6} lladdr {MAC} dev {device} nud permanent",
    ]
    for name in outside.reaches:
        network = topology.network(name)
        lines.append(f"route add {network.subnet_v4} via {gateway} dev {device}")
        if network.subnet_v6 is not None and network.gateway_v6 is not None:
            lines.append(f"route add {network.subnet_v6} via {_GATEWAY_V6} dev {device}")
    for number, client in enumerate(outside.clients, start=2):
        towards = router_interface(client.name)
        lines += [
            f"addr add {plan.outside_address(number)}/32 dev {towards}",
            f"addr add {_GATEWAY_V6}/64 dev {towards} nodad",
            f"link set {towards} up",
            f"route add {client.ipv4}/32 dev {towards}",
        ]
        if client.ipv6 is not None:
            lines.append(f"route add {client.ipv6}/128 dev {towards}")
    return lines


def client_lines(plan: Plan, outside: Outside, client: Client) -> list[str]:
    """``ip -batch`` lines for a client: its address and a way to everything else."""
    router = plan.outside_address(2 + outside.clients.index(client))
    lines = ["link set lo up", f"addr add {client.ipv4}/32 dev eth0"]
    if client.ipv6 is not None:
        lines.append(f"addr add {client.ipv6}/128 dev eth0 nodad")
    lines += ["link set eth0 up", f"route add 0.0.0.0/0 via {router} dev eth0 onlink"]
    if client.ipv6 is not None:
        lines.append(f"route add ::/0 via {_GATEWAY_V6} dev eth0")
    return lines


def nva_entry(outside: Outside, port_number: int) -> dict[str, Any]:
    """The outside as the NVA's ``configure`` has it."""
    return {
        "nve": outside.nve,
        "port": port_number,
        "mac": MAC,
        "next_hop_mac": NEXT_HOP_MAC,
        "subnets": list(EVERYTHING),
        "networks": list(outside.reaches),
    }
