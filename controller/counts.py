"""How many frames came for a VM where it no longer is, and from which NVEs: read from the switches' counters."""

from __future__ import annotations

from typing import Any

from controller import openflow
from controller.fabric import Fabric
from controller.model import State, find_vm
from controller.policies import COUNTED
from controller.session import NveGoneError


def misdirected(state: State, fabric: Fabric, vm: str) -> dict[str, Any]:
    """Ask the NVEs at which a VM's late frames are counted; those that do not answer are named.

    Refused for a VM that is not known. Open vSwitch brings the counters up to date about once a second.
    """
    subject = find_vm(state, f"misdirected {vm!r}", vm)
    by_ip = {nve.underlay_ip: nve.name for nve in state.nves.values()}
    counted_at = sorted(nve for nve, vms in state.watched.items() if vm in vms)
    asked = {}
    for nve in counted_at:
        session = fabric.session(state.nves[nve].dpid)
        if session is not None:
            asked[nve] = session.ask_counts(openflow.count_request(subject.vni, subject.mac))
    by_nve: dict[str, int] = {}
    missing = [nve for nve in counted_at if nve not in asked]
    for nve, future in asked.items():
        try:
            counts = future.result(fabric.answer_within_s)
        except (NveGoneError, TimeoutError):
            missing.append(nve)
            continue
        for count in counts:
            source = by_ip.get(str(count.match.get("tun_ipv4_src")))
            if source is not None and count.priority >= COUNTED:
                by_nve[source] = by_nve.get(source, 0) + count.packets
    packets = sum(by_nve.values())
    return {
        "vm": vm,
        "packets": packets,
        "by_nve": by_nve,
        "counted_at": counted_at,
        "missing": sorted(missing),
    }
