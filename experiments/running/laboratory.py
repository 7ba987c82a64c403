"""A laboratory: an emulated network with its NVA running, inside a sandbox, ready for moves."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import permutations
from pathlib import Path
from typing import Any

from controller.client import CALL_WITHIN_S, NvaClient, NvaError, Watch
from emulation import commands
from emulation.errors import CommandError, EmulationError
from emulation.link_monitor import LinkMonitor, Told
from emulation.network import RUN_FOLDER, EmulatedNetwork, Options
from emulation.nve import CONTROL_NICENESS
from emulation.plan import NVA_PORT
from mobility.lifecycle import Life
from mobility.migration import Migration, MigrationRecord, MigrationRefusedError
from mobility.unfinished import Unfinished, unfinished_words
from topologies.model import Client, Topology, Vm

PROJECT = Path(__file__).resolve().parents[2]
NVA_SOCKET = RUN_FOLDER / "nva.sock"
NVA_JOURNAL = RUN_FOLDER / "nva.journal"
PROGRAMMED_BOUND_S = 60.0
RETURN_BOUND_S = 15.0
"""For an NVE or the NVA to be back; Open vSwitch tries again each second."""
EMULATED_PACKET_IN_LIMIT_PPS = 20
"""Frames a second that an NVE may send to the NVA on emulated processors.

At the usual limit those without a mapping kept NVA and NVEs so busy that no mapping came, and connections ended.
"""

Progress = Callable[[str], None]
Hooks = dict[str, Callable[[], None]]


@contextlib.contextmanager
def _ahead_of_traffic() -> Iterator[None]:
    """The thread that moves a VM stands for the orchestrator's machine, as the NVA's process does for its own."""
    os.setpriority(os.PRIO_PROCESS, 0, CONTROL_NICENESS)
    try:
        yield
    finally:
        os.setpriority(os.PRIO_PROCESS, 0, 0)


def reaches(topology: Topology, vm: Vm, other: Vm) -> bool:
    """Whether two VMs are in one virtual network or in two that are routed to each other."""
    return vm.virtual_network == other.virtual_network or topology.may_route(
        vm.virtual_network, other.virtual_network
    )


def pairs_that_talk(topology: Topology) -> Iterator[tuple[Vm | Client, Vm | Client]]:
    """All ordered pairs of VMs, and of VMs and clients outside, that packets are carried between."""
    for vm, other in permutations(topology.vms, 2):
        if reaches(topology, vm, other):
            yield vm, other
    beyond = topology.outside
    for client in () if beyond is None else beyond.clients:
        for vm in topology.vms:
            if beyond is not None and vm.virtual_network in beyond.reaches:
                yield client, vm
                yield vm, client


def named_in(values: Mapping[str, Any], topology: Topology) -> set[str]:
    """The VMs and clients that parameters name: those that an experiment uses."""
    clients = () if topology.outside is None else topology.outside.clients
    there = {vm.name for vm in topology.vms} | {client.name for client in clients}
    return there & {value for value in values.values() if isinstance(value, str)}


def _how_ended(status: int) -> str:
    """A process's exit status in words."""
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"status {status}"


class LaboratoryError(EmulationError):
    """The NVA ended or reported a fault; the text has its own last words."""


def _silent(_step: str) -> None:
    """Nobody watches."""


