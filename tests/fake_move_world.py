"""A network, an NVA and a wiring that only write down what a migration asks of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import emulation.wiring
from controller.client import NvaClient
from mobility.migration import Migration
from tests.faithful import like

BOOK_KEEPING = (
    "nva.where",
    "network.settle",
    "control.revalidator/purge",
    "wiring.end_markers",
    "wiring.dropped_frames",
    "wiring.sunk_frames",
    "wiring.held_frames",
    "wiring.redirected_frames",
    "wiring.stop_announcing",
)


class Journal(list[str]):
    """What was asked of whom, in order; ``fail_at`` makes one of them fail."""

    fail_at: str | None = None

    def note(self, what: str) -> None:
        self.append(what)
        if what == self.fail_at:
            self.fail_at = None
            raise RuntimeError(f"{what} failed")


class Nva:
    """Answers every call of the northbound client."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.known: set[str] = {"nve1", "nve2"}  # NVEs at which it knows vm1's ports
        self.away: dict[str, str] = {}

    def __getattr__(self, method: str) -> Any:

        def call(*args: Any, **params: Any) -> dict[str, Any]:
            self.journal.note(f"nva.{method}")
            if method == "send_end_markers":
                return {"nves": ["nve1", "nve2"], "sent_s": 1.0}
            if method == "where":
                return {"ports": dict.fromkeys(self.known), "away": self.away}
            if method == "misdirected":
                asked = self.journal.count("nva.misdirected")
                return {"packets": 3 * asked, "by_nve": {"nve3": 3 * asked}}
            timing = {"flow_mods": 2, "prepared_s": 10.0, "committed_s": 11.0}
            return {"last_barrier_s": 11.0, "nves": {"nve1": timing}, "stale": []}

        return like(NvaClient, method, call)


class Wiring:
    """Answers every call as the real one would; its legs are those of ``legs``."""

    def __init__(self, journal: Journal, legs: list[str]) -> None:
        self.journal, self.legs = journal, dict.fromkeys(legs)
        self.sunk = 0

    def announce_repeatedly(self, nve: str, frames: Any, times_s: Any, said: Any) -> None:
        self.journal.note("wiring.announce")
        for _ in times_s:
            said(4.0)

    def sunk_frames(self) -> dict[str, dict[str, int]]:
        self.sunk += 2
        return {nve: {"direct": self.sunk, "redirected": 0} for nve in self.legs}

    def __getattr__(self, name: str) -> Any:
        answers: dict[str, Any] = {"release": (5.0, 7), "dropped_frames": 0, "await_old_path_clear": 0.001}
        answers["held_frames"] = dict.fromkeys(("outbound", "direct", "redirected"), 0)
        answers["redirected_frames"] = 5

        def act(*args: Any, **params: Any) -> Any:
            self.journal.note(f"wiring.{name}" + (f" {args[0]}" if name == "release" else ""))
            return answers.get(name, 4.0)

        return like(emulation.wiring.Wiring, name, act)


class Group:
    """A VM's processes."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    def freeze(self) -> float:
        self.journal.note("group.freeze")
        return 4.0

    def thaw(self) -> float:
        self.journal.note("group.thaw")
        return 6.0


class Network:
    """vm1 at nve1, wired to nve1 and nve2 (`rebind`) or plugged into nve1 (`replug`)."""

    def __init__(self, journal: Journal, attachment: str) -> None:
        self.journal = journal
        self.location = {"vm1": "nve1", "peer1": "nve1"}
        control = SimpleNamespace(call=lambda command: journal.note(f"control.{command}"))
        self.nves = dict.fromkeys(("nve1", "nve2", "nve3"), SimpleNamespace(control=control))
        self.ofports: dict[str, dict[str, int]] = {"nve1": {"vm1": 3}, "nve2": {}, "nve3": {}}
        self.wirings = {"vm1": Wiring(journal, ["nve1", "nve2"])} if attachment == "rebind" else {}
        self.options = SimpleNamespace(datapath=SimpleNamespace(port_type="afpacket"))
        self.topology = SimpleNamespace(
            vm=lambda name: SimpleNamespace(
                mac="02:00:00:00:00:0a", ipv4="10.1.0.10", ipv6=None, memory_bytes=1000, dirty_rate_bps=0
            ),
            nve=lambda name: SimpleNamespace(underlay_ip="192.0.2.1"),
            name="fake",
            underlay=SimpleNamespace(routes_tenants=True),
            vms=[SimpleNamespace(name="vm1", ipv4="10.1.0.10", virtual_network="blue")],
        )

    def __getitem__(self, name: str) -> Any:
        return SimpleNamespace(pid=1)

    def group(self, vm: str) -> Group:
        return Group(self.journal)

    def add_legs(self, vm: str, nve: str) -> dict[str, int]:
        self.journal.note("network.add_legs")
        self.wirings[vm].legs[nve] = None
        return {"direct": 9, "redirected": 10}

    def unplug(self, vm: str) -> None:
        self.journal.note("network.unplug")
        del self.ofports[self.location[vm]][vm]

    def replug(self, vm: str, nve: str) -> int:
        self.journal.note("network.replug")
        self.ofports[self.location[vm]].pop(vm, None)
        self.ofports[nve][vm] = 9
        self.location[vm] = nve
        return 9

    def next_hop_mac(self, nve: str) -> str:
        return "02:00:15:00:00:01"

    def open_host_route(self, vm: str, nve: str) -> None:
        self.journal.note("network.open_host_route")

    def close_host_route(self, vm: str, nve: str) -> None:
        self.journal.note("network.close_host_route")

    def settle(self, nves: Any, stale: Any, vm: str) -> None:
        self.journal.note("network.settle")


class World:
    """All of it, and the events of its moves."""

    def __init__(self, attachment: str = "rebind") -> None:
        self.journal = Journal()
        self.events: list[dict[str, Any]] = []
        self.network: Any = Network(self.journal, attachment)
        self.nva: Any = Nva(self.journal)

    def emit(self, t_s: float, kind: str, **fields: Any) -> None:
        self.events.append({"t_s": t_s, "kind": kind, **fields})

    def migration(self, new_nve: str = "nve2", **choices: Any) -> Migration:
        return Migration(self.network, self.nva, "vm1", new_nve, emit=self.emit, **choices)

    def steps(self) -> list[str]:
        """What was done to traffic, without the waiting and the book-keeping."""
        return [step for step in self.journal if step not in BOOK_KEEPING]
