"""Runs whose trials are grouped by other parameters than the path: tables, charts, curves, answers, reports."""

import io
import itertools
import re

import numpy as np
import pytest
from rich.console import Console

from experiments.designs.schedules import PATHS
from experiments.studies import transports
from experiments.studies.in_flight_tunnel.study import RULES
from experiments.studies.several_moves import PATTERNS
from results.figures.answer import answer_sentence, environment_rows
from results.figures.answer_groups import floor_figures, lead_figures
from results.figures.chosen import chosen_trials
from results.figures.display import columns_of, paired
from results.figures.grouping import (
    groups_of,
    label_of,
    named,
    null_groups,
    numeric_parameter,
    parameter_label,
    value_text,
)
from results.figures.statistics import summarise_by
from results.pages.report import render_report
from results.pages.table import print_table
from results.pictures.charts import draw_distributions
from results.pictures.curves import curve_points, floors, log_scale
from results.pictures.panels import to_svg
from results.record.contract import RecordError
from results.record.writer import RunRecord, load_record
from vocabulary.lifecycle import STATES, VERBS
from vocabulary.moves import KINDS, ORDERS
from vocabulary.policies import POLICIES as ALL_POLICIES

POLICIES = ("silent-drop", "icmp", "tunnel", "buffer")
TRANSPORTS = ("udp", "tcp")
DOWNTIMES_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0)


def trial(index, parameters, measures, *, null=False, valid=True):
    return {
        "index": index,
        "valid": valid,
        "invalid_reason": None if valid else "lag",
        "null": null,
        "parameters": parameters,
        "migration": None,
        "measures": measures,
    }


def make_policies(results_dir, repeat=5, **changes):
    """Four policies by two transports, each loses its own number of packets; a null trial a transport."""
    random = np.random.default_rng(1)
    with RunRecord.create(
        results_dir,
        "old-nve-policy",
        ["Q4"],
        {"rate_pps": 5000},
        {},
        group_by=["policy", "transport"],
        shown_measures=["lost_packets_to_vm", "lost_packets_from_vm", "stall_s", "delay_max_s_to_vm"],
    ) as record:
        record.set_environment({"datapath": "userspace", "port_type": "afxdp", **changes})
        index = itertools.count()
        for policy, transport, _ in itertools.product(POLICIES, TRANSPORTS, range(repeat)):
            lost = (3 - POLICIES.index(policy)) * 40 + int(random.integers(0, 5))
            stall_s = 0.2 if transport == "tcp" and lost > 10 else 0.01
            measures = {
                "lost_packets_to_vm": 0 if policy == "buffer" else lost,
                "lost_packets_from_vm": 0,
                "stall_s": stall_s + float(random.exponential(0.004)),
                "delay_max_s_to_vm": 0.02 + float(random.exponential(0.002)),
                "sent_packets_to_vm": 3000,
            }
            record.add_trial(trial(next(index), {"policy": policy, "transport": transport}, measures))
        for transport, _ in itertools.product(TRANSPORTS, range(3)):
            floor_s = 0.012 if transport == "tcp" else 0.004
            measures = {"lost_packets_to_vm": 0, "lost_packets_from_vm": 0, "stall_s": floor_s}
            record.add_trial(trial(next(index), {"transport": transport}, measures, null=True))
        record.finish("answered", f"{4 * 2 * repeat} moves")
    return record.folder


def make_downtimes(results_dir, repeat=4):
    """Loss and stall over eight downtimes by two policies, seeded."""
    random = np.random.default_rng(2)
    with RunRecord.create(
        results_dir,
        "in-flight-tunnel",
        ["Q5"],
        {"rate_pps": 5000},
        {},
        group_by=["downtime_s", "policy"],
        shown_measures=["lost_packets_to_vm", "stall_s_to_vm"],
    ) as record:
        index = itertools.count()
        for downtime_s, policy, _ in itertools.product(
            DOWNTIMES_S[::-1], ("tunnel", "silent-drop"), range(repeat)
        ):
            lost = 0 if policy == "tunnel" else int(downtime_s * 5000 * random.uniform(0.9, 1.1))
            measures = {
                "lost_packets_to_vm": lost,
                "stall_s_to_vm": downtime_s * (2 if lost else 1) + float(random.exponential(0.004)),
            }
            record.add_trial(trial(next(index), {"downtime_s": downtime_s, "policy": policy}, measures))
        for _ in range(3):
            record.add_trial(
                trial(next(index), {}, {"lost_packets_to_vm": 0, "stall_s_to_vm": 0.004}, null=True)
            )
        record.finish("answered", "64 moves")
    return record.folder


