"""The console: Mininet's CLI on a running laboratory, with the verbs of this project."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import IO

from controller.pipeline import describe
from experiments.console.hooks import HookVerb
from experiments.console.life import LIFE, LifeVerbs
from experiments.console.links import LinkVerbs
from experiments.console.migrate import (
    AUTO,
    Wanted,
    choice_lines,
    completions,
    read_moves,
    summary_line,
    trouble_lines,
)
from experiments.console.mininet_console import NOT_HERE, ConsoleError, MininetConsole
from experiments.console.text import columns, help_lines, move_lines, policy_lines
from experiments.console.traffic import TrafficVerbs
from experiments.console.truth import TRUTH, TruthVerbs
from experiments.console.upkeep import UPKEEP, UpkeepVerbs
from experiments.console.watching import EventTap, watch_command, watch_live
from experiments.running.laboratory import Laboratory, LaboratoryError
from mobility.lifecycle import check_running
from mobility.migration import PHASES, MigrationRecord, MoveOptions
from mobility.several import Outcome, move_several
from mobility.several import check as check_several
from vocabulary.errors import OverlandError

OWN = ("migrate", *TRUTH, "watch", "hook", "tables", *LIFE, *UPKEEP)
_SWITCH = PHASES.index("switch")


class Console(TrafficVerbs, LinkVerbs, MininetConsole, TruthVerbs, LifeVerbs, HookVerb, UpkeepVerbs):
    """The verbs of this project; ``policy``: the old-NVE policy of a ``migrate`` that names none."""

    own = tuple(verb for verb in OWN if verb != "watch")

    def __init__(
        self,
        laboratory: Laboratory,
        tap: EventTap,
        policy: str = AUTO,
        faults: Path = Path("faults"),
        stdin: IO[str] = sys.stdin,
    ) -> None:
        HookVerb.__init__(self)
        super().__init__(laboratory.network, faults, stdin)
        self.laboratory, self.tap, self.policy = laboratory, tap, policy
        self.locals |= {"laboratory": laboratory, "nva": laboratory.nva}

    # Own verbs. The first line of each docstring is its line in help.

    def do_migrate(self, line: str) -> None:
        """Move VMs: migrate VM NVE [NVE ...] [, VM NVE ...] [hot] [NAME=value ...].

        migrate vm1 nve2               one move
        migrate vm1 nve2 nve3          a chain: to nve2 and, when that move has ended, on to nve3
        migrate vm1 nve2 nve1          there and back
        migrate vm1 nve2, vm2 nve1     two VMs at once, here towards each other; as many as there are
        A VM's next move begins when the one before has ended. Kind, policy and the like come last and hold for all.
        Prints the phases with their times, the frames that were held and a conclusion.
        Ctrl-C before a VM is switched takes its move back; after that the move is finished first. When a
        move fails or is taken back, no further one is begun.
        """
        wanted = read_moves(line, self.policy)
        for itinerary in wanted.itineraries:
            self.known(itinerary.vm, self.vms(), "VM")
            for nve in itinerary.nves:
                self.known(nve, list(self.mn.nves), "NVE")
        self._check()
        for itinerary in wanted.itineraries:
            self._refuse_unmovable(itinerary.vm)
        check_several(wanted.itineraries, self.mn.location, list(self.mn.nves))
        policies = {one.vm: self._policy_of(one.vm, wanted) for one in wanted.itineraries}
        with self.interrupts.held_between(PHASES[: _SWITCH + 1]) as interrupts:
            hooks = self.with_hooks(interrupts)

            def move(vm: str, nve: str) -> MigrationRecord:
                return self.laboratory.move(
                    vm, nve, kind=wanted.kind, policy=policies[vm], hooks=hooks, **wanted.choices
                )

            outcome = move_several(wanted.itineraries, move)
        for record in outcome.done:
            print("\n".join(move_lines(record, self.mn.topology.vm(record.vm).memory_bytes)), flush=True)
        if len(outcome.done) > 1:
            print(summary_line(outcome.done), flush=True)
        _said_or_raised(outcome, self.mn.location, self.hints(outcome.failed.values()))

    def do_watch(self, line: str) -> None:
        """Show events live: watch [SECONDS], until Ctrl-C; or those of a command: watch migrate VM NVE.

        Live, the events are the NVA's. With a command, those of the move (phases, holders, switch) are
        shown with them, in the order of time, when the command has ended.
        """
        words = line.split()
        self._check()
        if words and words[0] in self.verbs():
            if words[0] == "watch":
                raise ConsoleError("watch watch: name another command, such as watch migrate VM NVE")
            watch_command(self.laboratory.nva, self.tap, lambda: self.onecmd(line))
            return
        if len(words) > 1:
            raise ConsoleError("usage: watch [SECONDS], or watch COMMAND")
        if not words and not self.isatty():
            raise ConsoleError("watch: say for how many SECONDS when commands do not come from a terminal")
        watch_live(self.laboratory.nva, _seconds(words[0]) if words else None)

    def do_tables(self, _line: str) -> None:
        """Show the pipeline: each table's purpose, what it may match on, where it may go next."""
        print(describe(), flush=True)

    def do_help(self, line: str) -> None:
        """List the commands, or explain one: help COMMAND."""
        words = line.split()
        if not words:
            own = {verb: getattr(self, f"do_{verb}").__doc__ for verb in OWN}
            others = [verb for verb in self.verbs() if verb not in (*OWN, *NOT_HERE)]
            print("\n".join(help_lines(own, others, self.mn.topology)), flush=True)
            return
        method = getattr(self, f"do_{words[0]}", None)
        if method is None or not method.__doc__:
            there = ", ".join(self.verbs())
            raise ConsoleError(f"help: there is no command {words[0]!r} (there are: {there})")
        text = inspect.cleandoc(method.__doc__)
        if words[0] == "migrate":
            text += "\n" + "\n".join([*policy_lines(), "And:", *columns(choice_lines())])
        print(text, flush=True)

    # Completion.

    def complete_migrate(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """VM, NVEs, kind, policy; after a comma another VM."""
        before = line[:begidx].partition(" ")[2]
        return completions(text, before, self.vms(), list(self.mn.nves), self.mn.location)

    # Details.

    def _check(self) -> None:
        try:
            self.laboratory.check()
        except LaboratoryError as error:
            raise ConsoleError(
                f"{error}; VMs still talk, but nothing can move: nva restart starts it anew"
            ) from None

    def _refuse_unmovable(self, vm: str) -> None:
        now = self.laboratory.nva.where(vm)
        check_running(vm, now["state"])
        self.refuse_unfinished(vm, now["move"])

    def _policy_of(self, vm: str, wanted: Wanted) -> str:
        """The policy of this VM's moves; what it cannot be is refused before any VM moves."""
        prewired = self.mn.is_prewired(vm)
        policy = wanted.policy
        if policy == AUTO:
            policy = "buffer" if prewired else "tunnel"
        MoveOptions(kind=wanted.kind, policy=policy, **wanted.choices).check(
            "rebind" if prewired else "replug"
        )
        return policy


def _said_or_raised(outcome: Outcome, location: dict[str, str], hints: list[str]) -> None:
    """A failure that a console may tell is told; a fault of the program is raised."""
    for error in outcome.failed.values():
        if not isinstance(error, (KeyboardInterrupt, OSError, OverlandError)):
            raise error
    if outcome.failed:
        raise ConsoleError("\n".join([*trouble_lines(outcome, location), *hints]))


def _seconds(word: str) -> float:
    try:
        seconds_s = float(word)
    except ValueError:
        seconds_s = -1.0
    if not 0 < seconds_s <= 86_400:
        raise ConsoleError(f"watch {word}: allowed is a number of seconds, such as 10, or a command")
    return seconds_s
