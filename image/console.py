"""What the guest's console says, line by line, and whether the guest still lives. Pure.

Lines that begin with "overland:" are the guest's own (`guest/init`, `guest/main`): up, start, alive, end STATUS, fault
WHY. After ``start`` everything else is the command's output and is shown; before it, it is the kernel's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

MARK = "overland: "
_PANIC = re.compile(r"Kernel panic|Out of memory: Killed|BUG: |Oops: ")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1bc")
# What the kernel puts between the lines of a command: "[   12.345678] text".
_OF_KERNEL = re.compile(r"^\[\s*\d+\.\d{6}\] ")


@dataclass
class Console:
    """Takes the console's bytes as they come; ``feed`` returns the lines to show."""

    up: bool = False
    started: bool = False
    status: int | None = None
    faults: list[str] = field(default_factory=list)
    _rest: str = ""

    def feed(self, data: bytes) -> list[str]:
        """More bytes; a line counts once its end has come."""
        self._rest += data.decode(errors="replace")
        *lines, self._rest = self._rest.replace("\r\n", "\n").split("\n")
        return [shown for line in lines if (shown := self._line(_ESCAPES.sub("", line))) is not None]

    def _line(self, line: str) -> str | None:
        if line.startswith(MARK):
            word, _, rest = line.removeprefix(MARK).partition(" ")
            if word == "up":
                self.up = True
            elif word == "start":
                self.started = True
            elif word == "end":
                self.status = int(rest) if rest.strip().isdigit() else 1
            elif word == "fault":
                self.faults.append(rest)
            return None
        if _PANIC.search(line):
            self.faults.append(_OF_KERNEL.sub("", line).strip())
        if not self.started or _OF_KERNEL.match(line) or self.status is not None:
            return None
        return line


@dataclass(frozen=True)
class Patience:
    """How long a console may be silent, in seconds: until the kernel has come up, and from then on.

    The guest says "alive" every 5 s (`guest/main`).
    """

    until_up_s: float
    afterwards_s: float


PATIENCE = {"kvm": Patience(10.0, 60.0), "tcg": Patience(60.0, 120.0)}


def silent_too_long(console: Console, silent_s: float, patience: Patience) -> str | None:
    """Why a guest whose console said nothing for so long is given up; None: not yet."""
    if not console.up:
        if silent_s > patience.until_up_s:
            return f"no sign of life from its kernel for {silent_s:.0f} s"
    elif silent_s > patience.afterwards_s:
        return f"it hangs: nothing on its console for {silent_s:.0f} s"
    return None


def how_it_ended(console: Console, qemu_status: int) -> str | None:
    """Why a guest that is gone did not end well; None: its command ended and said how."""
    if console.status is not None:
        return None
    if console.faults:
        return f"the guest died: {console.faults[0]}"
    if not console.up:
        return f"QEMU ended with status {qemu_status} before the guest's kernel came up"
    return f"the guest died before its command had ended (QEMU's status {qemu_status})"
