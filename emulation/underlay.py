"""The underlay as lines of ``ip`` and ``tc``: links, addresses, routes, and what a link does to packets. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from emulation import plain
from emulation.plan import (
    MANAGEMENT_BRIDGE,
    MANAGEMENT_PREFIX_LENGTH,
    UPLINK,
    AccessLink,
    Plan,
    router_interface,
)
from topologies.model import LinkProperties, Topology
from topologies.names import interface_name

_NETEM_LIMIT = 100_000  # packets under way; the queue proper is the bucket's
_TICKS_PER_S = 250  # HZ of Debian's kernels: a bucket is filled once a tick


def link_lines(
    topology: Topology, plan: Plan, pids: Mapping[str, int], mtu_bytes: int | None = None
) -> Iterator[str]:
    """The links between routers, and of every NVE to its router and to the NVA; ``pids``: of the nodes by name.

    ``mtu_bytes``: in place of the topology's.
    """
    mtu = mtu_bytes or topology.underlay.mtu_bytes
    for link in plan.router_links:
        yield (
            f"link add {router_interface(link.right)} mtu {mtu} netns {pids[link.left]} type veth "
            f"peer name {router_interface(link.left)} mtu {mtu} netns {pids[link.right]}"
        )
    for access in plan.access_links.values():
        router, nve = pids[access.router], pids[access.nve]
        yield (
            f"link add {router_interface(access.nve)} mtu {mtu} address {access.gateway_mac} netns {router} "
            f"type veth peer name {UPLINK} mtu {mtu} netns {nve}"
        )
        management = interface_name(access.nve, behind="-m")
        yield f"link add {management} type veth peer name {MANAGEMENT_BRIDGE} netns {nve}"
        yield f"link set {management} master {MANAGEMENT_BRIDGE} up"
        if topology.underlay.routes_tenants:
            yield plain.link_line(plan, access.nve, nve, router, mtu)


def router_lines(topology: Topology, plan: Plan, router: str) -> Iterator[str]:
    """Addresses, neighbours and routes of a router, inside its namespace."""
    yield "link set lo up"
    for link in plan.router_links:
        for here, there, address in (
            (link.left, link.right, link.left_ip),
            (link.right, link.left, link.right_ip),
        ):
            if here == router:
                device = router_interface(there)
                yield f"addr add {address}/31 dev {device}"
                yield f"link set {device} up"
    for access in plan.access_links.values():
        if access.router == router:
            device = router_interface(access.nve)
            yield f"addr add {access.gateway_ip}/31 dev {device}"
            yield f"link set {device} up"
            yield f"neigh add {access.link_ip} lladdr {access.underlay_mac} dev {device} nud permanent"
    if topology.underlay.routes_tenants:
        yield from plain.router_lines(plan, router)
    for route in plan.routes(router):
        yield f"route add {route.to}/32 via {route.via} dev {route.device}"


def nve_lines(plan: Plan, nve: str, ports: list[str]) -> list[str]:
    """What an NVE's namespace needs before its switch runs; ``ports``: devices that face VMs and the outside."""
    return [
        "link set lo up",
        f"addr add {plan.management_ip(nve)}/{MANAGEMENT_PREFIX_LENGTH} dev {MANAGEMENT_BRIDGE}",
        *(f"link set {device} up" for device in (MANAGEMENT_BRIDGE, UPLINK, *ports)),
    ]


def access_lines(access: AccessLink, device: str) -> list[str]:
    """An NVE's underlay address and its way to the router; ``device``: the bridge's port, or the link itself."""
    lines = [
        f"addr add {access.underlay_ip}/32 dev {device}",
        f"addr add {access.link_ip}/31 dev {device}",
        f"link set {device} up",
        f"route add default via {access.gateway_ip} dev {device} src {access.underlay_ip}",
        f"neigh add {access.gateway_ip} lladdr {access.gateway_mac} dev {device} nud permanent",
    ]
    own_mac = [f"link set {UPLINK} address {access.underlay_mac}"]
    return own_mac + lines if device == UPLINK else lines


def shaping_lines(device: str, quality: LinkProperties, mtu_bytes: int) -> list[str]:
    """Delay and loss by netem, rate and queue by a token bucket below it; of one direction of a link."""
    lines, parent = [], "root handle 1:"
    if quality.delay_s or quality.loss_ratio:
        delay, loss = f"delay {quality.delay_s * 1e6:.0f}us", f"loss {quality.loss_ratio * 100:g}%"
        lines.append(f"qdisc add dev {device} {parent} netem limit {_NETEM_LIMIT} {delay} {loss}")
        parent = "parent 1: handle 2:"
    if quality.rate_bps:
        burst_bytes = max(mtu_bytes + 100, quality.rate_bps // 8 // _TICKS_PER_S)
        limit_bytes = quality.queue_packets * (mtu_bytes + 14)
        lines.append(
            f"qdisc add dev {device} {parent} tbf rate {quality.rate_bps}bit burst {burst_bytes} limit {limit_bytes}"
        )
    return lines
