"""The record: what is written, what survives a kill, what is refused, and how it reads back."""

import concurrent.futures
import errno
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from emulation.sandbox import EndedBySignalError
from results.record import files
from results.record import writer as record
from results.record.contract import DIED, FORMAT_VERSION
from results.record.reading import open_run
from results.record.writer import RecordError, RunRecord, find_run, load_record, read_events, read_samples

ROOT = Path(__file__).parents[2]
BAD_RECORDS = ROOT / "tests/data/records"


def trial(index=0, **changes):
    return {
        "index": index,
        "valid": True,
        "invalid_reason": None,
        "null": False,
        "parameters": {"path": "remote to remote"},
        "migration": {
            "kind": "hot",
            "old_nve": "nve2",
            "new_nve": "nve3",
            "phases": [{"name": "switch", "start_s": 1.0, "end_s": 1.25}],
            "call_to_last_barrier_s": 0.005,
        },
        "measures": {"lost_packets_to_vm": 3, "blackout_s_to_vm": 0.01},
    } | changes


def create(folder, **changes):
    given = {
        "experiment": "hot-l2",
        "questions": ["Q1"],
        "parameters": {"runs": 1},
        "topology": {"name": "two"},
    }
    return RunRecord.create(folder, **(given | changes))


def leftovers(folder):
    return [path.name for path in folder.rglob("*") if path.name.endswith((".tmp", ".partial"))]


def test_a_new_run_says_at_once_that_it_died(tmp_path):
    made = create(tmp_path)
    read = load_record(made.folder)
    assert (read.status, read.why, read.unfinished) == ("failed", DIED, True)
    assert re.fullmatch(r"\d{8}T\d{6}Z-hot-l2-[0-9a-f]{6}", made.folder.name)
    assert (tmp_path / "latest").resolve() == made.folder.resolve()
    assert str((tmp_path / "latest").readlink()) == f"runs/{made.folder.name}"  # moves with the folder
    made.finish("answered", "nothing lost")


def test_everything_written_reads_back(tmp_path):
    with create(tmp_path) as made:
        made.set_environment({"kernel": "6.1", "versions": {"ovs": "3.1.0"}})
        made.set_environment({"load": np.float64(0.5)})
        made.event(2.0, "switch", trial=0)
        made.event(1.0, "flow_mods", trial=0, nve="nve1", count=np.int64(4))
        made.add_trial(trial(0, measures={"lost_packets_to_vm": np.int64(3), "rtt_s": None}))
        made.add_samples("udp_to_vm", {"trial": np.zeros(3, np.int32), "rx_s": np.array([1.0, np.nan, 2.0])})
        made.add_samples("udp_to_vm", {"trial": np.ones(2, np.int32), "rx_s": np.array([3.0, 4.0])})
        made.finish("answered", "nothing lost", {"lost_packets_to_vm": {"n": 1}})
    read = load_record(tmp_path / "latest")
    assert (read.status, read.why, read.unfinished) == ("answered", "nothing lost", False)
    assert read.environment == {"kernel": "6.1", "versions": {"ovs": "3.1.0"}, "load": 0.5}
    assert read.trials[0]["measures"] == {"lost_packets_to_vm": 3, "rtt_s": None}
    assert read.summary == {"lost_packets_to_vm": {"n": 1}}
    assert [(e["t_s"], e["kind"]) for e in read_events(read.folder)] == [(1.0, "flow_mods"), (2.0, "switch")]
    np.testing.assert_array_equal(read_samples(read.folder, "udp_to_vm", trial=0)["rx_s"], [1.0, np.nan, 2.0])
    np.testing.assert_array_equal(
        read_samples(read.folder, "udp_to_vm", columns=["trial"])["trial"], [0, 0, 0, 1, 1]
    )
    assert leftovers(tmp_path) == []


