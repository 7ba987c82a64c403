"""All experiments by name."""

from __future__ import annotations

import difflib

from experiments.running.captures import with_captures
from experiments.running.experiment import Experiment
from experiments.running.guarding import with_guard
from experiments.studies.cold import EXPERIMENT as COLD
from experiments.studies.decision import EXPERIMENT as DECISION
from experiments.studies.dhcp_client import EXPERIMENT as DHCP_CLIENT
from experiments.studies.external_client import EXPERIMENT as EXTERNAL_CLIENT
from experiments.studies.hot_l2 import EXPERIMENT as HOT_L2
from experiments.studies.hot_l2_v6 import EXPERIMENT as HOT_L2_V6
from experiments.studies.hot_warm_cold import EXPERIMENT as HOT_WARM_COLD
from experiments.studies.in_flight_tunnel import EXPERIMENT as IN_FLIGHT_TUNNEL
from experiments.studies.l3_host_route import EXPERIMENT as L3_HOST_ROUTE
from experiments.studies.lifecycle import EXPERIMENT as LIFECYCLE
from experiments.studies.old_nve_policy import EXPERIMENT as OLD_NVE_POLICY
from experiments.studies.several_moves import EXPERIMENT as SEVERAL_MOVES
from experiments.studies.stage_order import EXPERIMENT as STAGE_ORDER
from experiments.studies.stale_mapping import EXPERIMENT as STALE_MAPPING
from experiments.studies.standby.study import EXPERIMENT as STANDBY
from experiments.studies.tenants import EXPERIMENT as TENANTS
from experiments.studies.transport_impact.study import EXPERIMENT as TRANSPORT_IMPACT
from experiments.studies.transports import EXPERIMENT as TRANSPORTS

EXPERIMENTS: dict[str, Experiment] = {
    experiment.name: with_captures(with_guard(experiment))
    for experiment in (
        HOT_L2,
        HOT_L2_V6,
        SEVERAL_MOVES,
        STALE_MAPPING,
        OLD_NVE_POLICY,
        IN_FLIGHT_TUNNEL,
        HOT_WARM_COLD,
        STAGE_ORDER,
        COLD,
        TENANTS,
        L3_HOST_ROUTE,
        EXTERNAL_CLIENT,
        DHCP_CLIENT,
        DECISION,
        LIFECYCLE,
        STANDBY,
        TRANSPORTS,
        TRANSPORT_IMPACT,
    )
}


class UnknownExperimentError(LookupError):
    """There is no experiment of that name; says which there are."""


def find(name: str) -> Experiment:
    """The experiment of that name. Raises UnknownExperimentError."""
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]
    near = difflib.get_close_matches(name, EXPERIMENTS, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise UnknownExperimentError(
        f"there is no experiment {name!r}{meant} (there are: {', '.join(EXPERIMENTS)})"
    )
