"""The life of a VM at its NVE: allocate, start, pause, resume, move, stop, release; what each verb does here.

RFC 8394 section 3 names the events of a VM's life, section 4 what the NVE is told of them. The NVA holds the state and
refuses a verb from a wrong one before anything is touched (``vocabulary.lifecycle``); then what stands for the
hypervisor follows:

    allocate  the NVE reserves the VM's ports                       (the VM's interface: associated)
    start     the VM is attached, its processes may run              (activated)
    pause     the NVE drops what comes for it, what is under way behind the NVE is held, processes are frozen
                                                                     (associated; peers keep their mapping)
    resume    what was held is let out, processes go on              (activated)
    move      a migration, of a running VM only
    stop      its processes end, its interface is cut off            (associated)
    release   no NVE knows it any more                               (init)
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from controller.client import NvaClient, NvaError
from emulation.errors import EmulationError
from emulation.network import EmulatedNetwork
from emulation.pause import Pause
from mobility.policies import MigrationRefusedError
from vocabulary.lifecycle import MOVE, VERBS


class Life:
    """One VM's life. NvaError (a wrong state, which is named) and MigrationRefusedError: nothing has changed."""

    def __init__(
        self, network: EmulatedNetwork, nva: NvaClient, vm: str, move: Callable[..., Any] | None = None
    ) -> None:
        self._network, self._nva, self.vm, self._move = network, nva, vm, move
        self._pause: Pause | None = None

    @property
    def state(self) -> str:
        """Its state, as the NVA has it."""
        return str(self._nva.where(self.vm)["state"])

    def do(self, verb: str, *words: str) -> Any:
        """Do a verb by its name; ``words``: the NVE of allocate (optional) and of move."""
        if verb not in VERBS:
            raise MigrationRefusedError(f"{verb}: there is no such verb; there are {', '.join(VERBS)}")
        return getattr(self, verb)(*words)

    def allocate(self, nve: str | None = None) -> None:
        """Reserve the VM's ports at an NVE, its last one when none is named."""
        here = self._network.location[self.vm]
        if nve is not None and nve not in self._network.nves:
            raise MigrationRefusedError(
                f"there is no NVE {nve!r}; this network has {', '.join(self._network.nves)}"
            )
        if nve not in (None, here) and self.vm not in self._network.wirings:
            raise MigrationRefusedError(
                f"{self.vm} is not pre-wired, its only port is at {here}: allocate it there, or list NVEs in the VM's "
                "`prewired`"
            )
        with self._told("allocate", nve=nve):
            place = here if nve is None else nve
            if self.vm in self._network.wirings and place not in self._network.wirings[self.vm].legs:
                ports = self._network.add_legs(self.vm, place)
                self._nva.set_port(self.vm, place, ports["direct"], ports["redirected"])
            self._network.location[self.vm] = place

    def start(self) -> None:
        """Attach the VM and let its processes run."""
        with self._told("start"):
            if self.vm in self._network.wirings:
                self._network.wirings[self.vm].switch(self._network.location[self.vm])

    def pause(self) -> None:
        """Hold what comes and goes, then freeze the processes; a VM that is not pre-wired is only frozen."""
        wiring = self._network.wirings.get(self.vm)
        mode = "freeze" if wiring is None else "hold"
        pause = Pause(self.vm, self._network.group(self.vm), wiring, mode)
        with self._told("pause"):
            pause.begin()
            self._pause = pause

    def resume(self) -> dict[str, int]:
        """Let out what was held and the processes go on; the frames that were let out, by holder."""
        with self._told("resume"):
            return self._end_pause()

    def move(self, new_nve: str, **options: Any) -> Any:
        """Migrate the running VM; its record."""
        check_running(self.vm, self.state)
        if self._move is None:
            raise MigrationRefusedError(f"move of {self.vm}: nobody here can move it")
        return self._move(self.vm, new_nve, **options)

    def stop(self) -> None:
        """End the VM's processes and cut its interface off; what was held for it is lost."""
        with self._told("stop"):
            group = self._network.groups.get(self.vm)
            if group is not None:
                group.end(keep={self._network[self.vm].pid})
            self._end_pause()
            if self.vm in self._network.wirings:
                self._network.wirings[self.vm].detach()

    def release(self) -> None:
        """Give back what the NVE has reserved."""
        with self._told("release"):
            pass

    def _end_pause(self) -> dict[str, int]:
        if self._pause is None:
            return {}
        pause, self._pause = self._pause, None
        pause.end()
        return dict(pause.released)

    @contextlib.contextmanager
    def _told(self, verb: str, **params: Any) -> Iterator[None]:
        """The NVA first, which may refuse; when the hypervisor's part then fails, the NVA is told the opposite."""
        getattr(self._nva, verb)(self.vm, **params)
        try:
            yield
        except EmulationError:
            if VERBS[verb].undone_by:
                with contextlib.suppress(NvaError):  # the first error says more
                    getattr(self._nva, VERBS[verb].undone_by)(self.vm)
            raise


def check_running(vm: str, state: str) -> None:
    """Refuse to move a VM that is not running (MigrationRefusedError), and say what to do first."""
    if state not in VERBS[MOVE].before:
        way = {"released": "allocate and start it", "allocated": "start it", "paused": "resume it"}[state]
        raise MigrationRefusedError(
            f"move of {vm}: it is {state}; a VM moves when it is running (the move pauses it by itself): {way} first"
        )
