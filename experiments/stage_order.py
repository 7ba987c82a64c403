"""stage-order: which comes first, the mapping's update, the stop, or the resume? (Q7)

Question   The draft jumbles the order of the stages. What does each order cost?
Varies     The order: stop-first (the VM stops, runs at the new NVE, then the peers are told), update-first (the
           peers are told while it still runs at the old one), resume-first (the new copy runs before the old
           one is cut off); and the policy at the old NVE.
Held fixed The path, no downtime of the VM itself, the traffic.
Answer     Per order and policy: lost, duplicated, reordered packets, TCP stall, beside null trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mobility.options import ORDERS, MoveOptions
from mobility.policies import MigrationRefusedError

from .comparing import Group, checker, comparison, traffic_parameters
from .experiment import Experiment

POLICIES_COMPARED = ("silent-drop", "tunnel", "buffer")


def groups(_values: Mapping[str, Any]) -> Sequence[Group]:
    """Every order with every policy that goes with it."""
    found = []
    for order in ORDERS:
        for policy in POLICIES_COMPARED:
            options = MoveOptions(policy=policy, order=order, announcements=1)
            try:
                options.check("rebind")
            except MigrationRefusedError:
                continue  # such as resume-first with buffer: there is nobody to hold packets for
            found.append(Group({"order": order, "policy": policy}, options))
    return found


EXPERIMENT = Experiment(
    name="stage-order",
    questions=("Q7",),
    question="Which comes first: the mapping's update, the stop, or the resume?",
    answer="per order and policy: lost, duplicated, reordered packets, TCP stall",
    parameters=traffic_parameters(rate_pps=5000, repeat=10, after=0.6),
    trials=comparison(groups),
    check=checker(groups),
    group_by=("order", "policy"),
    shown_measures=(
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "duplicated_packets_to_vm",
        "duplicated_packets_from_vm",
        "reordered_packets_to_vm",
        "reordered_packets_from_vm",
        "tcp_stall_s_to_vm",
        "tcp_stall_s_from_vm",
        "move_total_s",
    ),
)
