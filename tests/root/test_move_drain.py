"""The end of the redirect with real packets: stop rules, what comes too late, and senders that are told (icmp)."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from emulation.sandbox import network_namespace
from mobility.options import MoveOptions
from tests.root.sandboxed import in_sandbox, laboratory, topology
from tests.root.test_move_kinds import Traffic, lost, moved, quiet

pytestmark = pytest.mark.root

RULES = {
    "fixed": MoveOptions(policy="tunnel", drain="fixed:50ms", observe_s=0.1),
    "idle": MoveOptions(policy="buffer", drain="idle:20ms", observe_s=0.1),
    "acknowledged": MoveOptions(policy="buffer", observe_s=0.1),
    "icmp": MoveOptions(policy="icmp", downtime_s=0.05, observe_s=0.05),
}


@pytest.fixture(scope="module")
def moves() -> dict[str, Any]:
    found: dict[str, Any] = in_sandbox(lambda: moved(list(RULES.items())), 60.0)
    return found


@pytest.mark.parametrize(("name", "reason", "shortest_s", "longest_s"), [
    ("fixed", "fixed", 0.05, 0.07),
    ("idle", "idle", 0.02, 0.05),
])  # fmt: skip
def test_the_redirect_ends_when_the_rule_says(
    moves: dict[str, Any], name: str, reason: str, shortest_s: float, longest_s: float
) -> None:
    record = moves[name]["record"]
    assert record["drain_ended"] == reason
    assert shortest_s <= record["drain_s"] <= longest_s


@pytest.mark.parametrize("name", ["fixed", "idle", "acknowledged"])
def test_when_every_peer_has_confirmed_nothing_is_misdirected(moves: dict[str, Any], name: str) -> None:
    record = moves[name]["record"]
    assert record["misdirected"]["packets"] == 0
    release = next(phase for phase in record["phases"] if phase["name"] == "drain")
    assert release["end_s"] - record["redirect_ended_s"] >= 0.1


@pytest.mark.parametrize("name", ["idle", "acknowledged"])
def test_with_buffer_nothing_is_lost_whatever_the_rule(moves: dict[str, Any], name: str) -> None:
    assert lost(moves[name]["cost"]) == (0, 0)
    assert moves[name]["cost"]["to_vm"][2] == 0


def test_icmp_loses_what_comes_while_the_vm_is_away(moves: dict[str, Any]) -> None:
    assert moves["icmp"]["record"]["outcome"] == "done"
    assert lost(moves["icmp"]["cost"])[0] >= 45


def told() -> dict[str, Any]:
    """A connected UDP socket of peer3 while vm1 stands still for 0.2 s under policy icmp: what its kernel says."""
    with laboratory(topology()) as lab:
        lab.warm_up()
        lab.move("vm1", "nve2")
        with network_namespace(lab.network["peer3"].pid):
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sender.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: the ICMP message becomes the socket's error
        sender.connect((str(lab.topology.vm("vm1").ipv4), 5009))
        errors: list[str] = []

        def talk(until_s: float) -> None:
            while time.monotonic() < until_s:
                try:
                    sender.send(b"there?")
                except OSError as error:
                    errors.append(error.strerror or "")
                quiet(0.01)

        thread = threading.Thread(target=talk, args=(time.monotonic() + 0.6,))
        thread.start()
        record = lab.move("vm1", "nve1", policy="icmp", downtime_s=0.3)
        thread.join()
        return {"errors": errors, "outcome": record.outcome}


def test_icmp_tells_the_sender() -> None:
    seen = in_sandbox(told, 40.0)
    assert seen["outcome"] == "done"
    assert "No route to host" in seen["errors"]


def thin_flow() -> dict[str, Any]:
    """A long flow that is alive keeps the redirect until the bound when flow-end is asked for."""
    with laboratory(topology()) as lab:
        lab.warm_up()
        with network_namespace(lab.network["vm1"].pid):
            mine = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        mine.connect((str(lab.topology.vm("peer1").ipv4), 5077))
        bounded = lab.move("vm1", "nve2", policy="tunnel", drain="flow-end", drain_bound_s=0.2)
        mine.close()
        ended = lab.move("vm1", "nve3", policy="tunnel", drain="flow-end", drain_bound_s=0.2)
        return {"bounded": bounded.drain_ended, "ended": ended.drain_ended, "drain_s": bounded.drain_s}


def test_a_connection_that_lives_keeps_the_redirect_until_the_bound() -> None:
    seen = in_sandbox(thin_flow, 40.0)
    assert (seen["bounded"], seen["ended"]) == ("bound", "flow-end")
    assert seen["drain_s"] >= 0.2


def peers_that_are_not_told() -> dict[str, Any]:
    """Only the NVEs of the move learn of it (strategy timeout, an age that does not end here)."""
    with laboratory(topology()) as lab:
        lab.warm_up()
        lab.move("vm1", "nve2")
        lab.nva.configure(**lab.network.nva_configuration(), strategy="timeout", mapping_age_s=60)
        lab.nva.wait_programmed(10.0)
        lab.warm_up()
        traffic = Traffic(lab)
        record = lab.move("vm1", "nve3", policy="tunnel", drain="fixed:100ms", observe_s=0.1)
        traffic.stop()
        begun_s, ended_s = record.phases[0].start_s, record.redirect_ended_s
        assert ended_s is not None
        return {
            "misdirected": record.misdirected,
            "drained": record.drained_frames,
            "lost_before_the_end": lost(traffic.cost(begun_s, ended_s - 0.11)),
            "lost_after": lost(traffic.cost(ended_s + 0.1, ended_s + 0.2))[0],
        }


def test_peers_that_were_not_told_use_the_redirect_until_it_ends() -> None:
    seen = in_sandbox(peers_that_are_not_told, 40.0)
    assert 80 <= seen["drained"] <= 130
    misdirected = seen["misdirected"]
    least = misdirected["window_s"] * 1000
    assert least - 5 <= misdirected["packets"] <= least + misdirected["slack_s"] * 1000 + 5
    assert misdirected["by_nve"]["nve1"] == misdirected["packets"]
    assert misdirected["by_cause"] == {"not told": misdirected["packets"], "told, on the way": 0}
    # Counted from the commit on, some 10 to 50 ms before the rule began to wait.
    assert seen["drained"] - 10 <= misdirected["while_redirected"] <= seen["drained"] + 80
    assert seen["lost_after"] > 0
