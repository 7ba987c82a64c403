"""Which old-NVE policies (``vocabulary.policies``) a move may have: by attachment, topology and IP version."""

from __future__ import annotations

from topologies.model import Topology
from vocabulary.errors import OverlandError
from vocabulary.policies import POLICIES, OldNvePolicy


class MigrationRefusedError(OverlandError, ValueError):
    """A move that cannot be done is refused before anything is touched; says why and what is possible."""


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
