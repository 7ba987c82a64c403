"""From a topology to addresses, interface names and routes: pure, nothing is touched.

management   10.255.0.0/16   NVA at .0.1, NVE number n at 10.255.0.0 + n + 1; not part of the underlay
router links 100.64.0.0/16   one /31 a link between routers (RFC 3021)
access links                 one /31 each from the same block; the router routes the NVE's underlay address over it
outside                      the links to the clients, the same block's next addresses

Other blocks where the topology has addresses in these: `topologies.own_addresses`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from topologies.model import LinkProperties, Topology
from topologies.names import interface_name
from topologies.own_addresses import OwnBlocks, own_blocks
from topologies.paths import first_hops

MANAGEMENT_BRIDGE = "mgmt0"
MANAGEMENT_PREFIX_LENGTH = 16
NVA_PORT = 6653  # IANA: openflow
UPLINK = "up0"
TUNNEL_PORT = "vx0"


@dataclass(frozen=True)
class RouterLink:
    """A link between two routers of the underlay, one /31."""

    left: str
    right: str
    left_ip: str
    right_ip: str
    quality: LinkProperties


@dataclass(frozen=True)
class AccessLink:
    """The link between an NVE and its rack's router."""

    nve: str
    router: str
    gateway_ip: str
    link_ip: str
    gateway_mac: str
    underlay_ip: str
    underlay_mac: str
    quality: LinkProperties


@dataclass(frozen=True)
class Route:
    """A host route of a router towards one NVE's underlay address."""

    to: str
    device: str
    via: str


@dataclass
class Plan:
    """All that is derived from a topology before anything is built."""

    topology: Topology
    blocks: OwnBlocks = field(init=False)
    router_links: list[RouterLink] = field(init=False)
    access_links: dict[str, AccessLink] = field(init=False)

    def __post_init__(self) -> None:
        self.blocks = own_blocks(self.topology)
        self.router_links = [
            RouterLink(
                left=link.between[0],
                right=link.between[1],
                left_ip=self._link_address(2 * number),
                right_ip=self._link_address(2 * number + 1),
                quality=link,
            )
            for number, link in enumerate(self.topology.underlay.links)
        ]
        first_access = 2 * len(self.router_links)
        self.access_links = {
            nve.name: AccessLink(
                nve=nve.name,
                router=nve.rack,
                gateway_ip=self._link_address(first_access + 2 * number),
                link_ip=self._link_address(first_access + 2 * number + 1),
                gateway_mac=_mac(0x10, number),
                underlay_ip=str(nve.underlay_ip),
                underlay_mac=_mac(0x11, number),
                quality=self.topology.access_of(nve),
            )
            for number, nve in enumerate(self.topology.nves)
        }

    def _link_address(self, number: int) -> str:
        return str(self.blocks.links[number])

    def outside_address(self, number: int) -> str:
        """After the underlay's own: 0 and 1 are router and NVE outside, 2 and on the router's towards the clients."""
        return self._link_address(2 * (len(self.router_links) + len(self.access_links)) + number)

    @property
    def nva_address(self) -> str:
        """The NVA's address on the management network."""
        return str(self.blocks.management[1])

    @property
    def routers(self) -> list[str]:
        """The names of all underlay routers: racks, then spines."""
        return list(self.topology.routers)

    def nve_number(self, nve: str) -> int:
        """The NVE's place in the topology, from 1; its datapath identifier and the suffix of leg names."""
        return self._nve_numbers[nve]

    def management_ip(self, nve: str) -> str:
        """The NVE's address on the management network."""
        return str(self.blocks.management[1 + self.nve_number(nve)])

    @cached_property
    def _nve_numbers(self) -> dict[str, int]:
        return {nve.name: number for number, nve in enumerate(self.topology.nves, start=1)}

    @cached_property
    def _neighbours(self) -> dict[str, dict[str, str]]:
        """Router -> neighbour -> the neighbour's address on their link."""
        found: dict[str, dict[str, str]] = {name: {} for name in self.routers}
        for link in self.router_links:
            found[link.left][link.right] = link.right_ip
            found[link.right][link.left] = link.left_ip
        return found

    def routes(self, router: str) -> list[Route]:
        """The ways of `topologies.paths` from a router to every NVE; the topology's checks know that each exists."""
        towards = first_hops(router, self._neighbours)
        routes = []
        for access in self.access_links.values():
            if access.router == router:
                routes.append(Route(access.underlay_ip, router_interface(access.nve), access.link_ip))
            else:
                hop = towards[access.router]
                routes.append(Route(access.underlay_ip, router_interface(hop), self._neighbours[router][hop]))
        return routes

    def port_count(self) -> int:
        """How many ports of all NVEs face a veth: uplinks, plain ports, VMs, two legs per pre-wired NVE, outside."""
        return (
            len(self.topology.nves) * (1 + self.topology.underlay.routes_tenants)
            + (self.topology.outside is not None)
            + sum(2 * len(self.topology.prewired_nves(vm)) or 1 for vm in self.topology.vms)
        )


def router_interface(neighbour: str) -> str:
    """A router's interface is named after what is at its other end."""
    return interface_name(neighbour, before="to-")


def _mac(kind: int, number: int) -> str:
    """A locally administered unicast address (IEEE 802: second bit of the first octet set)."""
    return f"02:00:{kind:02x}:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
