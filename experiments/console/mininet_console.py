"""Mininet's CLI made to fit: names, addresses, errors in one line, input that is piped in, completion."""

from __future__ import annotations

import contextlib
import difflib
import select
import sys
import termios
import time
from cmd import Cmd
from collections.abc import Callable, Iterable, Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from subprocess import DEVNULL, call
from typing import IO, Any, NoReturn

import mininet.cli
from mininet.cli import CLI
from mininet.log import lg, output

from emulation.network import EmulatedNetwork
from experiments.console import mininet_view
from experiments.console.at_node import NodeShellError, check_command, run_at
from experiments.console.faults import fault_line
from experiments.console.node_names import UnclearNameError, with_addresses
from experiments.console.user_files import files_line, private_paths
from experiments.running.interrupts import Interrupts
from vocabulary.errors import OverlandError

NOT_HERE = ("xterm", "gterm", "x")
_MOST_SOURCES = 16


class ConsoleError(OverlandError):
    """A command that cannot be done as it was written; says what is allowed."""


class MininetConsole(CLI):  # type: ignore[misc]  # Mininet ships no types
    """Mininet's CLI; ``talk`` reads commands until the end. ``refused`` counts what was not done.

    ``own``: verbs that Ctrl-C must not interrupt; they take a moment only. ``faults``: the folder for tracebacks.
    """

    prompt = "overland> "
    identchars = Cmd.identchars + "-"  # names of nodes may have one
    own: Sequence[str] = ()

    def __init__(self, network: EmulatedNetwork, faults: Path, stdin: IO[str] = sys.stdin) -> None:
        # CLI's own __init__ starts to read at once; what it sets is set here.
        self.mn = network
        # Python's own exit closes the standard input before it raises, and there would be no next command.
        self.locals: dict[str, Any] = {"net": network, "exit": sys.exit, "quit": sys.exit}
        self.inputFile: IO[str] | None = None
        self.refused, self.faults, self.interrupts = 0, faults, Interrupts()
        self._sources = 0
        Cmd.__init__(self, stdin=stdin)
        if not self.isatty():
            self.prompt = ""

    def talk(self) -> None:
        """Read and do commands until exit, Ctrl-D or the end of the input."""
        lg.ch.setStream(sys.stdout)  # Mininet would answer on stderr
        lg.ch.handleError = _raise_again  # and print the traceback of what cannot be written
        if isinstance(self.stdin, TextIOWrapper):
            self.stdin.reconfigure(errors="replace")  # any key may be hit
        if self.isatty():
            _set_up_readline()
        with self.interrupts:
            self.run()

    def run(self) -> None:
        """Do commands until the end; Ctrl-C gives a new prompt."""
        while True:
            try:
                with self.interrupts.counting():
                    self.cmdloop()
                return
            except KeyboardInterrupt:
                output("\nInterrupt\n")

    def onecmd(self, line: str) -> bool:
        """Do one command; what cannot be done is one clear text and no end of the console, whatever it was."""
        try:
            mininet_view.refresh(self.mn)
            verb, _, _ = self.parseline(line)
            held = self.interrupts.held() if verb in self.own else contextlib.nullcontext()
            with _files_explained(line), held:
                return bool(super().onecmd(line))
        except (OverlandError, OSError) as error:  # OSError: a daemon of an NVE is gone
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                raise
            self.refuse(str(error) or type(error).__name__)
        except SystemExit:
            self.refuse(f"{line}: a command cannot end the session; exit does")
        except Exception as error:  # the last boundary: a fault of one verb must not take the network away
            self.refuse(fault_line(error, line, self.faults))
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
            self.run_at_node(first, rest)
            return
        word = line.split()[0] if line.split() else line
        near = difflib.get_close_matches(str(first or word), [*self.verbs(), *self.mn.nameToNode], n=1)
        meant = f"; did you mean {near[0]!r}?" if near else ""
        raise ConsoleError(f"{word!r} is neither a command nor a node{meant} (help lists the commands)")

    def run_at_node(self, name: str, command: str) -> None:
        """Run a command in a node's shell; names of other nodes in it stand for their addresses."""
        self.refuse_paused(name)
        node = self.mn[name]
        try:
            check_command(name, command)
            written = with_addresses(self.mn.topology, self.mn.plan, name, command, set(node.nameToIntf))
            keys = self.stdin.fileno() if self.isatty() else None
            run_at(node, written, self.interrupts, output, keys)
        except (NodeShellError, UnclearNameError) as error:
            raise ConsoleError(str(error)) from None

    def refuse_paused(self, node: str) -> None:
        """Refuse what would run in a VM that stands still: it would never end."""
        group = self.mn.groups.get(node)
        if group is not None and group.is_frozen():
            raise ConsoleError(f"{node} is paused, and so is all that runs in it; resume {node} first")

    def verbs(self) -> list[str]:
        """All commands."""
        return [name[3:] for name in self.get_names() if name.startswith("do_") and name != "do_EOF"]

    def do_EOF(self, line: str) -> Any:  # noqa: N802 - cmd's name
        """End the session (Ctrl-D)."""
        if self.isatty():
            output("\n")
        return self.do_exit(line)

    # Mininet's verbs that need a word of their own here; further ones are in traffic.py and links.py.

    def do_wait(self, _line: str) -> None:
        """Wait until every NVE is connected to the NVA and has its flows."""
        self._check()
        self.laboratory.nva.wait_programmed(30.0)

    def do_sh(self, line: str) -> None:
        """Run a shell command in the sandbox, outside of all nodes: sh COMMAND."""
        if not line:
            raise ConsoleError("usage: sh COMMAND, such as: sh ip -br link")
        # Commands that are piped in are the console's, not this one's.
        call(["sh", "-c", line], stdin=None if self.isatty() else DEVNULL)

    def do_py(self, line: str) -> None:
        """Evaluate a Python expression: py EXPRESSION. There are net, laboratory, nva and every node by its name."""
        result = self._python("py", lambda: eval(line, vars(mininet.cli), self.getLocals()))
        if result:
            output(f"{result if isinstance(result, str) else repr(result)}\n")

    def do_px(self, line: str) -> None:
        """Execute a Python statement: px STATEMENT, with what py has."""
        self._python("px", lambda: exec(line, vars(mininet.cli), self.getLocals()))

    def _python(self, verb: str, do: Callable[[], Any]) -> Any:
        try:
            return do()
        except Exception as error:  # whatever a user's own program may raise
            told = str(error)
            raise ConsoleError(f"{verb}: {type(error).__name__}{': ' * bool(told)}{told}") from None

    def do_noecho(self, line: str) -> None:
        """Run a command in a node without showing what is typed: noecho NODE COMMAND."""
        name, _, command = line.strip().partition(" ")
        if not command:
            raise ConsoleError("usage: noecho NODE COMMAND, such as: noecho vm1 cat")
        self.known(name, list(self.mn.nameToNode), "node")
        with _without_echo(self.stdin.fileno()) if self.isatty() else contextlib.nullcontext():
            self.default(f"{name} {command.strip()}")

    def do_source(self, line: str) -> bool:
        """Do the commands in a file: source FILE. Ctrl-C ends it, exit in it ends the session."""
        words = line.split()
        if len(words) != 1:
            raise ConsoleError("usage: source FILE")
        if self._sources >= _MOST_SOURCES:
            raise ConsoleError(f"source {words[0]}: files source each other without end")
        try:
            commands = Path(words[0]).read_text(errors="replace").splitlines()
        except OSError as error:
            raise ConsoleError(f"source {words[0]}: {error.strerror}") from None
        self._sources += 1
        try:
            return any(self.onecmd(self.precmd(command)) for command in commands)
        finally:
            self._sources -= 1

    def do_time(self, line: str) -> Any:
        """Measure how long a command takes: time COMMAND."""
        if not line:
            raise ConsoleError("usage: time COMMAND, such as: time migrate vm1 nve2")
        begin_s = time.monotonic()
        ends = self.onecmd(line)
        output(f"*** Elapsed time: {time.monotonic() - begin_s:.6f} secs\n")
        return ends

    def do_dpctl(self, line: str) -> None:
        """Run an ovs-ofctl command on all NVEs: dpctl COMMAND [ARGUMENT ...], such as dpctl dump-ports."""
        if not line:
            raise ConsoleError("usage: dpctl COMMAND [ARGUMENT ...], such as: dpctl dump-ports")
        super().do_dpctl(line)

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
def _files_explained(line: str) -> Iterator[None]:
    """Say where a node finds files when a command named one that is not there, before nor after."""
    missing = [path for path in private_paths(line) if not _is_there(path)]
    try:
        yield
    finally:
        if any(not _is_there(path) for path in missing):
            print(files_line(), file=sys.stderr, flush=True)


def _is_there(path: str) -> bool:
    with contextlib.suppress(OSError, ValueError):  # what can be no path is not there
        return Path(path).exists()
    return False


def _raise_again(_record: Any) -> NoReturn:
    raise


def _nobody_reads() -> bool:
    """Whether standard output is a pipe that nobody has open any more."""
    asked = select.poll()
    asked.register(sys.stdout.fileno(), 0)
    return any(told & select.POLLERR for _, told in asked.poll(0))


def starting(text: str, words: Iterable[str]) -> list[str]:
    """The words that begin so, each with a blank to go on after."""
    return sorted(word + " " for word in set(words) if word.startswith(text))


@contextlib.contextmanager
def _without_echo(terminal: int) -> Iterator[None]:
    before = termios.tcgetattr(terminal)
    changed = [*before]
    changed[3] &= ~termios.ECHO
    termios.tcsetattr(terminal, termios.TCSANOW, changed)
    try:
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSANOW, before)


def _set_up_readline() -> None:
    """Words end at blanks only (policy=tunnel is one); the history lasts as long as the session."""
    import readline

    readline.set_completer_delims(" \t\n")
