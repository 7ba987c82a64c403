"""The flows of an NVE as a pure function of the mapping: the stage table of docs/nve-pipeline.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from controller.attachment import Surroundings, attachment_flows, surroundings, ways_out
from controller.model import NVE, VM, Gateway, Move, Outside, Ports, State, VirtualNetwork
from controller.pipeline import (
    ALL_BYTES,
    CLASSIFY,
    FORWARD,
    LOCAL,
    MISS,
    ORIGIN,
    OUT,
    OUTPUT,
    PAUSED,
    PLAIN,
    TUNNEL,
    VNI,
    Flow,
    Output,
    SetField,
    ToNva,
    Value,
    drop,
    flow,
)
from controller.policies import OldNve, Source, counted_flows, ended_flows, old_nve_flows, to_tunnel
from controller.resolve import COMPLETE_ADVERTISEMENT, answers, asking_nva, own_questions, written_answer
from controller.routing import Door, OutsideAt, doors, gateway_flows, outside_port, routes_to, to_outside
from vocabulary.moves import PULL, TIMEOUT
from vocabulary.policies import POLICIES
from wire import ethernet

__all__ = ["Flow", "delta", "desired_flows", "diff", "peer_flows"]

Delta = tuple[frozenset[Flow], frozenset[Flow]]
"""Flows to add and flows to delete; an add with the key of an existing flow replaces it."""


def _deliver(vm: VM, origin: int, port: int, tunnel_source: str | None = None) -> Flow:
    """Return the flow that gives a VM its frames; while it is paused they are dropped (and counted) there."""
    match: dict[str, Value] = {VNI: vm.vni, ORIGIN: origin, "eth_dst": vm.mac}
    if tunnel_source is not None:
        match["tun_ipv4_src"] = tunnel_source
    priority = 100 if tunnel_source is None else 110
    if vm.state == "paused":
        return drop(FORWARD, priority, match, PAUSED)
    return flow(FORWARD, priority, match, (SetField(OUT, port),), OUTPUT)


def _at_new_nve(vm: VM, nve: NVE, old: NVE, stage: str, ports: Ports | None) -> Iterator[Flow]:
    if ports is not None:
        yield _deliver(vm, TUNNEL, ports.direct)
        if ports.redirected is not None:
            yield _deliver(vm, TUNNEL, ports.redirected, old.underlay_ip)
    if stage != "committed":
        yield to_tunnel(vm.vni, vm.mac, LOCAL, old.underlay_ip, nve.tunnel_port)
    elif ports is not None:
        yield _deliver(vm, LOCAL, ports.direct)


def _at_old_nve(vm: VM, at: Place, move: Move, place: OldNve, ports: Ports | None) -> Iterator[Flow]:
    if move.stage == "prepared":
        if ports is not None:
            yield _deliver(vm, LOCAL, ports.direct)
            yield _deliver(vm, TUNNEL, ports.direct)
    elif move.stage == "redirected":
        yield from old_nve_flows(place, move.policy, (LOCAL, TUNNEL))
    else:
        yield to_tunnel(vm.vni, vm.mac, LOCAL, place.new_nve_ip, place.tunnel_port)
        yield from ended_flows(vm) if move.ended else old_nve_flows(place, move.policy, (TUNNEL,))
        yield from counted_flows(vm, at.sources, None if move.ended else (place, move.policy))


def _at_peer_nve(vm: VM, at: Place) -> Iterator[Flow]:
    """Frames for a VM elsewhere; when its mapping can be missing, the NVA is asked."""
    towards, port = at.towards.underlay_ip, at.nve.tunnel_port
    yield to_tunnel(vm.vni, vm.mac, LOCAL, towards, port, at.age_s)
    if at.asks:
        match: dict[str, Value] = {VNI: vm.vni, ORIGIN: LOCAL, "eth_dst": vm.mac}
        yield flow(FORWARD, 50, match, (ToNva(MISS, ALL_BYTES),))


def _plainly_forwarded(vm: VM, nve: NVE, gateway: Gateway | None, ports: Ports) -> Iterator[Flow]:
    """At the new NVE: packets that the old one forwarded without an overlay header get one VM's MAC again."""
    if nve.plain is None:
        return
    actions = (
        SetField(VNI, vm.vni),
        SetField(ORIGIN, PLAIN),
        SetField("eth_dst", vm.mac),
        SetField("eth_src", nve.plain.mac if gateway is None else gateway.mac),
    )
    match: dict[str, Value] = {"in_port": nve.plain.port, "eth_type": ethernet.IPV4, "ipv4_dst": vm.ipv4}
    yield flow(CLASSIFY, 100, match, actions, FORWARD)
    yield _deliver(vm, PLAIN, ports.direct if ports.redirected is None else ports.redirected)


