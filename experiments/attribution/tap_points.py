"""Where the taps are: the devices along the probes' way, and what a frame on each of them says. Pure but for PIDs.

The ends of the links that are *not* the NVEs' own: a frame that a userspace datapath takes from its device by XDP is
never seen there, and one that a tc action redirects is seen before that.

    VM ── port (or the VM's own eth0) ── leg of an NVE ── NVE ── router's end of the NVE's link ── ...
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from emulation import outside, plain
from emulation.legs import port_device
from emulation.network import EmulatedNetwork
from emulation.plan import router_interface
from experiments.probes.tap import TappedDevice

OWN_NAMESPACE = 0


class Role(StrEnum):
    """What a tapped device is the end of."""

    VM = "vm"
    LEG = "leg"
    UNDERLAY = "underlay"
    OUTSIDE = "outside"


class Stage(StrEnum):
    """What a sighting says: where the packet had come to."""

    LEFT_VM = "left the VM"
    INTO_NVE = "went into the NVE's leg"
    ON_UNDERLAY = "left the NVE for the underlay"
    AT_NVE = "reached the NVE"
    OUT_OF_NVE = "came out of the NVE's leg"
    TO_VM = "was handed to the VM"


@dataclass(frozen=True)
class Point:
    """One tapped device. ``owner``: the VM or the NVE that it leads to; ``which`` leg, or ``plain``.

    ``home``: of a VM that stays, the NVE at the device's other end.

    ``leads_out``: a frame that the tap sees outgoing goes to the owner, not away from it.
    """

    tapped: TappedDevice
    role: Role
    owner: str
    leads_out: bool = True
    which: str = ""
    home: str = ""

    @property
    def nve(self) -> str:
        """The NVE that a frame seen here comes from or goes to; '' at the end of a VM that moves."""
        return self.home if self.role is Role.VM else self.owner

    def stage(self, outgoing: bool) -> Stage:
        """What a frame in that direction says."""
        towards = outgoing == self.leads_out
        if self.role is Role.VM:
            return Stage.TO_VM if towards else Stage.LEFT_VM
        if self.role is Role.LEG:
            return Stage.INTO_NVE if towards else Stage.OUT_OF_NVE
        return Stage.AT_NVE if towards else Stage.ON_UNDERLAY


def points_for(network: EmulatedNetwork, ends: Iterable[str]) -> list[Point]:
    """The points on every way between VMs or outside clients: their own, their legs, their NVEs' links."""
    found: list[Point] = []
    nves: dict[str, None] = {}
    beyond = network.topology.outside
    clients = () if beyond is None else tuple(client.name for client in beyond.clients)
    for name in ends:
        if name in network.wirings:
            wiring = network.wirings[name]
            found.append(Point(TappedDevice(OWN_NAMESPACE, port_device(name)), Role.VM, name))
            for nve, leg in wiring.legs.items():
                nves[nve] = None
                found += [
                    Point(TappedDevice(OWN_NAMESPACE, device), Role.LEG, nve, which=which)
                    for which, device in leg.devices.items()
                ]
            continue
        device = TappedDevice(network[name].pid, "eth0")
        stays = network.options.attachment == "rebind" and name not in clients
        home = network.location[name] if stays else ""
        found.append(Point(device, Role.VM, name, leads_out=False, home=home))
        if beyond is not None and name in clients:
            nves[beyond.nve] = None
            device = TappedDevice(network[outside.ROUTER].pid, router_interface(beyond.nve))
            found.append(Point(device, Role.OUTSIDE, beyond.nve))
        else:
            nves[network.location[name]] = None
            if network.options.attachment == "replug":  # then a VM may be plugged in anywhere
                nves |= dict.fromkeys(network.nves)
    for nve in nves:
        router = network[network.plan.access_links[nve].router].pid
        found.append(Point(TappedDevice(router, router_interface(nve)), Role.UNDERLAY, nve))
        if network.topology.underlay.routes_tenants:
            device = TappedDevice(router, plain.router_device(nve))
            found.append(Point(device, Role.UNDERLAY, nve, which="plain"))
    return found
