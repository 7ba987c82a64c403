"""Every trial of a run in pictures: a strip a measure with a row a group, or a curve over a parameter."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from results.figures.display import label, scale, shown_measures
from results.figures.grouping import SEPARATOR, groups_of, null_groups, numeric_parameter
from results.figures.statistics import median_interval, values_of
from results.pictures import style
from results.pictures.curves import draw_curve, log_scale, set_log
from results.record.reading import Record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES = 3.7
LETTER_INCHES = 0.062  # about, at 7 points
MOST_LETTERS = 36  # of a row's name in one line: more would be cut at the edge
MOST_CHARTS = 12  # when nothing says which measures matter


def charted_measures(record: Record) -> list[str]:
    """The measures that tables show first, if they vary."""

    def varies(name: str) -> bool:
        return (
            len({value for null in (False, True) for value in values_of(record.trials, name, null=null)}) > 1
        )

    names = shown_measures(record.trials, record.shown_measures)
    return [name for name in names if varies(name)][:MOST_CHARTS]


def draw_distributions(record: Record) -> list[tuple[str, Figure]]:
    """(measure, figure) of each measure that varies.

    With a numeric parameter among those that make the groups, a curve over it; else a strip: dots are trials,
    the bar the median with its interval. Zero is on the axis of a strip, so that lengths compare, unless the values
    span two decades: then it is logarithmic. Null trials are rings in a row of their own.
    """
    across = numeric_parameter(record.trials, record.group_by)
    if across is not None:
        names = [name for name in record.group_by if name != across]
        return [(name, draw_curve(record.trials, name, across, names)) for name in charted_measures(record)]
    groups = [(group, False) for group in groups_of(record.trials, record.group_by)]
    groups += [(group, True) for group in null_groups(record.trials, record.group_by)]
    return [
        (
            name,
            _strip_figure(
                name,
                [
                    (group.name, values, null)
                    for group, null in groups
                    if (values := values_of(group.trials, name, null=False)) or null
                ],
            ),
        )
        for name in charted_measures(record)
    ]


def _strip_figure(name: str, data: list[tuple[str, list[float], bool]]) -> Figure:
    import matplotlib as mpl
    from matplotlib.figure import Figure

    height = 0.5 + 0.26 * len(data)
    longest = max(len(line) for text, *_ in data for line in _in_lines(text).splitlines())
    left = min(max(0.25, (longest * LETTER_INCHES + 0.12) / WIDTH_INCHES), 0.55)
    with mpl.rc_context({"font.size": 8, "axes.linewidth": 0.6, "axes.edgecolor": style.GRID}):
        figure = Figure(figsize=(WIDTH_INCHES, height), facecolor="none")
        panel = figure.add_axes((left, 0.24 / height, 0.97 - left, 1 - 0.49 / height))
        _draw_strip(panel, name, data)
        title = f"{label(name)}, {scale(name)[1]}"
        figure.text(0.012, 1 - 0.13 / height, title, size=8, color=style.INK, va="center")
    return figure


def _in_lines(name: str) -> str:
    """A row's name; one that is too long in two lines, as even as its parts allow."""
    if len(name) <= MOST_LETTERS or SEPARATOR not in name:
        return name
    parts = name.split(SEPARATOR)
    ways = [(SEPARATOR.join(parts[:n]), SEPARATOR.join(parts[n:])) for n in range(1, len(parts))]
    return "\n".join(min(ways, key=lambda way: max(map(len, way))))


def _draw_strip(panel: Axes, name: str, data: list[tuple[str, list[float], bool]]) -> None:
    import numpy as np

    factor, _ = scale(name)
    looks: dict[str, Any]
    colour = (
        style.FROM_VM if name.endswith("from_vm") else style.TO_VM if name.endswith("to_vm") else style.GREEN
    )
    for row, (_, values, null) in enumerate(data):
        if not values:
            looks = {
                "va": "center",
                "size": 7,
                "color": style.MUTED,
                "transform": panel.get_yaxis_transform(),
            }
            panel.text(0.02, row, "not measured", **looks)
            continue
        shown = np.asarray(values) * factor
        spread = np.random.default_rng(row).uniform(
            -0.26, 0.26, shown.size
        )  # seeded: same record, same picture
        looks = {"mec": style.MUTED if null else colour, "mfc": "none" if null else colour}
        panel.plot(shown, row + spread, ls="none", marker="o", ms=3.4, mew=0.7, alpha=0.75, **looks)
        interval = median_interval(values)
        if interval is not None:
            panel.plot(
                np.asarray(interval) * factor, [row, row], color=style.INK, lw=1.6, solid_capstyle="butt"
            )
        panel.plot(np.median(shown), row, marker="|", ms=11, mew=2, color=style.INK)
    panel.set_yticks(range(len(data)), [_in_lines(text) for text, *_ in data], size=7, linespacing=0.95)
    panel.set_ylim(len(data) - 0.5, -0.5)
    everything = [value * factor for _, values, _ in data for value in values]
    if log_scale(everything):
        set_log(panel, "x", everything)
        _write_out(panel, least=min(value for value in everything if value > 0) if 0 in everything else 0.0)
    else:
        least, most = min(0.0, *everything), max(0.0, *everything)
        panel.set_xlim(least - 0.03 * (most - least), most + 0.04 * (most - least))
    panel.tick_params(length=0, which="both", labelcolor=style.MUTED)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_facecolor("none")
    panel.grid(True, axis="x", color=style.GRID, linewidth=0.5)
    panel.set_axisbelow(True)


def _write_out(panel: Axes, least: float) -> None:
    """Plain numbers on a log axis, at whole decades; none at the smallest value, too near to the zero beside it."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    panel.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "" if 0 < value <= least else f"{value:,g}")
    )
    panel.xaxis.set_minor_formatter(NullFormatter())
