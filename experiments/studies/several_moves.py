"""several-moves: what do moves cost that follow each other, or happen at once? (Q1)

Question   A VM moves on as soon as it has arrived, or comes back; two VMs that talk with each other move at once, to
           the same NVE or each to the other's place. Does that cost more than one move?
Varies     The pattern: one move; back and forth; a chain over three NVEs; two VMs at once from one NVE to another;
           two VMs towards each other.
Held fixed The traffic: UDP and TCP both ways between the two VMs, whichever moves, and UDP both ways between each
           of them and a third VM that stays; where a pattern begins; the old NVE's policy. A VM's next move begins
           when the one before has ended; different VMs' begin together.
Answer     One row a pattern: loss, duplicates, reordering, TCP stall, both ways, summed or at worst over its moves,
           beside null trials; the time of all its moves and for how long two were under way at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from experiments.designs import moving_vm
from experiments.designs.comparing import traffic_parameters
from experiments.designs.schedules import NULL, Mix
from experiments.running.beside import SideFlow
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.laboratory import Laboratory
from experiments.running.parameters import Parameter, ParameterError, choice, repetitions, text, whole
from experiments.running.run import Run
from experiments.running.sentences import milliseconds, packets, sentences
from experiments.running.traffic import FAMILIES, UDP_PORT, address_of
from mobility.migration import MigrationRecord
from mobility.several import Itinerary, move_several
from topologies.model import Topology
from vocabulary.policies import POLICIES

PATTERNS = ("one move", "back and forth", "chain", "two at once", "towards each other")
ENDS = {
    "stays_to_vm": ("stays", "vm"),
    "stays_from_vm": ("vm", "stays"),
    "stays_to_peer": ("stays", "peer"),
    "stays_from_peer": ("peer", "stays"),
}
"""The flows with the third VM: label -> the parameters that name sender and receiver."""
PARAMETERS: tuple[Parameter, ...] = (
    *traffic_parameters(topology="two_movers", peer="vm2", rate_pps=2000, tcp_rate=2_000_000, repeat=10),
    choice("family", "ipv4", "IP version of the traffic", FAMILIES),
    choice("policy", "buffer", "what the old NVE does with packets for a VM that has left", tuple(POLICIES)),
    text("stays", "peer3", "the third VM, which stays and exchanges UDP with both"),
    whole("turns", 1, "how often the VM goes back and forth in a trial of that pattern", 1, 10),
    whole("side_pps", 500, "UDP packets per second of each flow with the third VM", 100, 5000),
)


@dataclass(frozen=True)
class Pattern:
    """Where the two VMs are before, and the NVEs that each goes to (none: it stays)."""

    name: str
    begin: Mapping[str, str]
    itineraries: tuple[Itinerary, ...]


def patterns(vm: str, peer: str, nves: Sequence[str], turns: int = 1) -> list[Pattern]:
    """All patterns of two VMs over three NVEs, the last one that of the VM that stays."""
    first, second, third = nves
    apart, together = {vm: first, peer: second}, {vm: first, peer: first}
    ways: list[tuple[Mapping[str, str], tuple[Itinerary, ...]]] = [
        (apart, (Itinerary(vm, (third,)),)),
        (apart, (Itinerary(vm, (third, first) * turns),)),
        (apart, (Itinerary(vm, (second, third)),)),
        (together, (Itinerary(vm, (second,)), Itinerary(peer, (second,)))),
        (apart, (Itinerary(vm, (second,)), Itinerary(peer, (first,)))),
    ]
    return [Pattern(name, *way) for name, way in zip(PATTERNS, ways, strict=True)]


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As hot-l2's; and the peer must be able to move too, a third VM be in their network, and three NVEs be there."""
    each = Gathered()
    with each:
        moving_vm.check({**values, "attachment": "rebind"}, topology)
    with each:
        peer = moving_vm.vm_of(topology, "peer", values["peer"])
        if not topology.prewired_nves(peer):
            raise ParameterError(
                f"peer={peer.name}: moves too, and is not pre-wired in topology {topology.name}; give it "
                "`prewired: all` there, or take the topology two_movers"
            )
        moving_vm.check_movable({**values, "vm": peer.name, "attachment": "rebind"}, topology)
    with each:
        vm, stays = (moving_vm.vm_of(topology, name, values[name]) for name in ("vm", "stays"))
        if stays.name in (vm.name, values["peer"]) or stays.virtual_network != vm.virtual_network:
            raise ParameterError(
                f"stays={stays.name}: must be a third VM of {vm.name}'s network {vm.virtual_network}; choose another VM"
            )
    with each:
        if len(topology.nves) < 3:
            raise ParameterError(
                f"topology={values['topology']}: has {len(topology.nves)} NVEs; a chain needs three at least"
            )
    for name in ("vm", "peer", "stays"):
        with each:
            address_of(topology, moving_vm.vm_of(topology, name, values[name]).name, values["family"])
    each.tell()


