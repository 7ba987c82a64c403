"""Where a VM is: what the NVA's mapping says, and where the kernel's wires really lead."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from controller.pipeline import OUTSIDE_VNI
from emulation import addressing, commands, outside, plain
from emulation.holders import CLOSED_RATE_BYTES_PER_S, HOLDERS, entry_device, exit_device
from emulation.network import EmulatedNetwork
from emulation.plan import TUNNEL_PORT
from emulation.wiring import DIRECT, REDIRECTED, SINK, Wiring, nve_device, port_device
from experiments.console.journey import Place
from experiments.console.names import OUTSIDE, Names
from topologies.model import Topology

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
    state: str = "running"
    believed: Mapping[str, str] = field(default_factory=dict)
    """NVEs whose mapping is out of date, and where they send the VM's frames instead."""

    @property
    def agrees(self) -> bool:
        """Whether the wire leads where it should: to the VM's NVE; nowhere (held, or cut) when it does not run."""
        if self.wire.agrees_with(self.nve):
            return self.state != "released"
        nowhere = not self.wire.hears_from() and self.wire.speaks in (HELD, CUT)
        return self.state != "running" and nowhere


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
    outbound = _leads_to(port_device(vm))
    entries = {holder: entry_device(vm, holder) for holder in HOLDERS}
    used = {outbound, *targets.values()}
    passing = {
        entries[holder]: _leads_to(exit_device(vm, holder)) for holder in HOLDERS if entries[holder] in used
    }
    passing = {entry: end for entry, end in passing.items() if _is_open(entry)}
    return read_wire(wiring, targets, outbound, passing)


def read_wire(
    wiring: Wiring,
    targets: Mapping[int, str],
    outbound: str,
    passing: Mapping[str, str] = MappingProxyType({}),
) -> Wire:
    """The wire of a pre-wired VM from its actions' targets and the device that its own frames go to. Pure.

    ``passing``: holders that have been opened, so that frames pass them, and where these go then.
    """
    legs = {leg.devices[which]: nve for nve, leg in wiring.legs.items() for which in leg.devices}
    outbound = passing.get(outbound, outbound)
    speaks = legs.get(outbound, CUT if outbound == SINK else HELD)
    ends = {port_device(wiring.vm): "vm", SINK: CUT}
    ends |= {entry: ends.get(end, HELD) for entry, end in passing.items()}
    hears = {
        (nve, which): ends.get(targets.get(leg.actions[which], SINK), HELD)
        for nve, leg in wiring.legs.items()
        for which in (DIRECT, REDIRECTED)
    }
    return Wire(speaks, hears)


def _leads_to(device: str) -> str:
    """Where what a device of the sandbox receives goes."""
    shown = commands.run(["tc", "-j", "filter", "show", "dev", device, "ingress"], node="sandbox")
    return _last_target(json.loads(shown))


def _is_open(entry: str) -> bool:
    """Whether a holder lets frames pass."""
    shown = json.loads(commands.run(["tc", "-j", "qdisc", "show", "dev", entry, "root"], node="sandbox"))
    return any(one.get("options", {}).get("rate", 0) > CLOSED_RATE_BYTES_PER_S for one in shown)


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
    return Whereabouts(
        vm,
        answer["ipv4"],
        nve,
        answer["ports"].get(nve, {}),
        answer["move"],
        wire_of(network, vm),
        answer["state"],
        answer["believed"],
    )


def names_at(network: EmulatedNetwork, nve: str) -> Names:
    """What the numbers in an NVE's flows mean."""
    topology = network.topology
    ports, owners, port_vnis = {}, {}, {}
    for device, number in network.ofports[nve].items():
        ports[number], owner, vni = _behind(network, device)
        if owner is not None and vni is not None:
            owners[number], port_vnis[number] = owner, vni
    return Names(
        ports,
        owners,
        port_vnis,
        _macs(topology),
        _ips(topology),
        {one.vni: one.name for one in topology.virtual_networks},
        {str(one.underlay_ip): one.name for one in topology.nves},
    )


def _behind(network: EmulatedNetwork, device: str) -> tuple[str, str | None, int | None]:
    """What to call a port, who is behind it, and in which network."""
    known = {TUNNEL_PORT: "the tunnel", plain.PORT: "the plain underlay"}
    if device in known:
        return known[device], None, None
    if device == outside.PORT:
        return OUTSIDE, OUTSIDE, OUTSIDE_VNI
    for vm in network.topology.vms:
        if device in (nve_device(vm.name, DIRECT), nve_device(vm.name, REDIRECTED)):
            leg = "" if device == vm.name else ", redirected"
            return vm.name + leg, vm.name, network.topology.network_of(vm).vni
    return device, None, None


def _macs(topology: Topology) -> dict[tuple[int, str], str]:
    """In each network: its VMs, and its gateway."""
    found = {(one.vni, addressing.GATEWAY_MAC): "the gateway" for one in topology.virtual_networks}
    for vm in topology.vms:
        found[topology.network_of(vm).vni, vm.mac] = vm.name
    if topology.outside is not None:
        for vni in (*(one.vni for one in topology.virtual_networks), OUTSIDE_VNI):
            found[vni, outside.MAC] = "the gateway to the outside"
            found[vni, outside.NEXT_HOP_MAC] = "the router outside"
    return found


def _ips(topology: Topology) -> dict[tuple[int, str], str]:
    """In each network, and outside: whoever can be reached from there by an address."""
    beyond = topology.outside
    found: dict[tuple[int, str], str] = {}

    def put(vni: int, name: str, *addresses: object) -> None:
        found.update({(vni, str(address)): name for address in addresses if address is not None})

    for vm in topology.vms:
        own = topology.network_of(vm)
        seen_from = [own.vni]
        seen_from += [one.vni for one in topology.virtual_networks if topology.may_route(one, own)]
        if beyond is not None and own.name in beyond.reaches:
            seen_from.append(OUTSIDE_VNI)
        for vni in seen_from:
            put(vni, vm.name, vm.ipv4, *addressing.ipv6_addresses(vm))
    for network in topology.virtual_networks:
        for other in topology.virtual_networks:
            if other == network or topology.may_route(network, other):
                put(network.vni, f"the gateway of {other.name}", other.gateway_v4, other.gateway_v6)
        if beyond is not None and network.name in beyond.reaches:
            put(OUTSIDE_VNI, f"the gateway of {network.name}", network.gateway_v4, network.gateway_v6)
            for client in beyond.clients:
                put(network.vni, client.name, client.ipv4, client.ipv6)
    return found


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
            ports[name].get(plain.PORT),
        )
        for name, nve in network.nves.items()
    }
