"""A topology file that is gone: who has it, how it comes back, and what runs it again."""

from pathlib import Path

import pytest

from experiments.__main__ import main
from experiments.running.topology_again import MissingTopologyError, topology_named
from results.record.writer import RunRecord
from topologies import TopologyErrors, load_topology, topology_file

ROOT = Path(__file__).parents[2]


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def own(tmp_path):
    """A topology of the reader's own, outside the work tree."""
    file = tmp_path / "mine" / "figure-again.yaml"
    file.parent.mkdir()
    text = topology_file("wide_area").read_text().replace("name: wide_area", "name: figure_again")
    file.write_text(text)
    return file


def a_run(results, file, command="make hot-l2 topology={} vm=mover"):
    record = RunRecord.create(
        results, "hot-l2", ["Q1"], {"topology": str(file)}, load_topology(file).as_record()
    )
    record.set_environment({"command": command.format(file)})
    record.finish("failed", "as this test wants it")
    return record.folder.name


def test_a_missing_file_is_told_with_the_run_that_has_it(results, own):
    run = a_run(results, own)
    topology = load_topology(own)
    own.unlink()
    with pytest.raises(MissingTopologyError, match=rf"there is no such file.*make topology RUN={run} "):
        topology_named(str(own), results)
    assert main(["topology", run]) == 0
    again = results / "topologies" / "figure-again.yaml"
    assert load_topology(again) == topology
    assert topology_named(str(again), results) == topology


def test_a_file_that_no_run_has_is_told_as_ever(results, own):
    with pytest.raises(TopologyErrors, match="there is no such file"):
        topology_named(str(own.with_name("other.yaml")), results)
    own.write_text("name: [")
    with pytest.raises(TopologyErrors):
        topology_named(str(own), results)


def test_the_command_that_is_told_runs_the_file_that_was_written(results, own, capsys, tmp_path, monkeypatch):
    run = a_run(results, own)
    monkeypatch.chdir(tmp_path)
    assert main(["topology", run]) == 0
    assert capsys.readouterr().out.splitlines() == [
        str(results / "topologies" / "figure-again.yaml"),
        "run it again: make hot-l2 topology=results/topologies/figure-again.yaml vm=mover",
    ]
    assert main(["topology", run]) == 0  # it says the same


def test_what_is_there_is_not_written_over(results, own, capsys, tmp_path):
    run = a_run(results, own)
    other = tmp_path / "other.yaml"
    other.write_text(topology_file("minimal").read_text())
    before = other.read_text()
    assert main(["topology", run, str(other)]) == 2
    assert "is there and says another thing; name another file: FILE=" in capsys.readouterr().err
    assert other.read_text() == before
    assert main(["topology", run, str(tmp_path / "none" / "x.yaml")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_a_topology_that_goes_by_its_name_is_written_under_it(results):
    run = a_run(results, topology_file("two_racks"), "make hot-l2")
    assert main(["topology", run]) == 0
    assert (results / "topologies" / "two_racks.yaml").exists()


def test_a_record_without_a_topology_says_so(results, capsys):
    record = RunRecord.create(results, "cold", ["Q8"], {}, {})
    record.finish("failed", "as this test wants it")
    assert main(["topology", "cold"]) == 2
    assert "has no topology" in capsys.readouterr().err
