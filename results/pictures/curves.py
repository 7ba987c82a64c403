"""A measure against a numeric parameter: medians with 95 % intervals, a line a series, log where it spans."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from results.figures.display import label, scale
from results.figures.grouping import (
    NULL_LABEL,
    SEPARATOR,
    Trials,
    groups_of,
    null_groups,
    parameter_label,
    value_text,
)
from results.figures.statistics import median_interval, values_of
from results.pictures import style
from results.pictures.panels import legend

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES, HEIGHT_INCHES = 3.9, 2.9
LEGEND_LETTERS = 58  # a row of the legend holds about so many
LOG_FROM_RATIO = 100.0  # largest to smallest above zero: two decades
MOST_TICKS = 9
# told apart by marker and dash as well as by colour
_LOOKS = (
    (style.TO_VM, "o", "-"),
    (style.FROM_VM, "s", (0, (5, 1.5))),
    (style.GREEN, "^", (0, (1, 1))),
    (style.PURPLE, "D", (0, (4, 1, 1, 1))),
    (style.GOLD, "v", (0, (8, 2))),
    (style.STEEL, "P", (0, (2, 2))),
    (style.INK, "X", "-"),
)


def log_scale(values: Sequence[float]) -> bool:
    """Whether values are shown on a log scale: none below zero, and those above it span two decades."""
    above = [value for value in values if value > 0]
    return bool(above) and min(values) >= 0 and max(above) / min(above) >= LOG_FROM_RATIO


def curve_points(
    trials: Trials, measure: str, across: str
) -> list[tuple[float, float, list[float] | None, list[float]]]:
    """(parameter, median, its 95 % interval or None, values) at each value of `across`, ascending."""
    import numpy as np

    made = []
    for group in groups_of(trials, [across]):
        values = values_of(group.trials, measure, null=False)
        if values:
            made.append((float(group.values[0]), float(np.median(values)), median_interval(values), values))
    return made


def draw_curve(trials: Trials, measure: str, across: str, series: Sequence[str]) -> Figure:
    """The figure of one measure over the parameter `across`, a line for each group by `series`.

    A dot is a trial, the whisker the 95 % interval of the median, a dashed line the floor (median of the null
    trials), one for each kind of null trials.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    factor, unit = scale(measure)
    moves = [trial for trial in trials if not trial["null"] and trial["parameters"].get(across) is not None]
    lines = [(group.name, group.trials) for group in groups_of(moves, series)]
    rows = -(-sum(len(name) + 6 for name, _ in lines) // LEGEND_LETTERS) if series else 0  # of the legend
    height = HEIGHT_INCHES + 0.17 * max(rows - 1, 0)
    with mpl.rc_context({"font.size": 8, "axes.linewidth": 0.6, "axes.edgecolor": style.GRID}):
        figure = Figure(figsize=(WIDTH_INCHES, height), facecolor="none")
        top = 0.2 + 0.15 * rows
        panel = figure.add_axes((0.115, 0.42 / height, 0.865, 1 - (0.42 + top + 0.06) / height))
        shown: list[float] = []
        handles: list[Any] = []
        for number, (name, members) in enumerate(lines):
            points = curve_points(members, measure, across)
            handles += _draw_line(panel, points, name, number, factor)
            shown += [value * factor for point in points for value in point[3]]
        shown += _draw_floors(panel, trials, measure, factor, series)
        figure.text(
            0.012, 1 - 0.13 / height, f"{label(measure)}, {unit}", size=8, color=style.INK, va="center"
        )
        if series and handles:
            columns = max(1, -(-len(handles) // rows))
            legend(panel, handles, columns=columns)
        _dress(panel, shown, [float(trial["parameters"][across]) for trial in moves], across)
    return figure


def _draw_line(
    panel: Axes, points: Sequence[tuple[Any, ...]], name: str, number: int, factor: float
) -> list[Any]:
    import numpy as np

    if not points:
        return []
    colour, marker, dash = _LOOKS[number % len(_LOOKS)]
    for at, _, _, values in points:  # every trial
        looks: dict[str, Any] = {"marker": "o", "ms": 2.2, "mew": 0, "alpha": 0.4, "color": colour}
        panel.plot([at] * len(values), np.asarray(values) * factor, ls="none", **looks)
    where = [at for at, *_ in points]
    medians = [median * factor for _, median, *_ in points]
    for at, _, interval, _ in points:
        if interval is not None:
            ends = np.asarray(interval) * factor
            panel.plot([at, at], ends, color=colour, lw=1.4, marker="_", ms=5, mew=1.2, zorder=3)
    return panel.plot(
        where,
        medians,
        color=colour,
        lw=1.3,
        linestyle=dash,
        marker=marker,
        ms=4.2,
        mew=0,
        label=name,
        zorder=4,
    )


def floors(trials: Trials, measure: str, series: Sequence[str]) -> dict[float, str]:
    """The median of each kind of null trials, and what it is the floor of; '' where it is that of all."""
    import numpy as np

    named: dict[float, list[str]] = {}
    for group in null_groups(trials, series):
        if values := values_of(group.trials, measure, null=False):
            name = group.label.removeprefix(NULL_LABEL).removeprefix(SEPARATOR)
            named.setdefault(float(np.median(values)), []).append(name)
    if len(named) == 1:
        return dict.fromkeys(named, "")
    return {at: ", ".join(names) for at, names in named.items()}


def _draw_floors(
    panel: Axes, trials: Trials, measure: str, factor: float, series: Sequence[str]
) -> list[float]:
    found = floors(trials, measure, series)
    looks: dict[str, Any] = {"size": 6.5, "color": style.MUTED, "va": "bottom", "ha": "right"}
    for number, (at, name) in enumerate(found.items()):
        panel.axhline(at * factor, color=style.MUTED, lw=0.9, linestyle=(0, (3, 2)), zorder=1)
        panel.annotate(
            f"floor, {name}" if name else "floor",
            (1.0 - number / max(len(found), 3), at * factor),  # side by side: floors may lie close together
            xycoords=("axes fraction", "data"),
            xytext=(-2, 1.5),
            textcoords="offset points",
            **looks,
        )
    return [at * factor for at in found]


def _dress(panel: Axes, shown: Sequence[float], where: Sequence[float], across: str) -> None:
    from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

    distinct = sorted(set(where))
    if log_scale(distinct):
        set_log(panel, "x", distinct)
        ticks = _thinned(distinct)
        panel.set_xticks(ticks, [value_text(across, _short(value)) for value in ticks])
        panel.xaxis.set_minor_locator(NullLocator())
    elif len(distinct) <= MOST_TICKS:
        panel.set_xticks(distinct, [value_text(across, _short(value)) for value in distinct])
    else:
        panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: value_text(across, _short(value))))
    if shown and log_scale(shown):
        set_log(panel, "y", shown)
        panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
        panel.yaxis.set_minor_formatter(NullFormatter())
    elif shown:
        least, most = min(0.0, *shown), max(0.0, *shown)
        panel.set_ylim(least - 0.03 * (most - least), most + 0.06 * (most - least))
    panel.set_xlabel(parameter_label(across), color=style.INK, labelpad=2)
    panel.tick_params(length=0, which="both", labelcolor=style.MUTED, labelsize=7)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_facecolor("none")
    panel.grid(True, axis="both", color=style.GRID, linewidth=0.5)
    panel.set_axisbelow(True)


def set_log(panel: Axes, axis: str, values: Sequence[float]) -> None:
    """A log scale; with zeros among the values the part below the smallest other one is linear."""
    above = [value for value in values if value > 0]
    setter = panel.set_xscale if axis == "x" else panel.set_yscale
    limits = panel.set_xlim if axis == "x" else panel.set_ylim
    if min(values) > 0:
        setter("log")
        limits(min(above) / 1.5, max(above) * 1.5)
    else:
        setter("symlog", linthresh=min(above), linscale=0.5)
        limits(-min(above) * 0.25, max(above) * 1.6)


def _thinned(values: Sequence[float]) -> list[float]:
    """At most MOST_TICKS of them, evenly, the first and the last among them."""
    if len(values) <= MOST_TICKS:
        return list(values)
    step = (len(values) - 1) / (MOST_TICKS - 1)
    return [values[round(number * step)] for number in range(MOST_TICKS)]


def _short(value: float) -> float | int:
    return int(value) if float(value).is_integer() else float(f"{value:.6g}")