@pytest.fixture(scope="module")
def policies(tmp_path_factory):
    return load_record(make_policies(tmp_path_factory.mktemp("policies")))


@pytest.fixture(scope="module")
def downtimes(tmp_path_factory):
    return load_record(make_downtimes(tmp_path_factory.mktemp("downtimes")))


def printed(record, width):
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_table(record, console=console)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("downtime_s", 0.05, "50 ms"),
        ("downtime_s", 0.0501234, "50.1234 ms"),
        ("downtime_s", 60, "60 s"),
        ("gap_s", 0.00002, "20 µs"),
        ("gap_ms", 1500, "1.5 s"),
        ("downtime_s", 0, "0 s"),
        ("memory_bytes", 512 * 2**20, "512 MiB"),
        ("memory_bytes", 1500, "1,500 B"),
        ("dirty_rate_bps", 80_000_000, "80 Mbit/s"),
        ("dirty_rate_bps", 1_500_000_000, "1.5 Gbit/s"),
        ("rate_pps", 5000, "5,000 packets/s"),
        ("peers", 20, "20"),
        ("s", 3, "3"),
        ("silent", True, "yes"),
        ("order", ["stop", "update"], "stop, update"),
        ("policy", None, "-"),
    ],
)
def test_a_parameter_is_written_in_its_unit(name, value, text):
    assert value_text(name, value) == text


def test_what_is_not_set_has_no_part_in_a_name_that_stays_unique():
    trials = [trial(0, {"learning": "pull", "rate": 500}, {}), trial(1, {"rule": "idle", "rate": 500}, {})]
    groups = groups_of(trials, ("learning", "rule", "rate"))
    assert sorted(name for _, name in named(groups)) == ["idle · rate 500", "pull · rate 500"]
    twins = groups_of([trial(0, {"first": "x"}, {}), trial(1, {"second": "x"}, {})], ("first", "second"))
    assert sorted(name for _, name in named(twins)) == ["- · x", "x · -"]


def test_the_environment_is_written_for_people():
    found = {
        "load": [1.64990234375, 2.0],
        "memory_bytes": 25276063744,
        "commit_changed": False,
        "versions": {"ip": "ip utility, iproute2-6.1.0", "libbpf": "1.1.2"},
        "start_s": {"switches": 1.1826881740001446},
        "image": None,
    }
    assert dict(environment_rows(found)) == {
        "load": "1.6499, 2",
        "memory bytes": "25,276,063,744",
        "commit changed": "no",
        "versions": "ip utility, iproute2-6.1.0, libbpf 1.1.2",
        "start s": "switches 1.18269",
        "image": "not known",
    }


def test_parameters_are_named_without_their_unit():
    assert [parameter_label(name) for name in ("downtime_s", "old_nve", "s", "path")] == [
        "downtime",
        "old NVE",
        "s",
        "path",
    ]


def test_numbers_ascend_and_words_come_as_experiments_declare_them():
    trials = [
        trial(number, {"downtime_s": downtime_s, "policy": policy}, {})
        for number, (downtime_s, policy) in enumerate(
            [(0.1, "tunnel"), (0.02, "buffer"), (0.02, "tunnel"), (3, "buffer"), (0.1, "tunnel")]
        )
    ]
    found = groups_of(trials, ["downtime_s", "policy"])
    assert [group.label for group in found] == [
        "downtime 20 ms · tunnel",
        "downtime 20 ms · buffer",
        "downtime 100 ms · tunnel",
        "downtime 3 s · buffer",
    ]
    assert [len(group.trials) for group in found] == [1, 1, 2, 1]
    assert [group.label for group in groups_of(trials, ["policy"])] == ["tunnel", "buffer"]
    assert label_of(trials[0], ["policy"]) == "tunnel"
    words = [
        trial(number, {"learning": word}, {}) for number, word in enumerate(("b", "a", "timeout", "push"))
    ]
    words.append(trial(9, {}, {}))
    assert [group.label for group in groups_of(words, ["learning"])] == ["-", "push", "timeout", "a", "b"]


@pytest.mark.parametrize(
    "declared",
    [PATHS, PATTERNS, tuple(ALL_POLICIES), KINDS, ORDERS, RULES, tuple(VERBS), STATES, transports.NAMES],
    ids=lambda words: words[0],
)
def test_the_order_of_words_is_that_of_their_declaration(declared):
    backwards = [trial(number, {"x": word}, {}) for number, word in enumerate(reversed(declared))]
    assert [group.label for group in groups_of(backwards, ["x"])] == list(declared)


