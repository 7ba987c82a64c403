"""What every probe written in Python does at its start and its end. Standard library only."""

from __future__ import annotations

import ctypes
import resource
import signal
from collections.abc import Callable
from types import FrameType

from experiments.probes.log_format import IntegerLog

PR_SET_TIMERSLACK = 29
ENDING = (signal.SIGTERM, signal.SIGINT)


class EndRequestedError(Exception):
    """SIGTERM or SIGINT came; raised out of whatever call the probe is in."""


def _ignore_signals() -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    _ignore_signals()
    raise EndRequestedError


def sleep_precisely() -> None:
    """Sleeps of this process end on time; by default the kernel may add 50 us."""
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)


def run(work: Callable[[], None]) -> None:
    """Run ``work`` until it returns or SIGTERM or SIGINT comes; what it raises itself passes through.

    From then on both signals are ignored: they must interrupt neither the writing of the log nor the end of
    the interpreter.
    """
    sleep_precisely()
    try:
        try:
            for number in ENDING:
                signal.signal(number, _on_signal)
            work()
        finally:
            _ignore_signals()
    except EndRequestedError:
        pass


def finish(log: IntegerLog) -> None:
    """Write the log, with the CPU time used (``cpu_ns``), if the probe had come as far as to announce it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    log.counters["cpu_ns"] = int((usage.ru_utime + usage.ru_stime) * 1e9)
    if log.path.exists():
        log.close()
