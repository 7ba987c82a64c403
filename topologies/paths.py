"""The ways through the underlay: which one a tunnel between two racks takes, and which ones as short idle. Pure.

A router takes the way of the fewest links, of several the one whose first link stands first in the file; what a link
does to packets (rate, delay, loss) counts for nothing.
"""

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from itertools import combinations

from topologies.model import Topology
from topologies.problems import listed

_MOST_SAID = 3


def neighbours(topology: Topology) -> dict[str, list[str]]:
    """Router -> the routers that it has a link to, in the order of the file."""
    found: dict[str, list[str]] = {name: [] for name in topology.routers}
    for link in topology.underlay.links:
        one, other = link.between
        found[one].append(other)
        found[other].append(one)
    return found


def first_hops(start: str, links: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Every other router that can be reached -> the router that a packet for it is sent to first."""
    first = {name: name for name in links[start]}
    waiting = deque(first)
    while waiting:
        here = waiting.popleft()
        for name in links[here]:
            if name != start and name not in first:
                first[name] = first[here]
                waiting.append(name)
    return first


def way(start: str, end: str, links: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """The routers that a packet passes, both ends too; every one on the way decides for itself."""
    passed = [start]
    while passed[-1] != end:
        passed.append(first_hops(passed[-1], links)[end])
    return tuple(passed)


def untaken_lines(topology: Topology) -> list[str]:
    """A sentence for each two racks with NVEs that have several ways as short: which one is taken, which one idles."""
    links = neighbours(topology)
    racks = list(dict.fromkeys(nve.rack for nve in topology.nves))
    found = [line for one, other in combinations(racks, 2) for line in _untaken(one, other, links)]
    more = [f"... and {len(found) - _MOST_SAID} more pairs of racks"] if len(found) > _MOST_SAID else []
    return found[:_MOST_SAID] + more


def _untaken(one: str, other: str, links: Mapping[str, Collection[str]]) -> Iterator[str]:
    there, back = way(one, other, links), way(other, one, links)
    taken = {there, back[::-1]}
    idle = [path for path in _shortest(one, other, links, len(taken) + _MOST_SAID) if path not in taken]
    if not idle and len(taken) == 1:
        return
    line = f"tunnels from {one} to {other} go {_text(there)}"
    line += " and back" if len(taken) == 1 else f", and back {_text(back)}"
    if idle:
        verb, carry = ("is", "carries") if len(idle) == 1 else ("are", "carry")
        line += f"; {listed(map(_text, idle))} {verb} as short and {carry} nothing of them"
    yield line


def _shortest(
    one: str, other: str, links: Mapping[str, Collection[str]], at_most: int
) -> list[tuple[str, ...]]:
    """The first so many of the shortest ways."""
    distance = {other: 0}
    waiting = deque(distance)
    while waiting:
        here = waiting.popleft()
        for name in links[here]:
            if name not in distance:
                distance[name] = distance[here] + 1
                waiting.append(name)
    found: list[tuple[str, ...]] = []
    open_ways: list[tuple[str, ...]] = [(one,)]
    while open_ways and len(found) < at_most:
        path = open_ways.pop()
        if path[-1] == other:
            found.append(path)
        nearer = [name for name in links[path[-1]] if distance[name] == distance[path[-1]] - 1]
        open_ways += [(*path, name) for name in reversed(nearer)]
    return found


def _text(path: tuple[str, ...]) -> str:
    return " - ".join(path)
