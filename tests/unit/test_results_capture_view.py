"""`make pcap` in a terminal: whatever its width, no two links, flows or NVEs look the same."""

import pytest
from rich.console import Console

from results.captures.capture_view import _flows_table, _links_table
from results.captures.trace import Carried, Flow, FlowSeen, Lost

VMS = ("red-a", "trunk-client-a1", "trunk-client-a2")
NVES = ("vtep-a", "vtep-in-rack-01", "vtep-in-rack-02")
LINKS = [f"{vm}-{nve}-{which}" for vm in VMS for nve in NVES for which in ("direct", "redirected")]


def printed(table: object, width: int) -> list[list[str]]:
    """Rows of what a terminal of that width shows: for each row its first column, lines joined."""
    console = Console(width=width, record=True, force_terminal=False)
    with console.capture() as shown:
        console.print(table)
    return [line.split() for line in shown.get().splitlines()]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_links_are_shown_whole(width: int) -> None:
    carried = [Carried(link, ("vtep-in-rack-01", "vtep-in-rack-02"), 10100, 12, 34_000) for link in LINKS]
    lines = printed(_links_table(carried, {}), width)
    assert [line[0] for line in lines if line and line[0] in LINKS] == LINKS
    assert not any("…" in word for line in lines for word in line)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_nothing_is_cut_however_narrow(width: int) -> None:
    seen = [
        FlowSeen(Flow(VMS[1], vm, 3, "ipv6"), 10, 9, 0, (Lost(LINKS[-1], 1, ((3, 3),)),))
        for vm in (VMS[0], VMS[2])
    ]
    text = "".join(word for line in printed(_flows_table(seen), width) for word in line)
    assert "…" not in text