@dataclass(frozen=True)
class Place:
    """What decides a VM's flows at one NVE besides the VM itself.

    ``member``: the NVE has VMs of its network; otherwise it at most routes to it (``reached``). ``doors``: from where
    it routes. ``towards``: where it believes the VM. ``sources``: whose frames it counts because the VM was there.
    """

    nve: NVE
    home: NVE
    move: Move | None
    old: NVE | None
    new: NVE | None
    member: bool
    around: Surroundings
    doors: tuple[Door, ...]
    reached: bool
    towards: NVE
    sources: tuple[Source, ...]
    age_s: int
    asks: bool


def _sources(state: State, nve: str, vm: VM) -> tuple[Source, ...]:
    """Return the NVEs that may still send a VM's frames to where it was."""
    if vm.name not in state.watched[nve]:
        return ()
    beliefs = state.believed.get(vm.name, {})
    everybody = nve in state.counted.get(vm.name, ())
    found = [name for name in state.nves if name != nve and (everybody or beliefs.get(name) == nve)]
    return tuple(
        Source(state.nves[name].underlay_ip, state.strategy == PULL and beliefs.get(name) == nve)
        for name in found
    )


def _place(state: State, nve: str, vm: VM) -> Place:
    move = state.moves.get(vm.name)
    old, new = (None, None) if move is None else (state.nves[move.old_nve], state.nves[move.new_nve])
    current = move.old_nve if move is not None and move.stage != "committed" else vm.nve
    return Place(
        state.nves[nve],
        state.nves[vm.nve],
        move,
        old,
        new,
        vm.vni in state.members[nve],
        surroundings(state, vm.vni),
        doors(state, nve, vm.vni),
        vm.vni in state.reached[nve],
        state.nves[state.believed.get(vm.name, {}).get(nve, current)],
        _sources(state, nve, vm),
        state.mapping_age_s if state.strategy == TIMEOUT else 0,
        state.strategy in (PULL, TIMEOUT),
    )


@lru_cache(maxsize=65536)
def _vm_flows(vm: VM, at: Place) -> frozenset[Flow]:
    """Return the flows of one VM at one NVE that may send to its network."""
    nve, move, old, new = at.nve, at.move, at.old, at.new
    found: set[Flow] = set()
    here = nve.name in ((at.home.name,) if move is None else (move.old_nve, move.new_nve))
    ports = vm.ports_at(nve.name) if here else None
    if not vm.present:
        # Associated, in RFC 8394's words: what is reserved is the way out to its ports.
        reserved = ports is not None and vm.state == "allocated"
        return frozenset(ways_out(ports)) if reserved and ports is not None else frozenset()
    if at.member:
        found.update(answers(vm))
    if at.around.gateway is not None:
        found.update(routes_to(vm, at.around.gateway, at.doors))
    if ports is not None:
        found.update(ways_out(ports))
        if vm.state == "running":
            found.update(attachment_flows(vm, ports, at.around))
            found.update(own_questions(vm, ports))
    if here and (move is None or old is None or new is None):
        if ports is not None:
            found.update((_deliver(vm, LOCAL, ports.direct), _deliver(vm, TUNNEL, ports.direct)))
    elif move is not None and old is not None and nve == new:
        found.update(_at_new_nve(vm, nve, old, move.stage, ports))
        if POLICIES[move.policy].is_plain and ports is not None:
            found.update(_plainly_forwarded(vm, nve, at.around.gateway, ports))
    elif move is not None and new is not None and nve == old:
        place = OldNve(vm, nve.tunnel_port, new.underlay_ip, nve.plain)
        found.update(_at_old_nve(vm, at, move, place, ports))
    else:
        if at.reached:
            found.update(_at_peer_nve(vm, at))
        found.update(counted_flows(vm, at.sources))
    return frozenset(found)


@lru_cache(maxsize=4096)
def _tunnel_flows(nve: NVE, vnis: frozenset[int]) -> frozenset[Flow]:
    """Frames from the tunnel, and into it. Back into it only after FORWARD said so (a redirect)."""
    port = nve.tunnel_port
    found = {
        COMPLETE_ADVERTISEMENT,
        flow(OUTPUT, 100, {OUT: port}, (Output(port),)),
        flow(OUTPUT, 110, {OUT: port, "in_port": port}, (Output("in_port"),)),
    }
    if nve.plain is not None:
        found.add(flow(OUTPUT, 100, {OUT: nve.plain.port}, (Output(nve.plain.port),)))
    for vni in vnis:
        origin = (SetField(VNI, vni), SetField(ORIGIN, TUNNEL))
        found.add(flow(CLASSIFY, 100, {"in_port": port, "tunnel_id": vni}, origin, FORWARD))
    return frozenset(found)


@lru_cache(maxsize=4096)
def _network_flows(
    network: VirtualNetwork,
    nve: NVE,
    sends: bool,
    domain: tuple[VirtualNetwork, ...],
    outside: OutsideAt | None,
) -> frozenset[Flow]:
    """Return what belongs to a network as a whole: its gateway and its way outside."""
    found: set[Flow] = set()
    if sends and network.gateway is not None:
        found.update(gateway_flows(Door(network.vni, network.gateway.mac), network.gateway, domain))
    if outside is not None and network.vni in outside[0].vnis:
        found.update(to_outside(network, nve.name, outside, sends))
    return frozenset(found)


