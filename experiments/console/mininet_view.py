"""Interfaces and links as Mininet's own verbs expect them: the network is configured outside Mininet.

Nothing is run or moved here; the view says what is there, and is made anew after a move.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from mininet.link import Intf, Link
from mininet.node import Node

from emulation import addressing, commands, outside, plain
from emulation.errors import CommandError
from emulation.network import EmulatedNetwork
from emulation.plan import TUNNEL_PORT, UPLINK, router_interface

_UPLINK_NUMBER = 0  # Mininet's default interface is the lowest: an NVE's address is that of its underlay


class KnownInterface(Intf):  # type: ignore[misc]  # Mininet ships no types
    """An interface whose addresses are known, so that no command is needed to learn them."""

    def __init__(
        self, node: Node, name: str, ip: str | None, mac: str | None = None, port: int | None = None
    ) -> None:
        self._known = (ip, mac)
        super().__init__(name, node=node, port=port, moveIntfFn=lambda *_: None)
        self.ip, self.mac = ip, mac

    def config(self, **_params: Any) -> dict[str, Any]:
        """Nothing to configure."""
        return {}

    def updateIP(self) -> str | None:  # noqa: N802 - Mininet's name
        """Its address."""
        return self._known[0]

    def updateMAC(self) -> str | None:  # noqa: N802 - Mininet's name
        """Its MAC."""
        return self._known[1]

    def updateAddr(self) -> tuple[str | None, str | None]:  # noqa: N802 - Mininet's name
        """Both."""
        return self._known

    def ifconfig(self, *args: str) -> str:
        """``up``, ``down`` or nothing (what the kernel says of it); what failed is returned as text."""
        words = ["set", self.name, *args] if args else ["show", "dev", self.name]
        try:
            return commands.run(["ip", "link", *words], pid=self.node.pid, node=self.node.name)
        except CommandError as error:
            return str(error)

    def status(self) -> str:
        """``OK``, ``DOWN`` or ``MISSING``."""
        said = self.ifconfig()
        if self.name not in said.partition("<")[0]:
            return "MISSING"
        return "OK" if "UP" in said.partition("<")[2].partition(">")[0].split(",") else "DOWN"


class KnownLink(Link):  # type: ignore[misc]  # Mininet ships no types
    """A link between two known interfaces."""

    def __init__(self, left: KnownInterface, right: KnownInterface) -> None:
        self.intf1, self.intf2 = left, right
        left.link = right.link = self

    def __str__(self) -> str:
        """Nodes and interfaces at both ends."""
        return "<->".join(f"{end.node.name}:{end.name}" for end in (self.intf1, self.intf2))


def refresh(network: EmulatedNetwork) -> None:
    """Give every node its interfaces and the network its links, as they are now."""
    for node in (*network.hosts, *network.switches):
        for known in (node.intfs, node.ports, node.nameToIntf):
            known.clear()
    network.links = [*_router_links(network), *_access_links(network)]
    for nve, ports in network.ofports.items():
        for name, number in ports.items():
            address = str(network.topology.nve(nve).underlay_ip) if name == TUNNEL_PORT else None
            KnownInterface(network[nve], name, address, port=number)
    for vm in network.topology.vms:
        own = KnownInterface(network[vm.name], "eth0", str(vm.ipv4), vm.mac)
        # A pre-wired VM has a port at several NVEs; the link shown is the one it uses.
        other = network[network.location[vm.name]].nameToIntf.get(vm.name)
        if other is not None:
            network.links.append(KnownLink(own, other))
    network.links += _outside_links(network)
    if network.topology.underlay.routes_tenants:
        network.links += _plain_links(network)


def neighbours(network: EmulatedNetwork, name: str) -> list[str]:
    """Who is at the other ends of a node's links."""
    found = dict.fromkeys(
        other.node.name
        for link in network.links
        for one, other in ((link.intf1, link.intf2), (link.intf2, link.intf1))
        if one.node.name == name
    )
    return list(found)


def restore_routes(network: EmulatedNetwork, name: str) -> None:
    """Put back what the kernel forgets of a node when one of its links goes down."""
    node = network[name]
    for line in _restoring_lines(network, name):  # one by one: another of its links may still be down
        with contextlib.suppress(CommandError):
            commands.run(["ip", *line.split()], pid=node.pid, node=name)


def _restoring_lines(network: EmulatedNetwork, name: str) -> list[str]:
    plan, topology = network.plan, network.topology
    lines = []
    if name in plan.routers:
        for one in plan.access_links.values():
            if one.router == name:
                device = router_interface(one.nve)
                lines.append(
                    f"neigh replace {one.link_ip} lladdr {one.underlay_mac} dev {device} nud permanent"
                )
        lines += [f"route replace {to.to}/32 via {to.via} dev {to.device}" for to in plan.routes(name)]
    elif name in plan.access_links and network.options.datapath.kind == "kernel":
        own = plan.access_links[name]
        lines = [
            f"neigh replace {own.gateway_ip} lladdr {own.gateway_mac} dev {UPLINK} nud permanent",
            f"route replace default via {own.gateway_ip} dev {UPLINK} src {own.underlay_ip}",
        ]
    elif name in network.location:
        lines = _again(addressing.vm_lines(topology, topology.vm(name)))
    elif (beyond := topology.outside) is not None:
        if name == outside.ROUTER:
            lines = _again(outside.router_lines(topology, plan, beyond))
        lines += [
            line
            for client in beyond.clients
            if client.name == name
            for line in _again(outside.client_lines(plan, beyond, client))
        ]
    return lines


def _again(lines: Sequence[str]) -> list[str]:
    """The same lines for a node that may have what they add: addresses, neighbours and routes."""
    return [line.replace(" add ", " replace ", 1) for line in lines if not line.startswith("link ")]


def _router_links(network: EmulatedNetwork) -> list[KnownLink]:
    return [
        KnownLink(
            KnownInterface(network[link.left], router_interface(link.right), link.left_ip),
            KnownInterface(network[link.right], router_interface(link.left), link.right_ip),
        )
        for link in network.plan.router_links
    ]


def _access_links(network: EmulatedNetwork) -> list[KnownLink]:
    return [
        KnownLink(
            KnownInterface(network[one.router], router_interface(one.nve), one.gateway_ip, one.gateway_mac),
            KnownInterface(network[one.nve], UPLINK, one.underlay_ip, one.underlay_mac, port=_UPLINK_NUMBER),
        )
        for one in network.plan.access_links.values()
    ]


def _outside_links(network: EmulatedNetwork) -> list[KnownLink]:
    beyond = network.topology.outside
    if beyond is None:
        return []
    addresses, router = outside.router_addresses(network.plan, beyond), network[outside.ROUTER]
    others = [network[beyond.nve].nameToIntf[outside.PORT]]
    others += [KnownInterface(network[client.name], "eth0", str(client.ipv4)) for client in beyond.clients]
    macs = {beyond.nve: outside.NEXT_HOP_MAC}
    return [
        KnownLink(
            KnownInterface(
                router,
                router_interface(other.node.name),
                addresses[other.node.name],
                macs.get(other.node.name),
            ),
            other,
        )
        for other in others
    ]


def _plain_links(network: EmulatedNetwork) -> list[KnownLink]:
    return [
        KnownLink(KnownInterface(network[access.router], plain.router_device(nve), None), port)
        for nve, access in network.plan.access_links.items()
        if (port := network[nve].nameToIntf.get(plain.PORT)) is not None
    ]
