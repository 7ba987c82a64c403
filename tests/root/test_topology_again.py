"""A run on a topology file outside the work tree: what its record holds, and what becomes of it without the file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from experiments.__main__ import main
from tests.root.sandboxed import REPOSITORY
from topologies import load_topology, topology_file

pytestmark = pytest.mark.root

SMALL = ("repeat=1", "rate_pps=1000", "tcp_rate=1Mbit", "before=150ms", "after=250ms", "ports=afpacket")


def test_a_fresh_record_holds_no_path_and_gives_its_topology_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, own = tmp_path / "results", tmp_path / "figure.yaml"
    own.write_text(topology_file("two_racks").read_text().replace("name: two_racks", "name: figure"))
    monkeypatch.setenv("RESULTS", str(results))
    main(["record", "hot-l2", f"topology={own}", *SMALL])  # answered or not: the record is there
    (folder,) = (results / "runs").iterdir()
    for name in ("record.json", "events.jsonl"):
        text = (folder / name).read_text()
        assert str(tmp_path) not in text, name
        assert str(REPOSITORY) not in text, name
    record = json.loads((folder / "record.json").read_text())
    assert record["trials"]
    assert record["parameters"]["topology"] == "figure.yaml"
    assert "topology=figure.yaml" in record["environment"]["command"].split()
    topology = load_topology(own)
    own.unlink()
    capsys.readouterr()
    assert main(["record", "hot-l2", f"topology={own}", *SMALL]) == 2
    assert f"make topology RUN={folder.name} writes it again" in capsys.readouterr().err
    assert main(["topology", folder.name]) == 0
    assert load_topology(results / "topologies" / "figure.yaml") == topology
    assert len(list((results / "runs").iterdir())) == 1