@lru_cache(maxsize=64)
def _outside_flows(outside: Outside, inside: tuple[VirtualNetwork, ...]) -> frozenset[Flow]:
    return frozenset(outside_port(outside, inside))


Part = tuple[str, str | int]
"""Flows that change together: of the tunnel, of the outside port, of a network, of a VM. No two parts share one."""


def _part_keys(state: State, nve: str) -> Iterator[Part]:
    yield "tunnel", nve
    if state.outside is not None and state.outside.nve == nve:
        yield "outside", nve
    reached = state.reached[nve]
    for vni in reached:
        yield "network", vni
    for vm in state.vms.values():
        if vm.vni in reached or vm.name in state.watched[nve] or nve in state.nves_of(vm):
            yield "vm", vm.name


def _part(state: State, nve_name: str, part: Part) -> frozenset[Flow]:
    found = _part_as_written(state, nve_name, part)
    return asking_nva(found) if state.nves[nve_name].nd_by_nva else found


def _part_as_written(state: State, nve_name: str, part: Part) -> frozenset[Flow]:
    kind, key = part
    nve, outside = state.nves[nve_name], state.outside
    if kind == "vm":
        vm = state.vms[str(key)]
        return _vm_flows(vm, _place(state, nve_name, vm))
    if kind == "network":
        network = state.networks[int(key)]
        at = None if outside is None else (outside, state.nves[outside.nve].underlay_ip, nve.tunnel_port)
        sends = network.vni in state.members[nve_name]
        return _network_flows(network, nve, sends, state.domain(network.vni), at)
    if kind == "outside" and outside is not None:
        return _outside_flows(outside, tuple(state.networks[vni] for vni in outside.vnis))
    return _tunnel_flows(nve, state.from_tunnel[nve_name])


def desired_flows(state: State, nve_name: str) -> frozenset[Flow]:
    """Return every flow the NVE is to have. Raises KeyError for an unknown NVE."""
    return frozenset().union(*(_part(state, nve_name, part) for part in _part_keys(state, nve_name)))


def advertised(state: State, nve: str, vni: int, target: str, asker: str | None) -> tuple[str, int] | None:
    """Return MAC and flags of the advertisement that answers a solicitation at an NVE; None: nobody answers."""
    parts = (_part_as_written(state, nve, part) for part in _part_keys(state, nve))
    found = (written_answer(part, vni, target, asker) for part in parts)
    return next((answer for answer in found if answer is not None), None)


def peer_flows(state: State, nve: str, vm: str) -> frozenset[Flow]:
    """Return the flows of an NVE's mapping of a VM elsewhere: those that expire."""
    return frozenset(entry for entry in _part(state, nve, ("vm", vm)) if entry.hard_timeout_s)


def diff(old: Iterable[Flow], new: Iterable[Flow]) -> Delta:
    """Return (adds, deletes) that turn a table with ``old`` into one with ``new``."""
    old, new = frozenset(old), frozenset(new)
    adds = new - old
    replaced = {entry.key for entry in adds}
    return adds, frozenset(entry for entry in old - new if entry.key not in replaced)


def _changed_parts(old: State, new: State, nve: str) -> tuple[set[Part], set[Part]]:
    """Return the parts of both states that may differ; transitions replace only what they change."""
    plan = ("nves", "networks", "routes", "outside", "strategy", "mapping_age_s")
    same_plan = all(getattr(old, name) is getattr(new, name) for name in plan)
    if not same_plan or old.members[nve] != new.members[nve]:
        return set(_part_keys(old, nve)) if nve in old.nves else set(), set(_part_keys(new, nve))
    names = [
        name
        for name, vm in new.vms.items()
        if old.vms[name] is not vm
        or any(
            getattr(old, about).get(name) is not getattr(new, about).get(name)
            for about in ("moves", "believed", "counted")
        )
    ]

    def parts(state: State) -> set[Part]:
        reached, watched = state.reached[nve], state.watched[nve]
        return {
            ("tunnel", nve),
            *(
                ("vm", name)
                for name in names
                if name in watched or state.vms[name].vni in reached or nve in state.nves_of(state.vms[name])
            ),
        }

    return parts(old), parts(new)


def delta(old: State, new: State, nve_name: str) -> Delta:
    """Return the same as ``diff`` of both desired sets, looking only at the parts that changed."""
    before, after = _changed_parts(old, new, nve_name)
    gone: set[Flow] = set()
    come: set[Flow] = set()
    for part in before | after:
        was = _part(old, nve_name, part) if part in before else frozenset()
        now = _part(new, nve_name, part) if part in after else frozenset()
        if was is not now:
            gone |= was
            come |= now
    return diff(gone, come)
