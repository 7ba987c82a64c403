"""How many frames waited in a move's holders, over time: from `buffer` events, a picture for the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from results.pictures import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_INCHES, HEIGHT_INCHES = 7.5, 1.9
_LINES = {
    "outbound": (style.FROM_VM, "-", "outbound: from the VM"),
    "redirected": (style.TO_VM, "-", "redirected: to the VM, through the old NVE"),
    "direct": (style.GREEN, "--", "direct: to the VM"),
}

Curve = tuple[list[float], list[int]]
"""Moments in ms and the frames that waited from then on."""


def curves_of(events: Sequence[Mapping[str, Any]], trial: int, zero_s: float) -> dict[str, Curve]:
    """Holder -> its fill over time, empty at both ends; holders that never kept anything are left out. Pure."""
    found: dict[str, Curve] = {}
    for event in events:
        if event.get("trial") == trial and event["kind"] in ("buffer", "release"):
            moments_ms, frames = found.setdefault(event["holder"], ([], []))
            moments_ms.append((event["t_s"] - zero_s) * 1e3)
            # What a release event counts is gone with it.
            frames.append(int(event["frames"]) if event["kind"] == "buffer" else 0)
    curves = {}
    for holder, (moments_ms, frames) in found.items():
        rows = sorted(zip(moments_ms, frames, strict=True), key=lambda row: row[0])
        if any(count for _, count in rows):
            first_ms, last_ms = rows[0][0], rows[-1][0]
            ends = [(first_ms, 0), *rows, (last_ms, 0)]
            curves[holder] = ([moment for moment, _ in ends], [count for _, count in ends])
    return curves


def draw_occupancy(curves: Mapping[str, Curve], zero_name: str) -> Figure:
    """Steps, a line a holder; the horizontal axis is that of the trial's timeline."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    with mpl.rc_context({"font.size": 8, "axes.linewidth": 0.6, "axes.edgecolor": style.GRID}):
        figure = Figure(figsize=(WIDTH_INCHES, HEIGHT_INCHES), facecolor="none")
        panel = figure.add_axes((0.07, 0.22, 0.92, 0.62))
        panel.set_facecolor("none")
        for holder, (moments_ms, frames) in sorted(curves.items()):
            colour, line, meaning = _LINES.get(holder, (style.PURPLE, ":", holder))
            panel.step(
                moments_ms, frames, where="post", color=colour, linestyle=line, linewidth=1, label=meaning
            )
        panel.set_ylim(bottom=0)
        panel.set_ylabel("frames", color=style.INK)
        panel.set_xlabel(f"ms, {zero_name} at 0", color=style.INK)
        panel.yaxis.set_major_locator(MaxNLocator("auto", integer=True))  # no half a frame waits
        panel.tick_params(colors=style.INK)
        panel.legend(
            loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize=7, labelcolor=style.INK
        )
    return figure
