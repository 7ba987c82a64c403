"""stale-mapping: how long does traffic still go through the old NVE, by the way peers learn of a move? (Q3)

Question   The draft tunnels from the old NVE "until a neighbour cache entry times out". How long, and for how many
           packets, does traffic take that way when peers' NVEs learn by push, by pull, by announcement, by timeout,
           against the time that the network needs to clear?
Varies     The strategy: push; pull (the old NVE tells the NVA of a misdirected frame); announce, by RARP, gratuitous
           ARP or unsolicited neighbour advertisement, each repeated as QEMU does, and with all of them lost; timeout
           of several ages (``ages``). The old NVE's policy: tunnel until all is quiet, or silent-drop. And the VM: one
           that talks, or a silent host, which only listens and never announces itself.
Held fixed The path (between two NVEs at which the peer is not), no downtime, the rate. With timeout the peer's mapping
           is made when the trial begins, so it lasts its age less ``before`` and what the move does ahead of its
           switch: near the worst case. A peer's own neighbour cache says which MAC an address has, and the move keeps
           both: what ages is the mapping at the peer's NVE.
Answer     Time from the switch until the peer's NVE was told and until the last frame came through the old NVE,
           frames that did, packets lost; beside the time in which the old path is empty once all are told, and how
           many times that is.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from experiments.designs import moving_vm
from experiments.designs.comparing import check_three_nves, traffic_parameters
from experiments.designs.schedules import NULL, Mix
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.laboratory import Laboratory
from experiments.running.parameters import Parameter, choice, repetitions
from experiments.running.run import Run
from experiments.running.sentences import measured, milliseconds, packets
from experiments.running.traffic import FAMILIES, address_of
from mobility.migration import MigrationRecord
from mobility.options import MoveOptions
from topologies.model import Topology

AGES_S, QUICK_AGES = (1, 2, 5), 1
LEARNT_S = 0.3  # what push, pull and announcements need at most, with room
NEVER_S = 1.0  # how long a group is watched in which peers are never told
QEMU, NONE = 5, 0
RARP, GARP, NA = "rarp", "garp", "na"
LONGEST_AGE_S = 3600
LONG_AGE_S = 300
"""Extrapolated to, never measured: some minutes, as caches of neighbours and MAC addresses have them."""


@dataclass(frozen=True)
class Way:
    """One group: how peers learn, what the old NVE does, whether the VM speaks."""

    strategy: str
    policy: str
    announcements: int = QEMU
    age_s: int | None = None
    silent: bool = False
    by: str = RARP

    @property
    def learning(self) -> str:
        """The strategy in words, as a group's parameter."""
        if self.strategy == "announce":
            return announced_by(self.by) if self.announcements else "announce, all lost"
        return self.strategy

    @property
    def parameters(self) -> dict[str, Any]:
        """What its trials are grouped by."""
        host = "silent" if self.silent else "talking"
        return {"learning": self.learning, "age_s": self.age_s, "policy": self.policy, "host": host}

    @property
    def watched_s(self) -> float:
        """How long after the commit the old path is kept and watched."""
        if self.age_s is not None:
            return self.age_s + LEARNT_S
        return NEVER_S if self.learning == "announce, all lost" else LEARNT_S

    @property
    def options(self) -> MoveOptions:
        """The move: a redirect for as long as is watched, or none and as long to count what comes."""
        common = MoveOptions(policy=self.policy, announcements=self.announcements, announce_with=self.by)
        if self.policy == "tunnel" and self.strategy == "push":
            return MoveOptions.of(common, {"drain": "acknowledged", "observe_s": self.watched_s})
        if self.policy == "tunnel":
            return MoveOptions.of(common, {"drain": f"fixed:{self.watched_s:g}s", "observe_s": 0.05})
        return MoveOptions.of(common, {"observe_s": self.watched_s})


def announced_by(by: str) -> str:
    """The name of an announcing strategy."""
    return f"announce by {by.upper()}"


def ways(values: Mapping[str, Any], silent: bool, with_ipv6: bool = True) -> list[Way]:
    """The groups of talking or of silent VMs. A silent host announces nothing: whoever waits for that waits on.

    ``with_ipv6``: whether the VM has an IPv6 address that it can advertise.
    """
    ages = values["ages"][:QUICK_AGES] if values["quick"] else values["ages"]
    spoken = (RARP, GARP, NA) if with_ipv6 else (RARP, GARP)
    found = []
    for policy in ("tunnel", "silent-drop"):
        say = NONE if silent else QEMU
        found += [Way("push", policy, say, None, silent), Way("pull", policy, say, None, silent)]
        found += [Way("announce", policy, QEMU, by=by) for by in spoken] if not silent else []
        found += [Way("announce", policy, NONE, None, silent)]
        found += [Way("timeout", policy, say, age_s, silent) for age_s in (ages[:1] if silent else ages)]
    return found


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As hot-l2's, and a third NVE for a peer that must be told."""
    each = Gathered()
    with each:
        moving_vm.check({**values, "policy": "tunnel", "attachment": "rebind"}, topology)
    for name in ("vm", "peer"):
        with each:
            address_of(topology, moving_vm.vm_of(topology, name, values[name]).name, values["family"])
    with each:
        check_three_nves(values, topology)
    each.tell()


def trials(run: Run) -> None:
    """All groups of talking VMs, then, with traffic towards the VM alone, those of silent ones."""
    with_ipv6 = run.laboratory.topology.vm(run.values["vm"]).ipv6 is not None
    groups = {
        silent: {str(way): way for way in ways(run.values, silent, with_ipv6)} for silent in (False, True)
    }
    mixes = {
        silent: Mix(list(names), repetitions(run.values), run.values["seed"] + silent)
        for silent, names in groups.items()
    }
    run.expect(sum(mix.wanted() for mix in mixes.values()))
    here, there = _places(run)
    if run.laboratory.network.location[run.values["vm"]] not in (here, there):
        run.laboratory.move(run.values["vm"], here, policy="buffer")
    for silent, mix in mixes.items():
        with run.traffic(directions=("to_vm",) if silent else ("to_vm", "from_vm")):
            _mixed(run, mix, groups[silent])


def _places(run: Run) -> tuple[str, str]:
    network = run.laboratory.network
    away = [name for name in network.nves if name != network.location[run.values["peer"]]]
    return away[0], away[1]


def _mixed(run: Run, mix: Mix, groups: Mapping[str, Way]) -> None:
    here, there = _places(run)
    laboratory, vm = run.laboratory, run.values["vm"]
    for name in mix.steps():
        if name == NULL:
            mix.count(name, run.trial({}, None))
            continue
        way = groups[name]
        laboratory.set_strategy(way.strategy, way.age_s)
        target = there if laboratory.network.location[vm] == here else here
        watch = _Watch(laboratory, vm, laboratory.network.location[run.values["peer"]])
        run.observe = watch
        mix.count(name, run.trial(way.parameters, partial(watch.move, target, way.options)))
        run.observe = None
        laboratory.set_strategy("push")


class _Watch:
    """Moves the VM; at the trial's end, how long after the switch the peer's NVE was told of its new place."""

    def __init__(self, laboratory: Laboratory, vm: str, peer_nve: str) -> None:
        self._laboratory, self._vm, self._peer_nve = laboratory, vm, peer_nve
        self._switch_s = 0.0

    def __call__(self) -> Callable[[], Mapping[str, float]]:
        return self._told

    def move(self, new_nve: str, options: MoveOptions) -> MigrationRecord:
        record = self._laboratory.move(self._vm, new_nve, options=options)
        self._switch_s = record.phase("switch").end_s
        return record

    def _told(self) -> Mapping[str, float]:
        told = [
            at_s - self._switch_s
            for at_s, nve, vm in self._laboratory.learned
            if (nve, vm) == (self._peer_nve, self._vm) and at_s >= self._switch_s
        ]
        return {"told_s": min(told)} if told else {}


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """The times until told and the packets that took the old way, per strategy; what long ages would mean."""

    of = partial(measured, trials)

    known = [trial["parameters"]["learning"] for trial in trials if not trial["null"]]
    quickly = [
        one for one in ("push", "pull", *(announced_by(by) for by in (RARP, GARP, NA))) if one in known
    ]
    said = [
        f"{learning} {milliseconds(of('told_s', learning=learning, host='talking'))}" for learning in quickly
    ]
    ages = sorted({trial["parameters"]["age_s"] for trial in trials if trial["parameters"].get("age_s")})
    for age_s in ages:
        said.append(f"timeout of {age_s:g} s {milliseconds(of('told_s', age_s=age_s, host='talking'))}")
    lost = "; ".join(
        f"{name} {packets(of('lost_packets_to_vm', policy='silent-drop', host='talking', **wanted))}"
        for name, wanted in [
            *((one, {"learning": one}) for one in quickly),
            *((f"timeout of {age_s:g} s", {"age_s": age_s}) for age_s in ages),
        ]
    )
    untold = of("lost_packets_to_vm", learning="announce, all lost", policy="silent-drop")
    clear = of("clear_s", learning="push")
    means = {
        age_s: statistics.mean(found)
        for age_s in ages
        if (found := of("lost_packets_to_vm", policy="silent-drop", host="talking", age_s=age_s))
    }
    far = _times_longer(clear, max(ages, default=0))
    if len(means) > 1:
        slope = (means[max(means)] - means[min(means)]) / (max(means) - min(means))
        far += (
            f" Each further second of age cost {slope:,.0f} packets: at {LONG_AGE_S} s that would be some "
            f"{slope * LONG_AGE_S:,.0f} (extrapolated, not measured)."
        )
    return (
        f"A peer's NVE knew the new place after {', '.join(said)}; the old path itself was empty after "
        f"{milliseconds(clear)}, when the last end marker was out of it.{f' {NEAR_WORST}' if ages else ''} With "
        f"silent-drop at the old NVE so many packets were lost: {lost}; without any "
        f"announcement {packets(untold)}, and no end. A silent host was found after "
        f"{milliseconds(of('told_s', learning='push', host='silent'))} with push, "
        f"{milliseconds(of('told_s', learning='pull', host='silent'))} with pull.{far}"
    )


NEAR_WORST = (
    "Timeouts were tried near the worst case, with a mapping made just before the move; on average half of its age is "
    "left. What ages is the mapping at the NVE: the peer's own neighbour cache has the right MAC address all the time."
)


def _times_longer(clear_s: Sequence[float], age_s: float) -> str:
    """How many times the time to clear the oldest mapping and one of some minutes last; '' without a time."""
    if not clear_s or not age_s:
        return ""
    once_s = statistics.median(clear_s)
    return (
        f" A timeout of {age_s:g} s is {age_s / once_s:,.0f} times what the network needed to clear "
        f"({math.log10(age_s / once_s):.1f} orders of magnitude), one of {LONG_AGE_S} s would be "
        f"{LONG_AGE_S / once_s:,.0f} times ({math.log10(LONG_AGE_S / once_s):.1f}). To clear means from the switch "
        "until the last end marker: the peers' update is in it, so it is longer than packets in flight need, and the "
        "orders are fewer than against these."
    )


def read_ages(text: str) -> tuple[int, ...]:
    """'1,2,5' as whole seconds, smallest first. ValueError."""
    ages_s = sorted({int(word) for word in text.split(",")})
    if not ages_s or ages_s[0] < 1 or ages_s[-1] > LONGEST_AGE_S:
        raise ValueError
    return tuple(ages_s)


def show_ages(ages_s: Sequence[int]) -> str:
    """The same as text."""
    return ",".join(map(str, ages_s))


EXPERIMENT = Experiment(
    name="stale-mapping",
    questions=("Q3",),
    question="How long does traffic still go through the old NVE, by the way peers learn of a move?",
    answer="per strategy: time until the peer's NVE is told, frames through the old NVE, loss; the time to clear",
    parameters=(
        *traffic_parameters(rate_pps=1000, repeat=6, after=0.4, tcp_rate=1_000_000),
        Parameter(
            "ages",
            AGES_S,
            "ages of mappings under timeout, in s; quick: the first",
            read_ages,
            f"whole seconds from 1 to {LONGEST_AGE_S}, such as 1,2,5",
            show_ages,
        ),
        choice("family", "ipv4", "IP version of the traffic", FAMILIES),
    ),
    trials=trials,
    check=check,
    conclude=conclude,
    group_by=("learning", "age_s", "policy", "host"),
    shown_measures=(
        "told_s",
        "stale_s",
        "redirected_frames",
        "misdirected_packets",
        "lost_packets_to_vm",
        "blackout_s_to_vm",
        "tcp_stall_s_to_vm",
        "clear_s",
    ),
)
