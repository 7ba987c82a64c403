"""What the old NVE does with packets for a VM that has left: one row a policy, with all that follows from it.

A new policy is a row here and its flows in ``controller.policies``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vocabulary.moves import ATTACHMENTS, REBIND


@dataclass(frozen=True)
class OldNvePolicy:
    """One policy.

    ``redirects``: the old NVE sends packets on; else nothing that reaches it comes out at the new NVE.
    ``tunnels``: through the tunnel, so that end markers pass too; a policy that redirects and does not tunnel hands
    IPv4 packets to the underlay without an overlay header.
    ``holds``: the new NVE keeps them until the VM is there.
    ``acts``: the NVA is asked to apply it when the VM stops; else it begins with the new mapping.
    """

    name: str
    meaning: str
    redirects: bool = False
    tunnels: bool = False
    holds: bool = False
    acts: bool = True
    attachments: tuple[str, ...] = ATTACHMENTS

    @property
    def is_plain(self) -> bool:
        """Whether packets leave the old NVE without an overlay header: IPv4 only, routed by the underlay."""
        return self.redirects and not self.tunnels


POLICIES: Mapping[str, OldNvePolicy] = {
    policy.name: policy
    for policy in (
        OldNvePolicy("silent-drop", "packets that still reach the old NVE vanish there", acts=False),
        OldNvePolicy("icmp", "they vanish there, and their senders are told: destination unreachable (host)"),
        OldNvePolicy(
            "tunnel",
            "the old NVE tunnels them to the new NVE from the stop on",
            redirects=True,
            tunnels=True,
        ),
        OldNvePolicy(
            "forward",
            "the old NVE hands IPv4 packets to the underlay as they are, which has a host route to the new NVE",
            redirects=True,
            attachments=(REBIND,),
        ),
        OldNvePolicy(
            "buffer",
            "as tunnel, and the new NVE holds them until the VM runs there; released in order",
            redirects=True,
            tunnels=True,
            holds=True,
            attachments=(REBIND,),
        ),
    )
}
"""All policies by name, those that lose most first."""

DROPPING: tuple[str, ...] = tuple(name for name, policy in POLICIES.items() if not policy.redirects)