class Laboratory:
    """Start with ``start``; the sandbox's end is its end. ``emit`` receives every event of moves and of the NVA."""

    def __init__(self, topology: Topology, options: Options, emit: Callable[..., None]) -> None:
        self.topology, self.options, self.emit = topology, options, emit
        self.network = EmulatedNetwork(topology, options)
        self.nva = NvaClient(NVA_SOCKET, CALL_WITHIN_S * commands.PATIENCE)
        self.timings_s: dict[str, float] = {}
        self.unfinished = Unfinished()
        self._process: subprocess.Popen[bytes] | None = None
        self._log: Path = RUN_FOLDER / "nva.log"
        self._said_before_bytes = 0  # by an NVA of before, in the log
        self._faults: list[str] = []
        self.learned: list[tuple[float, str, str]] = []  # (when, NVE, VM): it has a new mapping of that VM
        self._watch: Watch | None = None
        self.hooks: Callable[[str, str], Hooks] = lambda _vm, _new_nve: {}
        """What the phases of a move do besides, for a VM and its new NVE."""
        self._links: LinkMonitor | None = None
        self.strategy = "push"
        """How NVEs learn of moves."""
        self.lives = {vm.name: Life(self.network, self.nva, vm.name, self.move) for vm in topology.vms}

    def start(self, progress: Progress = _silent) -> None:
        """Build everything; returns when every NVE is connected and programmed."""
        begin_s = time.monotonic()

        def done(step: str) -> None:
            self.timings_s[step] = time.monotonic() - begin_s
            progress(step)

        self.network.start_management()
        self.start_nva()
        done("management network")
        self.network.start_nodes()
        done("namespaces and links")
        self._await_nva()
        self.network.start_switches()
        done("switches")
        self._configure()
        self._follow()
        nodes = (*self.network.hosts, *self.network.switches)
        self._links = LinkMonitor({node.name: node.pid for node in nodes}, self._take_link)
        self.network.dhcp.start()
        done("NVEs programmed")

    def start_nva(self) -> None:
        """Start the NVA's process; it is ready only after ``_await_nva``."""
        # An NVA has a machine of its own; here it must not wait behind the traffic's processes.
        argv = [
            "nice",
            "-n",
            str(CONTROL_NICENESS),
            sys.executable,
            "-m",
            "controller",
            "--listen",
            self.network.plan.nva_address,
            "--port",
            str(NVA_PORT),
        ]
        argv += ["--socket", str(NVA_SOCKET), "--journal", str(NVA_JOURNAL)]
        argv += ["--patience", f"{commands.PATIENCE:g}"]
        with self._log.open("ab") as log:
            self._said_before_bytes = log.tell()
            self._process = commands.spawn(argv, stdout=log, stderr=subprocess.STDOUT, cwd=PROJECT)

    def kill_nva(self) -> None:
        """The NVA is gone at once, as by ``kill -9``; NVEs go on with the flows that they have."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart_nva(self) -> None:
        """Start the NVA anew, killed before if it lives: it knows from its journal who is where.

        Returns when every NVE is programmed. NvaError names those that are not within ``RETURN_BOUND_S``: the NVA
        runs then, too, and programs them when they are back.
        """
        self.kill_nva()
        if self._watch is not None:
            self._watch.close()
        self._faults.clear()
        self.start_nva()
        self._await_nva()
        self._follow()
        self.nva.wait_programmed(RETURN_BOUND_S * commands.PATIENCE)

    def restart_nve(self, name: str) -> None:
        """Start an NVE's switch daemon anew; returns when the NVA has programmed it. NvaError, EmulationError."""
        self.network.restart_nve(name)

        def programmed() -> bool:
            return self.nva.status()["nves"][name]["programmed_s"] is not None

        commands.wait_until(programmed, RETURN_BOUND_S, f"the NVA to have programmed {name}", 0.02)

    def _await_nva(self) -> None:
        def ready() -> bool:
            self.check()
            return b"ready " in self._log.read_bytes()[self._said_before_bytes :]

        commands.wait_until(ready, 30.0, "the NVA to be ready")

    def _follow(self) -> None:
        """Take what only the NVA sees from its event stream."""
        self._watch = self.nva.watch()
        threading.Thread(target=self._take_events, args=(self._watch,), daemon=True).start()

    def _take_events(self, watch: Watch) -> None:
        for event in watch:
            kind = event.pop("kind")
            if kind == "fault":
                self._faults.append(event.get("text", "fault"))
            elif kind in ("peer_updated", "mapping_refreshed"):
                self.learned.append((event["t_s"], event["nve"], event["vm"]))
                self.emit(event.pop("t_s"), kind, **event)
            elif kind == "port":
                self.emit(event.pop("t_s"), kind, **event)
            elif kind in ("nve_gone", "nve_connected"):
                self.emit(event.pop("t_s"), "note", text=f"{kind.replace('_', ' ')}: {event.get('nve')}")

    def _take_link(self, t_s: float, node: str, told: Told) -> None:
        name = "device" if told.kind == "link" else "address"
        self.emit(t_s, told.kind, node=node, **{name: told.what}, change=told.change)

    def set_strategy(self, strategy: str, mapping_age_s: int | None = None) -> None:
        """How NVEs learn of moves from now on; every NVE has the true mapping when this returns.

        The NVA is configured anew, so what NVEs believed before is forgotten: nothing of an earlier move lasts.
        """
        self._configure(strategy=strategy, mapping_age_s=mapping_age_s)

    def set_packet_in_limit(self, limit_pps: int) -> None:
        """How many frames a second an NVE may send to the NVA from now on, so also how many ICMP errors come of them.

        The NVA is configured anew, with strategy push; the same limit again changes nothing.
        """
        self._configure(packet_in_limit_pps=limit_pps)

    def _configure(self, **more: Any) -> None:
        limit = {"packet_in_limit_pps": EMULATED_PACKET_IN_LIMIT_PPS} if commands.EMULATED else {}
        self.nva.configure(**self.network.nva_configuration(), **(limit | more))
        self.nva.wait_programmed(PROGRAMMED_BOUND_S)
        self.strategy = more.get("strategy", "push")

    def check(self) -> None:
        """Raise LaboratoryError when the NVA has ended or reported a fault: no figure counts after that."""
        if self._faults:
            raise LaboratoryError(f"the NVA reported a fault: {self._faults[0].strip().splitlines()[-1]}")
        if self._process is not None and self._process.poll() is not None:
            said = self._log.read_bytes()[self._said_before_bytes :].decode(errors="replace")
            lines = [line for line in said.strip().splitlines() if not line.startswith("ready ")]
            last = lines[-1] if lines else "it said nothing of it"
            raise LaboratoryError(f"the NVA has ended ({_how_ended(self._process.returncode)}; {last})")

    def warm_up(self, names: Collection[str] | None = None) -> None:
        """Have VMs and clients that reach each other exchange a packet, so that no flow is new to a datapath.

        ``names``: those that will talk; None: all, which only a small network may (see ``emulation.neighbours``).
        Returns when every VM may use its addresses. LaboratoryError names a pair that does not reach each other.
        """
        self.network.await_addresses()
        for one, other in pairs_that_talk(self.topology):
            if names is None or {one.name, other.name} <= set(names):
                for address in (other.ipv4, other.ipv6 if one.ipv6 else None):
                    if address is not None:
                        self._greet(one.name, other.name, str(address))

    def _greet(self, one: str, other: str, address: str) -> None:
        argv = ["ping", "-c", "2", "-i", "0.002", "-W", "1", "-n", "-q", address]
        try:
            commands.run(argv, pid=self.network[one].pid, node=one)
        except CommandError:
            raise LaboratoryError(
                f"{one} does not reach {other} at {address} before anything has moved: two pings got no answer; if "
                "dmesg says 'neighbor table overflow', too much runs on this machine at once: end some of it, or raise "
                "net.ipv4.neigh.default.gc_thresh3 and net.ipv6.neigh.default.gc_thresh3"
            ) from None

    def move(self, vm: str, new_nve: str, **options: Any) -> MigrationRecord:
        """Move a VM: ``options=MoveOptions(...)`` or single choices such as ``policy="tunnel"``; see Migration."""
        hooks = {"hooks": self.hooks(vm, new_nve), **options}
        if (before := self.unfinished.of(vm)) is not None:
            raise MigrationRefusedError(f"{unfinished_words(before)}; {vm} moves again when that has ended")
        migration = Migration(self.network, self.nva, vm, new_nve, emit=self.emit, **hooks)
        try:
            with _ahead_of_traffic():
                return migration.run()
        finally:
            if migration.owes:
                self.unfinished.add(migration)

    def stop(self) -> None:
        """End the NVA in order; the rest ends with the sandbox."""
        self.unfinished.close()
        for wiring in self.network.wirings.values():
            wiring.stop_announcing()
        if self._links is not None:
            self._links.close()
        if self._watch is not None:
            self._watch.close()
        self.nva.close()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(2.0)
            except subprocess.TimeoutExpired:
                self._process.kill()


__all__ = ["Laboratory", "LaboratoryError", "NvaError"]
