"""No record says where on its machine a file was: what is written, and what is kept."""

import json
import re
from pathlib import Path

import pytest

from results.figures.merging import write_sweep_record
from results.paths import portable_text
from results.record.reading import load_record
from results.record.writer import RunRecord

TREE = Path("/home/me/overland")
ROOT = Path(__file__).parents[2]
PATH = re.compile(
    r"(?:^|[\s=\"'(,;])(?:\.\./)*/?(?:home|root|work|srv|mnt|opt|tmp|var|run|usr|Users)/\S+|\.\./\S+"
)
"""Words that are paths of a machine: by the names of their first folders, so not by the rule under test."""


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def machine_paths(value):
    return [found for text in strings(value) for found in PATH.findall(text)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("/home/me/overland/topologies/mine.yaml", "topologies/mine.yaml"),
        ("/home/me/my own files/mine.yaml", "mine.yaml"),
        ("../shared/cases/mine.yaml", "mine.yaml"),
        ("make hot-l2 topology=/tmp/a/mine.yaml vm=mover", "make hot-l2 topology=mine.yaml vm=mover"),
        ("make hot-l2 topology=../../a/mine.yaml QUICK=1", "make hot-l2 topology=mine.yaml QUICK=1"),
        ("make hot-l2 'topology=/tmp/my own/mine.yaml' vm=x", "make hot-l2 'topology=mine.yaml' vm=x"),
        ("QEMU ended, see /home/me/overland/.build/kvm.qemu", "QEMU ended, see .build/kvm.qemu"),
        (
            "/home/me/overland/results/runs/x/a.parquet: no space left",
            "results/runs/x/a.parquet: no space left",
        ),
        ("it is in /var/lib/x.", "it is in x."),
        ("(as /opt/x/y.so says)", "(as y.so says)"),
        ("/home/me/overland", "."),
    ],
)
def test_a_path_is_told_relative_to_the_work_tree_or_by_its_name(text, told):
    assert portable_text(text, TREE) == told


@pytest.mark.parametrize(
    "text",
    [
        "topologies/mine.yaml",
        "10.1.0.0/24, 2001:db8:1::/64 and a /64",
        "5,000 packets/s, to the VM / from it",
        "https://www.rfc-editor.org/rfc/rfc7432#section-15.1",
        "/proc/net/snmp and /sys/class/net",
        "two_racks",
        "gain 1/2",
    ],
)
def test_what_is_no_path_of_a_machine_stays(text):
    assert portable_text(text, TREE) == text


def test_nothing_that_is_written_holds_a_path(tmp_path):
    own = str(tmp_path / "my own" / "mine.yaml")
    record = RunRecord.create(
        tmp_path, "hot-l2", ["Q1"], {"topology": own}, {"name": "mine", "description": f"as {own} has it"}
    )
    record.set_environment(
        {"command": f"make hot-l2 'topology={own}'", "accelerator_why": "see /opt/x/kvm.qemu"}
    )
    record.event(1.0, "note", text="could not read /tmp/probes/x.log")
    move = {"kind": "hot", "old_nve": "nve1", "new_nve": "nve2", "phases": [], "call_to_last_barrier_s": None}
    record.add_trial(
        {
            "index": 0,
            "valid": False,
            "invalid_reason": "the file /tmp/guard/lag is not there",
            "null": False,
            "parameters": {},
            "migration": {**move, "outcome": "stop: /usr/sbin/tc ended with status 1"},
            "measures": {},
        }
    )
    record.finish("failed", f"{tmp_path}/samples/x.parquet: no space left", answer=f"See {own}.")
    text = (record.folder / "record.json").read_text() + (record.folder / "events.jsonl").read_text()
    assert str(tmp_path) not in text
    assert machine_paths(json.loads((record.folder / "record.json").read_text())) == []
    assert machine_paths(text) == []
    data = json.loads((record.folder / "record.json").read_text())
    assert data["parameters"]["topology"] == "mine.yaml"
    assert data["environment"]["command"] == "make hot-l2 'topology=mine.yaml'"


def test_an_error_that_ends_a_run_tells_no_path(tmp_path):
    with (
        pytest.raises(OSError, match="no such file"),
        RunRecord.create(tmp_path, "cold", ["Q8"], {}, {}) as record,
    ):
        raise OSError("/home/me/x/probe: no such file")
    assert load_record(record.folder).why == "probe: no such file"


def test_a_sweep_tells_no_path(tmp_path):
    head = {"experiment": "sweep-hot-l2", "questions": ["Q1"], "started_utc": "2026-11-27T00:00:00.000+00:00"}
    head |= {"parameters": {"topology": "/tmp/x/mine.yaml"}, "topology": {}, "answer": "As /tmp/x/y says."}
    head |= {"environment": {"command": "make sweep EXP=hot-l2 topology=/tmp/x/mine.yaml"}}
    record = write_sweep_record(tmp_path, head, [], ("failed", "/tmp/x/y is gone"))
    assert machine_paths(record.data) == []
    assert "/tmp" not in (tmp_path / "record.json").read_text()


def test_no_kept_record_holds_a_path():
    kept = sorted((ROOT / "results/reference").glob("*/record.json"))
    assert len(kept) >= 36
    found = {
        path.parent.name: paths for path in kept if (paths := machine_paths(json.loads(path.read_text())))
    }
    assert found == {}
