"""A real NVA, real migrations and a VM's real wiring rules; switches and kernel are made of paper and can be broken.

Tests break an NVE or the NVA at one message of a move, mend it, and ask whether everything agrees again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from controller import northbound
from controller.client import UNUSABLE, NvaClient, NvaError
from controller.events import EventHub
from controller.flows import desired_flows
from controller.journal import Journal
from controller.service import Nva
from emulation.errors import EmulationError
from emulation.wiring import DIRECT, HOLDERS, REDIRECTED, SINK, Wiring, port_device
from mobility.migration import Migration
from tests.fake_move_world import Journal as Noted
from tests.fake_move_world import Network
from tests.fake_nva_world import MOVER_MAC, config
from tests.fake_nve import FakeNve, table_of, without_cookies

ANSWER_WITHIN_S = 20.0
"""While all NVEs can answer: a busy machine is no fault."""
GIVEN_UP_AFTER_S = 0.6
"""While one stands still on purpose: it is waited for in vain."""
NVES = ("nve1", "nve2", "nve3")


class Killed(BaseException):
    """The NVA's process has ended here: nothing in it catches that."""


class PaperHolders:
    """Holders that hold nothing."""

    def __getattr__(self, _name: str) -> Any:
        return lambda *_: (time.monotonic(), 0)

    def held_frames(self) -> dict[str, int]:
        return dict.fromkeys(HOLDERS, 0)

    def dropped_frames(self) -> int:
        return 0


