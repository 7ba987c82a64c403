"""A timeline as data for the page's own script (templates/timeline.js), to zoom and hover. Pure.

Three kinds of panel: `rows` (bars and marks, a row each), `packets` (a dot a probe, delay on a log scale) and
`progress` (bytes read so far). Times are ms relative to the timeline's zero; arrays are base64 of little-endian
float32 (times, delays, bytes) or uint8 (marks), since a trial has tens of thousands of packets.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from results.figures.display import count_text, three_digits
from results.pictures import style
from results.timeline.rows import EVENT_KINDS, STRONG_PHASES, control_rows, lag_rows, matches
from results.timeline.traffic import delay_limits

if TYPE_CHECKING:
    import numpy as np

    from results.timeline.data import Packets, Progress, Timeline

    Array = np.ndarray[Any, Any]

MOST_PACKETS = 40_000  # of one direction and trial in a page; more are thinned, but never what befell them
LOST, REORDERED, DUPLICATED = 1, 2, 4  # bits of a packet's mark


def view(timeline: Timeline) -> dict[str, Any]:
    """What the script draws: `window` at first, `extent` to zoom out to, `away` (the VM stands still), `panels`."""
    lo, hi = timeline.window
    panels = [_phases(timeline), _control(timeline)]
    limits = delay_limits(timeline, lo, hi)
    for side, name, colour in style.DIRECTIONS:
        if side in timeline.packets:
            panels.append(_packets(timeline.packets[side], name, colour, limits))
    if timeline.tcp:
        panels.append(_tcp(timeline))
    if timeline.lags is not None:
        panels.append(_lags(timeline))
    strong = [span for span in timeline.phases if span[0] in STRONG_PHASES]
    return {
        "title": timeline.title,
        "zero": timeline.zero_name,
        "window": [round(lo, 3), round(hi, 3)],
        "extent": _extent(timeline),
        "away": [min(span[1] for span in strong), max(span[2] for span in strong)] if strong else None,
        "panels": [panel for panel in panels if panel is not None],
    }


def _extent(timeline: Timeline) -> list[float]:
    """All there is: the window and every packet and read."""
    lo, hi = timeline.window
    for times in [
        *(packets.tx_ms for packets in timeline.packets.values()),
        *(progress.t_ms for progress in timeline.tcp.values()),
    ]:
        if len(times):
            lo, hi = min(lo, float(times.min())), max(hi, float(times.max()))
    return [round(lo, 3), round(hi, 3)]


def _rows(head: str, rows: list[str], spans: list[Any], points: list[Any]) -> dict[str, Any]:
    return {"kind": "rows", "head": head, "rows": rows, "spans": spans, "points": points}


def _span(row: int, start: float, end: float, text: str, colour: str, *, hatched: bool = False) -> list[Any]:
    return [row, round(start, 4), round(end, 4), text, style.ON_DARK[colour][0], hatched]


def _point(row: int, at: float, text: str, shape: str, colour: str) -> list[Any]:
    return [row, round(at, 4), text, shape, style.ON_DARK[colour][0]]


def _phases(timeline: Timeline) -> dict[str, Any] | None:
    if not timeline.phases:
        return None
    spans = [
        _span(
            row,
            start,
            end,
            f"{name}: {three_digits(end - start)} ms",
            style.INK if name in STRONG_PHASES else style.STEEL,
        )
        for row, (name, start, end) in enumerate(timeline.phases)
    ]
    return _rows("phases; shaded: stop to resume", [name for name, *_ in timeline.phases], spans, [])


def _control(timeline: Timeline) -> dict[str, Any] | None:
    rows = control_rows(timeline)
    if not rows:
        return None
    place = {row: number for number, row in enumerate(rows)}
    spans = [
        _span(place["NVA call"], start, end, f"{method}: {three_digits(end - start)} ms", style.STEEL)
        for method, start, end in timeline.calls
    ]
    for holder, start, end, frames in timeline.holds:
        kept = "not released" if frames is None else f"{count_text(frames, 'frame')} released"
        spans.append(
            _span(
                place[f"hold {holder}"],
                start,
                end,
                f"held ({holder}): {three_digits(end - start)} ms, {kept}",
                style.INK,
                hatched=True,
            )
        )
    points = [
        _point(
            place.get(row, place.get("other NVEs", 0)),
            at,
            f"{row}: {kind.name} {text}".strip(),
            kind.shape,
            kind.colour,
        )
        for kind in EVENT_KINDS
        for at, row, text in timeline.points.get(kind.event, ())
        if matches(kind, text)
    ]
    marks = {timeline.old_nve: " (old)", timeline.new_nve: " (new)"}
    return _rows("control plane", [row + marks.get(row, "") for row in rows], spans, points)


def _packets(packets: Packets, name: str, colour: str, limits: tuple[float, float]) -> dict[str, Any]:
    import numpy as np

    mark = (packets.lost * LOST + packets.reordered * REORDERED + packets.duplicated * DUPLICATED).astype(
        np.uint8
    )
    every = -(-len(mark) // MOST_PACKETS)
    kept = np.arange(len(mark)) % every == 0 if every > 1 else np.ones(len(mark), bool)
    kept |= mark > 0
    told = f"; 1 in {every} shown, and all that were lost, reordered or duplicated" if every > 1 else ""
    return {
        "kind": "packets",
        "head": f"packets {name}: delay (ms) by time sent{told}",
        "colour": style.ON_DARK[colour][0],
        "limits": list(limits),
        "tx": _floats(packets.tx_ms[kept]),
        "delay": _floats(packets.delay_ms[kept]),
        "mark": base64.b64encode(mark[kept].tobytes()).decode(),
    }


def _tcp(timeline: Timeline) -> dict[str, Any]:
    series = [
        {
            "name": name,
            "colour": style.ON_DARK[colour][0],
            "t": _floats(progress.t_ms),
            "kilobytes": _floats(_from_zero(progress)),
        }
        for side, name, colour in style.DIRECTIONS
        if (progress := timeline.tcp.get(side)) is not None
    ]
    points = [
        [round(at, 4), f"{name}: {word}", shape, style.ON_DARK[colour][0]]
        for side, name, colour in style.DIRECTIONS
        if (resent := timeline.resent.get(side)) is not None
        for word, times, shape in (
            ("retransmission", resent.retransmit_ms, "bar"),
            ("timeout (RTO)", resent.rto_ms, "cross"),
        )
        for at in times
    ]
    return {"kind": "progress", "head": "TCP: kB read by the receiver", "series": series, "points": points}


def _from_zero(progress: Progress) -> Any:
    return (progress.total_bytes - progress.total_bytes[0]) / 1e3 if len(progress.total_bytes) else []


def _lags(timeline: Timeline) -> dict[str, Any]:
    lags = timeline.lags or []
    cpus = lag_rows(lags)
    spans = [
        _span(
            cpus.index(lag.cpu),
            lag.start_ms,
            lag.end_ms,
            f"CPU {lag.cpu} ran {three_digits(lag.end_ms - lag.start_ms)} ms late",
            style.GOLD,
        )
        for lag in lags
        if lag.cpu in cpus
    ]
    head = "machine: scheduling lag" if cpus else "machine: no late wake-up"
    return _rows(head, [f"CPU {cpu}" for cpu in cpus], spans, [])


def _floats(values: Any) -> str:
    import numpy as np

    return base64.b64encode(np.asarray(values, "<f4").tobytes()).decode()
