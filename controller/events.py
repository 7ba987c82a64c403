"""Events for watchers: published by any thread, read by each watcher at its own pace."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Any

Event = dict[str, Any]
"""``{t_s, kind, ...}``; ``t_s`` is CLOCK_MONOTONIC in seconds."""

BACKLOG = 100_000
"""Events a watcher may be behind before the newest are dropped (and counted)."""


class Watcher:
    """One reader's queue."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._lost = 0
        self.drained = threading.Event()

    def put(self, event: Event | None) -> None:
        """Queue an event; None ends the stream."""
        if event is not None and self._queue.qsize() >= BACKLOG:
            self._lost += 1
            return
        self._queue.put(event)

    def get(self) -> Event | None:
        """Wait for the next event; None at the end. A note says when events were dropped."""
        event = self._queue.get()
        if event is not None and self._lost:
            lost, self._lost = self._lost, 0
            self._queue.put(event)
            return {"t_s": event["t_s"], "kind": "note", "text": f"watcher too slow: {lost} events dropped"}
        return event


class EventHub:
    """Hands every published event to every watcher."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._watchers: list[Watcher] = []
        self._closed = False

    def publish(self, kind: str, at_s: float | None = None, /, **fields: Any) -> None:
        """Hand out one event, stamped now unless its time is given; never blocks on a watcher."""
        with self._lock:
            event: Event = {"t_s": self._now() if at_s is None else at_s, "kind": kind, **fields}
            for watcher in self._watchers:
                watcher.put(event)

    def watch(self) -> Watcher:
        """Add a watcher; it sees what is published from now on."""
        watcher = Watcher()
        with self._lock:
            if self._closed:
                watcher.put(None)
            self._watchers.append(watcher)
        return watcher

    def unwatch(self, watcher: Watcher) -> None:
        """Remove a watcher that has gone."""
        with self._lock:
            if watcher in self._watchers:
                self._watchers.remove(watcher)
        watcher.drained.set()

    def close(self, timeout_s: float) -> None:
        """End every stream and wait until the watchers have read what there was, at most so long."""
        with self._lock:
            self._closed = True
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.put(None)
        end_s = self._now() + timeout_s
        for watcher in watchers:
            watcher.drained.wait(max(0.0, end_s - self._now()))
