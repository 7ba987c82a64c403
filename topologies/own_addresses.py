"""The addresses that the emulation hands out itself: blocks that give way where a file uses them. Pure.

management   between the NVA and the NVEs, a network of its own: 10.255.0.0/16 unless an NVE's tunnel address is in it
links        of the underlay and to clients outside: 100.64.0.0/16 (shared address space, RFC 6598) unless a tunnel
             address, a client or a subnet that routers know is in it

Tunnel addresses in 100.64.0.0/10 are what some data centres have. The next blocks are those of the same /10, then
198.18.0.0/15 (benchmarks, RFC 2544 appendix C.2.2), then 10.0.0.0/8 from its end.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from topologies.model import Topology

_PREFIX_LENGTH = 16
_MANAGEMENT = IPv4Network("10.255.0.0/16")
_SHARED, _BENCHMARKS, _PRIVATE = (
    IPv4Network(net) for net in ("100.64.0.0/10", "198.18.0.0/15", "10.0.0.0/8")
)


@dataclass(frozen=True)
class OwnBlocks:
    """Two blocks of 65,536 addresses that nothing of the topology is in."""

    management: IPv4Network
    links: IPv4Network


def own_blocks(topology: "Topology") -> OwnBlocks:
    """The blocks of a sound topology; ValueError when it leaves none free, which `checks` refuses."""
    beyond = topology.outside
    known = {
        network.name: network.subnet_v4
        for network in topology.virtual_networks
        if topology.underlay.routes_tenants or (beyond is not None and network.name in beyond.reaches)
    }
    clients = () if beyond is None else (client.ipv4 for client in beyond.clients)
    return free_blocks([nve.underlay_ip for nve in topology.nves], [*clients, *known.values()])


def free_blocks(tunnel_ends: Iterable[IPv4Address], others: Iterable[IPv4Address | IPv4Network]) -> OwnBlocks:
    """Blocks without the NVEs' addresses, the links' one also without the others. ValueError: none is left."""
    ends = [IPv4Network(address) for address in tunnel_ends]
    wider = [*ends, *(IPv4Network(other) for other in others)]
    management = _first_free([_MANAGEMENT, *_candidates()], ends)
    return OwnBlocks(management, _first_free(_candidates(), [*wider, management]))


def _candidates() -> Iterator[IPv4Network]:
    yield from _SHARED.subnets(new_prefix=_PREFIX_LENGTH)
    yield from _BENCHMARKS.subnets(new_prefix=_PREFIX_LENGTH)
    yield from reversed(list(_PRIVATE.subnets(new_prefix=_PREFIX_LENGTH)))


def _first_free(blocks: Iterable[IPv4Network], used: Iterable[IPv4Network]) -> IPv4Network:
    taken = {net.network_address for one in used for net in _blocks_of(one)}
    for block in blocks:
        if block.network_address not in taken:
            return block
    raise ValueError(
        "the addresses of the topology leave no block of 65,536 addresses free for the emulation"
    )


def _blocks_of(net: IPv4Network) -> Iterator[IPv4Network]:
    """The blocks that a network touches."""
    if net.prefixlen >= _PREFIX_LENGTH:
        yield net.supernet(new_prefix=_PREFIX_LENGTH)
    else:
        yield from net.subnets(new_prefix=_PREFIX_LENGTH)
