"""What every probe written in Python does at its start and its end. Standard library only."""

from __future__ import annotations

import ctypes
import resource
import signal
from types import FrameType

from experiments.probes.log_format import IntegerLog

PR_SET_TIMERSLACK = 29
ENDING = (signal.SIGTERM, signal.SIGINT)


class EndRequestedError(Exception):
    """SIGTERM or SIGINT came; raised out of whatever call the probe is in."""


def _on_signal(_number: int, _frame: FrameType | None) -> None:
    for number in ENDING:  # a second signal must not interrupt the writing of the log
        signal.signal(number, signal.SIG_IGN)
    raise EndRequestedError


def prepare() -> None:
    """Turn the ending signals into EndRequestedError and let sleeps end on time (default: 50 us late)."""
    for number in ENDING:
        signal.signal(number, _on_signal)
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)


def finish(log: IntegerLog) -> None:
    """Write the log, with the CPU time used (``cpu_ns``), if the probe had come as far as to announce it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    log.counters["cpu_ns"] = int((usage.ru_utime + usage.ru_stime) * 1e9)
    if log.path.exists():
        log.close()
