"""The console's verbs for what went wrong: ``move`` (moves that are not finished), ``nva`` and ``nve`` (bring back)."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from controller.client import PARTLY, UNREACHABLE, NvaError
from experiments.console.mininet_console import ConsoleError, starting
from experiments.console.text import columns
from mobility.unfinished import unfinished_words

if TYPE_CHECKING:
    from emulation.network import EmulatedNetwork
    from experiments.running.laboratory import Laboratory

UPKEEP = ("move", "nva", "nve")
HINT = (
    "it goes on by itself; move retry tries at once, nve restart NVE and nva restart bring back what is away"
)


def _nves_of(error: NvaError) -> list[str]:
    """The NVEs that a call failed for because they were away."""
    away = error.code in (UNREACHABLE, PARTLY) and isinstance(error.data, dict)
    return list(error.data.get("nves", {})) if away else []


class UpkeepVerbs:
    """Mixed into the console."""

    laboratory: Laboratory
    mn: EmulatedNetwork

    def do_move(self, line: str) -> None:
        """Show moves that are not finished, and end them: move [retry [VM] | abort [VM]].

        move                which moves are not finished, and what each waits for
        move retry [VM]     try at once what the VM's move (or all of them) still needs
        move abort [VM]     give the move up. Before its switch it is taken back. Behind it the VM is at its new NVE,
                            and the move is ended there without waiting for NVEs that are away.
        A move that failed because an NVE or the NVA was away goes on by itself when that is back.
        """
        words = line.split()
        self._check()
        if not words:
            print("\n".join(self._unfinished_lines()) or "  no move is unfinished", flush=True)
            return
        self.known(words[0], ("retry", "abort"), "word after move")
        if len(words) > 2:
            raise ConsoleError("usage: move [retry [VM] | abort [VM]]")
        if len(words) == 2:
            self.known(words[1], self.vms(), "VM")
        verb, moving = words[0], self._moving()
        vms = words[1:] or sorted(moving)
        for vm in vms:
            if vm not in moving:
                raise ConsoleError(f"{vm} has no unfinished move")
            self._end(vm, verb, moving[vm])
        if not vms:
            print("  no move is unfinished", flush=True)

    def do_nva(self, line: str) -> None:
        """Show the NVA, kill it, bring it back: nva [kill | restart].

        nva             whether it is there, and which NVEs it has programmed
        nva kill        it is gone at once, as by kill -9: VMs go on talking, nothing can move
        nva restart     start it anew (killed before if it lives): its journal says who is where
        """
        words = line.split()
        if words:
            self.known(words[0], ("kill", "restart"), "word after nva")
        if len(words) > 1:
            raise ConsoleError("usage: nva [kill | restart]")
        if words == ["kill"]:
            self.laboratory.kill_nva()
            print("the NVA is gone; nva restart brings it back", flush=True)
            return
        if words == ["restart"]:
            self._restart_nva()
        self._check()
        status = self.laboratory.nva.status()
        programmed = sum(nve["programmed_s"] is not None for nve in status["nves"].values())
        print(
            f"the NVA is there, with version {status['version']} of its mapping; "
            f"{programmed} of {len(status['nves'])} NVEs are programmed",
            flush=True,
        )

    def do_nve(self, line: str) -> None:
        """Show the NVEs, kill one's switch daemon, bring it back: nve [kill NVE | restart NVE].

        nve                 which NVEs the NVA has, with the number of their flows
        nve kill NVE        its ovs-vswitchd is gone at once, as by kill -9; nothing but nve restart brings it back
        nve restart NVE     start its ovs-vswitchd anew (killed before if it lives or stands still)
        """
        words = line.split()
        if words:
            self.known(words[0], ("kill", "restart"), "word after nve")
            if len(words) != 2:
                raise ConsoleError("usage: nve [kill NVE | restart NVE]")
            self.known(words[1], list(self.mn.nves), "NVE")
        if words and words[0] == "kill":
            self.mn.nves[words[1]].kill_switch()
            print(f"{words[1]}'s ovs-vswitchd is gone; nve restart {words[1]} brings it back", flush=True)
            return
        self._check()
        if words:
            begin_s = time.monotonic()
            self.laboratory.restart_nve(words[1])
            print(
                f"{words[1]} is back: programmed {time.monotonic() - begin_s:.1f} s after the command",
                flush=True,
            )
            self._go_on()
            return
        rows = [("NVE", "to the NVA", "flows")]
        for name, told in self.laboratory.nva.status()["nves"].items():
            state = "programmed" if told["programmed_s"] is not None else told["problem"] or "not programmed"
            rows.append((name, "away" if told["connected_s"] is None else state, str(told["flows"])))
        print("\n".join(columns(rows)), flush=True)

    # Completion.

    def complete_move(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """Word, VM."""
        if not line[:begidx].split()[1:]:
            return starting(text, ("retry", "abort"))
        return starting(text, [move.record.vm for move in self.laboratory.unfinished.moves()])

    def complete_nva(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """Word."""
        return [] if line[:begidx].split()[1:] else starting(text, ("kill", "restart"))

    def complete_nve(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """Word, NVE."""
        return starting(text, self.mn.nves if line[:begidx].split()[1:] else ("kill", "restart"))

    # Details.

    def refuse_unfinished(self, vm: str, move: dict[str, Any] | None) -> None:
        """Refuse to move a VM whose last move has not ended; ``move``: the NVA's word of it."""
        unfinished = self.laboratory.unfinished.of(vm)
        if unfinished is not None:
            raise ConsoleError(f"{unfinished_words(unfinished)}: {HINT}")
        if move is not None:
            raise ConsoleError(
                f"{vm} is moving already, from {move['old_nve']} to {move['new_nve']} (stage {move['stage']}); "
                f"move abort {vm} takes that back"
            )

    def hints(self, failed: Iterable[BaseException]) -> list[str]:
        """What a user should know after moves that failed."""
        if self.laboratory.unfinished.moves():
            return [HINT]
        away = {nve for error in failed if isinstance(error, NvaError) for nve in _nves_of(error)}
        return [f"nve restart {nve} brings {nve} back" for nve in sorted(away)]

    def _moving(self) -> dict[str, dict[str, Any]]:
        """VM -> the NVA's word of its move, of all that are in one, and those whose move is unfinished."""
        told = {move["vm"]: move for move in self.laboratory.nva.status()["moves"]}
        return {move.record.vm: {} for move in self.laboratory.unfinished.moves()} | told

    def _unfinished_lines(self) -> list[str]:
        ours = {move.record.vm: unfinished_words(move) for move in self.laboratory.unfinished.moves()}
        others = {
            vm: f"{vm} is moving from {move['old_nve']} to {move['new_nve']} (stage {move['stage']}), "
            f"not by migrate: move abort {vm} takes that back"
            for vm, move in self._moving().items()
            if vm not in ours
        }
        return [f"  {text}" for text in (ours | others).values()]

    def _end(self, vm: str, verb: str, move: dict[str, Any]) -> None:
        laboratory = self.laboratory
        unfinished = laboratory.unfinished.of(vm)
        if unfinished is not None:
            if not laboratory.unfinished.retry(vm, waits=verb == "retry"):
                raise ConsoleError(f"{unfinished_words(unfinished)}: {HINT}")
        elif self.mn.location[vm] != move["old_nve"] or verb != "abort":
            raise ConsoleError(
                f"{vm} is moving from {move['old_nve']} to {move['new_nve']} (stage {move['stage']}), not by migrate: "
                "who began that move has to end it, or move abort takes it back while the VM is where it was"
            )
        else:
            laboratory.nva.abort_move(move["id"])
        print(f"  {vm} is at {self.mn.location[vm]}, its move has ended", flush=True)

    def _restart_nva(self) -> None:
        begin_s = time.monotonic()
        try:
            self.laboratory.restart_nva()
        except NvaError as error:
            raise ConsoleError(f"the NVA is back, but {error}; nve restart NVE brings an NVE back") from None
        print(f"the NVA is back after {time.monotonic() - begin_s:.1f} s", flush=True)
        self._go_on()

    def _go_on(self) -> None:
        """What waited for what is back now."""
        for move in self.laboratory.unfinished.moves():
            ended = self.laboratory.unfinished.retry(move.record.vm)
            print(
                f"  the move of {move.record.vm} {'has ended' if ended else 'is not finished yet'}",
                flush=True,
            )

    # What the console has.

    if TYPE_CHECKING:

        def vms(self) -> list[str]:
            """The names of all VMs."""

        def known(self, name: str, there: Sequence[str], what: str) -> None:
            """Refuse a name that is not there."""

        def _check(self) -> Any: ...
