"""Checks whether the parts of a topology fit together; each finding points at the value to change.

Which overlaps are allowed: addresses and MACs must differ within a virtual network only, and subnets of
different virtual networks may overlap (that is what virtual networks are for, RFC 7365 section 2.2). VNIs,
underlay addresses and the names of nodes (racks, spines, NVEs, VMs) must differ within the whole topology.
"""

from collections.abc import Hashable, Iterable, Iterator

from topologies.draft import Draft, Parts, draft_of
from topologies.fields import derived_mac
from topologies.model import Rack, Topology
from topologies.problems import Path, Problem, did_you_mean, listed, shown

TUNNEL_OVERHEAD_BYTES = 50
"""Inner Ethernet 14 + tunnel header 8 + UDP 8 + outer IPv4 20, of the outer IP packet.

VXLAN: RFC 7348 section 5. Geneve without options has a header of 8 bytes too: RFC 8926 section 3.4. The outer
Ethernet header is not part of an IP MTU.
"""


def check_topology(topology: Topology) -> list[Problem]:
    """What does not fit together in a topology, without file and line; empty when it is sound."""
    return check_values(topology.as_file())


def check_values(data: object) -> list[Problem]:
    """The same for the values of a file, of which parts may be wrong or missing: those are passed over."""
    draft = draft_of(data)
    return [
        *_names(draft),
        *_links(draft),
        *_nves(draft),
        *_networks(draft),
        *_vms(draft),
        *_prewired(draft),
        *_paths(draft),
    ]


def _repeated(items: Iterable[tuple[Path, Hashable]], allowed: str) -> Iterator[Problem]:
    first: dict[Hashable, Path] = {}
    for path, value in items:
        if value in first:
            key = value[-1] if isinstance(value, tuple) else value
            text = shown(key) if isinstance(key, str | int) else f"'{key}'"
            yield Problem(path, text, allowed, first=first[value])
        else:
            first[value] = path


def _unknown(path: Path, name: str, known: Parts, what: str) -> Iterator[Problem]:  # type: ignore[type-arg]
    if name in known.names or not known.names_known:
        return
    meant = did_you_mean(name, known.names)
    hint = f"; did you mean '{meant}'?" if meant else ""
    yield Problem(path, shown(name), f"is no {what}{hint} (there are: {listed(known.names) or 'none'})")


def _names(draft: Draft) -> Iterator[Problem]:
    nodes = [*draft.racks.named, *draft.spines.named, *draft.nves.named, *draft.vms.named]
    yield from _repeated(
        nodes, "the name is used twice; racks, spines, NVEs and VMs must all have different names"
    )
    yield from _repeated(draft.tenants.named, "the name is used twice; tenants must have different names")
    yield from _repeated(
        draft.networks.named, "the name is used twice; virtual networks must have different names"
    )


def _links(draft: Draft) -> Iterator[Problem]:
    pairs: dict[frozenset[str], Path] = {}
    for path, link in draft.links.read:
        between = (*path, "between")
        for index, end in enumerate(link.between):
            if draft.racks.names_known and end not in draft.racks.names:
                routers: Parts[Rack] = Parts(
                    (), (*draft.racks.named, *draft.spines.named), draft.spines.names_known, False
                )
                yield from _unknown((*between, index), end, routers, "rack or spine")
        pair, text = frozenset(link.between), f"[{', '.join(link.between)}]"
        if len(pair) == 1:
            yield Problem(between, text, "must join two different routers")
        elif pair in pairs:
            yield Problem(
                between, text, "the two routers are joined already; keep one link", first=pairs[pair]
            )
        else:
            pairs[pair] = between


def _nves(draft: Draft) -> Iterator[Problem]:
    for path, nve in draft.nves.read:
        yield from _unknown((*path, "rack"), nve.rack, draft.racks, "rack")
    addresses = [((*path, "underlay_ip"), nve.underlay_ip) for path, nve in draft.nves.read]
    yield from _repeated(addresses, "the address is used twice; every NVE needs an underlay_ip of its own")


