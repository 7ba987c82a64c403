"""Reads the parts of ``configure`` that are objects of their own: networks, gateways, routes, ports, outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from controller.checks import collapsed
from controller.model import MAX_PORT, NVE, Gateway, Outside, PlainPort, VirtualNetwork
from controller.reader import Reader


def optional(read: Callable[[str, object], str], path: str, value: object) -> str | None:
    """Return what ``read`` makes of a value, or None for null."""
    return None if value is None else read(path, value)


def read_plain_port(reader: Reader, path: str, item: Any) -> PlainPort | None:
    """Read ``nves[].plain``."""
    if item is None:
        return None
    data = reader.keys(path, item, {"port", "mac", "next_hop_mac"})
    return PlainPort(
        reader.number(f"{path}.port", data.get("port"), 1, MAX_PORT),
        reader.mac(f"{path}.mac", data.get("mac")),
        reader.mac(f"{path}.next_hop_mac", data.get("next_hop_mac")),
    )


def read_gateway(reader: Reader, path: str, item: Any) -> Gateway | None:
    """Read ``networks[].gateway``."""
    if item is None:
        return None
    data = reader.keys(path, item, {"mac"}, frozenset({"ipv4", "ipv6"}))
    return Gateway(
        reader.mac(f"{path}.mac", data.get("mac")),
        optional(reader.ipv4, f"{path}.ipv4", data.get("ipv4")),
        optional(reader.ipv6, f"{path}.ipv6", data.get("ipv6")),
    )


def read_network(reader: Reader, path: str, item: Any) -> VirtualNetwork:
    """Read one of ``networks``."""
    names = frozenset({"gateway", "subnet_v4", "subnet_v6", "dhcp_server"})
    data = reader.keys(path, item, {"name", "vni"}, names)
    return VirtualNetwork(
        reader.text(f"{path}.name", data.get("name")),
        reader.number(f"{path}.vni", data.get("vni"), 1, 2**24 - 1),
        read_gateway(reader, f"{path}.gateway", data.get("gateway")),
        optional(lambda p, v: reader.subnet(p, v, 4), f"{path}.subnet_v4", data.get("subnet_v4")),
        optional(lambda p, v: reader.subnet(p, v, 6), f"{path}.subnet_v6", data.get("subnet_v6")),
        optional(reader.text, f"{path}.dhcp_server", data.get("dhcp_server")),
    )


def read_routes(
    reader: Reader, given: object, networks: Mapping[int, VirtualNetwork]
) -> dict[int, frozenset[int]]:
    """Read ``routes``: for each VNI those it is routed to, both ways."""
    by_name = {network.name: network.vni for network in networks.values()}
    found: dict[int, set[int]] = {}
    for index, pair in enumerate(reader.items("routes", given)):
        path = f"routes[{index}]"
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(n, str) for n in pair):
            reader.wrong(path, pair, "must be a pair of network names")
        elif pair[0] == pair[1] or not set(pair) <= set(by_name):
            reader.wrong(path, pair, f"must be two of the networks {', '.join(by_name) or 'none'}")
        else:
            one, other = by_name[pair[0]], by_name[pair[1]]
            found.setdefault(one, set()).add(other)
            found.setdefault(other, set()).add(one)
    return {vni: frozenset(others) for vni, others in found.items()}


def read_outside(
    reader: Reader, item: Any, nves: Mapping[str, NVE], networks: Mapping[int, VirtualNetwork]
) -> Outside | None:
    """Read ``outside``."""
    if item is None:
        return None
    data = reader.keys(
        "outside", item, {"nve", "port", "mac", "next_hop_mac", "subnets", "networks"}, frozenset()
    )
    by_name = {network.name: network.vni for network in networks.values()}
    reached = []
    for index, name in enumerate(reader.items("outside.networks", data.get("networks", []))):
        reached.append(by_name.get(reader.choice(f"outside.networks[{index}]", name, tuple(by_name)), 0))
    subnets = [
        reader.subnet(f"outside.subnets[{index}]", value)
        for index, value in enumerate(reader.items("outside.subnets", data.get("subnets", [])))
    ]
    return Outside(
        reader.choice("outside.nve", data.get("nve"), tuple(nves)),
        reader.number("outside.port", data.get("port"), 1, MAX_PORT),
        reader.mac("outside.mac", data.get("mac")),
        reader.mac("outside.next_hop_mac", data.get("next_hop_mac")),
        collapsed(subnets) if not reader.errors else (),
        tuple(sorted(set(reached))),
    )
