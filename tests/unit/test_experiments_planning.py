"""What a run is said to be before it begins, held against runs that were done."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from emulation.nve import Datapath
from experiments.__main__ import main
from experiments.catalog import EXPERIMENTS
from experiments.running.parameters import read_parameters, with_topology
from experiments.running.planning import RunPlan, in_words, plan_run, size
from experiments.sweeping.plan import network_key, read_plan
from experiments.sweeping.sweep import Asked, plan_sweep
from results.record.reading import load_record
from topologies import load_topology, topology_file

REFERENCE = Path(__file__).resolve().parents[2] / "results" / "reference"
DATAPATH = Datapath("userspace", "afpacket", "said by a test")
OUTSIDE_S = 8.0  # Python's start and the report, which a record does not time
FACTOR = 1.5
"""Plans were fitted to these records within a fifth; what is changed since then should not take them much further."""


def planned(name: str, *words: str) -> RunPlan:
    experiment = EXPERIMENTS.find(name)
    values = read_parameters(experiment.parameters, words)
    if experiment.as_sweep is not None:
        asked: Asked = experiment.as_sweep(values)
        cells = asked.plan.all_values(experiment)
        topology = load_topology(topology_file(cells[0]["topology"]))
        cells = [with_topology(experiment.parameters, own, topology) for own in cells]
        keys = [network_key(own) for own in cells]
        return plan_sweep(asked, cells, {keys[0]: (topology, DATAPATH)}, asked.plan.order(keys))
    topology = load_topology(topology_file(values["topology"]))
    return plan_run(experiment, with_topology(experiment.parameters, values, topology), topology, DATAPATH)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_plan_is_what_the_reference_was(name: str) -> None:
    """As many trials as were wanted (one that was spoilt was repeated), and about as long."""
    record = load_record(REFERENCE / f"{name}-host")
    plan = planned(name)
    assert plan.trials == sum(trial["valid"] for trial in record.trials)
    took_s = _moment_s(record.data["ended_utc"]) - _moment_s(record.data["started_utc"])
    assert took_s / FACTOR < plan.duration_s - OUTSIDE_S < took_s * FACTOR


def _moment_s(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_the_quick_form_is_less(name: str) -> None:
    plan, quick = planned(name), planned(name, "quick=1")
    assert quick.trials < plan.trials and quick.duration_s < plan.duration_s
    assert quick.memory_bytes <= plan.memory_bytes


def test_a_plan_follows_the_parameters() -> None:
    plan, longer = planned("old-nve-policy"), planned("old-nve-policy", "long_downtime=20s")
    moves = (
        3 * 10
    )  # silent-drop, and icmp with two limits; 20 s is the last timeout of 25.4 s away from 2 s of 3 s
    assert longer.duration_s - plan.duration_s > 18 * moves
    assert longer.longest_guarded_s is not None and longer.longest_guarded_s > 20
    copied = planned("cold", "memory_mib=256", "bandwidth=100Mbit", "repeat=2")
    once_s = 256 * 2**20 * 8 / 100e6
    assert copied.duration_s > 4 * once_s
    assert planned("hot-l2", "rate_pps=20000").memory_bytes > planned("hot-l2", "rate_pps=200").memory_bytes


def test_a_sweep_has_its_blocks_trials_in_networks_that_are_built_once_a_round() -> None:
    experiment = EXPERIMENTS.find("hot-l2")
    asked = Asked(experiment, read_plan(experiment, ["rate_pps=500,1000,2000", "repeat=4"]), 2, None, True)
    values = asked.plan.all_values(experiment)
    keys = [network_key(own) for own in values]
    grounds = {key: (load_topology(topology_file("two_racks")), DATAPATH) for key in keys}
    plan = plan_sweep(asked, values, grounds, asked.plan.order(keys))
    one = planned("hot-l2", "repeat=1", "rate_pps=2000")
    assert plan.trials == 3 * 4 * 4
    windows_s = sum(one.guarded_s)
    assert 12 * windows_s < plan.duration_s < 12 * one.duration_s
    assert plan.memory_bytes == 2 * one.memory_bytes


def test_the_command_says_it_and_begins_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    assert main(["run", "hot-l2", "PLAN=only", "repeat=2", "ports=afpacket"]) == 0
    said = capsys.readouterr().out
    assert "hot-l2: 8 valid trials, about" in said and "MB of memory" in said
    words = ["EXP=cold", "memory_mib=16,32", "repeat=2", "plan=only", "ports=afpacket"]
    assert main(["sweep", *words]) == 0
    assert "sweep of cold: 12 valid trials, about" in capsys.readouterr().out
    assert main(["run", "decision", "quick=1", "plan=only", "ports=afpacket"]) == 0
    assert "24 valid trials" in capsys.readouterr().out
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["run", "hot-l2", "plan=yes"], "plan=yes: allowed is plan=only"),
        (["run", "hot-l2", "plan=only", "vm=nobody"], "vm=nobody: there is no VM 'nobody'"),
        (["sweep", "EXP=hot-l2", "rate_pps=1,2", "plan=only"], "rate_pps=1: allowed is"),
    ],
)
def test_what_cannot_be_is_refused_as_without_a_plan(
    words: list[str], text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    said = capsys.readouterr()
    assert text in said.err and said.out == ""


@pytest.mark.parametrize(
    ("value", "text"), [(0.71, "0.7 s"), (45.2, "45 s"), (429.0, "7 min"), (9000.0, "2.5 h")]
)
def test_times_in_words(value: float, text: str) -> None:
    assert in_words(value) == text


@pytest.mark.parametrize(("value", "text"), [(349e6, "349 MB"), (1.23e9, "1.2 GB")])
def test_sizes_in_words(value: float, text: str) -> None:
    assert size(value) == text


def test_the_record_has_the_plan() -> None:
    made: dict[str, Any] = RunPlan(8, 20.04, 10**9, (0.7, 21.3)).as_record()
    assert made == {"trials": 8, "duration_s": 20.0, "memory_bytes": 10**9, "longest_guarded_s": 21.3}


def test_a_plan_says_what_this_machine_refuses(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever plans a run hears now what the run would be told; a kernel without netem is one."""
    monkeypatch.setattr("emulation.preflight._module", lambda name: False)
    assert (
        main(["run", "external-client", "topology=outside_wan", "quick=1", "plan=only", "ports=afpacket"])
        == 0
    )
    said = capsys.readouterr().out
    assert "this machine refuses it as it is: topology outside_wan: " in said
    assert "make image-run EXP=external-client " in said


@pytest.mark.parametrize(
    ("real", "words"), [(0, "no bytes are copied: a move waits"), (1, "real bytes are copied")]
)
def test_what_is_copied_is_said_of_this_run(
    real: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "cold", f"real={real}", "bandwidth=200Mbit", "plan=only", "ports=afpacket"]) == 0
    said = capsys.readouterr().out
    assert words in said
    assert "200Mbit" in said
