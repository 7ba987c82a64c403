"""Kinds, orders, pauses and stop rules of a move with real packets: UDP each way at 1,000 packets/s."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from emulation import commands
from emulation.legs import received_frames
from emulation.pause import Pause
from emulation.sandbox import network_namespace
from experiments.probes.measures import udp_measures
from experiments.probes.udp import UdpProbe, UdpStream
from experiments.running.laboratory import Laboratory
from mobility.migration import Migration
from mobility.move import wait_until_s
from mobility.options import MoveOptions
from tests.root.sandboxed import in_sandbox, laboratory, pings, sandboxed, topology
from topologies.model import Topology

pytestmark = pytest.mark.root

RATE_PPS = 1000.0
MARGIN_S = 0.1
MIB = 2**20
PROBES = Path("/run/overland/probes")


def quiet(seconds: float) -> None:
    """Let traffic run: here time itself is what is wanted."""
    wait_until_s(time.monotonic() + seconds)


def moving_topology(*prewired: str) -> Topology:
    """two_racks, with more VMs that are wired to every NVE."""
    made = topology().as_file()
    for vm in made["vms"]:
        if vm["name"] in prewired:
            vm["prewired"] = "all"
    return Topology.model_validate(made)


class Traffic:
    """UDP both ways between a VM and a peer, until ``stop``; then what a window lost."""

    def __init__(self, lab: Laboratory, vm: str = "vm1", peer: str = "peer1", port: int = 5001) -> None:
        PROBES.mkdir(exist_ok=True)
        self.probes = {}
        for direction, (sender, receiver) in {"to_vm": (peer, vm), "from_vm": (vm, peer)}.items():
            flow = UdpStream(str(lab.topology.vm(receiver).ipv4), port, RATE_PPS, 64)
            self.probes[direction] = UdpProbe(f"{vm}_{direction}", flow, PROBES)
            self.probes[direction].start(self._spawner(lab, sender), self._spawner(lab, receiver))
        quiet(0.3)

    @staticmethod
    def _spawner(lab: Laboratory, node: str) -> Callable[[list[str]], Any]:
        return lambda argv: lab.network.spawn(node, argv)

    def stop(self) -> None:
        quiet(0.3)
        for probe in self.probes.values():
            probe.stop()

    def cost(self, start_s: float, end_s: float) -> dict[str, Any]:
        """Lost, duplicated, reordered, sent in each direction between two moments."""
        window = (start_s - MARGIN_S, end_s + MARGIN_S)
        found: dict[str, Any] = {}
        for direction, probe in self.probes.items():
            measured = udp_measures(probe.packets(), window, 1.0 / RATE_PPS)
            names = ("lost_packets", "duplicated_packets", "reordered_packets", "sent_packets")
            found[direction] = tuple(measured[name] for name in names)
            sent = probe.packets().tx_s
            inside = np.sort(sent[(sent >= window[0]) & (sent < window[1])])
            found[direction, "pause_of_sender_s"] = float(np.max(np.diff(inside))) if len(inside) > 1 else 0.0
        return found


def moved(wanted: list[tuple[str, MoveOptions]], attachment: str = "rebind") -> dict[str, Any]:
    """Each move under traffic, from wherever the one before has ended; its record, cost and events."""
    found: dict[str, Any] = {}
    events: list[dict[str, Any]] = []

    def emit(t_s: float, kind: str, **fields: Any) -> None:
        events.append({"t_s": t_s, "kind": kind, **fields})

    with laboratory(topology(), attachment=attachment, emit=emit) as lab:
        lab.warm_up()
        traffic = Traffic(lab)
        for name, options in wanted:
            first = len(events)
            quiet(2 * MARGIN_S)
            target = next(nve for nve in ("nve3", "nve2") if nve != lab.network.location["vm1"])
            uplink = lab.network.nves[target].pid
            with network_namespace(uplink):
                before = _uplink_bytes(uplink)
            record = lab.move("vm1", target, options=options)
            found[name] = {"record": record.as_dict(), "uplink_bytes": _uplink_bytes(uplink) - before}
            quiet(2 * MARGIN_S)
            found[name]["events"] = events[first:]
        traffic.stop()
        for one in found.values():
            phases = one["record"]["phases"]
            one["cost"] = traffic.cost(phases[0]["start_s"], phases[-1]["end_s"])
    return found


def _uplink_bytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/net/dev").read_text().splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "up0":
            return int(numbers.split()[0])
    raise AssertionError("no uplink")


def lost(cost: dict[str, Any]) -> tuple[int, int]:
    return cost["to_vm"][0], cost["from_vm"][0]


SMALL = {"memory_bytes": 10 * MIB, "dirty_rate_bps": 40e6, "bandwidth_bps": 400e6}  # 0.21 s for one round
MOVES = [
    ("hold", MoveOptions(downtime_s=0.15)),
    ("hot copy", MoveOptions(**SMALL, downtime_limit_s=0.03)),
    ("warm", MoveOptions(kind="warm", **SMALL)),
    ("cold", MoveOptions(kind="cold", **SMALL)),
    ("real", MoveOptions(kind="cold", copy_real=True, memory_bytes=5 * MIB, bandwidth_bps=100e6)),
    ("update-first", MoveOptions(order="update-first", downtime_s=0.05)),
    ("tunnel", MoveOptions(policy="tunnel", downtime_s=0.1)),
    ("drop", MoveOptions(policy="tunnel", downtime_s=0.1, pause="drop")),
    ("silent", MoveOptions(policy="silent-drop", downtime_s=0.1)),
    ("full", MoveOptions(downtime_s=0.15, buffer_frames=50)),
    ("update-first silent", MoveOptions(order="update-first", policy="silent-drop", downtime_s=0.05)),
    ("resume-first", MoveOptions(order="resume-first", policy="tunnel")),
    ("after all", MoveOptions()),
]


@pytest.fixture(scope="module")
def moves() -> dict[str, Any]:
    found: dict[str, Any] = in_sandbox(lambda: moved(MOVES), 90.0)
    return found


@pytest.mark.parametrize("name", ["hold", "hot copy", "warm", "cold", "real", "update-first", "after all"])
def test_what_is_held_is_not_lost_and_comes_in_order(moves: dict[str, Any], name: str) -> None:
    cost = moves[name]["cost"]
    assert lost(cost) == (0, 0), moves[name]["record"]
    assert cost["to_vm"][1:3] == cost["from_vm"][1:3] == (0, 0)


@pytest.mark.parametrize(("name", "shortest_s"), [
    ("hold", 0.15),
    ("hot copy", 0.02),  # 1 MiB at 400 Mbit/s
    ("warm", 0.02),
    ("cold", 0.209),
    ("real", 0.41),
    ("tunnel", 0.1),
])  # fmt: skip
def test_the_vm_stands_still_as_long_as_the_record_says(
    moves: dict[str, Any], name: str, shortest_s: float
) -> None:
    """A busy machine adds some scheduling lag, which is what the slack is for.

    The record's stop begins before the freezer is written to, and the VM runs until the kernel has frozen it: so much
    later as a busy processor lets it, which the load guard allows to be 20 ms.
    """
    record, slack_s, lag_s = moves[name]["record"], 0.06, 0.02
    assert shortest_s <= record["downtime_s"] <= shortest_s + slack_s
    stood_s = moves[name]["cost"]["from_vm", "pause_of_sender_s"]
    assert record["downtime_s"] - lag_s <= stood_s <= record["downtime_s"] + slack_s
    assert record["sender_timers_faithful"] is (record["downtime_s"] <= 0.2)


def test_held_frames_are_those_of_the_downtime(moves: dict[str, Any]) -> None:
    record, events = moves["hold"]["record"], moves["hold"]["events"]
    held = record["held_frames"]["redirected"] + record["held_frames"]["direct"]
    assert 0.14 * RATE_PPS <= held <= 0.25 * RATE_PPS
    fill = [(e["t_s"], e["frames"]) for e in events if e["kind"] == "buffer" and e["holder"] == "redirected"]
    assert max(frames for _, frames in fill) >= 0.12 * RATE_PPS
    risen = [frames for t_s, frames in fill if t_s < record["resumed_s"] - 0.01]
    assert risen == sorted(risen)
    assert record["buffer_peak"]["redirected"] >= max(frames for _, frames in fill)


def test_the_copys_rounds_are_recorded(moves: dict[str, Any]) -> None:
    hot = moves["hot copy"]["record"]
    assert [one["bytes"] for one in hot["copy_rounds"]] == [10 * MIB]
    assert (hot["copy_ended"], hot["stop_bytes"]) == ("converged", MIB)
    assert moves["warm"]["record"]["copied_bytes"] == 11 * MIB
    cold = moves["cold"]["record"]
    assert cold["copied_bytes"] == 10 * MIB
    names = [phase["name"] for phase in cold["phases"]]
    assert names.index("stop") < names.index("copy") < names.index("switch")


def test_real_bytes_cross_the_underlay(moves: dict[str, Any]) -> None:
    assert moves["real"]["record"]["copied_bytes"] == 5 * MIB
    assert 5 * MIB < moves["real"]["uplink_bytes"] < 5 * MIB * 1.15
    assert moves["cold"]["uplink_bytes"] < MIB


@pytest.mark.parametrize("name", ["tunnel", "drop"])
def test_tunnelled_before_the_vm_is_there_is_lost_and_counted_there(moves: dict[str, Any], name: str) -> None:
    record, cost = moves[name]["record"], moves[name]["cost"]
    to_vm, from_vm = lost(cost)
    assert 0.095 * RATE_PPS <= to_vm <= 0.16 * RATE_PPS
    sunk = record["sunk_frames"]
    assert sum(sunk[record["new_nve"]].values()) == pytest.approx(to_vm, abs=2)
    assert from_vm <= 1  # the process that sends stands still, so only a packet on its way can be lost


def test_silently_dropped_is_counted_at_the_old_leg(moves: dict[str, Any]) -> None:
    record, cost = moves["silent"]["record"], moves["silent"]["cost"]
    assert lost(cost)[0] >= 0.095 * RATE_PPS
    assert 0.09 * RATE_PPS <= sum(record["sunk_frames"][record["old_nve"]].values()) <= lost(cost)[0] + 2


def test_a_holder_keeps_no_more_than_it_may(moves: dict[str, Any]) -> None:
    record, cost = moves["full"]["record"], moves["full"]["cost"]
    assert record["buffer_peak"]["redirected"] <= 51
    assert record["overflow_frames"] == pytest.approx(lost(cost)[0], abs=2)
    assert lost(cost)[0] >= 0.08 * RATE_PPS


def test_told_before_it_stops_a_vm_loses_what_the_new_place_gets(moves: dict[str, Any]) -> None:
    record, cost = moves["update-first silent"]["record"], moves["update-first silent"]["cost"]
    names = [phase["name"] for phase in record["phases"]]
    assert names.index("converge") < names.index("stop")
    assert lost(cost)[0] >= 0.045 * RATE_PPS
    assert sum(record["sunk_frames"][record["new_nve"]].values()) >= 0.045 * RATE_PPS


def test_two_copies_that_run_say_everything_twice(moves: dict[str, Any]) -> None:
    record, cost = moves["resume-first"]["record"], moves["resume-first"]["cost"]
    assert cost["from_vm"][1] > 0, "the peer hears both"
    assert lost(cost) == (0, 0)
    assert cost["to_vm"][1] == 0
    assert record["downtime_s"] == 0


def test_five_announcements_at_qemus_times(moves: dict[str, Any]) -> None:
    """The next move comes before the last one: from then on nothing announces the place of before."""
    times = [e["t_s"] for e in moves["hold"]["events"] if e["kind"] == "rarp"]
    assert len(times) >= 3
    assert [t - times[0] for t in times[:3]] == pytest.approx([0.0, 0.05, 0.2], abs=0.03)
    for name, one in moves.items():
        begun_s = one["record"]["phases"][1]["end_s"]  # prepare
        announced = {e["nve"] for e in one["events"] if e["kind"] == "rarp" and e["t_s"] > begun_s}
        assert announced == {one["record"]["new_nve"]}, name


def test_replug_can_stop_too() -> None:
    wanted = [("drop", MoveOptions(policy="tunnel", downtime_s=0.1, pause="drop"))]
    one = in_sandbox(lambda: moved(wanted, "replug"), 40.0)["drop"]
    assert one["record"]["outcome"] == "done"
    assert one["record"]["downtime_s"] >= 0.1
    assert lost(one["cost"])[0] >= 0.095 * RATE_PPS


# Pausing in place.


def paused_in_place(mode: str, seconds: float) -> dict[str, Any]:
    with laboratory(topology()) as lab:
        lab.warm_up()
        network = lab.network
        traffic = Traffic(lab)
        counter = RUN / "count"
        script = f"i=0; while :; do i=$((i+1)); echo $i > {counter}; sleep 0.001; done"
        network.spawn("vm1", ["sh", "-c", script])
        commands.wait_until(lambda: counter.exists() and counter.read_text().strip(), 5.0, "the counter")
        pause = Pause("vm1", network.group("vm1"), network.wirings["vm1"], mode)
        begun_s = pause.begin()
        first = counter.read_text()
        arrived = received_frames("vm1-p")
        quiet(seconds)
        stood = counter.read_text() == first
        paused_s = pause.end()
        commands.wait_until(lambda: counter.read_text() not in (first, ""), 5.0, "the counter to go on")
        reached = pings(network["peer1"].pid, str(lab.topology.vm("vm1").ipv4))
        traffic.stop()
        cost = traffic.cost(begun_s, begun_s + paused_s)
        return {"stood": stood, "paused_s": paused_s, "reached": reached, "cost": cost, "arrived": arrived}


RUN = Path("/run/overland")


@pytest.mark.parametrize("mode", ["hold", "drop", "freeze"])
def test_a_pause_in_place(mode: str) -> None:
    seen = in_sandbox(lambda: paused_in_place(mode, 0.2), 40.0)
    assert seen["stood"]
    assert 0.2 <= seen["paused_s"] <= 0.25
    assert seen["reached"] == 2
    to_vm, from_vm = lost(seen["cost"])
    if mode == "drop":
        assert 0.19 * RATE_PPS <= to_vm <= 0.25 * RATE_PPS
    else:
        assert to_vm == 0
    assert from_vm <= 1
    assert seen["cost"]["to_vm"][2] == 0


# Failures while the VM stands still.


class InjectedError(Exception):
    """A failure that a test brought about."""


def failed_while_stopped(order: str) -> list[dict[str, Any]]:
    seen = []
    with laboratory(topology()) as lab:
        lab.warm_up()
        vm = lab.topology.vm("vm1")
        for phase in ("stop", "switch"):

            def fail() -> None:
                raise InjectedError("injected")

            options = MoveOptions(order=order, downtime_s=0.02)
            move = Migration(lab.network, lab.nva, "vm1", "nve3", options=options, hooks={phase: fail})
            with pytest.raises(InjectedError):
                move.run()
            reached = [pings(lab.network[name].pid, str(vm.ipv4)) for name in ("peer1", "peer2", "peer3")]
            where = lab.nva.where("vm1")
            frozen = "frozen 1" in (lab.network.group("vm1").folder / "cgroup.events").read_text()
            again = [lab.move("vm1", nve, options=options).outcome for nve in ("nve3", "nve1")]
            seen.append(
                {
                    "reached": reached,
                    "nve": where["nve"],
                    "move": where["move"],
                    "frozen": frozen,
                    "again": again,
                }
            )
    return seen


@pytest.mark.parametrize("order", ["stop-first", "update-first"])
def test_a_failure_while_the_vm_stands_still_is_undone(order: str) -> None:
    for one in in_sandbox(lambda: failed_while_stopped(order), 60.0):
        assert one == {
            "reached": [2, 2, 2],
            "nve": "nve1",
            "move": None,
            "frozen": False,
            "again": ["done", "done"],
        }


# Several moves.


def several() -> dict[str, Any]:
    found: dict[str, Any] = {"outcomes": [], "costs": []}
    with laboratory(moving_topology("peer2")) as lab:
        lab.warm_up()
        streams = [Traffic(lab, "vm1", "peer1", 5001), Traffic(lab, "peer2", "peer3", 5003)]
        spans = []
        for target1, target2 in (("nve2", "nve3"), ("nve3", "nve2"), ("nve1", "nve1"), ("nve2", "nve3")):
            records: dict[str, Any] = {}

            def move(vm: str, nve: str, records: dict[str, Any] = records) -> None:
                records[vm] = lab.move(vm, nve)

            wanted = [
                (vm, nve)
                for vm, nve in (("vm1", target1), ("peer2", target2))
                if lab.network.location[vm] != nve
            ]
            threads = [threading.Thread(target=move, args=one) for one in wanted]
            begin_s = time.monotonic()
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            spans.append((begin_s, time.monotonic()))
            found["outcomes"].append([records[vm].outcome for vm, _ in wanted])
            quiet(2 * MARGIN_S)
        for nve in ("nve3", "nve1", "nve2"):  # a chain, and back
            begin_s = time.monotonic()
            found["outcomes"].append([lab.move("vm1", nve).outcome])
            spans.append((begin_s, time.monotonic()))
        for one in streams:
            one.stop()
        found["costs"] = [[lost(one.cost(*span)) for one in streams] for span in spans]
        found["where"] = {vm: lab.nva.where(vm)["nve"] for vm in ("vm1", "peer2")}
        found["location"] = {vm: lab.network.location[vm] for vm in ("vm1", "peer2")}
    return found


def test_two_vms_move_at_once_and_towards_each_other_and_one_moves_on_and_on() -> None:
    found = in_sandbox(several, 60.0)
    assert all(outcome == "done" for outcomes in found["outcomes"] for outcome in outcomes)
    assert found["where"] == found["location"] == {"vm1": "nve2", "peer2": "nve3"}
    assert found["costs"] == [[(0, 0), (0, 0)]] * len(found["costs"])


def test_a_killed_sandbox_with_a_frozen_vm_leaves_no_process() -> None:
    def body() -> None:
        with laboratory(topology()) as lab:
            lab.network.spawn("vm1", ["sleep", "1000"])
            lab.network.group("vm1").freeze()
            (RUN / "frozen").touch()
            quiet(30.0)

    with sandboxed(body) as running:
        inside = Path(f"/proc/{running.init}/root/run/overland/frozen")
        commands.wait_until(inside.exists, 20.0, "the VM to be frozen")
        os.kill(running.supervisor, signal.SIGKILL)
        running.assert_nothing_left()
