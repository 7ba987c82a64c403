"""Ctrl-C: where it counts at once, and where it must not tear something apart and waits.

In Python a signal's handler runs between two instructions, so KeyboardInterrupt can come out of any of them: out of the
clean-up after another one, too. Here it is raised only within `counting`, once for each time that is entered; at all
other times a press is counted, and whoever is concerned asks for it.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Self

_OVERDUE_S = 0.05  # Python runs a handler within a millisecond, unless what it waits in was not woken


class Interrupts:
    """Ctrl-C of a session. Its handler is installed while it is entered; in other threads nothing is raised."""

    def __init__(self) -> None:
        self.presses = 0
        """How often Ctrl-C was pressed while it did not count."""
        self._answered = 0
        self._counts = self._held = False
        self._watch: _Watch | None = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._take)
        self._watch = _Watch()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._watch is not None:
            self._watch.close()
        signal.signal(signal.SIGINT, self._before)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if self._watch is not None:
            self._watch.taken()
        if self._counts:
            self._counts = False
            raise KeyboardInterrupt
        self.presses += 1

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Within, Ctrl-C raises KeyboardInterrupt; at once, when it was pressed before and nobody has answered it."""
        self._counts = True
        try:
            self._raise_unanswered()
            yield
        finally:
            self._counts = False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within, Ctrl-C is counted only; what nobody has answered is raised at the end, if it counts there.

        Ctrl-C in the middle of a question to the NVA, say, would leave its answer to the next question.
        """
        if self._held or threading.current_thread() is not threading.main_thread():
            yield
            return
        counted, self._counts, self._held = self._counts, False, True
        try:
            yield
        finally:
            self._counts, self._held = counted, False
        if counted:
            self._raise_unanswered()

    @contextlib.contextmanager
    def held_between(self, phases: Sequence[str]) -> Iterator[dict[str, Callable[[], None]]]:
        """As `held`, but a press counts when one of these phases begins; gives the hooks for a migration."""
        before = self.presses

        def check() -> None:
            if self.presses > before:
                raise KeyboardInterrupt

        with self.held():
            try:
                yield dict.fromkeys(phases, check)
            finally:
                self.answer()

    def answer(self) -> None:
        """What was pressed until now has had its effect."""
        self._answered = self.presses

    def _raise_unanswered(self) -> None:
        if self.presses > self._answered:
            self._counts = False
            self.answer()
            raise KeyboardInterrupt


class _Watch:
    """Sends a signal again that Python has not taken.

    One that comes just before ``input`` begins to wait for a key does not wake it: Python would run the handler at the
    next key, and Ctrl-C at the moment the prompt comes seemed to be swallowed. The kernel's part of the handler writes
    the signal's number to a socket at once; Python's part takes it out.
    """

    def __init__(self) -> None:
        self._mine, theirs = socket.socketpair()
        self._theirs = theirs
        for end in (self._mine, theirs):
            end.setblocking(False)
        self._closed = threading.Event()
        self._before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def taken(self) -> None:
        """Python's handler runs."""
        with contextlib.suppress(BlockingIOError):
            self._mine.recv(4096)

    def close(self) -> None:
        """Stop watching."""
        signal.set_wakeup_fd(self._before)
        self._closed.set()
        with contextlib.suppress(BlockingIOError):
            self._theirs.send(b"\0")
        self._thread.join()
        self._mine.close()
        self._theirs.close()

    def _look(self) -> None:
        main = threading.main_thread().ident
        while True:
            select.select([self._mine], [], [])
            if self._closed.wait(_OVERDUE_S) or main is None:
                return
            with contextlib.suppress(BlockingIOError):
                for number in set(self._mine.recv(4096, socket.MSG_PEEK)):
                    signal.pthread_kill(main, number)
