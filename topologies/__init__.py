"""Topologies: what an emulated network consists of, read from YAML files and checked.

Imports pydantic and the standard library; PyYAML only when a file is read.
"""

from topologies.checks import TUNNEL_OVERHEAD_BYTES, check_topology
from topologies.generate import generated
from topologies.loader import load_topology, parse_topology, shipped, topology_file
from topologies.model import (
    Link,
    LinkProperties,
    Nve,
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
    "Link",
    "LinkProperties",
    "Nve",
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
]
