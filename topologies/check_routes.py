"""Checks of what is routed: pairs of virtual networks, the clients outside, and that no address is ambiguous.

Between networks that are routed to each other, and for all that clients outside reach, an address must name one
host: there their subnets may not overlap. Everywhere else they may.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from topologies.draft import Draft, unknown
from topologies.network import VirtualNetwork
from topologies.problems import Path, Problem, repeated, shown

_NO_GATEWAY = "no gateway_v4, and routing goes through the gateway of the network"


def check_routes(draft: Draft) -> Iterator[Problem]:
    """What is wrong with `routed_between` and `outside`, and which routed networks overlap."""
    networks = {network.name: network for _, network in draft.networks.read}
    pairs: list[_Pair] = []
    yield from _routed_between(draft, networks, pairs)
    yield from _outside_names(draft, networks)
    for version in (4, 6):
        subnets = _routed_subnets(draft, version)
        yield from _overlaps_in_tenants(subnets)
        yield from _overlaps_of_pairs(subnets, pairs)
        yield from _overlaps_outside(subnets, pairs, draft.reaches)
    yield from _clients(draft)


@dataclass(frozen=True)
class _Pair:
    """An item of `routed_between` that is sound by itself."""

    path: Path
    names: tuple[str, str]


@dataclass(frozen=True)
class _Subnet:
    """A subnet of a network with a gateway for it; `low` and `high` are its first and last address."""

    path: Path
    network: str
    tenant: str
    subnet: IPv4Network | IPv6Network
    low: int
    high: int


def _routed_between(
    draft: Draft, networks: dict[str, VirtualNetwork], sound: list[_Pair]
) -> Iterator[Problem]:
    """Problems of each pair by itself; appends the pairs without any to `sound`."""
    seen: dict[frozenset[str], Path] = {}
    for path, names in draft.routed:
        for index, name in enumerate(names):
            yield from unknown((*path, index), name, draft.networks, "virtual network")
        pair, text = frozenset(names), _text(names)
        read = [networks[name] for name in names if name in networks]
        without = [f"'{network.name}'" for network in read if network.gateway_v4 is None]
        if len(pair) == 1:
            yield Problem(path, text, "must name two different virtual networks")
        elif pair in seen:
            yield Problem(path, text, "the pair is in the list already; keep one", first=seen[pair])
        elif len(read) == 2 and read[0].tenant == read[1].tenant:
            allowed = (
                f"both belong to tenant {shown(read[0].tenant)}, whose networks with gateways are always routed;"
                " leave the pair out"
            )
            yield Problem(path, text, allowed)
        elif without:
            has = "has" if len(without) == 1 else "have"
            yield Problem(path, text, f"{' and '.join(without)} {has} {_NO_GATEWAY}; give it one")
        elif len(read) == 2:
            sound.append(_Pair(path, names))
        seen.setdefault(pair, path)


def _outside_names(draft: Draft, networks: dict[str, VirtualNetwork]) -> Iterator[Problem]:
    if draft.gateway_nve is not None:
        yield from unknown(("outside", "nve"), draft.gateway_nve, draft.nves, "NVE")
    yield from repeated(draft.reaches, "the virtual network is in the list twice")
    first = {name: path for path, name in reversed(draft.reaches)}
    for name, path in reversed(first.items()):
        yield from unknown(path, name, draft.networks, "virtual network")
        if name in networks and networks[name].gateway_v4 is None:
            yield Problem(path, shown(name), f"has {_NO_GATEWAY}; give it one, or leave it out here")


def _routed_subnets(draft: Draft, version: int) -> dict[str, _Subnet]:
    """By name of the network, those that packets of an IP version can be routed to."""
    subnets = {}
    for path, network in draft.networks.read:
        subnet = network.subnet_v4 if version == 4 else network.subnet_v6
        gateway = network.gateway_v4 if version == 4 else network.gateway_v6
        if subnet is None or gateway is None or network.gateway_v4 is None:
            continue
        subnets[network.name] = _Subnet(
            (*path, f"subnet_v{version}"),
            network.name,
            network.tenant,
            subnet,
            int(subnet.network_address),
            int(subnet.broadcast_address),
        )
    return subnets


def _overlapping(one: _Subnet, others: Iterable[_Subnet]) -> _Subnet | None:
    return next((other for other in others if one.low <= other.high and other.low <= one.high), None)


def _overlaps_in_tenants(subnets: dict[str, _Subnet]) -> Iterator[Problem]:
    earlier: dict[str, list[_Subnet]] = defaultdict(list)
    for one in subnets.values():
        other = _overlapping(one, earlier[one.tenant])
        if other is not None:
            yield Problem(
                one.path,
                f"'{one.subnet}'",
                f"overlaps {other.subnet} of virtual network '{other.network}'; both have gateways and belong to"
                f" tenant {shown(one.tenant)}, so they are routed to each other: choose another subnet, or"
                " leave one gateway out",
                first=other.path,
            )
        earlier[one.tenant].append(one)


def _overlaps_of_pairs(subnets: dict[str, _Subnet], pairs: list[_Pair]) -> Iterator[Problem]:
    """Pairs that overlap, and pairs that join a network with two others that overlap."""
    of_tenant: dict[str, list[_Subnet]] = defaultdict(list)
    for subnet in subnets.values():
        of_tenant[subnet.tenant].append(subnet)
    partners: dict[str, list[_Subnet]] = defaultdict(list)
    for pair in pairs:
        if not all(name in subnets for name in pair.names):
            continue
        one, other = (subnets[name] for name in pair.names)
        if _overlapping(one, [other]):
            yield Problem(
                pair.path,
                _text(pair.names),
                f"the subnets overlap ({one.subnet} and {other.subnet}), so nothing can be routed between them;"
                " change one of them, or leave the pair out",
            )
            continue
        for here, there in ((one, other), (other, one)):
            # Networks of one tenant that overlap are told at their subnets.
            known = (*of_tenant[here.tenant], *partners[here.network])
            second = _overlapping(there, (subnet for subnet in known if subnet.tenant != there.tenant))
            if second is not None:
                yield Problem(
                    pair.path,
                    _text(pair.names),
                    f"'{here.network}' is routed to '{second.network}' too, whose subnet {second.subnet}"
                    f" overlaps {there.subnet} of '{there.network}'; change one of them, or leave the pair out",
                )
        partners[one.network].append(other)
        partners[other.network].append(one)


def _overlaps_outside(
    subnets: dict[str, _Subnet], pairs: list[_Pair], reaches: Iterable[tuple[Path, str]]
) -> Iterator[Problem]:
    told = {frozenset(pair.names) for pair in pairs}
    earlier: dict[str, _Subnet] = {}
    for path, name in reaches:
        if name not in subnets or name in earlier:
            continue
        one = subnets[name]
        other = _overlapping(
            one,
            (
                subnet
                for subnet in earlier.values()
                if subnet.tenant != one.tenant and frozenset((name, subnet.network)) not in told
            ),
        )
        if other is not None:
            yield Problem(
                path,
                shown(name),
                f"its subnet {one.subnet} overlaps {other.subnet} of '{other.network}', which the clients reach"
                " too, and without NAT they cannot tell the two apart; change a subnet, or leave one out here",
            )
        earlier[name] = one


def _clients(draft: Draft) -> Iterator[Problem]:
    underlay: dict[IPv4Address | IPv6Address, tuple[Path, str]] = {
        nve.underlay_ip: (path, nve.name) for path, nve in draft.nves.read
    }
    addresses = []
    for path, client in draft.clients.read:
        for key, address in (("ipv4", client.ipv4), ("ipv6", client.ipv6)):
            if address is None:
                continue
            place, text = (*path, key), f"'{address}'"
            inside = next(
                (
                    (subnet, network.name)
                    for _, network in draft.networks.read
                    for subnet in (network.subnet_v4, network.subnet_v6)
                    if subnet is not None and address in subnet
                ),
                None,
            )
            if inside is not None:
                example = "203.0.113.10" if key == "ipv4" else "2001:db8:ff::10"
                allowed = (
                    f"is in {inside[0]}, the subnet of virtual network '{inside[1]}'; a client is outside all"
                    f" of them: choose an address such as {example}"
                )
                yield Problem(place, text, allowed)
            elif address in underlay:
                nve_path, nve = underlay[address]
                allowed = f"is the tunnel address of NVE '{nve}'; choose another one"
                yield Problem(place, text, allowed, first=(*nve_path, "underlay_ip"))
            else:
                addresses.append((place, address))
    yield from repeated(addresses, "the address is used twice; clients must have different ones")


def _text(names: tuple[str, str]) -> str:
    return f"[{', '.join(names)}]"
