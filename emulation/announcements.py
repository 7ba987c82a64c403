"""What a VM's new place is announced with: which frames each way is made of. Pure.

all   RARP and an unsolicited advertisement of each IPv6 address: what is needed to reach everybody
rarp  as a hypervisor does that knows no more of its guest than the MAC (QEMU's announce-self; RFC 903)
garp  as an IPv4 guest does that was told (RFC 5227 section 2.3)
na    as an IPv6 guest does (RFC 4861 section 7.2.6)
"""

from __future__ import annotations

from collections.abc import Sequence

from vocabulary.moves import ANNOUNCED_WITH
from wire.arp import gratuitous_arp, rarp_announcement
from wire.nd import unsolicited_advertisement

Announcement = tuple[str, bytes]
"""The kind of its event, and the frame."""


def announcements(way: str, mac: str, ipv4: str, ipv6: Sequence[str]) -> list[Announcement]:
    """The frames of one announcement; none for ``na`` without an IPv6 address. ValueError for an unknown way."""
    if way not in ANNOUNCED_WITH:
        raise ValueError(f"announce_with={way}: allowed are {', '.join(ANNOUNCED_WITH)}")
    found: list[Announcement] = []
    if way in ("all", "rarp"):
        found.append(("rarp", rarp_announcement(mac)))
    if way == "garp":
        found.append(("garp", gratuitous_arp(mac, ipv4)))
    if way in ("all", "na"):
        found += [("unsolicited_na", unsolicited_advertisement(mac, address)) for address in ipv6]
    return found
