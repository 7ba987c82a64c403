"""All answers from the records of a folder: which run counts, what a row tells, both pages, the command."""

import json
import re
import runpy
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from results.__main__ import main
from results.figures.answer import EMULATED_MEANS, UNFAITHFUL, answer_sentence, limits, where_sentence
from results.figures.answers import conditions, read_all, rows_of
from results.figures.published import PUBLISHED, published_for
from results.figures.questions import BY_NUMBER, QUESTIONS, TO_COME
from results.pages.answers_pages import as_html, as_markdown, write_answers
from results.pages.reference import worth_keeping
from results.pages.report import render_report
from results.record.contract import RecordError
from results.record.reading import load_record
from results.record.writer import RunRecord

GROUPED = runpy.run_path(str(Path(__file__).parent / "test_results_groups.py"))
ROOT = Path(__file__).parents[2]


def trial(index, lost, *, null=False, valid=True):
    return {
        "index": index,
        "valid": valid,
        "invalid_reason": None if valid else "scheduling lag",
        "null": null,
        "parameters": {} if null else {"path": "remote to remote"},
        "migration": None,
        "measures": {"lost_packets_to_vm": lost, "lost_packets_from_vm": 0, "tcp_stall_s_to_vm": 0.01},
    }


def test_a_pause_that_lies_is_told_before_the_answer_and_among_its_limits(tmp_path):
    record = RunRecord.create(tmp_path, "cold", ["Q8"], {}, {})
    for index, faithful in enumerate((True, False)):
        places = {"old_nve": "nve1", "new_nve": "nve2", "phases": [], "call_to_last_barrier_s": 0.01}
        migration = places | {"kind": "cold", "pause_faithful": faithful, "sender_timers_faithful": True}
        record.add_trial(trial(index, 0) | {"migration": migration})
    record.finish("answered", "all done", answer="It cost nothing.")
    read = load_record(record.folder)
    assert answer_sentence(read) == f"{UNFAITHFUL} It cost nothing."
    assert next(one for one in limits(read) if UNFAITHFUL in one).endswith("So in 1 of 2 moves.")
    assert not any("smallest timeout" in one for one in limits(read))


class Runs:
    """Makes runs whose names sort in the order they were made."""

    def __init__(self, folder):
        self.folder, self.made = folder, 0

    def add(
        self, experiment="hot-l2", *questions, status="answered", trials=4, lost=0, quick=False, **environment
    ):
        self.made += 1
        parameters = {"rate_pps": 5000} | ({"quick": True} if quick else {})
        record = RunRecord.create(self.folder, experiment, list(questions or ("Q1",)), parameters, {})
        record.set_environment(
            {"datapath": "userspace", "port_type": "afxdp", "commit": "abcdef012345"} | environment
        )
        for index in range(trials):
            record.add_trial(trial(index, lost))
        record.add_trial(trial(trials, lost, valid=False))
        record.add_trial(trial(trials + 1, 0, null=True))
        record.finish(status, "all done" if status == "answered" else "the machine was too busy")
        target = record.folder.with_name(
            f"20261122T0000{self.made:02d}Z-{experiment}-{record.folder.name[-6:]}"
        )
        record.folder.rename(target)
        return target


@pytest.fixture
def runs(tmp_path):
    return Runs(tmp_path)


def rows(folder):
    return {row.number: row for row in rows_of(read_all(folder)[0])}


def test_there_is_a_row_for_each_of_the_25_questions(tmp_path):
    found = rows(tmp_path)
    assert list(found) == [f"Q{number}" for number in range(1, 26)]
    assert not any(row.answers or row.under_review for row in found.values())
    opened = [number for number, row in found.items() if row.note.startswith("Open: ")]
    assert opened == ["Q10", "Q12", "Q13", "Q14", "Q15", "Q20", "Q21", "Q23"]
    assert opened == [question.number for question in QUESTIONS if question.open]
    assert all(row.note.startswith(("Open: ", "Not yet answered. To do so: make ")) for row in found.values())
    assert found["Q8"].note == "Not yet answered. To do so: make cold."
    assert found["Q21"].note == "Open: nobody has built its experiment yet."
    assert found["Q10"].experiments == ("l3-ila", "l3-renumber")
    assert all(question.text.endswith((".", "?")) and question.experiments for question in QUESTIONS)


