"""Which of a datapath's flows can be about a VM: MACs may be used twice, in two virtual networks. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from emulation.wiring import DIRECT, REDIRECTED, nve_device
from topologies.model import Topology

_PORT = re.compile(r"in_port\(([^)]+)\)")


def networks_that_reach(topology: Topology, vm: str) -> set[str]:
    """The virtual networks whose VMs can send to a VM: its own and those routed to it."""
    own = topology.network_of(vm).name
    return {own, *(one.name for one in topology.virtual_networks if topology.may_route(one, own))}


def concerning(topology: Topology, vm: str, outside: Collection[str] = ()) -> Callable[[str], bool]:
    """A predicate on one line of ``dpctl/dump-flows --names``: the flow may carry frames for the VM.

    From a tunnel the VNI decides, from a VM's port that VM's network; ``outside``: ports that are no VM's but reach it.
    """
    tunnelled = f"tunnel(tun_id={topology.network_of(vm).vni:#x},"
    senders = networks_that_reach(topology, vm)
    network_of = {
        nve_device(one.name, which): one.virtual_network
        for one in topology.vms
        for which in (DIRECT, REDIRECTED)
    }

    def concerns(line: str) -> bool:
        if line.startswith("tunnel("):
            return line.startswith(tunnelled)
        found = _PORT.search(line)
        port = found[1] if found else ""
        return port in outside or network_of.get(port) in senders

    return concerns
