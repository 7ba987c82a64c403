"""What the old NVE does with packets for a VM that has left, seen from the migration: which steps it asks for.

The flows themselves are the NVA's (`controller/policies.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

from topologies.model import Topology


class MigrationRefusedError(ValueError):
    """A move that cannot be done is refused before anything is touched; says why and what is possible."""


@dataclass(frozen=True)
class OldNvePolicy:
    """One policy.

    ``redirects``: the old NVE sends packets on; ``tunnels``: through the tunnel, so that end markers pass too;
    ``holds``: the new NVE keeps them until the VM is there; ``acts``: the NVA is asked to apply it when the VM stops
    (else it begins with the new mapping).
    """

    name: str
    redirects: bool
    holds: bool
    attachments: tuple[str, ...]
    meaning: str
    acts: bool = True
    tunnels: bool = False


POLICIES = {
    policy.name: policy
    for policy in (
        OldNvePolicy(
            "silent-drop",
            False,
            False,
            ("rebind", "replug"),
            "packets that still reach the old NVE vanish there",
            acts=False,
        ),
        OldNvePolicy(
            "icmp",
            False,
            False,
            ("rebind", "replug"),
            "they vanish there, and their senders are told: destination unreachable (host)",
        ),
        OldNvePolicy(
            "tunnel",
            True,
            False,
            ("rebind", "replug"),
            "the old NVE tunnels them to the new NVE from the stop on",
            tunnels=True,
        ),
        OldNvePolicy(
            "forward",
            True,
            False,
            ("rebind",),
            "the old NVE hands IPv4 packets to the underlay as they are, which has a host route to the new NVE",
        ),
        OldNvePolicy(
            "buffer",
            True,
            True,
            ("rebind",),
            "as tunnel, and the new NVE holds them until the VM runs there; released in order",
            tunnels=True,
        ),
    )
}


def policy_for(name: str, attachment: str) -> OldNvePolicy:
    """The policy of that name, if the VM's attachment can do it; else MigrationRefusedError."""
    policy = POLICIES.get(name)
    if policy is None:
        raise MigrationRefusedError(
            f"policy={name}: there is no such old-NVE policy; allowed: {', '.join(POLICIES)}"
        )
    if attachment not in policy.attachments:
        possible = ", ".join(p.name for p in POLICIES.values() if attachment in p.attachments)
        raise MigrationRefusedError(
            f"policy={name} needs attachment=rebind: with {attachment} the new NVE has no port of the VM "
            f"before the plug; with {attachment} choose {possible}"
        )
    return policy


def check_forwarding(topology: Topology, vm: str, family: str = "ipv4") -> None:
    """Refuse policy forward where packets without an overlay header cannot reach the VM, or reach another one.

    ``family``: the IP version of the traffic that is to be forwarded. Raises MigrationRefusedError.
    """
    others = "choose policy=tunnel, buffer, icmp or silent-drop"
    if family != "ipv4":
        raise MigrationRefusedError(
            f"policy=forward with family={family}: without the overlay header a packet goes as it is, and the underlay "
            f"is IPv4; {others}, or family=ipv4"
        )
    if not topology.underlay.routes_tenants:
        raise MigrationRefusedError(
            f"policy=forward: the underlay of topology {topology.name} has no routes for VMs' addresses, and its NVEs "
            f"no plain port; set `routes_tenants: true` in its `underlay`, or {others}"
        )
    address = topology.vm(vm).ipv4
    twin = next((one for one in topology.vms if one.ipv4 == address and one.name != vm), None)
    if twin is not None:
        raise MigrationRefusedError(
            f"policy=forward: {twin.name} of network {twin.virtual_network} has {vm}'s address {address} too, and "
            f"without the overlay header nothing tells them apart; {others}"
        )