def test_counts_that_are_0_or_1_are_told_by_groups_not_by_medians(tmp_path):
    trials = [
        trial(
            number,
            {"verb": f"v{verb}", "state": f"s{state}"},
            {"accepted_count": int(verb == state), "wrong_count": 0},
        )
        for number, (verb, state) in enumerate((verb, state) for verb in range(3) for state in range(3))
    ]
    record = RunRecord.create(
        tmp_path,
        "lifecycle",
        ["Q25"],
        {},
        {},
        group_by=["verb", "state"],
        shown_measures=["accepted_count", "wrong_count"],
    )
    for one in trials:
        record.add_trial(one)
    record.finish("answered", "x")
    assert lead_figures(load_record(record.folder)) == [
        "accepted: 3 of 9 groups (verb · state)",
        "wrong: 0 of 9 groups (verb · state)",
    ]


def test_a_group_is_held_against_the_null_trials_it_does_not_contradict(policies):
    by_group = summarise_by(policies.trials, policies.group_by)
    assert by_group["tunnel · tcp"]["stall_s"]["floor"] == 0.012
    assert by_group["tunnel · udp"]["stall_s"]["floor"] == 0.004
    assert by_group["tunnel · udp"]["stall_s"]["floor_n"] == 3
    assert [group.label for group in null_groups(policies.trials, policies.group_by)] == [
        "null (floor) · udp",
        "null (floor) · tcp",
    ]


def test_a_parameter_that_is_not_set_is_a_group_of_its_own():
    trials = [trial(0, {"policy": "tunnel"}, {}), trial(1, {}, {}), trial(2, {"policy": ["a"]}, {})]
    assert [group.label for group in groups_of(trials, ["policy"])] == ["-", "tunnel", "a"]
    assert numeric_parameter(trials, ["policy"]) is None


def test_the_axis_of_a_curve_is_the_number_with_most_values(downtimes, policies):
    assert numeric_parameter(downtimes.trials, downtimes.group_by) == "downtime_s"
    assert numeric_parameter(policies.trials, policies.group_by) is None
    two = [trial(number, {"peers": number % 2}, {}) for number in range(4)]
    assert numeric_parameter(two, ["peers"]) is None
    truth = [trial(number, {"silent": number > 1}, {}) for number in range(4)]
    assert numeric_parameter(truth, ["silent"]) is None


def test_columns_pair_the_directions():
    found = paired(
        ["lost_packets_to_vm", "lost_packets_from_vm", "stall_s", "delay_max_s_to_vm", "tcp_x_s_from_vm"]
    )
    assert found == [
        ("lost", "lost_packets_to_vm", "lost_packets_from_vm"),
        ("stall", "stall_s", None),
        ("delay max to VM", "delay_max_s_to_vm", None),
        ("TCP x from VM", "tcp_x_s_from_vm", None),
    ]
    # none of the measures that were asked for exists: everything is shown rather than nothing
    assert columns_of([trial(0, {}, {"a_s": 1.0})], ["b_s"]) == [("a", "a_s", None)]


@pytest.mark.parametrize("width", [160, 100, 80, 60])
def test_many_groups_stay_within_the_terminal(policies, downtimes, width):
    for record, first in ((policies, "silent-drop"), (downtimes, "1 ms")):
        text = printed(record, width)
        table = text[: text.index("In ")]
        lines = [line.rstrip() for line in table.splitlines()]
        assert max(len(line) for line in lines) <= width
        assert "…" not in text
        assert first in table
        # the name of every group is beside its figures, in each part of the table
        parts = table.count("stall,") + table.count("lost,") + table.count("delay max to VM,")
        rows = [line for line in lines if line.strip().startswith(first)]
        assert rows, parts


def test_no_figure_of_many_groups_is_cut_at_the_edge_of_any_terminal(policies):
    for width in range(60, 170, 3):
        table = printed(policies, width).partition("In 40 valid")[0]
        assert table.count("[") == table.count("]") > 0, width