def flows(values: Mapping[str, Any], topology: Topology) -> list[SideFlow]:
    """The third VM's flows with the two that move; theirs with each other is stream 0."""
    return [
        SideFlow(
            label,
            values[sender],
            values[receiver],
            address_of(topology, values[receiver], values["family"]),
            number,
            UDP_PORT + 100 * number,
            values["side_pps"],
        )
        for number, (label, (sender, receiver)) in enumerate(ENDS.items(), start=1)
    ]


def trials(run: Run) -> None:
    """All patterns and null trials at random; before each trial the VMs are put where its pattern begins."""
    values, laboratory = run.values, run.laboratory
    home = laboratory.network.location[values["stays"]]
    nves = [*[name for name in laboratory.network.nves if name != home][:2], home]
    known = {one.name: one for one in patterns(values["vm"], values["peer"], nves, values["turns"])}
    mix = Mix(list(known), repetitions(values), values["seed"])
    run.expect(mix.wanted())
    with run.traffic(flows(values, laboratory.topology)):
        for name in mix.steps():
            if name == NULL:
                mix.count(name, run.trial({}, None))
                continue
            _put(laboratory, known[name].begin, values["policy"])
            move = partial(_move, laboratory, known[name].itineraries, values["policy"])
            mix.count(name, run.trial({"pattern": name}, move))


def _put(laboratory: Laboratory, wanted: Mapping[str, str], policy: str) -> None:
    for vm, nve in wanted.items():
        if laboratory.network.location[vm] != nve:
            laboratory.move(vm, nve, policy=policy)


def _move(laboratory: Laboratory, itineraries: Sequence[Itinerary], policy: str) -> Sequence[MigrationRecord]:
    return move_several(itineraries, partial(laboratory.move, policy=policy)).records()


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """What was lost, duplicated, reordered on all flows together, and for how long TCP stood still, by pattern."""
    valid = [trial for trial in trials if trial["valid"]]
    groups = {
        name: own
        for name in PATTERNS
        if (own := [one for one in valid if one["parameters"].get("pattern") == name])
    }
    none, some = [], []
    for verb in ("lost", "duplicated", "reordered"):
        found = {name: [_on_all_flows(one, f"{verb}_packets") for one in own] for name, own in groups.items()}
        if any(any(values) for values in found.values()):
            told = ", ".join(f"{name} {packets(values)}" for name, values in found.items() if any(values))
            rest = "" if all(any(values) for values in found.values()) else ", else none"
            some.append(f"packets {verb} in a trial, on all flows: {told}{rest}")
        else:
            none.append(verb)
    verbs = " or ".join([", ".join(none[:-1]), *none[-1:]] if len(none) > 1 else none)
    lost = [f"no packet was {verbs} on any flow in any pattern"] if none else []
    said = []
    stalls = {name: _stalls(own) for name, own in groups.items()} | {
        "without a move": _stalls([one for one in valid if one["null"]])
    }
    if any(stalls.values()):
        told = ", ".join(f"{name} {milliseconds(values)}" for name, values in stalls.items() if values)
        said.append(f"the longest TCP pause was a median: {told}")
    shared = {name: [one["measures"].get("overlap_s") or 0.0 for one in own] for name, own in groups.items()}
    told = ", ".join(f"{name} {milliseconds(values)}" for name, values in shared.items() if any(values))
    said += [f"two moves were under way at once for: {told}"] if told else []
    numbers = ", ".join(f"{name} {len(own)}" for name, own in groups.items())
    parts = ["; ".join([*lost, *some]), *said, f"valid trials: {numbers}"]
    return sentences(parts)


def _on_all_flows(trial: Mapping[str, Any], stem: str) -> float:
    return float(sum(trial["measures"].get(f"{stem}_{flow}") or 0 for flow in ("to_vm", "from_vm", *ENDS)))


def _stalls(trials: Sequence[Mapping[str, Any]]) -> list[float]:
    """The longer TCP pause of the two directions; none without TCP."""
    pairs = [[one["measures"].get(f"tcp_stall_s_{side}_vm") for side in ("to", "from")] for one in trials]
    return [max(pair) for pair in pairs if None not in pair]


EXPERIMENT = Experiment(
    name="several-moves",
    questions=("Q1",),
    question="What do moves cost that follow each other or happen at once?",
    answer="per pattern: loss, duplicates, reordering, TCP stall, both ways, beside one move and no move",
    parameters=PARAMETERS,
    trials=trials,
    check=check,
    conclude=conclude,
    group_by=("pattern",),
    shown_measures=(
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "duplicated_packets_to_vm",
        "duplicated_packets_from_vm",
        "reordered_packets_to_vm",
        "reordered_packets_from_vm",
        "tcp_stall_s_to_vm",
        "tcp_stall_s_from_vm",
        "lost_packets_stays_to_vm",
        "lost_packets_stays_from_vm",
        "lost_packets_stays_to_peer",
        "lost_packets_stays_from_peer",
        "move_total_s",
        "overlap_s",
    ),
)