def test_the_newest_answered_run_counts(runs):
    runs.add(lost=5)
    newest = runs.add(lost=0)
    runs.add(status="invalid")
    (answer,) = rows(runs.folder)["Q1"].answers
    assert answer.folder == newest.resolve()
    assert "no packet was lost" in answer.short
    assert answer.trials == "4 valid, 1 invalid; null: 1 valid"
    assert answer.figures[0] == "lost, packets: → 0 [0, 0] ← 0 [0, 0]"
    assert answer.floor[0] == "lost, packets: → 0, max 0; ← 0, max 0"
    assert answer.ran_on == "userspace datapath, afxdp ports, commit abcdef0"
    assert [re.sub(r"\(.*?\)", "()", note) for note in answer.notes] == [
        "a newer run () is invalid: the machine was too busy"
    ]


def test_other_conditions_have_a_row_of_their_own(runs):
    runs.add(lost=5)
    runs.add(datapath="kernel", port_type="veth")
    runs.add(accelerator="kvm")
    runs.add(accelerator="tcg", datapath="kernel", quick=True)
    found = rows(runs.folder)["Q1"].answers
    assert [answer.ran_on for answer in found] == [
        "kernel datapath, veth ports, commit abcdef0",
        "userspace datapath, afxdp ports, commit abcdef0",
        "userspace datapath, afxdp ports, kvm, commit abcdef0",
        "kernel datapath, afxdp ports, tcg, commit abcdef0",  # emulated: last
    ]
    emulated = "VM image on emulated processors, short form"
    assert [answer.kind for answer in found] == ["", "", "VM image, kvm", emulated]
    assert f"`hot-l2`, {emulated} |" in as_markdown(list(rows(runs.folder).values()), [])
    assert len({conditions(record) for record in read_all(runs.folder)[0]}) == 4
    assert [answer.notes for answer in found] == [
        *([], [], []),
        [
            "short form (quick): fewer trials than a full run",
            f"processors were emulated (TCG): {EMULATED_MEANS}",
        ],
    ]


def test_a_run_says_where_it_was_made_and_what_that_means(runs):
    for accelerator, said in (("", ""), ("kvm", "Ran in the VM image (kvm)."), ("tcg", EMULATED_MEANS)):
        record = load_record(runs.add(accelerator=accelerator))
        assert (said in where_sentence(record)) if said else not where_sentence(record)
        assert (EMULATED_MEANS in render_report(record)) == (accelerator == "tcg")
    record.data["topology"] = {"outside": {"link": {"delay_s": 0.02}}, "nves": [{"access": {"delay_s": 0.0}}]}
    assert where_sentence(record).endswith("Delays each way: outside.link 20 ms.")


def test_a_short_run_counts_only_without_a_full_one_and_says_so(runs):
    full = runs.add()
    runs.add(quick=True)
    runs.add("cold", "Q8", quick=True)
    found = rows(runs.folder)
    assert found["Q1"].answers[0].folder == full.resolve()
    assert found["Q8"].answers[0].notes == ["short form (quick): fewer trials than a full run"]
    later = runs.add("cold", "Q8")
    assert rows(runs.folder)["Q8"].answers[0].folder == later.resolve()


def test_a_run_with_other_choices_counts_only_without_one_that_has_the_experiments_own(runs):
    chosen = runs.add(command="make hot-l2 policy=silent-drop repeat=3 pcap=1")
    (answer,) = rows(runs.folder)["Q1"].answers
    assert answer.folder == chosen.resolve()
    assert answer.notes == ["not with the experiment's own choices: policy=silent-drop, pcap=1"]
    own = runs.add(quick=True, command="make hot-l2 quick=1 repeat=3 seed=4 ports=afpacket")
    runs.add(command="make hot-l2 'tcp_rate=1Mbit'")
    (answer,) = rows(runs.folder)["Q1"].answers
    assert answer.folder == own.resolve()


