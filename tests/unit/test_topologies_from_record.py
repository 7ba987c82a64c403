"""The topology of a record becomes a file again that means the same."""

import json
from pathlib import Path

import pytest

from topologies import Topology, generated, load_topology, parse_topology
from topologies.from_record import file_text
from topologies.loader import SHIPPED

GOOD = Path(__file__).parents[1] / "data" / "good_topologies"


def recorded(topology: Topology) -> dict:
    return json.loads(json.dumps(topology.as_record()))


@pytest.mark.parametrize("file", [*SHIPPED.glob("*.yaml"), *GOOD.glob("*.yaml")], ids=lambda file: file.name)
def test_every_topology_comes_back_from_its_record(file: Path) -> None:
    topology = load_topology(file)
    assert parse_topology(file_text(recorded(topology)).encode(), "again.yaml") == topology


def test_a_generated_one_comes_back() -> None:
    topology = generated(nves=5, vms=9, racks=2, prewired=3)
    assert parse_topology(file_text(recorded(topology)).encode(), "again.yaml") == topology


def test_the_text_is_what_a_person_would_write() -> None:
    text = file_text(recorded(load_topology(GOOD / "every_key.yaml")), "From a run.\nMade again.")
    assert text.startswith("# From a run.\n# Made again.\nname: every_key\n")
    assert "delay: 1.5ms" in text
    assert "rate: 1.5Gbit" in text
    assert "memory: 512MiB" in text
    assert "mtu: 9000" in text
    assert "null" not in text
