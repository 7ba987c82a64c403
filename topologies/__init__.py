"""Topologies: what an emulated network consists of, read from YAML files and checked.

Imports pydantic and the standard library; PyYAML only when a file is read.
"""

from topologies.check_networks import TUNNEL_OVERHEAD_BYTES
from topologies.checks import check_topology, warnings_of
from topologies.generate import generated
from topologies.loader import load_topology, parse_topology, shipped, topology_file
from topologies.model import (
    Client,
    Link,
    LinkProperties,
    Nve,
    Outside,
    Rack,
    Spine,
    Tenant,
    Topology,
    Tunnel,
    Underlay,
    UnknownNameError,
    VirtualNetwork,
    Vm,
)
from topologies.problems import Problem, TopologyErrors

__all__ = [
    "TUNNEL_OVERHEAD_BYTES",
    "Client",
    "Link",
    "LinkProperties",
    "Nve",
    "Outside",
    "Problem",
    "Rack",
    "Spine",
    "Tenant",
    "Topology",
    "TopologyErrors",
    "Tunnel",
    "Underlay",
    "UnknownNameError",
    "VirtualNetwork",
    "Vm",
    "check_topology",
    "generated",
    "load_topology",
    "parse_topology",
    "shipped",
    "topology_file",
    "warnings_of",
]
