"""Two runs held against each other: a slower machine is no change, a slower move is; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from results.__main__ import main
from results.figures.comparison import NotComparableError, compare, unequal_parameters
from results.record.reading import Record
from results.record.writer import RunRecord

ENVIRONMENT = {"datapath": "userspace", "port_type": "afpacket", "accelerator": None}


def trials(
    *,
    machine: float = 1.0,
    move: float = 1.0,
    lost: int = 0,
    n: int = 20,
    seed: int = 1,
    paths: tuple[str, ...] = ("a", "b"),
) -> list[dict[str, Any]]:
    """A machine ``machine`` times as slow, on which a move costs ``move`` times as much; ``lost`` trials lose some."""
    random = np.random.default_rng(seed)
    made: list[dict[str, Any]] = []
    for path in (*paths, None):
        for number in range(n):
            noise = float(random.lognormal(0, 0.1)) * machine
            stall_s = 0.008 * noise * (1 if path is None else 1.5 * move)
            migration = {
                "kind": "hot",
                "old_nve": "x",
                "new_nve": "y",
                "phases": [],
                "call_to_last_barrier_s": 0.004 * noise * move,
            }
            made.append(
                {
                    "index": len(made),
                    "valid": True,
                    "invalid_reason": None,
                    "null": path is None,
                    "parameters": {} if path is None else {"path": path},
                    "migration": None if path is None else migration,
                    "measures": {
                        "tcp_stall_s_to_vm": stall_s,
                        "lost_packets_to_vm": 7 if path == "a" and number < lost else 0,
                        "blackout_s_to_vm": 0.0014 * machine if path == "a" and number < lost else 0.0,
                        "delay_median_s_to_vm": 0.0002 * noise,
                        "delay_median_s_from_vm": 0.0002 * noise,
                    },
                }
            )
    return made


def record(own: list[dict[str, Any]], **changes: Any) -> Record:
    data = {
        "experiment": "hot-l2",
        "questions": ["Q1"],
        "parameters": {"rate_pps": 1000},
        "environment": ENVIRONMENT,
        "trials": own,
        "summary": {},
        "verdict": {"status": "answered", "why": "enough"},
    }
    return Record(Path("run"), {**data, **changes})


def verdicts(a: Record, b: Record) -> dict[str, str]:
    return {change.measure: change.verdict for change in compare(a, b).changes}


def test_a_machine_half_as_fast_is_no_change() -> None:
    found = verdicts(record(trials()), record(trials(machine=2.0, seed=2)))
    assert set(found.values()) == {"same"}, found
    assert {"tcp_stall_s_to_vm", "call_to_last_barrier_s", "lost_packets_to_vm"} <= set(found)


def test_a_move_that_costs_more_is_worse_on_any_machine() -> None:
    for machine in (0.5, 1.0, 2.0):
        found = compare(record(trials()), record(trials(machine=machine, move=1.5, seed=2)))
        by_name = {change.measure: change for change in found.changes}
        stall = by_name["tcp_stall_s_to_vm"]
        assert stall.verdict == "worse"
        assert stall.ratio == pytest.approx(
            1.5, rel=0.15
        )  # 20 trials of 10 % noise: 3 % of each of four medians
        assert stall.control == "null trials"
        # the null trials make no call to the NVA, so the machine's round trip is its control
        assert by_name["call_to_last_barrier_s"].control == "round trip of null trials"
        assert by_name["call_to_last_barrier_s"].verdict == "worse"
        assert verdicts(record(trials(move=1.5)), record(trials(seed=2)))["tcp_stall_s_to_vm"] == "better"


def test_losses_are_compared_by_how_many_trials_have_any() -> None:
    found = verdicts(record(trials()), record(trials(lost=12, seed=2)))
    assert found["lost_packets_to_vm"] == "worse"  # 0 of 40 against 12 of 40
    assert found["blackout_s_to_vm"] == "worse"  # a time, but 0 in most trials
    assert verdicts(record(trials()), record(trials(lost=1, seed=2)))["lost_packets_to_vm"] == "same"


def test_two_trials_a_group_are_enough_for_counts_of_all_groups_together() -> None:
    """The short forms: a share needs trials and no interval of each group; a time does, and it is said what is left."""
    paths = ("a", "b", "c", "d", "e", "f")
    short = record(trials(n=2, paths=paths))
    found = compare(short, record(trials(n=2, paths=paths, move=2.0, seed=2)))
    assert {change.measure for change in found.changes} == {"lost_packets_to_vm", "blackout_s_to_vm"}
    assert "tcp_stall_s_to_vm" in found.too_few
    losing = trials(n=2, paths=paths, seed=2)
    for trial in losing[: 2 * 5]:
        trial["measures"]["lost_packets_to_vm"] = 3
    found = compare(record(losing), record(losing[2:]))  # in most trials: not rare
    assert "lost_packets_to_vm" in found.too_few
    losing = trials(n=2, paths=paths, seed=2)
    for trial in losing[::2]:
        if not trial["null"]:
            trial["measures"]["lost_packets_to_vm"] = 3
    found = compare(short, record(losing))
    lost = next(change for change in found.changes if change.measure == "lost_packets_to_vm")
    assert lost.detail.startswith("above 0 in 0 of 12 and 6 of 12 trials (p = 0.014)")
    with pytest.raises(NotComparableError, match="run more trials"):
        compare(record(trials(n=2, paths=("a",))), record(trials(n=2, paths=("a",), seed=2)))


@pytest.mark.parametrize("left", [0, 2])
def test_connections_that_no_longer_go_on_are_worse_and_never_better(left: int) -> None:
    whole, broken = trials(), trials(seed=2)
    for trial in (*whole, *broken):
        trial["measures"]["alive_connections_count"] = 4
    for trial in broken:
        if not trial["null"]:
            trial["measures"]["alive_connections_count"] = left
    shown = {"shown_measures": ["alive_connections_count", "tcp_stall_s_to_vm"]}
    a, b = record(whole, **shown), record(broken, **shown)
    assert verdicts(a, b)["alive_connections_count"] == "worse"
    assert verdicts(b, a)["alive_connections_count"] == "better"


def test_losses_that_the_null_trials_have_as_well_are_the_machines() -> None:
    noisy = trials(lost=12, seed=2)
    for trial in noisy:
        if trial["null"] and trial["index"] % 2:
            trial["measures"]["lost_packets_to_vm"] = 3
    assert verdicts(record(trials()), record(noisy))["lost_packets_to_vm"] != "worse"


def test_runs_that_are_not_alike_are_refused_with_the_reason() -> None:
    one = record(trials())
    for other, said in (
        (record(trials(), experiment="cold"), "one is hot-l2, the other cold"),
        (
            record(trials(), environment={**ENVIRONMENT, "accelerator": "tcg"}),
            "accelerator is not known in the first",
        ),
        (record(trials(), environment={**ENVIRONMENT, "datapath": "kernel"}), "datapath is userspace"),
        (record([]), "has no trials"),
        (record(trials(), verdict={"status": "failed", "why": "died"}), "did not end well (died)"),
        (record(trials(), group_by=["policy"]), "grouped by path, the other by policy"),
        (record(trials(paths=("c",))), "no group of trials in common"),
        (record(trials(n=1, paths=("a",))), "no measure has 3 valid moves in both"),
    ):
        with pytest.raises(NotComparableError, match=said.replace("(", r"\(").replace(")", r"\)")):
            compare(one, other)


def test_unequal_parameters_are_listed() -> None:
    one = record(trials(), parameters={"rate_pps": 1000, "policy": "buffer", "repeat": 5, "seed": 1})
    other = record(trials(), parameters={"rate_pps": 2000, "policy": "buffer", "repeat": 9, "quick": 1})
    assert unequal_parameters(one, other) == ["rate_pps: 1000 and 2000", "quick: not set and 1"]


def written(results: Path, **how: Any) -> str:
    run = RunRecord.create(results, "hot-l2", ["Q1"], {"rate_pps": 1000}, {"name": "two_racks"})
    run.set_environment(ENVIRONMENT)
    for trial in trials(**how):
        run.add_trial(trial)
    run.finish("answered", "enough")
    return run.folder.name


def test_the_exit_status_is_the_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, slower_machine = written(tmp_path), written(tmp_path, machine=2.0, seed=2)
    slower_move, faster_move = written(tmp_path, move=1.5, seed=3), written(tmp_path, move=0.6, seed=4)
    options = ["--results-dir", str(tmp_path)]
    assert main(["gate", base, slower_machine, *options]) == 0
    assert main(["gate", base, slower_move, *options]) == 1
    assert "worse than the baseline: Call to last barrier" in capsys.readouterr().out.replace(
        "TCP stall to VM, ", ""
    )
    assert main(["gate", base, faster_move, *options]) == 0
    assert main(["compare", base, faster_move, *options]) == 1  # it moved, if for the better
    assert main(["compare", base, written(tmp_path), *options]) == 0  # the same figures once more
    capsys.readouterr()
    for command in ("gate", "compare"):  # a run never differs from itself: a gate that says so guards nothing
        assert main([command, base, str(tmp_path / "runs" / base), *options]) == 2
        assert f"are the same run, {base}; name two" in capsys.readouterr().err
    assert main(["compare", base, "", *options]) == 2
    assert "B is not given" in capsys.readouterr().err
    path = tmp_path / "runs" / slower_move / "record.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "experiment": "cold"}))
    assert main(["gate", base, slower_move, *options]) == 2
    error = capsys.readouterr().err
    assert "cannot be compared" in error
    assert len(error.strip().splitlines()) == 1
