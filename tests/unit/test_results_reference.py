"""The kept records say what today's experiments would say of their trials, and nothing that is known to be wrong."""

from pathlib import Path

import pytest

from experiments import hot_warm_cold
from experiments.catalog import EXPERIMENTS
from experiments.in_flight_tunnel import most_held
from results.reading import load_record

KEPT = Path(__file__).parents[2] / "results" / "reference"
COMPLETE = {"external-client", "lifecycle", "old-nve-policy", "stage-order", "stale-mapping"}
"""Experiments whose answer needs nothing that a kept record leaves out."""
EVERY = sorted(path.parent.name for path in KEPT.glob("*/record.json"))


def kept(name):
    return load_record(KEPT / name)


@pytest.mark.parametrize("name", [name for name in EVERY if name.rpartition("-")[0] in COMPLETE])
def test_the_answer_is_what_the_experiment_says_of_the_kept_trials(name):
    record = kept(name)
    said = EXPERIMENTS[record.experiment].conclude(record.trials)
    assert record.answer == " ".join((said, *record.environment.get("remarks", [])))


def test_there_is_something_to_check():
    assert len(EVERY) >= 36
    assert {name.rpartition("-")[0] for name in EVERY} >= COMPLETE


@pytest.mark.parametrize("name", ["host", "tcg"])
def test_where_figures_were_left_out_the_words_are_todays(name):
    """What these concluded from (phases, options of a move) is not kept; what surrounds its figures is here."""
    assert kept(f"hot-l2-{name}").answer.endswith("from stop to resume, packets wait or are lost.")
    held = kept(f"in-flight-tunnel-{name}")
    assert most_held(held.trials)
    assert f"is a mean and no size to be safe with.{most_held(held.trials)} With push" in held.answer
    kinds = kept(f"hot-warm-cold-{name}")
    assert kinds.parameters["real"] == 0
    assert kinds.answer.count(f" MB {hot_warm_cold.CALCULATED}, ") == 3
    assert "else none" not in kept("several-moves-tcg").answer
