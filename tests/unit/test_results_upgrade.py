"""Older records are brought to today's format when read, newer and too old ones are refused; files stay as they are."""

from __future__ import annotations

import json
import runpy
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from results.__main__ import main
from results.figures.merging import finished_runs, write_sweep_record
from results.record import reading
from results.record import writer as record
from results.record.contract import FORMAT_VERSION, RecordError
from results.record.reading import load_record
from results.record.upgrade import STEPS, upgraded
from results.timeline.data import gather

SYNTHETIC = Path(__file__).parents[1] / "data" / "records" / "synthetic.py"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = runpy.run_path(str(SYNTHETIC))["make_run"](tmp_path_factory.mktemp("results"), 6)
    return folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "runs" / made.name))


def from_0(data: dict[str, Any]) -> dict[str, Any]:
    """A format 0 as it might have been: a trial's measures under another name, the verdict a word."""
    trials = [{**trial, "measures": trial["figures"]} for trial in data["trials"]]
    for trial in trials:
        trial.pop("figures")
    return {
        **data,
        "trials": trials,
        "verdict": {"status": data["verdict"], "why": "not recorded in format 0"},
    }


def older(run: Path) -> dict[str, Any]:
    """The run's record in that format 0."""
    data = json.loads((run / "record.json").read_text())
    trials = [{**trial, "figures": trial["measures"]} for trial in data["trials"]]
    for trial in trials:
        trial.pop("measures")
    return {**data, "format_version": 0, "trials": trials, "verdict": data["verdict"]["status"]}


def test_an_older_record_reads_as_todays_and_stays_as_it_is(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    today = load_record(run)
    text = json.dumps(older(run))
    (run / "record.json").write_text(text)
    monkeypatch.setattr(reading, "upgraded", lambda data, where: upgraded(data, where, {0: from_0}))
    read = load_record(run)
    assert read.trials == today.trials
    assert read.status == "answered"
    assert read.data["format_version"] == FORMAT_VERSION
    assert (run / "record.json").read_text() == text


def test_steps_follow_each_other() -> None:
    steps = {0: lambda data: {**data, "a": 1}, 1: lambda data: {**data, "b": data["a"] + 1}}
    assert upgraded({"format_version": 0}, "x", steps, newest=2) == {"format_version": 2, "a": 1, "b": 2}
    assert upgraded({"format_version": 2}, "x", steps, newest=2) == {"format_version": 2}


@pytest.mark.parametrize(
    ("version", "said"),
    [
        (99, "written in format 99, this version reads up to 1; update Overland"),
        (0, "too old: this version reads 1 to 1; run the experiment again"),
        (-1, "is not a whole number"),
        ("1", "is not a whole number"),
        (True, "is not a whole number"),
        (1.0, "is not a whole number"),
    ],
)
def test_versions_that_cannot_be_read(run: Path, version: Any, said: str) -> None:
    data = json.loads((run / "record.json").read_text())
    (run / "record.json").write_text(json.dumps({**data, "format_version": version}))
    with pytest.raises(RecordError, match=said) as caught:
        load_record(run)
    assert "\n" not in str(caught.value)


def test_a_record_that_is_not_of_the_version_it_says_is_refused() -> None:
    with pytest.raises(RecordError, match="says format 0 but is not of it"):
        upgraded({"format_version": 0, "trials": [{}]}, "x", {0: from_0})


def test_every_version_before_todays_has_a_step_or_is_out_of_use() -> None:
    assert set(STEPS) <= set(range(FORMAT_VERSION))


@pytest.mark.parametrize("command", ["report", "timeline"])
def test_a_run_without_samples_is_told_in_one_line_and_reports_the_rest(
    run: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run / "samples")
    assert main([command, str(run)]) == 0
    error = capsys.readouterr().err
    assert "has no samples, so no packets are drawn" in error
    assert len(error.strip().splitlines()) == 1
    if command == "report":
        page = (run / "report.html").read_text()
        assert "has no samples" in page
        assert str(run.parent) not in page  # a report may go to others


def test_a_sweeps_record_passes_over_runs_that_cannot_be_read(run: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    good = shutil.copytree(run, sweep / "runs" / "0-good")
    data = json.loads((good / "record.json").read_text())
    data["environment"]["sweep"] = {"block": 0, "cell": 0, "round": 0, "beside": False}
    (good / "record.json").write_text(json.dumps(data))
    for name, text in (("1-cut", '{"format'), ("2-empty", ""), ("3-foreign", '{"a": 1}')):
        (sweep / "runs" / name).mkdir()
        (sweep / "runs" / name / "record.json").write_text(text)
    (sweep / "runs" / "4-nothing").mkdir()
    runs = finished_runs(sweep)
    assert [one.name for one in runs] == ["0-good"]
    head = {key: data[key] for key in ("experiment", "questions", "parameters", "topology", "environment")}
    written = write_sweep_record(sweep, head, runs, ("answered", "enough"), {("0-good", 2): {"cost_s": 1.0}})
    assert len(written.trials) == 6
    assert written.trials[2]["measures"]["cost_s"] == 1.0
    drawn = gather(written, 4)  # drawn from the samples and events of the run beneath
    own = gather(load_record(good), 4)
    assert own.packets and drawn.packets.keys() == own.packets.keys()
    assert drawn.points == own.points
    assert {(trial["run"], trial["run_index"]) for trial in written.trials} == {
        ("0-good", n) for n in range(6)
    }


def test_a_record_that_is_slow_to_write_is_written_for_a_tenth_of_the_time_and_at_the_end(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = load_record(made).trials
    written: list[int] = []
    original = record.write_atomic

    def slowly(path: Path, data: bytes) -> None:
        written.append(len(json.loads(data)["trials"]))
        time.sleep(2 * record.SLOW_WRITE_S)
        original(path, data)

    monkeypatch.setattr(record, "write_atomic", slowly)
    run = record.RunRecord.create(tmp_path, "slow", [], {}, {})
    for trial in trials:
        run.add_trial(trial)
    run.finish("answered", "enough")
    assert written == [0, len(trials)]  # six trials come faster than ten times 40 ms
    assert load_record(run.folder).trials == trials
