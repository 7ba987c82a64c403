"""When the old NVE may stop redirecting: the stop rules, as words and as a decision. Pure but for ``wait``.

acknowledged  every peer NVE has confirmed the new mapping, and its end marker has come out of the old path
fixed:TIME    so long after the mapping changed
idle:TIME     nothing has come through the old NVE for so long
flow-end      the connections that the VM had when it moved have all ended
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn

from topologies.units import parse_duration

RULES = ("acknowledged", "fixed:TIME", "idle:TIME", "flow-end")
_TIMED = ("fixed", "idle")
_LONGEST_LOOK_S, _SHORTEST_LOOK_S = 0.005, 0.0005
LONGEST_S = 7200.0
"""The longest time of a rule: an age of an hour, as stale mappings may have, and room beside it."""
WAITS_S = 10.0
"""Beyond its own time a rule that waits for something waits no longer than this."""


@dataclass(frozen=True)
class DrainRule:
    """One stop rule; ``time_s`` is 0 for those without a time."""

    name: str
    time_s: float = 0.0

    @property
    def bound_s(self) -> float:
        """How long it is given: ``fixed`` its own time, the others ``WAITS_S`` more."""
        return self.time_s if self.name == "fixed" else self.time_s + WAITS_S


def parse_drain(text: str) -> DrainRule:
    """The rule in words such as ``fixed:50ms``. ValueError says what is allowed."""

    def refuse(why: str) -> NoReturn:
        raise ValueError(f"drain={text}: {why}; allowed are {', '.join(RULES)}, such as fixed:50ms")

    name, colon, duration = text.partition(":")
    if name in _TIMED:
        if not duration:
            refuse("its time is missing")
        try:
            time_s = parse_duration(duration)
        except ValueError as error:
            refuse(str(error))
        if time_s > LONGEST_S:
            refuse(f"its time is at most {LONGEST_S / 3600:g}h")
        if name == "idle" and time_s <= 0:
            refuse("idle needs a time over 0")
        return DrainRule(name, time_s)
    if name not in ("acknowledged", "flow-end") or colon:
        refuse("there is no such stop rule")
    return DrainRule(name)


@dataclass(frozen=True)
class Drained:
    """How a drain ended: ``reason`` is the rule's name, or ``bound`` when it was given up.

    ``last_frame_s``: when a frame was last seen to have come (clock's time; the start when none came since).
    """

    reason: str
    seconds: float
    frames: int
    last_frame_s: float


@dataclass
class DrainWatch:
    """Applies a rule to what is seen: frames through the old NVE so far, and flows that still live."""

    rule: DrainRule
    start_s: float
    bound_s: float
    frames: int

    def __post_init__(self) -> None:
        self._changed_s = self.start_s

    def ended(self, now_s: float, frames: int, flows: int) -> str | None:
        """The reason to stop now, or None to go on."""
        if frames != self.frames:
            self.frames, self._changed_s = frames, now_s
        name = self.rule.name
        waited_s = now_s - (self._changed_s if name == "idle" else self.start_s)
        if name == "acknowledged" or (name in _TIMED and waited_s >= self.rule.time_s):
            return name
        if name == "flow-end" and flows == 0:
            return name
        return "bound" if now_s - self.start_s >= self.bound_s else None

    @property
    def last_frame_s(self) -> float:
        """When the count was last seen to have changed."""
        return self._changed_s

    def next_look_s(self) -> float:
        """How long until it is worth looking again."""
        return min(_LONGEST_LOOK_S, max(_SHORTEST_LOOK_S, self.rule.time_s / 10))


def wait(
    rule: DrainRule,
    bound_s: float,
    frames: Callable[[], int],
    flows: Callable[[], int],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Drained:
    """Wait until the rule says stop, at most ``bound_s``. ``frames``, ``flows``: see DrainWatch."""
    first = frames()
    watch = DrainWatch(rule, clock(), bound_s, first)
    needs_flows = rule.name == "flow-end"
    while True:
        now_s, count = clock(), frames()
        reason = watch.ended(now_s, count, flows() if needs_flows else 0)
        if reason is not None:
            return Drained(reason, now_s - watch.start_s, count - first, watch.last_frame_s)
        sleep(watch.next_look_s())