def test_a_table_of_many_groups_has_a_column_for_each_parameter(policies):
    lines = printed(policies, 120).splitlines()
    assert re.match(r"\s*policy\s+transport\s+trials", lines[3]) or any(
        re.match(r"\s*policy\s+transport\s+trials", line) for line in lines[:5]
    )
    assert any(re.match(r"\s*buffer\s+tcp\s+5\s+→ 0 \[0, 0\]", line) for line in lines)
    assert any(re.match(r"\s*null \(floor\)\s+udp\s+3", line) for line in lines)


def test_the_answer_names_groups_or_the_least_and_the_most(policies, downtimes):
    answer = answer_sentence(policies)
    assert answer.startswith(
        "In 40 valid trials, by policy · transport: lost to VM went from a median 0 [0, 0]"
    )
    assert "packets (buffer · udp) to 12" in answer
    assert "8 groups in all; lost from VM" in answer
    assert "\n" not in answer
    few = downtimes.data | {"group_by": ["policy"]}
    answer = answer_sentence(type(downtimes)(downtimes.folder, few))
    assert "by policy: lost to VM was a median 332 [49, 1,396] packets (silent-drop), " in answer
    assert answer.endswith(", 0 [0, 0] packets (tunnel).")


def test_the_experiments_own_answer_comes_first(tmp_path):
    record = RunRecord.create(tmp_path, "tenants", ["Q24"], {}, {})
    record.finish("answered", "done", answer="No frame of 9,000\n crossed [0, 0.03 %].")
    read = load_record(record.folder)
    assert read.answer == "No frame of 9,000 crossed [0, 0.03 %]."
    assert answer_sentence(read) == read.answer
    failed = type(read)(read.folder, read.data | {"verdict": {"status": "failed", "why": "x."}})
    assert answer_sentence(failed) == "No answer: x."


def test_figures_and_floor_stand_with_their_intervals(policies, downtimes):
    lines = lead_figures(policies)
    assert lines[0].startswith("lost, packets, silent-drop · udp: → 12")
    assert lines[0].endswith("] ← 0 [0, 0]")
    assert len(lines) == 16
    assert floor_figures(policies)[1] == "lost, packets, tcp: → 0, max 0; ← 0, max 0"
    many = lead_figures(downtimes)
    assert many[2] == "(lost to VM: the least and the most of 16 groups)"


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"group_by": "policy"}, "group_by is 'policy', wanted a list of names"),
        ({"group_by": []}, "group_by is empty"),
        ({"group_by": ["a", "a"]}, "has a name twice"),
        ({"shown_measures": ["lost"]}, "'lost' does not say its unit"),
        ({"shown_measures": [1]}, "wanted a list of names"),
    ],
)
def test_bad_names_are_refused(tmp_path, given, told):
    with pytest.raises(RecordError, match=re.escape(told)):
        RunRecord.create(tmp_path, "cold", ["Q8"], {}, {}, **given)
    assert not (tmp_path / "runs").exists()
    good = RunRecord.create(tmp_path, "cold", ["Q8"], {}, {})
    path = good.folder / "record.json"
    import json

    path.write_text(json.dumps(json.loads(path.read_text()) | given))
    with pytest.raises(RecordError, match=re.escape(told)):
        load_record(good.folder)


def test_an_answer_that_is_no_sentence_is_refused(tmp_path):
    record = RunRecord.create(tmp_path, "cold", ["Q8"], {}, {})
    with pytest.raises(RecordError, match="is not a sentence"):
        record.finish("answered", "done", answer=" ")


def test_a_curve_has_the_median_and_interval_at_each_value(downtimes):
    silent = [one for one in downtimes.trials if one["parameters"].get("policy") == "silent-drop"]
    points = curve_points(silent, "lost_packets_to_vm", "downtime_s")
    assert [at for at, *_ in points] == list(DOWNTIMES_S)
    for at, median, interval, values in points:
        assert median == np.median(values)
        assert interval[0] <= median <= interval[1]
        assert 0.9 * at * 5000 - 1 <= median <= 1.1 * at * 5000


def test_a_scale_is_logarithmic_from_two_decades_on():
    assert log_scale([1, 100])
    assert log_scale([0, 1, 100])
    assert not log_scale([1, 99])
    assert not log_scale([-1, 1, 100])
    assert not log_scale([0, 0])


