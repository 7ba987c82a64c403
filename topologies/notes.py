"""What somebody who reads figures of a topology should know of it beforehand. Pure."""

from topologies.checks import warnings_of
from topologies.model import Topology
from topologies.paths import untaken_lines


def notes(topology: Topology) -> list[str]:
    """A line for each fault that the topology allows and for ways through its underlay that idle."""
    return [*map(str, warnings_of(topology)), *untaken_lines(topology)]
