"""in-flight-tunnel: how much buffer does a move need, and when may the tunnel from the old NVE stop? (Q5)

Question   The draft has the old NVE tunnel to the new one: "a huge buffer?", asks the review, and when is it
           safe to stop?
Varies     The time the VM stands still, and the rule that ends the tunnel: a fixed time, an idle time, or the
           last peer's acknowledgement (end markers along the old path).
Held fixed The policy (buffer), push of the new mapping, the path, the rate.
Answer     Per downtime and rule: frames the new NVE had to hold at most, packets that still reached the old NVE
           after the rule had ended the tunnel, loss, beside null trials.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mobility.options import MoveOptions

from .comparing import Group, checker, comparison, traffic_parameters
from .experiment import Experiment

DOWNTIMES_S = (0.01, 0.05, 0.2)
RULES = ("acknowledged", "fixed:50ms", "idle:5ms")
OBSERVED_S = 0.2


def groups(_values: Mapping[str, Any]) -> Sequence[Group]:
    """Every downtime with every rule."""
    return [
        Group(
            {"rule": rule, "downtime_s": downtime_s},
            MoveOptions(
                policy="buffer", downtime_s=downtime_s, drain=rule, observe_s=OBSERVED_S, announcements=1
            ),
        )
        for rule in RULES
        for downtime_s in DOWNTIMES_S
    ]


EXPERIMENT = Experiment(
    name="in-flight-tunnel",
    questions=("Q5",),
    question="How much buffer does a move need, and when may the tunnel from the old NVE stop?",
    answer="frames held at most against downtime; packets at the old NVE after each stop rule",
    parameters=traffic_parameters(rate_pps=5000, repeat=6, after=0.8),
    trials=comparison(groups),
    check=checker(groups),
    group_by=("rule", "downtime_s"),
    shown_measures=(
        "held_frames_peak",
        "tunnel_s",
        "misdirected_packets",
        "lost_packets_to_vm",
        "lost_packets_from_vm",
        "reordered_packets_to_vm",
        "reordered_packets_from_vm",
    ),
)