def test_a_run_with_a_wrong_setting_on_purpose_is_no_answer(runs):
    right = runs.add()
    wrong = runs.add(command="make hot-l2 fault=small-mtu")
    path = wrong / "record.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "parameters": {**data["parameters"], "fault": "small-mtu"}}))
    assert [answer.folder for answer in rows(runs.folder)["Q1"].answers] == [right.resolve()]
    (right / "record.json").unlink()
    assert rows(runs.folder)["Q1"].answers == []


def own_topology(folder):
    """The run as one on a topology of the reader's own."""
    path = folder / "record.json"
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "parameters": {**data["parameters"], "topology": "mine.yaml"}}))
    return folder


def test_runs_on_a_topology_of_ones_own_are_no_answers_and_the_page_says_so(runs):
    shipped = runs.add()
    own_topology(runs.add(status="invalid"))
    newest = own_topology(runs.add(lost=9))
    (answer,) = rows(runs.folder)["Q1"].answers
    assert (answer.folder, answer.notes) == (shipped.resolve(), [])
    for path in write_answers(runs.folder):
        text = path.read_text()
        assert "No answer is made of 2 runs on a topology of your own" in text
        assert f"the newest is {newest.name} (mine.yaml, answered)" in text
    own_topology(shipped)
    assert rows(runs.folder)["Q1"].note == "Not yet answered. To do so: make hot-l2 or make several-moves."
    assert worth_keeping(read_all(runs.folder)[0]) == {}


def test_failed_tries_with_other_choices_do_not_speak_in_an_answers_notes(runs):
    runs.add(command="make hot-l2")
    runs.add(status="invalid", command="make hot-l2 policy=tunnel topology=wide_area")
    assert rows(runs.folder)["Q1"].answers[0].notes == []
    runs.add(status="invalid", command="make hot-l2 repeat=3")
    (note,) = rows(runs.folder)["Q1"].answers[0].notes
    assert note.endswith("is invalid: the machine was too busy")


def test_a_question_under_review_claims_nothing_and_says_why(runs):
    runs.add("cold", "Q8", lost=5)
    runs.add("cold", "Q8", lost=5, accelerator="tcg")
    found = rows_of(read_all(runs.folder)[0])
    reason = BY_NUMBER["Q8"].review
    text, page = as_markdown(found), as_html(found, [], runs.folder / "answers.html")
    (line,) = [line for line in text.splitlines() if line.startswith("| [**Q8**]")]
    assert f"| *Under review:* {reason} | `cold` |" in line
    assert sum("lost in 4 of 4" in line for line in text.splitlines() if line.startswith("|")) == 0
    assert f"**Under review:** {reason} What was recorded follows as it is; do not cite it." in text
    assert unescape(page).count(reason) == 2
    assert 'class="answer doubted"' in page
    assert (
        "0 of 25 questions have an answer; 1 is under review: what was recorded of it does not stand" in text
    )


def test_what_is_under_review_is_marked_and_each_reason_is_a_sentence_in_a_line():
    marked = [question.number for question in QUESTIONS if question.review]
    assert marked == ["Q4", "Q6", "Q8", "Q9", "Q11", "Q17", "Q18", "Q19"]
    for question in QUESTIONS:
        assert not (question.review and question.open)
        assert len(question.asks) < 80
        assert question.asks.endswith("?")
        assert not question.review or re.fullmatch(r"[A-Z].{20,110}\.", question.review)


def test_the_command_of_every_figure_stands_in_the_open(runs):
    runs.add(command="make hot-l2 repeat=4")
    page = as_html(rows_of(read_all(runs.folder)[0]), [], runs.folder / "answers.html")
    assert "<code>make hot-l2 repeat=4</code>" in re.sub(r"<details>.*?</details>", "", page, flags=re.DOTALL)


def test_an_older_run_with_more_trials_is_named(runs):
    larger = runs.add(trials=9)
    runs.add(trials=4)
    assert rows(runs.folder)["Q1"].answers[0].notes == [
        f"an older run ({larger.name}) has more valid trials: 9"
    ]


