"""A migration: runs the phases that ``mobility.order`` has planned, each timed, each with a hook.

Up to the switch a failure is undone: the steps that were begun are taken back, last one first. After it the VM is at
its new place and nothing can be taken back: what is still needed there is done (`order.NEEDED`), so that it runs, every
NVE knows where, and it can move again; then the failure is raised. What cannot be done at once, because the NVA or an
NVE is away, the move *owes*: ``go_on`` tries again, and who has the migration calls it until nothing is owed
(`mobility.unfinished`).
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from controller.client import NvaClient
from emulation.network import EmulatedNetwork
from mobility.move import Move
from mobility.options import MoveOptions
from mobility.order import NEEDED, PHASES, PlannedPhase, plan
from mobility.policies import MigrationRefusedError, check_forwarding
from mobility.record import EmitsEvents, MigrationRecord, Phase, ignore_events
from mobility.steps import STEPS
from vocabulary.moves import KINDS, REBIND, REPLUG
from vocabulary.policies import OldNvePolicy

__all__ = [
    "PHASES",
    "EmitsEvents",
    "Migration",
    "MigrationRecord",
    "MigrationRefusedError",
    "MoveOptions",
    "Phase",
]


Owed = tuple[str, Callable[[Move], None]]
"""The name of a step, and what is to be done for it."""


class Migration:
    """One move of one VM; ``run`` does it. ``hooks``: phase name -> called when the phase begins.

    ``choices`` are fields of MoveOptions, such as ``policy="tunnel"``; they overrule ``options``. What cannot be done
    is refused here (MigrationRefusedError), before anything is touched. Several VMs may move at once, each in a thread.
    """

    def __init__(
        self,
        network: EmulatedNetwork,
        nva: NvaClient,
        vm: str,
        new_nve: str,
        *,
        options: MoveOptions | None = None,
        emit: EmitsEvents = ignore_events,
        hooks: dict[str, Callable[[], None]] | None = None,
        **choices: Any,
    ) -> None:
        self.options = MoveOptions.of(options, choices)
        if self.options.kind not in KINDS:
            self.options.check(REBIND)
        _check_names(network, vm, new_nve)
        attachment = REBIND if vm in network.wirings else REPLUG
        self.phases: tuple[PlannedPhase, ...] = plan(self.options, attachment)
        policy = self.options.check(attachment)
        _check_means(network, vm, self.options, policy)
        self._hooks, self._emit = hooks or {}, _naming(vm, emit)
        self._begun: list[str] = []  # steps, up to the switch: what a failure takes back
        self._done = 0  # steps that ended well
        self._owed: list[Owed] = []
        self._one_at_a_time = threading.Lock()
        self._failure = ""
        self.switched = False
        self.waits_for = ""
        """Why what is owed could not be done the last time."""
        self.record = MigrationRecord(
            migration_id=uuid.uuid4().hex,
            kind=self.options.kind,
            vm=vm,
            old_nve=network.location[vm],
            new_nve=new_nve,
            policy=policy.name,
            attachment=attachment,
            options=self.options,
        )
        self._move = Move(network, nva, self.options, policy, self.record, self._emit)

    def run(self) -> MigrationRecord:
        """Do the move. A failure before the switch is undone, one after it rolled forward; either is raised."""
        try:
            for phase in self.phases:
                with self._timed(phase.name):
                    for name in phase.steps:
                        self._do(name)
                if phase.name == "switch":
                    self.switched = True
        except BaseException as error:
            name = self.record.phases[-1].name if self.record.phases else self.phases[0].name
            self._failure = f"failed in {name}: {error}; "
            self._owed = self._still_needed() if self.switched else self._to_take_back()
            self._move.forward = self.switched
            self._try_owed()
            error.add_note(self._told())
            raise
        self.record.outcome = "done"
        return self.record

    def _do(self, name: str) -> None:
        self._begun.append(name)
        STEPS[name].do(self._move)
        self._done += 1

    def _still_needed(self) -> list[Owed]:
        planned = [name for phase in self.phases for name in phase.steps]
        return [(name, STEPS[name].do) for name in planned[self._done :] if name in NEEDED]

    def _to_take_back(self) -> list[Owed]:
        undo = ((name, STEPS[name].undo) for name in reversed(self._begun))
        return [(name, step) for name, step in undo if step is not None]

    # What a move owes after a failure.

    @property
    def owes(self) -> bool:
        """Whether something is still to be done, to take the move back or to finish it."""
        return bool(self._owed)

    def go_on(self, waits: bool = True) -> bool:
        """Try again what is owed; whether nothing is owed any more. Any thread may call it.

        ``waits`` false: do not keep the redirect for NVEs that are away; they get the mapping when they return.
        """
        with self._one_at_a_time:
            if self._owed:
                self._move.waits = waits
                self._try_owed()
                if not self._owed:
                    self._told()
            return not self._owed

    def _try_owed(self) -> None:
        """Do what is owed, in order. What fails again is passed over, for the steps behind it may still do good."""
        left: list[Owed] = []
        troubles: dict[str, list[str]] = {}  # why -> steps
        for name, do in self._owed:
            try:
                do(self._move)
            except Exception as error:  # whatever it was, the VM still needs the rest
                left.append((name, do))
                troubles.setdefault(str(error), []).append(name)
        self._owed = left
        self.waits_for = "; ".join(f"{', '.join(names)}: {why}" for why, names in troubles.items())
        ended = "rolled forward" if self.switched else "undone"
        self.record.outcome = self._failure + (f"not {ended} yet ({self.waits_for})" if left else ended)

    def _told(self) -> str:
        """How the move stands, in words; watchers are told, too."""
        record = self.record
        text = f"the move of {record.vm} from {record.old_nve} to {record.new_nve} {record.outcome}"
        self._move.note(text)
        return text

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start_s = time.monotonic()
        try:
            if name in self._hooks:
                self._hooks[name]()
            yield
        finally:
            end_s = time.monotonic()
            self.record.phases.append(Phase(name, start_s, end_s))
            self._emit(start_s, "phase", name=name, start_s=start_s, end_s=end_s)


def _naming(vm: str, emit: EmitsEvents) -> EmitsEvents:
    """Emits events that say whose move they are of: several VMs may move at once."""

    def naming(t_s: float, kind: str, **fields: Any) -> None:
        emit(t_s, kind, **{"vm": vm, **fields})

    return naming


def _check_names(network: EmulatedNetwork, vm: str, new_nve: str) -> None:
    if vm not in network.location:
        raise MigrationRefusedError(f"there is no VM {vm!r}; this network has {', '.join(network.location)}")
    if new_nve not in network.nves:
        raise MigrationRefusedError(
            f"there is no NVE {new_nve!r}; this network has {', '.join(network.nves)}"
        )
    if network.location[vm] == new_nve:
        others = ", ".join(name for name in network.nves if name != new_nve)
        raise MigrationRefusedError(f"{vm} is at {new_nve} already; move it to one of {others}")


def _check_means(network: EmulatedNetwork, vm: str, options: MoveOptions, policy: OldNvePolicy) -> None:
    """Refuse what this machine has no means for."""
    if policy.is_plain:
        check_forwarding(network.topology, vm)
    if options.announcements and options.announce_with == "na" and network.topology.vm(vm).ipv6 is None:
        raise MigrationRefusedError(
            f"announce_with=na: {vm} has no IPv6 address to advertise in topology {network.topology.name}; choose "
            "rarp, garp or all, or give it an `ipv6`"
        )
    if options.pauses:
        network.group(vm)  # EmulationError with the reason
