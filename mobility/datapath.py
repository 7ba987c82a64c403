"""When an NVE's datapath has followed its flow tables: read off the datapath's own flows. Pure.

A barrier reply says that the flow tables have changed; Open vSwitch's cached datapath flows follow a little later.
Until they have, frames still go the old way, and a migration's next step must not come before. Each function gives a
predicate on one line of ``dpctl/dump-flows``: true when that flow still says the old thing about the VM.
"""

from __future__ import annotations

from collections.abc import Callable

Stale = Callable[[str], bool]

# Answered at the NVE: these flows do not depend on where a VM is. ARP, neighbour solicitations, pings to the gateway.
_ANSWERED = ("eth_type(0x0806)", "icmpv6(type=135", "icmpv6(type=128", "icmp(type=8")
_GATEWAYS = ("icmpv6(type=128", "icmp(type=8")


def _to(flow: str, mac: str) -> bool:
    """Whether a flow is about frames for a VM: bridged (its MAC is matched) or routed (its MAC is written)."""
    match, _, actions = flow.partition("actions:")
    if any(sign in match for sign in _ANSWERED[:2]):
        return False
    bridged = f"dst={mac})" in match
    answer_of_the_gateway = any(sign in match for sign in _GATEWAYS) and "set(icmp" in actions
    return bridged or (f"dst={mac})" in actions and not answer_of_the_gateway)


def _actions(flow: str) -> str:
    return flow.partition("actions:")[2].strip()


def stale_at_new_nve(mac: str) -> Stale:
    """After ``prepare_move``: what comes from a tunnel for the VM must no longer be dropped."""
    return lambda flow: _to(flow, mac) and flow.startswith("tunnel(") and _actions(flow) == "drop"


def stale_at_old_nve(mac: str, new_underlay_ip: str) -> Stale:
    """After ``redirect``: what is for the VM must leave towards the new NVE (what was dropped stays dropped)."""

    def stale(flow: str) -> bool:
        actions = _actions(flow)
        return _to(flow, mac) and actions != "drop" and f"dst={new_underlay_ip}," not in actions

    return stale


def stale_at_forwarding_nve(mac: str, next_hop_mac: str) -> Stale:
    """After ``redirect`` with policy forward: what is for the VM must leave for the plain underlay, or be dropped."""

    def stale(flow: str) -> bool:
        actions = _actions(flow)
        return _to(flow, mac) and actions != "drop" and f"dst={next_hop_mac})" not in actions

    return stale


def stale_delivery(mac: str) -> Stale:
    """After a policy that sends nothing to the new NVE began: nothing for the VM may still go out of its own port."""

    def stale(flow: str) -> bool:
        actions = _actions(flow)
        tunnelled = "tnl_push(" in actions or "set(tunnel(" in actions
        return _to(flow, mac) and not tunnelled and actions.rpartition(",")[2].isdigit()

    return stale


def stale_at_peer_nve(mac: str, old_underlay_ip: str) -> Stale:
    """After ``commit_move``: nothing for the VM may still leave towards the old NVE."""
    return lambda flow: _to(flow, mac) and f"dst={old_underlay_ip}," in _actions(flow)