def test_several_experiments_and_questions_of_one_run(runs):
    runs.add("l3-host-route", "Q10", "Q11")
    runs.add("l3-ila", "Q10")
    found = rows(runs.folder)
    assert [answer.experiment for answer in found["Q10"].answers] == ["l3-host-route", "l3-ila"]
    assert len(found["Q11"].answers) == 1


def test_a_question_without_an_answer_says_what_its_last_run_said(runs):
    runs.add("cold", "Q8", status="failed")
    assert re.fullmatch(
        r"Not yet answered. The newest run \(cold, \d{4}-\d\d-\d\d\) is failed: the machine was too busy",
        rows(runs.folder)["Q8"].note,
    )


def test_a_question_that_the_list_does_not_have_is_kept(runs):
    runs.add("other", "Q99")
    assert rows(runs.folder)["Q99"].answers[0].experiment == "other"


def test_published_figures_stand_beside_with_their_source(tmp_path):
    for one in PUBLISHED:
        assert set(one.questions) <= BY_NUMBER.keys()
        assert one.value
        assert one.url.startswith(("https://", "http://")) or one.source.startswith("measured by us")
    text = as_markdown(rows_of([]), [])
    assert "median 50 ms, p99 300 ms: VM blackout in production" in text
    assert "from memory" not in text
    for one in published_for("Q4"):
        assert f"[{one.source}]({one.url})" in text


def test_the_short_answer_is_the_first_sentence_and_a_warning_is_a_note(tmp_path):
    record = RunRecord.create(tmp_path, "cold", ["Q8"], {}, {})
    migration = {"old_nve": "a", "new_nve": "b", "phases": [], "call_to_last_barrier_s": 0.01, "kind": "cold"}
    record.add_trial(trial(0, 0) | {"migration": migration | {"pause_faithful": False}})
    record.finish("answered", "done", answer="It took 5.06 ms [4.5, 8.27]. Nothing was lost. It went on.")
    (answer,) = rows(tmp_path)["Q8"].answers
    assert (answer.short, answer.rest) == ("It took 5.06 ms [4.5, 8.27].", "Nothing was lost. It went on.")
    assert answer.notes[0] == UNFAITHFUL


def test_the_markdown_is_a_table_and_a_section_a_question_and_links_to_itself_alone(runs):
    folder = runs.add(command="make hot-l2 repeat=4")
    runs.add("tenants", "Q24")
    text = as_markdown(rows_of(read_all(runs.folder)[0]), [])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 25
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {5}
    assert lines[2].split(" | ")[1].startswith("In 4 valid trials no packet was lost")
    (told,) = [line for line in text.splitlines() if f"`{folder.name}`" in line]
    assert "commit abcdef0" in told
    assert told.endswith("; `make hot-l2 repeat=4`*")
    (folder / "report.html").write_text("")
    text = as_markdown(rows_of(read_all(runs.folder)[0]), [])
    links, headings = re.findall(r"\]\(([^)]*)\)", text), re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert [link for link in links if link.startswith("#")] == [f"#{heading.lower()}" for heading in headings]
    assert {link for link in links if link[0] != "#"} == {one.url for one in PUBLISHED if one.url}
    assert len(headings) == 25
    assert sum("Not yet answered." in line or "Open: " in line for line in lines) == 23
    assert "2 of 25 questions have an answer; 23 are open." in text


def test_markup_in_a_record_stays_text(tmp_path):
    record = RunRecord.create(tmp_path, "tenants", ["Q24"], {}, {})
    record.finish("answered", "x", answer="A | B <script> *c*")
    found = rows_of(read_all(tmp_path)[0])
    assert "A \\| B &lt;script> \\*c\\*" in as_markdown(found, [])
    assert "<script>" not in as_html(found, [], tmp_path / "answers.html")


class Page(HTMLParser):
    def __init__(self):
        super().__init__()
        self.links, self.ids = [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for key, value in attributes if key in {"src", "href", "srcset"}]
        self.ids += [value for key, value in attributes if key == "id"]


