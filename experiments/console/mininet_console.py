"""Mininet's CLI made to fit: names, addresses, errors in one line, input that is piped in, completion."""

from __future__ import annotations

import contextlib
import difflib
import sys
from cmd import Cmd
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from select import poll
from typing import IO, Any

from mininet.cli import CLI
from mininet.log import lg, output

from emulation.network import EmulatedNetwork
from experiments.console import mininet_view
from experiments.console.user_files import files_line, private_paths
from experiments.running.interrupts import ignored_interrupts
from experiments.running.refusals import refusals

NOT_HERE = ("xterm", "gterm", "x")


class ConsoleError(Exception):
    """A command that cannot be done as it was written; says what is allowed."""


class MininetConsole(CLI):  # type: ignore[misc]  # Mininet ships no types
    """Mininet's CLI; ``talk`` reads commands until the end. ``refused`` counts what was not done.

    ``own``: verbs that Ctrl-C must not interrupt; they take a moment only.
    """

    prompt = "overland> "
    identchars = Cmd.identchars + "-"  # names of nodes may have one
    own: Sequence[str] = ()

    def __init__(self, network: EmulatedNetwork, stdin: IO[str] = sys.stdin) -> None:
        # CLI's own __init__ starts to read at once; what it sets is set here.
        self.mn = network
        self.locals: dict[str, Any] = {"net": network}
        self.inputFile: IO[str] | None = None
        self.inPoller = poll()
        self.inPoller.register(stdin)
        self.refused = 0
        Cmd.__init__(self, stdin=stdin)
        if not self.isatty():
            self.prompt = ""

    def talk(self) -> None:
        """Read and do commands until exit, Ctrl-D or the end of the input."""
        lg.ch.setStream(sys.stdout)  # Mininet would answer on stderr
        if self.isatty():
            _set_up_readline()
        self.run()

    def onecmd(self, line: str) -> bool:
        """Do one command; what cannot be done is one clear text and no end of the console."""
        mininet_view.refresh(self.mn)
        verb, _, _ = self.parseline(line)
        missing = [path for path in private_paths(line) if not Path(path).exists()]
        try:
            with ignored_interrupts() if verb in self.own else contextlib.nullcontext():
                return bool(super().onecmd(line))
        except _said_in_one_line() as error:
            self.refuse(str(error))
        finally:
            if any(not Path(path).exists() for path in missing):
                print(files_line(), file=sys.stderr, flush=True)
        return False

    def refuse(self, text: str) -> None:
        """Say why a command was not done."""
        self.refused += 1
        sys.stdout.flush()
        print(text, file=sys.stderr, flush=True)

    def default(self, line: str) -> None:
        """A command for a node, or a word that is none."""
        first, rest, _ = self.parseline(line)
        if first in self.mn:
            if not rest:
                raise ConsoleError(f"{first}: which command shall run there? For example: {first} ip address")
            super().default(line)
            return
        near = difflib.get_close_matches(str(first or line), [*self.verbs(), *self.mn.nameToNode], n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ConsoleError(
            f"{line.split()[0]!r} is neither a command nor a node{meant} (help lists the commands)"
        )

    def waitForNode(self, node: Any) -> None:  # noqa: N802 - Mininet's name
        """Show what a node prints until its command ends; keys go to it only from a terminal."""
        if self.isatty():
            super().waitForNode(node)
            return
        while node.waiting:
            try:
                output(node.monitor())
            except KeyboardInterrupt:
                node.sendInt()

    def verbs(self) -> list[str]:
        """All commands."""
        return [name[3:] for name in self.get_names() if name.startswith("do_") and name != "do_EOF"]

    def do_EOF(self, line: str) -> Any:  # noqa: N802 - cmd's name
        """End the session (Ctrl-D)."""
        if self.isatty():
            output("\n")
        return self.do_exit(line)

    # Mininet's verbs that need a word of their own here.

    def do_pingall(self, line: str) -> None:
        """Ping between all VMs of each virtual network: pingall [TIMEOUT in s]."""
        for network in self.mn.topology.virtual_networks:
            vms = [self.mn[vm.name] for vm in self.mn.topology.vms if vm.virtual_network == network.name]
            if len(vms) > 1:
                output(f"network {network.name}:\n")
                self.mn.ping(hosts=vms, timeout=line or "1")

    def do_pingpair(self, line: str) -> None:
        """Ping between the first two VMs."""
        with self._only_vms():
            super().do_pingpair(line)

    def do_pingallfull(self, line: str) -> None:
        """Ping between all VMs, with round-trip times."""
        with self._only_vms():
            super().do_pingallfull(line)

    def do_pingpairfull(self, line: str) -> None:
        """Ping between the first two VMs, with round-trip times."""
        with self._only_vms():
            super().do_pingpairfull(line)

    def do_iperf(self, line: str) -> None:
        """Measure TCP between two VMs: iperf VM VM."""
        with self._only_vms():
            super().do_iperf(line)

    def do_iperfudp(self, line: str) -> None:
        """Measure UDP between two VMs: iperfudp RATE VM VM."""
        with self._only_vms():
            super().do_iperfudp(line)

    def do_link(self, line: str) -> None:
        """Bring the link between two nodes up or down: link NODE NODE up|down."""
        words = line.split()
        if len(words) != 3 or words[2] not in ("up", "down"):
            raise ConsoleError("usage: link NODE NODE up|down (links lists the links)")
        for name in words[:2]:
            self.known(name, list(self.mn.nameToNode), "node")
        super().do_link(line)
        if words[2] == "up":
            for name in words[:2]:
                mininet_view.restore_routes(self.mn, name)

    def do_wait(self, _line: str) -> None:
        """Wait until every NVE is connected to the NVA and has its flows."""
        self._check()
        self.laboratory.nva.wait_programmed(30.0)

    def do_xterm(self, line: str, term: str = "xterm") -> None:
        """Not here: a sandbox has no display. From another terminal: make shell NODE=NAME."""
        node = line.split()[0] if line.split() else "NAME"
        raise ConsoleError(
            f"{term}: the sandbox has no display; from another terminal: make shell NODE={node}"
        )

    def do_gterm(self, line: str) -> None:
        """Not here, as xterm."""
        self.do_xterm(line, "gterm")

    def do_x(self, line: str) -> None:
        """Not here, as xterm."""
        self.do_xterm(line, "x")

    # Completion.

    def completenames(self, text: str, *_ignored: Any) -> list[str]:
        """First words: verbs and nodes."""
        return starting(text, [*self.verbs(), *self.mn.nameToNode])

    def completedefault(self, text: str, *_ignored: Any) -> list[str]:
        """Further words of a node's command: nodes."""
        return starting(text, self.mn.nameToNode)

    # Details.

    def vms(self) -> list[str]:
        """The names of all VMs."""
        return [vm.name for vm in self.mn.topology.vms]

    def known(self, name: str, there: Sequence[str], what: str) -> None:
        """Refuse a name that is not there, with the nearest one."""
        if name not in there:
            near = difflib.get_close_matches(name, there, n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ConsoleError(f"there is no {what} {name!r}{meant} (there are: {', '.join(there)})")

    @contextlib.contextmanager
    def _only_vms(self) -> Iterator[None]:
        """Mininet takes every host for an end system; routers are not."""
        everybody = self.mn.hosts
        self.mn.hosts = [self.mn[name] for name in self.vms()]
        try:
            if len(self.mn.hosts) < 2:
                raise ConsoleError("this needs two VMs, and the topology has fewer")
            yield
        finally:
            self.mn.hosts = everybody


def _said_in_one_line() -> tuple[type[Exception], ...]:
    """What ends a command and not the console; OSError: a daemon of an NVE is gone."""
    return (ConsoleError, OSError, *refusals())


def starting(text: str, words: Iterable[str]) -> list[str]:
    """The words that begin so, each with a blank to go on after."""
    return sorted(word + " " for word in set(words) if word.startswith(text))


def _set_up_readline() -> None:
    """Words end at blanks only (policy=tunnel is one); the history lasts as long as the session."""
    import readline

    readline.set_completer_delims(" \t\n")
