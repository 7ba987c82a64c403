"""The table list refuses flows that do not fit it; docs/nve-pipeline.md names the same tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller import pipeline
from controller.meanings import CAUSES, MISSES, ORIGINS, REASONS, cause_of
from controller.pipeline import LEFT, PAUSED, TABLES, Flow, Output, PipelineError, describe, drop, flow


def test_goto_an_undeclared_table_is_refused() -> None:
    with pytest.raises(
        PipelineError, match="CLASSIFY does not go to 'OUTPUT'; it declares ANTI_SPOOF, FORWARD"
    ):
        flow("CLASSIFY", 1, {}, (), "OUTPUT")


def test_match_on_an_undeclared_field_is_refused() -> None:
    with pytest.raises(PipelineError, match="OUTPUT does not match on 'eth_dst'; it declares in_port, reg0"):
        flow("OUTPUT", 1, {"eth_dst": "02:00:00:00:00:01"})


def test_unknown_table_is_refused() -> None:
    with pytest.raises(PipelineError, match="unknown table 'ROUTE'"):
        flow("ROUTE", 1, {})


def test_equal_flows_are_equal_whatever_the_order_of_the_match() -> None:
    out = (Output(1),)
    one = flow("OUTPUT", 1, {"reg0": 1, "in_port": 2}, out)
    two = flow("OUTPUT", 1, {"in_port": 2, "reg0": 1}, out)
    assert one == two
    assert hash(one) == hash(two)
    with pytest.raises(PipelineError, match="order"):
        Flow("OUTPUT", 1, (("reg0", 1), ("in_port", 2)), out)


def test_a_flow_that_drops_says_why_and_no_other_does() -> None:
    with pytest.raises(PipelineError, match="a flow that drops has a cause"):
        flow("FORWARD", 1, {"eth_dst": "02:00:00:00:00:01"})
    with pytest.raises(PipelineError, match="no other one has"):
        Flow("OUTPUT", 1, (("reg0", 1),), (Output(1),), cause=PAUSED)
    assert drop("FORWARD", 1, {}, PAUSED) != drop("FORWARD", 1, {}, LEFT)


def test_every_number_in_a_register_or_cookie_has_words() -> None:
    def numbers(first: str, last: str) -> set[int]:
        names = list(vars(pipeline))
        found = [vars(pipeline)[name] for name in names[names.index(first) : names.index(last) + 1]]
        return {value for value in found if isinstance(value, int)}

    assert set(CAUSES) == numbers("PAUSED", "INSIDE_SOURCE")
    assert set(REASONS) == numbers("ANNOUNCEMENT", "SOLICITATION")
    assert set(ORIGINS) == numbers("LOCAL", "PLAIN")
    assert set(MISSES) == set(TABLES)
    assert cause_of(PAUSED << pipeline.CAUSE_SHIFT | 0xABCD) == CAUSES[PAUSED]
    assert cause_of(0xABCD) is None


def test_tables_only_go_forward_and_exist() -> None:
    for table in TABLES.values():
        assert all(TABLES[name].number > table.number for name in table.next_tables)


def test_the_page_on_nves_lists_the_same_tables() -> None:
    page = Path("docs/nve-pipeline.md").read_text()
    for table in TABLES.values():
        assert f"| {table.number} | {table.name} |" in page
    assert describe().count("\n") == len(TABLES) - 1
