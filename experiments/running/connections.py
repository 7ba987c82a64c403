"""What became of each connection in a trial, and how long the trial waits to see it.

A trial is over when each connection has got bytes again, or has ended, or its bound is over. TCP's timeouts double (RFC
6298 section 5.5), and so do QUIC's (RFC 9002 section 6.2) and SCTP's (RFC 9260 section 6.3.3): whoever has been silent
for some time tries again before that time has passed once more, and the first timeout besides.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from emulation.commands import PATIENCE
from experiments.probes.transports.base import Progress

FIRST_TIMEOUT_S = 2.0
"""More than any first timeout: TCP's is 0.2 s and the round trip, SCTP's 1 s (RFC 9260 section 16), QUIC's below."""
LONGEST_TIMEOUT_S = 120.0
"""Linux doubles no further (TCP_RTO_MAX)."""
DRAINED_S = 0.1 * PATIENCE
"""So soon after the move a receiver may still read what lay in its own socket."""
QUIET_S = 0.1 * PATIENCE
"""A connection that is read from once in so long a time goes on."""
BLOCK_BYTES = 1200
CATCHING_UP_S = 0.05
LOOK_S = 0.01


class Fate(StrEnum):
    """What became of a connection by the end of a trial."""

    WENT_ON = "went on"
    ENDED = "ended"
    SILENT = "silent"


@dataclass(frozen=True)
class Ending:
    """A connection's fate; of one that ended also when (monotonic clock, s) and how."""

    fate: Fate
    ended_s: float | None = None
    how: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As the record has it."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def ending_of(progress: Progress, heard_from_s: float) -> Ending | None:
    """How it is by now; None while it may still go on. ``heard_from_s``: bytes read from then on are new ones."""
    if progress.ended_at_s is not None:
        return Ending(Fate.ENDED, progress.ended_at_s, progress.ending)
    return Ending(Fate.WENT_ON) if progress.read_at_s >= heard_from_s else None


def bound_s(silence_s: float) -> float:
    """For how long yet a connection that has been silent for ``silence_s`` may wait for its sender's next timeout."""
    return min(silence_s, LONGEST_TIMEOUT_S) + FIRST_TIMEOUT_S


def goes_on(progress: Progress, now_s: float) -> bool:
    """Whether it has been read from just now; a slow one has longer pauses."""
    pause_s = 4 * 8 * BLOCK_BYTES / progress.rate_bps if progress.rate_bps else 0.0
    return now_s - progress.read_at_s <= max(QUIET_S, pause_s)


def backlog_bytes(progress: Progress) -> int:
    """What it has still to make up for; 0 when that is no more than is under way, or when it is never done."""
    behind = progress.offered_bytes - progress.read_bytes
    usual = progress.rate_bps / 8 * QUIET_S + 4 * BLOCK_BYTES
    return behind if progress.rate_bps and behind > usual else 0


class Connections:
    """The connections of the traffic under way, from trial to trial. ``look``: how far each is by now.

    One that ended takes part in no later trial. One that was silent at the bound is left out until it is heard again
    between two trials, so that what it was sent in one trial is no figure of another.
    """

    def __init__(
        self,
        look: Callable[[], Mapping[str, Progress]],
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._look, self._clock, self._sleep = look, clock, sleep
        self.ended: dict[str, Ending] = {}
        self.left_out: set[str] = set()
        self._begun_s = clock()

    def standing(self) -> dict[str, Progress]:
        """Those that take part in the trial under way."""
        return {
            name: one
            for name, one in self._look().items()
            if name not in self.ended and name not in self.left_out
        }

    def quiet_down(self) -> float:
        """Wait until none is in backoff any more, then while they catch up; how long that took, in seconds.

        One that is still silent at its bound is left out.
        """
        self._begun_s = begun_s = self._clock()
        seen = self._look()
        self.left_out = {name for name in self.left_out if not goes_on(seen[name], begun_s)}
        silent = {name: one for name, one in self.standing().items() if not self._quiet(one)}
        until_s = begun_s + max((bound_s(self._silence_s(one)) for one in silent.values()), default=0.0)
        while silent and self._clock() < until_s:
            self._sleep(LOOK_S)
            now = self.standing()
            silent = {name: now[name] for name in silent if not self._quiet(now[name])}
        self.left_out |= set(silent)
        behind = self._behind()
        while behind:
            self._sleep(CATCHING_UP_S)
            left = self._behind()
            if left >= behind:  # more is offered than the path carries
                break
            behind = left
        self._begun_s = self._clock()
        return self._begun_s - begun_s

    def fates(self, moved_s: float, end_s: float) -> tuple[dict[str, Ending], float]:
        """What became of each, and when the trial is over: at ``end_s``, or later when one is silent by then.

        ``moved_s``: when the move had been done.
        """
        heard_from_s = moved_s + DRAINED_S
        found: dict[str, Ending] = {}
        until_s: dict[str, float] = {}
        while True:
            now_s = self._clock()
            for name, one in self.standing().items():
                ending = ending_of(one, heard_from_s)
                until_s.setdefault(name, now_s + bound_s(self._silence_s(one)))
                if ending is None and now_s >= until_s[name]:
                    ending = Ending(Fate.SILENT)
                if ending is not None:
                    found[name] = ending
            if found.keys() >= until_s.keys():
                break
            self._sleep(LOOK_S)
        self.left_out |= {name for name, ending in found.items() if ending.fate is Fate.SILENT}
        self.ended |= {name: ending for name, ending in found.items() if ending.fate is Fate.ENDED}
        return found, max(end_s, now_s) if until_s else end_s

    def ended_since(self) -> dict[str, Ending]:
        """Those that ended after the last trial's window: its move may still be why."""
        found = {}
        for name, one in self._look().items():
            ending = ending_of(one, float("inf"))
            if ending is not None and name not in self.ended:
                found[name] = ending
        self.ended |= found
        return found

    def _behind(self) -> int:
        return sum(backlog_bytes(one) for one in self.standing().values())

    def _quiet(self, one: Progress) -> bool:
        return one.ended_at_s is not None or goes_on(one, self._clock())

    def _silence_s(self, one: Progress) -> float:
        """Since when it has been silent; one that never spoke, since the trial's begin."""
        return self._clock() - (one.read_at_s or self._begun_s)


def connection_measures(endings: Mapping[str, Ending], left_out: int) -> dict[str, int]:
    """How many connections went on, ended, were still silent at the bound, and were left out as silent before. Pure."""
    fates = [one.fate for one in endings.values()]
    return {
        "went_on_connections_count": fates.count(Fate.WENT_ON),
        "ended_connections_count": fates.count(Fate.ENDED),
        "silent_connections_count": fates.count(Fate.SILENT),
        "left_out_connections_count": left_out,
    }
