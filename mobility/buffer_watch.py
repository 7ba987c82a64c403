"""Samples of how full the holders are, taken beside a move: the event ``buffer``."""

from __future__ import annotations

import threading
import time
from typing import Protocol

from mobility.record import EmitsEvents


class Gauge(Protocol):
    """What is sampled: holder -> frames and bytes that wait now."""

    def read(self) -> dict[str, tuple[int, int]]:
        """Read it."""

    def close(self) -> None:
        """No more readings."""


class BufferWatch:
    """Samples a gauge every ``every_s`` in a thread of its own until ``stop``; ``peak``: most frames seen, by holder;
    ``together``: the most that all holders kept at the same moment.

    A sample is an event only when a holder's fill has changed since the one before, so that long pauses stay small.
    """

    def __init__(self, gauge: Gauge, every_s: float, emit: EmitsEvents) -> None:
        self._gauge, self._every_s, self._emit = gauge, every_s, emit
        self._stopped = threading.Event()
        self._last: dict[str, tuple[int, int]] = {}
        self.peak: dict[str, int] = {}
        self.together = 0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        next_s = time.monotonic()
        while not self._stopped.is_set():
            self._sample()
            next_s += self._every_s
            self._stopped.wait(max(0.0, next_s - time.monotonic()))

    def _sample(self) -> None:
        seen, now_s = self._gauge.read(), time.monotonic()
        for holder, (frames, size_bytes) in seen.items():
            if self._last.get(holder, (0, 0)) != (frames, size_bytes):
                self._emit(now_s, "buffer", holder=holder, frames=frames, bytes=size_bytes)
            self.peak[holder] = max(self.peak.get(holder, 0), frames)
        self.together = max(self.together, sum(frames for frames, _ in seen.values()))
        self._last = seen

    def stop(self) -> None:
        """Take a last sample and end; without effect when it has ended."""
        if not self._stopped.is_set():
            self._stopped.set()
            self._thread.join()
            self._sample()
            self._gauge.close()
