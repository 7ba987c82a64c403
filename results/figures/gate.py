"""``make compare`` and ``make gate``: two runs held against each other, with an exit status for a pipeline.

0: nothing moved (compare), nothing got worse (gate). 1: something did. 2: the two cannot be compared, with the reason.
"""

from __future__ import annotations

from pathlib import Path

from results.figures.comparison import compare, comparison_lines
from results.figures.display import label
from results.record.contract import RecordError
from results.record.reading import Record, open_run


def compare_runs(results_dir: Path, a: str, b: str) -> int:
    """Print what moved from run A to run B; the exit status. Raises RecordError."""
    _need(A=a, B=b)
    first, second = _two_runs(results_dir, A=a, B=b)
    found = compare(first, second)
    print("\n".join(comparison_lines(found, first, second)))
    moved = [change for change in found.changes if change.moved]
    told = ", ".join(f"{label(change.measure)} {change.verdict}" for change in moved)
    print(
        f"B differs from A: {told}"
        if moved
        else "B does not differ from A beyond 10 %, as far as these trials show"
    )
    return 1 if moved else 0


def gate(results_dir: Path, baseline: str, run: str) -> int:
    """Print what moved since the baseline; 1 when something got worse. Raises RecordError."""
    _need(BASELINE=baseline)
    first, second = _two_runs(results_dir, BASELINE=baseline, RUN=run)
    found = compare(first, second)
    print("\n".join(comparison_lines(found, first, second)))
    told = ", ".join(label(change.measure) for change in found.worse)
    print(f"gate: FAILED, worse than the baseline: {told}" if told else "gate: passed")
    return 1 if told else 0


def _two_runs(results_dir: Path, **runs: str) -> list[Record]:
    """The two records. Raises RecordError where both names mean one run, which never differs from itself."""
    first, second = (open_run(results_dir, wanted) for wanted in runs.values())
    if first.folder == second.folder:
        asked = " and ".join(f"{name}={wanted}" for name, wanted in runs.items())
        raise RecordError(f"{asked} are the same run, {first.name}; name two (`make runs` shows them)")
    return [first, second]


def _need(**runs: str) -> None:
    missing = [name for name, wanted in runs.items() if not wanted]
    if missing:
        raise RecordError(
            f"{missing[0]} is not given: {', '.join(f'{name}=RUN' for name in runs)}, a run's folder, its name or a "
            "part of it (`make runs` shows them)"
        )
