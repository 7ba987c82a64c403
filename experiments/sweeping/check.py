"""Do sandboxes that run side by side change each other's figures? Control blocks alone against beside others. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from experiments.running.experiment import Experiment
from results.figures.grouping import groups_of, null_groups
from results.figures.statistics import LAST_BARRIER, compare_paired, values_of
from results.record.reading import Record

ALPHA = 0.05
MOST_SHIFT = 0.25
"""A shift of more than this share of the figure counts as a change even where the pairs are too few to prove it."""
MOST_MORE_INVALID = 0.25
FEWEST_PAIRS = 6  # of the signed-rank test: with 5 no outcome has p < 0.05
STANDARD = tuple(
    f"{stem}_{side}_vm" for stem in ("lost_packets", "tcp_stall_s", "blackout_s") for side in ("to", "from")
)


@dataclass(frozen=True)
class Comparison:
    """What the check found; ``changed`` has a line for each measure that differs."""

    same: bool
    pairs: int
    why: str
    checked: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def sentence(self, jobs: int) -> str:
        """For the terminal."""
        return f"{jobs} sandboxes at once: {self.why}" + ("" if self.same else "; the rest runs one by one")


def compare_control(pairs: Sequence[tuple[Record, Record]], experiment: Experiment) -> Comparison:
    """Compare (alone, beside) runs of the same cells, pair by pair of their groups (null trials are one).

    A measure has changed when the signed-rank test over the pairs says so (Holm's correction over the measures:
    Scand. J. Statist. 6, 1979, 65-70), or when the shift is more than ``MOST_SHIFT``.
    """
    invalid = [_invalid_share([pair[side] for pair in pairs]) for side in (0, 1)]
    if invalid[1] > invalid[0] + MOST_MORE_INVALID:
        why = f"{invalid[1]:.0%} of the trials side by side were invalid, {invalid[0]:.0%} alone"
        return Comparison(False, len(pairs), why)
    tested: list[tuple[float, str]] = []
    changed: list[str] = []
    names = dict.fromkeys((*(experiment.shown_measures or STANDARD), LAST_BARRIER))
    most = 0
    for name in names:
        found = [values for alone, beside in pairs for values in _paired(alone, beside, name)]
        most = max(most, len(found))
        if len(found) < FEWEST_PAIRS:
            continue
        result = compare_paired([two for _, two in found], [one for one, _ in found])
        usual = median(abs(one) for one, _ in found)
        if abs(result.hodges_lehmann) > MOST_SHIFT * usual > 0:
            changed.append(f"{name} shifts by {result.hodges_lehmann / usual:+.0%}")
        tested.append((result.p_value, name))
    if not tested:
        return Comparison(
            False, most, f"not shown to agree: {most} pairs of figures, {FEWEST_PAIRS} are needed"
        )
    for place, (p_value, name) in enumerate(sorted(tested)):
        if p_value > ALPHA / (len(tested) - place):
            break
        changed.append(f"{name} differs (p = {p_value:.3g})")
    checked = [name for _, name in tested]
    if changed:
        return Comparison(False, most, f"figures move ({'; '.join(changed)})", checked, changed)
    return Comparison(True, most, f"no figure moves ({most} pairs, {len(checked)} measures)", checked)


def _invalid_share(runs: Sequence[Record]) -> float:
    trials = [trial for run in runs for trial in run.trials]
    return sum(not trial["valid"] for trial in trials) / len(trials) if trials else 1.0


def _paired(alone: Record, beside: Record, name: str) -> list[tuple[float, float]]:
    """Medians of each group that both have."""
    ours, theirs = _medians(alone, name), _medians(beside, name)
    return [(ours[label], theirs[label]) for label in ours if label in theirs]


def _medians(run: Record, name: str) -> dict[str, float]:
    groups = [*groups_of(run.trials, run.group_by), *null_groups(run.trials, run.group_by)]
    found = {group.label: values_of(group.trials, name, null=False) for group in groups}
    return {label: median(values) for label, values in found.items() if values}
