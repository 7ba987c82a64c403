"""What the kernels of VMs, clients and routers would do with a packet: routes, neighbours, addresses, links."""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emulation import commands, plain
from emulation.errors import CommandError
from emulation.network import EmulatedNetwork
from emulation.plan import UPLINK, router_interface

_USABLE = {"PERMANENT", "NOARP", "REACHABLE", "STALE", "DELAY", "PROBE"}
"""States of a neighbour in which the kernel sends to the MAC that it has (RFC 4861 section 7.3.2 and Linux's own)."""


@dataclass(frozen=True)
class Route:
    """How a node would send: ``gateway`` None: the destination is a neighbour; ``local``: it is the node itself."""

    device: str
    gateway: str | None
    local: bool
    link_down: bool


def route(pid: int, address: str) -> Route | None:
    """The route of a node's kernel to an address; None when it has none."""
    try:
        found = json.loads(commands.run(["ip", "-j", "route", "get", address], pid=pid))[0]
    except (CommandError, IndexError):
        return None
    local = found.get("type") == "local" or found.get("dev") == "lo"
    return Route(found.get("dev", ""), found.get("gateway"), local, "linkdown" in found.get("flags", ()))


def neighbour(pid: int, address: str) -> str | None:
    """The MAC that a node's kernel sends to for an address without asking; None: it asks first."""
    version = "-6" if ":" in address else "-4"
    shown: list[dict[str, Any]] = json.loads(
        commands.run(["ip", "-j", version, "neigh", "show", "to", address], pid=pid) or "[]"
    )
    return next((one["lladdr"] for one in shown if "lladdr" in one and _USABLE & set(one["state"])), None)


def holders_of(network: EmulatedNetwork, address: str) -> list[str]:
    """The VMs and clients whose own interface has an address now, whether the topology gave it or a user."""
    wanted = ipaddress.ip_address(address)
    beyond = network.topology.outside
    names = [vm.name for vm in network.topology.vms] + [
        one.name for one in (beyond.clients if beyond else ())
    ]
    return [name for name in names if wanted in _addresses(network[name].pid)]


def _addresses(pid: int) -> set[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    listed: list[dict[str, Any]] = json.loads(
        commands.run(["ip", "-j", "addr", "show", "dev", "eth0"], pid=pid)
    )
    return {ipaddress.ip_address(info["local"]) for one in listed for info in one.get("addr_info", ())}


def underlay_of(network: EmulatedNetwork) -> Callable[[str, str], str]:
    """From an NVE to an address: which NVE gets it, by its link and the routers' routes; else why nobody does."""

    def reached(nve: str, address: str) -> str:
        name = network.plan.access_links[nve].router
        if not _carries(network[nve].pid, UPLINK):
            return f"the link of {nve} and {name} is down"
        ends = {router_interface(one): one for one in (*network.plan.routers, *network.nves)}
        ends |= {plain.router_device(one): one for one in network.nves}
        for _ in range(len(network.plan.routers)):
            found = route(network[name].pid, address)
            if found is None or found.device not in ends:
                return f"{name} has no route to {address}" + _down_links(network, name)
            following = ends[found.device]
            if found.link_down:
                return f"the link of {name} and {following} is down"
            if following in network.nves:
                return following
            name = following
        return f"routers send {address} round in a circle"

    return reached


def _carries(pid: int, device: str) -> bool:
    with contextlib.suppress(OSError, ValueError):
        shown = json.loads(commands.run(["ip", "-j", "link", "show", "dev", device], pid=pid))
        return "LOWER_UP" in shown[0]["flags"] and "UP" in shown[0]["flags"]
    return False


def _down_links(network: EmulatedNetwork, router: str) -> str:
    """The links of a router that are down, as an aside."""
    shown = json.loads(commands.run(["ip", "-j", "link"], pid=network[router].pid))
    down = [
        one["ifname"].removeprefix("to-")
        for one in shown
        if one["ifname"].startswith("to-") and "UP" not in one["flags"]
    ]
    return f" (its link to {', '.join(down)} is down)" if down else ""
