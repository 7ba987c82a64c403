"""hot-warm-cold: what are the stages of each kind of move, and what does each cost? (Q6)

Question   Hot, warm and cold mobility are named, their steps are not laid out. Which stages has each, how long
           does each take, how long does the VM stand still, how many bytes are copied, and what do its
           connections see?
Varies     The kind: hot (memory is copied in rounds while the VM runs), warm (once while it runs, then it is
           suspended for the rest), cold (it is stopped, everything is copied, it is started).
Held fixed Memory, dirty rate, bandwidth, policy (buffer), the path, the traffic.
Answer     Per kind: time of every stage (timeline), total time, downtime, bytes, loss, TCP stall, beside null
           trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from experiments.designs.comparing import Group, checker, comparison, traffic_parameters
from experiments.designs.copying_vm import MEMORY, check_copy, said_of_copy
from experiments.designs.moving_vm import PAUSE
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.parameters import (
    duration_s,
    with_topology,
)
from experiments.running.sentences import figure, groups_tried, measured, milliseconds, packets
from mobility.options import MoveOptions
from topologies.model import Topology
from vocabulary.moves import KINDS


def groups(values: Mapping[str, Any]) -> Sequence[Group]:
    """The three kinds with the same memory."""
    return [
        Group(
            {"kind": kind},
            MoveOptions(
                kind=kind,
                policy="buffer",
                bandwidth_bps=values["bandwidth"],
                memory_bytes=values["memory_mib"] * 2**20,
                dirty_rate_bps=values["dirty_rate"],
                downtime_limit_s=values["downtime_limit_ms"] / 1000,
                copy_real=bool(values["real"]),
                downtime_s=values["downtime"] or None,
                pause=values["pause"],
                announcements=1,
            ),
        )
        for kind in KINDS
    ]


DOWNTIME = duration_s(
    "downtime", 0.0, "time the VM stands still, imposed; 0: what its copy leaves for the stop"
)


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As every comparison's; and a copy that would last for hours is refused."""
    settled, each = with_topology(EXPERIMENT.parameters, values, topology), Gathered()
    with each:
        checker(groups)(settled, topology)
    with each:
        check_copy(settled)
    each.tell()


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """Per kind its stages in order with their times, downtime, bytes, loss and TCP's pause."""
    told, still = [], []
    for (kind,) in sorted(groups_tried(trials, "kind"), key=lambda found: KINDS.index(found[0])):
        of = partial(measured, trials, kind=kind)
        lost = packets(of("lost_packets_to_vm")), packets(of("lost_packets_from_vm"))
        still.append(f"{milliseconds(of('downtime_s'))} ({kind}, {milliseconds(of('move_total_s'))} in all)")
        copied = (
            f"{figure(of('copied_bytes'), 1e-6, 'MB')} {COPIED if _is_real(trials, kind) else CALCULATED}"
        )
        told.append(
            f"{kind.capitalize()}: {stages(trials, kind)}; {copied}, "
            f"rounds while it runs {figure(of('copy_rounds_count'), 1, '')}; lost {lost[0]} to the VM and {lost[1]} "
            f"from it; TCP to it waits {milliseconds(of('tcp_stall_s_to_vm'))}."
        )
    floor = milliseconds(measured(trials, "tcp_stall_s_to_vm", null=True))
    return " ".join(
        [f"The VM stands still for {', '.join(still)}.", *told, f"Without a move TCP waits {floor}."]
    )


COPIED, CALCULATED = "copied", "to be copied (calculated and waited for: no byte was sent)"


def _is_real(trials: Sequence[Mapping[str, Any]], kind: str) -> bool:
    """Whether the moves of a kind sent the memory's bytes (parameter ``real``)."""
    own = [one["migration"] for one in trials if one["valid"] and one["parameters"].get("kind") == kind]
    return any((move.get("options") or {}).get("copy_real") for move in own)


def stages(trials: Sequence[Mapping[str, Any]], kind: str) -> str:
    """'prepare 8.1 ms, copy 598 ms': the phases of a kind in their order with the median of their times."""
    times_s: dict[str, list[float]] = {}
    for trial in trials:
        if trial["valid"] and trial["parameters"].get("kind") == kind:
            for phase in trial["migration"]["phases"]:
                times_s.setdefault(phase["name"], []).append(phase["end_s"] - phase["start_s"])
    return ", ".join(f"{name} {milliseconds(found)}" for name, found in times_s.items())


EXPERIMENT = Experiment(
    name="hot-warm-cold",
    questions=("Q6",),
    question="What are the stages of a hot, a warm and a cold move, and what does each cost?",
    answer="per kind: stages, total time, downtime, bytes copied, loss, TCP stall",
    parameters=(*traffic_parameters(rate_pps=2000, repeat=8, after=1.5), *MEMORY, DOWNTIME, PAUSE),
    trials=comparison(groups),
    check=check,
    conclude=conclude,
    memory=said_of_copy,
    group_by=("kind",),
    shown_measures=(
        "move_total_s",
        "downtime_s",
        "copied_bytes",
        "copy_rounds_count",
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "tcp_stall_s_to_vm",
        "tcp_stall_s_from_vm",
        "held_frames_peak",
    ),
)
