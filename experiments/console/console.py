"""The console: Mininet's CLI on a running laboratory, with the verbs of this project."""

from __future__ import annotations

import inspect
import sys
from typing import IO, Any

from controller.pipeline import describe
from mobility.lifecycle import check_running
from mobility.migration import PHASES, MigrationRecord, MoveOptions
from mobility.several import Outcome, move_several
from mobility.several import check as check_several

from ..running.interrupts import interrupts_between
from ..running.laboratory import Laboratory, LaboratoryError
from ..running.refusals import refusals
from .hooks import HookVerb
from .journey import Packet, conclusion, follow, journey_lines
from .life import LIFE, LifeVerbs
from .migrate import AUTO, Wanted, choice_lines, completions, read_moves, summary_line, trouble_lines
from .mininet_console import NOT_HERE, ConsoleError, MininetConsole, starting
from .text import columns, flow_lines, help_lines, move_lines, policy_lines, where_lines
from .watching import EventTap, watch_command, watch_live
from .whereabouts import names_at, places, whereabouts, wire_of
from .why import PROTOCOLS, TABLE_NAMES, parse_flows

OWN = ("migrate", "where", "why", "flows", "watch", "hook", "tables", *LIFE)
_SWITCH = PHASES.index("switch")


class Console(MininetConsole, LifeVerbs, HookVerb):
    """The verbs of this project; ``policy``: the old-NVE policy of a ``migrate`` that names none."""

    own = tuple(verb for verb in OWN if verb != "watch")

    def __init__(
        self, laboratory: Laboratory, tap: EventTap, policy: str = AUTO, stdin: IO[str] = sys.stdin
    ) -> None:
        HookVerb.__init__(self)
        super().__init__(laboratory.network, stdin)
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
        with interrupts_between(PHASES[: _SWITCH + 1]) as interrupts:
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
        _said_or_raised(outcome, self.mn.location)

    def do_where(self, line: str) -> None:
        """Show where VMs are: where [VM]. The NVA's mapping beside the kernel's wires.

        NVE (NVA): where the NVA's mapping has the VM. port, redirected: its ports on that NVE's br-int.
        wire (kernel): where its frames really go and come from, read from the kernel; the last column
        says whether both agree, or how far a move is.
        """
        words = line.split()
        for vm in words:
            self.known(vm, self.vms(), "VM")
        self._check()
        nva = self.laboratory.nva
        found = [whereabouts(self.mn, nva.where(vm)) for vm in words or self.vms()]
        print("\n".join(where_lines(found, nva.status()["version"])), flush=True)

    def do_why(self, line: str) -> None:
        """Explain a packet's way: why VM VM [icmp|tcp|udp|arp]. Every table at every NVE it passes.

        Nothing is sent: each NVE's Open vSwitch is asked what its tables would do (ofproto/trace).
        For every table: the flow that matches, in words, and what it does. The last line is the
        conclusion: delivered to which port, or dropped in which table and why.
        """
        words = line.split()
        if not 2 <= len(words) <= 3:
            raise ConsoleError(f"usage: why VM VM [{'|'.join(PROTOCOLS)}]")
        source, target = words[0], words[1]
        protocol = words[2] if len(words) == 3 else PROTOCOLS[0]
        for vm in (source, target):
            self.known(vm, self.vms(), "VM")
        if source == target:
            raise ConsoleError(
                f"why {source} {target}: a VM's packets to itself do not leave it; name two VMs"
            )
        self.known(protocol, PROTOCOLS, "protocol")
        self._check()
        network = self.mn.topology.network_of(source)
        one, other = self.mn.topology.vm(source), self.mn.topology.vm(target)
        packet = Packet(protocol, network.vni, one.mac, other.mac, str(one.ipv4), str(other.ipv4))
        wire = wire_of(self.mn, source)
        if wire.speaks not in self.mn.nves:
            raise ConsoleError(f"{source} reaches no NVE now: its wire is {wire.speaks}")
        start = wire.speaks
        hops = follow(packet, start, self.mn.vm_ports(source, start)["direct"] or 0, places(self.mn))
        print("\n".join([*journey_lines(hops), conclusion(hops, source, target)]), flush=True)
        self._say_wire(hops[-1].place.name, hops[-1].trace.end.port, target)

    def do_flows(self, line: str) -> None:
        """Show an NVE's flows in words: flows NVE [TABLE], with packet counts.

        TABLE is a number or a name of the pipeline (see tables). dpctl dump-flows shows them raw, of all NVEs.
        """
        words = line.split()
        if not 1 <= len(words) <= 2:
            raise ConsoleError(f"usage: flows NVE [TABLE]; NVEs: {', '.join(self.mn.nves)}")
        self.known(words[0], list(self.mn.nves), "NVE")
        table = self._table(words[1]) if len(words) == 2 else None
        dump = self.mn.nves[words[0]].dpctl("dump-flows")
        print(
            "\n".join(flow_lines(words[0], parse_flows(dump), names_at(self.mn, words[0]), table)), flush=True
        )

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

    def complete_where(self, text: str, *_ignored: Any) -> list[str]:
        """VMs."""
        return starting(text, self.vms())

    def complete_why(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """VM, VM, protocol."""
        before = line[:begidx].split()[1:]
        return starting(text, [vm for vm in self.vms() if vm not in before] if len(before) < 2 else PROTOCOLS)

    def complete_flows(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """NVE, table."""
        return starting(text, TABLE_NAMES.values() if line[:begidx].split()[1:] else self.mn.nves)

    # Details.

    def _table(self, word: str) -> int:
        numbers = {name: number for number, name in TABLE_NAMES.items()}
        if word.isdigit() and int(word) in TABLE_NAMES:
            return int(word)
        self.known(word.upper(), list(numbers), "table")
        return numbers[word.upper()]

    def _check(self) -> None:
        try:
            self.laboratory.check()
        except LaboratoryError as error:
            raise ConsoleError(
                f"{error}\nVMs still talk, but nothing can move: exit, and start anew"
            ) from None

    def _refuse_unmovable(self, vm: str) -> None:
        now = self.laboratory.nva.where(vm)
        check_running(vm, now["state"])
        move = now["move"]
        if move is not None:
            raise ConsoleError(
                f"{vm} is moving already, from {move['old_nve']} to {move['new_nve']} (stage {move['stage']}); "
                "wait until it has arrived"
            )

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

    def _say_wire(self, nve: str, port: int | None, target: str) -> None:
        """Add what happens behind the port, when that is not simply the VM."""
        if port is None or target not in self.mn.ofports[nve]:
            return
        ports = self.mn.vm_ports(target, nve)
        which = next((leg for leg, number in ports.items() if number == port), "")
        end = wire_of(self.mn, target).hears.get((nve, which), "vm")
        if end != "vm":
            print(f"but behind that port the wire is {end}: {target} does not get it now", flush=True)


def _said_or_raised(outcome: Outcome, location: dict[str, str]) -> None:
    """A failure that a console may tell is told; a fault of the program is raised."""
    for error in outcome.failed.values():
        if not isinstance(error, (KeyboardInterrupt, OSError, ConsoleError, *refusals())):
            raise error
    if outcome.failed:
        raise ConsoleError("\n".join(trouble_lines(outcome, location)))


def _seconds(word: str) -> float:
    try:
        seconds_s = float(word)
    except ValueError:
        seconds_s = -1.0
    if not 0 < seconds_s <= 86_400:
        raise ConsoleError(f"watch {word}: allowed is a number of seconds, such as 10, or a command")
    return seconds_s
