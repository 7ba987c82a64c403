"""Which links can be captured and where, and what tcpdump's own words say."""

from __future__ import annotations

from pathlib import Path

import pytest

from emulation.capture import capture_points, chosen_points, counts, tcpdump_argv
from emulation.errors import EmulationError
from experiments.catalog import EXPERIMENTS
from experiments.running.captures import chosen
from topologies import Topology, generated, load_topology, topology_file

TWO_RACKS = load_topology(topology_file("two_racks"))


def test_every_link_is_captured_outside_the_nves() -> None:
    points = {point.link: (point.node, point.device) for point in capture_points(TWO_RACKS, "rebind")}
    assert points["nve1-underlay"] == ("rack1", "to-nve1")
    assert points["nve3-plain"] == ("rack2", "p-nve3")
    assert points["vm1"] == ("vm1", "eth0")
    assert points["vm1-nve2-direct"] == (None, "vm1-l2")
    assert points["vm1-nve2-redirected"] == (None, "vm1-r2")
    assert points["rack1-spine1"] == ("rack1", "to-spine1")
    assert not {node for node, _ in points.values()} & {nve.name for nve in TWO_RACKS.nves}
    assert len(points) == 3 + 3 + 4 + 6 + 2


def test_a_vm_that_is_replugged_has_no_legs_and_the_outside_has_links() -> None:
    assert not [point for point in capture_points(TWO_RACKS, "replug") if point.link.startswith("vm1-")]
    beyond = load_topology(topology_file("outside"))
    links = {point.link for point in capture_points(beyond, "rebind")}
    assert {f"{beyond.outside.nve}-outside", *(client.name for client in beyond.outside.clients)} <= links


def test_links_are_chosen_by_name_or_pattern_and_others_refused() -> None:
    points = capture_points(TWO_RACKS, "rebind")
    assert chosen_points(points, "1") == points
    assert [point.link for point in chosen_points(points, "nve?-underlay,vm1+peer2")] == [
        "nve1-underlay",
        "nve2-underlay",
        "nve3-underlay",
        "vm1",
        "peer2",
    ]
    with pytest.raises(
        EmulationError, match=r"there is no link 'nve9'; pcap=1 takes all, and there are: nve1-und"
    ):
        chosen_points(points, "vm1,nve9")
    assert chosen({"pcap": "0"}, TWO_RACKS) == []
    assert chosen({}, TWO_RACKS) == []


def test_every_experiment_can_be_captured() -> None:
    for experiment in EXPERIMENTS.values():
        assert {"pcap", "pcap_snap"} <= {parameter.name for parameter in experiment.parameters}


def test_tcpdump_keeps_its_rights_its_nanoseconds_and_the_snap_length() -> None:
    point = capture_points(TWO_RACKS, "rebind")[0]
    argv = tcpdump_argv(point, Path("/x/nve1-underlay.pcap"), 96)
    assert argv[:3] == ["tcpdump", "-i", "to-nve1"]
    assert argv[argv.index("-Z") + 1] == "root"
    assert argv[argv.index("-s") + 1] == "96"
    assert "--time-stamp-precision=nano" in argv


def test_the_last_counters_count() -> None:
    asked = "tcpdump: 5 packets captured, 1200 packets received by filter, 0 packets dropped by kernel\n"
    ended = "1 packet captured\n1 packet received by filter\n3 packets dropped by kernel\n"
    listening = "tcpdump: listening on lo, link-type EN10MB (Ethernet), snapshot length 160 bytes\n"
    assert counts(listening) is None
    assert counts(listening + asked) == (5, 1200, 0)
    assert counts(listening + asked + ended) == (1, 1, 3)


def test_links_have_names_of_their_own_whatever_nodes_are_called() -> None:
    made = generated(nves=2, vms=3, racks=1, prewired=2).as_file()
    made["nves"][0]["name"], made["nves"][1]["name"] = "c", "b-c"
    for vm, name in zip(made["vms"], ("a-b", "a", "c-underlay"), strict=True):
        vm |= {"name": name, "nve": "c", "prewired": "all"}
    points = capture_points(Topology.model_validate(made), "rebind")
    links = [point.link for point in points]
    assert len(set(links)) == len(links) == 2 + 3 + 3 * 2 * 2 + 1
    assert {point.link for point in points if point.device == "eth0"} == {"a-b", "a", "c-underlay"}
    assert {"a-b-c-direct", "a-b-c-direct-2", "c-underlay-2"} <= set(links)
