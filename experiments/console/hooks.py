"""The console's verb ``hook``: a command that is done when a phase of a move begins."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence

from experiments.console.mininet_console import ConsoleError, starting
from mobility.migration import PHASES

Hooks = dict[str, Callable[[], None]]
"""Phase -> what is called when it begins, as ``Migration`` takes them."""

_NOT_IN_A_MOVE = ("migrate", "move", "exit", "quit", "EOF", "hook", "watch", "source")


class HookVerb:
    """Mixed into the console. A command that is refused fails its phase: up to the switch the move is taken back."""

    refused: int

    def __init__(self) -> None:
        self.hooked: dict[str, str] = {}  # phase -> command
        self._one_at_a_time = threading.Lock()

    def do_hook(self, line: str) -> None:
        """Do a command when a phase of a move begins: hook PHASE COMMAND. hook PHASE off; hook lists.

        hook switch vm1 ping -c 1 peer1    while all else is ready and the VM is not yet at its new NVE
        hook converge flows nve1           just before the mapping changes
        The move waits for the command, so its figures are not those of a move without hooks. A command that
        is refused fails the phase: before the switch ends, the move is taken back, and says which phase it was.
        """
        words = line.split(maxsplit=1)
        if not words:
            print(
                "\n".join(f"  {phase}: {self.hooked[phase]}" for phase in PHASES if phase in self.hooked)
                or "  no hooks",
                flush=True,
            )
            return
        self.known(words[0], PHASES, "phase")
        if len(words) == 1:
            raise ConsoleError(f"usage: hook {words[0]} COMMAND, or hook {words[0]} off")
        phase, command = words
        if command == "off":
            self.hooked.pop(phase, None)
            return
        verb = next((word for word in command.split() if word != "time"), "time")
        if verb in _NOT_IN_A_MOVE:
            raise ConsoleError(f"hook {phase} {verb}: not within a move; choose another command")
        self.hooked[phase] = command

    def with_hooks(self, others: Mapping[str, Callable[[], None]]) -> Hooks:
        """These hooks, each followed by the command of its phase."""
        return {
            phase: self._both(others.get(phase), self.hooked.get(phase))
            for phase in PHASES
            if phase in others or phase in self.hooked
        }

    def _both(self, first: Callable[[], None] | None, command: str | None) -> Callable[[], None]:
        def do() -> None:
            if first is not None:
                first()
            if command is not None:
                with self._one_at_a_time:  # several VMs may move at once
                    self._obey(command)

        return do

    def _obey(self, command: str) -> None:
        before = self.refused
        try:
            self.onecmd(command)
        except KeyboardInterrupt:  # the move asks at its next phase whether it is to be taken back
            print(f"interrupted: {command}", file=sys.stderr, flush=True)
        if self.refused > before:
            raise ConsoleError(f"its hook was refused: {command}")

    def complete_hook(self, text: str, line: str, begidx: int, _endidx: int) -> list[str]:
        """Phases, then verbs and nodes."""
        if not line[:begidx].split()[1:]:
            return starting(text, PHASES)
        return self.completenames(text)

    # What the console has.

    def onecmd(self, line: str) -> bool:
        """Do one command."""
        raise NotImplementedError

    def completenames(self, text: str) -> list[str]:
        """Verbs and nodes."""
        raise NotImplementedError

    def known(self, name: str, there: Sequence[str], what: str) -> None:
        """Refuse a name that is not there."""
        raise NotImplementedError
