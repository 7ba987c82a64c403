"""old-nve-policy: what should the old NVE do with packets for a VM that has left? (Q4)

Question   The draft has the old NVE drop silently, drop with ICMP, forward, or tunnel, each in turn. What does
           each cost a VM that stands still for a moment while it moves?
Varies     The policy at the old NVE.
Held fixed The path (between two NVEs at which the peer is not), the downtime, the traffic: UDP and TCP both
           ways.
Answer     Per policy: packets lost, TCP stall and retransmits, whether every connection went on, beside null
           trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mobility.options import MoveOptions
from mobility.policies import POLICIES

from .comparing import Group, checker, comparison, traffic_parameters
from .experiment import Experiment
from .parameters import duration_s


def groups(values: Mapping[str, Any]) -> Sequence[Group]:
    """Every policy there is, with the same downtime."""
    return [
        Group({"policy": name}, MoveOptions(policy=name, downtime_s=values["downtime"], announcements=1))
        for name in POLICIES
    ]


EXPERIMENT = Experiment(
    name="old-nve-policy",
    questions=("Q4",),
    question="What should the old NVE do with packets for a VM that has left?",
    answer="per policy: packets lost, TCP stall, retransmits",
    parameters=(
        *traffic_parameters(rate_pps=2000, repeat=10, after=1.0),
        duration_s("downtime", 0.05, "how long the VM stands still"),
    ),
    trials=comparison(groups),
    check=checker(groups),
    group_by=("policy",),
    shown_measures=(
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "blackout_s_to_vm",
        "blackout_s_from_vm",
        "reordered_packets_to_vm",
        "reordered_packets_from_vm",
        "tcp_stall_s_to_vm",
        "tcp_stall_s_from_vm",
        "packets_at_old_nve",
        "held_frames_peak",
    ),
)
