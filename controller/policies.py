"""What the old NVE does with frames for a VM that has left: one small function for each policy.

A policy gets the place (:class:`OldNve`) and the origins it is to cover, and returns the FORWARD flows.
A new one (``icmp``, ``forward``) is one more function, its row in :data:`OLD_NVE_FLOWS` and its name in
:data:`controller.mapping.POLICIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from controller.mapping import POLICIES
from controller.pipeline import FORWARD, ORIGIN, OUT, OUTPUT, VNI, Flow, SetField, flow


@dataclass(frozen=True)
class OldNve:
    """What a policy needs to know: the VM's network and address, the tunnel port, the new NVE's address."""

    vni: int
    mac: str
    tunnel_port: int
    new_nve_ip: str


PRIORITY = 100


def to_tunnel(vni: int, mac: str, origin: int, remote_ip: str, tunnel_port: int) -> Flow:
    """Return the FORWARD flow that sends a VM's frames of one origin into the tunnel to another NVE."""
    actions = (SetField("tun_ipv4_dst", remote_ip), SetField("tunnel_id", vni), SetField(OUT, tunnel_port))
    return flow(FORWARD, PRIORITY, {VNI: vni, ORIGIN: origin, "eth_dst": mac}, actions, OUTPUT)


def silent_drop(old: OldNve, origins: tuple[int, ...]) -> frozenset[Flow]:
    """Drop, in an entry of its own so that the switch counts what it dropped."""
    return frozenset(
        flow(FORWARD, PRIORITY, {VNI: old.vni, ORIGIN: origin, "eth_dst": old.mac}) for origin in origins
    )


def tunnel(old: OldNve, origins: tuple[int, ...]) -> frozenset[Flow]:
    """Send on to the new NVE: the one case in which a frame from a tunnel goes back into one."""
    return frozenset(
        to_tunnel(old.vni, old.mac, origin, old.new_nve_ip, old.tunnel_port) for origin in origins
    )


OLD_NVE_FLOWS: Mapping[str, Callable[[OldNve, tuple[int, ...]], frozenset[Flow]]] = {
    "silent-drop": silent_drop,
    "tunnel": tunnel,
    # The same flows: what differs is the holder behind the new NVE's redirected port.
    "buffer": tunnel,
}

PASSES_ON = frozenset({"tunnel", "buffer"})
"""Policies under which frames (and end markers) that reach the old NVE come out at the new one."""

if set(OLD_NVE_FLOWS) != set(POLICIES):
    raise AssertionError("every policy of controller.mapping needs its flows here")