def test_a_killed_run_keeps_its_trials_and_says_that_it_died(tmp_path):
    code = f"""
import os, signal, sys
from pathlib import Path
from results.record.writer import RunRecord
import results.record.writer
results.record.writer.SLOW_WRITE_S = 60  # however busy the disk is
run = RunRecord.create(Path({str(tmp_path)!r}), "hot-l2", ["Q1"], {{}}, {{}})
run.event(1.0, "switch", trial=0)
run.add_trial({trial(0)!r})
run.event(2.0, "switch", trial=1)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    read = load_record(tmp_path / "latest")
    assert (read.status, read.why) == ("failed", DIED)
    assert [one["index"] for one in read.trials] == [0]
    assert [event["t_s"] for event in read_events(read.folder)] == [1.0]  # the second was still buffered


def test_many_runs_at_once_all_succeed(tmp_path):
    def one(_):
        made = create(tmp_path)
        made.finish("answered", "done")
        return made.folder

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(one, range(24)))
    assert len(set(folders)) == 24
    assert {load_record(folder).status for folder in folders} == {"answered"}
    assert (tmp_path / "latest").resolve() in {folder.resolve() for folder in folders}
    assert leftovers(tmp_path) == []


def test_what_a_signal_came_in_the_middle_of_is_not_the_reason(tmp_path):
    ended = EndedBySignalError(signal.SIGTERM)
    ended.add_note("the move of vm1 failed in stop: ended by SIGTERM; undone")
    with pytest.raises(EndedBySignalError), create(tmp_path) as made:
        raise ended
    assert load_record(made.folder).why == "ended by SIGTERM"


@pytest.mark.parametrize(
    ("raised", "why"),
    [
        (KeyboardInterrupt(), "stopped by the user (Ctrl-C)"),
        (EndedBySignalError(signal.SIGTERM), "ended by SIGTERM"),
        (RuntimeError("nve1 did\n not answer"), "nve1 did not answer"),
        (RuntimeError(), "RuntimeError"),
        (SystemExit(3), "ended early with exit status 3"),
    ],
)
def test_an_exception_becomes_the_verdict(tmp_path, raised, why):
    with pytest.raises(type(raised)), create(tmp_path) as made:
        made.event(1.0, "switch")
        raise raised
    read = load_record(made.folder)
    assert (read.status, read.why) == ("failed", why)
    assert len(read_events(made.folder)) == 1


def test_leaving_without_a_verdict_is_a_failure(tmp_path):
    with create(tmp_path) as made:
        pass
    assert load_record(made.folder).why == "the experiment ended without saying what it found"


def test_an_exception_after_the_verdict_takes_it_back(tmp_path):
    with pytest.raises(RuntimeError), create(tmp_path) as made:
        made.finish("answered", "all well", {"lost_packets_to_vm": {"n": 1}})
        raise RuntimeError("teardown failed")
    read = load_record(made.folder)
    assert (read.status, read.why, list(read.summary)) == (
        "failed",
        "teardown failed",
        ["lost_packets_to_vm"],
    )


def test_ctrl_c_after_the_verdict_lets_it_stand(tmp_path, monkeypatch):
    """It comes while the record is written, or after that; what the run found is whole in both cases."""
    write = record.write_atomic

    def interrupted(path, data):
        monkeypatch.setattr(record, "write_atomic", write)
        raise KeyboardInterrupt

    for during in (True, False):
        made = create(tmp_path)
        with pytest.raises(KeyboardInterrupt), made:
            made.add_trial(trial())
            if during:
                monkeypatch.setattr(record, "write_atomic", interrupted)
            made.finish("answered", "nothing lost")
            raise KeyboardInterrupt
        read = load_record(made.folder)
        assert (read.status, read.why, len(read.trials)) == ("answered", "nothing lost", 1)


def test_nothing_can_be_added_to_a_finished_run(tmp_path):
    made = create(tmp_path)
    made.finish("answered", "done")
    for add in (
        lambda: made.add_trial(trial()),
        lambda: made.event(1.0, "note"),
        lambda: made.finish("failed", "x"),
    ):
        with pytest.raises(RecordError, match="this run is finished"):
            add()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"index": -1}, "trial.index: -1 is not a whole number"),
        ({"valid": 1}, "trial.valid: 1 is neither true nor false"),
        ({"invalid_reason": "load"}, "on a valid trial"),
        ({"valid": False}, "must say why"),
        ({"null": True}, "a null trial moves nothing"),
        ({"parameters": "fast"}, "trial.parameters: 'fast'"),
        ({"measures": {"lost_packets_to_vm": "3"}}, "'3' is neither a number nor None"),
        ({"measures": {"lost_packets_to_vm": True}}, "True is neither a number nor None"),
        ({"measures": {"lost_to_vm": 3}}, "does not say its unit"),
        ({"measures": {"rtt_s": float("nan")}}, "trial.measures.rtt_s: nan cannot be recorded"),
        ({"measures": {"rtt_s": object()}}, "trial.measures.rtt_s: a object cannot be recorded"),
        ({"migration": {"kind": "hot"}}, "trial.migration: 'old_nve' is missing"),
        (
            {"migration": trial()["migration"] | {"call_to_last_barrier_s": "5"}},
            "call_to_last_barrier_s: '5'",
        ),
        (
            {
                "migration": trial()["migration"]
                | {"phases": [{"name": "stop", "start_s": 2.0, "end_s": 1.0}]}
            },
            "phases[0]: start_s=2.0, end_s=1.0",
        ),
    ],
)
def test_a_trial_that_breaks_the_contract_is_refused(tmp_path, changes, told):
    made = create(tmp_path)
    with pytest.raises(RecordError, match=re.escape(told)):
        made.add_trial(trial(**changes))
    assert load_record(made.folder).trials == []


def test_a_mistyped_key_is_named_with_its_neighbour(tmp_path):
    wrong = trial()
    wrong["measure"] = wrong.pop("measures")
    with pytest.raises(RecordError, match=r"'measures' is missing \(there is 'measure'\)"):
        create(tmp_path).add_trial(wrong)


def test_a_trial_index_is_used_once(tmp_path):
    made = create(tmp_path)
    made.add_trial(trial(4))
    with pytest.raises(RecordError, match=r"trial\.index: 4 was added before"):
        made.add_trial(trial(4))


@pytest.mark.parametrize(
    ("second", "told"),
    [
        ({"t_s": np.array([1.0])}, "the first addition had t_s, bytes"),
        ({"t_s": np.array([1.0]), "bytes": np.array(["x"])}, "samples tcp_to_vm: "),
        ({"t_s": np.array([1.0]), "bytes": np.array([1, 2])}, "samples tcp_to_vm: "),
    ],
)
def test_samples_that_do_not_fit_the_first_are_refused(tmp_path, second, told):
    made = create(tmp_path)
    made.add_samples("tcp_to_vm", {"t_s": np.array([1.0]), "bytes": np.array([10])})
    with pytest.raises(RecordError, match=told):
        made.add_samples("tcp_to_vm", second)
    made.finish("answered", "done")
    assert read_samples(made.folder, "tcp_to_vm")["bytes"].tolist() == [10]


def test_text_and_empty_samples_are_kept(tmp_path):
    made = create(tmp_path)
    made.add_samples("tcp_info", {"direction": np.array([], dtype=str), "cwnd": np.array([], dtype=np.int64)})
    made.add_samples("tcp_info", {"direction": np.array(["to_vm"]), "cwnd": np.array([10])})
    made.finish("answered", "done")
    assert read_samples(made.folder, "tcp_info")["direction"].tolist() == ["to_vm"]


@pytest.mark.parametrize(
    ("number", "told"),
    [(errno.ENOSPC, "no space left"), (errno.EROFS, "not writable"), (errno.EIO, "cannot be written")],
)
def test_a_disk_that_refuses_leaves_nothing_half_written(tmp_path, monkeypatch, number, told):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(files, "write_all", refuse)
    with pytest.raises(RecordError, match=told):
        create(tmp_path)
    assert list((tmp_path / "runs").iterdir()) == []
    assert not (tmp_path / "latest").is_symlink()


def test_a_disk_that_fills_up_later_keeps_the_last_whole_record(tmp_path):
    """A file size limit of the kernel's makes real short writes; in a process of its own."""
    code = f"""
import resource
from pathlib import Path
from results.record.reading import open_run
from results.record.writer import RecordError, RunRecord
run = RunRecord.create(Path({str(tmp_path)!r}), "hot-l2", ["Q1"], {{}}, {{}})
run.event(1.0, "note", text="kept"); run._flush_events()
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
try:
    with run:
        run.event(2.0, "note", text="x" * 5000); run._flush_events()
except RecordError as error:
    print(error, *getattr(error, "__notes__", []))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert "events.jsonl: no space left" in done.stdout
    read = load_record(tmp_path / "latest")
    assert (read.status, "no space left" in read.why) == ("failed", True)
    assert [event["text"] for event in read_events(read.folder)] == ["kept"]
    assert (read.folder / "events.jsonl").read_bytes().endswith(b"\n")  # no half line
    assert leftovers(tmp_path) == []


def test_a_failed_replacement_keeps_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    files.write_atomic(tmp_path / "record.json", b"old")

    def half(descriptor, data):
        os.write(descriptor, data[:1])
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(files, "write_all", half)
    with pytest.raises(RecordError, match="no space left"):
        files.write_atomic(tmp_path / "record.json", b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"record.json": b"old"}


def test_samples_that_did_not_fit_on_the_disk_spoil_the_answer(tmp_path, monkeypatch):
    import pyarrow.parquet as pq

    made = create(tmp_path)
    made.add_samples("lag", {"lag_s": np.array([0.1])})

    def refuse(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", refuse)
    with pytest.raises(RecordError, match=r"lag\.parquet: no space left"):
        made.add_samples("lag", {"lag_s": np.array([0.2])})
    with pytest.raises(RecordError, match="no space left"):
        made.finish("answered", "an experiment that did not look")
    read = load_record(made.folder)
    assert (read.status, read.why[:26]) == ("failed", "the record is incomplete: ")
    assert list((made.folder / "samples").iterdir()) == []


def test_too_little_space_is_told_before_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "MINIMUM_FREE_BYTES", 10**18)
    with pytest.raises(RecordError, match="MB free, a run needs"):
        create(tmp_path)
    assert list((tmp_path / "runs").iterdir()) == []


def test_a_file_where_the_folder_should_be_is_one_clear_error(tmp_path):
    (tmp_path / "results").write_text("")
    with pytest.raises(RecordError, match="in the way"):
        create(tmp_path / "results")


@pytest.mark.parametrize("experiment", ["", "a/b", "../up", "a b"])
def test_an_experiment_name_cannot_leave_the_folder(tmp_path, experiment):
    with pytest.raises(RecordError, match="experiment"):
        create(tmp_path, experiment=experiment)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("truncated", "line 4, column 16: not complete JSON"),
        ("empty", "is empty"),
        ("foreign", "is JSON but not a record"),
        ("newer", f"written in format 99, this version reads up to {FORMAT_VERSION}; update Overland"),
        ("incomplete", "'trials' is missing"),
        ("broken_trial", "trials[0].valid: 'yes' is neither true nor false"),
        ("binary", "is not text"),
        ("missing", "no such run"),
    ],
)
def test_a_record_that_cannot_be_read_says_why_and_where(name, told):
    folder = BAD_RECORDS / name
    with pytest.raises(RecordError, match=re.escape(told)) as error:
        load_record(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_latest_is_the_newest_run_where_no_link_came_along(tmp_path):
    for name in ("20261125T010000Z-hot-l2-aaaaaa", "20261125T020000Z-cold-bbbbbb"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "record.json").write_text("{}")
    (tmp_path / "runs/somebody's").mkdir()
    assert find_run(tmp_path, "latest").name == "20261125T020000Z-cold-bbbbbb"


def test_a_link_to_a_removed_run_says_so(tmp_path):
    (tmp_path / "latest").symlink_to("runs/gone")
    with pytest.raises(RecordError, match="points to runs/gone, which is gone"):
        load_record(find_run(tmp_path, "latest"))


def test_broken_events_are_named_and_a_cut_last_line_is_not_an_error(tmp_path):
    path = tmp_path / "events.jsonl"
    good = json.dumps({"t_s": 1.0, "kind": "switch", "text": "line\u2028separator"}, ensure_ascii=False)
    path.write_text(f'{good}\n{{"t_s": 2.0, "ki')
    assert len(read_events(tmp_path)) == 1
    path.write_text(f"{good}\n[1]\n{good}\n")
    with pytest.raises(RecordError, match="line 2 is not an event"):
        read_events(tmp_path)
    path.unlink()
    assert read_events(tmp_path) == []


def test_samples_that_cannot_be_read_say_why(tmp_path):
    made = create(tmp_path)
    made.add_samples("lag", {"lag_s": np.array([0.1])})
    with pytest.raises(RecordError, match="incomplete, the run ended before"):
        read_samples(made.folder, "lag")
    made.finish("answered", "done")
    with pytest.raises(RecordError, match="there are: lag"):
        read_samples(made.folder, "udp_to_vm")
    with pytest.raises(RecordError, match="no column 'cpu'"):
        read_samples(made.folder, "lag", columns=["cpu"])
    with pytest.raises(RecordError, match="has no column 'trial'"):
        read_samples(made.folder, "lag", trial=1)
    (made.folder / "samples/lag.parquet").write_bytes(b"PAR1")
    with pytest.raises(RecordError, match="not a readable Parquet file"):
        read_samples(made.folder, "lag")


def test_runs_are_found_by_a_part_of_their_name(tmp_path):
    first, second = create(tmp_path).folder, create(tmp_path, experiment="cold").folder
    assert find_run(tmp_path, "cold") == second
    assert find_run(tmp_path, first.name) == first
    assert find_run(tmp_path, str(second)) == second
    with pytest.raises(RecordError, match="fits 2 runs"):
        find_run(tmp_path, "Z-")
    with pytest.raises(RecordError, match="no such run"):
        find_run(tmp_path, "warm")


def test_an_experiments_name_means_its_newest_run_and_is_told(tmp_path, capsys):
    older, newest, other = (create(tmp_path, experiment=name) for name in ("hot-l2", "hot-l2", "hot-l2-v6"))
    for made, time in ((older, "01"), (newest, "02"), (other, "03")):
        made.folder.rename(made.folder.with_name(f"20261125T{time}0000Z-{made.folder.name.split('-', 1)[1]}"))
    runs = tmp_path / "runs"
    for wanted, time in (("hot-l2", "02"), ("hot-l2-v6", "03"), ("20261125T01", "01")):
        found = open_run(tmp_path, wanted)
        assert found.name.startswith(f"20261125T{time}"), wanted
        assert capsys.readouterr().err == f"{wanted}: run {found.name}\n"
    name = sorted(path.name for path in runs.iterdir())[0]
    assert open_run(tmp_path, name).name == name
    assert capsys.readouterr().err == ""  # nothing to tell: it was named


def test_reading_and_writing_records_loads_no_heavy_library():
    modules = ("record.writer", "figures.statistics", "pages.table", "pages.report", "timeline.picture")
    code = f"import sys, {', '.join(f'results.{name}' for name in modules)};"
    code += (
        "print({'numpy', 'scipy', 'pyarrow', 'matplotlib', 'jinja2', 'rich'} & set(sys.modules) or 'none')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "none"
