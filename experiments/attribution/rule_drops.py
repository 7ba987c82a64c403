"""What NVEs dropped for want of a rule or of leave to ask the NVA, from Open vSwitch's own counters."""

from __future__ import annotations

import re
from collections.abc import Mapping

from controller.pipeline import TABLES
from emulation.nve import NVE

Drops = dict[tuple[str, str], int]
"""By (NVE, name of the table)."""


def unmatched(text: str) -> dict[int, int]:
    """Table number -> lookups that matched no rule, from ``ovs-ofctl dump-tables``. Pure.

    Of tables that are alike only the first is written out: ``ditto``.
    """
    found: dict[int, int] = {}
    numbers: list[int] = []
    last = 0
    for line in text.splitlines():
        words = line.replace(":", "").split()
        if words[:1] == ["table"]:
            numbers = [int(words[1])]
        elif words[:1] == ["tables"]:
            low, high = words[1].split("...")
            numbers = list(range(int(low), int(high) + 1))
        elif words and words[0].startswith("active="):
            counts = dict(word.rstrip(",").split("=") for word in words)
            last = int(counts["lookup"]) - int(counts["matched"])
            found |= dict.fromkeys(numbers, last)
        if words[-1:] == ["ditto"]:
            found |= dict.fromkeys(numbers, last)
    return found


def read_drops(nves: Mapping[str, NVE]) -> Drops:
    """What each NVE has dropped so far for want of a rule.

    Open vSwitch credits what its datapath did up to a second later; it is made to look first. That costs the next
    packet of every flow a slow path, so this is not for the time of a trial.
    """
    names = {table.number: table.name for table in TABLES.values()}
    found: Drops = {}
    for nve, switch in nves.items():
        switch.control.call("revalidator/purge")
        counts = unmatched(switch.dpctl("dump-tables"))
        found |= {(nve, names[number]): count for number, count in counts.items() if number in names}
    return found


def beyond_limit(text: str) -> int:
    """Frames that a meter dropped, from ``ovs-ofctl meter-stats``: what its bands counted. Pure."""
    _, _, bands = text.partition("bands:")
    return sum(int(count) for count in re.findall(r"packet_count:(\d+)", bands))


def read_not_asked(nves: Mapping[str, NVE]) -> dict[str, int]:
    """Frames that each NVE kept from the NVA since its limit was set (`controller.openflow.packet_in_limit`)."""
    return {
        nve: beyond_limit(switch.dpctl("meter-stats", "meter=controller")) for nve, switch in nves.items()
    }
