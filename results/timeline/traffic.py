"""The traffic panels of a timeline: probes in each direction, and TCP progress."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from results.figures.display import three_digits
from results.pictures import style
from results.pictures.panels import empty, headline, legend
from results.timeline.data import Packets, Timeline

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_VECTOR_DOTS = 3_000  # more are drawn as pixels, else an SVG grows by 100 bytes a dot


def delay_limits(timeline: Timeline, lo: float, hi: float) -> tuple[float, float]:
    """One range of delays (ms) for both directions, at least a decade, with room for the lost at the top."""
    inside = [
        _shown_delay_ms(packets)[(packets.tx_ms >= lo) & (packets.tx_ms <= hi) & ~packets.lost]
        for packets in timeline.packets.values()
    ]
    least = min((float(part.min()) for part in inside if part.size), default=0.1)
    most = max((float(part.max()) for part in inside if part.size), default=1.0)
    return least / 1.7, max(most, least * 4) * 4


def _shown_delay_ms(packets: Packets) -> Any:
    """Delays for a log scale: converting two clocks into each other can make a tiny one zero or negative."""
    import numpy as np

    return np.maximum(packets.delay_ms, 1e-3)


def draw_packets(
    panel: Axes,
    packets: Packets | None,
    name: str,
    colour: str,
    window: tuple[float, float],
    limits: tuple[float, float],
) -> None:
    """Each probe a dot at the time it was sent; `window` in ms, `limits` of the delay in ms."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    if packets is None:
        headline(panel, f"packets {name}")
        empty(panel, "no probes in this direction in the record")
        return
    shown = (packets.tx_ms >= window[0]) & (packets.tx_ms <= window[1])
    total = int(shown.sum())
    told = ", ".join(f"{int((shown & mask).sum()):,} {what}" for mask, what, _ in _marks(packets))
    headline(panel, f"packets {name}: delay (ms) by time sent; {total:,} shown, {told}")
    arrived, delay_ms = shown & ~packets.lost, _shown_delay_ms(packets)
    dots: dict[str, Any] = {
        "ls": "none",
        "marker": ".",
        "ms": 3.2,
        "mew": 0,
        "rasterized": total > MOST_VECTOR_DOTS,
    }
    panel.plot(packets.tx_ms[arrived], delay_ms[arrived], color=colour, **dots)
    panel.set_yscale("log")
    panel.set_ylim(*limits)
    handles = []
    for mask, what, marker in _marks(packets):
        chosen = shown & mask
        if chosen.any():
            times = packets.tx_ms[chosen]
            level = [limits[1] / 1.7] * times.size if what == "lost" else delay_ms[chosen]
            looks: dict[str, Any] = {"marker": marker, "ms": 4.5, "mew": 1.0, "mfc": "none", "mec": style.INK}
            handles += panel.plot(times, level, ls="none", label=what, **looks)
    if handles:
        legend(panel, handles)
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 3.0), numticks=12))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.tick_params(axis="y", which="minor", length=0)
    panel.grid(True, axis="y", color=style.GRID, linewidth=0.5)


def _marks(packets: Packets) -> list[tuple[Any, str, str]]:
    """(mask, word, marker) of what is marked beside the plain dots."""
    return [
        (packets.lost, "lost", "x"),
        (packets.reordered, "reordered", "s"),
        (packets.duplicated, "duplicated", "o"),
    ]


def draw_tcp(panel: Axes, timeline: Timeline, lo: float, hi: float) -> None:
    """Bytes the receivers have read, both directions, the longest gap marked; `lo`, `hi` in ms."""
    import numpy as np

    told = []
    for number, (side, name, colour) in enumerate(style.DIRECTIONS):
        progress = timeline.tcp.get(side)
        if progress is None:
            continue
        first = max(int(np.searchsorted(progress.t_ms, lo)) - 1, 0)
        last = int(np.searchsorted(progress.t_ms, hi, side="right")) + 1
        t_ms = progress.t_ms[first:last]
        kilobytes = (progress.total_bytes[first:last] - progress.total_bytes[first]) / 1e3
        line = ("-", (0, (4, 1.2)))[number]
        panel.plot(
            t_ms, kilobytes, drawstyle="steps-post", color=colour, linewidth=1.3, linestyle=line, label=name
        )
        gap = progress.longest_gap((lo, hi))
        if gap is not None:
            told.append(f"{name} {three_digits(gap[1] - gap[0])} ms")
            level = float(np.interp(gap[0], t_ms, kilobytes))
            panel.plot(gap, [level, level], color=colour, linewidth=4, solid_capstyle="butt", alpha=0.45)
    if not timeline.tcp:
        headline(panel, "TCP")
        empty(panel, "no TCP transfer in the record")
        return
    panel.grid(True, axis="y", color=style.GRID, linewidth=0.5)
    panel.set_ylim(bottom=0)
    _draw_resent(panel, timeline, lo, hi)
    text = "TCP: kB read by the receiver since the left edge; longest gap (bold): " + ", ".join(told)
    headline(panel, text)
    legend(panel, panel.get_legend_handles_labels()[0])


def _draw_resent(panel: Axes, timeline: Timeline, lo: float, hi: float) -> None:
    """Marks where retransmissions and timeouts were first seen, with their number: a row a direction on top."""
    named: set[str] = set()
    for number, (side, name, colour) in enumerate(style.DIRECTIONS):
        marks = timeline.resent.get(side)
        if marks is None:
            continue
        counts = []
        for word, times, marker, size in (
            ("retransmit", marks.retransmit_ms, "|", 8.0),
            ("RTO", marks.rto_ms, "X", 6.5),
        ):
            shown = [at for at in times if lo <= at <= hi]
            if not shown:
                continue
            counts.append(f"{len(shown)} {word}{'s' if len(shown) != 1 else ''}")
            edge = 1.5 if marker == "|" else 0.5
            looks: dict[str, Any] = {"ls": "none", "marker": marker, "ms": size, "mew": edge, "zorder": 4}
            colours: dict[str, Any] = {"mec": colour if marker == "|" else style.PAPER, "mfc": colour}
            label = word if word not in named else None
            named.add(word)
            transform = panel.get_xaxis_transform()  # heights as shares of the panel
            panel.plot(
                shown,
                [0.93 - 0.13 * number] * len(shown),
                transform=transform,
                label=label,
                **looks,
                **colours,
            )
        if counts:
            text = f"{name} {' and '.join(counts)}"
            looks = {"size": 6.5, "color": style.MUTED, "va": "center", "transform": panel.transAxes}
            panel.text(0.004, 0.93 - 0.13 * number, text, **looks)
    if named:
        panel.set_ylim(top=panel.get_ylim()[1] * 1.3)
