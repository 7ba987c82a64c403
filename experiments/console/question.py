"""What ``why`` is asked: whose packet, to whom, of which kind. Pure: reads the words, with the topology beside them."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from experiments.console.journey import PROTOCOLS
from experiments.console.mininet_console import ConsoleError
from topologies.model import Client, Topology, Vm

VERSIONS = ("ipv4", "ipv6")
FRAGMENT, FROM = "fragment", "from="
USAGE = (
    f"usage: why WHO WHOM [{'|'.join(PROTOCOLS)}] [{'|'.join(VERSIONS)}] [{FRAGMENT}] [{FROM}ADDRESS]; "
    "WHO and WHOM: a VM, a client outside, or an address"
)


@dataclass(frozen=True)
class Question:
    """``whom``: a name, or the address itself. ``claimed``: the source address, where it is not the sender's own."""

    who: Vm | Client
    whom: str
    address: str
    protocol: str
    claimed: str | None = None
    fragment: bool = False

    @property
    def version(self) -> int:
        """The IP version of both addresses."""
        return 6 if ":" in self.address else 4

    @property
    def own_address(self) -> str:
        """The sender's own address of that version."""
        return str(self.who.ipv6 if self.version == 6 else self.who.ipv4)


def read_question(words: Sequence[str], topology: Topology, holders: Callable[[str], list[str]]) -> Question:
    """The question in these words. ConsoleError says what is allowed.

    ``holders``: which VMs and clients have an address on their interface now, for one that is nobody's in the topology.
    """
    if len(words) < 2:
        raise ConsoleError(USAGE)
    (first, second), more = words[:2], words[2:]
    protocol, version, claimed, fragment = _choices(more)
    for word in (first, second):
        _known(topology, word)
    version = version or _version(protocol, [word for word in (first, second, claimed) if word])
    who = _sender(topology, first, second, holders)
    if first == second or who.name == second:
        raise ConsoleError(f"why {first} {second}: a VM's packets to itself do not leave it; name two")
    target = _node(topology, second)
    address = second if target is None else _address(target, version)
    protocol = protocol or "icmp"
    _check(who, protocol, version, address, claimed, fragment)
    if _is_address(first) and str(who.ipv4) != first and str(who.ipv6) != first:
        claimed = claimed or first
    return Question(who, second, address, protocol, claimed, fragment)


def _choices(words: Sequence[str]) -> tuple[str | None, int | None, str | None, bool]:
    protocol, version, claimed, fragment = None, None, None, False
    for word in words:
        if word in PROTOCOLS and protocol is None:
            protocol = word
        elif word in VERSIONS and version is None:
            version = int(word[-1])
        elif word == FRAGMENT:
            fragment = True
        elif word.startswith(FROM) and _is_address(word.removeprefix(FROM)):
            claimed = word.removeprefix(FROM)
        else:
            near = difflib.get_close_matches(word, [*PROTOCOLS, *VERSIONS, FRAGMENT], n=1)
            meant = f"; did you mean {near[0]!r}?" if near else ""
            raise ConsoleError(
                f"why: there is no protocol {word!r}{meant} (allowed: one of {', '.join(PROTOCOLS)}; "
                f"{' or '.join(VERSIONS)}; {FRAGMENT}; {FROM}ADDRESS)"
            )
    return protocol, version, claimed, fragment


def _is_address(word: str | None) -> bool:
    try:
        ipaddress.ip_address(word or "")
    except ValueError:
        return False
    return True


def clients(topology: Topology) -> tuple[Client, ...]:
    """The clients outside."""
    return () if topology.outside is None else topology.outside.clients


def everybody(topology: Topology) -> list[Vm | Client]:
    """All VMs, then all clients outside."""
    return [*topology.vms, *clients(topology)]


def names(topology: Topology) -> list[str]:
    """Who can be asked about by name."""
    return [one.name for one in everybody(topology)]


def _node(topology: Topology, word: str) -> Vm | Client | None:
    return next((one for one in everybody(topology) if one.name == word), None)


def _known(topology: Topology, word: str) -> None:
    if _is_address(word) or _node(topology, word) is not None:
        return
    there = names(topology)
    near = difflib.get_close_matches(word, there, n=1)
    meant = f"; did you mean {near[0]!r}?" if near else ""
    raise ConsoleError(
        f"there is no VM {word!r}{meant} (there are: {', '.join(there)}; an address will do, too)"
    )


def _version(protocol: str | None, words: Sequence[str]) -> int:
    found = {ipaddress.ip_address(word).version for word in words if _is_address(word)}
    if len(found) > 1:
        raise ConsoleError(f"why: {' and '.join(words)} are not of one IP version")
    return next(iter(found), 6 if protocol == "nd" else 4)


def _address(node: Vm | Client, version: int) -> str:
    address = node.ipv6 if version == 6 else node.ipv4
    if address is None:
        raise ConsoleError(f"{node.name} has no IPv6 address")
    return str(address)


def _sender(topology: Topology, word: str, other: str, holders: Callable[[str], list[str]]) -> Vm | Client:
    if (node := _node(topology, word)) is not None:
        return node
    address = ipaddress.ip_address(word)
    owners = [one for one in everybody(topology) if address in (one.ipv4, one.ipv6)]
    target = _node(topology, other)
    if len(owners) > 1 and isinstance(target, Vm):
        network = target.virtual_network
        near = [one for one in owners if isinstance(one, Vm) and one.virtual_network == network]
        owners = [*near] or owners
    if not owners:
        owners = [node for name in holders(word) if (node := _node(topology, name)) is not None]
    if len(owners) > 1:
        raise ConsoleError(
            f"{word} is an address of {' and of '.join(one.name for one in owners)}: name the one that sends"
        )
    if not owners:
        example = topology.vms[0].name if topology.vms else "VM"
        raise ConsoleError(
            f"nobody has the address {word}: name the one that sends with it: why {example} {other} {FROM}{word}"
        )
    return owners[0]


def _check(
    who: Vm | Client, protocol: str, version: int, address: str, claimed: str | None, fragment: bool
) -> None:
    if protocol == "arp" and version == 6:
        raise ConsoleError(f"why: ARP asks for IPv4 addresses; for {address} it is nd (neighbour discovery)")
    if protocol == "nd" and version == 4:
        raise ConsoleError(f"why: neighbour discovery asks for IPv6 addresses; for {address} it is arp")
    for one in (address, claimed):
        if one is not None and ipaddress.ip_address(one).version != version:
            raise ConsoleError(f"why: {one} is no IPv{version} address")
    if ipaddress.ip_address(address).is_multicast:
        raise ConsoleError(f"why: {address} is a group's address; name one receiver")
    if fragment and protocol in ("arp", "nd"):
        raise ConsoleError(f"why: {protocol} is not sent in fragments; choose icmp, tcp or udp")
    if claimed is None and version == 6 and who.ipv6 is None:
        raise ConsoleError(f"{who.name} has no IPv6 address, and sends nothing by IPv6")
