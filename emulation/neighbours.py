"""The kernel's neighbour tables (ARP and ND): what a topology puts into them, and how much they hold.

Each IP version has one table for all network namespaces of a machine, so for all runs on it together. At gc_thresh3
entries a new one is refused, and its packet is lost ("neighbor table overflow" in the kernel's log). Permanent entries
do not count; one that was confirmed in the last 15 to 45 s is never thrown out to make room (Linux:
net/core/neighbour.c, neigh_alloc and neigh_forced_gc). The thresholds exist in the machine's first network namespace
only, and hold for all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from topologies.model import Topology

FAMILIES = {"ipv4": "arp_cache", "ipv6": "ndisc_cache"}
"""IP version and the name of its table in /proc/net/stat."""
KERNEL_LIMIT = 1024
"""gc_thresh3 of a kernel that nobody has changed; taken where it cannot be read."""
KEPT_BY_PINGS = 256
"""Entries that pings between all VMs may leave before they are forgotten: a quarter of an unchanged table, since
runs beside this one use the same table. Each ping leaves two, one at either end."""
_PER_NVE = 2  # the NVA's and the NVE's of each other; those of the underlay's access links are permanent
_PER_ROUTER_LINK = 2


@dataclass(frozen=True)
class Table:
    """One of the two tables: how many entries it takes, and how many it has now, of everybody."""

    family: str
    limit: int = KERNEL_LIMIT
    used: int = 0

    @property
    def setting(self) -> str:
        """The name of the limit for sysctl."""
        return f"net.{self.family}.neigh.default.gc_thresh3"


def tables(proc: Path = Path("/proc")) -> tuple[Table, ...]:
    """Both tables, as far as they can be seen from here; the kernel's own limit where they cannot."""
    return tuple(_table(proc, family, name) for family, name in FAMILIES.items())


def _table(proc: Path, family: str, name: str) -> Table:
    try:
        limit = int((proc / f"sys/net/{family}/neigh/default/gc_thresh3").read_text())
        used = int((proc / f"net/stat/{name}").read_text().splitlines()[1].split()[0], 16)
    except (OSError, ValueError, IndexError):  # not the first network namespace, or no IPv6
        return Table(family)
    return Table(family, limit, used)


def needed_to_start(topology: Topology) -> dict[str, int]:
    """Entries, by IP version, that a network has before any VM speaks."""
    links = len(topology.underlay.links) * _PER_ROUTER_LINK
    return {"ipv4": len(topology.nves) * _PER_NVE + links, "ipv6": 0}


def needed_at_most(topology: Topology) -> dict[str, int]:
    """Entries, by IP version, when all VMs talk with all others that they reach, gateways and clients too."""
    needed = needed_to_start(topology)
    for network in topology.virtual_networks:
        vms = [vm for vm in topology.vms if vm.virtual_network == network.name]
        with_v6 = [vm for vm in vms if vm.ipv6 is not None]
        needed["ipv4"] += _among(len(vms), network.gateway_v4 is not None)
        needed["ipv6"] += _among(len(with_v6), network.gateway_v6 is not None)
    if topology.outside is not None:
        for client in topology.outside.clients:
            needed["ipv4"] += 2
            needed["ipv6"] += 2 * (client.ipv6 is not None)
    return needed


def _among(hosts: int, gateway: bool) -> int:
    """Each host has an entry for each other one of its network, and one for the gateway."""
    return hosts * (hosts - 1) + hosts * gateway


def problems(topology: Topology, found: Iterable[Table]) -> list[str]:
    """Why the network cannot start beside what the tables hold already, each with its remedy."""
    needed = needed_to_start(topology)
    return [
        f"{topology.name} needs {needed[table.family]:,} {_words(table.family)} neighbours to start, {table.used:,} "
        f"are in use on this machine, and its table takes {table.limit:,} for all together: make it larger, with sudo "
        f"sysctl -w {table.setting}={_enough(needed[table.family] + table.used)}"
        for table in found
        if needed[table.family] + table.used > table.limit
    ]


def warning(topology: Topology, found: Iterable[Table]) -> str | None:
    """What to know before all VMs talk with all others at once; None when the tables take that."""
    needed = needed_at_most(topology)
    short = [table for table in found if needed[table.family] + table.used > table.limit]
    if not short:
        return None
    counts = " and ".join(f"{needed[table.family]:,} {_words(table.family)} neighbours" for table in short)
    limits = " and ".join(f"{table.limit:,}" for table in short)
    larger = " ".join(f"{table.setting}={_enough(needed[table.family] + table.used)}" for table in short)
    return (
        f"{topology.name}: if all its VMs talk with all others within half a minute, they need {counts}, and this "
        f"machine takes {limits} in all namespaces together: packets to further neighbours are then lost, of other "
        f"runs too. pingall is no danger: it forgets neighbours as it goes. For more: sudo sysctl -w {larger}"
    )


def _words(family: str) -> str:
    return {"ipv4": "IPv4", "ipv6": "IPv6"}[family]


def _enough(entries: int) -> int:
    """The next power of two that leaves as much room again."""
    return 1 << (2 * entries - 1).bit_length()


class Forgetting(list[Any]):
    """Hosts for Mininet's pings, which walk over them in two nested loops: ``forget`` is called before too many.

    Every step of the inner loop is a ping between two hosts.
    """

    def __init__(self, hosts: Iterable[Any], forget: Callable[[], None]) -> None:
        super().__init__(hosts)
        self._forget, self._entries = forget, 0

    def __iter__(self) -> Iterator[Any]:
        for host in super().__iter__():
            yield host
            self._entries += 2
            if self._entries >= KEPT_BY_PINGS:
                self._entries = 0
                self._forget()
