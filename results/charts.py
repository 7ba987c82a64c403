"""Distributions of a run's measures: every trial a dot, a row a path, the null trials beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from results import style
from results.display import NULL_LABEL, STANDARD, label, scale
from results.reading import Record
from results.statistics import group_by, measures_of, median_interval, values_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_INCHES = 4.9


def charted_measures(record: Record) -> list[str]:
    """The measures of the contract that this run has (all of its measures when it has none), if they vary."""
    have = measures_of(record.trials)

    def varies(name: str) -> bool:
        return (
            len({value for null in (False, True) for value in values_of(record.trials, name, null=null)}) > 1
        )

    standard = [name for column in STANDARD for name in column[1:] if name in have]
    return [name for name in standard or have if varies(name)]


def draw_distributions(record: Record) -> list[tuple[str, Figure]]:
    """(measure, figure) of each measure that varies: dots are trials, the bar the median with its interval.

    Zero is on every axis, so that lengths compare. Null trials are rings in a row of their own.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    groups: dict[str, list[Any]] = dict(group_by(record.trials))
    nulls = [trial for trial in record.trials if trial["null"]]
    height = 0.5 + 0.26 * (len(groups) + bool(nulls))
    made = []
    for name in charted_measures(record):
        data = [(path, values_of(trials, name, null=False), False) for path, trials in groups.items()]
        data += [(NULL_LABEL, values_of(nulls, name, null=True), True)] if nulls else []
        with mpl.rc_context({"font.size": 8, "axes.linewidth": 0.6, "axes.edgecolor": style.GRID}):
            figure = Figure(figsize=(WIDTH_INCHES, height), facecolor="none")
            panel = figure.add_axes((0.25, 0.24 / height, 0.72, 1 - 0.49 / height))
            _draw_strip(panel, name, data)
        made.append((name, figure))
    return made


def _draw_strip(panel: Axes, name: str, data: list[tuple[str, list[float], bool]]) -> None:
    import numpy as np

    factor, unit = scale(name)
    colour = (
        style.FROM_VM if name.endswith("from_vm") else style.TO_VM if name.endswith("to_vm") else style.GREEN
    )
    for row, (_, values, null) in enumerate(data):
        if not values:
            panel.text(0, row, " not measured", va="center", size=7, color=style.MUTED)
            continue
        shown = np.asarray(values) * factor
        spread = np.random.default_rng(row).uniform(
            -0.26, 0.26, shown.size
        )  # seeded: same record, same picture
        looks: dict[str, Any] = {"mec": style.MUTED if null else colour, "mfc": "none" if null else colour}
        panel.plot(shown, row + spread, ls="none", marker="o", ms=3.4, mew=0.7, alpha=0.75, **looks)
        interval = median_interval(values)
        if interval is not None:
            panel.plot(
                np.asarray(interval) * factor, [row, row], color=style.INK, lw=1.6, solid_capstyle="butt"
            )
        panel.plot(np.median(shown), row, marker="|", ms=11, mew=2, color=style.INK)
    panel.set_title(f"{label(name)}, {unit}", loc="left", size=8, color=style.INK, pad=3)
    panel.set_yticks(range(len(data)), [path for path, *_ in data], size=7)
    panel.set_ylim(len(data) - 0.5, -0.5)
    everything = [value * factor for _, values, _ in data for value in values]
    least, most = min(0.0, *everything), max(0.0, *everything)
    panel.set_xlim(least - 0.03 * (most - least), most + 0.04 * (most - least))
    panel.tick_params(length=0, labelcolor=style.MUTED)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_facecolor("none")
    panel.grid(True, axis="x", color=style.GRID, linewidth=0.5)
    panel.set_axisbelow(True)
