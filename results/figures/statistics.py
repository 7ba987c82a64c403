"""Statistics over trials: medians with intervals, the noise floor beside them, paired comparisons. Pure.

Same input and seed, same output. Invalid trials never enter a figure; `count_trials` counts them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from results.figures.grouping import Group, groups_of
from results.record.contract import DEFAULT_GROUP_BY

if TYPE_CHECKING:
    import numpy as np

    Values = np.ndarray[Any, np.dtype[np.float64]]

Trials = Sequence[Mapping[str, Any]]
RESAMPLES = 4_999  # of 10 values the interval's ends still depend on the seed, of 30 hardly
MINIMUM_FOR_INTERVAL = 3
LAST_BARRIER = "call_to_last_barrier_s"  # kept in the trial's migration, treated as a measure here
PERCENTILE_RULE = (
    "p95 is given from 20 valid trials on, p99 from 100: at least one value must lie at or above it"
)


def quantile_allowed(n: int, share: float) -> bool:
    """Whether n values are enough for this quantile: n * (1 - share) >= 1, so p95 from 20, p99 from 100."""
    return n * (1.0 - share) >= 1.0 - 1e-9


def quantile(values: Sequence[float], share: float) -> float | None:
    """Nearest-rank quantile: the smallest value with at least `share` of the values at or below it.

    None when `quantile_allowed` says that there are too few.
    """
    import numpy as np

    if not quantile_allowed(len(values), share):
        return None
    return float(np.quantile(np.asarray(values, float), share, method="inverted_cdf"))


def median_interval(
    values: Sequence[float], *, seed: int = 0, confidence: float = 0.95
) -> list[float] | None:
    """Bootstrap percentile interval [lo, hi] of the median; None below 3 values. The same wherever it is told.

    Percentile and not BCa: BCa takes its acceleration from the jackknife, which fails for the median
    (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapters 11 and 14).
    """
    import numpy as np

    array = np.asarray(values, float)
    if array.size < MINIMUM_FOR_INTERVAL:
        return None
    if np.all(array == array[0]):
        return [float(array[0])] * 2
    # As scipy.stats.bootstrap does it, but loading that took every run a second, and twenty under TCG.
    rng = np.random.default_rng(seed)
    medians = np.median(array[rng.integers(0, array.size, (RESAMPLES, array.size))], axis=-1)
    low, high = np.quantile(medians, [(1 - confidence) / 2, (1 + confidence) / 2])
    # Interpolation between resampled medians: rounding may step over the outermost value by a digit.
    return [max(float(array.min()), float(low)), min(float(array.max()), float(high))]


def share_not_ruled_out(n: int, confidence: float = 0.95) -> float:
    """Upper bound of the share of moves that do X when none of n did: 1 - (1 - confidence)^(1/n).

    One-sided Clopper-Pearson; for large n the "rule of three", 3/n (Hanley and Lippman-Hand, JAMA 249, 1983).
    """
    return 1.0 if n <= 0 else float(1.0 - (1.0 - confidence) ** (1.0 / n))


def value_of(trial: Mapping[str, Any], measure: str) -> float | None:
    """A trial's value of a measure in the unit of its name; None when it was not measured."""
    if measure == LAST_BARRIER and measure not in trial["measures"]:
        value = (trial["migration"] or {}).get(LAST_BARRIER)
    else:
        value = trial["measures"].get(measure)
    return None if value is None else float(value)


def values_of(trials: Trials, measure: str, *, null: bool) -> list[float]:
    """Values of a measure in the valid trials: those that moved, or with `null` those that did not."""
    chosen = (value_of(trial, measure) for trial in trials if trial["valid"] and trial["null"] == null)
    return [value for value in chosen if value is not None]


def measures_of(trials: Trials) -> list[str]:
    """Names of all measures of these trials in order of first appearance, call_to_last_barrier_s last."""
    names = dict.fromkeys(name for trial in trials for name in trial["measures"])
    if any(trial["migration"] for trial in trials):
        names.setdefault(LAST_BARRIER)
    return list(names)


