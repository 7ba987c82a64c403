"""Limits of the kernel that a network meets: neighbours, and the MTU of AF_XDP ports."""

from __future__ import annotations

from typing import Any

import pytest

from emulation import commands, preflight
from emulation.errors import EmulationError
from emulation.neighbours import KEPT_BY_PINGS
from experiments.console import mininet_view
from experiments.running.laboratory import Laboratory
from tests.root.sandboxed import in_sandbox, laboratory, topology
from topologies import Topology, generated

pytestmark = pytest.mark.root


def neighbours_of(lab: Laboratory) -> dict[str, set[str]]:
    """The addresses that each VM has an entry for."""
    found = {}
    for vm in lab.topology.vms:
        lines = commands.run(
            ["ip", "neigh", "show", "dev", "eth0"], pid=lab.network[vm.name].pid
        ).splitlines()
        found[vm.name] = {line.split()[0] for line in lines}
    return found


def all_pinged() -> dict[str, Any]:
    """20 VMs make 380 pairs, each with an entry of its own: more than pings may leave."""
    with laboratory(generated(nves=2, vms=20, racks=1)) as lab:
        before = neighbours_of(lab)
        mininet_view.refresh(lab.network)  # as the console does before each command
        lost_percent = lab.network.ping([lab.network[vm.name] for vm in lab.topology.vms], "2")
        return {"before": before, "lost_percent": lost_percent, "after": neighbours_of(lab)}


def test_pings_between_all_vms_keep_few_neighbours_and_lose_nothing() -> None:
    seen = in_sandbox(all_pinged, 90.0)
    assert set(map(len, seen["before"].values())) == {0}
    assert seen["lost_percent"] == 0
    assert 0 < sum(map(len, seen["after"].values())) <= KEPT_BY_PINGS < 20 * 19


def two_warm() -> dict[str, set[str]]:
    with laboratory(topology()) as lab:
        lab.warm_up(("vm1", "peer3"))
        return neighbours_of(lab)


def test_only_those_who_will_talk_are_warmed_up() -> None:
    address = {vm.name: str(vm.ipv4) for vm in topology().vms}
    assert in_sandbox(two_warm, 40.0) == {
        "vm1": {address["peer3"]},
        "peer3": {address["vm1"]},
        "peer1": set(),
        "peer2": set(),
    }


def with_mtu(mtu_bytes: int) -> Topology:
    made = topology(mtu=mtu_bytes).as_file()
    made["virtual_networks"][0]["mtu"] = mtu_bytes - 50
    return Topology.model_validate(made)


def largest_ping(mtu_bytes: int) -> str:
    """A ping across the tunnel that fills the VM's MTU: 8 bytes of ICMP, 20 of IPv4 and 50 of the tunnel."""
    try:
        with laboratory(with_mtu(mtu_bytes), "afxdp") as lab:
            peer = str(lab.topology.vm("peer3").ipv4)
            size = str(mtu_bytes - 50 - 28)
            argv = ["ping", "-M", "do", "-c", "2", "-i", "0.01", "-W", "1", "-s", size, peer]
            return commands.run(argv, pid=lab.network["vm1"].pid)
    except EmulationError as error:
        return str(error)


def test_the_largest_mtu_of_af_xdp_ports() -> None:
    """The kernel gives its bound in no file: this is the measurement of the constant."""
    most = preflight.AF_XDP_MTU_BYTES
    assert "2 received" in in_sandbox(lambda: largest_ping(most), 60.0)
    assert "Open vSwitch refused port" in in_sandbox(lambda: largest_ping(most + 1), 60.0)