def test_pictures_follow_the_groups(downtimes, policies):
    curves = dict(draw_distributions(downtimes))
    assert list(curves) == ["lost_packets_to_vm", "stall_s_to_vm"]
    panel = curves["stall_s_to_vm"].axes[0]
    assert (panel.get_xscale(), panel.get_yscale()) == ("log", "log")
    assert curves["lost_packets_to_vm"].axes[0].get_yscale() == "symlog"  # it has zeros
    assert [text.get_text() for text in panel.get_legend().get_texts()] == ["silent-drop", "tunnel"]
    strips = dict(draw_distributions(policies))
    names = [text.get_text() for text in strips["stall_s"].axes[0].get_yticklabels()]
    assert names[:2] == ["silent-drop · udp", "silent-drop · tcp"]
    assert names[-1] == "null (floor) · tcp"
    assert (
        len({to_svg(dict(draw_distributions(downtimes))["stall_s_to_vm"], salt="x") for _ in range(2)}) == 1
    )


def test_a_curve_has_a_floor_for_each_kind_of_null_trials():
    stalls_s = (("cubic", 0.03), ("cubic", 0.05), ("bbr", 0.005), ("voice", None))
    nulls = [
        trial(number, {"transport": name}, {"stall_s": stall_s, "timeouts": 0}, null=True)
        for number, (name, stall_s) in enumerate(stalls_s)
    ]
    assert floors(nulls, "stall_s", ["transport"]) == {0.04: "cubic", 0.005: "bbr"}
    assert floors(nulls, "timeouts", ["transport"]) == {0.0: ""}  # the same for all
    assert floors(nulls, "stall_s", ["policy"]) == {0.03: ""}  # they carry none: the floor of all
    assert floors(nulls, "lost", ["transport"]) == {}


def test_a_curve_stands_with_few_values_and_without_null():
    for parameters in ([{"peers": 0}, {"peers": 5}, {"peers": 500}], [{"peers": n} for n in range(30)]):
        trials = [trial(number, one, {"x_s": float(number)}) for number, one in enumerate(parameters)]
        trials.append(trial(99, {"peers": 7}, {"x_s": None}))
        from results.pictures.curves import draw_curve

        assert "<svg" in to_svg(draw_curve(trials, "x_s", "peers", []), salt="x")


def test_of_many_groups_the_worst_have_a_timeline(policies):
    chosen = chosen_trials(policies)
    assert len(chosen) == 7
    assert (
        chosen[0][1] == "the worst of silent-drop · udp" or chosen[0][1] == "the worst of silent-drop · tcp"
    )
    assert chosen[-1][1] == "a null trial for comparison"


def test_the_report_has_a_row_a_group_and_no_empty_pictures(policies, downtimes):
    page = render_report(policies)
    assert "<th>buffer · tcp<small>5 valid</small></th>" in page
    assert "<th>policy · transport</th>" in page
    assert "Timelines" not in page  # nothing was recorded that one could show
    assert "The last row is the noise floor" in page
    assert "Over the downtime" in render_report(downtimes)


def test_the_floor_is_of_a_measure_that_there_is_without_a_move(tmp_path):
    shown = ("told_s", "lost_packets_to_vm")
    record = RunRecord.create(tmp_path, "x", ["Q3"], {}, {}, group_by=("policy",), shown_measures=shown)
    base = {"valid": True, "invalid_reason": None, "migration": None}
    measures = {"told_s": 0.01, "lost_packets_to_vm": 7}
    record.add_trial(base | {"index": 0, "null": False, "parameters": {"policy": "a"}, "measures": measures})
    record.add_trial(
        base | {"index": 1, "null": True, "parameters": {}, "measures": {"lost_packets_to_vm": 2}}
    )
    record.finish("answered", "done")
    (line,) = floor_figures(load_record(record.folder))
    assert line.startswith("lost to VM, packets:") and line.endswith("2, max 2")


def test_no_name_of_a_row_is_cut_at_the_edge_of_its_strip(tmp_path):
    """'timeout · acknowledged · watched 60.1 s' had lost its first letter."""
    rules = [("timeout", "acknowledged", 60.1), ("push", "acknowledged", 1.1), ("pull", "fixed:50ms", 60.1)]
    by = ("learning", "rule", "watched_s")
    with RunRecord.create(tmp_path, "x", ["Q5"], {}, {"name": "t"}, group_by=by) as run:
        for index, rule in enumerate(rules):
            run.add_trial(trial(index, dict(zip(by, rule, strict=True)), {"lost_packets_to_vm": index}))
        run.finish("answered", "made up")
    ((_, figure),) = draw_distributions(load_record(run.folder))
    figure.canvas.draw()
    names = figure.axes[0].get_yticklabels()
    assert len(names) == 3
    assert min(name.get_window_extent().x0 for name in names) >= 0
