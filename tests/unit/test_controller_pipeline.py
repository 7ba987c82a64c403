"""The table list refuses flows that do not fit it; DESIGN.md names the same tables."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.pipeline import TABLES, Flow, PipelineError, describe, flow


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
    one, two = flow("OUTPUT", 1, {"reg0": 1, "in_port": 2}), flow("OUTPUT", 1, {"in_port": 2, "reg0": 1})
    assert one == two
    assert hash(one) == hash(two)
    with pytest.raises(PipelineError, match="order"):
        Flow("OUTPUT", 1, (("reg0", 1), ("in_port", 2)))


def test_tables_only_go_forward_and_exist() -> None:
    for table in TABLES.values():
        assert all(TABLES[name].number > table.number for name in table.next_tables)


def test_design_lists_the_same_tables() -> None:
    design = Path("DESIGN.md").read_text()
    for table in TABLES.values():
        assert f"| {table.number} | {table.name} |" in design
    assert describe().count("\n") == len(TABLES) - 1
