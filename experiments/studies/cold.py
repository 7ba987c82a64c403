"""cold: how is it arranged that the old NVE receives nothing in flight? (Q8)

Question   A cold move stops the VM, copies it and starts it elsewhere. Packets for it go on arriving. How many
           reach the old NVE after the stop, with and without quiescing, and how long do connections wait?
Varies     Quiescing: without (the VM stops, the old NVE drops what comes, the peers are told at the end), and
           with (the peers are told first, the new NVE holds what comes until the VM runs there).
Held fixed Memory, bandwidth, the path, the traffic.
Answer     Packets that came out at the old place after the stop, packets lost, TCP stall, beside null trials.
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
from experiments.running.parameters import with_topology
from experiments.running.sentences import (
    all_went_on,
    groups_tried,
    measured,
    milliseconds,
    packets,
    sentences,
)
from mobility.options import MoveOptions
from topologies.model import Topology


def groups(values: Mapping[str, Any]) -> Sequence[Group]:
    """Without and with quiescing."""
    common = MoveOptions(
        kind="cold",
        bandwidth_bps=values["bandwidth"],
        memory_bytes=values["memory_mib"] * 2**20,
        copy_real=bool(values["real"]),
        pause=values["pause"],
        announcements=1,
    )
    ways = {"no": {"policy": "silent-drop"}, "yes": {"policy": "buffer", "order": "update-first"}}
    return [Group({"quiesced": name}, MoveOptions.of(common, choices)) for name, choices in ways.items()]


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As every comparison's; and a copy that would last for hours is refused."""
    settled, each = with_topology(EXPERIMENT.parameters, values, topology), Gathered()
    with each:
        checker(groups)(settled, topology)
    with each:
        check_copy(settled)
    each.tell()


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """Packets at the old place, lost, and how long connections wait, without and with quiescing."""
    told = []
    for (quiesced,) in groups_tried(trials, "quiesced"):
        of = partial(measured, trials, quiesced=quiesced)
        waited = (milliseconds(of(f"tcp_stall_s_{way}_vm")) for way in ("to", "from"))
        told.append(
            f"{'With' if quiesced == 'yes' else 'Without'} quiescing {packets(of('packets_at_old_nve'))} packets came "
            f"to the old NVE after the stop (UDP and TCP), {packets(of('lost_packets_to_vm'))} of UDP were lost, TCP "
            f"to and from the VM waited {' and '.join(waited)}, while it stood still for "
            f"{milliseconds(of('downtime_s'))}."
        )
    floor = milliseconds(measured(trials, "tcp_stall_s_to_vm", null=True))
    return f"{' '.join(told)} (Without a move TCP waits {floor}.) {sentences([all_went_on(trials)])}"


EXPERIMENT = Experiment(
    name="cold",
    questions=("Q8",),
    question="How is it arranged that the old NVE receives nothing in flight?",
    answer="packets at the old NVE after the stop, with and without quiescing; how long connections wait",
    parameters=(
        *traffic_parameters(rate_pps=1000, repeat=8, after=1.5),
        *(parameter for parameter in MEMORY if parameter.name in ("memory_mib", "bandwidth", "real")),
        PAUSE,
    ),
    trials=comparison(groups),
    check=check,
    conclude=conclude,
    memory=said_of_copy,
    group_by=("quiesced",),
    shown_measures=(
        "packets_at_old_nve",
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "blackout_s_to_vm",
        "blackout_s_from_vm",
        "tcp_stall_s_to_vm",
        "tcp_stall_s_from_vm",
        "downtime_s",
        "held_frames_peak",
        "went_on_connections_count",
        "ended_connections_count",
        "silent_connections_count",
    ),
)
