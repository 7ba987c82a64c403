"""Which ways through the underlay are taken and which idle; routes follow them (`test_emulation_plan` walks those)."""

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from topologies import Topology, generated, shipped, topology_file
from topologies.loader import load_topology
from topologies.notes import notes
from topologies.paths import neighbours, untaken_lines, way


def ring(links: list[tuple[str, str]], racks: list[str], placed: list[str]) -> Topology:
    made: dict[str, Any] = {
        "name": "t",
        "underlay": {
            "racks": [{"name": one} for one in racks],
            "links": [{"between": list(one)} for one in links],
        },
        "nves": [
            {"name": f"nve{number}", "rack": rack, "underlay_ip": f"192.0.2.{number}"}
            for number, rack in enumerate(placed, start=1)
        ],
    }
    return Topology.model_validate(made)


def test_of_two_ways_as_short_one_is_taken_and_the_other_named() -> None:
    links = [("s1", "s2"), ("s2", "s3"), ("s1", "s4"), ("s4", "s3")]
    assert untaken_lines(ring(links, ["s1", "s2", "s3", "s4"], ["s1", "s3"])) == [
        "tunnels from s1 to s3 go s1 - s2 - s3 and back; s1 - s4 - s3 is as short and carries nothing of them"
    ]


def test_ways_there_and_back_may_differ() -> None:
    links = [("s1", "s2"), ("s4", "s3"), ("s1", "s4"), ("s2", "s3")]
    assert untaken_lines(ring(links, ["s1", "s2", "s3", "s4"], ["s1", "s3"])) == [
        "tunnels from s1 to s3 go s1 - s2 - s3, and back s3 - s4 - s1"
    ]


def test_many_pairs_are_counted() -> None:
    racks = [f"r{number}" for number in range(6)]
    links = [(rack, spine) for rack in racks[:4] for spine in racks[4:]]
    lines = untaken_lines(ring(links, racks, racks[:4]))
    assert len(lines) == 4
    assert lines[-1] == "... and 3 more pairs of racks"


@pytest.mark.parametrize("name", shipped())
def test_shipped_topologies_have_one_way(name: str) -> None:
    assert notes(load_topology(topology_file(name))) == []


def test_a_large_topology_is_looked_through() -> None:
    assert untaken_lines(generated(nves=100, vms=0, racks=100)) == []


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_way_that_is_named_as_idle_is_as_short_and_not_taken(data: st.DataObject) -> None:
    racks = [f"r{number}" for number in range(data.draw(st.integers(2, 6)))]
    chain = list(itertools.pairwise(racks))
    more = data.draw(st.lists(st.sampled_from(list(itertools.combinations(racks, 2))), unique=True))
    topology = ring(
        data.draw(st.permutations(list(dict.fromkeys([*chain, *more])))), racks, [racks[0], racks[-1]]
    )
    links = neighbours(topology)
    there, back = way(racks[0], racks[-1], links), way(racks[-1], racks[0], links)
    assert len(there) == len(back)
    for line in untaken_lines(topology):
        assert " - ".join(there) in line
        for idle in (
            line.partition("; ")[2].partition(" is as short")[0].partition(" are as short")[0].split(", ")
        ):
            path = tuple(idle.split(" - ")) if idle else there
            assert len(path) == len(there)
            assert all(two in links[one] for one, two in itertools.pairwise(path))
            assert not idle or path not in (there, back[::-1])
