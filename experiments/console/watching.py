"""``watch``: the NVA's events as they come, or all events of one command in the order of time."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from controller.client import NvaClient
from experiments.console.text import event_line

_AFTERMATH_S = 0.2  # events of a command come a little after it has ended
_OF_A_MOVE = ("phase", "switch", "hold", "release", "note")  # the NVA tells of the rest, and is nearer to it
_QUESTIONS = ("status", "where", "watch")  # the console's own, which change nothing


class EventTap:
    """What a laboratory's events are given to; they are kept only while a ``watch`` wants them."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] | None = None

    def __call__(self, t_s: float, kind: str, **fields: Any) -> None:
        """Take one event."""
        if self.kept is not None:
            self.kept.append({"t_s": t_s, "kind": kind, **fields})


def watch_command(nva: NvaClient, tap: EventTap, command: Callable[[], object]) -> None:
    """Do a command, then print what happened meanwhile."""
    seen: list[dict[str, Any]] = []
    zero_s = time.monotonic()
    with nva.watch() as events:
        reader = threading.Thread(target=lambda: seen.extend(events), daemon=True)
        reader.start()
        tap.kept = []
        try:
            command()
            time.sleep(_AFTERMATH_S)
        finally:
            of_move, tap.kept = tap.kept, None
    reader.join(1.0)
    told = [event for event in seen if event.get("method") not in _QUESTIONS]
    told += [event for event in of_move if event["kind"] in _OF_A_MOVE]
    for event in sorted(told, key=lambda one: float(one["t_s"])):
        print(event_line(event, zero_s))
    sys.stdout.flush()


def watch_live(nva: NvaClient, seconds_s: float | None) -> None:
    """Print the NVA's events as they come, for some seconds or until Ctrl-C."""
    zero_s = time.monotonic()
    with nva.watch() as events:
        timer = None if seconds_s is None else threading.Timer(seconds_s, events.close)
        until = "Ctrl-C ends" if seconds_s is None else f"for {seconds_s:g} s"
        print(f"events of the NVA ({until}):", flush=True)
        try:
            if timer is not None:
                timer.daemon = True
                timer.start()
            for event in events:
                print(event_line(event, zero_s), flush=True)
        except KeyboardInterrupt:
            print(flush=True)
        finally:
            if timer is not None:
                timer.cancel()