def test_the_page_is_self_contained_and_every_link_leads_somewhere(runs):
    (runs.add() / "report.html").write_text("")
    GROUPED["make_policies"](runs.folder)
    path = runs.folder / "answers.html"
    page = as_html(rows_of(read_all(runs.folder)[0]), ["Not read: runs/x: is empty"], path)
    parsed = Page()
    parsed.feed(page)
    inside = [link[1:] for link in parsed.links if link.startswith("#")]
    assert parsed.ids == [f"Q{number}" for number in range(1, 26)]
    assert inside == parsed.ids
    sources = {one.url for one in PUBLISHED}
    outside = [link for link in parsed.links if not link.startswith("#") and link not in sources]
    assert len(outside) == 1  # the other run has no report
    assert all((path.parent / link).is_file() for link in outside)
    assert "prefers-color-scheme: dark" in page
    assert "Not read: runs/x: is empty" in page
    assert "silent-drop · udp: → 12" in page


def test_the_command_writes_both_files(runs, tmp_path, capsys):
    runs.add()
    broken = runs.folder / "runs/20261122T000100Z-cold-000000"
    broken.mkdir()
    (broken / "record.json").write_text("{")
    assert main(["answers", "--results-dir", str(runs.folder)]) == 0
    written = capsys.readouterr().out.split()
    assert written == [str(runs.folder / "answers-here.md"), str(runs.folder / "answers.html")]
    assert not (runs.folder / "ANSWERS.md").exists()  # which git has
    assert "Not read: " in (runs.folder / "answers-here.md").read_text()
    other = tmp_path / "doc"
    other.mkdir()
    assert main(["answers", "--results-dir", str(runs.folder), "-o", str(other / "A.md")]) == 0
    assert "hot-l2" in (other / "A.md").read_text()
    assert (other / "answers.html").exists()


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--results-dir", "{}/none"], "no such folder of results"),
        (["--results-dir", "{}", "-o", "{}/none/A.md"], "no such folder"),
        (["--results-dir", "{}", "-o", "{}/A.txt"], "ends in .md"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, given, told):
    assert main(["answers", *(word.format(tmp_path) for word in given)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert told in err


def test_an_empty_folder_of_results_is_no_error(tmp_path):
    for path in write_answers(tmp_path):
        assert path.read_text()
    with pytest.raises(RecordError):
        write_answers(tmp_path / "none")


def test_every_optional_key_is_in_the_format(tmp_path):
    """What a record may hold is what FORMAT.md tells."""
    text = (ROOT / "results/FORMAT.md").read_text()
    record = RunRecord.create(
        tmp_path, "cold", ["Q8"], {}, {}, group_by=["pause"], shown_measures=["stall_s"]
    )
    record.finish("answered", "x", answer="y.")
    for key in json.loads((record.folder / "record.json").read_text()):
        assert f"`{key}`" in text, key


def test_an_answer_says_what_was_lost_by_cause_and_what_is_set_wrongly(tmp_path):
    record = RunRecord.create(tmp_path, "hot-l2", ["Q1"], {}, {})
    none = {"lost": {}, "duplicated": {}, "reordered": {}}
    causes = {"directions": ["to_vm"], "to_vm": none | {"lost": {"misdirected": 4}}, "old_leg_packets": 7}
    places = {
        "kind": "hot",
        "old_nve": "nve1",
        "new_nve": "nve2",
        "phases": [],
        "call_to_last_barrier_s": 0.01,
    }
    record.add_trial(trial(0, 4) | {"causes": causes, "migration": places})
    record.finish("answered", "all done")
    (answer,) = next(row for row in rows_of([load_record(record.folder)]) if row.number == "Q1").answers
    assert answer.notes[0].startswith("found: The old leg was left open")
    assert len(answer.notes) == 1  # a cause is no warning
    assert answer.followed == "Of 4 packets lost in 1 move: misdirected 4 (100 %)."


def test_every_experiment_that_a_question_names_is_there_or_to_come():
    from experiments.catalog import EXPERIMENTS

    named = {name for question in QUESTIONS for name in question.experiments}
    assert named - set(EXPERIMENTS) == TO_COME
    assert not TO_COME & set(EXPERIMENTS)
