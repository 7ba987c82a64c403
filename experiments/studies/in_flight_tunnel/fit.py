"""How much buffer a move needs: a line through frames held, over the rate, against downtime. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2000
SEED = 1
FEWEST = 4


@dataclass(frozen=True)
class BufferFit:
    """frames = rate x (slope x downtime + constant_s); intervals at 95 %. ``slope`` has no unit: 1 is all that came."""

    slope: float
    slope_ci95: tuple[float, float]
    constant_s: float
    constant_ci95_s: tuple[float, float]
    points: int

    @property
    def sentence(self) -> str:
        """The line in words."""
        low, high = self.slope_ci95
        low_ms, high_ms = (1e3 * one for one in self.constant_ci95_s)
        return (
            f"Of what came through the old NVE, rate x ({self.slope:.3f} [{low:.3f}, {high:.3f}] x downtime + "
            f"{1e3 * self.constant_s:.1f} ms [{low_ms:.1f}, {high_ms:.1f}]) frames were held on average, over "
            f"{self.points} moves."
        )


def fit_buffer(points: Sequence[tuple[float, float, float]]) -> BufferFit | None:
    """Least squares through (rate_pps, downtime_s, frames held); None for fewer than 4 points or one downtime.

    Each point is frames / rate = slope x downtime + constant. Intervals: percentiles of the bootstrap over cases,
    resampled within each downtime and rate, so that none is without points (Davison and Hinkley, Bootstrap Methods
    and their Application, 1997, section 6.2.4).
    """
    if len(points) < FEWEST or len({downtime_s for _, downtime_s, _ in points}) < 2:
        return None
    rate, downtime_s, frames = (np.asarray(column, float) for column in zip(*points, strict=True))
    held_s = frames / rate
    cells: dict[tuple[float, float], list[int]] = {}
    for row, key in enumerate(zip(rate, np.round(downtime_s, 2), strict=True)):
        cells.setdefault(key, []).append(row)
    random = np.random.default_rng(SEED)
    resampled = []
    for _ in range(RESAMPLES):
        rows = np.concatenate([random.choice(own, len(own)) for own in cells.values()])
        if np.ptp(downtime_s[rows]) > 0:
            resampled.append(np.polyfit(downtime_s[rows], held_s[rows], 1))
    slope, constant_s = (float(one) for one in np.polyfit(downtime_s, held_s, 1))
    low, high = np.percentile(np.asarray(resampled), (2.5, 97.5), axis=0)
    return BufferFit(
        slope, (float(low[0]), float(high[0])), constant_s, (float(low[1]), float(high[1])), len(points)
    )