def summarise(trials: Trials, *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Per measure, in its unit: n, median, ci95 [lo, hi], p95, p99, min, max of the moves, and the floor.

    `floor`, `floor_p95`, `floor_max`, `floor_n`: median, p95, maximum and number of the null trials. A figure
    that n does not allow is None (see PERCENTILE_RULE and `median_interval`).
    """
    return {name: _summary(trials, trials, name, seed) for name in measures_of(trials)}


def summarise_group(group: Group, names: Sequence[str], *, seed: int = 0) -> dict[str, dict[str, Any]]:
    """`summarise` of one group: its own moves, its own null trials as the floor."""
    return {name: _summary(group.trials, group.nulls, name, seed) for name in names}


def summarise_by(
    trials: Trials, parameters: str | Sequence[str] = DEFAULT_GROUP_BY, *, seed: int = 0
) -> dict[str, dict[str, dict[str, Any]]]:
    """`summarise` per group of trials (`grouping.groups_of`), by the group's label."""
    names = measures_of(trials)
    return {
        group.label: summarise_group(group, names, seed=seed)
        for group in groups_of(trials, _several(parameters))
    }


def group_by(
    trials: Trials, parameters: str | Sequence[str] = DEFAULT_GROUP_BY
) -> dict[str, list[Mapping[str, Any]]]:
    """Trials that are no null trials, valid or not, by the label of their group (`grouping.groups_of`)."""
    return {group.label: list(group.trials) for group in groups_of(trials, _several(parameters))}


def _several(parameters: str | Sequence[str]) -> Sequence[str]:
    return (parameters,) if isinstance(parameters, str) else parameters


_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def count_trials(trials: Trials) -> dict[str, Any]:
    """`{valid, invalid, null_valid, null_invalid, reasons: {reason: number}}`."""
    reasons: dict[str, int] = {}
    for trial in trials:
        if not trial["valid"]:
            reasons[trial["invalid_reason"]] = reasons.get(trial["invalid_reason"], 0) + 1
    return {
        "valid": sum(trial["valid"] and not trial["null"] for trial in trials),
        "invalid": sum(not trial["valid"] and not trial["null"] for trial in trials),
        "null_valid": sum(trial["valid"] and trial["null"] for trial in trials),
        "null_invalid": sum(not trial["valid"] and trial["null"] for trial in trials),
        "reasons": dict(sorted(reasons.items(), key=lambda item: -item[1])),
    }


def told_reasons(reasons: Mapping[str, int]) -> list[str]:
    """Why trials were invalid, a line for each kind: how many, and of reasons that differ in numbers the worst."""
    kinds: dict[str, dict[str, int]] = {}
    for reason, times in reasons.items():
        kinds.setdefault(_NUMBER.sub("#", reason), {})[reason] = times
    lines = []
    for same in kinds.values():
        worst = max(same, key=lambda reason: [float(number) for number in _NUMBER.findall(reason)])
        lines.append(f"{sum(same.values())} x {worst}" + (" at worst" if len(same) > 1 else ""))
    return lines


def _summary(moves: Trials, nulls: Trials, name: str, seed: int) -> dict[str, Any]:
    import numpy as np

    values, floor = values_of(moves, name, null=False), values_of(nulls, name, null=True)
    return {
        "n": len(values),
        "median": float(np.median(values)) if values else None,
        "ci95": median_interval(values, seed=seed),
        "p95": quantile(values, 0.95),
        "p99": quantile(values, 0.99),
        "min": min(values, default=None),
        "max": max(values, default=None),
        "floor": float(np.median(floor)) if floor else None,
        "floor_p95": quantile(floor, 0.95),
        "floor_max": max(floor, default=None),
        "floor_n": len(floor),
    }


@dataclass(frozen=True)
class PairedComparison:
    """A minus B over pairs, in the measure's unit; `p_value` of the signed-rank test (1 if all are equal)."""

    n: int
    median_difference: float
    ci95: list[float] | None
    hodges_lehmann: float
    cliffs_delta: float
    rank_biserial: float
    p_value: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a record."""
        return asdict(self)


def compare_paired(a: Sequence[float], b: Sequence[float], *, seed: int = 0) -> PairedComparison:
    """Compare a[i] with b[i], pair by pair. Raises ValueError for unequal lengths or no pairs."""
    import numpy as np

    if len(a) != len(b) or not len(a):
        raise ValueError(f"a paired comparison needs as many values on both sides, got {len(a)} and {len(b)}")
    difference = np.asarray(a, float) - np.asarray(b, float)
    p_value = 1.0
    if np.any(difference != 0):
        from scipy.stats import wilcoxon

        # Pratt keeps the pairs without a difference in the ranking; loss counts have many of them. The exact
        # distribution knows no ties, so with ties (or zeros) the signs are permuted instead.
        tied = np.unique(np.abs(difference)).size < difference.size or bool(np.any(difference == 0))
        p_value = float(
            _signed_rank_p(difference, seed) if tied else wilcoxon(difference, method="auto").pvalue
        )
    return PairedComparison(
        n=difference.size,
        median_difference=float(np.median(difference)),
        ci95=median_interval(list(difference), seed=seed),
        hodges_lehmann=hodges_lehmann(difference),
        cliffs_delta=cliffs_delta(a, b),
        rank_biserial=rank_biserial(difference),
        p_value=p_value,
    )


def _signed_rank_p(difference: Values, seed: int) -> float:
    """Two-sided p of the signed-rank statistic (zeros ranked, Pratt 1959) over 9,999 random sign changes."""
    import numpy as np
    from scipy.stats import rankdata

    ranks = rankdata(np.abs(difference)) * (difference != 0)
    observed = abs(float(np.sum(ranks * np.sign(difference))))
    signs = np.random.default_rng(seed).choice((-1.0, 1.0), size=(9_999, difference.size))
    return float((1 + np.count_nonzero(np.abs(signs @ ranks) >= observed - 1e-9)) / 10_000)


def rank_biserial(differences: Sequence[float] | Values) -> float:
    """Effect size of pairs, -1..1: share of the ranks of |d| with d > 0 minus that with d < 0; 0 if all d are 0.

    Kerby, The simple difference formula, Comprehensive Psychology 3 (2014) 11.IT.3.1; zeros keep their ranks (Pratt),
    so they pull it towards 0.
    """
    import numpy as np
    from scipy.stats import rankdata

    array = np.asarray(differences, float)
    ranks = rankdata(np.abs(array))
    return float(np.sum(ranks * np.sign(array)) / np.sum(ranks))


def hodges_lehmann(differences: Sequence[float] | Values) -> float:
    """Median of the Walsh averages (d_i + d_j) / 2, i <= j: the shift the signed-rank test sees.

    Hodges and Lehmann, Estimates of location based on rank tests, Ann. Math. Statist. 34 (1963) 598-611.
    """
    import numpy as np

    array = np.asarray(differences, float)
    first, second = np.triu_indices(array.size)
    return float(np.median((array[first] + array[second]) / 2.0))


def cliffs_delta(a: Sequence[float], b: Sequence[float]) -> float:
    """P(a > b) - P(a < b) over all pairs of values, -1..1; 0 when neither tends to be larger.

    Cliff, Dominance statistics: ordinal analyses to answer ordinal questions,
    Psychological Bulletin 114 (1993) 494-509.
    """
    import numpy as np

    ordered = np.sort(np.asarray(b, float))
    smaller = np.searchsorted(ordered, a, side="left").sum()
    larger = (ordered.size - np.searchsorted(ordered, a, side="right")).sum()
    return float((smaller - larger) / (len(a) * ordered.size))
