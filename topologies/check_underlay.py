"""Checks of the underlay: links, the places and addresses of NVEs, and whether they reach each other."""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from topologies.draft import Draft, Parts, unknown
from topologies.foreign_words import ONE_WAY
from topologies.model import Rack
from topologies.own_addresses import free_blocks
from topologies.problems import Path, Problem, repeated, shown


def check_underlay(draft: Draft) -> list[Problem]:
    """What is wrong with the underlay and the NVEs."""
    return [*_links(draft), *_nves(draft), *_paths(draft)]


def _links(draft: Draft) -> Iterator[Problem]:
    pairs: dict[frozenset[str], Path] = {}
    for path, link in draft.links.read:
        between = (*path, "between")
        for index, end in enumerate(link.between):
            if draft.racks.names_known and end not in draft.racks.names:
                routers: Parts[Rack] = Parts(
                    (), (*draft.racks.named, *draft.spines.named), draft.spines.names_known, False
                )
                yield from unknown((*between, index), end, routers, "rack or spine")
        pair, text = frozenset(link.between), f"[{', '.join(link.between)}]"
        if len(pair) == 1:
            yield Problem(between, text, "must join two different routers")
        elif pair in pairs:
            yield Problem(
                between,
                text,
                f"the two routers are joined already; keep one link: {ONE_WAY}",
                first=pairs[pair],
            )
        else:
            pairs[pair] = between


def _nves(draft: Draft) -> Iterator[Problem]:
    for path, nve in draft.nves.read:
        yield from unknown((*path, "rack"), nve.rack, draft.racks, "rack")
    addresses = [((*path, "underlay_ip"), nve.underlay_ip) for path, nve in draft.nves.read]
    yield from repeated(addresses, "the address is used twice; every NVE needs an underlay_ip of its own")
    try:
        free_blocks([nve.underlay_ip for _, nve in draft.nves.read], _known_to_routers(draft))
    except ValueError as error:
        yield Problem(("nves",), None, f"{error}; choose tunnel addresses that are nearer to each other")


def _known_to_routers(draft: Draft) -> Iterator[IPv4Address | IPv4Network]:
    """Addresses beside the NVEs' that a router of the topology may have a route to."""
    yield from (client.ipv4 for _, client in draft.clients.read)
    yield from (network.subnet_v4 for _, network in draft.networks.read)


def _paths(draft: Draft) -> Iterator[Problem]:
    """NVEs that cannot reach each other; nothing when a part of the underlay could not be read."""
    if not all(part.whole for part in (draft.racks, draft.spines, draft.links, draft.nves)):
        return
    neighbours: dict[str, set[str]] = {name: set() for name in (*draft.racks.names, *draft.spines.names)}
    for _, link in draft.links.read:
        one, other = link.between
        if one not in neighbours or other not in neighbours:
            return
        neighbours[one].add(other)
        neighbours[other].add(one)
    placed = [(path, nve) for path, nve in draft.nves.read if nve.rack in neighbours]
    while placed:
        _, start = placed[0]
        reached = _reached(start.rack, neighbours)
        cut_off = [(path, nve) for path, nve in placed if nve.rack not in reached]
        if cut_off:
            path, nve = cut_off[0]
            yield Problem(
                (*path, "rack"),
                shown(nve.rack),
                f"the underlay has no path between NVE '{start.name}' in '{start.rack}' and NVE '{nve.name}'"
                f" in '{nve.rack}'; add the missing links to underlay.links",
            )
        placed = cut_off


def _reached(start: str, neighbours: dict[str, set[str]]) -> set[str]:
    reached, waiting = {start}, [start]
    while waiting:
        new = neighbours[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached
