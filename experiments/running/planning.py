"""What a run will be, said before it begins: valid trials, about how long, about how much memory. Pure.

The time is that of a rehearsal (``rehearsal.py``) and what this testbed adds to it, found by least squares over the
full forms of all experiments in results/reference on two cores: within a fifth of each of them. A machine half as fast,
or one with other work, takes up to twice as long; so does a run whose trials a busy machine spoils, since each is
repeated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emulation.nve import Datapath
from emulation.preflight import network_bytes
from experiments.running.experiment import Experiment
from experiments.running.laboratory import named_in, pairs_that_talk
from experiments.running.rehearsal import SLOWNESS, Rehearsal
from topologies.model import Topology

BEGIN_S = 4.5
"""A network of a few NVEs built, probes started for the first time, the machine looked at, the record closed."""
NVE_S = 0.12
"""100 NVEs and 100 VMs start in 12 s (`make bench`)."""
PAIR_S = 0.02
"""Two VMs exchange their first packets: 1,560 pairs in some 40 s."""
SESSION_S = 0.5
PACKET_S = 27e-6
"""To evaluate a packet: read, follow, look for its cause, write."""
OUTSIDE_S = 8.0
"""Python loads, then table, pictures and report are made of the record."""

PROGRAMS_BYTES = 200_000_000
"""The run, the NVA, probes and the rings of taps."""
PACKET_BYTES = 600
"""Of a packet, until its session is evaluated: its logs, which lie in memory, and what is made of them. Measured with
hot-l2: 0.26 GB for 67,000 packets, 0.29 GB for 200,000."""


@dataclass(frozen=True)
class RunPlan:
    """What was planned. ``guarded_s``: of each trial that the load guard judges, how long it must not be disturbed."""

    trials: int
    duration_s: float
    memory_bytes: int
    guarded_s: tuple[float, ...] = ()

    @property
    def longest_guarded_s(self) -> float | None:
        """The longest time in which a trial must not be disturbed; None when no load can spoil one."""
        return max(self.guarded_s, default=None)

    def as_record(self) -> dict[str, Any]:
        """Plain values for the record."""
        longest_s = self.longest_guarded_s
        return {
            "trials": self.trials,
            "duration_s": round(self.duration_s, 1),
            "memory_bytes": self.memory_bytes,
            "longest_guarded_s": None if longest_s is None else round(longest_s, 3),
        }

    def sentence(self) -> str:
        """'40 valid trials, about 50 s and 0.6 GB of memory; ..'."""
        needs = f"about {in_words(self.duration_s)} and {size(self.memory_bytes)} of memory"
        told = f"{self.trials:,} valid trials, {needs}"
        return f"{told}; trials that a busy machine spoils are repeated" if self.guarded_s else told


def rehearsed(experiment: Experiment, values: Mapping[str, Any], topology: Topology) -> Rehearsal:
    """The experiment's trials on a clock of its own."""
    rehearsal = Rehearsal(values, topology)
    (experiment.rehearse or experiment.trials)(rehearsal)
    return rehearsal


def network_s(topology: Topology, values: Mapping[str, Any]) -> float:
    """Until a network stands and those whom the parameters name have exchanged their first packets."""
    names = named_in(values, topology)
    pairs = sum(
        1 if one.ipv6 is None else 2
        for one, other in pairs_that_talk(topology)
        if {one.name, other.name} <= names
    )
    return SLOWNESS * (BEGIN_S + NVE_S * len(topology.nves) + PAIR_S * pairs)


def sessions_s(rehearsal: Rehearsal) -> float:
    """What the sessions of a run add to its trials: probes that start, packets that are evaluated."""
    packets = sum(session.packets for session in rehearsal.sessions)
    return SLOWNESS * (SESSION_S * len(rehearsal.sessions) + PACKET_S * packets)


def plan_run(
    experiment: Experiment, values: Mapping[str, Any], topology: Topology, datapath: Datapath
) -> RunPlan:
    """The plan of one run."""
    return together([plan_block(experiment, values, topology, datapath)], network_s(topology, values))


def plan_block(
    experiment: Experiment, values: Mapping[str, Any], topology: Topology, datapath: Datapath
) -> RunPlan:
    """The plan of what is done in a network that stands."""
    rehearsal = rehearsed(experiment, values, topology)
    logged = max((session.packets for session in rehearsal.sessions), default=0.0)
    return RunPlan(
        rehearsal.trials,
        rehearsal.seconds + sessions_s(rehearsal),
        memory_bytes(topology, datapath, logged),
        tuple(rehearsal.guarded_s),
    )


def together(blocks: Sequence[RunPlan], networks_s: float, jobs: int = 1) -> RunPlan:
    """The plan of blocks one after the other, with the time that their networks take; ``jobs``: sandboxes at a time."""
    return RunPlan(
        sum(block.trials for block in blocks),
        sum(block.duration_s for block in blocks) + networks_s + SLOWNESS * OUTSIDE_S,
        jobs * max((block.memory_bytes for block in blocks), default=0),
        tuple(guarded_s for block in blocks for guarded_s in block.guarded_s),
    )


def memory_bytes(topology: Topology, datapath: Datapath, packets: float) -> int:
    """What a run takes at most at a time: network, programs, and the packets of one session."""
    return network_bytes(topology, datapath) + PROGRAMS_BYTES + round(PACKET_BYTES * packets)


def in_words(seconds: float) -> str:
    """'45 s', '7 min', '2.5 h'."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(n_bytes: float) -> str:
    """'350 MB', '1.2 GB'."""
    return f"{n_bytes / 1e6:.0f} MB" if n_bytes < 0.95e9 else f"{n_bytes / 1e9:.1f} GB"
