"""Checks whether the parts of a topology fit together; each finding points at the value to change.

Which overlaps are allowed: addresses and MACs must differ within a virtual network only, and subnets of
different virtual networks may overlap (that is what virtual networks are for, RFC 7365 section 2.2). VNIs,
underlay addresses and the names of nodes (racks, spines, NVEs, VMs) must differ within the whole topology.
"""

from collections.abc import Iterator

from topologies.check_networks import check_networks
from topologies.check_routes import check_routes
from topologies.check_underlay import check_underlay
from topologies.check_vms import check_vms
from topologies.draft import Draft, draft_of
from topologies.model import Topology
from topologies.problems import Problem, repeated


def check_topology(topology: Topology) -> list[Problem]:
    """What does not fit together in a topology, without file and line; empty when it is sound."""
    return check_values(topology.as_file())


def check_values(data: object) -> list[Problem]:
    """The same for the values of a file, of which parts may be wrong or missing: those are passed over."""
    draft = draft_of(data)
    checks = (_names, check_underlay, check_networks, check_vms, check_routes)
    return [problem for check in checks for problem in check(draft)]


def _names(draft: Draft) -> Iterator[Problem]:
    nodes = [
        *draft.racks.named,
        *draft.spines.named,
        *draft.nves.named,
        *draft.vms.named,
        *draft.clients.named,
    ]
    yield from repeated(
        nodes, "the name is used twice; racks, spines, NVEs, VMs and clients must all have different names"
    )
    yield from repeated(draft.tenants.named, "the name is used twice; tenants must have different names")
    yield from repeated(
        draft.networks.named, "the name is used twice; virtual networks must have different names"
    )
