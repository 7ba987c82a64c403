"""A progress bar on a terminal, a line now and then elsewhere. rich is loaded only for a terminal."""

from __future__ import annotations

import sys
import time
from typing import Any

LINE_EVERY_S = 10.0


class Progress:
    """Steps of the start, then valid trials out of those wanted."""

    def __init__(self, title: str) -> None:
        self._title, self._total, self._valid, self._invalid = title, 0, 0, 0
        self._bar: Any = None
        self._task: Any = None
        self._last_line_s = time.monotonic()

    def __enter__(self) -> Progress:
        if sys.stdout.isatty():
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            self._bar = Bar(*columns, transient=True)
            self._bar.start()
            self._task = self._bar.add_task(f"{self._title}: starting", total=None)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, what: str) -> None:
        """Say what has been done or is being done."""
        if self._bar is not None:
            self._bar.update(self._task, description=f"{self._title}: {what}")
        else:
            print(f"{self._title}: {what}", flush=True)

    def say(self, sentence: str) -> None:
        """Say something that is to stay on the screen."""
        say = print if self._bar is None else self._bar.console.print
        say(f"{self._title}: {sentence}")
        sys.stdout.flush()

    def expect(self, total: int) -> None:
        """How many valid trials there will be."""
        self._total = total
        if self._bar is not None:
            self._bar.update(self._task, total=total, completed=0, description=f"{self._title}: trials")

    def advance(self, valid: bool) -> None:
        """One more trial is done."""
        self._valid += valid
        self._invalid += not valid
        text = f"{self._valid} of {self._total} trials" + (
            f", {self._invalid} invalid" if self._invalid else ""
        )
        if self._bar is not None:
            self._bar.update(self._task, completed=self._valid, description=f"{self._title}: {text}")
        elif time.monotonic() - self._last_line_s > LINE_EVERY_S:
            self._last_line_s = time.monotonic()
            print(f"{self._title}: {text}", flush=True)
