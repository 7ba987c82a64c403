"""Ctrl-C at moments when it must not tear something apart."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence


@contextlib.contextmanager
def ignored_interrupts() -> Iterator[None]:
    """Ctrl-C in the middle of a question to the NVA would leave its answer to the next question."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def interrupts_between(phases: Sequence[str]) -> Iterator[dict[str, Callable[[], None]]]:
    """Ctrl-C counts only when one of these phases begins; gives the hooks for a migration."""
    pressed = threading.Event()

    def check() -> None:
        if pressed.is_set():
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, lambda *_: pressed.set())
    try:
        yield dict.fromkeys(phases, check)
    finally:
        signal.signal(signal.SIGINT, before)
