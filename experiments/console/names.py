"""What the numbers and addresses at one NVE mean. Pure.

Addresses name somebody in a virtual network only: two tenants may use the same ones, MACs too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controller.pipeline import OUTSIDE_VNI

OUTSIDE = "the outside"


@dataclass(frozen=True)
class Names:
    """What is known at one NVE; an unknown number stays a number.

    ``ports``: what to call a port; ``owners``: the VM (or ``OUTSIDE``) behind it; ``port_vnis``: its network. ``macs``
    and ``ips`` are by network, ``nves`` by underlay address.
    """

    ports: Mapping[int, str] = field(default_factory=dict)
    owners: Mapping[int, str] = field(default_factory=dict)
    port_vnis: Mapping[int, int] = field(default_factory=dict)
    macs: Mapping[tuple[int, str], str] = field(default_factory=dict)
    ips: Mapping[tuple[int, str], str] = field(default_factory=dict)
    networks: Mapping[int, str] = field(default_factory=dict)
    nves: Mapping[str, str] = field(default_factory=dict)

    def port(self, number: int) -> str:
        """``port 3 (vm1)``."""
        return f"port {number}" + aside(self.ports.get(number))

    def mac(self, mac: str, vni: int | None) -> str:
        """Whose it is in that network, else the MAC itself; without a network, only what is one name everywhere."""
        return _named(self.macs, mac, vni) or mac

    def ip(self, ip: str, vni: int | None) -> str:
        """``10.1.0.10 (vm1)``."""
        return ip + aside(_named(self.ips, ip, vni))

    def nve(self, ip: str) -> str:
        """``nve2 (192.0.2.2)``."""
        return f"{self.nves[ip]} ({ip})" if ip in self.nves else ip

    def network(self, vni: int) -> str:
        """``blue (VNI 5001)``."""
        if vni == OUTSIDE_VNI:
            return OUTSIDE
        return f"{self.networks[vni]} (VNI {vni})" if vni in self.networks else f"VNI {vni}"


def _named(names: Mapping[tuple[int, str], str], address: str, vni: int | None) -> str | None:
    if vni is not None:
        return names.get((vni, address))
    found = {name for (_, one), name in names.items() if one == address}
    return found.pop() if len(found) == 1 else None


def aside(text: str | None) -> str:
    """The text in parentheses, behind a blank; nothing for none."""
    return f" ({text})" if text else ""
