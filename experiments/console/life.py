"""The console's verbs of a VM's life: allocate, start, pause, resume, stop, release (move is `migrate`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from experiments.console.mininet_console import ConsoleError, starting
from vocabulary.lifecycle import TRANSITIONS, VERBS

if TYPE_CHECKING:
    from experiments.running.laboratory import Laboratory

LIFE = TRANSITIONS


class LifeVerbs:
    """Mixed into the console; each verb is refused from a wrong state, which is named, and then changes nothing."""

    laboratory: Laboratory

    def do_allocate(self, line: str) -> None:
        """Reserve a released VM's ports at an NVE: allocate VM [NVE]. Next: start VM."""
        self._live("allocate", line, "[NVE]")

    def do_start(self, line: str) -> None:
        """Start an allocated VM: start VM."""
        self._live("start", line)

    def do_pause(self, line: str) -> None:
        """Pause a running VM: pause VM. Its NVE drops what comes for it; its processes are frozen. Next: resume VM."""
        self._live("pause", line)

    def do_resume(self, line: str) -> None:
        """Let a paused VM go on: resume VM."""
        self._live("resume", line)

    def do_stop(self, line: str) -> None:
        """Stop a running or paused VM: stop VM. Its processes end; its ports stay reserved."""
        self._live("stop", line)

    def do_release(self, line: str) -> None:
        """Give back what is reserved for a stopped VM: release VM. No NVE knows it then."""
        self._live("release", line)

    def _live(self, verb: str, line: str, more: str = "") -> None:
        words = line.split()
        if not 1 <= len(words) <= (2 if more else 1):
            raise ConsoleError(f"usage: {verb} VM {more}".rstrip())
        self.known(words[0], self.vms(), "VM")
        self._check()
        self.laboratory.lives[words[0]].do(verb, *words[1:])
        now = self.laboratory.nva.where(words[0])
        print(
            f"{words[0]} is {now['state']} at {now['nve']} (its interface there: {now['tsi_state']})",
            flush=True,
        )

    def _complete_life(self, verb: str, text: str, line: str, begidx: int) -> list[str]:
        before = line[:begidx].split()[1:]
        if before:
            return (
                starting(text, self.laboratory.network.nves)
                if verb == "allocate" and len(before) == 1
                else []
            )
        where = self.laboratory.nva.where
        return starting(text, [vm for vm in self.vms() if where(vm)["state"] in VERBS[verb].before])

    def complete_allocate(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """Released VMs, then NVEs."""
        return self._complete_life("allocate", text, line, begidx)

    def complete_start(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """Allocated VMs."""
        return self._complete_life("start", text, line, begidx)

    def complete_pause(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """Running VMs."""
        return self._complete_life("pause", text, line, begidx)

    def complete_resume(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """Paused VMs."""
        return self._complete_life("resume", text, line, begidx)

    def complete_stop(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """Running or paused VMs."""
        return self._complete_life("stop", text, line, begidx)

    def complete_release(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """Allocated VMs."""
        return self._complete_life("release", text, line, begidx)

    # What the console has.

    def vms(self) -> list[str]:
        """The names of all VMs."""
        raise NotImplementedError

    def known(self, name: str, there: Sequence[str], what: str) -> None:
        """Refuse a name that is not there."""
        raise NotImplementedError

    def _check(self) -> Any:
        raise NotImplementedError
