"""Tables, answers, timelines and reports of a synthetic run, and the command line."""

import io
import re
import runpy
import shutil
import struct
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from results.__main__ import main
from results.figures.answer import answer_sentence, limits, reproduce_command
from results.figures.display import label, median_text, number, spread_text
from results.figures.published import published_for
from results.pages.report import chosen_trials, render_report
from results.pages.table import grid, print_table
from results.pictures.charts import charted_measures
from results.pictures.panels import to_png, to_svg
from results.record.reading import Record
from results.record.writer import RunRecord, load_record, read_events
from results.timeline.data import build, gather, packets_of
from results.timeline.picture import draw_timeline

SYNTHETIC = runpy.run_path(str(Path(__file__).parents[1] / "data/records/synthetic.py"))
LOSSY, REORDERED, INVALID, NULL = 4, 6, 8, 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return SYNTHETIC["make_run"](tmp_path_factory.mktemp("results"))


@pytest.fixture(scope="module")
def record(folder):
    return load_record(folder)


@pytest.fixture(scope="module")
def page(record):
    return render_report(record)


def changed(record, **changes):
    return Record(record.folder, record.data | changes)


def printed(record, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_table(record, console=console)
    return console.file.getvalue()


def test_numbers_are_written_in_their_unit():
    assert number("blackout_s_to_vm", 0.0124) == "12.4"
    assert number("rtt_ns", 250_000) == "0.25"
    assert number("lost_packets_to_vm", 1234) == "1,234"
    assert number("lost_packets_to_vm", 1.5) == "1.50"
    assert number("lost_packets_to_vm", None) == "–"
    assert label("tcp_stall_s_from_vm") == "TCP stall from VM"
    assert label("icmp_errors_count") == "ICMP errors"


def test_a_rare_loss_shows_behind_a_median_of_zero():
    figures = {"n": 9, "median": 0.0, "ci95": [0.0, 0.0], "p95": None, "p99": None, "min": 0.0, "max": 12.0}
    assert median_text("lost_packets_to_vm", figures) == "0 [0, 0] max 12"
    assert median_text("lost_packets_to_vm", figures | {"n": 2, "ci95": None, "max": 0.0}) == "0 (n=2)"
    assert (
        median_text("lost_packets_to_vm", figures | {"n": 2, "ci95": None, "median": 6.0})
        == "6 (0 to 12, n=2)"
    )
    assert median_text("lost_packets_to_vm", {}) == "–"
    assert spread_text("lost_packets_to_vm", figures | {"p95": 3.0}) == "p95 3, max 12"
    assert spread_text("lost_packets_to_vm", figures | {"max": 0.0}) == ""


def test_the_grid_has_a_row_a_path_and_one_for_null(record):
    headings, rows = grid(record)
    assert [name for name, _ in rows] == [
        "co-located to remote",
        "remote to remote",
        "remote to co-located",
        "null (floor)",
    ]
    assert headings[0] == "trials"
    assert headings[1:] == [
        "lost, packets",
        "blackout, ms",
        "duplicated, packets",
        "reordered, packets",
        "TCP stall, ms",
        "call to last barrier, ms",
    ]
    trials = [cells[0] for _, cells in rows]
    # 9 of 12 trials move; trial 8 is the 7th of them, so of the first path
    assert trials == ["2\n+ 1 invalid", "3", "3", "3"]
    by_path = dict(rows)
    # of the first path's two valid moves one lost 12 packets and one none
    assert by_path["co-located to remote"][1] == "→ 6 (0 to 12, n=2)\n← 0 (n=2)"
    assert by_path["null (floor)"][-1] == "–"


@pytest.mark.parametrize("width", [200, 100, 80])
def test_the_table_keeps_within_the_terminal(record, width):
    text = printed(record, width)
    table = text[: text.index("invalid, not in any figure")]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= width
    assert "…" not in text
    assert ("path" in table) == (width == 200)
    assert f"record: {record.folder / 'record.json'}" in text


def test_the_answer_is_one_sentence_with_its_floor(record):
    answer = answer_sentence(record)
    assert answer.startswith("In 8 valid hot moves packets were lost in 1 of 8 (at most 12 to the VM)")
    assert "no packet was duplicated in either direction" in answer
    assert "the blackout was at most 2.40 ms to the VM" in answer  # 12 packets at 5,000 a second
    assert "(without a move " in answer
    assert answer.endswith(".")
    assert "\n" not in answer


def test_without_loss_the_answer_leads_with_it_and_the_limits_say_what_that_means(record):
    clean = changed(record, trials=[one for one in record.trials if one["index"] not in (LOSSY, REORDERED)])
    assert "moves no packet was lost, duplicated or reordered in either direction;" in answer_sentence(clean)
    # 6 moves are left: 1 - 0.05^(1/6) = 39.3 %
    assert any("No loss in 6 moves does not mean never" in text and "39.3%" in text for text in limits(clean))


def test_a_run_that_did_not_answer_says_so(record):
    failed = changed(
        record, verdict={"status": "failed", "why": "nve2 never connected"}, trials=[], summary={}
    )
    assert answer_sentence(failed) == "No answer: nve2 never connected."
    assert "No answer: nve2 never connected." in printed(failed, 100)


def test_an_experiment_without_the_standard_measures_answers_in_its_verdict(record):
    trials = [one | {"measures": {"lease_kept_share": 1.0}, "migration": None} for one in record.trials]
    other = changed(record, trials=trials, verdict={"status": "answered", "why": "the lease is kept"})
    assert answer_sentence(other) == "the lease is kept."
    assert "Lease kept" in render_report(other)


def test_the_command_to_reproduce_is_the_recorded_one_or_made_of_the_parameters(record):
    assert reproduce_command(record) == "make hot-l2 RUNS=12 SEED=1"
    assert reproduce_command(changed(record, environment={})).startswith("make hot-l2 RUNS=12 RATE_PPS=5000")


def test_packets_are_marked_lost_reordered_and_duplicated():
    """Sent 0..4; 1 is lost, 2 arrives after 3 (so 2 is reordered, RFC 4737), 4 comes twice; rows unsorted."""
    columns = {
        "seq": np.array([4, 0, 1, 2, 3]),
        "tx_s": np.array([10.4, 10.0, 10.1, 10.2, 10.3]),
        "rx_s": np.array([10.41, 10.01, np.nan, 10.35, 10.31]),
        "copies": np.array([2, 1, 0, 1, 1]),
        "order": np.array([3, 0, -1, 2, 1]),
    }
    found = packets_of(columns, 10.0)
    np.testing.assert_allclose(found.tx_ms, [0, 100, 200, 300, 400])
    np.testing.assert_allclose(found.delay_ms, [10, np.nan, 150, 10, 10])
    assert found.lost.tolist() == [False, True, False, False, False]
    assert found.reordered.tolist() == [False, False, True, False, False]
    assert found.duplicated.tolist() == [False, False, False, False, True]


def test_a_timeline_is_on_one_clock_with_switch_at_zero(record):
    made = gather(record, LOSSY)
    phases = {name: (start, end) for name, start, end in made.phases}
    assert made.zero_name == "switch"
    assert phases["switch"] == (pytest.approx(0.0), pytest.approx(0.4))
    assert made.window == (pytest.approx(-31.0 - 5.0), pytest.approx(22.0 + 15.0))
    assert int(made.packets["to_vm"].lost.sum()) == SYNTHETIC["LOST_PACKETS"]
    # the first lost packet is the first one sent after the switch, at most one period later
    assert 0 <= made.packets["to_vm"].tx_ms[made.packets["to_vm"].lost].min() <= 1e3 / SYNTHETIC["RATE_PPS"]
    assert {holder: frames for holder, _, _, frames in made.holds} == {"redirected": 17, "direct": 9}
    assert len(made.points["flow_mods"]) == 9
    gap = made.tcp["to_vm"].longest_gap(made.window)
    stall_s = record.trials[LOSSY]["measures"]["tcp_stall_s_to_vm"]
    assert gap[1] - gap[0] >= stall_s * 1e3


def test_the_reordered_packets_of_a_run_are_found_again(record):
    made = gather(record, REORDERED)
    assert (
        int(made.packets["to_vm"].reordered.sum())
        == record.trials[REORDERED]["measures"]["reordered_packets_to_vm"]
    )


def test_a_timeline_stands_with_any_part_missing(record):
    full = record.trials[LOSSY]
    bare = full | {"migration": None}
    hold = [{"t_s": 5.0, "kind": "hold", "holder": "direct", "trial": 4}]
    tcp = {"tcp_to_vm": {"t_s": np.array([5.0]), "bytes": np.array([10])}}
    nothing = {name: np.array([]) for name in ("seq", "tx_s", "rx_s", "copies", "order")}
    all_lost = {"seq": np.array([0]), "tx_s": np.array([5.0]), "rx_s": np.array([np.nan])}
    all_lost |= {"copies": np.array([0]), "order": np.array([-1])}
    for trial, events, samples in (
        (bare, [], {}),
        (full, [], {}),
        (bare, hold, {}),
        (bare, [], tcp),
        (bare, [], {"udp_to_vm": nothing}),
        (full, hold, {"udp_from_vm": all_lost}),
    ):
        assert to_png(draw_timeline(build(trial, events, samples)), dpi=30).startswith(b"\x89PNG")


def test_many_nves_share_a_row(record):
    trial = record.trials[LOSSY]
    events = [{"t_s": 0.0, "kind": "flow_mods", "nve": f"nve{number}", "count": 1} for number in range(1, 21)]
    svg = to_svg(draw_timeline(build(trial, events, {})), salt="x")
    assert "other NVEs" in svg
    assert "nve2 (old)" in svg
    assert "nve17" not in svg


def test_the_picture_is_1600_by_1100_and_the_same_every_time(record):
    figure = draw_timeline(gather(record, REORDERED))
    assert struct.unpack(">II", to_png(figure)[16:24]) == (1600, 1100)
    svgs = {to_svg(draw_timeline(gather(record, NULL)), salt="x") for _ in range(2)}
    assert len(svgs) == 1


class Page(HTMLParser):
    """Collects what a page would fetch, its ids and its open elements."""

    def __init__(self):
        super().__init__()
        self.links, self.ids, self.text = [], [], []

    def handle_starttag(self, tag, attributes):
        for key, value in attributes:
            if key in {"src", "href", "xlink:href", "srcset"}:
                self.links.append(value)
            if key == "id":
                self.ids.append(value)

    def handle_data(self, data):
        self.text.append(data)


def test_the_report_is_self_contained_and_complete(record, page):
    parsed = Page()
    parsed.feed(page)
    sources = {one.url for one in published_for("Q1")}  # links to follow; nothing is loaded from there
    assert {link for link in parsed.links if not link.startswith(("#", "data:"))} <= sources
    assert len(parsed.ids) == len(set(parsed.ids))
    assert "@import" not in page
    text = " ".join(" ".join(parsed.text).split())
    for wanted in (
        answer_sentence(record),
        "userspace (netdev) (because the kernel has no openvswitch module)",
        "afxdp-nonpmd (because 6 ports",
        "openvswitch 3.1.0",
        "scheduling lag 14 ms on core 1 (bound 5 ms)",
        "What these numbers do not show",
        "make hot-l2 RUNS=12 SEED=1",
        "Trial 4, hot move nve2 → nve3",
        "null (floor)",
    ):
        assert wanted in text, wanted
    assert "prefers-color-scheme: dark" in page


def test_no_colour_of_the_pictures_escapes_the_theme(page):
    pictures = "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))
    assert set(re.findall(r"#[0-9a-f]{6}\b", pictures)) <= {"#000000"}  # clip paths and hidden defaults
    assert "var(--to-vm)" in pictures


def test_text_from_the_record_is_escaped(record):
    nasty = changed(record, verdict={"status": "failed", "why": "<b>&"}, environment={"kernel": "<script>"})
    made = render_report(nasty, trials=[])
    assert "<script>" not in made
    assert "&lt;b&gt;&amp;" in made


def test_the_report_of_a_dead_run_still_stands(tmp_path):
    dead = SYNTHETIC["make_run"](tmp_path, trials=3, finish=False)
    page = render_report(load_record(dead))
    assert "No answer: the run ended before it wrote its result" in page
    assert "Not shown:" not in page  # samples without a footer are no samples
    empty = RunRecord.create(tmp_path, "hot-l2", [], {}, {})
    assert "before it recorded its environment" in render_report(load_record(empty.folder))


def test_damaged_events_and_samples_are_told_not_hidden(tmp_path):
    damaged = SYNTHETIC["make_run"](tmp_path, trials=2)
    (damaged / "events.jsonl").write_text("broken\n{}\n")
    (damaged / "samples/udp_to_vm.parquet").write_bytes(b"")
    page = render_report(load_record(damaged))
    assert "line 1 is not an event" in page
    assert "not a readable Parquet file" in page


def test_the_report_shows_the_worst_and_a_typical_trial_of_each_path(record):
    chosen = dict(chosen_trials(record))
    assert any("worst" in why for index, why in chosen.items() if index == LOSSY)
    assert any("worst" in why for index, why in chosen.items() if index == REORDERED)
    assert INVALID not in chosen
    assert chosen[NULL] == "a null trial for comparison"
    nothing = changed(record, trials=[record.trials[INVALID]])
    assert chosen_trials(nothing) == [(INVALID, "the first trial; none is valid")]


def test_measures_that_never_vary_have_no_picture(record):
    assert "lost_packets_from_vm" not in charted_measures(record)
    assert charted_measures(record)[0] == "lost_packets_to_vm"


def test_a_report_of_a_trial_that_is_not_there_replaces_no_report(folder, capsys):
    where = ["--results-dir", str(folder.parents[1])]
    assert main(["report", *where, "--trials", "0"]) == 0
    before = (folder / "report.html").read_text()
    capsys.readouterr()
    assert main(["report", *where, "--trials", "0,99"]) == 2
    assert "no trial 99; allowed: 0 to 11" in capsys.readouterr().err
    assert (folder / "report.html").read_text() == before
    assert main(["report", *where, "-o", str(folder)]) == 2
    assert f"{folder}: is a folder; name a file" in capsys.readouterr().err


def test_commands_write_and_say_where(folder, capsys):
    where = ["--results-dir", str(folder.parents[1])]
    assert main(["report", *where]) == 0
    assert Path(capsys.readouterr().out.strip()) == folder / "report.html"
    assert main(["timeline", *where, folder.name[-6:], "--trial", "4", "--window=-5:10"]) == 0
    assert capsys.readouterr().out.split() == [str(folder / f"timeline-4.{end}") for end in ("png", "svg")]
    assert main(["table", *where]) == 0
    assert f"report: {folder / 'report.html'}" in capsys.readouterr().out
    assert main(["list", *where]) == 0
    assert capsys.readouterr().out == f"{folder.name}  Q1  12 trials  answered: 12 trials, 1 invalid\n"


def test_the_list_of_runs_has_columns(folder, tmp_path, capsys):
    for name in ("20261125T000000Z-a-000000", "20261125T000001Z-hot-l2-111111"):
        shutil.copytree(folder, tmp_path / "runs" / name)
    (tmp_path / "runs/20261125T000002Z-b-222222").mkdir()
    assert main(["list", "--results-dir", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert (
        len(
            {
                line.index(word)
                for line, word in zip(lines, ("answered", "answered", "unreadable"), strict=True)
            }
        )
        == 1
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["report", "nothing-like-this"], "no such run"),
        (["table", "latest"], "no run here yet"),
        (["pcap", "--packet", "x"], "'x' is not the number of a probe packet, such as 812"),
        (["timeline", "--trial", "x"], "invalid int value: 'x'"),
        (["timeline", "--window=5:1"], "FROM must be below TO"),
        (["timeline", "--window=5"], "is not FROM:TO"),
        (["report", "--trials", "1,b"], "is not a list of trial numbers"),
        (["draw"], "invalid choice: 'draw'"),
        ([], "required: COMMAND"),
    ],
)
def test_bad_input_is_one_line_and_exit_status_2(tmp_path, capsys, arguments, told):
    command = [
        *arguments[:1],
        *(["--results-dir", str(tmp_path)] if arguments[:1] not in ([], ["draw"]) else []),
    ]
    try:
        status = main([*command, *arguments[1:]])
    except SystemExit as error:
        status = error.code
    out, err = capsys.readouterr()
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert told in err


def test_a_trial_that_is_not_there_is_named(folder, capsys):
    assert main(["timeline", str(folder), "--trial", "99"]) == 2
    assert "no trial 99; allowed: 0 to 11" in capsys.readouterr().err


def test_the_synthetic_events_are_all_there(folder):
    kinds = {event["kind"] for event in read_events(folder)}
    assert kinds == {
        "phase",
        "northbound",
        "flow_mods",
        "barrier",
        "end_marker",
        "hold",
        "switch",
        "release",
        "rarp",
    }
