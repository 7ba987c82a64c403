"""Policy forward on real NVEs: packets leave the old NVE without an overlay header and come out at the new one."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest

from emulation import commands
from emulation.sandbox import network_namespace
from experiments.probes.measures import udp_measures
from mobility.policies import MigrationRefusedError
from tests.root.sandboxed import in_sandbox, laboratory, topology
from tests.root.test_migration import quiet, start_probes

pytestmark = pytest.mark.root

DOWNTIME_S = 0.1
RATE_PPS = 1000.0
ETH_P_ALL = 3
VXLAN = (4789).to_bytes(2, "big")


class Tap:
    """What arrives on a device of a namespace, until ``frames`` is asked for."""

    def __init__(self, pid: int, device: str) -> None:
        with network_namespace(pid):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind((device, 0))
        self._socket.settimeout(0.05)
        self._frames: list[bytes] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                self._frames.append(self._socket.recv(2048))
            except TimeoutError:
                continue

    def frames(self) -> list[bytes]:
        self._over.set()
        self._thread.join()
        self._socket.close()
        return self._frames


def routes(lab: Any, address: str) -> list[str]:
    found = []
    for router in lab.network.plan.routers:
        table = commands.run(["ip", "route", "show", address], pid=lab.network[router].pid, node=router)
        found += [f"{router}: {line.strip()}" for line in table.splitlines()]
    return found


def forwarded() -> dict[str, Any]:
    with laboratory(topology()) as lab:
        lab.warm_up()
        probes = start_probes(lab, peer="peer3")
        quiet(0.3)
        tap = Tap(lab.network["rack1"].pid, "p-nve1")
        seen: dict[str, Any] = {}
        record = lab.move(
            "vm1",
            "nve2",
            policy="forward",
            downtime_s=DOWNTIME_S,
            order="update-first",
            drain="fixed:50ms",
        )
        seen["after"] = routes(lab, "10.1.0.10")
        frames = tap.frames()
        quiet(0.3)
        for probe in probes.values():
            probe.stop()
        window = (record.phases[0].start_s, record.phases[-1].end_s)
        seen["plain"] = [frame[12:14].hex() for frame in frames]
        seen["to_vm"] = sum(frame[30:34] == bytes((10, 1, 0, 10)) for frame in frames)
        seen["tunnelled"] = sum(frame[36:38] == VXLAN for frame in frames)
        seen["cost"] = {
            way: udp_measures(probe.packets(), window, 1 / RATE_PPS) for way, probe in probes.items()
        }
        seen["redirected"] = record.redirected_frames
        seen["outcome"] = record.outcome
    return seen


def test_packets_go_plain_and_the_routes_are_gone_afterwards() -> None:
    seen = in_sandbox(forwarded, 40.0)
    assert seen["outcome"] == "done"
    # Between the redirect and the moment in which peer3's NVE is told (some 5 to 30 ms here) peer3 sends 1 packet a
    # ms; each of them leaves nve1 by its plain port: more than none, fewer than a tenth of a second's worth.
    assert 1 <= seen["to_vm"] <= 100, seen
    assert set(seen["plain"]) == {"0800"}
    assert seen["tunnelled"] == 0
    assert seen["to_vm"] == len(seen["plain"])
    # All of them come out of the new NVE's redirected leg: the underlay loses none.
    assert seen["redirected"] == seen["to_vm"]
    assert seen["after"] == []


def refused() -> list[str]:
    said = []
    with laboratory(topology(routes_tenants=False)) as lab:
        try:
            lab.move("vm1", "nve2", policy="forward")
        except MigrationRefusedError as error:
            said.append(str(error))
        said += [lab.move("vm1", "nve2").outcome, *routes(lab, "10.1.0.10")]
    return said


def test_without_a_plain_underlay_it_is_refused_with_the_reason_and_nothing_is_touched() -> None:
    reason, *rest = in_sandbox(refused, 30.0)
    assert "no routes for VMs' addresses" in reason
    assert rest == ["done"]