def _networks(draft: Draft) -> Iterator[Problem]:
    for path, network in draft.networks.read:
        yield from _unknown((*path, "tenant"), network.tenant, draft.tenants, "tenant")
    vnis = [((*path, "vni"), network.vni) for path, network in draft.networks.read]
    yield from _repeated(vnis, "the VNI is used twice; every virtual network needs one of its own")
    underlay_mtu, tunnel = draft.underlay_mtu_bytes, draft.tunnel
    if underlay_mtu is None or tunnel is None:
        return
    header = "VXLAN" if tunnel.encapsulation == "vxlan" else "Geneve"
    for path, network in draft.networks.read:
        needed = network.mtu_bytes + TUNNEL_OVERHEAD_BYTES
        if needed > underlay_mtu:
            yield Problem(
                (*path, "mtu"),
                str(network.mtu_bytes),
                f"does not fit into the tunnel: {network.mtu_bytes} + {TUNNEL_OVERHEAD_BYTES} (inner"
                f" Ethernet 14 + {header} 8 + UDP 8 + outer IPv4 20) = {needed} bytes, and underlay.mtu is"
                f" {underlay_mtu}; set this mtu to at most {underlay_mtu - TUNNEL_OVERHEAD_BYTES} or"
                f" underlay.mtu to at least {needed}",
            )


def _vms(draft: Draft) -> Iterator[Problem]:
    subnets = {network.name: network.subnet_v4 for _, network in draft.networks.read}
    for path, vm in draft.vms.read:
        yield from _unknown((*path, "virtual_network"), vm.virtual_network, draft.networks, "virtual network")
        yield from _unknown((*path, "nve"), vm.nve, draft.nves, "NVE")
        subnet = subnets.get(vm.virtual_network)
        if subnet is None:
            continue
        hosts = f"choose one from {subnet[1]} to {subnet[-2]}"
        if vm.ipv4 not in subnet:
            what = f"is outside {subnet}, the subnet of virtual network '{vm.virtual_network}'; {hosts}"
        elif vm.ipv4 == subnet.network_address:
            what = f"is the network address of {subnet}; {hosts}"
        elif vm.ipv4 == subnet.broadcast_address:
            what = f"is the broadcast address of {subnet}; {hosts}"
        else:
            continue
        yield Problem((*path, "ipv4"), f"'{vm.ipv4}'", what)
    addresses = [((*path, "ipv4"), (vm.virtual_network, vm.ipv4)) for path, vm in draft.vms.read]
    yield from _repeated(
        addresses, "the address is used twice; VMs of a virtual network must have different ones"
    )
    # A repeated address gives the same derived MAC: that is told once, at the address.
    derived: set[tuple[str, str]] = set()
    macs = []
    for path, vm in draft.vms.read:
        value = (vm.virtual_network, vm.mac)
        if vm.mac == derived_mac(vm.virtual_network, vm.ipv4):
            if value in derived:
                continue
            derived.add(value)
        macs.append(((*path, "mac"), value))
    yield from _repeated(macs, "the MAC is used twice; VMs of a virtual network must have different ones")


def _prewired(draft: Draft) -> Iterator[Problem]:
    """A list must name the VM's own NVE: it says where the legs are, and a move begins at that one."""
    for path, vm in draft.vms.read:
        if vm.prewired == "all" or not vm.prewired:
            continue
        place = (*path, "prewired")
        for index, name in enumerate(vm.prewired):
            yield from _unknown((*place, index), name, draft.nves, "NVE")
        yield from _repeated(
            [((*place, index), name) for index, name in enumerate(vm.prewired)],
            "the NVE is in the list twice",
        )
        if vm.nve not in vm.prewired:
            yield Problem(
                place,
                f"[{listed(vm.prewired)}]",
                f"lacks '{vm.nve}', the NVE that the VM starts on; add it, or write all",
            )


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
