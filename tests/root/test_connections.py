"""A VM stands still for long: TCP backs off, and a trial sees each connection go on before it is over."""

from __future__ import annotations

import time

import pytest

from emulation.network import RUN_FOLDER
from experiments.running.connections import Connections
from experiments.running.traffic import Traffic, TrafficPlan
from tests.root.sandboxed import in_sandbox, laboratory, topology

pytestmark = pytest.mark.root

DOWNTIME_S = 2.0
"""Timeouts come 0.2, 0.6, 1.4 and 3.0 s after what was lost: when the VM runs again, another second is to be waited."""


@pytest.mark.parametrize("policy", ["silent-drop", "icmp", "buffer"])
def test_no_connection_ends_however_long_the_vm_stands_still(policy: str) -> None:
    """It is seen to go on by its bytes; the next trial begins only then."""

    def body() -> dict[str, object]:
        with laboratory(topology()) as made:
            made.warm_up()
            traffic = Traffic(
                made.network, TrafficPlan("vm1", "peer1", 200.0, 64, 1e6), RUN_FOLDER / "probes"
            )
            traffic.start()
            try:
                connections = Connections(traffic.progress)
                connections.quiet_down()
                away = next(name for name in made.network.nves if name != made.network.location["vm1"])
                begun_s = time.monotonic()
                record = made.move("vm1", away, policy=policy, downtime_s=DOWNTIME_S)
                moved_s = time.monotonic()
                endings, end_s = connections.fates(moved_s, moved_s)
                quiet_s = connections.quiet_down()
                traffic.stop()
            except BaseException:
                traffic.kill()
                raise
            stalls_s = traffic.measures((begun_s, end_s))
            return {
                "fates": {name: one.as_dict() for name, one in endings.items()},
                "waited_s": end_s - moved_s,
                "downtime_s": record.downtime_s,
                "left_out": sorted(connections.left_out),
                "quiet_s": quiet_s,
                "stall_s": stalls_s["tcp_stall_s_to_vm"],
                "longest_s": max(
                    float(value or 0) for name, value in stalls_s.items() if name.startswith("tcp_stall_s")
                ),
            }

    seen = in_sandbox(body, timeout_s=120.0)
    assert len(seen["fates"]) == 4, seen
    assert all(one == {"fate": "went on"} for one in seen["fates"].values()), seen
    assert seen["left_out"] == [], seen
    assert seen["longest_s"] >= DOWNTIME_S, seen
    if policy == "silent-drop":
        assert seen["stall_s"] > DOWNTIME_S + 0.2, seen
        assert seen["waited_s"] > 0.2, seen
