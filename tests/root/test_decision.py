"""``decision``, its quick form: runs are made, each is predicted from the others, and the advice is judged."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.studies.decision import QUICK_MOVES, QUICK_RUNS
from results.record.reading import load_record
from tests.root.sandboxed import REPOSITORY

pytestmark = pytest.mark.root

BOUND_S = 240.0


def experiments(results: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "experiments", *words],
        cwd=REPOSITORY,
        env={**os.environ, "RESULTS": str(results)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )


def test_moves_are_predicted_from_other_runs(tmp_path: Path) -> None:
    words = ("quick=1", "ports=afpacket", "after=300ms")
    done = experiments(tmp_path, "run", "decision", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    record = load_record(tmp_path / "latest")
    assert (record.experiment, record.status) == ("decision", "answered")
    assert record.answer is not None
    assert f"of {QUICK_RUNS} runs, each predicted from the other runs alone" in record.answer
    moves = [trial for trial in record.trials if trial["valid"] and not trial["null"]]
    assert len(moves) >= QUICK_RUNS * QUICK_MOVES / 2
    ratios = []
    for trial in moves:
        measures, options = trial["measures"], trial["migration"]["options"]
        # Real bytes over the underlay: at least the memory, and what the record calls copied again is the rest.
        assert measures["copied_bytes"] - measures["copied_again_bytes"] == options["memory_bytes"]
        if "predicted_copied_bytes" in measures:  # all but those of a figure that no other run has
            ratios.append(measures["predicted_copied_bytes"] / measures["copied_bytes"])
    # The copy's own course is known; the underlay takes some more time, in which more is written again, and a busy
    # machine so much more of it that a single move may need a round or two besides.
    assert statistics.median(ratios) == pytest.approx(1.0, rel=0.3)
    assert sum("predicted_cost_s" in trial["measures"] for trial in moves) >= len(moves) / 2
    few = experiments(tmp_path, "decide", "policy=tunnel")
    assert few.returncode == 2
    assert "run make decision first" in few.stderr
