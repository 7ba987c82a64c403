"""The NVA's book beside flow dumps and datapath dumps."""

from __future__ import annotations

import pytest

from controller.flows import desired_flows
from controller.written import written
from experiments.console.audit import (
    Finding,
    audit_lines,
    difference_lines,
    differences,
    outdated,
    parse_cached,
)
from experiments.console.names import Names
from experiments.console.openflow_text import FlowLine, parse_flows
from tests.fake_nva_world import at_stage, routed

NAMES = Names(nves={"192.0.2.2": "nve2"}, networks={5001: "blue"})
TO_NVE2 = FlowLine(
    3, 100, "reg1=0x1389,reg2=0,dl_dst=02:00:00:00:00:01", ("set_field:192.0.2.2->tun_dst", "goto_table:4")
)


def changed(flow: FlowLine, **fields: object) -> FlowLine:
    return FlowLine(**{**vars(flow), **fields})


def test_the_same_in_another_order_and_with_other_counts_is_no_difference() -> None:
    other = changed(TO_NVE2, match="dl_dst=02:00:00:00:00:01,reg1=0x1389,reg2=0", packets=7, bytes=700)
    assert differences([TO_NVE2], [other]) == []


@pytest.mark.parametrize(
    ("book", "dump", "said"),
    [
        ([TO_NVE2], [], "nve1: missing: FORWARD priority 100  in network blue (VNI 5001)"),
        ([], [TO_NVE2], "nve1: in nobody's book: FORWARD priority 100"),
        ([TO_NVE2], [changed(TO_NVE2, actions=("drop",))], "nve1: differs: FORWARD priority 100"),
        ([TO_NVE2], [changed(TO_NVE2, priority=99)], "nve1: in nobody's book: FORWARD priority 99"),
        (
            [changed(TO_NVE2, actions=("drop",), cause=1)],
            [changed(TO_NVE2, actions=("drop",), cause=2)],
            "differs",
        ),
    ],
)
def test_each_difference_in_words(book: list[FlowLine], dump: list[FlowLine], said: str) -> None:
    assert said in "\n".join(difference_lines("nve1", differences(book, dump), NAMES))


def test_both_sides_of_a_flow_that_differs_are_told() -> None:
    lines = list(
        difference_lines("nve1", differences([TO_NVE2], [changed(TO_NVE2, actions=("drop",))]), NAMES)
    )
    assert lines[1:] == ["  the NVA's book: tunnel to nve2 (192.0.2.2), go to OUTPUT", "  the switch: drop"]


def test_a_flow_that_may_have_expired_is_not_missing() -> None:
    assert differences([changed(TO_NVE2, hard_timeout_s=3)], []) == []


@pytest.mark.parametrize("nve", ["nve1", "nve2", "nve3"])
def test_every_flow_of_the_book_is_read_back(nve: str) -> None:
    for stage in ("prepared", "redirected", "committed"):
        flows = desired_flows(at_stage(stage, given=routed()), nve)
        read = parse_flows("\n".join(written(one) for one in flows))
        assert len({one.key for one in read}) == len(read) == len(flows)
        assert sum(one.cause > 0 for one in read) == sum(one.cause > 0 for one in flows) > 0
        assert all((one.actions == ("drop",)) == bool(one.cause) for one in read)


TUNNEL = "tunnel(tun_id=0x138a,src=192.0.2.1,dst=192.0.2.2,flags(-df-csum+key)),recirc_id(0),in_port(3)"
DATAPATH = f"""flow-dump from the main thread:
{TUNNEL},eth_type(0x0800),ipv4(frag=no), packets:9, bytes:882, used:4.0s, actions:5
recirc_id(0),in_port(2),eth_type(0x0806), packets:0, bytes:0, used:never, actions:userspace(pid=0,slow_path(action))
"""


def test_a_datapath_that_does_other_than_its_tables() -> None:
    asked = []

    def trace(match: str) -> str:
        asked.append(match)
        return "Flow: ..\nDatapath actions: drop\nmore"

    cached = parse_cached(DATAPATH)
    assert [one.actions for one in cached] == ["5"]
    assert outdated(cached, trace) == [(cached[0], "drop")]
    assert "dst=192.0.2.2,ttl=64,flags(" in asked[0]
    assert outdated(cached, lambda _: "Datapath actions: 5") == []


def test_an_audit_without_findings_says_agree_and_nothing_else() -> None:
    assert audit_lines([Finding("nve1", ()), Finding("nve2", ())]) == ["agree"]
    assert audit_lines([Finding("nve1", ("nve1: missing: x",)), Finding("nve2", ())]) == [
        "nve1: missing: x",
        "nve1: DISAGREE; nve2: agree",
    ]
