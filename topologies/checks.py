"""Checks whether the parts of a topology fit together; each finding points at the value to change.

Which overlaps are allowed: addresses and MACs must differ within a virtual network only, and subnets of
different virtual networks may overlap (that is what virtual networks are for, RFC 7365 section 2.2). VNIs,
underlay addresses and the names of nodes (racks, spines, NVEs, VMs) must differ within the whole topology.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from topologies.check_networks import check_networks
from topologies.check_routes import check_routes
from topologies.check_underlay import check_underlay
from topologies.check_vms import check_vms
from topologies.draft import Draft, draft_of
from topologies.model import Topology
from topologies.names import clash_key
from topologies.problems import Path, Problem, repeated


def check_topology(topology: Topology) -> list[Problem]:
    """What does not fit together in a topology, without file and line; empty when it is sound."""
    return check_values(topology.as_file()).errors


def warnings_of(topology: Topology) -> list[Problem]:
    """What its `allow` lets pass, without file and line."""
    return check_values(topology.as_file()).warnings


@dataclass(frozen=True)
class Findings:
    """What is wrong: `errors` refuse a topology, `warnings` are those that its `allow` lets pass."""

    errors: list[Problem]
    warnings: list[Problem]


def check_values(data: object) -> Findings:
    """The same for the values of a file, of which parts may be wrong or missing: those are passed over."""
    draft = draft_of(data)
    checks = (_names, check_underlay, check_networks, check_vms, check_routes)
    found = [problem for check in checks for problem in check(draft)]
    return Findings(
        [_with_permit(problem) for problem in found if problem.permit not in draft.allow],
        [_as_warning(problem) for problem in found if problem.permit in draft.allow],
    )


def _with_permit(problem: Problem) -> Problem:
    if problem.permit is None:
        return problem
    hint = f"; or, to see what then happens, add the line allow: [{problem.permit}] to the file"
    return replace(problem, allowed=problem.allowed + hint)


def _as_warning(problem: Problem) -> Problem:
    return replace(problem, allowed=f"{problem.allowed} (a warning only: allow has {problem.permit})")


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
    yield from _interfaces(nodes)
    yield from repeated(draft.tenants.named, "the name is used twice; tenants must have different names")
    yield from repeated(
        draft.networks.named, "the name is used twice; virtual networks must have different names"
    )


def _interfaces(nodes: list[tuple[Path, str]]) -> Iterator[Problem]:
    """Long names that would be shortened to one: as good as never, but interfaces must have different names."""
    first: dict[str, tuple[Path, str]] = {}
    for path, name in nodes:
        other = first.setdefault(clash_key(name), (path, name))
        if other[1] != name:
            allowed = (
                f"interfaces of it and of '{other[1]}' would have the same names; change a letter of one"
            )
            yield Problem(path, f"'{name}'", allowed, first=other[0])
