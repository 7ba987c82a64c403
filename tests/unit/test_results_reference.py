"""The kept records say what today's experiments would say of their trials, and nothing that is known to be wrong."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.catalog import EXPERIMENTS
from experiments.studies import hot_warm_cold
from experiments.studies.in_flight_tunnel.study import most_held
from results.__main__ import main
from results.figures.answers import read_kept, rows_of
from results.figures.questions import QUESTIONS, TO_COME
from results.pages.answers_pages import as_markdown
from results.pages.readme import BRIEFLY, written
from results.record.contract import RecordError
from results.record.reading import load_record

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "results" / "reference"
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


def test_what_git_has_of_the_answers_is_made_of_the_kept_records():
    """README and ANSWERS.md cannot disagree: both are these records, in the words of the same questions."""
    kept = read_kept(KEPT.parent)
    assert (KEPT.parent / "ANSWERS.md").read_text() == as_markdown(rows_of(kept))
    readme = (ROOT / "README.md").read_text()
    assert readme == written(readme, kept)


def test_figures_in_the_sentences_about_the_image_are_those_of_kept_records():
    """Outside of the tables that are made from records, pages have figures of moves in these two places alone."""
    sentences = " ".join((ROOT / "docs/image.md").read_text().split())
    inside, outside, sctp = (kept(name) for name in ("hot-l2-tcg", "hot-l2-host", "transports-tcg"))
    for record, told in ((inside, "139 ms [94.7, 191]"), (outside, "8.56 ms [7.17, 9.49]")):
        assert f"longest pause was {told} to the VM (without a move" in record.answer
        assert f"for {told}" in sentences
    assert "(without a move 25.8 ms)" in inside.answer
    assert "(without a move 25.8 ms)" in sentences
    assert "to the VM (without a move 4.69 ms" in outside.answer
    assert "[7.17, 9.49] (4.69 ms)" in sentences
    assert "sctp 153 ms / 98.4 ms (without a move 18.2 ms / 17.1 ms)" in sctp.answer
    assert "for 153 ms to the VM and 98.4 ms from it (without a move 18.2 and 17.1 ms)" in sentences


def test_a_changed_figure_or_mark_changes_the_readme(monkeypatch):
    readme, kept = (ROOT / "README.md").read_text(), read_kept(KEPT.parent)
    for record in kept:
        for trial in record.trials if record.experiment == "hot-l2" else []:
            trial["measures"]["lost_packets_to_vm"] = 3
    changed = written(readme, kept)
    assert "at most 3 lost" in changed
    assert "| packets lost | → 3, ← 0 |" in changed
    review = [replace(question, review="It is not so.") for question in QUESTIONS]
    monkeypatch.setattr("results.pages.readme.QUESTIONS", review)
    assert written(readme, kept).count("*under review:* It is not so.") == 18


def test_a_readme_without_a_place_for_its_tables_is_told():
    with pytest.raises(RecordError, match="has no place for its table: <!-- hot-l2"):
        written("# Overland\n", read_kept(KEPT.parent))
    with pytest.raises(RecordError, match="no hot-l2 of a host"):
        written("# Overland\n", [])


def test_every_experiment_that_stands_has_its_line():
    stand = {name for one in QUESTIONS if not one.review for name in one.experiments} - TO_COME
    assert stand <= set(BRIEFLY)


def test_the_kept_records_are_written_out_by_their_command_alone(tmp_path, capsys):
    """`make answers` writes nothing that git has; the README is not touched where there is none."""
    results = tmp_path / "results"
    shutil.copytree(KEPT, results / "reference")
    assert main(["answers", "--results-dir", str(results)]) == 0
    assert {path.name for path in results.iterdir()} == {"reference", "answers.html", "answers-here.md"}
    assert main(["reference", "--pages", "--reference-dir", str(results / "reference")]) == 0
    assert (results / "ANSWERS.md").read_text() == (KEPT.parent / "ANSWERS.md").read_text()
    assert not (tmp_path / "README.md").exists()
    (tmp_path / "README.md").write_text((ROOT / "README.md").read_text().replace("in 30 moves", "in 9 moves"))
    assert main(["reference", "--pages", "--reference-dir", str(results / "reference")]) == 0
    assert (tmp_path / "README.md").read_text() == (ROOT / "README.md").read_text()
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "README.md")
