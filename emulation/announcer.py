"""Repeated announcements of a VM's new place, in a thread of their own so that a move does not wait for them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Sequence

from emulation.errors import EmulationError

_INITIAL_S, _STEP_S, _MAXIMUM_S = 0.05, 0.1, 0.55


def announcement_times_s(count: int) -> tuple[float, ...]:
    """When a hypervisor announces, in seconds after it resumed the VM: 0, 0.05, 0.2, 0.45, 0.8 for five.

    QEMU waits 50 ms after the first and 100 ms more each time, at most 550 ms (parameters announce-initial, -step,
    -max; announce-rounds is 5).
    """
    times, now_s = [], 0.0
    for number in range(count):
        times.append(round(now_s, 6))
        now_s += min(_INITIAL_S + number * _STEP_S, _MAXIMUM_S)
    return tuple(times)


class Announcer:
    """Calls ``announce`` at the given times after its start, until it is stopped; the first in the caller's thread."""

    def __init__(self, announce: Callable[[], None], times_s: Sequence[float]) -> None:
        self._announce = announce
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        start_s = time.monotonic()
        if times_s and times_s[0] == 0:
            announce()
            times_s = times_s[1:]
        if times_s:
            self._thread = threading.Thread(target=self._run, args=(start_s, tuple(times_s)), daemon=True)
            self._thread.start()

    def _run(self, start_s: float, times_s: Sequence[float]) -> None:
        for time_s in times_s:
            if self._stopped.wait(max(0.0, start_s + time_s - time.monotonic())):
                return
            with contextlib.suppress(EmulationError):  # the network is being taken down
                self._announce()

    def stop(self) -> None:
        """No announcement after this returns: one that came late would lead everybody to the wrong NVE."""
        self._stopped.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
