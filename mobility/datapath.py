"""When an NVE's datapath has followed its flow tables: read off the datapath's own flows. Pure.

A barrier reply says that the flow tables have changed; Open vSwitch's cached datapath flows follow a little later.
Until they have, frames still go the old way, and a migration's next step must not come before. Each function gives a
predicate on one line of ``dpctl/dump-flows``: true when that flow still says the old thing about the VM.
"""

from __future__ import annotations

from collections.abc import Callable

Stale = Callable[[str], bool]

_ARP = "eth_type(0x0806)"  # answered at the NVE: its flows do not depend on where the VM is


def _to(flow: str, mac: str) -> bool:
    match, _, _ = flow.partition("actions:")
    return f"dst={mac})" in match and _ARP not in match


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


def stale_at_peer_nve(mac: str, old_underlay_ip: str) -> Stale:
    """After ``commit_move``: nothing for the VM may still leave towards the old NVE."""
    return lambda flow: _to(flow, mac) and f"dst={old_underlay_ip}," in _actions(flow)