class PaperWiring(Wiring):
    """The real rules of who hears and speaks where; ``leads`` is what the kernel would have."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._tc.close()
        self.leads: dict[int, str] = {}
        self._holders: Any = PaperHolders()
        for number, nve in enumerate(NVES[:2], start=1):
            self._leg_filters(nve, number)
            self.legs[nve].counter = lambda _device: 0
        self.switch(self.home)

    def _point(self, targets: Any) -> float:
        self.leads |= dict(targets)
        return time.monotonic()

    def await_old_path_clear(self, old_nve: str, new_nve: str, timeout_s: float = 0.05) -> float | None:
        return 0.0

    def announce_repeatedly(self, *_args: Any) -> None:
        pass

    def end_markers(self, nve: str) -> Any:
        return None

    def whole_at(self) -> str | None:
        """The one NVE through which the VM hears and speaks, with nothing in between; None: there is no such."""
        for nve, leg in self.legs.items():
            hears = {self.leads[leg.actions[which]] for which in (DIRECT, REDIRECTED)}
            others = {
                self.leads[action]
                for other in self.legs.values()
                if other is not leg
                for action in other.actions.values()
            }
            speaks = self.leads[self._outbound] == leg.devices[DIRECT]
            if speaks and hears == {port_device(self.vm)} and others == {SINK} and self.attached_to == nve:
                return nve
        return None


class Client(NvaClient):
    """Calls the NVA of a world; ``at`` is done just before a method, once."""

    def __init__(self, world: FaultWorld) -> None:
        super().__init__("unused")
        self.world = world
        self.at: dict[str, Callable[[], None]] = {}
        self.lost_answer_of = ""

    def call(self, method: str, params: Mapping[str, Any], extra_s: float = 0.0) -> Any:
        self.at.pop(method, lambda: None)()
        if self.world.nva is None:
            raise NvaError(UNUSABLE, f"{method}: no NVA answers")
        try:
            result = northbound.call(self.world.nva, method, northbound.check_params(method, dict(params)))
        except northbound.Answer as answer:
            raise NvaError(answer.code, answer.message, answer.data) from answer
        except Killed:
            self.world.nva_is_gone()
            raise NvaError(UNUSABLE, f"{method}: the NVA ended during the call") from None
        if self.lost_answer_of == method:
            self.lost_answer_of = ""
            self.world.nva_is_gone()
            raise NvaError(UNUSABLE, f"{method}: the NVA ended during the call")
        return result


class FaultWorld:
    """vm1 at nve1, wired to nve2 too; nve3 is a bystander with a peer."""

    def __init__(self, folder: Path) -> None:
        self._journal_path = folder / "journal"
        self.faults: list[BaseException] = []
        self.client = Client(self)
        self.network: Any = Network(Noted(), "rebind")
        self.wiring = PaperWiring("vm1", MOVER_MAC, "nve1", 1450, 1 << 20, 100, 0)
        self.network.wirings = {"vm1": self.wiring}
        self.nves: dict[str, FakeNve] = {}
        self.nva: Nva | None = None
        self.start_nva()
        self.client.configure(**config())
        for name in NVES:
            self._connect(name, {})
        self._until_programmed()

    # The NVA

    def start_nva(self) -> None:
        self.journal = Journal(self._journal_path)
        self.nva = Nva(
            self.journal, EventHub(time.monotonic), self.faults.append, answer_within_s=ANSWER_WITHIN_S
        )

    def nva_is_gone(self) -> None:
        """Its connections end, its journal stays; NVEs do what they had been told."""
        self.nva = None
        self.journal.close()
        for nve in self.nves.values():
            nve.end()

    def kill_nva_within(self, method: str, moment: str) -> None:
        """Have it killed ``before`` a call, when its ``intent`` is on disk, before that is ``done``, ``after`` it."""
        if moment == "after":
            self.client.lost_answer_of = method
            return

        def arm() -> None:
            if moment == "before":
                self.nva_is_gone()
                return
            original = getattr(self.journal, moment)

            def killed(*args: Any) -> None:
                if moment == "intent":
                    original(*args)
                raise Killed

            setattr(self.journal, moment, killed)

        self.client.at[method] = arm

    # NVEs

    def _connect(self, name: str, table: Any) -> None:
        self.nves[name] = FakeNve(int(name[-1]), table)
        if self.nva is not None:
            self.nva.nve_connected(self.nves[name].session)

    def break_nve(self, name: str, how: str) -> None:
        """``stop`` or ``kill`` now; ``stop at commit``, ``kill at commit``: when it has accepted the next change."""
        nve = self.nves[name]
        self._give_up_after(GIVEN_UP_AFTER_S)
        if how == "stop":
            nve.stop()
        elif how == "kill":
            nve.end()
            nve.table.clear()
            assert self.nva is not None
            self.nva.nve_gone(nve.session)
        elif how == "stop at commit":
            nve.stop_on = {"commit"}
        else:
            nve.die_on = {"commit"}

    def _give_up_after(self, seconds_s: float) -> None:
        if self.nva is not None:
            self.nva.fabric.answer_within_s = seconds_s

    def mend(self) -> None:
        """Everything that stands still or has gone is back; what is alive is left alone."""
        for nve in self.nves.values():
            nve.stop_on, nve.die_on = set(), set()
            nve.go_on()
        if self.nva is None:
            self.start_nva()
        self._give_up_after(ANSWER_WITHIN_S)
        assert self.nva is not None
        for name, nve in list(self.nves.items()):
            if nve.closed.is_set() or self.nva.fabric.session(int(name[-1])) is not nve.session:
                nve.end()
                self._connect(name, nve.table)

    # Moves

    def migration(self, new_nve: str, **choices: Any) -> Migration:
        return Migration(self.network, self.client, "vm1", new_nve, **choices)

    def move(self, new_nve: str, **choices: Any) -> Migration:
        """A move, whatever becomes of it."""
        migration = self.migration(new_nve, **choices)
        try:
            migration.run()
        except (NvaError, EmulationError, RuntimeError):
            assert migration.record.outcome.startswith("failed in ")
        return migration

    def end(self, migration: Migration, bound_s: float = 20.0) -> None:
        """What a driver does: mend and go on until nothing is owed and every NVE is programmed."""
        deadline_s = time.monotonic() + bound_s
        while self._until_programmed() and not migration.go_on():
            assert time.monotonic() < deadline_s, migration.record.outcome

    def _until_programmed(self, bound_s: float = 20.0) -> bool:
        """Mend until every NVE is programmed; on a busy machine one that lives may be taken for a silent one, too."""
        deadline_s = time.monotonic() + bound_s
        while True:
            self.mend()
            try:
                self.client.wait_programmed(1.0)
            except NvaError:
                assert time.monotonic() < deadline_s
            else:
                return True

    def differing(self) -> list[str]:
        """The NVEs whose table is not what the NVA believes it to be."""
        assert self.nva is not None
        self._until_programmed()
        with self.nva.fabric.lock:
            state = self.nva.state
            return [
                name
                for name, nve in self.nves.items()
                if without_cookies(nve.table) != table_of(desired_flows(state, name))
            ]

    def assert_whole(self) -> str:
        """The VM is at exactly one NVE, for everybody, and not in a move; where."""
        told = self.client.where("vm1")
        assert told["move"] is None
        assert told["nve"] == self.network.location["vm1"] == self.wiring.whole_at()
        assert self.differing() == []
        assert self.faults == []
        return str(told["nve"])

    def close(self) -> None:
        for nve in self.nves.values():
            nve.end()
        if self.nva is not None:
            with self.nva.fabric.lock:
                self.journal.close()
