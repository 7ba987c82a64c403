"""What an evaluation runs, what it takes for done, and the reference that its runs are held against."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest

from experiments.catalog import EXPERIMENTS
from image.errors import ImageError
from image.evaluation import OVER_A_DISTANCE, Length, Step, plan, read_length, remaining, unanswered
from results.__main__ import main
from results.figures.comparison import compare
from results.figures.questions import QUESTIONS
from results.pages.answers_pages import write_answers
from results.pages.reference import counterpart, reduced, worth_keeping
from results.record.reading import Record, load_record
from results.record.writer import RunRecord
from topologies import load_topology, topology_file

MADE = runpy.run_path(str(Path(__file__).parent / "test_results_comparison.py"))


def test_every_experiment_of_the_answers_page_once() -> None:
    steps = plan([question.experiments for question in QUESTIONS], EXPERIMENTS, Length(quick=True))
    names = [step.experiment for step in steps]
    assert len(names) == len(set(names)) and set(names) <= set(EXPERIMENTS)
    named = {name for question in QUESTIONS for name in question.experiments}
    assert set(names) == named & set(EXPERIMENTS)
    assert all("quick=1" in step.words for step in steps)
    for name, word in OVER_A_DISTANCE.items():
        key, _, value = word.partition("=")
        assert key == "topology" and load_topology(topology_file(value)).needs_netem, name


def test_every_step_is_accepted_by_its_experiment() -> None:
    """What an evaluation would run is checked as `make image-run` checks it, however long."""
    from image.__main__ import check

    for length in (Length(), Length(quick=True), Length(repeat=1), Length(quick=True, repeat=1)):
        for step in plan([question.experiments for question in QUESTIONS], EXPERIMENTS, length):
            check([step.experiment, *step.words])


def test_repetitions_are_made_fewer_and_never_more() -> None:
    assert plan([["cold", "decision"]], EXPERIMENTS, Length(repeat=3)) == [
        Step("cold", ("repeat=3",), False, 3),  # 8 unless said
        Step("decision", (), False, 1),
    ]


def run(name: str, status: str = "answered", **changes: Any) -> Record:
    data = {
        "experiment": name,
        "parameters": {"quick": changes.pop("quick", 0), "repeat": changes.pop("repeat", 10)},
        "environment": {"commit": "c", "commit_changed": False, "image": {"hash": "i"}, **changes},
        "trials": [],
        "verdict": {"status": status, "why": "so"},
    }
    return Record(Path(name), data)


@pytest.mark.parametrize(
    ("record", "quick", "done"),
    [
        (run("a"), False, True),
        (run("a"), True, True),  # a full run does for a short one
        (run("a", quick=1), True, True),
        (run("a", quick=1), False, False),
        (run("a", "invalid"), False, False),
        (run("a", commit="other"), False, False),
        (run("a", commit_changed=True), False, False),
        (run("a", image={"hash": "other"}), False, False),
        (run("a", image=None), False, False),
        (run("b"), False, False),
        (run("a", repeat=5), False, True),
        (run("a", repeat=4), False, False),
    ],
)
def test_what_is_done_is_not_run_again(record: Record, quick: bool, done: bool) -> None:
    step = Step("a", (), quick, 5)
    assert remaining([step], [record], "c", "i") == ([] if done else [step])


def test_what_has_no_answer_is_tried_once_more_after_all_others() -> None:
    a, b, c = steps = [Step(name, (), True, 1) for name in "abc"]
    tried: list[Step] = []

    def answered(step: Step) -> bool:
        tried.append(step)
        return step is b or (step is a and len(tried) > 3)

    said: list[str] = []
    assert list(unanswered(steps, answered, said.append)) == [c]
    assert tried == [a, b, c, a, c]
    assert "once more, for they have no answer: a, c" in said
    tried.clear()
    said.clear()
    assert not unanswered([b], answered, said.append)
    assert tried == [b] and len(said) == 1


def test_words_of_an_evaluation() -> None:
    assert read_length(["quick=1", "repeat=3"]) == Length(True, 3)
    assert read_length([]) == Length(False, None)
    for word in ("repeat=0", "repeat=many", "quick=2", "exp=cold"):
        with pytest.raises(ImageError, match=f"^{word}: an evaluation takes QUICK=1, REPEAT=N"):
            read_length([word])


def make_run(folder: Path, second: int = 0, **changes: Any) -> Path:
    """A run that began at a second of its own: the newest is known by its name."""
    record = RunRecord.create(folder, "hot-l2", ["Q1"], {"quick": 0}, {"name": "two_racks"})
    record.set_environment({"datapath": "kernel", "port_type": "kernel", "accelerator": "tcg"})
    for trial in MADE["trials"](**changes):
        if trial["migration"] is not None:
            phases = [{"name": name, "start_s": 1.0, "end_s": 1.5} for name in ("stop", "switch", "resume")]
            trial = {**trial, "migration": {**trial["migration"], "phases": phases}}
        record.add_trial(trial)
    record.finish("answered", "enough")
    return record.folder.rename(record.folder.with_name(f"20261125T0000{second:02d}Z-hot-l2-abcdef"))


def test_a_run_is_kept_small_and_compares_as_before(tmp_path: Path) -> None:
    whole = load_record(make_run(tmp_path))
    small = Record(tmp_path, reduced(whole))
    assert len(json.dumps(small.data)) < len(json.dumps(whole.data))
    again = load_record(make_run(tmp_path, 1, move=1.5, seed=2))

    def found(kept: Record) -> dict[str, tuple[str, float | None]]:
        return {one.measure: (one.verdict, one.ratio) for one in compare(kept, again).changes}

    before, after = found(whole), found(small)
    assert after == {name: value for name, value in before.items() if name in after}
    assert after["tcp_stall_s_to_vm"][0] == "worse"


def test_a_new_run_is_held_against_the_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path)
    where = ["--results-dir", str(tmp_path), "--reference-dir", str(tmp_path / "reference")]
    assert main(["reference", *where]) == 2
    assert "make evaluate-reference" in capsys.readouterr().err
    assert main(["reference", "--write", *where]) == 0
    assert main(["reference", *where]) == 2  # a run always agrees with itself
    assert "hot-l2-tcg: the newest run is the one that was kept" in capsys.readouterr().out
    make_run(tmp_path, 1, seed=2)
    assert main(["reference", *where]) == 0
    assert "1 agree with the reference" in capsys.readouterr().out
    make_run(tmp_path, 2, move=2, seed=3)
    assert main(["reference", *where]) == 1
    assert "hot-l2-tcg: TCP stall" in capsys.readouterr().out


def test_the_host_and_the_image_have_references_of_their_own(tmp_path: Path) -> None:
    inside, outside = run("a", accelerator="tcg"), run("a")
    assert worth_keeping([inside, outside]) == {"a-tcg": inside, "a-host": outside}
    short = run("a", accelerator="tcg", quick=1)
    assert worth_keeping([inside, short]) == {"a-tcg": inside}
    assert counterpart(inside, [outside, short]) is None
    assert counterpart(inside, [inside, outside]) is inside


def test_answers_stand_on_kept_records_where_the_runs_are_gone(tmp_path: Path) -> None:
    made = make_run(tmp_path / "old")
    assert (
        main(
            [
                "reference",
                "--write",
                "--results-dir",
                str(tmp_path / "old"),
                "--reference-dir",
                str(tmp_path / "reference"),
            ]
        )
        == 0
    )
    page, _ = write_answers(tmp_path)
    assert f"`{made.name}`" in page.read_text()
    newer = make_run(tmp_path, 5)
    page, _ = write_answers(tmp_path)
    assert f"`{newer.name}`" in page.read_text() and f"`{made.name}`" not in page.read_text()
