"""Rows and kinds of marks of a timeline's control plane and machine, the same for picture and page. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from results.pictures import style

if TYPE_CHECKING:
    from results.timeline.data import Timeline
    from results.timeline.signals import Lag

MOST_CPU_ROWS = 8  # above it, only the CPUs with the longest lags
MOST_NVE_ROWS = 6  # above it, NVEs that are neither old nor new share one row
STRONG_PHASES = frozenset({"stop", "switch", "resume"})


class EventKind(NamedTuple):
    """One kind of event, of one step where it has several; `shape` as templates/timeline.js calls it."""

    event: str
    step: str | None
    name: str
    shape: str
    colour: str


EVENT_KINDS = (
    EventKind("flow_mods", None, "flow-mods", "triangle", style.GREEN),
    EventKind("barrier", "prepare", "barrier: prepared", "bar", style.PURPLE),
    EventKind("barrier", "commit", "barrier: committed", "square", style.PURPLE),
    EventKind("end_marker", None, "end marker", "diamond", style.GOLD),
    EventKind("rarp", None, "RARP", "star", style.INK),
    EventKind("garp", None, "gratuitous ARP", "star", style.TO_VM),
    EventKind("unsolicited_na", None, "unsolicited NA", "star", style.FROM_VM),
    EventKind("peer_updated", None, "mapping known", "diamond", style.GREEN),
    EventKind("port", None, "port", "square", style.STEEL),
    EventKind("link", None, "link", "triangle", style.STEEL),
    EventKind("neighbour", None, "neighbour entry", "bar", style.STEEL),
)


def matches(kind: EventKind, text: str) -> bool:
    """Whether an event of the kind's name, with `text` beside it, is of the kind's step."""
    return kind.step is None or (text == "prepare") == (kind.step == "prepare")


def control_rows(timeline: Timeline) -> list[str]:
    """Rows of the control plane: NVA calls, each NVE (or old, new and the others), each holder."""
    nves = sorted({row for points in timeline.points.values() for _, row, _ in points}, key=_natural)
    if len(nves) > MOST_NVE_ROWS:
        nves = [nve for nve in nves if nve in (timeline.old_nve, timeline.new_nve)] + ["other NVEs"]
    holders = dict.fromkeys(f"hold {holder}" for holder, *_ in timeline.holds)
    return [*(["NVA call"] if timeline.calls else []), *nves, *holders]


def _natural(name: str) -> tuple[str, int]:
    digits = name[len(name.rstrip("0123456789")) :]
    return name[: len(name) - len(digits)], int(digits or 0)


def lag_rows(lags: Sequence[Lag]) -> list[int]:
    """The CPUs that were late, ascending; of many those with the longest lags."""
    longest: dict[int, float] = {}
    for lag in lags:
        longest[lag.cpu] = max(longest.get(lag.cpu, 0.0), lag.end_ms - lag.start_ms)
    return sorted(sorted(longest, key=lambda cpu: -longest[cpu])[:MOST_CPU_ROWS])
