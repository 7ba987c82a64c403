"""standby: what do warm and hot standby lose at a failover, and what do they cost? (Q9)

Question   The draft lists warm and hot standby beside mobility. They are redundancy: a primary fails, a standby takes
           over, nothing is released. How old is the standby's state, what is lost, what does a client see?
Varies     The kind: warm, with the primary's state sent over the underlay at an interval; hot, where both run and
           clients hold a connection to each. The interval. Null trials: the service alone, nothing fails.
Held fixed The service (it applies numbered updates and acknowledges each), the clients' rate, the time after which a
           failure is noticed (``detection``), the size of a state update.
Answer     Per kind and interval: age of the standby's state when the primary fails, updates that had been acknowledged
           and are gone, how long the service does not answer by UDP and by TCP, whether the TCP connection breaks, how
           many connections and bytes clients need, and that nothing was released.
"""

from __future__ import annotations

import itertools
import json
import random
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from emulation import commands
from emulation.network import RUN_FOLDER
from emulation.preflight import PORT_TYPES
from experiments.designs import moving_vm
from experiments.designs.schedules import NULL, Mix
from experiments.running.experiment import Experiment
from experiments.running.gathering import Gathered
from experiments.running.laboratory import PROJECT
from experiments.running.parameters import QUICK, ParameterError, choice, duration_s, repetitions, text, whole
from experiments.running.run import Run
from experiments.running.sentences import figure, measured, milliseconds
from experiments.studies.standby.ends import state_of
from mobility.standby import WarmStandby
from topologies.model import Topology

INTERVALS_S, QUICK_INTERVALS_S = (0.01, 0.1, 1.0), (0.02, 0.2)
HOT = "hot"
PORT, STATE_PORT = 5301, 49153
FOLDER = RUN_FOLDER / "standby"
SETTLED_S = 0.4
LONGEST_STATE_S = 3.0


def check(values: Mapping[str, Any], topology: Topology) -> None:
    """As hot-l2's, and a third place: for the client, the primary and the standby each an NVE of its own."""
    each = Gathered()
    with each:
        moving_vm.check({**values, "policy": "silent-drop", "attachment": "rebind"}, topology)
    with each:
        moving_vm.vm_of(topology, "second", values["second"])
    with each:
        places = [moving_vm.vm_of(topology, name, values[name]).nve for name in ("vm", "peer", "second")]
        if len(set(places)) < 3:
            raise ParameterError(
                f"vm={values['vm']}, peer={values['peer']}, second={values['second']}: they begin at "
                f"{', '.join(places)}; a standby at the primary's NVE falls with it, so choose three VMs at three NVEs"
            )
    each.tell()


STARTED_S = 0.6
"""Until service, clients and the sending of states have started, and have ended: measured, 45 trials in 100 s."""


def kinds(values: Mapping[str, Any]) -> dict[str, float | None]:
    """The kinds of standby, each with the interval at which its state is sent (None: hot)."""
    intervals = QUICK_INTERVALS_S if values["quick"] else INTERVALS_S
    return {f"warm {interval_s:g}": interval_s for interval_s in intervals} | {HOT: None}


def rehearse(run: Any) -> None:
    """Every kind and the null trials; a primary fails in the middle of an interval."""
    values = run.values
    for _ in range(repetitions(values)):
        run.note_trial(STARTED_S + SETTLED_S + values["after"])
        for interval_s in kinds(values).values():
            begun_s = STARTED_S + SETTLED_S + (interval_s or 0.1)
            run.note_trial(begun_s + values["detection"] + values["after"])


def trials(run: Run) -> None:
    """Failovers of every kind, and null trials, in random order."""
    values, network = run.values, run.laboratory.network
    groups = kinds(values)
    mix = Mix(list(groups), repetitions(values), values["seed"])
    run.expect(mix.wanted())
    FOLDER.mkdir(exist_ok=True)
    place = network.location[values["second"]]
    standby = WarmStandby(network, run.laboratory.nva, values["vm"], place)
    chance = random.Random(values["seed"])
    with run.watched():
        for name in mix.steps():
            hot = name == HOT
            interval_s = None if name == NULL else groups[name]
            kind = None if name == NULL else ("hot" if hot else "warm")
            mix.count(name, _trial(run, standby, kind, interval_s, chance.random()))


@dataclass
class _Service:
    """The processes of one trial."""

    run: Run
    processes: dict[str, Any] = field(default_factory=dict)

    def start(self, name: str, node: str, *words: str, in_vm: bool = False) -> None:
        """Start one end in a node; in a VM it stands still with it."""
        argv = [sys.executable, "-S", "-m", "experiments.studies.standby.ends", *words]
        argv = ["env", f"PYTHONPATH={PROJECT}", *argv]
        network = self.run.laboratory.network
        self.processes[name] = network.spawn(node, argv, pauses_with_vm=in_vm, cwd="/")

    def end(self, name: str) -> None:
        """End one in order (it writes its log)."""
        process = self.processes.pop(name)
        process.terminate()
        process.wait(timeout=3.0)

    def kill(self, *names: str) -> None:
        """End some at once, all when none is named."""
        for name in names or tuple(self.processes):
            process = self.processes.pop(name, None)
            if process is not None:
                process.kill()
                process.wait(timeout=3.0)


