"""The check that sandboxes side by side do not move the figures, on made-up control runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.designs.schedules import PATHS
from experiments.studies.hot_l2 import EXPERIMENT as HOT_L2
from experiments.sweeping.check import compare_control
from results.record.reading import Record

MIGRATION = {"kind": "hot", "old_nve": "a", "new_nve": "b", "phases": [], "call_to_last_barrier_s": 0.004}


def run(stall_s: float, valid: bool = True) -> Record:
    """One repetition of hot-l2: three paths and a null trial, of which the first few figures are alike."""
    trials: list[dict[str, Any]] = []
    for number, path in enumerate((*PATHS, None)):
        own_s = stall_s + number * 0.0001
        trials.append(
            {
                "index": number,
                "valid": valid,
                "null": path is None,
                "parameters": {} if path is None else {"path": path},
                "migration": None if path is None else MIGRATION,
                "measures": {"tcp_stall_s_to_vm": own_s, "lost_packets_to_vm": 0},
            }
        )
    return Record(Path("run"), {"trials": trials, "experiment": "hot-l2"})


def test_alike_figures_agree() -> None:
    pairs = [(run(0.010), run(0.0101)), (run(0.011), run(0.0108)), (run(0.012), run(0.0121))]
    found = compare_control(pairs, HOT_L2)
    assert found.same, found.why
    assert found.pairs == 3 * 4  # three paths and the null trials of three pairs
    assert "tcp_stall_s_to_vm" in found.checked


def test_a_shift_of_more_than_a_quarter_is_found() -> None:
    pairs = [(run(0.010), run(0.014)) for _ in range(3)]
    found = compare_control(pairs, HOT_L2)
    assert not found.same
    assert "tcp_stall_s_to_vm shifts by +3" in found.why  # (14 - 10) / 10.15


def test_a_small_shift_that_every_pair_has_is_found_by_the_test() -> None:
    pairs = [(run(0.010 * (1 + k)), run(0.010 * (1 + k) + 0.001 + 0.0001 * k)) for k in range(3)]
    found = compare_control(pairs, HOT_L2)
    assert not found.same
    assert "tcp_stall_s_to_vm differs (p = " in found.why  # 12 pairs of one sign: p = 2 / 2**12


def test_more_invalid_trials_side_by_side_are_a_difference() -> None:
    pairs = [(run(0.010), run(0.010, valid=False)) for _ in range(3)]
    found = compare_control(pairs, HOT_L2)
    assert not found.same
    assert "100% of the trials side by side were invalid, 0% alone" in found.why


def test_too_few_pairs_are_not_taken_for_agreement() -> None:
    assert not compare_control([(run(0.010), run(0.010))], HOT_L2).same
    assert not compare_control([], HOT_L2).same
