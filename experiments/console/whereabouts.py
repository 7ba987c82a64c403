"""Where a VM is: what the NVA's mapping says, and where the kernel's wires really lead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulation import commands
from emulation.network import EmulatedNetwork
from emulation.plan import TUNNEL_PORT
from emulation.wiring import DIRECT, REDIRECTED, SINK, Wiring, port_device

from .journey import Place
from .why import Names

HELD, CUT = "held", "cut"


@dataclass(frozen=True)
class Wire:
    """Where a VM's wire leads: ``speaks``: the NVE that gets what it sends, or ``held`` or ``cut``.

    ``hears``: for each NVE and leg whether its frames reach the VM (``vm``), are ``held`` or ``cut``.
    """

    speaks: str
    hears: Mapping[tuple[str, str], str]

    def hears_from(self) -> list[str]:
        """The NVEs whose direct leg reaches the VM."""
        return [nve for (nve, which), end in self.hears.items() if which == DIRECT and end == "vm"]

    def agrees_with(self, nve: str) -> bool:
        """Whether the VM speaks to and hears that NVE and no other."""
        return self.speaks == nve and self.hears_from() == [nve]

    def words(self) -> str:
        """``to and from nve1``, or what is different."""
        if self.hears_from() == [self.speaks]:
            return f"to and from {self.speaks}"
        return f"sends to {self.speaks}, hears {', '.join(self.hears_from()) or 'nobody'}"


@dataclass(frozen=True)
class Whereabouts:
    """One VM: the NVA's word and the wire's."""

    vm: str
    ipv4: str
    nve: str
    ports: Mapping[str, int | None]
    move: Mapping[str, Any] | None
    wire: Wire


def wire_of(network: EmulatedNetwork, vm: str) -> Wire:
    """Ask the kernel: the redirect actions of a pre-wired VM, else in which NVE the veth's end is."""
    wiring = network.wirings.get(vm)
    if wiring is None:
        found = [nve.name for nve in network.nves.values() if _has_device(nve.pid, vm)]
        at = found[0] if found else CUT
        return Wire(at, {(nve, DIRECT): "vm" for nve in found})
    listed = json.loads(commands.run(["tc", "-j", "actions", "list", "action", "mirred"], node="sandbox"))
    targets = {
        action["index"]: action["to_dev"]
        for part in listed
        for action in part.get("actions", ())
        if "to_dev" in action
    }
    shown = commands.run(["tc", "-j", "filter", "show", "dev", port_device(vm), "ingress"], node="sandbox")
    return read_wire(wiring, targets, _last_target(json.loads(shown)))


def read_wire(wiring: Wiring, targets: Mapping[int, str], outbound: str) -> Wire:
    """The wire of a pre-wired VM from its actions' targets and the device that its own frames go to. Pure."""
    legs = {leg.devices[which]: nve for nve, leg in wiring.legs.items() for which in leg.devices}
    speaks = legs.get(outbound, CUT if outbound == SINK else HELD)
    ends = {port_device(wiring.vm): "vm", SINK: CUT}
    hears = {
        (nve, which): ends.get(targets.get(leg.actions[which], SINK), HELD)
        for nve, leg in wiring.legs.items()
        for which in (DIRECT, REDIRECTED)
    }
    return Wire(speaks, hears)


def _last_target(filters: list[dict[str, Any]]) -> str:
    """The device of the last filter: the first one takes the testbed's own markers out."""
    targets = [
        action["to_dev"]
        for one in filters
        for action in one.get("options", {}).get("actions", ())
        if "to_dev" in action
    ]
    return targets[-1] if targets else SINK


def _has_device(pid: int, device: str) -> bool:
    lines = Path(f"/proc/{pid}/net/dev").read_text().splitlines()
    return any(line.split(":")[0].strip() == device for line in lines)


def whereabouts(network: EmulatedNetwork, answer: Mapping[str, Any]) -> Whereabouts:
    """One VM's, from the NVA's answer to ``where`` and the kernel's."""
    vm, nve = answer["vm"], answer["nve"]
    ports = answer["ports"].get(nve, {})
    return Whereabouts(vm, answer["ipv4"], nve, ports, answer["move"], wire_of(network, vm))


def names_at(network: EmulatedNetwork, nve: str) -> Names:
    """What the numbers in an NVE's flows mean."""
    topology = network.topology
    ports = {number: name for name, number in network.ofports[nve].items()}
    macs = {vm.mac: vm.name for vm in topology.vms}
    ips = {str(one.underlay_ip): one.name for one in topology.nves}
    if len(topology.virtual_networks) == 1:  # subnets of several may overlap
        ips |= {str(vm.ipv4): vm.name for vm in topology.vms}
    return Names(ports, macs, ips, {one.vni: one.name for one in topology.virtual_networks})


def places(network: EmulatedNetwork) -> dict[str, Place]:
    """Every NVE, to follow a packet through."""
    topology, ports = network.topology, network.ofports
    return {
        name: Place(
            name,
            str(topology.nve(name).underlay_ip),
            ports[name][TUNNEL_PORT],
            names_at(network, name),
            nve.trace,
        )
        for name, nve in network.nves.items()
    }