def _trial(run: Run, standby: WarmStandby, kind: str | None, interval_s: float | None, phase: float) -> bool:
    """One failover (or none): start service and clients, fail, take over, give back; whether it was valid."""
    values, topology = run.values, run.laboratory.topology
    service = _Service(run)
    for path in FOLDER.iterdir():
        path.unlink()
    first, second = FOLDER / "primary.sock", FOLDER / "second.sock"
    log, came = FOLDER / "ask.json", FOLDER / "take.json"
    service.start("primary", standby.vm, "serve", f"port={PORT}", f"control={first}", in_vm=True)
    other = values["second"] if kind == "hot" else standby.name
    service.start("second", other, "serve", f"port={PORT}", f"control={second}", in_vm=True)
    commands.wait_until(lambda: first.exists() and second.exists(), 5.0, "the services to listen")
    addresses = [str(topology.vm(standby.vm).ipv4)]
    if kind == "hot":
        addresses.append(str(topology.vm(values["second"]).ipv4))
    if kind == "warm":
        standby.prepare()
        to = f"{topology.nve(standby.nve).underlay_ip}:{STATE_PORT}"
        service.start("take", standby.nve, "take", f"at={to}", f"control={second}", f"log={came}")
        home = run.laboratory.network.location[standby.vm]
        words = (f"to={to}", f"control={first}", f"own={FOLDER / 'ship.sock'}", f"interval={interval_s}")
        _await_listener(run, standby.nve, STATE_PORT)
        service.start("ship", home, "ship", *words, f"bytes={values['state_kib'] * 1024}")
    window_start_s = time.monotonic()
    service.start(
        "ask",
        values["peer"],
        "ask",
        f"to={','.join(addresses)}",
        f"port={PORT}",
        f"rate={values['rate_pps']}",
        f"log={log}",
    )
    try:
        own = str(FOLDER / "asking.sock")
        commands.wait_until(lambda: state_of(str(first), own)["applied"] > 0, 5.0, "the first update")
        if kind == "warm":
            commands.wait_until(
                lambda: state_of(str(second), own)["last"] >= 0, LONGEST_STATE_S, "the first state"
            )
        _let_pass(SETTLED_S + phase * (interval_s or 0.1))
        found = _failover(run, service, standby, kind, str(second)) if kind else {}
        _let_pass(values["after"])
        service.end("ask")
        if kind == "warm":
            service.end("take")
        end_s = time.monotonic()
    finally:
        service.kill()
        if kind is not None:
            _repair(run, standby, kind)
    if kind == "warm":
        found |= {"shipped_bytes": json.loads(came.read_text())["bytes"]}
    parameters = {} if kind is None else {"standby": kind, "interval_s": interval_s}
    measures, words_ = seen_by_clients(json.loads(log.read_text()), found)
    return run.note_trial(
        parameters, measures, classes=words_, null=kind is None, window=(window_start_s, end_s)
    )


def _failover(run: Run, service: _Service, standby: WarmStandby, kind: str, second: str) -> dict[str, Any]:
    """The primary's host loses power; after ``detection`` the standby takes over."""
    failed_s = standby.fail_primary()
    service.kill("ship")
    found = {"failed_s": failed_s}
    _let_pass(run.values["detection"] - (time.monotonic() - failed_s))
    if kind == "hot":
        return found | {"standby_address": str(run.laboratory.topology.vm(run.values["second"]).ipv4)}
    state = state_of(second, str(FOLDER / "state.sock"))
    found |= {"state_lag_s": failed_s - state["taken_s"], "last": state["last"]}
    found["take_over_s"] = standby.take_over()
    found["released_count"] = len(standby.released())
    return found


def _repair(run: Run, standby: WarmStandby, kind: str) -> None:
    network = run.laboratory.network
    if kind == "warm":
        standby.give_back()
    else:
        network.wirings[standby.vm].switch(network.location[standby.vm])
        network.group(standby.vm).thaw()


def _await_listener(run: Run, node: str, port: int) -> None:
    table = Path(f"/proc/{run.laboratory.network[node].pid}/net/tcp")
    commands.wait_until(
        lambda: f":{port:04X} 00000000:0000 0A" in table.read_text(), 5.0, f"port {port} of {node}"
    )


def _let_pass(seconds: float) -> None:
    """Time itself is what is wanted here."""
    time.sleep(max(0.0, seconds))


