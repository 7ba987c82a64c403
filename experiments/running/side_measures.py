"""Measures of a trial that are not of its traffic: what ``Run.observe`` may be."""

from __future__ import annotations

from collections.abc import Callable

from experiments.running.run import Run


def flow_mods(run: Run) -> Callable[[], dict[str, float]]:
    """Flow-mods that the moves of the trial take: of all NVEs together, and of each (``flow_mods_count_nve1``)."""
    before = run.flow_mods.copy()

    def measures() -> dict[str, float]:
        each = {
            f"flow_mods_count_{name}": float(run.flow_mods[name] - before[name])
            for name in run.laboratory.network.nves
        }
        return {"flow_mods_count": sum(each.values()), **each}

    return measures
