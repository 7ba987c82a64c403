"""Moves that failed and could not be ended at once, since the NVA or an NVE was away: somebody goes on with them.

A move that nobody ends would keep its VM from moving ever again, and leave flows that are in nobody's book. So a thread
tries again what such a move owes (`Migration.go_on`) until it owes nothing: the NVA's calls are idempotent by
``migration_id``, also across its restarts.
"""

from __future__ import annotations

import threading
from typing import Protocol

from mobility.record import MigrationRecord

EVERY_S = 0.5


class Owing(Protocol):
    """As much of a `Migration` as is needed here."""

    record: MigrationRecord
    switched: bool
    waits_for: str

    def go_on(self, waits: bool = True) -> bool:
        """Try again what is owed; whether nothing is owed any more."""


def unfinished_words(move: Owing) -> str:
    """Which move is unfinished, and what it waits for."""
    record, where = move.record, "is not finished" if move.switched else "is not taken back"
    return f"the move of {record.vm} from {record.old_nve} to {record.new_nve} {where} ({move.waits_for})"


class Unfinished:
    """The unfinished moves, at most one a VM; a thread lives as long as there are any. For any thread."""

    def __init__(self, every_s: float = EVERY_S) -> None:
        self._every_s = every_s
        self._moves: dict[str, Owing] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, move: Owing) -> None:
        """From now on somebody goes on with this move."""
        with self._changed:
            self._moves[move.record.vm] = move
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="unfinished moves", daemon=True)
                self._thread.start()

    def moves(self) -> list[Owing]:
        """Those that are unfinished now."""
        with self._changed:
            return list(self._moves.values())

    def of(self, vm: str) -> Owing | None:
        """The unfinished move of a VM."""
        with self._changed:
            return self._moves.get(vm)

    def retry(self, vm: str, waits: bool = True) -> bool:
        """Try now, without waiting for the next time; whether the move has ended. See ``Migration.go_on``."""
        move = self.of(vm)
        return move is None or self._tried(move, waits)

    def close(self) -> None:
        """Nobody goes on any more: the network ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _tried(self, move: Owing, waits: bool = True) -> bool:
        ended = move.go_on(waits)
        if ended:
            with self._changed:
                if self._moves.get(move.record.vm) is move:
                    del self._moves[move.record.vm]
        return ended

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed, self._every_s)
                if self._closed or not self._moves:
                    self._thread = None
                    return
                moves = list(self._moves.values())
            for move in moves:
                self._tried(move)