def seen_by_clients(log: Mapping[str, Any], found: dict[str, Any]) -> tuple[dict[str, float], dict[str, str]]:
    """Measures of one trial from the clients' log and what the failover found. Pure.

    ``lost_updates_count``: acknowledged before the failure, and not in the standby's state; of a hot standby, which has
    a state of its own: not acknowledged by itself. ``service_gap_s_*``: the longest time between two answers.
    """
    failed_s, last, address = (found.pop(name, None) for name in ("failed_s", "last", "standby_address"))
    measures: dict[str, float] = dict(found)
    for transport in ("udp", "tcp"):
        answers = sorted(at_s for _, _, at_s in log[transport] if at_s is not None)
        if len(answers) > 1:
            gaps = (later - earlier for earlier, later in itertools.pairwise(answers))
            measures[f"service_gap_s_{transport}"] = max(gaps)
        measures[f"unanswered_updates_count_{transport}"] = sum(at_s is None for *_, at_s in log[transport])
    measures["connections_count"] = len({address for _, address in log["connected"]})
    measures["sent_bytes_per_update_bytes"] = log["bytes_sent"] / max(1, len(log["tcp"]))
    broken = [(at_s, why) for at_s, _, why in log["broken"]]
    measures["broken_connections_count"] = len(broken)
    if failed_s is None:
        return measures, {}
    acknowledged = {
        number
        for transport in ("udp", "tcp")
        for number, _, at_s in log[transport]
        if at_s is not None and at_s < failed_s
    }
    if last is not None:
        measures["lost_updates_count"] = sum(number > last for number in acknowledged)
    else:
        measures["lost_updates_count"] = len(acknowledged - set(log["answered_by"][address]))
    if broken:
        measures["broken_after_s"] = max(0.0, broken[0][0] - failed_s)
    return measures, {"connection_end": broken[0][1] if broken else "goes on"}


def _gone(of: Callable[..., list[float]], intervals: Sequence[float]) -> str:
    """How many acknowledged updates each kind of standby lost, by interval."""
    warm = ", ".join(
        f"{figure(of('lost_updates_count', interval_s=one), 1, '')} (state sent every {milliseconds([one])})"
        for one in intervals
    )
    hot = figure(of("lost_updates_count", standby="hot"), 1, "")
    return f"A failover lost {warm} acknowledged updates with warm standby and {hot} with hot standby."


def conclude(trials: Sequence[Mapping[str, Any]]) -> str | None:
    """Per interval: lag, lost updates, gaps; hot beside it; what was released."""

    of = partial(measured, trials)

    intervals = sorted({t["parameters"]["interval_s"] for t in trials if t["parameters"].get("interval_s")})
    warm = "; ".join(
        f"with its state sent every {milliseconds([one])}, {milliseconds(of('state_lag_s', interval_s=one))} old, "
        f"{figure(of('lost_updates_count', interval_s=one), 1, '')} acknowledged updates gone"
        for one in intervals
    )
    broken = of("broken_connections_count", standby="warm")
    return (
        f"{_gone(of, intervals)} Warm standby, {warm}; no answer for "
        f"{milliseconds(of('service_gap_s_udp', standby='warm'))} by UDP and "
        f"{milliseconds(of('service_gap_s_tcp', standby='warm'))} by TCP, whose connection broke in "
        f"{sum(value > 0 for value in broken)} of {len(broken)} failovers. Hot standby: "
        f"{milliseconds(of('service_gap_s_tcp', standby='hot'))} by TCP with "
        f"{figure(of('connections_count', standby='hot'), 1, '')} connections and "
        f"{figure(of('sent_bytes_per_update_bytes', standby='hot'), 1, 'bytes')} an update of each client (warm: "
        f"{figure(of('connections_count', standby='warm'), 1, '')} connection, "
        f"{figure(of('sent_bytes_per_update_bytes', standby='warm'), 1, 'bytes')}), "
        f"{figure(of('lost_updates_count', standby='hot'), 1, '')} acknowledged updates gone. "
        f"Released: {int(sum(of('released_count')))} of what both places hold."
    )


EXPERIMENT = Experiment(
    name="standby",
    questions=("Q9",),
    question="What do warm and hot standby lose at a failover, and what do they cost?",
    answer="age of the state and updates lost against the interval; gaps by UDP and TCP; connections; nothing released",
    parameters=(
        text("topology", "two_racks", "topology of topologies/, or the path of a file"),
        text("vm", "vm1", "the VM whose primary fails"),
        text("peer", "peer2", "the VM in which the client runs"),
        text("second", "peer3", "the standby is at this VM's NVE; the hot one is this VM"),
        choice("ports", "auto", "how NVEs attach to their ports", PORT_TYPES),
        whole("rate_pps", 200, "updates per second by UDP, and as many by TCP", 10, 2000),
        whole("state_kib", 64, "KiB of memory sent with each state", 0, 65536),
        duration_s("detection", 0.05, "time until a failure is noticed"),
        duration_s("after", 1.2, "time of a trial after the failover"),
        whole("repeat", 8, "valid trials of each kind, and null trials", 1, 10_000),
        whole("seed", 1, "order of the trials and when in an interval the primary fails", 0, 2**31),
        QUICK,
    ),
    trials=trials,
    rehearse=rehearse,
    check=check,
    conclude=conclude,
    memory=lambda _values: "",
    group_by=("standby", "interval_s"),
    shown_measures=(
        "state_lag_s",
        "lost_updates_count",
        "service_gap_s_udp",
        "service_gap_s_tcp",
        "broken_connections_count",
        "broken_after_s",
        "take_over_s",
        "connections_count",
        "released_count",
    ),
)
