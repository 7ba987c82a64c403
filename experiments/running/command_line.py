"""``python -m PACKAGE COMMAND ...``: which command is meant, and what its errors are to whoever called it."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

from emulation.sandbox import EndedBySignalError, end_by_exception
from vocabulary.errors import OverlandError

Command = Callable[[Sequence[str]], int]
"""Takes the words behind its name; the exit status."""


def end_on_sigterm() -> None:
    """From now on SIGTERM ends this process in order, and by its own name: not as Ctrl-C, nor without a word."""
    signal.signal(signal.SIGTERM, end_by_exception)


def run_command(words: Sequence[str], commands: Mapping[str, Command], usage: str) -> int:
    """Run the command that the first word names; its exit status, 2 without one or when it refuses, 130 on Ctrl-C.
    A signal that ends it (`end_on_sigterm`) is told by its name, with 128 and its number as the status.
    """
    if not words or words[0] not in commands:
        print(usage, file=sys.stderr)
        return 2
    try:
        return commands[words[0]](words[1:])
    except KeyboardInterrupt:
        return 130
    except EndedBySignalError as ended:
        print(str(ended), file=sys.stderr)
        return ended.status
    except OverlandError as error:
        print(str(error), file=sys.stderr)
        return 2
    except BrokenPipeError:  # as of `make list | head`: what was wanted has been read
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
