"""One picture of one trial on one clock: phases, control plane, packets both ways, TCP progress."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from results.figures.display import count_text, three_digits
from results.pictures import style
from results.pictures.panels import HEIGHT_INCHES, WIDTH_INCHES, empty, headline, legend, to_png, to_svg
from results.record.files import write_atomic
from results.record.reading import Record
from results.timeline.data import Timeline, gather
from results.timeline.rows import EVENT_KINDS, STRONG_PHASES, control_rows, lag_rows, matches
from results.timeline.signals import Lag
from results.timeline.traffic import delay_limits, draw_packets, draw_tcp

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BESIDE_HEADLINE = 8  # of more kinds of marks the keys take all of the line
_LOOKS = {
    "triangle": ("^", 5.0),
    "bar": ("|", 7.0),
    "square": ("s", 3.8),
    "diamond": ("D", 4.0),
    "star": ("*", 8.0),
}
"""shape -> matplotlib's marker and its size."""


def draw_timeline(
    timeline: Timeline, window: tuple[float, float] | None = None, *, titled: bool = True
) -> Figure:
    """The figure of a timeline; `window` in ms relative to its zero, default the timeline's own.

    `titled` writes the title into the picture; a page around it has its own.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    lo, hi = window or timeline.window
    rows = control_rows(timeline)
    phase_count = max(len(timeline.phases), 2)
    heights = [0.155 * phase_count + 0.1, 0.19 * max(len(rows), 2) + 0.1, 1.35, 1.35, 1.5]
    if timeline.lags is not None:
        heights.append(0.1 * max(len(lag_rows(timeline.lags)), 2) + 0.1)
    with mpl.rc_context({"font.size": 8, "axes.linewidth": 0.6, "axes.edgecolor": style.GRID}):
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), facecolor="none")
        panels: Sequence[Axes] = figure.subplots(
            len(heights), 1, sharex=True, gridspec_kw={"height_ratios": heights, "hspace": 0.2}
        )
        figure.subplots_adjust(left=0.115, right=0.985, top=0.93 if titled else 0.972, bottom=0.065)
        if titled:
            figure.text(0.012, 0.972, timeline.title, size=11, weight="bold", color=style.INK, va="center")
        for panel in panels:
            _dress(panel, timeline, lo, hi)
        _draw_phases(panels[0], timeline, lo, hi)
        _draw_control(panels[1], timeline, rows, lo, hi)
        limits = delay_limits(timeline, lo, hi)
        for panel, (side, name, colour) in zip(panels[2:4], style.DIRECTIONS, strict=True):
            draw_packets(panel, timeline.packets.get(side), name, colour, (lo, hi), limits)
        draw_tcp(panels[4], timeline, lo, hi)
        if timeline.lags is not None:
            _draw_lags(panels[5], timeline.lags, lo, hi)
        panels[-1].set_xlim(lo, hi)
        panels[-1].set_xlabel(f"ms relative to {timeline.zero_name}", color=style.INK)
        panels[-1].tick_params(axis="x", length=3, color=style.GRID)
    return figure


def _dress(panel: Axes, timeline: Timeline, lo: float, hi: float) -> None:
    panel.set_facecolor("none")
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(length=0, colors=style.MUTED, labelcolor=style.MUTED)
    panel.grid(True, axis="x", color=style.GRID, linewidth=0.5)
    panel.set_axisbelow(True)
    strong = [span for span in timeline.phases if span[0] in STRONG_PHASES]
    if strong:  # the time in which the VM is away
        panel.axvspan(
            min(span[1] for span in strong), max(span[2] for span in strong), color=style.BAND, zorder=0
        )
    if lo < 0 < hi and timeline.phases:
        panel.axvline(0, color=style.INK, linewidth=0.8, zorder=1)


def _draw_phases(panel: Axes, timeline: Timeline, lo: float, hi: float) -> None:
    headline(panel, "phases, with their length in ms; shaded: stop to resume")
    if not timeline.phases:
        empty(panel, "no phases: nothing was moved")
        return
    for row, (name, start, end) in enumerate(timeline.phases):
        colour = style.INK if name in STRONG_PHASES else style.STEEL
        least = (hi - lo) / 600  # a bar of at least two pixels
        panel.barh(row, max(end - start, least), left=start, height=0.7, color=colour, linewidth=0)
        length, margin = three_digits(end - start), (hi - lo) / 200
        at_end = end + margin < hi - (hi - lo) * 0.05
        x, side = (max(end, start + least) + margin, "left") if at_end else (start - margin, "right")
        panel.text(x, row, length, va="center", ha=side, size=6.5, color=style.MUTED, clip_on=True)
    panel.set_yticks(range(len(timeline.phases)), [name for name, *_ in timeline.phases], size=7)
    panel.set_ylim(len(timeline.phases) - 0.4, -0.6)


def _draw_control(panel: Axes, timeline: Timeline, rows: list[str], lo: float, hi: float) -> None:
    if not rows:
        headline(panel, "control plane")
        empty(panel, "no events of this trial in the record")
        return
    place = {row: number for number, row in enumerate(rows)}
    _draw_calls(panel, timeline, place.get("NVA call", 0), lo, hi)
    handles = []
    for kind in EVENT_KINDS:
        points = [
            point
            for point in timeline.points.get(kind.event, ())
            if lo <= point[0] <= hi and matches(kind, point[2])
        ]
        if not points:
            continue
        rows_of = [place.get(row, place.get("other NVEs", -1)) for _, row, _ in points]
        marker, size = _LOOKS[kind.shape]
        colour, edge = kind.colour, 1.4 if marker == "|" else 0
        looks: dict[str, Any] = {"marker": marker, "ms": size, "mec": colour, "mfc": colour, "mew": edge}
        times = [point[0] for point in points]
        handles += panel.plot(times, rows_of, linestyle="none", label=kind.name, zorder=3, **looks)
    for holder, start, end, frames in timeline.holds:
        row_of = place[f"hold {holder}"]
        looks = {"height": 0.45, "color": "none", "edgecolor": style.INK, "hatch": "////", "linewidth": 0.6}
        panel.barh(row_of, end - start, left=start, **looks)
        text = "not released" if frames is None else count_text(frames, "frame")
        panel.text(
            end + (hi - lo) / 200, row_of, text, va="center", size=6.5, color=style.MUTED, clip_on=True
        )
    marks = {timeline.old_nve: " (old)", timeline.new_nve: " (new)"}
    panel.set_yticks(range(len(rows)), [row + marks.get(row, "") for row in rows], size=7)
    panel.set_ylim(len(rows) - 0.4, -0.6)
    if len(handles) <= MOST_BESIDE_HEADLINE:
        headline(panel, "control plane")
    if handles:
        legend(panel, handles)


def _draw_calls(panel: Axes, timeline: Timeline, row: int, lo: float, hi: float) -> None:
    """A bar a call, its name where no other call is: behind it, else before it, else left out."""
    calls = [
        call for call in sorted(timeline.calls, key=lambda call: call[1]) if call[2] >= lo and call[1] <= hi
    ]
    taken = lo
    for number, (method, start, end) in enumerate(calls):
        panel.barh(
            row, max(end - start, (hi - lo) / 600), left=start, height=0.6, color=style.STEEL, linewidth=0
        )
        following = calls[number + 1][1] if number + 1 < len(calls) else hi
        width = len(method) * (hi - lo) * 0.0052  # about, at 6.5 points
        looks: dict[str, Any] = {"va": "center", "size": 6.5, "color": style.INK, "clip_on": True}
        margin = (hi - lo) / 250
        if end + margin + width <= following:
            panel.text(end + margin, row, method, ha="left", **looks)
            taken = end + margin + width
        else:
            if start - margin - width >= taken:
                panel.text(start - margin, row, method, ha="right", **looks)
            taken = end


def _draw_lags(panel: Axes, lags: Sequence[Lag], lo: float, hi: float) -> None:
    """A bar from when a process should have run until it did; all of one length would be a busy machine."""
    shown = [lag for lag in lags if lag.end_ms >= lo and lag.start_ms <= hi]
    rows = lag_rows(shown)
    if not rows:
        headline(panel, "machine: scheduling lag")
        empty(panel, "no late wake-up")
        return
    longest = max(lag.end_ms - lag.start_ms for lag in shown)
    headline(panel, f"machine: scheduling lag, a bar from due to woken; longest {three_digits(longest)} ms")
    for lag in shown:
        if lag.cpu in rows:
            width = max(lag.end_ms - lag.start_ms, (hi - lo) / 600)  # at least two pixels
            looks: dict[str, Any] = {"height": 0.6, "color": style.GOLD, "linewidth": 0}
            panel.barh(rows.index(lag.cpu), width, left=lag.end_ms - width, **looks)
    panel.set_yticks(range(len(rows)), [f"CPU {cpu}" for cpu in rows], size=7)
    panel.set_ylim(len(rows) - 0.4, -0.6)


def save_timeline(
    record: Record, index: int, folder: Path | None = None, window: tuple[float, float] | None = None
) -> list[Path]:
    """Write timeline-<trial>.png (1600 x 1100) and .svg into `folder`, default the run's."""
    figure = draw_timeline(gather(record, index), window)
    stem = (folder or record.folder) / f"timeline-{index}"
    png, svg = stem.with_suffix(".png"), stem.with_suffix(".svg")
    write_atomic(png, to_png(figure))
    write_atomic(svg, to_svg(figure, salt=f"{record.name}-{index}").encode())
    return [png, svg]
