"""The errors of this package, all under one base class.

EmulationError
├── CommandError      a command ended with a status other than 0
├── SystemCallError   a system call or a netlink request was refused
├── PreflightError    this machine cannot do what was asked; says what to install or change
└── WaitError         a condition did not come true within its bound
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from vocabulary.errors import OverlandError


class EmulationError(OverlandError):
    """Something this package could not do; the text is one clear sentence for the user."""


class CommandError(EmulationError):
    """A command failed: says where it ran, what ran, how it ended and what it printed on stderr."""

    def __init__(self, node: str, argv: Sequence[str], exit_code: int, stderr: str) -> None:
        self.node, self.argv, self.exit_code, self.stderr = node, tuple(argv), exit_code, stderr
        said = stderr.strip() or "(nothing on stderr)"
        super().__init__(f"{node}: `{' '.join(argv)}` ended with status {exit_code}: {said}")


class SystemCallError(EmulationError):
    """A system call was refused: says what was attempted and the system's own word for the reason."""

    def __init__(self, attempt: str, errno_value: int) -> None:
        self.errno = errno_value
        super().__init__(f"{attempt}: {os.strerror(errno_value)}")


class PreflightError(EmulationError):
    """This machine lacks something; ``problems`` holds one line each, with the remedy in it."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class WaitError(EmulationError):
    """A condition did not come true in time: says what was wanted and what was seen last."""

    def __init__(self, wanted: str, timeout_s: float, seen: object) -> None:
        super().__init__(f"waited {timeout_s:g} s for {wanted}; last seen: {seen}")
