"""What NVEs dropped for want of a rule or of leave to ask the NVA, from Open vSwitch's own counters."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from controller.pipeline import TABLES
from emulation.errors import CommandError
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


@dataclass(frozen=True)
class Meter:
    """What a meter has dropped since it was made, and how long ago that was, in s."""

    dropped: int = 0
    age_s: float = 0.0

    def since(self, before: Meter, passed_s: float) -> int:
        """What was dropped since ``before`` was read, ``passed_s`` ago: everything, where it was made meanwhile."""
        return self.dropped if self.age_s < passed_s else self.dropped - before.dropped


def meter_of(text: str) -> Meter:
    """What ``ovs-ofctl meter-stats`` says of one meter; bands count what they dropped. Pure."""
    head, _, bands = text.partition("bands:")
    age = re.search(r"duration:([\d.]+)s", head)
    dropped = sum(int(count) for count in re.findall(r"packet_count:(\d+)", bands))
    return Meter(dropped, float(age[1]) if age else 0.0)


def read_limits(nves: Mapping[str, NVE]) -> dict[str, Meter]:
    """The meter of what each NVE may send to the NVA (`controller.openflow.packet_in_limit`).

    Whenever the NVA is configured it is made anew. A datapath may have no meters; then nothing is kept from the NVA.
    """
    found = {}
    for nve, switch in nves.items():
        try:
            found[nve] = meter_of(switch.dpctl("meter-stats", "meter=controller"))
        except CommandError:
            found[nve] = Meter()
    return found
